use std::sync::Arc;

use consign::record::{FileManifest, State, Topic, home_partition};
use serde_json::{Value, json};

use crate::world::{HOME_PARTITIONS, World, accept, file, reply};

fn manifest(file_id: &str) -> Value {
    json!({"file_id": file_id, "schema_version": 1, "file_type": "invoice", "name": "a.pdf"})
}

/// Submits in the background and waits until the manifest stands on the log.
async fn submitting(
    world: &Arc<World>,
    path: &'static str,
    body: Value,
) -> tokio::task::JoinHandle<crate::world::Reply> {
    let before = world.cluster.dump(Topic::Manifests).len();
    let caller = Arc::clone(world);
    let call = tokio::spawn(async move { caller.post(path, &body).await });
    while world.cluster.dump(Topic::Manifests).len() == before && !call.is_finished() {
        tokio::task::yield_now().await;
    }
    call
}

#[tokio::test]
async fn a_producer_waits_for_the_end_in_one_call() {
    let world = Arc::new(World::start().await);
    let call = submitting(&world, "/v1/files?wait=60s", manifest("inv-1")).await;
    let submitted: Vec<FileManifest> = world.appended(Topic::Manifests);
    let received = accept(&world, &submitted[0], State::Distributing);
    world.seen("inv-1", 1).await;
    assert!(!call.is_finished(), "the file has not settled");
    let mut completed = received;
    completed.version = 2;
    completed.state = State::Completed;
    world.state(&completed).await;
    let file = call.await.unwrap().expect(200);
    assert_eq!((&file["state"], &file["version"]), (&json!("COMPLETED"), &json!(2)));
}

#[tokio::test]
async fn the_manifest_goes_home_under_its_file_id_and_the_gateway_fills_in_what_it_knows() {
    let world = World::start().await;
    let reply = world.post("/v1/files", &manifest("inv-1")).await;
    assert_eq!(reply.expect(202), json!({"file_id": "inv-1", "state": null}));
    let records = world.cluster.dump(Topic::Manifests);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].key.as_deref(), Some("inv-1".as_bytes()));
    assert_eq!(records[0].at.partition, home_partition("inv-1", HOME_PARTITIONS));
    let manifest: FileManifest = world.codec.decode(records[0].value.as_ref().unwrap()).unwrap();
    assert_eq!(manifest.produced_by, "local");
    assert!(manifest.produced_at.0 > 1_700_000_000_000);
}

#[tokio::test]
async fn data_is_kept_digit_for_digit() {
    let world = World::start().await;
    let data = r#"{"amount": 1.10, "id": 12345678901234567890123, "b":1, "a":2}"#;
    for (file_id, value) in [("as-json", data.to_owned()), ("as-text", serde_json::to_string(data).unwrap())] {
        let body = format!(
            r#"{{"file_id": "{file_id}", "schema_version": 1, "file_type": "t", "name": "n", "data": {value}}}"#
        );
        let url = format!("{}/v1/files", world.url);
        let request = world.client.post(url).header("content-type", "application/json").body(body);
        reply(request).await.expect(202);
    }
    let manifests: Vec<FileManifest> = world.appended(Topic::Manifests);
    assert_eq!(manifests.len(), 2);
    for manifest in manifests {
        assert_eq!(manifest.data.as_deref(), Some(data), "{}", manifest.file_id);
    }
}

#[tokio::test]
async fn a_wait_that_is_over_says_how_far_the_file_is() {
    let world = Arc::new(World::start().await);
    world.post("/v1/files", &manifest("inv-1")).await.expect(202);
    let submitted: Vec<FileManifest> = world.appended(Topic::Manifests);
    accept(&world, &submitted[0], State::Validated);
    world.seen("inv-1", 1).await;
    let file = world.post("/v1/files?wait=10ms", &manifest("inv-1")).await.expect(202);
    assert_eq!(file["state"], "VALIDATED");
}

#[tokio::test]
async fn the_same_request_twice_is_the_same_file() {
    let world = World::start().await;
    world.post("/v1/files", &manifest("inv-1")).await.expect(202);
    let submitted: Vec<FileManifest> = world.appended(Topic::Manifests);
    accept(&world, &submitted[0], State::Completed);
    world.seen("inv-1", 1).await;
    // The second has another produced_at, which the gateway filled in.
    assert_eq!(world.post("/v1/files", &manifest("inv-1")).await.expect(200)["state"], "COMPLETED");
    assert_eq!(world.cluster.dump(Topic::Manifests).len(), 1, "nothing is appended for a file that is known");
}

