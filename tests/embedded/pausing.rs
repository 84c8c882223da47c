//! What `targets pause` promises: each worker obeys within a moment, and from then on authorizes nothing.

use consign::record::{Status, home_partition};
use serde_json::{Value, json};

use crate::world::{self, World};

async fn change(world: &World, verb: &str) -> Value {
    let url = format!("{}/v1/targets/archive/{verb}", world.url());
    let reply = reqwest::Client::new().post(url).json(&json!({"reason": "a test"})).send().await.unwrap();
    assert!(reply.status().is_success(), "{reply:?}");
    reply.json().await.unwrap()
}

/// Submits a file for the paused target, and behind it on the same partition one for another: once that one has been sent and
/// answered, the worker has had the time to send the first. Says whether it did.
async fn is_sent(world: &World, n: usize) -> bool {
    let id = format!("probe-{n}");
    let home = home_partition(&id, 4);
    let behind = (0..1_000).map(|k| format!("behind-{n}-{k}")).find(|id| home_partition(id, 4) == home).unwrap();
    world.submit(&world::manifest(&id, "note")).await;
    world.submit(&world::manifest(&behind, "deed")).await;
    world.until(&behind, |s| s.dispatches.first().is_some_and(|d| d.status == Status::Awaiting)).await;
    world.until(&id, |_| true).await.dispatches[0].attempts > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_answers_lets_a_target_be_paused_and_resumed() {
    let mut world = World::start().await;
    for verb in ["pause", "resume"].repeat(10) {
        world.restart().await;
        assert_eq!(change(&world, verb).await["changed"], true, "a process that has only begun");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_worker_obeys_within_a_moment_and_sends_nothing_from_then_on() {
    let world = World::start().await;
    let paused = change(&world, "pause").await;
    assert_eq!((&paused["changed"], &paused["target"]["paused"]), (&true.into(), &true.into()), "{paused:#}");
    let mut sent = Vec::new();
    let mut obeyed = [false; 4];
    for n in 0..40 {
        let home = usize::try_from(home_partition(&format!("probe-{n}"), 4)).unwrap();
        let is_sent = is_sent(&world, n).await;
        assert!(!(is_sent && obeyed[home]), "probe-{n}: the worker of {home} had obeyed before");
        obeyed[home] |= !is_sent;
        sent.push(is_sent);
    }
    assert_eq!(obeyed, [true; 4], "every worker obeys: {sent:?}");
    let waiting = sent.iter().filter(|sent| !**sent).count();
    assert!(waiting >= 36, "within a moment: {sent:?}");
    let resumed = change(&world, "resume").await;
    assert_eq!(resumed["target"]["paused"], false);
    for n in 0..40 {
        let probe = world.settled(&format!("probe-{n}")).await;
        assert_eq!(probe.dispatches[0].status, Status::Succeeded);
        assert_eq!(world.requests(&format!("probe-{n}/archive")), 1);
    }
    world.stop().await;
}
