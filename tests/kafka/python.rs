//! Another language's stock clients on the same topics.

use consign::log::TopicPartition;
use consign::record::{Codec, FileManifest, Topic, home_partition};
use serde_json::Value;

use crate::bed::{Bed, at, server};
use crate::python_env::{lines_of, program};
use crate::schemas::client;

const PARTITIONS: i32 = 5;

/// Runs tests/kafka/join.py; gives its lines.
fn join(command: &str, bed: &Bed, topic: Topic, more: &[&str]) -> Vec<Value> {
    let mut join = program("join.py");
    join.args([command, "--bootstrap", &bed.options.bootstrap, "--registry", &server("SCHEMA_REGISTRY_URL")]);
    lines_of(join.args(["--topic", &bed.names.name(topic)]).args(more))
}

#[test]
fn a_python_producer_and_we_understand_each_other() {
    let bed = Bed::new("python", PARTITIONS);
    let client = client(&server("SCHEMA_REGISTRY_URL"), bed.names.prefix());
    client.registry.register().unwrap();
    let file_ids: Vec<String> = (0..12).map(|n| format!("invoice-{n}")).collect();
    let file_ids: Vec<&str> = file_ids.iter().map(String::as_str).collect();
    let by_default = join("produce", &bed, Topic::Manifests, &file_ids);
    let mut murmur2 = vec!["--partitioner", "murmur2_random"];
    murmur2.extend(&file_ids);
    let by_murmur2 = join("produce", &bed, Topic::Manifests, &murmur2);
    assert_eq!((by_default.len(), by_murmur2.len()), (12, 12));
    let strays = |placed: &[Value]| {
        let at_home = |p: &&Value| {
            i64::from(home_partition(p["file_id"].as_str().unwrap(), PARTITIONS)) == p["partition"].as_i64().unwrap()
        };
        placed.len() - placed.iter().filter(at_home).count()
    };
    // Java's partitioner is murmur2's; librdkafka's default is another, whose records the engine forwards home.
    assert_eq!(strays(&by_murmur2), 0);
    assert!(strays(&by_default) > 0);

    let codec = Codec::new(client.registry.clone());
    let all: Vec<TopicPartition> = (0..PARTITIONS).map(|p| at(Topic::Manifests, p)).collect();
    let records = bed.read(&all);
    assert_eq!(records.len(), 24);
    for record in &records {
        let manifest: FileManifest = codec.decode(record.value.as_ref().unwrap()).unwrap();
        assert_eq!(record.key.as_deref(), Some(manifest.file_id.as_str().as_bytes()));
        assert_eq!((manifest.produced_by.as_str(), manifest.data.as_deref()), ("join.py", Some(r#"{"amount": 12.5}"#)));
        assert!(manifest.produced_at.0 > 1_700_000_000_000);
    }

    let one = join("consume", &bed, Topic::Manifests, &["--count", "2", "--key", "invoice-7"]);
    assert_eq!(one.len(), 2);
    assert_eq!(one[0]["value"]["file_id"], "invoice-7");
    assert_eq!(one[1]["value"]["attributes"]["from"], "python");
}
