//! A target's rate holds for all processes together, whoever comes and goes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use consign::record::{FileId, State, Timestamp};

use crate::setup::Setup;
use crate::world::{PATIENCE, Servers, World};

const FILES: usize = 400;
const RATE: u64 = 50;
/// What may arrive within a second: the rate, one more for each worker, and what the way to the listener adds.
const AT_MOST: u64 = 55;

/// When this process, and with it the listener, stood still: what had left meanwhile arrives at once.
#[derive(Clone, Default)]
struct Stalls(Arc<Mutex<Vec<(i64, i64)>>>);

impl Stalls {
    fn watch() -> Self {
        let stalls = Self::default();
        let kept = Arc::clone(&stalls.0);
        std::thread::spawn(move || {
            let mut last = now();
            // Ends with the test, which holds the other end.
            while Arc::strong_count(&kept) > 1 {
                std::thread::sleep(Duration::from_millis(5));
                let next = now();
                if next - last > 20 {
                    kept.lock().unwrap().push((last, next));
                }
                last = next;
            }
        });
        stalls
    }

    /// Milliseconds of the stalls that reach into this time.
    fn within(&self, from: i64, to: i64) -> u64 {
        let stalls = self.0.lock().unwrap();
        stalls.iter().filter(|(a, b)| *a < to && from < *b).map(|(a, b)| u64::try_from(b - a).unwrap()).sum()
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(0).plus(since).0
}

async fn until_received(world: &World, count: usize) {
    let begun = Instant::now();
    while world.journal.entries().len() < count {
        assert!(begun.elapsed() < PATIENCE, "{} of {count} requests", world.journal.entries().len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_keep_a_targets_rate_together_through_rebalances() {
    let setup = Setup { targets: vec!["quick"], rate: Some("50/s"), ..Setup::new("rate", Servers::of_environment()) };
    let world = World::of(setup);
    let stalls = Stalls::watch();
    let a = world.start_quiet("a");
    world.submit_all((0..FILES).map(|n| format!("file-{n}"))).await;
    until_received(&world, FILES / 5).await;
    let b = world.start_quiet("b");
    until_received(&world, FILES / 2).await;
    a.kill();
    let settled = || {
        let completed = |n: &usize| {
            let file = world.view.file(&FileId::trusted(&format!("file-{n}")));
            file.is_some_and(|file| file.state == State::Completed)
        };
        (0..FILES).filter(completed).count()
    };
    assert!(world.view.wait_until(PATIENCE, || settled() == FILES).await, "{} of {FILES}", settled());
    assert_eq!(b.stop().code(), Some(0));

    let mut times: Vec<i64> = world.journal.entries().iter().map(|received| received.received_at.0).collect();
    times.sort_unstable();
    let mut most = 0;
    for (first, from) in times.iter().enumerate() {
        let within = times[first..].iter().take_while(|at| **at < from + 1_000).count() as u64;
        let stalled = stalls.within(*from, from + 1_000);
        let allowed = AT_MOST + (RATE * stalled).div_ceil(1_000);
        assert!(within <= allowed, "{within} requests within a second from {from}, {stalled} ms of it stalled");
        most = most.max(within);
    }
    println!("at most {most} requests in a second, {} in all", times.len());
    assert!(times.len() >= FILES);
    world.verify_clean();
    world.end().await;
}
