//! The CloudEvents SDK of another language reads what we send, in both modes, over HTTP, as webhooks and on Kafka.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use consign::node::embedded::in_process;
use consign::record::State;
use consign::routing::Sources;
use consign::transport::{AckTokens, ClientSettings, KafkaTargets, Secrets, wall_clock};
use serde_json::{Value, json};

use crate::bed::{server, unique_prefix};
use crate::python_env::program;
use crate::servers::topics::create;
use crate::targets::{submit, until};

const DOCUMENT: &str = r#"
file_types: {entry: {}}
payloads: {entry: {body: {id: "=file.id", amount: "=data.amount", city: Zürich}}}
targets:
  plain: {owner: o, http: {url: "http://127.0.0.1:PORT"}, envelope: {cloudevents: binary, attributes: ATTRIBUTES}, confirmed_by: {response: "status == 200"}}
  whole: {owner: o, http: {url: "http://127.0.0.1:PORT"}, envelope: cloudevents, confirmed_by: {response: "status == 200"}}
  hook: {owner: o, webhook: {url: "http://127.0.0.1:PORT", sign_with: k}, envelope: {cloudevents: binary, attributes: ATTRIBUTES}, confirmed_by: {response: "status == 200"}}
  record: {owner: o, kafka: {topic: TOPIC, key: "=data.account"}, envelope: {cloudevents: binary, attributes: ATTRIBUTES}, confirmed_by: transport}
  message: {owner: o, kafka: {topic: TOPIC, key: "=data.account"}, envelope: {cloudevents: structured}, confirmed_by: transport}
routes:
  - {to: plain, payload: entry}
  - {to: whole, payload: entry}
  - {to: hook, payload: entry}
  - {to: record, payload: entry}
  - {to: message, payload: entry}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_reads_our_events_in_both_modes() {
    let (bootstrap, prefix) = (server("KAFKA_BOOTSTRAP"), unique_prefix("events"));
    let topic = format!("{prefix}events");
    tokio::task::block_in_place(|| create(&bootstrap, &topic, 3));
    let arguments = ["--bootstrap", &bootstrap, "--topic", &topic, "--posts", "3", "--records", "2"];
    let mut reader = program("events.py").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    let mut next = move || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let port = next()["port"].to_string();

    let tokens = Arc::new(AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).unwrap());
    let (mut shared, _) = in_process(tokens, wall_clock()).unwrap();
    let settings = ClientSettings::from([("bootstrap.servers".to_owned(), bootstrap.clone())]);
    shared.kafka = KafkaTargets::new(Some(settings), BTreeMap::new(), [].into());
    let secrets = tempfile::tempdir().unwrap();
    fs::write(secrets.path().join("k"), "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=").unwrap();
    shared.secrets = Secrets { directory: Some(secrets.path().to_owned()), ..Secrets::default() };
    let attributes = r#"{type: "Zürich 100%", subject: "=data.account", seq: 7}"#;
    let document = DOCUMENT.replace("PORT", &port).replace("TOPIC", &topic).replace("ATTRIBUTES", attributes);
    let sources = Sources { name: "routing.yaml".into(), document, files: BTreeMap::new() };
    shared.apply(&sources, "test").unwrap();
    let node = shared.start("w", 1, 0).await.unwrap();
    submit(&shared, "entry-1", "entry").await;
    let state = until(&node, "entry-1", |state| state.settled_at.is_some()).await;
    assert_eq!(state.state, State::Completed, "{state:#?}");
    tokio::time::timeout(Duration::from_secs(60), node.stop()).await.unwrap();

    let mut events: BTreeMap<String, Value> = BTreeMap::new();
    for _ in 0..5 {
        let event = next();
        events.insert(event["attributes"]["id"].as_str().unwrap().to_owned(), event);
    }
    assert!(reader.wait().unwrap().success());
    let expected = [
        ("plain", "http", "binary"),
        ("whole", "http", "structured"),
        ("hook", "http", "binary"),
        ("record", "kafka", "binary"),
        ("message", "kafka", "structured"),
    ];
    for (target, by, mode) in expected {
        let event = &events[&format!("entry-1/{target}")];
        assert_eq!((&event["by"], &event["mode"]), (&json!(by), &json!(mode)));
        let attributes = &event["attributes"];
        assert_eq!(attributes["specversion"], "1.0");
        assert_eq!(attributes["source"], "consign:test");
        assert_eq!(attributes["time"], "2026-01-01T00:00:00+00:00");
        assert_eq!(attributes["datacontenttype"], "application/json");
        let said =
            if mode == "binary" { ("Zürich 100%", "A-100", json!("7")) } else { ("entry", "entry-1", Value::Null) };
        assert_eq!(
            (&attributes["type"], &attributes["subject"], &attributes["seq"]),
            (&json!(said.0), &json!(said.1), &said.2)
        );
        if by == "kafka" && mode == "binary" {
            assert_eq!(attributes["partitionkey"], "A-100", "the record's key");
        }
        assert_eq!(event["data"], json!({"id": "entry-1", "amount": 10, "city": "Zürich"}));
    }
}
