use std::sync::atomic::Ordering;

use consign::record::State;
use reqwest::Method;

use crate::world::{World, file, held};

#[tokio::test]
async fn readiness_is_the_workers_and_the_views() {
    let world = World::start().await;
    assert_eq!(world.get("/healthz").await.text, "ok\n");
    world.state(&file("inv-1", State::Received, 1)).await;
    let ready = world.get("/readyz").await.expect(200);
    assert_eq!((ready["ready"].as_bool(), ready["reasons"].as_array().unwrap().len()), (Some(true), 0));
    world.ready.store(false, Ordering::Relaxed);
    assert_eq!(world.get("/readyz").await.expect(503)["reasons"][0], "no worker");
    assert_eq!(world.get("/healthz").await.status, 200, "alive and not ready are two things");
}

#[tokio::test]
async fn metrics_count_by_route_and_never_by_file() {
    let world = World::start().await;
    world.state(&held("inv-17")).await;
    world.get("/v1/files/inv-17").await.expect(200);
    world.get("/v1/files/nothing").await.expect_problem(404, "CG320");
    world.get("/nowhere/inv-17").await.expect_problem(404, "CG307");
    let brewed = world.call(Method::from_bytes(b"BREW").unwrap(), "/v1/files", None, None).await;
    brewed.expect_problem(405, "CG308");
    let metrics = world.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4");
    for line in [
        "consign_files{state=\"DISTRIBUTING\"} 1",
        "consign_held{held_because=\"fate_unknown\",target=\"billing\"} 1",
        "consign_http_requests_total{method=\"GET\",route=\"/v1/files/{file_id}\",status=\"200\"} 1",
        "consign_http_requests_total{method=\"GET\",route=\"/v1/files/{file_id}\",status=\"404\"} 1",
        "consign_http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1",
        "consign_http_requests_total{method=\"other\",route=\"/v1/files\",status=\"405\"} 1",
        "consign_view_lag_records 0",
    ] {
        assert!(metrics.text.contains(line), "{line} is missing in:\n{}", metrics.text);
    }
    assert!(!metrics.text.contains("inv-17"), "{}", metrics.text);
}

#[tokio::test]
async fn it_stops_when_it_is_told() {
    let world = World::start().await;
    world.get("/healthz").await;
    world.stop().await.unwrap();
}
