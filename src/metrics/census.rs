//! How many files and dispatches stand where: counted as file-states come and go.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::record::{FileState, HeldBecause, State, Status, TargetName, Timestamp};

/// Counts over the newest state of every file. Kept up to date by adding a new state and removing the one it replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Files by state.
    pub files: BTreeMap<State, i64>,
    /// Dispatches by target and status.
    pub dispatches: BTreeMap<(TargetName, Status), i64>,
    /// HELD dispatches by target and cause.
    pub held: BTreeMap<(TargetName, HeldBecause), i64>,
    /// Open files whose deadline has passed.
    pub overdue: i64,
    /// Open files that can't be COMPLETED by their deadline without a person.
    pub deadline_lost: i64,
    /// Open files that have an open dispatch at a target, by the time they were received.
    open: BTreeMap<TargetName, BTreeMap<Timestamp, i64>>,
}

/// Whether a state is final.
pub fn is_terminal(state: State) -> bool {
    matches!(state, State::Completed | State::Failed)
}

/// Whether a dispatch of that status is settled.
pub fn is_settled(status: Status) -> bool {
    matches!(status, Status::Succeeded | Status::Failed | Status::Cancelled)
}

impl Census {
    /// Counts a state in.
    pub fn add(&mut self, file: &FileState) {
        self.count(file, 1);
    }

    /// Counts a state out that was counted in before.
    pub fn remove(&mut self, file: &FileState) {
        self.count(file, -1);
    }

    /// When the oldest open file was received that has an open dispatch at each target.
    pub fn oldest_open(&self) -> impl Iterator<Item = (&TargetName, Timestamp)> {
        self.open.iter().filter_map(|(target, times)| Some((target, *times.keys().next()?)))
    }

    fn count(&mut self, file: &FileState, by: i64) {
        add(&mut self.files, file.state, by);
        let open = !is_terminal(file.state);
        if open && file.overdue {
            self.overdue += by;
        }
        if open && file.deadline_lost {
            self.deadline_lost += by;
        }
        for dispatch in &file.dispatches {
            add(&mut self.dispatches, (dispatch.target.clone(), dispatch.status), by);
            if let Some(because) = dispatch.held_because.filter(|_| dispatch.status == Status::Held) {
                add(&mut self.held, (dispatch.target.clone(), because), by);
            }
            if open && !is_settled(dispatch.status) {
                let times = self.open.entry(dispatch.target.clone()).or_default();
                add(times, file.received_at, by);
                if times.is_empty() {
                    self.open.remove(&dispatch.target);
                }
            }
        }
    }
}

/// Adds to a count and drops it at zero.
fn add<K: Ord>(counts: &mut BTreeMap<K, i64>, key: K, by: i64) {
    match counts.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(by);
        }
        Entry::Occupied(mut entry) => {
            *entry.get_mut() += by;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}
