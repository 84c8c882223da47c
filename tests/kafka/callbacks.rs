//! A program that isn't consign's reports by callback: with its own HTTP client, signed by the library of its language.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use consign::node::embedded::in_process;
use consign::receiver::{Behaviour, Receivers};
use consign::record::{State, Status, TargetName};
use consign::routing::Sources;
use consign::transport::{AckTokens, wall_clock};
use serde_json::json;

use crate::bed::PATIENCE;
use crate::python_env::{lines_of, program};
use crate::targets::{submit, until};

const OWN: &str = "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const STRANGER: &str = "whsec_AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_in_python_reports_signed_and_with_its_receipt() {
    let tokens = Arc::new(AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).unwrap());
    let (mut shared, _) = in_process(tokens, wall_clock()).unwrap();
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("own"), OWN).unwrap();
    shared.secrets.directory = Some(secrets.path().to_owned());
    let behaviours = BTreeMap::from([(TargetName::trusted("notary"), Behaviour::status(202))]);
    let receivers = Receivers::start(&tokio::runtime::Handle::current(), behaviours, None).unwrap();
    let document = format!(
        "file_types: {{entry: {{}}}}\npayloads: {{entry: {{body: {{id: \"=file.id\"}}}}}}\ntargets:\n  notary: {{owner: team-n, \
         http: {{url: \"{}\"}}, receipt: digest, confirmed_by: {{callback: {{within: 1h, verify_with: own}}}}}}\nroutes:\n  \
         - {{to: notary, payload: entry}}\n",
        receivers.url("notary")
    );
    shared.apply(&Sources { name: "routing.yaml".into(), document, files: BTreeMap::new() }, "test").unwrap();
    let node = shared.start("w", 1, 0).await.unwrap();
    submit(&shared, "entry-1", "entry").await;
    until(&node, "entry-1", |state| state.dispatches.iter().any(|d| d.status == Status::Awaiting)).await;

    let request = receivers.journal().of_key("entry-1/notary").pop().expect("it was sent");
    let header = |name: &str| request.headers[name].clone();
    let (url, token) = (header("consign-callback-url"), header("consign-ack-token"));
    let right = format!("sha256:{}", request.body_sha256);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let rows = [
        (STRANGER, "SUCCEEDED", &right, 401),
        (OWN, "SUCCEEDED", &wrong, 422),
        (OWN, "IN_PROGRESS", &right, 200),
        (OWN, "SUCCEEDED", &right, 200),
        (OWN, "SUCCEEDED", &right, 200),
        (OWN, "REJECTED", &right, 409),
    ];
    for (secret, outcome, digest, expected) in rows {
        let report = json!({"outcome": outcome, "idempotency_key": "entry-1/notary", "attempt": 1,
            "received_digest": digest, "reference": "notary-7"});
        let arguments = [url.clone(), token.clone(), secret.to_owned(), report.to_string()];
        let said = tokio::task::spawn_blocking(move || lines_of(program("report.py").args(arguments))).await.unwrap();
        assert_eq!(said, [json!({ "status": expected })], "{outcome} {digest}");
    }
    let state = until(&node, "entry-1", |state| state.settled_at.is_some()).await;
    assert_eq!(state.state, State::Completed);
    // The last report is judged after it was answered.
    let (url, begun) = (format!("http://{}/v1/files/entry-1/history", node.gateway_address().unwrap()), Instant::now());
    loop {
        let history = reqwest::get(&url).await.unwrap().text().await.unwrap();
        if ["receipt_differs", "notary-7", "contradiction"].iter().all(|seen| history.contains(seen)) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{history}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::timeout(Duration::from_secs(60), node.stop()).await.unwrap();
    receivers.stop().await;
}
