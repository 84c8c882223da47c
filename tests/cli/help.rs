//! `--help` of every command: its examples parse, and those that need no broker run.

use clap::Parser as _;
use consign::cli::{Cli, help};

use crate::binary::{Dev, command, run};

/// The leaves of the command line, each with the words that lead to it.
pub fn leaves() -> Vec<(Vec<String>, clap::Command)> {
    fn walk(command: &clap::Command, path: &[String], leaves: &mut Vec<(Vec<String>, clap::Command)>) {
        for below in command.get_subcommands().filter(|c| c.get_name() != "help") {
            let path = [path, &[below.get_name().to_owned()]].concat();
            if below.get_subcommands().next().is_none() {
                leaves.push((path, below.clone()));
            } else {
                walk(below, &path, leaves);
            }
        }
    }
    let mut leaves_found = Vec::new();
    walk(&help::command(), &[], &mut leaves_found);
    leaves_found
}

/// The calls of consign in a command's examples, as words. A remark stands apart by more than one space.
fn examples(command: &clap::Command) -> Vec<Vec<String>> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    let calls = lines.filter_map(|line| {
        let from = if line.starts_with("consign ") { 0 } else { line.find("| consign ")? + "| ".len() };
        let line = line[from..].split("  ").next()?;
        Some(words(line.split(" > ").next()?.split(" | ").next()?))
    });
    calls.collect()
}

/// Words as a shell splits them; quotes of both kinds, nothing else.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (None, '"' | '\'') => (quote, any) = (Some(c), true),
            (Some(open), c) if open == c => quote = None,
            (None, ' ') => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            (_, c) => {
                word.push(c);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    assert_eq!(quote, None, "an open quote in {line}");
    words
}

#[test]
fn every_command_has_examples_that_parse() {
    let mut count = 0;
    for (path, command) in leaves() {
        let examples = examples(&command);
        assert!(!examples.is_empty(), "{path:?} has no example");
        for example in examples {
            if let Err(error) = Cli::try_parse_from(&example) {
                panic!("{example:?} of {path:?}: {error}");
            }
            assert!(example[1..].starts_with(&path), "{example:?} is an example of {path:?}");
            count += 1;
        }
    }
    assert!(count >= 30, "only {count} examples were found");
    for example in examples(&help::command()) {
        Cli::try_parse_from(&example).unwrap_or_else(|e| panic!("{example:?}: {e}"));
    }
    for group in help::command().get_subcommands().filter(|c| c.has_subcommands()) {
        assert_eq!(examples(group).len(), group.get_subcommands().count(), "{}", group.get_name());
    }
}

/// A document for the examples that name one.
const ROUTING: &str = r#"
file_types: {note: {}}
payloads: {note: {body: {id: "=file.id"}}}
targets:
  billing: {owner: team-b, http: {url: "http://billing.invalid"}, confirmed_by: {response: "status == 200"}}
  crm: {owner: team-c, http: {url: "http://crm.invalid"}, confirmed_by: {acks: 3h}}
routes: [{to: billing, payload: note}, {to: crm, payload: note}]
"#;

#[test]
fn examples_that_need_no_broker_run() {
    let folder = tempfile::tempdir().unwrap();
    let manifest =
        |id: &str| format!(r#"{{"file_id": "{id}", "schema_version": 1, "file_type": "note", "name": "{id}"}}"#);
    std::fs::write(folder.path().join("invoice.json"), manifest("inv-17")).unwrap();
    for name in ["routing.yaml", "new.yaml"] {
        std::fs::write(folder.path().join(name), ROUTING).unwrap();
    }
    std::fs::write(folder.path().join("arrivals.jsonl"), manifest("inv-18")).unwrap();
    let dev = Dev::start(&[]);
    let mut ran_some = 0;
    for (path, leaf) in leaves() {
        // These run for long, and have tests of their own.
        let may_need_a_broker = leaf.get_arguments().any(|argument| argument.get_long() == Some("kafka"));
        // These take a document from a file as well.
        let looks_ahead = ["plan", "simulate"].contains(&path[0].as_str()) || path[..] == ["routing", "diff"];
        if (may_need_a_broker && !looks_ahead) || ["dev", "watch", "receiver"].contains(&path[0].as_str()) {
            continue;
        }
        for example in examples(&leaf) {
            let arguments: Vec<&str> = example[1..].iter().map(String::as_str).collect();
            if arguments.iter().any(|argument| ["-", "--kafka"].contains(argument)) {
                continue;
            }
            let mut command = command(&arguments);
            if path[..] != ["routing", "check"] {
                command.current_dir(folder.path());
            }
            // An example may name its own gateway; this one runs.
            let ran = run(command.env("CONSIGN_URL", dev.url()));
            let code = ran.code.unwrap_or(-1);
            // 1 and 4: there is no such file or dead letter here, or an intervention comes too late.
            assert!([0, 1, 4, 5].contains(&code), "{example:?}: {ran:?}");
            assert!(!ran.out.is_empty() || !ran.err.is_empty(), "{example:?} says nothing");
            ran_some += 1;
        }
    }
    assert!(ran_some >= 15, "only {ran_some} examples were run");
}

#[test]
fn the_readme_names_every_command() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for command in help::command().get_subcommands().filter(|c| c.get_name() != "help") {
        assert!(readme.contains(&format!("| `consign {}", command.get_name())), "{} is missing", command.get_name());
    }
}

#[test]
fn completions_are_for_every_shell_and_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = crate::binary::consign(&["completions", shell]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.out.contains("intervene") && ran.out.contains("resubmit"), "{shell}: {}", ran.out);
    }
}
