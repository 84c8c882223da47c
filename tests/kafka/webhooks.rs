//! The Standard Webhooks library of another language verifies what we sign.

use std::io::Write as _;
use std::process::Stdio;

use consign::record::Timestamp;
use consign::transport::{Secret, sign};
use serde_json::{Map, Value, json};

use crate::python_env::program;

const CURRENT: &str = "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const PREVIOUS: &str = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const STRANGER: &str = "whsec_AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

#[test]
fn the_python_library_verifies_what_we_sign() {
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
    let mut child = program("verify_webhook.py").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
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
