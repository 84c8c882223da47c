//! The registry is away while a process is restarted and records come whose schema nobody here has met.

use std::time::Duration;

use consign::log::{Append, Cluster as _};
use consign::record::{Topic, home_partition};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::servers::OwnBed;
use crate::setup::Setup;
use crate::world::{HOME_PARTITIONS, PATIENCE, World};

const OUTAGE: Duration = Duration::from_secs(30);
const PLAIN: usize = 40;
const NEWER: usize = 20;

/// Registers what a producer of a later version writes: the manifest with one more optional field. Gives the schema's id.
async fn register_newer(world: &World) -> u32 {
    let mut schema: Value = serde_json::from_str(Topic::Manifests.schema().unwrap()).unwrap();
    let field = json!({"name": "of_a_later_version", "type": ["null", "string"], "default": null, "doc": "New."});
    schema["fields"].as_array_mut().unwrap().push(field);
    let url = format!("{}/subjects/{}-value/versions", world.servers.registry, world.name(Topic::Manifests));
    let reply = reqwest::Client::new().post(url).json(&json!({"schema": schema.to_string()})).send().await.unwrap();
    let reply: Value = reply.json().await.unwrap();
    u32::try_from(reply["id"].as_u64().unwrap_or_else(|| panic!("{reply}"))).unwrap()
}

/// A manifest as that producer writes it: under the other schema, with the new field behind the others, null.
fn newer(world: &World, id: u32, file_id: &str) -> Append {
    let mut announcement = world.announcement(file_id, home_partition(file_id, HOME_PARTITIONS));
    let value = announcement.value.as_mut().unwrap();
    value[1..5].copy_from_slice(&id.to_be_bytes());
    value.push(0);
    announcement
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_registry_is_away_and_a_process_restarts() {
    let bed = tokio::task::block_in_place(OwnBed::start);
    let targets = vec!["quick", "busy", "acking", "held"];
    let world = World::of(Setup { targets, ..Setup::new("registry-away", bed.servers()) });
    let (a, b) = (world.start("a"), world.start("b"));
    a.until_ready_says(200, "true").await;
    b.until_ready_says(200, "true").await;
    let id = register_newer(&world).await;

    tokio::task::block_in_place(|| bed.kill("registry"));
    let went = Instant::now();
    a.until_ready_says(503, "registry: CG208").await;
    assert_eq!(b.stop().code(), Some(0));
    world.submit_all((0..PLAIN).map(|n| format!("plain-{n}"))).await;
    let appender = world.cluster.appender().unwrap();
    for n in 0..NEWER {
        appender.append(newer(&world, id, &format!("newer-{n}"))).await.unwrap();
    }
    // It can't know what the schemas behind the ids are, and doesn't begin.
    let (code, said) = world.run_once(&["--instance", "b"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("CG404"), "{said}");
    // What needs nothing new goes on, whosever it was; the rest waits.
    let done = world.view.wait_until(PATIENCE, || world.completed() >= PLAIN).await;
    assert!(done, "{:?}: {:?}", a.readyz().await, world.view.census());
    a.until_ready_says(503, "waits: ").await;
    assert_eq!(world.completed(), PLAIN, "nobody knows what the others say");
    tokio::time::sleep_until(went + OUTAGE).await;

    tokio::task::block_in_place(|| bed.revive("registry"));
    let b = world.start("b");
    let done = world.view.wait_until(PATIENCE, || world.completed() >= PLAIN + NEWER).await;
    assert!(done, "{:?}: {:?}", a.readyz().await, world.view.census());
    for process in [&a, &b] {
        process.until_ready_says(200, "true").await;
    }
    assert_eq!(world.read(Topic::DeadLetters).len(), 0);
    assert_eq!((a.stop().code(), b.stop().code()), (Some(0), Some(0)));
    world.verify_clean();
    world.end().await;
}
