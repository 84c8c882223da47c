//! How the parts of a process say that they are at their work, and when their silence says that they are not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::{Stop, Unwell};
use crate::gateway::Readiness;

/// A part that has had no answer for so long is not ready. An answer comes every two seconds, and may take three.
const SILENCE: Duration = Duration::from_secs(6);

/// A turn of a worker that takes so long is stuck, or waits for a broker that doesn't answer.
const TURN: Duration = Duration::from_secs(8);

/// What a worker's thread says of itself.
#[derive(Debug, Clone, Default)]
struct WorkerHealth {
    unwell: Vec<Unwell>,
    stopped: Option<Stop>,
    turned: bool,
    turn_began: Option<Instant>,
    /// When the log last answered.
    heard: Option<Instant>,
}

/// The health of a process: of each worker, and of what all of them need.
pub(super) struct Health {
    workers: Vec<Mutex<WorkerHealth>>,
    /// Why the process must end, where that is no worker's.
    broken: Mutex<Option<Stop>>,
    registry: Mutex<RegistryHealth>,
}

struct RegistryHealth {
    heard: Instant,
    why: String,
}

impl Health {
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Mutex::default()).collect(),
            broken: Mutex::default(),
            registry: Mutex::new(RegistryHealth { heard: Instant::now(), why: String::new() }),
        }
    }

    /// A worker begins its next turn.
    pub fn turn_begins(&self, worker: usize) {
        lock(&self.workers[worker]).turn_began = Some(Instant::now());
    }

    /// A worker has ended its turn, with the log silent for that long.
    pub fn turn_ends(&self, worker: usize, unwell: Vec<Unwell>, silence: Duration) {
        let now = Instant::now();
        let mut health = lock(&self.workers[worker]);
        health.unwell = unwell;
        health.turned = true;
        health.turn_began = None;
        health.heard = now.checked_sub(silence);
    }

    /// A worker has ended.
    pub fn ends(&self, worker: usize, stop: Stop) {
        lock(&self.workers[worker]).stopped = Some(stop);
    }

    /// A part of the process that is no worker has ended.
    pub fn breaks(&self, stop: Stop) {
        *lock(&self.broken) = Some(stop);
    }

    /// Why a worker or another part ended, if one has.
    pub fn stopped(&self) -> Option<Stop> {
        self.workers.iter().find_map(|w| lock(w).stopped.clone()).or_else(|| lock(&self.broken).clone())
    }

    /// The registry answered, or why it didn't.
    pub fn registry(&self, answer: Result<(), String>) {
        let mut registry = lock(&self.registry);
        match answer {
            Ok(()) => registry.heard = Instant::now(),
            Err(why) => registry.why = why,
        }
    }

    /// Whether everything is at its work, and why not.
    pub fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        for (number, worker) in self.workers.iter().enumerate() {
            worker_reasons(number, &lock(worker), &mut reasons);
        }
        reasons.extend(lock(&self.broken).as_ref().map(ToString::to_string));
        let registry = lock(&self.registry);
        let silence = registry.heard.elapsed();
        if silence > SILENCE {
            let seconds = silence.as_secs();
            reasons.push(format!("registry: CG208: no answer for {seconds} s: {}", registry.why));
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }
}

fn worker_reasons(number: usize, health: &WorkerHealth, reasons: &mut Vec<String>) {
    if let Some(stop) = &health.stopped {
        reasons.push(format!("worker {number} ended: {stop}"));
        return;
    }
    if !health.turned {
        reasons.push(format!("worker {number} is starting"));
    }
    reasons.extend(health.unwell.iter().map(|u| format!("worker {number}: {}: {}", u.code, u.text)));
    if let Some(silence) = health.heard.map(|heard| heard.elapsed()).filter(|silence| *silence > SILENCE) {
        reasons.push(format!("worker {number}: CG218: the log has given no answer for {} s", silence.as_secs()));
    }
    if let Some(turn) = health.turn_began.map(|began| began.elapsed()).filter(|turn| *turn > TURN) {
        reasons.push(format!("worker {number}: CG216: its turn began {} s ago", turn.as_secs()));
    }
}

/// Nothing is left half done by a panic while it is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(seconds: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap()
    }

    fn codes(health: &Health) -> Vec<String> {
        let code = |r: &String| r.split(": ").find(|part| part.starts_with("CG")).unwrap_or(r).to_owned();
        health.readiness().reasons.iter().map(code).collect()
    }

    #[test]
    fn silence_and_long_turns_are_named_and_pass() {
        let health = Health::new(1);
        assert_eq!(codes(&health), ["worker 0 is starting"]);
        health.turn_begins(0);
        health.turn_ends(0, Vec::new(), Duration::from_secs(5));
        assert!(health.readiness().ready);
        health.turn_ends(0, Vec::new(), Duration::from_secs(7));
        assert_eq!(codes(&health), ["CG218"]);
        lock(&health.workers[0]).turn_began = Some(ago(9));
        assert_eq!(codes(&health), ["CG218", "CG216"]);
        health.turn_ends(0, Vec::new(), Duration::ZERO);
        lock(&health.registry).heard = ago(7);
        assert_eq!(codes(&health), ["CG208"]);
        health.registry(Err("refused".into()));
        assert!(!health.readiness().ready);
        health.registry(Ok(()));
        assert!(health.readiness().ready);
    }

    #[test]
    fn a_worker_that_ended_is_never_ready_again() {
        let health = Health::new(2);
        for worker in [0, 1] {
            health.turn_ends(worker, Vec::new(), Duration::ZERO);
        }
        health.ends(1, Stop::LogRefused("no".into()));
        assert_eq!(codes(&health), ["CG203"]);
        assert!(health.stopped().is_some());
    }
}
