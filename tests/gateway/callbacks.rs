//! What callbacks must not do before anything is known of them.

use consign::log::memory::{Fault, FaultPoint};
use consign::record::{State, Status, Topic};
use reqwest::Method;
use serde_json::json;

use crate::world::{World, dispatch, file};

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_checked_is_not_believed() {
    let world = World::start().await;
    let mut awaiting = file("inv-1", State::Distributing, 3);
    awaiting.dispatches = vec![dispatch("billing", Status::Awaiting)];
    world.state(&awaiting).await;
    // The view can't read on: the key by which the receiver signs may have come meanwhile.
    world.cluster.faults(Box::new(|point| match point {
        FaultPoint::Read { .. } => Fault::Away,
        _ => Fault::NONE,
    }));
    while world.view.freshness().trouble.is_none() {
        tokio::task::yield_now().await;
    }
    let report = json!({"outcome": "SUCCEEDED"});
    let token = Some("token of inv-1/billing");
    let reply = world.call(Method::POST, "/v1/callbacks/inv-1/billing", Some(&report), token).await;
    reply.expect_problem(503, "CG340");
    assert_eq!(world.cluster.dump_uncommitted(Topic::Outcomes).len(), 0);
}
