//! A rolling restart under load, with another routing document in the midst of each; and offsets that are lost and repaired.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use consign::log::Cluster as _;
use consign::record::Topic;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use super::fleet::{Fleet, check, load};
use super::scaled;
use crate::setup::Setup;
use crate::world::{Servers, World};

/// Requests by key.
fn requests(world: &World) -> BTreeMap<String, usize> {
    let mut requests = BTreeMap::new();
    for received in world.journal.entries() {
        *requests.entry(received.idempotency_key.clone()).or_default() += 1;
    }
    requests
}

async fn forget_offsets(world: &World) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &world.servers.bootstrap).create().unwrap();
    let group = format!("{}engine", world.prefix());
    let begun = Instant::now();
    // Static members stay until their sessions end.
    loop {
        let done = admin.delete_groups(&[&group], &AdminOptions::new()).await.unwrap();
        if done.iter().all(Result::is_ok) {
            return;
        }
        assert!(begun.elapsed() < crate::world::PATIENCE, "{done:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// Waits until the group has passed every manifest, those of before the repair too.
async fn until_manifests_are_read(world: &World) {
    let begun = Instant::now();
    loop {
        let lags = tokio::task::block_in_place(|| world.cluster.lags()).unwrap();
        if lags.iter().filter(|lag| lag.at.topic == Topic::Manifests).all(|lag| lag.input == 0) {
            return;
        }
        assert!(begun.elapsed() < crate::world::PATIENCE, "{lags:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Waits until files were planned under so many documents.
async fn until_planned_under(world: &World, documents: usize) {
    let begun = Instant::now();
    while tokio::task::block_in_place(|| world.documents_in_plans()) < documents {
        let census = world.view.census();
        let waited = begun.elapsed();
        assert!(waited < crate::world::PATIENCE, "files weren't planned under {documents} documents: {census:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_changes_break_nothing_and_repaired_offsets_send_nothing_twice() {
    let setup = Setup::new("rolling", Servers::of_environment());
    let world = World::of(Setup { session_seconds: 3, targets: vec!["quick", "busy", "acking"], ..setup });
    let (rounds, stop, begun) = (scaled(2, 10), AtomicBool::new(false), Instant::now());
    let mut fleet = Fleet::start(&world, 3).await;
    let changes = async {
        for round in 1..=rounds {
            // On a busy machine the document is changed before the first file is planned under it.
            until_planned_under(&world, round).await;
            for (n, name) in fleet.names().into_iter().enumerate() {
                fleet.stop_and_start(&name).await;
                if n == 1 {
                    world.apply_routing(&format!("round {round}"));
                }
                fleet.until_ready().await;
            }
        }
        until_planned_under(&world, rounds + 1).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (files, ()) = tokio::join!(load(&world, 60, usize::MAX / 2, &stop), changes);
    fleet.until_settled(files).await;
    let (restarts, seconds) = (fleet.restarts, begun.elapsed().as_secs_f64());
    assert_eq!(fleet.ended_by_themselves, 0);
    fleet.end().await;
    let report = tokio::task::block_in_place(|| check(&world, files));
    let documents = world.documents_in_plans();
    assert_eq!(documents, rounds + 1, "files were planned under every document");
    println!(
        "| rolling restarts | documents | files | seconds | attempts | retries | violations |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n| {restarts} processes, {rounds} rounds | {documents} | {files} | \
         {seconds:.0} | {} | {} | 0 |",
        report.count("attempts"),
        report.count("retries"),
    );

    let before = requests(&world);
    forget_offsets(&world).await;
    let (code, said, _) = world.run(&["offsets", "repair", "--dry-run"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said, err) = world.run(&["offsets", "repair"]);
    assert_eq!(code, Some(0), "{said}{err}");
    let mut fleet = Fleet::start(&world, 3).await;
    let more = load(&world, 60, 60, &AtomicBool::new(false)).await;
    fleet.until_settled(more).await;
    until_manifests_are_read(&world).await;
    fleet.end().await;
    let after = requests(&world);
    let twice: Vec<&String> = before.iter().filter(|(key, n)| after[*key] != **n).map(|(key, _)| key).take(5).collect();
    assert!(twice.is_empty(), "sent again after the repair: {twice:?}");
    assert_eq!(after.len(), before.len() + 60 * 3);
    let report = tokio::task::block_in_place(|| world.verify_reread());
    assert_eq!(report.count("files.COMPLETED"), more as u64);
    println!("{} requests before the repair, none of them again; {} inputs read again", before.len(), files);
    world.end().await;
}
