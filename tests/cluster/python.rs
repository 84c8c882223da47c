//! A producer and a consumer that know nothing of consign but its topics: Python's stock clients, their own Avro
//! serializer and their default partitioner.

use consign::log::Record;
use consign::record::Topic;
use serde_json::Value;

use crate::python_env::{lines_of, program};
use crate::world::World;

fn join(world: &World, command: &str, topic: Topic, more: &[&str]) -> Vec<Value> {
    let mut join = program("join.py");
    lines_of(join.arg(command).args(world.servers(topic)).args(["--seconds", "120"]).args(more))
}

#[tokio::test(flavor = "multi_thread")]
async fn any_producer_announces_and_any_team_joins_the_state() {
    let world = World::new("stock");
    let process = world.start("p");
    let file_ids: Vec<String> = (0..12).map(|n| format!("python-{n}")).collect();
    let mut arguments = vec!["--file-type", "batch", "--data", r#"{"n": "py"}"#];
    arguments.extend(file_ids.iter().map(String::as_str));
    let placed = tokio::task::block_in_place(|| join(&world, "produce", Topic::Manifests, &arguments));
    assert_eq!(placed.len(), file_ids.len());
    let completed = ["--count", "12", "--field", "state=COMPLETED"];
    let states = tokio::task::block_in_place(|| join(&world, "consume", Topic::FileState, &completed));
    let mut keys: Vec<&str> = states.iter().map(|s| s["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 12, "each file is COMPLETED once");
    for state in &states {
        let value = &state["value"];
        assert_eq!(
            (value["file_id"].as_str(), value["produced_by"].as_str()),
            (state["key"].as_str(), Some("join.py"))
        );
        assert_eq!(value["dispatches"].as_array().unwrap().len(), 5);
    }
    // Its partitioner isn't the engine's: some of them were astray, and were sent home once.
    let forwarded = |record: &Record| record.header("consign-origin-partition").is_some();
    let strays = world.read(Topic::Manifests).iter().filter(|record| forwarded(record)).count();
    assert!((1..=12).contains(&strays), "{strays} of 12 were forwarded home: {placed:?}");
    let metrics = process.metrics().await;
    let counted = format!("consign_forwarded_total{{topic=\"manifests\"}} {strays}");
    assert!(metrics.contains(&counted), "{counted} is not in {metrics}");
    assert_eq!(process.stop().code(), Some(0));
    let report = world.verify();
    let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    world.end().await;
}
