//! The reply to a commit is lost, whether it happened or not: the worker rebuilds, and no file is lost or sent twice.

use std::time::Duration;

use consign::record::{Status, Topic};

use crate::servers::OwnBed;
use crate::servers::proxy::{Loss, Proxy};
use crate::setup::Setup;
use crate::world::{PATIENCE, Process, World};

const FILES: usize = 240;
const TARGETS: usize = 5;

/// Dispatches that have SUCCEEDED or wait for a person.
fn at_rest(world: &World) -> usize {
    let census = world.view.census();
    let resting = |status: Status| matches!(status, Status::Succeeded | Status::Held);
    usize::try_from(census.dispatches.iter().filter(|((_, s), _)| resting(*s)).map(|(_, n)| n).sum::<i64>()).unwrap()
}

/// Dispatches that wait for a person: their attempt was committed, and the worker that was to send it never learned so.
fn held(world: &World) -> usize {
    usize::try_from(world.view.census().held.values().sum::<i64>()).unwrap()
}

/// How many transactions ended without a reply.
async fn undecided(process: &Process) -> usize {
    let text = process.metrics().await;
    let lines = text.lines().filter(|line| line.starts_with("consign_aborts_total{cause=\"undecided\"}"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_a_reply_loses_nothing_and_sends_nothing_twice() {
    let bed = tokio::task::block_in_place(OwnBed::of_a_broker);
    let proxy = Proxy::start(&bed.value("KAFKA_VIA"), &bed.value("KAFKA_BEHIND"));
    let via = Some(bed.value("KAFKA_VIA"));
    let world = World::of(Setup { via, transaction_seconds: 3, ..Setup::new("undecided", bed.servers()) });
    let process = world.start("p");
    process.until_ready_says(200, "true").await;

    for (n, loss) in [Loss::Request, Loss::Reply, Loss::ReplyWithTheConnection].into_iter().enumerate() {
        let (from, until) = (n * FILES / 3, (n + 1) * FILES / 3);
        for file in from..until {
            world.submit(&format!("file-{file}")).await;
        }
        // In the midst of them.
        assert!(world.view.wait_until(PATIENCE, || world.completed() >= from + 10).await);
        proxy.lose_commit(loss, world.prefix());
        let done = world.view.wait_until(PATIENCE, || at_rest(&world) >= TARGETS * until).await;
        assert!(done, "{loss:?}: {:?}", world.view.census());
        assert!(proxy.struck() > 0, "{loss:?}");
        // If it was the last commit that was needed, its files are done before the worker gives its reply up.
        let given_up = std::time::Instant::now() + PATIENCE;
        while undecided(&process).await < n + 1 && std::time::Instant::now() < given_up {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(undecided(&process).await, n + 1, "{loss:?}");
    }

    let held = held(&world);
    assert_eq!(world.read(Topic::DeadLetters).len(), 0);
    assert_eq!(process.stop().code(), Some(0), "it never restarted");
    world.verify_clean();
    let entries = world.journal.entries();
    let asked = |target: &str| entries.iter().filter(|received| received.target == target).count();
    // What a lost reply left without anybody to send it was sent again where that is safe, and else waits for a person.
    assert_eq!((asked("quick"), asked("busy"), asked("held") + held), (FILES, 2 * FILES, FILES));
    assert_eq!(world.completed() + held, FILES);
    world.end().await;
}
