//! Broker and registry go away and come back, while nothing happens and while much does.

use std::time::Duration;

use consign::record::{Status, Topic};
use tokio::time::Instant;

use crate::servers::OwnBed;
use crate::setup::Setup;
use crate::world::{PATIENCE, Process, World};

/// What is promised of `/readyz`.
const NOTICED: Duration = Duration::from_secs(10);

/// How long a server stays away.
const OUTAGE: Duration = Duration::from_secs(30);

/// Files of each busy time. One target holds each request for 1.5 s, 32 at a time.
const FILES: usize = 320;

/// Files that are open when a server goes, at least.
const OPEN: usize = FILES / 2;

async fn until_completed(world: &World, files: usize) {
    let done = world.view.wait_until(PATIENCE, || world.completed() >= files).await;
    assert!(done, "{files} files: {:?}", world.view.census());
}

/// Announces files and waits until they are in the midst of it: nearly all open, and requests on the wire.
async fn busy(world: &World, name: &str) {
    let before = world.completed();
    world.submit_all((0..FILES).map(|n| format!("{name}-{n}"))).await;
    let in_flight = || {
        let census = world.view.census();
        census.dispatches.iter().filter(|((_, status), _)| *status == Status::InFlight).map(|(_, n)| *n).sum::<i64>()
    };
    until_completed(world, before + 20).await;
    assert!(world.view.wait_until(PATIENCE, || in_flight() > 0).await);
    let open = before + FILES - world.completed();
    println!("{name}: {open} files are open, {} dispatches IN_FLIGHT", in_flight());
    assert!(open >= OPEN, "only {open} files are open");
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
    let targets = vec!["quick", "stalling", "busy", "acking", "held"];
    let world = World::of(Setup { targets, ..Setup::new("outage", bed.servers()) });
    let mut process = world.start("p");
    process.until_ready_says(200, "true").await;

    // Idle.
    goes_and_is_noticed(&bed, &process, "broker", &["worker 0: CG218", "worker 1: CG218", "view: CG218"]).await;
    comes_back(&bed, &process, "broker").await;

    busy(&world, "without-broker").await;
    let went = Instant::now();
    goes_and_is_noticed(&bed, &process, "broker", &["worker 0: CG218", "view: CG218"]).await;
    tokio::time::sleep_until(went + OUTAGE).await;
    comes_back(&bed, &process, "broker").await;
    until_completed(&world, FILES).await;

    // What is under way and what comes needs no schema that isn't known.
    busy(&world, "without-registry").await;
    let went = Instant::now();
    goes_and_is_noticed(&bed, &process, "registry", &["registry: CG208"]).await;
    for n in 0..20 {
        world.submit(&format!("meanwhile-{n}")).await;
    }
    until_completed(&world, 2 * FILES + 20).await;
    tokio::time::sleep_until(went + OUTAGE).await;
    comes_back(&bed, &process, "registry").await;

    assert_eq!(world.read(Topic::DeadLetters).len(), 0);
    assert_eq!(process.has_ended(), None);
    assert_eq!(process.stop().code(), Some(0), "it never restarted");
    world.verify_clean();
    world.end().await;
}
