use consign::record::{ActiveRouting, Control, PausedBy, RoutingBundle, Status, TargetName, Topic, pause_name};
use serde_json::json;

use crate::world::{PATIENCE, World, held, now};

fn by_engine() -> Control {
    let target = TargetName::trusted("billing");
    Control::refused(&target, "http_401".into(), now(), ("worker-1", "refused", now()))
}

async fn routed() -> World {
    let world = World::start().await;
    let said = ("ann", "first", now());
    let bundle = RoutingBundle {
        digest: "sha256:1".into(),
        name: "routing.yaml".into(),
        document: String::new(),
        files: std::collections::BTreeMap::new(),
    };
    world.control(&Control::keeping(bundle, said));
    let active = ActiveRouting { routing_digest: "sha256:1".into(), breaking_accepted: None, answers: Vec::new() };
    world.control(&Control::activating(active, said));
    assert!(world.view.wait_until(PATIENCE, || world.view.controls().active().is_some()).await);
    world
}

#[tokio::test]
async fn targets_come_from_the_routing_document_and_from_files() {
    let world = routed().await;
    let mut file = held("inv-1");
    file.dispatches.push(crate::world::dispatch("old-target", Status::Pending));
    world.state(&file).await;
    let targets = world.get("/v1/targets").await.expect(200);
    assert_eq!(targets["routing_digest"], "sha256:1");
    let targets = targets["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 2);
    assert_eq!((&targets[0]["target"], &targets[0]["owner"]), (&json!("billing"), &json!("team-billing")));
    assert_eq!(targets[0]["dispatches"], json!({"HELD": 1}));
    assert_eq!(targets[0]["oldest_open"], 1_700_000_000_000_i64);
    assert_eq!((&targets[1]["target"], &targets[1]["owner"]), (&json!("old-target"), &json!(null)));
}

#[tokio::test]
async fn a_pause_is_recorded_with_who_and_why_and_once() {
    let world = routed().await;
    let pause = json!({"reason": "maintenance"});
    let changed = world.post("/v1/targets/billing/pause", &pause).await.expect(200);
    assert_eq!(changed["changed"], true);
    let said = &changed["target"]["pauses"][0];
    assert_eq!(
        (&said["by"], &said["actor"], &said["reason"]),
        (&json!("operator"), &json!("local"), &json!("maintenance"))
    );
    let again = world.post("/v1/targets/billing/pause", &pause).await.expect(200);
    assert_eq!((&again["changed"], &again["target"]["paused"]), (&json!(false), &json!(true)));
    let name = pause_name(&TargetName::trusted("billing"), PausedBy::Operator);
    let records = world.cluster.dump(Topic::Controls);
    assert_eq!(records.iter().filter(|r| r.key.as_deref() == Some(name.as_bytes())).count(), 1);
    assert!(
        world
            .get("/metrics")
            .await
            .text
            .contains("consign_paused_targets{paused_by=\"operator\",target=\"billing\"} 1")
    );
}

#[tokio::test]
async fn a_resume_ends_every_pause() {
    let world = routed().await;
    world.control(&by_engine());
    world.post("/v1/targets/billing/pause", &json!({"reason": "me too"})).await.expect(200);
    let billing = TargetName::trusted("billing");
    let both = || world.view.controls().pauses(&billing).len() == 2;
    assert!(world.view.wait_until(PATIENCE, both).await);
    let targets = world.get("/v1/targets").await.expect(200);
    assert_eq!(targets["targets"][0]["pauses"].as_array().unwrap().len(), 2);
    assert_eq!(targets["targets"][0]["pauses"][0]["code"], "http_401");
    let resumed = world.post("/v1/targets/billing/resume", &json!({"reason": "renewed"})).await.expect(200);
    assert_eq!((&resumed["changed"], &resumed["target"]["paused"]), (&json!(true), &json!(false)));
    assert!(world.view.controls().resumed_at(&TargetName::trusted("billing")).is_some());
    let again = world.post("/v1/targets/billing/resume", &json!({"reason": "renewed"})).await.expect(200);
    assert_eq!(again["changed"], false);
}

#[tokio::test]
async fn a_slip_of_the_pen_pauses_nothing() {
    let world = routed().await;
    let before = world.cluster.dump(Topic::Controls).len();
    let why = json!({"reason": "why"});
    let problem = world.post("/v1/targets/biling/pause", &why).await.expect_problem(404, "CG323");
    assert!(problem["detail"].as_str().unwrap().contains("billing"));
    world.post("/v1/targets/A_B/pause", &why).await.expect_problem(400, "CG302");
    world.post("/v1/targets/billing/pause", &json!({"reason": ""})).await.expect_problem(400, "CG303");
    assert_eq!(world.cluster.dump(Topic::Controls).len(), before);
}
