//! Faults that strike where they are aimed: the next transactions of a worker, its next reads, its next calls on a port.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::crash_points::{CommitBlow, CrashPoint, Says, says};
use super::points::{Blow, Killed, Point, When};
use crate::log::Append;
use crate::log::memory::{Fault, FaultPoint, Faults};
use crate::record::Codec;

/// A blow that waits for a call: the one after `passes` others of the same kind.
#[derive(Debug, Clone, Copy)]
struct Aim {
    point: Point,
    when: When,
    blow: Blow,
    passes: u32,
}

/// How a worker that stands still tells so, and learns that it may go on.
#[derive(Debug)]
pub(super) struct Gate {
    pub frozen: Sender<()>,
    pub go: Receiver<()>,
}

/// What is aimed and has not struck, and what struck.
#[derive(Debug, Default)]
struct Quiver {
    transactions: BTreeMap<String, VecDeque<Fault>>,
    reads: BTreeMap<String, u32>,
    rebuilds: BTreeMap<String, u32>,
    readers: BTreeMap<String, u32>,
    blows: BTreeMap<String, Aim>,
    gates: BTreeMap<String, Gate>,
    struck: BTreeMap<String, u64>,
    commits: Option<Commits>,
}

/// The commits of a script, and the blow that waits for one of them.
#[derive(Debug, Default)]
struct Commits {
    said: Vec<BTreeSet<Says>>,
    unnamed: Vec<String>,
    point: Option<CrashPoint>,
    struck: bool,
}

/// Faults in store for a log. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Aimed {
    quiver: Arc<Mutex<Quiver>>,
}

/// The name of a fault in counts.
fn name_of(fault: Fault) -> &'static str {
    match fault {
        Fault::Away => "away",
        Fault::Abort { late_markers: false } => "aborted",
        Fault::Abort { late_markers: true } => "aborted_late",
        Fault::Displaced => "displaced",
        Fault::LeftOpen => "undecided_open",
        Fault::Commit { reply_lost: true, .. } => "undecided_committed",
        Fault::Commit { late_markers: true, .. } => "committed_late",
        Fault::Commit { .. } => "none",
    }
}

impl Aimed {
    fn lock(&self) -> MutexGuard<'_, Quiver> {
        self.quiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next transaction under this id that no other fault waits for meets this one.
    pub fn transaction(&self, transactional_id: &str, fault: Fault) {
        self.lock().transactions.entry(transactional_id.to_owned()).or_default().push_back(fault);
    }

    /// The worker's next reads, so many, find the log away.
    pub fn reads(&self, identity: &str, count: u32) {
        self.lock().reads.insert(identity.to_owned(), count);
    }

    /// The worker's next rebuilds, so many, find the log away.
    pub fn rebuilds(&self, identity: &str, count: u32) {
        self.lock().rebuilds.insert(identity.to_owned(), count);
    }

    /// The worker's call at a point, after `passes` others at it, meets a blow; one that waits for another is forgotten.
    pub fn blow(&self, identity: &str, (point, when): (Point, When), blow: Blow, passes: u32) {
        self.lock().blows.insert(identity.to_owned(), Aim { point, when, blow, passes });
    }

    /// Whether a step of this worker may come to stand still.
    pub(super) fn may_freeze(&self, identity: &str) -> bool {
        let quiver = self.lock();
        let waits = quiver.commits.as_ref().and_then(|c| c.point.filter(|_| !c.struck));
        waits.is_some_and(|point| point.blow == CommitBlow::Zombie)
            || quiver.blows.get(identity).is_some_and(|aim| aim.blow == Blow::Freeze)
    }

    /// Notes what each commit says from here on; a blow waits for one of them.
    pub(super) fn watch_commits(&self, point: Option<CrashPoint>) {
        self.lock().commits = Some(Commits { point, ..Commits::default() });
    }

    /// What the commits said, whether the blow struck, and what nobody has a name for.
    pub(super) fn watched_commits(&self) -> (Vec<BTreeSet<Says>>, bool, Vec<String>) {
        let commits = self.lock().commits.take().unwrap_or_default();
        (commits.said, commits.struck, commits.unnamed)
    }

