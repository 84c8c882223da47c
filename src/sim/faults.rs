//! Faults that strike where they are aimed: the next transactions of a worker, its next reads, the next appends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::memory::{Fault, FaultPoint, Faults};

/// What is aimed and has not struck, and what struck.
#[derive(Debug, Default)]
struct Quiver {
    transactions: BTreeMap<String, VecDeque<Fault>>,
    reads: BTreeMap<String, u32>,
    rebuilds: BTreeMap<String, u32>,
    struck: BTreeMap<String, u64>,
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

    /// Takes back what has not struck.
    pub fn clear(&self) {
        let mut quiver = self.lock();
        quiver.transactions.clear();
        quiver.reads.clear();
        quiver.rebuilds.clear();
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
