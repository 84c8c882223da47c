//! A process that is engine alone beside one that is gateway alone.

use crate::world::{PATIENCE, World};

fn value(metrics: &str, series: &str) -> u64 {
    let line =
        metrics.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series} in {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_alone_and_an_engine_alone_are_one_product() {
    let world = World::new("roles");
    let gateway = world.start_as("front", &["gateway"]);
    let engine = world.start_as("back", &["engine"]);
    engine.until_ready_says(200, "true").await;
    gateway.until_ready_says(200, "true").await;
    for n in 0..6 {
        let (status, answer) = gateway.submit_and_wait(&format!("roles-{n}")).await;
        assert_eq!((status, answer["state"].as_str()), (200, Some("COMPLETED")), "{answer}");
    }
    // What is done is counted where it is done, and what there is by the gateway.
    let (of_engine, of_gateway) = (engine.metrics().await, gateway.metrics().await);
    assert_eq!(value(&of_engine, "consign_files_settled_total{state=\"COMPLETED\"}"), 6);
    assert_eq!(value(&of_engine, "consign_attempts_total{target=\"quick\"}"), 6);
    assert_eq!(value(&of_engine, "consign_ready"), 1);
    assert_eq!(value(&of_gateway, "consign_files_settled_total{state=\"COMPLETED\"}"), 0);
    assert_eq!(value(&of_gateway, "consign_files{state=\"COMPLETED\"}"), 6);
    assert!(!of_engine.contains("consign_files{"), "an engine alone has no view of all files");
    // It answers for itself and for nothing else.
    let files = engine.client(&["ls", "--output", "json"]);
    assert_ne!(files.0, Some(0), "{}", files.1);
    // Without an engine files are taken in and wait; with one they go on.
    assert_eq!(engine.stop().code(), Some(0));
    world.submit("roles-later").await;
    let engine = world.start_as("back", &["engine"]);
    assert!(world.view.wait_until(PATIENCE, || world.is_completed("roles-later")).await);
    assert_eq!((engine.stop().code(), gateway.stop().code()), (Some(0), Some(0)));
    let report = world.verify();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    world.end().await;
}
