//! What is settled is forgotten: tombstones for every key of a file, in as many transactions as they take.
//!
//! The arrival and the file-state go in the first. From then on the file is none, whatever is left of it: a report about it
//! has no file, and a restore finds records that belong to no file. Whoever restores these clears them before it reads an
//! input, so that nothing of a file is left when its id is used again. The worker that has begun goes on at its next batch;
//! until its last transaction it still knows the file, as what it announces again is a repeat of.

use super::batch::Batch;
use super::observed::Observed;
use crate::lifecycle::File;
use crate::record::{FileId, Topic, attempt_key, dispatch_key, history_key};

/// Keys that go in one transaction: those of the arrival and the file-state.
const FIRST: usize = 2;

/// How far the forgetting of a file has come with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tombstoned {
    /// So many of its keys have their tombstones.
    UpTo(usize),
    /// All have.
    Whole,
}

/// The keys of a file's records, in the order in which they are tombstoned: those first by which it is one.
pub(super) fn keys_of(file: &File, history_seq: i64) -> impl Iterator<Item = (Topic, String)> + '_ {
    let id = file.id();
    let first: [_; FIRST] = [(Topic::Arrivals, id.to_string()), (Topic::FileState, id.to_string())];
    let plans = file.dispatches.iter().map(move |d| (Topic::Plans, dispatch_key(id, d.target())));
    let fetch = file.fetch.as_deref();
    let attempts = file.dispatches.iter().chain(fetch).flat_map(move |dispatch| {
        (1..=dispatch.attempts).map(move |n| (Topic::Attempts, attempt_key(id, dispatch.target(), n)))
    });
    // What may still be added to comes last, so that a count of keys stays a place among them.
    let history = (1..=history_seq).map(move |seq| (Topic::History, history_key(id, seq)));
    first.into_iter().chain(plans).chain(attempts).chain(history)
}

impl Batch<'_> {
    /// Appends tombstones for what is left of files that are none any more.
    pub(super) fn clear_leftovers(&mut self, home: i32) {
        let mut cleared = 0;
        for (topic, key) in self.home(home).leftovers() {
            if self.is_full_for_now(usize::MAX) {
                break;
            }
            self.tombstone(*topic, home, key.clone());
            cleared += 1;
        }
        if cleared > 0 {
            self.cleared.push((home, cleared));
        }
    }

    /// Appends tombstones of a settled file that is to be forgotten, as many as the batch takes.
    pub(super) fn forget(&mut self, home: i32, id: &FileId) {
        let at_home = self.home(home);
        let Some(kept) = at_home.kept(id) else { return };
        let begun = at_home.tombstoned(id).unwrap_or(0);
        for (done, (topic, key)) in keys_of(&kept.file, kept.history_seq).enumerate().skip(begun) {
            // The first two go together: what has one of them is a file.
            if done >= FIRST && self.is_full_for_now(usize::MAX) {
                self.tombstoned.push((home, id.clone(), Tombstoned::UpTo(done)));
                return;
            }
            self.tombstone(topic, home, key);
        }
        self.tombstoned.push((home, id.clone(), Tombstoned::Whole));
        self.observe(Observed::Forgotten { file_id: id.clone() });
    }
}
