use std::sync::Arc;

use consign::record::{Action, HistoryEvent, Intervention, Judgement, SettledBy, State, Status, Topic, home_partition};
use serde_json::{Value, json};

use crate::world::{HOME_PARTITIONS, Reply, World, event, file, held};

const CONFIRM: &str = "/v1/files/inv-1/dispatches/billing/interventions?wait=60s";

/// Asks in the background; gives the intervention that reached the log.
async fn asking(world: &Arc<World>, path: &str, body: Value) -> (tokio::task::JoinHandle<Reply>, Intervention) {
    let before = world.cluster.dump(Topic::Interventions).len();
    let (caller, path) = (Arc::clone(world), path.to_owned());
    let call = tokio::spawn(async move { caller.post(&path, &body).await });
    while world.cluster.dump(Topic::Interventions).len() == before {
        assert!(!call.is_finished(), "{:?}", call.await);
        tokio::task::yield_now().await;
    }
    (call, world.appended(Topic::Interventions).pop().unwrap())
}

fn judged(version: i64, asked: &Intervention, judgement: Judgement, code: Option<&str>) -> HistoryEvent {
    HistoryEvent {
        target: asked.target.clone(),
        intervention: Some(asked.clone()),
        code: code.map(str::to_owned),
        ..event(version, judgement)
    }
}

#[tokio::test]
async fn an_applied_intervention_comes_back_with_the_file_after_it() {
    let world = Arc::new(World::start().await);
    world.state(&held("inv-1")).await;
    let body = json!({"action": "confirm", "reason": " seen ", "evidence": "entry 4711", "seen_version": 3});
    let (call, asked) = asking(&world, CONFIRM, body).await;
    assert_eq!((asked.action, asked.reason.as_str(), asked.actor.as_str()), (Action::Confirm, "seen", "local"));
    assert_eq!((asked.seen_version, asked.evidence.as_deref()), (Some(3), Some("entry 4711")));
    let record = &world.cluster.dump(Topic::Interventions)[0];
    assert_eq!(record.key.as_deref(), Some("inv-1/billing".as_bytes()));
    assert_eq!(record.at.partition, home_partition("inv-1", HOME_PARTITIONS));

    world.event("inv-1", 1, judged(4, &asked, Judgement::Applied, None));
    let mut after = held("inv-1");
    after.version = 4;
    after.state = State::Completed;
    after.dispatches[0].status = Status::Succeeded;
    after.dispatches[0].settled_by = Some(SettledBy::Operator);
    world.state(&after).await;
    let answer = call.await.unwrap().expect(200);
    assert_eq!(answer["judgement"], "applied");
    assert_eq!(answer["intervention_id"], asked.intervention_id);
    assert_eq!((&answer["file"]["state"], &answer["file"]["version"]), (&json!("COMPLETED"), &json!(4)));
    assert_eq!(answer["successor"], Value::Null);
}

#[tokio::test]
async fn a_refusal_is_found_even_if_the_state_does_not_change() {
    let world = Arc::new(World::start().await);
    world.state(&held("inv-1")).await;
    let (call, asked) = asking(&world, CONFIRM, json!({"action": "fail", "reason": "why", "seen_version": 1})).await;
    world.event("inv-1", 1, judged(4, &asked, Judgement::Refused, Some("stale")));
    let answer = call.await.unwrap().expect(200);
    assert_eq!((&answer["judgement"], &answer["code"]), (&json!("refused"), &json!("stale")));
    assert_eq!(answer["file"]["dispatches"][0]["status"], "HELD");
}

#[tokio::test]
async fn one_that_is_not_judged_in_time_is_202() {
    let world = Arc::new(World::start().await);
    world.state(&held("inv-1")).await;
    let path = "/v1/files/inv-1/dispatches/billing/interventions?wait=10ms";
    let (call, asked) = asking(&world, path, json!({"action": "retry", "reason": "why"})).await;
    let answer = call.await.unwrap().expect(202);
    assert_eq!((&answer["judgement"], &answer["event"]), (&Value::Null, &Value::Null));
    assert_eq!(answer["intervention_id"], asked.intervention_id);
    assert_eq!(asked.seen_version, None, "the gateway doesn't say what a person saw");
}

