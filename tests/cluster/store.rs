//! The local state on disk over a kill: what is read from the log afterwards is what came later.

use std::time::Duration;

use consign::record::{State, Topic};

use crate::world::{PATIENCE, Process, World};

const FILES: usize = 300;

fn settled(world: &World) -> usize {
    let files = world.view.census().files;
    let counts = [State::Completed, State::Failed].map(|state| files.get(&state).copied().unwrap_or(0));
    usize::try_from(counts.iter().sum::<i64>()).unwrap()
}

/// The sum of a metric over its labels.
async fn metric(process: &Process, name: &str) -> u64 {
    let text = process.metrics().await;
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

async fn announce(world: &World, from: usize, until: usize) {
    for n in from..until {
        world.submit(&format!("file-{n:04}")).await;
    }
    assert!(world.view.wait_until(PATIENCE, || settled(world) == until).await, "{} of {until}", settled(world));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_only_what_the_store_misses_is_read() {
    let world = World::new("store");
    let process = world.start("a");
    announce(&world, 0, FILES).await;
    // Long enough for the stores to have all of it.
    tokio::time::sleep(Duration::from_secs(6)).await;
    process.kill();

    let process = world.start("a");
    announce(&world, FILES, FILES + 1).await;
    let read = metric(&process, "consign_restore_records_total").await;
    let rebuilt = metric(&process, "consign_store_rebuilds_total").await;
    println!("with its stores: {read} records read, {rebuilt} stores rebuilt");
    assert!(rebuilt == 0, "{rebuilt} stores were rebuilt");
    assert!(read < FILES as u64, "{read} records were read");
    process.kill();

    // Without them all of it is read.
    std::fs::remove_dir_all(world.state_of("a")).unwrap();
    let process = world.start("a");
    announce(&world, FILES + 1, FILES + 2).await;
    let all = metric(&process, "consign_restore_records_total").await;
    println!("without: {all} records read");
    assert!(all > (FILES * 5) as u64, "{all} records were read");

    // A file that settled long ago is still known.
    world.submit("file-0000").await;
    announce(&world, FILES + 2, FILES + 3).await;
    let again = world.read(Topic::Arrivals).iter().filter(|r| r.key.as_deref() == Some(b"file-0000")).count();
    assert_eq!(again, 1);
    assert_eq!(process.stop().code(), Some(0));
    world.verify_clean();
    world.end().await;
}
