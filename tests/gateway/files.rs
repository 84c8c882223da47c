use consign::log::TopicPartition;
use consign::log::memory::{Fault, FaultPoint};
use consign::record::{
    Authorization, DispatchAttempt, FileId, Judgement, Outcome, OutcomeKind, Reporter, State, Status, TargetName,
    Timestamp, Topic, attempt_key, home_partition,
};

use crate::world::{HOME_PARTITIONS, PATIENCE, World, accept, cause, dispatch, event, file, held, now};

#[tokio::test]
async fn a_file_is_shown_as_it_stands_and_with_how_fresh_that_is() {
    let world = World::start().await;
    world.state(&held("inv-1")).await;
    let reply = world.get("/v1/files/inv-1").await;
    let shown = reply.expect(200);
    assert_eq!(shown["dispatches"][0]["held_because"], "fate_unknown");
    assert_eq!(reply.headers["consign-view-caught-up"], "true");
    let age: u64 = reply.headers["consign-view-age-ms"].to_str().unwrap().parse().unwrap();
    assert!(age < 60_000);
}

#[tokio::test]
async fn the_newest_state_stands_and_a_tombstone_removes_it() {
    let world = World::start().await;
    world.state(&file("inv-1", State::Received, 1)).await;
    world.state(&file("inv-1", State::Validated, 2)).await;
    assert_eq!(world.get("/v1/files/inv-1").await.expect(200)["state"], "VALIDATED");
    let partition = home_partition("inv-1", HOME_PARTITIONS);
    let at = TopicPartition { topic: Topic::FileState, partition };
    world.cluster.put(at, Some(b"inv-1".to_vec()), None, Vec::new()).unwrap();
    let gone = || world.view.file(&FileId::trusted("inv-1")).is_none();
    assert!(world.view.wait_until(PATIENCE, gone).await);
    world.get("/v1/files/inv-1").await.expect_problem(404, "CG320");
}

#[tokio::test]
async fn a_question_may_wait_for_a_version() {
    let world = World::start().await;
    world.state(&file("inv-1", State::Received, 1)).await;
    let (answer, ()) = tokio::join!(world.get("/v1/files/inv-1?wait=60s&version=2"), async {
        world.put(Topic::FileState, "inv-1", &file("inv-1", State::Validated, 2));
    });
    assert_eq!(answer.expect(200)["version"], 2);
    assert_eq!(world.get("/v1/files/inv-1?wait=10ms&version=9").await.expect(200)["version"], 2);
}

#[tokio::test]
async fn lists_are_filtered_and_paged_oldest_first() {
    let world = World::start().await;
    for (n, id) in ["c", "a", "b"].into_iter().enumerate() {
        let mut file = held(id);
        file.received_at = Timestamp(1_700_000_000_000 + i64::try_from(n).unwrap());
        world.state(&file).await;
    }
    let mut completed = file("d", State::Completed, 2);
    completed.dispatches.push(dispatch("ledger", Status::Succeeded));
    world.state(&completed).await;
    let ids = |value: &serde_json::Value| -> Vec<String> {
        value["files"].as_array().unwrap().iter().map(|f| f["file_id"].as_str().unwrap().to_owned()).collect()
    };
    let first = world.get("/v1/files?held=true&limit=2").await.expect(200);
    assert_eq!(ids(&first), ["c", "a"]);
    let next = format!("/v1/files?held=true&limit=2&after={}", first["next"].as_str().unwrap());
    let second = world.get(&next).await.expect(200);
    assert_eq!(ids(&second), ["b"]);
    assert!(second["next"].is_null());
    assert_eq!(ids(&world.get("/v1/files?state=COMPLETED").await.expect(200)), ["d"]);
    assert_eq!(ids(&world.get("/v1/files?target=ledger").await.expect(200)), ["d"]);
    assert_eq!(ids(&world.get("/v1/files?owner=team-billing").await.expect(200)), ["c", "a", "b"]);
    for wrong in ["state=DONE", "limit=0", "limit=1001", "after=x", "held=maybe", "target=A%20B", "sort=age"] {
        world.get(&format!("/v1/files?{wrong}")).await.expect_problem(400, "CG304");
    }
}

#[tokio::test]
async fn what_can_not_be_read_is_counted_and_what_follows_is_shown() {
    let world = World::start().await;
    let partition = home_partition("inv-1", HOME_PARTITIONS);
    let at = TopicPartition { topic: Topic::FileState, partition };
    for (key, value) in [(Some(b"inv-1".to_vec()), b"junk".to_vec()), (None, b"junk".to_vec())] {
        world.cluster.put(at, key, Some(value), Vec::new()).unwrap();
    }
    let foreign = world.codec.encode(&file("inv-2", State::Received, 1)).unwrap();
    world.cluster.put(at, Some(b"inv-1".to_vec()), Some(foreign), Vec::new()).unwrap();
    world.state(&file("inv-1", State::Received, 1)).await;
    assert_eq!(world.view.freshness().undecodable, 3);
    assert!(world.get("/metrics").await.text.contains("consign_view_undecodable_records 3"));
}