    /// A worker is about to commit: if the blow waits for this commit, it is aimed.
    pub(super) fn commit_begins(&self, identity: &str, codec: &Codec, appends: &[Append]) {
        let mut quiver = self.lock();
        let Some(commits) = &mut quiver.commits else { return };
        let number = commits.said.len();
        match says(codec, appends) {
            Ok(said) => commits.said.push(said),
            Err(text) => {
                commits.said.push(BTreeSet::new());
                commits.unnamed.push(text);
            }
        }
        let Some(CrashPoint { when, blow, .. }) = commits.point.filter(|p| p.commit == number) else { return };
        commits.struck = true;
        let blow = match blow {
            CommitBlow::Kill => Blow::Kill,
            CommitBlow::Zombie => Blow::Freeze,
            CommitBlow::Indefinite => {
                let fault = match when {
                    When::Before => Fault::LeftOpen,
                    When::After => Fault::Commit { reply_lost: true, late_markers: false },
                };
                quiver.transactions.entry(identity.to_owned()).or_default().push_front(fault);
                return;
            }
        };
        let aim = Aim { point: Point::Transact, when, blow, passes: 0 };
        quiver.blows.insert(identity.to_owned(), aim);
    }

    /// Sets how the worker's next standing still is told; `None` once its step has ended.
    pub(super) fn set_gate(&self, identity: &str, gate: Option<Gate>) {
        let mut quiver = self.lock();
        match gate {
            Some(gate) => drop(quiver.gates.insert(identity.to_owned(), gate)),
            None => drop(quiver.gates.remove(identity)),
        }
    }

    /// A worker is at a point: if a blow waits for it there, it strikes.
    pub(super) fn meet(&self, identity: &str, point: Point, when: When) {
        let (blow, gate) = {
            let mut quiver = self.lock();
            let Some(aim) = quiver.blows.get_mut(identity) else { return };
            if (aim.point, aim.when) != (point, when) {
                return;
            }
            if aim.passes > 0 {
                aim.passes -= 1;
                return;
            }
            let blow = aim.blow;
            let gate = quiver.gates.remove(identity);
            if blow == Blow::Freeze && gate.is_none() {
                // It stands still once in a step: what was aimed meanwhile waits for the next.
                return;
            }
            quiver.blows.remove(identity);
            (blow, gate)
        };
        self.count(&format!("{}.{}.{}", blow.name(), when.name(), point.name()));
        match (blow, gate) {
            (Blow::Kill, _) => std::panic::resume_unwind(Box::new(Killed)),
            (Blow::Freeze, Some(gate)) => {
                gate.frozen.send(()).expect("the world waits for it");
                // The world that ends without thawing it lets it go on.
                let _ = gate.go.recv();
            }
            (Blow::Freeze, None) => unreachable!("just looked at"),
        }
    }

    /// Whether a rebuild that is about to happen finds the log away.
    pub(super) fn take_rebuild(&self, identity: &str) -> bool {
        let struck = match self.lock().rebuilds.get_mut(identity) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        };
        if struck {
            self.count("rebuild_away");
        }
        struck
    }

    /// The next polls of the worker's readers, so many, find the log away.
    pub fn readers(&self, identity: &str, count: u32) {
        self.lock().readers.insert(identity.to_owned(), count);
    }

    /// Whether a reader's poll that is about to happen finds the log away.
    pub(super) fn take_reader(&self, identity: &str) -> bool {
        let mut quiver = self.lock();
        let Some(left) = quiver.readers.get_mut(identity).filter(|left| **left > 0) else { return false };
        *left -= 1;
        *quiver.struck.entry("reader_away".to_owned()).or_default() += 1;
        true
    }

    /// Takes back what has not struck.
    pub fn clear(&self) {
        let mut quiver = self.lock();
        quiver.transactions.clear();
        quiver.reads.clear();
        quiver.rebuilds.clear();
        quiver.readers.clear();
        quiver.blows.clear();
    }

    /// How often each kind of fault struck.
    pub fn struck(&self) -> BTreeMap<String, u64> {
        self.lock().struck.clone()
    }

    /// Counts something that struck by another way than the log's faults.
    pub fn count(&self, name: &str) {
        *self.lock().struck.entry(name.to_owned()).or_default() += 1;
    }

    /// The side of the log.
    pub(super) fn faults(&self) -> Faults {
        let aimed = self.clone();
        Box::new(move |point| aimed.choose(point))
    }

    fn choose(&self, point: FaultPoint<'_>) -> Fault {
        let fault = {
            let mut quiver = self.lock();
            match point {
                FaultPoint::Transact { transactional_id, .. } => {
                    quiver.transactions.get_mut(transactional_id).and_then(VecDeque::pop_front).unwrap_or(Fault::NONE)
                }
                FaultPoint::Read { identity: Some(identity) } => match quiver.reads.get_mut(identity) {
                    Some(left) if *left > 0 => {
                        *left -= 1;
                        Fault::Away
                    }
                    _ => Fault::NONE,
                },
                FaultPoint::Read { identity: None } | FaultPoint::Append { .. } => Fault::NONE,
            }
        };
        match (fault, point) {
            (Fault::NONE, _) => {}
            (_, FaultPoint::Read { .. }) => self.count("read_away"),
            _ => self.count(name_of(fault)),
        }
        fault
    }
}