#[tokio::test]
async fn an_id_that_was_judged_asks_no_second_time() {
    let world = Arc::new(World::start().await);
    world.state(&held("inv-1")).await;
    let body = json!({"action": "confirm", "reason": "why", "intervention_id": "mine"});
    let (call, asked) = asking(&world, CONFIRM, body.clone()).await;
    assert_eq!(asked.intervention_id, "mine");
    world.event("inv-1", 1, judged(4, &asked, Judgement::Refused, Some("stale")));
    call.await.unwrap().expect(200);
    assert_eq!(world.post(CONFIRM, &body).await.expect(200)["judgement"], "refused");
    assert_eq!(world.cluster.dump(Topic::Interventions).len(), 1);
}

#[tokio::test]
async fn a_resubmit_names_the_successor() {
    let world = Arc::new(World::start().await);
    world.state(&file("inv-1", State::Failed, 5)).await;
    let path = "/v1/files/inv-1/interventions?wait=60s";
    let body = json!({"action": "resubmit", "reason": "repaired", "resend_unknown": true});
    let (call, asked) = asking(&world, path, body).await;
    assert!(asked.resend_unknown && asked.target.is_none());
    assert_eq!(world.cluster.dump(Topic::Interventions)[0].key.as_deref(), Some("inv-1/".as_bytes()));
    world.event("inv-1", 1, judged(6, &asked, Judgement::Applied, None));
    world.state(&file("inv-1", State::Failed, 6)).await;
    assert_eq!(call.await.unwrap().expect(200)["successor"], "inv-1~1");
}

#[tokio::test]
async fn what_can_not_be_meant_never_reaches_the_log() {
    let world = World::start().await;
    world.state(&held("inv-1")).await;
    let ask = async |path: &str, body: Value| world.post(path, &body).await;
    let (on_file, on_dispatch) = ("/v1/files/inv-1/interventions", "/v1/files/inv-1/dispatches/billing/interventions");
    for (path, action) in
        [(on_file, "retry"), (on_file, "start_successor"), (on_dispatch, "cancel"), (on_dispatch, "start_successor")]
    {
        ask(path, json!({"action": action, "reason": "why"})).await.expect_problem(400, "CG303");
    }
    ask(on_dispatch, json!({"action": "retry", "reason": " "})).await.expect_problem(400, "CG303");
    ask(on_dispatch, json!({"action": "retry", "reason": "x", "intervention_id": "a b"}))
        .await
        .expect_problem(400, "CG303");
    ask(on_dispatch, json!({"action": "retry", "reason": "x", "resend_unknown": true}))
        .await
        .expect_problem(400, "CG303");
    let evidence = "x".repeat(20_000);
    ask(on_dispatch, json!({"action": "confirm", "reason": "x", "evidence": evidence}))
        .await
        .expect_problem(400, "CG303");
    // Nobody but the engine and the token says who asks.
    ask(on_dispatch, json!({"action": "retry", "reason": "x", "actor": "ann"})).await.expect_problem(400, "CG301");
    ask(on_dispatch, json!({"action": "explode", "reason": "x"})).await.expect_problem(400, "CG301");
    let retry = json!({"action": "retry", "reason": "x"});
    ask("/v1/files/inv-1/dispatches/ledger/interventions", retry.clone()).await.expect_problem(404, "CG321");
    ask("/v1/files/inv-1/dispatches/A_B/interventions", retry.clone()).await.expect_problem(400, "CG302");
    ask("/v1/files/inv-2/dispatches/billing/interventions", retry).await.expect_problem(404, "CG320");
    assert!(world.cluster.dump(Topic::Interventions).is_empty());
}
