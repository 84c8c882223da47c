//! What configures `run`: a file, the environment over it, options over both.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::binary::{closed_address, command, run};

fn file(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

/// The first lines that `run` logs; its broker isn't there, and it is ended then.
fn first_lines(command: &mut Command, count: usize) -> Vec<String> {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().take(count);
    let lines: Vec<String> = lines.map(|line| line.expect("it is text")).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

fn first_line(command: &mut Command) -> String {
    first_lines(command, 1).remove(0)
}

#[test]
fn options_win_over_the_environment_and_that_over_the_file() {
    let file = file("[log]\nlevel = \"info\"\nformat = \"json\"\n[process]\ninstance = \"from-file\"\n");
    let path = file.path().to_str().unwrap();
    let closed = closed_address();
    let arguments = ["run", "--config", path, "--kafka", &closed];
    let line = first_line(&mut command(&arguments));
    let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
    assert_eq!((json["instance"].as_str(), json["broker"].as_str()), (Some("from-file"), Some(closed.as_str())));

    let line = first_line(
        command(&arguments).env("CONSIGN_LOG_FORMAT", "text").env("CONSIGN_PROCESS_INSTANCE", "from-environment"),
    );
    assert!(line.contains("INFO") && line.contains("from-environment"), "{line}");

    let over = [&arguments[..], &["--log-format", "json", "--instance", "from-option"]].concat();
    let line = first_line(
        command(&over).env("CONSIGN_LOG_FORMAT", "text").env("CONSIGN_PROCESS_INSTANCE", "from-environment"),
    );
    let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
    assert_eq!(json["instance"], "from-option");
}

#[test]
fn what_is_waited_for_is_a_line_of_the_log() {
    let lines = first_lines(&mut command(&["run", "--kafka", &closed_address(), "--log-format", "json"]), 2);
    let json: serde_json::Value = serde_json::from_str(&lines[1]).unwrap_or_else(|e| panic!("{e}: {lines:?}"));
    assert!(json["message"].as_str().is_some_and(|m| m.starts_with("still waiting for the broker")), "{json}");
}

#[test]
fn the_level_is_taken_from_where_the_format_is() {
    let file = file("[log]\nlevel = \"file=file=file\"\n");
    let path = file.path().to_str().unwrap();
    let arguments = ["run", "--config", path, "--kafka", "127.0.0.1:1"];
    for (ran, says) in [
        (run(&mut command(&arguments)), "file=file=file"),
        (run(command(&arguments).env("CONSIGN_LOG_LEVEL", "env=env=env")), "env=env=env"),
        (
            run(command(&[&arguments[..], &["--log-level", "o=o=o"]].concat()).env("CONSIGN_LOG_LEVEL", "e=e=e")),
            "o=o=o",
        ),
    ] {
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("CG400") && ran.err.contains(says), "{ran:?}");
    }
}

#[test]
fn what_is_wrong_in_a_file_is_said_with_its_place() {
    for (content, says) in [
        ("[log]\nlevle = \"info\"\n", "line 2, column 1: there is no key `log.levle` (`level`?)"),
        ("[schemas]\nwrite_version = 2\n", "schemas.write_version is 2; this consign can write 1"),
        ("[process]\nworkers = 0\n", "process.workers is at least 1"),
        ("[process\n", "it is no TOML"),
    ] {
        let file = file(content);
        let path = file.path().to_str().unwrap();
        for arguments in [&["run", "--config", path][..], &["topics", "check", "--config", path]] {
            let ran = run(&mut command(arguments));
            assert_eq!(ran.code, Some(2), "{ran:?}");
            for word in ["CG400", path, says] {
                assert!(ran.err.contains(word), "`{word}` is not in: {}", ran.err);
            }
        }
    }
    let ran = run(command(&["run"]).env("CONSIGN_KAFKA_BOOTSTARP", "a:1"));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("CONSIGN_KAFKA_BOOTSTRAP?"), "{}", ran.err);
}

#[test]
fn an_option_is_checked_like_the_file() {
    let ran = run(&mut command(&["run", "--workers", "0"]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("process.workers is at least 1"), "{}", ran.err);
}
