//! Files whose bytes are fetched before they are planned: from a directory, and over HTTP.

use consign::record::{FileManifest, State, Status};
use consign::routing::sha256_digest;

use crate::world::{self, World};

const ORDERS: &str = "id,amount\n17,10.50\n18,3\n";

fn order(world: &World, file_id: &str, name: &str) -> FileManifest {
    FileManifest {
        location: Some(world.location(name)),
        size: Some(i64::try_from(ORDERS.len()).unwrap()),
        checksum: Some(sha256_digest(ORDERS.as_bytes())),
        data: None,
        ..world::manifest(file_id, "sheet")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_file_reach_a_target_and_its_digest_is_in_the_plan() {
    let world = World::start().await;
    world.lay("a.csv", ORDERS);
    world.submit(&order(&world, "order-1", "a.csv")).await;
    let state = world.settled("order-1").await;
    assert_eq!(state.state, State::Completed, "{state:#?}");
    assert_eq!(state.content_digest, Some(sha256_digest(ORDERS.as_bytes())));
    assert_eq!(state.dispatches.len(), 1, "the fetch is over");
    let received = world.journal.of_key("order-1/counted");
    assert_eq!(received.len(), 1);
    assert_eq!(format!("sha256:{}", received[0].body_sha256), sha256_digest(br#"{"first":"17","rows":2}"#));
    world.history("order-1", |text| text.contains("as_announced") && text.contains("~file")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_fails_with_expected_and_found_before_any_target_hears_of_it() {
    let world = World::start().await;
    world.lay("a.csv", &ORDERS.replace("10.50", "99.99"));
    world.submit(&order(&world, "order-1", "a.csv")).await;
    world.submit(&order(&world, "order-2", "vanished.csv")).await;
    world.submit(&order(&world, "order-3", "../secrets")).await;
    for (id, says) in
        [("order-1", "digest_differs: expected sha256:"), ("order-2", "missing"), ("order-3", "location_refused")]
    {
        let state = world.settled(id).await;
        assert_eq!(state.state, State::Failed);
        let reason = state.reason.clone().unwrap();
        assert_eq!(reason.code, "CG150");
        assert!(reason.text.contains(says), "{}", reason.text);
        assert_eq!(state.accountable.as_ref().unwrap().party, "producer:test");
        assert_eq!(world.requests(&format!("{id}/counted")), 0);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_away_is_asked_again_and_a_restart_changes_nothing() {
    let mut world = World::start().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let location = Some(format!("http://{nobody}/a.csv"));
    world.submit(&FileManifest { location, ..order(&world, "order-1", "a.csv") }).await;
    let waits = world.until("order-1", |s| s.dispatches.iter().any(|d| d.status == Status::BackingOff)).await;
    assert_eq!(waits.state, State::Received);
    assert_eq!(waits.next_event.as_ref().unwrap().target.as_ref().unwrap().as_str(), "~file");
    world.restart().await;
    let state = world.settled("order-1").await;
    assert_eq!(state.state, State::Failed);
    assert!(state.reason.as_ref().unwrap().text.contains("after 3 attempts"), "{:?}", state.reason);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_csv_fail_validation_with_their_line() {
    let world = World::start().await;
    let broken = "id,amount\n17\n";
    world.lay("a.csv", broken);
    let manifest = FileManifest { size: None, checksum: None, ..order(&world, "order-1", "a.csv") };
    world.submit(&manifest).await;
    let reason = world.settled("order-1").await.reason.clone().unwrap();
    assert_eq!(reason.code, "CG151");
    assert!(reason.text.contains("line 2"), "{}", reason.text);
    world.stop().await;
}
