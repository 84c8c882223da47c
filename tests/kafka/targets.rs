//! Kafka targets: the product on the in-process log writes to a real broker, and a stock client reads what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use consign::log::{Append, Headers};
use consign::node::Node;
use consign::node::embedded::{Shared, in_process};
use consign::record::{FileId, FileManifest, FileState, State, Status, Timestamp, Topic, home_partition};
use consign::routing::Sources;
use consign::transport::{AckTokens, ClientSettings, KafkaTargets, wall_clock};
use serde_json::Value;

use crate::bed::{PATIENCE, server, unique_prefix};
use crate::python_env::{lines_of, program};
use crate::servers::topics::create;

const DOCUMENT: &str = r#"
file_types: {entry: {}, lost: {}, own: {}, renamed: {}}
payloads: {entry: {body: {id: "=file.id", amount: "=data.amount"}}}
target_defaults:
  retry: {attempts: 1}
targets:
  ledger:
    owner: team-ledger
    kafka: {topic: TOPIC, cluster: books, key: "=data.account", headers: {x-source: consign}}
    confirmed_by: transport
  lost:
    owner: team-lost
    kafka: {topic: NOWHERE, cluster: books}
    confirmed_by: transport
  own:
    owner: team-own
    kafka: {topic: consign.outcomes}
    confirmed_by: transport
  renamed:
    owner: team-own
    kafka: {topic: consign.outcomes, cluster: books}
    confirmed_by: transport
routes:
  - {to: ledger, when: "file.type == 'entry'", payload: entry}
  - {to: lost, when: "file.type == 'lost'", payload: entry}
  - {to: own, when: "file.type == 'own'", payload: entry}
  - {to: renamed, when: "file.type == 'renamed'", payload: entry}
"#;

pub async fn submit(shared: &Shared, file_id: &str, file_type: &str) {
    let manifest = FileManifest {
        file_id: FileId::trusted(file_id),
        schema_version: 1,
        file_type: file_type.into(),
        name: file_id.into(),
        location: None,
        size: None,
        checksum: None,
        media_type: None,
        attributes: BTreeMap::new(),
        data: Some(r#"{"account": "A-100", "amount": 10}"#.into()),
        produced_by: "test".into(),
        produced_at: Timestamp(1_767_225_600_000),
        deadline: None,
    };
    let append = Append {
        topic: Topic::Manifests,
        partition: Some(home_partition(file_id, 4)),
        key: file_id.as_bytes().to_vec(),
        value: Some(shared.codec.encode(&manifest).unwrap()),
        headers: Headers::new(),
    };
    shared.cluster.appender().unwrap().append(append).await.unwrap();
}

pub async fn until(node: &Node, file_id: &str, condition: impl Fn(&FileState) -> bool) -> Arc<FileState> {
    let (view, id) = (node.view().unwrap(), FileId::trusted(file_id));
    let there = || view.file(&id).filter(|state| condition(state));
    assert!(view.wait_until(PATIENCE, || there().is_some()).await, "{file_id}: {:#?}", view.file(&id));
    there().unwrap()
}

const OF_AVRO: &str = r#"
file_types: {entry: {}}
payloads:
  entry:
    format: avro
    avro: {schema: entry.avsc, subject: TOPIC-value, version: 1, id: ID}
    body: {id: "=file.id", amount: "=data.amount", note: "=has(data.note) ? data.note : omit()"}
targets:
  ledger: {owner: team-ledger, kafka: {topic: TOPIC, cluster: books}, confirmed_by: transport}
routes: [{to: ledger, payload: entry}]
"#;
const ENTRY: &str = r#"{"type": "record", "name": "Entry", "fields": [
  {"name": "id", "type": "string"},
  {"name": "amount", "type": "double"},
  {"name": "note", "type": ["null", "string"], "default": null}
]}"#;

/// Registers a schema as anyone would; gives its id.
async fn register(registry: &str, subject: &str, schema: &str) -> u64 {
    let url = format!("{registry}/subjects/{subject}/versions");
    let body = serde_json::json!({ "schema": schema });
    let registered = reqwest::Client::new().post(url).json(&body).send().await.unwrap().error_for_status().unwrap();
    registered.json::<Value>().await.unwrap()["id"].as_u64().unwrap()
}