#[tokio::test]
async fn other_content_under_a_taken_file_id_is_a_conflict() {
    let world = World::start().await;
    world.post("/v1/files", &manifest("inv-1")).await.expect(202);
    let submitted: Vec<FileManifest> = world.appended(Topic::Manifests);
    accept(&world, &submitted[0], State::Completed);
    world.seen("inv-1", 1).await;
    let mut other = manifest("inv-1");
    other["name"] = json!("b.pdf");
    world.post("/v1/files", &other).await.expect_problem(409, "CG330");
    assert_eq!(world.cluster.dump(Topic::Manifests).len(), 1);
    // What the producer says itself counts.
    let mut later = manifest("inv-1");
    later["produced_at"] = json!(5);
    world.post("/v1/files", &later).await.expect_problem(409, "CG330");
}

#[tokio::test]
async fn a_conflict_that_only_the_engine_saw_is_one_too() {
    let world = Arc::new(World::start().await);
    let call = submitting(&world, "/v1/files?wait=60s", manifest("inv-1")).await;
    let mut first: FileManifest = world.appended(Topic::Manifests).remove(0);
    first.name = "first.pdf".into();
    accept(&world, &first, State::Completed);
    call.await.unwrap().expect_problem(409, "CG330");
}

#[tokio::test]
async fn a_manifest_that_is_none_never_reaches_the_log() {
    let world = World::start().await;
    for file_id in ["", "a b", "a/b", "x~1", "ü"] {
        world.post("/v1/files", &manifest(file_id)).await.expect_problem(400, "CG302");
    }
    let mut unknown = manifest("a");
    unknown["colour"] = json!("red");
    let mut untyped = manifest("a");
    untyped["schema_version"] = json!("one");
    for body in [json!({}), json!([]), json!({"file_id": "a"}), unknown, untyped] {
        world.post("/v1/files", &body).await.expect_problem(400, "CG301");
    }
    world.post("/v1/files?wait=2h", &manifest("a")).await.expect_problem(400, "CG304");
    world.post("/v1/files?wat=2s", &manifest("a")).await.expect_problem(400, "CG304");
    assert!(world.cluster.dump(Topic::Manifests).is_empty());
}

#[tokio::test]
async fn bodies_have_a_limit_and_a_type() {
    let world = World::start().await;
    let post = |body: String, content_type: &str| {
        let url = format!("{}/v1/files", world.url);
        reply(world.client.post(url).header("content-type", content_type).body(body))
    };
    let mut large = manifest("a");
    large["data"] = json!("x".repeat(2 * 1024 * 1024));
    post(large.to_string(), "application/json").await.expect_problem(413, "CG305");
    post(manifest("a").to_string(), "text/plain").await.expect_problem(415, "CG306");
    post("{".to_owned(), "application/json; charset=utf-8").await.expect_problem(400, "CG301");
    assert!(world.cluster.dump(Topic::Manifests).is_empty());
}

#[tokio::test]
async fn a_log_that_is_away_is_said() {
    let world = World::start().await;
    world.cluster.faults(Box::new(|point| match point {
        consign::log::memory::FaultPoint::Append { .. } => consign::log::memory::Fault::Away,
        _ => consign::log::memory::Fault::NONE,
    }));
    let reply = world.post("/v1/files", &manifest("inv-1")).await;
    reply.expect_problem(503, "CG341");
    assert!(reply.headers.contains_key("retry-after"));
    world.cluster.no_faults();
    world.post("/v1/files", &manifest("inv-1")).await.expect(202);
}

#[tokio::test]
async fn the_end_of_the_process_ends_the_wait() {
    let world = Arc::new(World::start().await);
    let call = submitting(&world, "/v1/files?wait=60s", manifest("inv-1")).await;
    world.state(&file("other", State::Received, 1)).await;
    assert!(!call.is_finished());
    // The call holds the other handle until it has its answer.
    let mut stopping = world;
    let begun = std::time::Instant::now();
    let stop = loop {
        match Arc::try_unwrap(stopping) {
            Ok(world) => break world,
            Err(shared) => {
                shared.stop_now();
                stopping = shared;
                tokio::task::yield_now().await;
            }
        }
    };
    assert_eq!(call.await.unwrap().expect(202)["state"], Value::Null);
    stop.ended().await.unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(50), "the wait of 60 s was not waited out");
}
