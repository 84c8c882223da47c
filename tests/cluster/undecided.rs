//! The reply to a commit is lost, whether it happened or not: the worker rebuilds, and no file is lost or sent twice.

use consign::record::{State, Topic};

use crate::servers::OwnBed;
use crate::servers::proxy::{Loss, Proxy};
use crate::setup::Setup;
use crate::world::{PATIENCE, Process, World};

const FILES: usize = 240;

fn completed(world: &World) -> usize {
    usize::try_from(world.view.census().files.get(&State::Completed).copied().unwrap_or(0)).unwrap()
}

/// How many transactions ended without a reply.
async fn undecided(process: &Process) -> usize {
    let text = process.metrics().await;
    let lines = text.lines().filter(|line| line.starts_with("consign_aborts_total{cause=\"undecided\"}"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_a_reply_loses_nothing_and_sends_nothing_twice() {
    let bed = tokio::task::block_in_place(OwnBed::start);
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
        assert!(world.view.wait_until(PATIENCE, || completed(&world) >= from + 10).await);
        proxy.lose_commit(loss, world.prefix());
        let done = world.view.wait_until(PATIENCE, || completed(&world) >= until).await;
        assert!(done, "{loss:?}: {:?}", world.view.census());
        assert!(proxy.struck() > 0, "{loss:?}");
        assert_eq!(undecided(&process).await, n + 1, "{loss:?}");
    }

    assert_eq!(world.read(Topic::DeadLetters).len(), 0);
    assert_eq!(process.stop().code(), Some(0), "it never restarted");
    world.verify_clean();
    let entries = world.journal.entries();
    let asked = |target: &str| entries.iter().filter(|received| received.target == target).count();
    assert_eq!((asked("quick"), asked("busy"), asked("held")), (FILES, 2 * FILES, FILES));
    world.end().await;
}
