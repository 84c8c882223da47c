//! Broker and registry go away and come back, while nothing happens and while much does.

use std::time::Duration;

use consign::record::{State, Topic};

use crate::servers::OwnBed;
use crate::world::{PATIENCE, Process, World};

/// What is promised of `/readyz`.
const NOTICED: Duration = Duration::from_secs(10);

/// How long the broker stays away.
const OUTAGE: Duration = Duration::from_secs(30);

const FILES: i64 = 300;

fn completed(world: &World) -> i64 {
    world.view.census().files.get(&State::Completed).copied().unwrap_or(0)
}

async fn until_completed(world: &World, files: i64) {
    let done = world.view.wait_until(PATIENCE, || completed(world) >= files).await;
    assert!(done, "{files} files: {:?}", world.view.census());
}

async fn goes_and_is_noticed(bed: &OwnBed, process: &Process, server: &str, says: &[&str]) {
    tokio::task::block_in_place(|| bed.kill(server));
    for says in says {
        let took = process.until_ready_says(503, says).await;
        println!("{server}: {says} after {took:?}");
        assert!(took < NOTICED, "{says}: only after {took:?}");
    }
    assert!(process.metrics().await.contains("consign_ready 0"));
}

async fn comes_back(bed: &OwnBed, process: &Process, server: &str) {
    tokio::task::block_in_place(|| bed.revive(server));
    process.until_ready_says(200, "true").await;
    assert!(process.metrics().await.contains("consign_ready 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_said_and_survived_idle_and_busy() {
    let bed = tokio::task::block_in_place(OwnBed::start);
    let world = World::on("outage", bed.servers());
    let process = world.start("p");
    process.until_ready_says(200, "true").await;

    // Idle.
    goes_and_is_noticed(&bed, &process, "broker", &["worker 0: CG218", "worker 1: CG218", "view: CG218"]).await;
    comes_back(&bed, &process, "broker").await;
    goes_and_is_noticed(&bed, &process, "registry", &["registry: CG208"]).await;

    // Files that come while the registry is away need no schema that isn't known.
    for n in 0..20 {
        world.submit(&format!("early-{n}")).await;
    }
    until_completed(&world, 20).await;
    comes_back(&bed, &process, "registry").await;

    // Busy.
    for n in 0..FILES {
        world.submit(&format!("file-{n}")).await;
    }
    until_completed(&world, 40).await;
    let went = tokio::time::Instant::now();
    goes_and_is_noticed(&bed, &process, "broker", &["worker 0: CG218", "view: CG218"]).await;
    println!("{} files were COMPLETED when the broker went", completed(&world));
    tokio::time::sleep_until(went + OUTAGE).await;
    comes_back(&bed, &process, "broker").await;
    until_completed(&world, FILES + 20).await;

    assert_eq!(world.read(Topic::DeadLetters).len(), 0);
    assert_eq!(process.stop().code(), Some(0), "it never restarted");
    let report = world.verify();
    let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    world.end().await;
}
