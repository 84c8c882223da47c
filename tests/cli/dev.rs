//! `consign dev`: serves on a free port, and ends with 0 when it is told to.

use serde_json::Value;

use crate::binary::{Dev, check, command, consign, run};

#[test]
fn it_serves_and_ends_with_0_when_told() {
    for signal in ["TERM", "INT"] {
        let dev = Dev::start(&[]);
        let ran = dev.submit("note-1", "note", "60s");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.out.starts_with("note-1: COMPLETED"), "{}", ran.out);
        assert_eq!(dev.signal(signal).code(), Some(0), "SIG{signal}");
    }
}

/// A supervisor may take its word back as soon as it has it.
#[test]
fn it_ends_with_0_when_told_at_once() {
    for turn in 0..10 {
        let signal = if turn % 2 == 0 { "TERM" } else { "INT" };
        assert_eq!(Dev::start(&[]).signal(signal).code(), Some(0), "SIG{signal}, {turn}");
    }
}

#[test]
fn a_line_of_its_log_has_file_target_attempt_and_outcome_as_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = std::fs::File::create(&path).unwrap();
    let dev = Dev::start_logging(&["--log-format", "json", "--log-level", "info"], log.into());
    assert_eq!(dev.submit("note-1", "note", "60s").code, Some(0));
    assert_eq!(dev.signal("TERM").code(), Some(0));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    let reports: Vec<Value> = lines.filter(|line| line["message"] == "report").collect();
    let [report] = &reports[..] else { panic!("{text}") };
    let fields = ["file_id", "target", "attempt", "outcome"].map(|field| report[field].clone());
    assert_eq!(fields, ["note-1".into(), "archive".into(), Value::from(1), "SUCCEEDED".into()], "{report}");
    assert_eq!(text.matches("\"target\"").count(), text.matches("\"target\":\"archive\"").count(), "{text}");
}

#[test]
fn an_address_that_is_taken_is_said() {
    let dev = Dev::start(&[]);
    let (_, port) = dev.url().rsplit_once(':').unwrap();
    let ran = consign(&["dev", "--port", port]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("CG408") && ran.err.contains(port) && ran.err.contains("--port"), "{}", ran.err);
    let ran = consign(&["dev", "--port", port, "--output", "json"]);
    assert_eq!(check("failure", &ran.err)["code"], "CG408");
}

#[test]
fn a_routing_document_of_ones_own_is_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routing.yaml");
    let document = "file_types: {letter: {}}\npayloads: {all: {body: {id: '=file.id'}}}\n\
                    targets: {post: {owner: me, http: {url: 'http://127.0.0.1:1/'}, confirmed_by: {response: 'status == 200'}}}\n\
                    routes: [{to: post, payload: all}]\n";
    std::fs::write(&path, document).unwrap();
    let dev = Dev::start(&["--routing", path.to_str().unwrap()]);
    let targets = dev.run(&["targets", "ls"]);
    assert!(targets.out.contains("post (owner me): running"), "{targets:?}");
    std::fs::write(&path, "routes: 7\n").unwrap();
    let ran = run(&mut command(&["dev", "--port", "0", "--routing", path.to_str().unwrap()]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("CG402") && ran.err.contains("CG1"), "{}", ran.err);
}
