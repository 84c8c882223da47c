use clap::{CommandFactory, Parser};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: ClientCommand,
    #[command(flatten)]
    globals: Globals,
}

fn parse(line: &str) -> Result<Line, clap::Error> {
    Line::try_parse_from(std::iter::once("consign").chain(line.split(' ')))
}

#[test]
fn the_command_line_is_consistent() {
    Line::command().debug_assert();
}

#[test]
fn every_command_shows_examples() {
    fn check(command: &clap::Command) {
        let leaf = command.get_subcommands().next().is_none();
        if leaf {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!(" {} ", command.get_name())) || help.contains(command.get_name()));
            assert!(help.contains("Example"), "{} has no example", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }
    Line::command().get_subcommands().for_each(check);
}

#[test]
fn lines_that_people_type_are_understood() {
    for line in [
        "submit a.json b.json --wait 30s",
        "status inv-17 --watch --output json",
        "history inv-17 --url http://127.0.0.1:1",
        "explain inv-17 --output json",
        "ls --held --owner team-b --overdue --target billing --state FAILED",
        "intervene inv-17 billing confirm --reason seen --evidence 4711 --seen-version 8",
        "intervene inv-17 cancel --reason mistake",
        "resubmit inv-17 --reason repaired --resend-unknown",
        "dead-letters ls",
        "dead-letters show 0/1",
        "dead-letters reinject 0/1 --reason mended",
        "targets ls",
        "targets pause billing --reason maintenance",
        "targets resume --all --reason repaired",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn lines_without_what_is_needed_are_refused() {
    for line in [
        "submit",
        "submit a.json --wait soon",
        "intervene inv-17 billing retry",
        "intervene inv-17 --reason why",
        "intervene inv-17 a b c --reason why",
        "resubmit inv-17",
        "targets pause --reason why",
        "targets resume billing --all --reason why",
        "dead-letters reinject 0/1",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_said_and_ends_with_3() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let line = parse(&format!("status x --url http://{closed} --output json")).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run_on(line.command, &line.globals, &mut out, &mut err).await;
    assert_eq!(exit, Exit::Unreachable);
    assert!(out.is_empty());
    let failure: FailureBody = serde_json::from_slice(&err).unwrap();
    assert_eq!(failure.exit, 3);
    assert!(failure.message.contains("can't be reached"), "{}", failure.message);
}

#[tokio::test]
async fn an_address_that_is_none_ends_with_2() {
    for url in ["not a url", "ftp://127.0.0.1", "mailto:x"] {
        let globals = Globals { url: url.into(), token: None, output: OutputFormat::Text };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let command = ClientCommand::Targets(TargetCommand::Ls);
        assert_eq!(run_on(command, &globals, &mut out, &mut err).await, Exit::Usage, "{url}");
        assert!(String::from_utf8(err).unwrap().contains(url));
    }
}
