//! The Standard Webhooks libraries of other languages verify what we sign.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use consign::record::Timestamp;
use consign::transport::{Secret, sign};
use serde_json::{Map, Value, json};

use crate::python_env::program;

const CURRENT: &str = "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const PREVIOUS: &str = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const STRANGER: &str = "whsec_AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

#[test]
fn the_python_library_verifies_what_we_sign() {
    verifies_what_we_sign(program("verify_webhook.py"));
}

#[test]
fn the_npm_library_verifies_what_we_sign() {
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !has("node") || !has("npm") {
        return eprintln!("there is no Node with npm on this machine");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new(root.join("scripts/node-env")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut node = Command::new("node");
    node.env("NODE_PATH", String::from_utf8(made.stdout).unwrap().trim());
    node.arg(root.join("tests/kafka/verify_webhook.cjs"));
    verifies_what_we_sign(node);
}

/// Gives signed requests to a program that verifies them; it must say of each what is so.
fn verifies_what_we_sign(mut verifier: Command) {
    let body = r#"{"file_id":"f-1","name":"Überweisung"}"#;
    let keys = [CURRENT, PREVIOUS].map(|key| Secret::new(key.as_bytes().to_vec()));
    let now: Timestamp = consign::transport::wall_clock()();
    let signed = |at| {
        let headers = sign::headers("f-1.2/billing", at, body.as_bytes(), &keys).unwrap();
        headers.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>()
    };
    let (fresh, stale) = (signed(now), signed(now.plus_millis(-600_000)));
    let cases = [
        (CURRENT, &fresh, body, "ok"),
        (PREVIOUS, &fresh, body, "ok"),
        (STRANGER, &fresh, body, "no"),
        (CURRENT, &fresh, r#"{"file_id":"f-2"}"#, "no"),
        (CURRENT, &stale, body, "no"),
    ];
    let mut child = verifier.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for (secret, headers, body, _) in &cases {
        writeln!(input, "{}", json!({"secret": secret, "headers": headers, "body": body})).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let expected: Vec<&str> = cases.iter().map(|(_, _, _, expected)| *expected).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}