fn read(bootstrap: &str, topic: &str, count: &str) -> Vec<Value> {
    lines_of(program("read.py").args(["--bootstrap", bootstrap, "--topic", topic, "--count", count]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_reads_what_a_kafka_target_was_sent() {
    let (bootstrap, prefix) = (server("KAFKA_BOOTSTRAP"), unique_prefix("target"));
    let topic = format!("{prefix}entries");
    tokio::task::block_in_place(|| create(&bootstrap, &topic, 3));
    let tokens = Arc::new(AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).unwrap());
    let (mut shared, _) = in_process(tokens, wall_clock()).unwrap();
    let settings = ClientSettings::from([("bootstrap.servers".to_owned(), bootstrap.clone())]);
    let closed = BTreeSet::from(["consign.outcomes".to_owned()]);
    let clusters = BTreeMap::from([("books".to_owned(), settings.clone())]);
    shared.kafka = KafkaTargets::new(Some(settings), clusters, closed);
    let document = DOCUMENT.replace("TOPIC", &topic).replace("NOWHERE", &format!("{prefix}nowhere"));
    let sources = Sources { name: "routing.yaml".into(), document, files: BTreeMap::new() };
    shared.apply(&sources, "test").unwrap();
    let node = shared.start("w", 1, 0).await.unwrap();

    for n in 0..5 {
        submit(&shared, &format!("entry-{n}"), "entry").await;
    }
    for n in 0..5 {
        let state = until(&node, &format!("entry-{n}"), |state| state.settled_at.is_some()).await;
        assert_eq!(state.state, State::Completed);
        assert_eq!(state.dispatches[0].last_outcome.as_ref().unwrap().code, "delivered");
    }
    let (at, name) = (bootstrap.clone(), topic.clone());
    let mut records = tokio::task::spawn_blocking(move || read(&at, &name, "5")).await.unwrap();
    records.sort_by_key(|record| record["value"]["id"].to_string());
    for (n, record) in records.iter().enumerate() {
        assert_eq!(record["key"], "A-100");
        assert_eq!(record["partition"], records[0]["partition"], "one key, one partition");
        assert_eq!(record["value"], serde_json::json!({"amount": 10, "id": format!("entry-{n}")}));
        let headers = &record["headers"];
        assert_eq!(headers["idempotency-key"], format!("entry-{n}/ledger"));
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!((&headers["x-source"], &headers["consign-attempt"]), (&"consign".into(), &"1".into()));
    }

    for (file_id, code) in [("lost", "topic_unknown"), ("own", "egress_refused"), ("renamed", "egress_refused")] {
        submit(&shared, file_id, file_id).await;
        let state = until(&node, file_id, |state| state.dispatches.iter().any(|d| d.status == Status::Held)).await;
        assert_eq!(state.dispatches[0].last_outcome.as_ref().unwrap().code, code);
    }
    tokio::time::timeout(Duration::from_secs(60), node.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_consumer_of_avro_reads_what_a_kafka_target_was_sent() {
    let (bootstrap, registry, prefix) =
        (server("KAFKA_BOOTSTRAP"), server("SCHEMA_REGISTRY_URL"), unique_prefix("target-avro"));
    let topic = format!("{prefix}entries");
    tokio::task::block_in_place(|| create(&bootstrap, &topic, 3));
    let id = register(&registry, &format!("{topic}-value"), ENTRY).await;
    let tokens = Arc::new(AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).unwrap());
    let (mut shared, _) = in_process(tokens, wall_clock()).unwrap();
    let settings = ClientSettings::from([("bootstrap.servers".to_owned(), bootstrap.clone())]);
    shared.kafka = KafkaTargets::new(None, BTreeMap::from([("books".to_owned(), settings)]), BTreeSet::new());
    let document = OF_AVRO.replace("TOPIC", &topic).replace("ID}", &format!("{id}}}"));
    let files = BTreeMap::from([("entry.avsc".to_owned(), ENTRY.to_owned())]);
    shared.apply(&Sources { name: "routing.yaml".into(), document, files }, "test").unwrap();
    let node = shared.start("w", 1, 0).await.unwrap();
    for n in 0..3 {
        submit(&shared, &format!("entry-{n}"), "entry").await;
    }
    for n in 0..3 {
        let state = until(&node, &format!("entry-{n}"), |state| state.settled_at.is_some()).await;
        assert_eq!(state.state, State::Completed, "{state:#?}");
    }
    let of_topic = topic.clone();
    let mut records = tokio::task::spawn_blocking(move || {
        let mut join = program("join.py");
        join.args(["consume", "--bootstrap", &bootstrap, "--registry", &registry]);
        lines_of(join.args(["--topic", &of_topic, "--count", "3"]))
    })
    .await
    .unwrap();
    records.sort_by_key(|record| record["key"].to_string());
    for (n, record) in records.iter().enumerate() {
        let id = format!("entry-{n}");
        assert_eq!(record["key"], id, "without a key of its own a record has the file's");
        assert_eq!(record["value"], serde_json::json!({"id": id, "amount": 10.0, "note": null}));
    }
    assert_eq!(records.len(), 3);
    tokio::time::timeout(Duration::from_secs(60), node.stop()).await.unwrap();
}