#[tokio::test]
async fn a_view_that_can_not_read_on_does_not_say_what_is_not_there() {
    let world = World::start().await;
    world.state(&file("inv-1", State::Received, 1)).await;
    world.get("/v1/files/inv-2").await.expect_problem(404, "CG320");
    world.cluster.faults(Box::new(|point| match point {
        FaultPoint::Read { .. } => Fault::Away,
        _ => Fault::NONE,
    }));
    while world.view.freshness().trouble.is_none() {
        tokio::task::yield_now().await;
    }
    world.get("/v1/files/inv-2").await.expect_problem(503, "CG340");
    let stale = world.get("/v1/files/inv-1").await;
    stale.expect(200);
    assert_eq!(stale.headers["consign-view-caught-up"], "false");
    world.get("/v1/files/inv-1/history").await.expect_problem(503, "CG341");
    assert_eq!(world.get("/readyz").await.expect(503)["ready"], false);
    world.cluster.no_faults();
    world.state(&file("inv-2", State::Received, 1)).await;
    // A state is seen before the turn ends in which the view has read everything.
    while !world.view.freshness().caught_up {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.get("/v1/files/inv-2").await.headers["consign-view-caught-up"], "true");
    world.get("/readyz").await.expect(200);
}

#[tokio::test]
async fn the_history_is_in_the_order_of_versions() {
    let world = World::start().await;
    world
        .post("/v1/files", &serde_json::json!({"file_id": "inv-1", "schema_version": 1, "file_type": "t", "name": "n"}))
        .await
        .expect(202);
    accept(&world, &world.appended(Topic::Manifests)[0], State::Distributing);
    let (file_id, target) = (FileId::trusted("inv-1"), TargetName::trusted("billing"));
    let attempt = DispatchAttempt {
        file_id: file_id.clone(),
        target: target.clone(),
        attempt: 1,
        version: 3,
        cause: cause(),
        idempotency_key: "inv-1/billing".into(),
        plan_digest: "sha256:1".into(),
        authorized_by: Authorization::RetryBudget,
        intervention_id: None,
        authorized_at: now(),
        send_before: now(),
        deadline: now(),
        attempts_left: 4,
        worker: "w".into(),
    };
    let mut reported = event(4, Judgement::Applied);
    reported.target = Some(target.clone());
    reported.outcome = Some(Outcome {
        file_id: file_id.clone(),
        target: target.clone(),
        attempt: Some(1),
        kind: OutcomeKind::Unknown,
        reporter: Reporter::Transport,
        reported_at: now(),
        code: "http_502".into(),
        detail: None,
        evidence: None,
        retry_after_ms: None,
        refusal: false,
        token: None,
        ack_token: None,
        reference: None,
        received_digest: None,
        received_size: None,
        content: None,
        timer: None,
        origin: None,
    });
    // Written in another order than that of the versions, beside another file of the same partition.
    world.event("inv-1", 1, reported);
    world.put(Topic::Attempts, &attempt_key(&file_id, &target, 1), &attempt);
    let neighbour = (0..1000)
        .map(|n| format!("n-{n}"))
        .find(|id| home_partition(id, HOME_PARTITIONS) == home_partition("inv-1", HOME_PARTITIONS));
    world.event(&neighbour.unwrap(), 1, event(2, Judgement::Late));

    let history = world.get("/v1/files/inv-1/history").await.expect(200);
    let entries: Vec<(i64, &str)> = history["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["version"].as_i64().unwrap(), e["what"].as_str().unwrap()))
        .collect();
    assert_eq!(entries, [(1, "arrival"), (3, "attempt"), (4, "event")]);
    assert_eq!(history["entries"][2]["record"]["outcome"]["code"], "http_502");
    assert_eq!(history["entries"][1]["target"], "billing");
    world.get("/v1/files/nothing/history").await.expect_problem(404, "CG320");
}

#[tokio::test]
async fn a_file_is_explained_from_everything_recorded_about_it() {
    let world = World::start().await;
    world.get("/v1/files/inv-1/explain").await.expect_problem(404, "CG320");
    for id in ["inv-1", "inv-2"] {
        let manifest = serde_json::json!({"file_id": id, "schema_version": 1, "file_type": "t", "name": "n"});
        world.post("/v1/files", &manifest).await.expect(202);
    }
    for manifest in world.appended(Topic::Manifests) {
        accept(&world, &manifest, State::Distributing);
    }
    let problem = world.get("/v1/files/inv-1/explain").await;
    problem.expect_problem(500, "CG350");
    let mut refused = event(2, Judgement::Refused);
    refused.target = Some(TargetName::trusted("billing"));
    world.event("inv-2", 1, refused);
    assert_eq!(world.get("/v1/files/inv-2/explain").await.expect(200)["entries"], 2);
}
