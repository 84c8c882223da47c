//! The threads of a process: one for each worker, and those that look after what all of them need.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::health::Health;
use super::said::Said;
use crate::engine::{Stop, Worker};
use crate::log::Cluster;
use crate::metrics::Metrics;
use crate::record::Codec;
use crate::transport::Clock;

/// How long a worker's poll waits at most when nothing is due.
const PATIENCE: Duration = Duration::from_millis(50);

/// How often the registry is asked whether it is there.
const REGISTRY_EVERY: Duration = Duration::from_secs(2);

/// How often the lags are measured.
const LAGS_EVERY: Duration = Duration::from_secs(5);

/// How often a thread that only waits looks whether it must end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What all threads of a process share.
#[derive(Clone)]
pub(super) struct Common {
    pub health: Arc<Health>,
    pub stopping: Arc<AtomicBool>,
    pub ended: Arc<Notify>,
}

impl Common {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits, or until the process stops; false then.
    fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while !self.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
        false
    }
}

/// Runs a worker on a thread of its own until the process stops, or the worker must end. A panic is the worker's end too:
/// nothing goes on without it as if it were there.
pub(super) fn run_worker(
    common: Common,
    number: usize,
    identity: String,
    mut worker: Worker,
    clock: Clock,
) -> std::io::Result<JoinHandle<()>> {
    let run = move || {
        let turns = catch_unwind(AssertUnwindSafe(|| {
            let stop = turn_until_stopped(&common, number, &identity, &mut worker, &clock);
            worker.leave_homes(clock());
            stop
        }));
        let stop = turns.unwrap_or_else(|panic| {
            Some(Stop::Broken { identity: identity.clone(), text: text_of(panic.as_ref()).to_owned() })
        });
        if let Some(stop) = stop {
            tracing::error!(worker = identity, "{stop}");
            common.health.ends(number, stop);
            common.ended.notify_waiters();
            common.ended.notify_one();
        }
        if catch_unwind(AssertUnwindSafe(|| worker.close())).is_err() {
            tracing::error!(worker = identity, "closing the connection panicked");
        }
    };
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(run)
}

fn turn_until_stopped(
    common: &Common,
    number: usize,
    identity: &str,
    worker: &mut Worker,
    clock: &Clock,
) -> Option<Stop> {
    let mut said = Said::default();
    while !common.is_stopping() {
        common.health.turn_begins(number);
        let stopped = worker.step(PATIENCE, clock.as_ref()).err();
        let unwell = worker.unwell();
        said.say(identity, &unwell, Instant::now());
        common.health.turn_ends(number, unwell, worker.silence());
        if stopped.is_some() {
            return stopped;
        }
    }
    None
}

/// What a panic said.
fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

/// Asks the registry again and again whether it is there.
pub(super) fn watch_registry(common: Common, codec: Arc<Codec>) -> std::io::Result<JoinHandle<()>> {
    let watch = move || {
        loop {
            common.health.registry(codec.ping().map_err(|e| e.to_string()));
            if !common.pause(REGISTRY_EVERY) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("registry".to_owned()).spawn(watch)
}

/// Measures again and again how far the group is behind.
pub(super) fn watch_lags(
    common: Common,
    cluster: Arc<dyn Cluster>,
    metrics: Arc<Metrics>,
) -> std::io::Result<JoinHandle<()>> {
    let watch = move || {
        loop {
            match cluster.lags() {
                Ok(lags) => {
                    lags.iter().for_each(|lag| metrics.lag(lag));
                }
                Err(e) => {
                    tracing::debug!("the lags can't be measured: {e}");
                    metrics.forget_lags();
                }
            }
            if !common.pause(LAGS_EVERY) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("lags".to_owned()).spawn(watch)
}

/// Waits until threads have ended, at the latest until then; gives how many haven't.
pub(super) async fn join(threads: Vec<JoinHandle<()>>, until: Instant) -> usize {
    loop {
        let left = threads.iter().filter(|t| !t.is_finished()).count();
        if left == 0 || Instant::now() >= until {
            return left;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
