//! Processes: each on a machine with a clock of its own, stepped one at a time; one may be killed in the middle of a step,
//! or stand still there while the others go on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::faults::Gate;
use super::points::Killed;
use super::wire::Answer;
use super::world::World;
use crate::engine::{Stop, Worker};
use crate::record::Timestamp;

/// A process beside the one that has its identity.
pub(super) struct Process {
    pub identity: String,
    pub number: u64,
    pub worker: Worker,
}

/// A process that stands still in the middle of a step.
pub(super) struct Frozen {
    pub identity: String,
    pub number: u64,
    thread: JoinHandle<Stepped>,
    stands_still: Receiver<()>,
    go: Sender<()>,
}

/// How a step of a worker went.
enum Stepped {
    /// It goes on.
    On(Box<Worker>),
    /// It must end.
    Stopped(Stop),
    /// It was killed.
    Killed,
    /// It panicked, which no worker may.
    Panicked(Box<dyn Any + Send>),
}

fn step(mut worker: Box<Worker>, clock: &dyn Fn() -> Timestamp) -> Stepped {
    match catch_unwind(AssertUnwindSafe(|| worker.step(Duration::ZERO, clock))) {
        Ok(Ok(())) => Stepped::On(worker),
        Ok(Err(stop)) => Stepped::Stopped(stop),
        Err(payload) if payload.is::<Killed>() => Stepped::Killed,
        Err(payload) => Stepped::Panicked(payload),
    }
}

impl World {
    /// The time by the clock of a worker's machine.
    pub fn now_of(&self, identity: &str) -> Timestamp {
        let ahead = self.skews.get(identity).map_or(0, |skew| skew.load(Ordering::SeqCst));
        self.now().plus_millis(ahead)
    }

    /// Sets how far the clock of a worker's machine is ahead, in milliseconds; behind if that is negative.
    pub fn skew(&mut self, identity: &str, ahead_ms: i64) {
        self.largest_skew_ms = self.largest_skew_ms.max(2 * ahead_ms.abs());
        self.skews.entry(identity.to_owned()).or_default().store(ahead_ms, Ordering::SeqCst);
    }

    fn clock_of(&mut self, identity: &str) -> impl Fn() -> Timestamp + Send + 'static {
        let now = Arc::clone(&self.now);
        let skew: Arc<AtomicI64> = Arc::clone(self.skews.entry(identity.to_owned()).or_default());
        move || Timestamp(now.load(Ordering::SeqCst) + skew.load(Ordering::SeqCst))
    }

    /// Kills a worker with everything that is on its wire. One that stands still goes on standing: its disk and its requests are
    /// as they are until it is thawed.
    pub fn crash(&mut self, identity: &str) {
        let newest = self.processes.get(identity);
        if self.frozen.iter().any(|f| f.identity == identity && Some(&f.number) == newest) {
            return;
        }
        self.end(identity);
        self.harm_stores(identity);
    }

    pub(super) fn end(&mut self, identity: &str) {
        self.workers.remove(identity);
        if let Some(number) = self.processes.get(identity).copied() {
            self.forget_parcels(number);
        }
    }

    fn forget_parcels(&self, process: u64) {
        self.wire.lock().parcels.retain(|_, parcel| parcel.process != process);
    }

    /// Ends a worker as it should be ended: it leaves the group, what has not left is reported as never sent, and what is
    /// on the wire as unknown.
    pub fn stop(&mut self, identity: &str) {
        let Some(mut worker) = self.workers.remove(identity) else { return };
        worker.close();
        let number = self.processes[identity];
        let of_it: Vec<(u64, bool)> = {
            let wire = self.wire.lock();
            let of_it = wire.parcels.iter().filter(|(_, p)| p.process == number);
            of_it.map(|(n, p)| (*n, p.left_at.is_some())).collect()
        };
        for (number, has_left) in of_it {
            self.report(number, if has_left { Answer::Unknown } else { Answer::Retryable(None) });
        }
        drop(worker);
        self.close_stores(identity);
    }

    /// One turn of one worker. One that must end is taken out, with what is on its wire.
    pub fn step(&mut self, identity: &str) {
        let Some(worker) = self.workers.remove(identity) else { return };
        let number = self.processes[identity];
        self.step_process(Process { identity: identity.to_owned(), number, worker });
    }

    /// One turn of a process whose identity another one took: the one that has it for longest.
    pub(super) fn step_other(&mut self) {
        if !self.others.is_empty() {
            let other = self.others.remove(0);
            self.step_process(other);
        }
    }

    fn step_process(&mut self, Process { identity, number, worker }: Process) {
        let clock = self.clock_of(&identity);
        let worker = Box::new(worker);
        if !self.aimed.may_freeze(&identity) {
            let stepped = step(worker, &clock);
            return self.stepped(identity, number, stepped);
        }
        let (frozen, stands_still) = channel();
        let (go, may_go) = channel();
        self.aimed.set_gate(&identity, Some(Gate { frozen, go: may_go }));
        let (aimed, gated) = (self.aimed.clone(), identity.clone());
        let thread = std::thread::spawn(move || {
            let stepped = step(worker, &clock);
            // One that never stood still: whoever waits for that learns it by the gate's end.
            aimed.set_gate(&gated, None);
            stepped
        });
        let frozen = Frozen { identity, number, thread, stands_still, go };
        match frozen.stands_still.recv() {
            Ok(()) => self.frozen.push(frozen),
            Err(_) => self.join(frozen),
        }
    }

    fn join(&mut self, Frozen { identity, number, thread, .. }: Frozen) {
        match thread.join() {
            Ok(stepped) => self.stepped(identity, number, stepped),
            Err(payload) => resume_unwind(payload),
        }
    }

    fn stepped(&mut self, identity: String, number: u64, stepped: Stepped) {
        match stepped {
            Stepped::On(worker) => {
                let is_newest = self.processes.get(&identity) == Some(&number);
                if is_newest && !self.workers.contains_key(&identity) {
                    self.workers.insert(identity, *worker);
                } else {
                    self.others.push(Process { identity, number, worker: *worker });
                }
            }
            Stepped::Stopped(stop) => {
                self.harm_stores_of(&identity, number);
                self.stops.push((identity, stop));
                self.forget_parcels(number);
            }
            Stepped::Killed => {
                self.harm_stores_of(&identity, number);
                self.forget_parcels(number);
            }
            Stepped::Panicked(payload) => resume_unwind(payload),
        }
    }

    /// The processes that stand still.
    pub fn frozen(&self) -> Vec<String> {
        self.frozen.iter().map(|f| f.identity.clone()).collect()
    }

    /// Lets the process go on that has stood still for longest: its step ends as if no time had passed. Gives its
    /// identity.
    pub fn thaw(&mut self) -> Option<String> {
        if self.frozen.is_empty() {
            return None;
        }
        let frozen = self.frozen.remove(0);
        let identity = frozen.identity.clone();
        frozen.go.send(()).expect("it waits for this");
        self.join(frozen);
        Some(identity)
    }

    /// Forgets the processes whose identity another one took.
    pub(super) fn end_others(&mut self) {
        for other in std::mem::take(&mut self.others) {
            self.forget_parcels(other.number);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A process that still stands still goes on, and its thread ends.
        for Frozen { thread, go, .. } in std::mem::take(&mut self.frozen) {
            drop(go);
            let _ = thread.join();
        }
    }
}
