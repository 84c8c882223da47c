//! The whole product in one process, on the in-process log, against receivers on real sockets.

mod bad_input;
mod bulkheads;
mod callbacks;
mod canary;
mod feed;
mod fetching;
mod hints;
mod logged;
mod monster;
mod numbers;
mod pausing;
mod trouble;
mod world;

use std::time::Duration;

use consign::record::{State, Status, Topic};
use world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_reaches_its_one_target() {
    let world = World::start().await;
    world.submit(&world::manifest("note-1", "note")).await;
    let state = world.settled("note-1").await;
    assert_eq!(state.state, State::Completed);
    assert_eq!(state.dispatches.len(), 1);
    assert_eq!(state.dispatches[0].status, Status::Succeeded);
    assert_eq!(world.requests("note-1/archive"), 1);
    assert_eq!(world.cluster.dump(Topic::Arrivals).len(), 1);
    assert_eq!(world.cluster.dump(Topic::Attempts).len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_manifest_twice_is_one_file() {
    let world = World::start().await;
    for _ in 0..3 {
        world.submit(&world::manifest("note-1", "note")).await;
    }
    world.settled("note-1").await;
    world.submit(&world::manifest("note-2", "note")).await;
    world.settled("note-2").await;
    assert_eq!(world.requests("note-1/archive"), 1);
    assert_eq!(world.cluster.dump(Topic::DeadLetters).len(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_route_fails_validation() {
    let world = World::start().await;
    world.submit(&world::manifest("memo-1", "memo")).await;
    let state = world.settled("memo-1").await;
    assert_eq!(state.state, State::Failed);
    assert_eq!(state.accountable.as_ref().unwrap().party, "producer:test");
    assert!(world.journal.entries().is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_confirm_and_what_comes_after_waits_for_them() {
    let world = World::start().await;
    world.submit(&world::manifest("shipment-1", "shipment")).await;
    let state = world.settled("shipment-1").await;
    assert_eq!(state.state, State::Completed, "{state:#?}");
    assert_eq!(world.requests("shipment-1/ledger"), 1);
    assert_eq!(world.requests("shipment-1/warehouse"), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_later_goes_on_where_the_first_stopped() {
    let mut world = World::start().await;
    world.submit(&world::manifest("payment-1", "payment")).await;
    let held = world.until("payment-1", |s| s.dispatches.iter().any(|d| d.status == Status::Held)).await;
    world.restart().await;
    world.submit(&world::manifest("note-9", "note")).await;
    assert_eq!(world.settled("note-9").await.state, State::Completed);
    assert_eq!(*world.until("payment-1", |_| true).await, *held);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.requests("payment-1/legacy"), 1, "HELD files send nothing after a restart");
    world.stop().await;
}
