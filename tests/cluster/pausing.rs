//! A pause is everybody's: every process of the group obeys it, and so does one that begins later.

use std::time::Instant;

use consign::record::{FileId, Status};

use crate::setup::Setup;
use crate::world::{PATIENCE, Servers, World};

/// Files at a time: enough for every home partition of every worker.
const BATCH: usize = 40;

/// Where the only dispatch of a file stands, once that is in a file-state.
fn status(world: &World, file_id: &str) -> Option<Status> {
    world.view.file(&FileId::trusted(file_id)).and_then(|file| file.dispatches.first().map(|d| d.status))
}

/// Announces some files and waits until each has settled or waits for its turn; gives how many wait.
async fn waiting(world: &World, round: &str) -> usize {
    let ids: Vec<String> = (0..BATCH).map(|n| format!("{round}-{n}")).collect();
    world.submit_all(ids.clone()).await;
    let waits = |id: &&String| status(world, id) == Some(Status::Pending);
    let decided = |id: &String| waits(&id) || status(world, id) == Some(Status::Succeeded);
    assert!(world.view.wait_until(PATIENCE, || ids.iter().all(decided)).await, "{round}");
    ids.iter().filter(waits).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_obeys_a_pause_and_so_does_one_that_begins_later() {
    let world = World::of(Setup { targets: vec!["quick"], ..Setup::new("pausing", Servers::of_environment()) });
    let (a, b) = (world.start_quiet("a"), world.start_quiet("b"));
    for process in [&a, &b] {
        process.until_ready_says(200, "").await;
    }
    // They may wait for their turn, more of them than the target takes at once, but not for long.
    waiting(&world, "before").await;
    let sent = world.view.wait_until(PATIENCE, || (0..BATCH).all(|n| world.is_completed(&format!("before-{n}"))));
    assert!(sent.await, "nothing holds them up");
    let (code, said) = a.client(&["targets", "pause", "--all", "--reason", "the target is moved"]);
    assert_eq!(code, Some(0), "{said}");
    // Each worker reads it within a moment.
    let begun = Instant::now();
    let mut rounds = 0;
    while waiting(&world, &format!("after-{rounds}")).await < BATCH {
        rounds += 1;
        assert!(begun.elapsed() < PATIENCE, "somebody goes on sending");
    }
    let sent = world.journal.entries().len();
    a.kill();
    let a = world.start_quiet("a");
    a.until_ready_says(200, "").await;
    assert_eq!(waiting(&world, "restarted").await, BATCH);
    assert_eq!(world.journal.entries().len(), sent, "nothing is sent from then on");

    let (code, said) = b.client(&["targets", "resume", "quick", "--reason", "it is there again"]);
    assert_eq!(code, Some(0), "{said}");
    let all = world.view.wait_until(PATIENCE, || {
        let rounds = (0..=rounds).map(|n| format!("after-{n}")).chain(["before".to_owned(), "restarted".to_owned()]);
        rounds.flat_map(|round| (0..BATCH).map(move |n| format!("{round}-{n}"))).all(|id| world.is_completed(&id))
    });
    assert!(all.await, "what waited is sent");
    assert_eq!(world.journal.entries().len(), (rounds + 3) * BATCH, "each once: waiting spends nothing");
    assert_eq!((a.stop().code(), b.stop().code()), (Some(0), Some(0)));
    world.verify_clean();
    world.end().await;
}
