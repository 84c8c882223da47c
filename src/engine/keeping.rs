//! What a home keeps in its store: written behind, together with the place on the log that it stands for.
//!
//! Everything that a commit changed is noted and written some seconds later, once for all commits in between. What is
//! lost by a crash before that is read from the log again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::home::Kept;
use crate::lifecycle::File;
use crate::record::{FileId, PlannedDispatch, TargetName, Timestamp, Topic};
use crate::store::{Changes, Covers, PartitionStore, Put, StoreError, Unusable};

/// How long a change may wait to be written, in milliseconds.
const WRITE_EVERY_MS: i64 = 2_000;

/// Changed files that are written at once.
const CHANGED_AT_MOST: usize = 4_096;

/// Plans in memory, in bytes, that are written at once.
pub(super) const PLANS_AT_MOST: usize = 16 * 1024 * 1024;

/// What a plan takes in memory beside headers and body.
const PLAN_BYTES: usize = 1_024;

/// How long a write may take before the disk counts as failed, in milliseconds.
pub(super) const WRITE_WITHIN_MS: i64 = 60_000;

/// How much the store may lag behind in time while nothing changes, in milliseconds.
const AGE_EVERY_MS: i64 = 3_600_000;

/// Changes that aren't in the store, or not yet for sure.
#[derive(Debug, Default)]
struct Unwritten {
    /// With whether the store may have plans of the file.
    changed: BTreeMap<FileId, bool>,
    /// With the times of their settlement, as the store has it. One that is also in `changed` is a new file under the same id.
    forgotten: BTreeMap<FileId, Option<Timestamp>>,
    plans: BTreeMap<FileId, BTreeMap<TargetName, Arc<PlannedDispatch>>>,
    /// Roughly what they take.
    plan_bytes: usize,
    /// When the first of the changed files settled that has.
    first_settled: Option<Timestamp>,
}

/// A store with what is still to be written to it.
#[derive(Debug)]
pub(super) struct Keeping {
    store: PartitionStore,
    covers: Covers,
    next: Unwritten,
    /// What is being written, and since when.
    writing: Option<(Unwritten, Timestamp)>,
    /// What was written since somebody asked.
    written: BTreeSet<FileId>,
    written_at: Timestamp,
    /// No file settled before this that isn't forgotten.
    settled_from: Timestamp,
    /// When the first file settled that isn't forgotten.
    first_settled: Option<Timestamp>,
    /// Whether this worker's clock was right when it judged how old the store is.
    is_proven: bool,
    /// What the store knew when it was opened, if it did.
    opened: Option<Covers>,
    /// Whether what the restore found has been written, or is being.
    has_written: bool,
}

impl Keeping {
    /// `covers` is what the files will stand for once the changes so far are noted; `opened` what the store knew before.
    pub fn new(store: PartitionStore, covers: Covers, opened: Option<Covers>) -> Result<Self, StoreError> {
        let first_settled = store.first_settled(Timestamp(i64::MIN))?;
        Ok(Self {
            store,
            covers,
            next: Unwritten::default(),
            writing: None,
            written: BTreeSet::new(),
            // What a restore found is written at once.
            written_at: Timestamp(i64::MIN / 2),
            settled_from: Timestamp(i64::MIN),
            first_settled,
            is_proven: false,
            opened,
            has_written: false,
        })
    }

    /// The clock is right, and says `now`: judges how old the store was. Until then nothing is written.
    pub fn prove(&mut self, now: Timestamp) -> Result<(), Unusable> {
        if !self.is_proven {
            self.opened.take().map_or(Ok(()), |opened| opened.judge_age(now))?;
            self.is_proven = true;
            // The restore may have begun by another clock than this.
            self.covers.until = now;
        }
        Ok(())
    }

    /// Whether it may be written: see [`Keeping::prove`].
    pub fn is_proven(&self) -> bool {
        self.is_proven
    }

    // ── after a commit ────────────────────────────────────────────────────────────────────────────────────────────

    pub fn note_changed(&mut self, file: &File) {
        let mut has_plans = true;
        if let Some(at) = file.settled_at {
            let plans = self.next.plans.remove(file.id()).unwrap_or_default();
            self.next.plan_bytes -= plans.values().map(|plan| bytes_of_plan(plan)).sum::<usize>();
            // Plans noted since the last write never were in the store: most files settle before they would be. Only a restore
            // notes plans that an earlier one may have written.
            has_plans = !self.has_written || plans.len() < file.dispatches.len();
            self.next.first_settled = earlier(self.next.first_settled, Some(at));
            self.first_settled = earlier(self.first_settled, Some(at));
            self.settled_from = self.settled_from.min(at);
        }
        let noted = self.next.changed.entry(file.id().clone()).or_insert(has_plans);
        *noted &= has_plans;
    }

    pub fn note_forgotten(&mut self, id: &FileId, settled_at: Option<Timestamp>) {
        self.next.changed.remove(id);
        self.next.forgotten.insert(id.clone(), settled_at);
    }

    pub fn note_plan(&mut self, plan: Arc<PlannedDispatch>) {
        self.next.plan_bytes += bytes_of_plan(&plan);
        let of_file = self.next.plans.entry(plan.file_id.clone()).or_default();
        of_file.insert(plan.target.clone(), plan);
    }

    /// A commit succeeded: this worker still owns the partition, and its records stand before these positions.
    pub fn note_committed(&mut self, next: impl Iterator<Item = (Topic, i64)>, now: Timestamp) {
        for (topic, at) in next {
            let known = self.covers.positions.entry(topic).or_insert(at);
            *known = (*known).max(at);
        }
        self.covers.until = self.covers.until.max(now);
    }

    // ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// An open file that isn't in memory.
    pub fn open_file(&self, id: &FileId) -> Result<crate::store::Kept, StoreError> {
        self.store.open_file(id)?.ok_or_else(|| StoreError::corrupt(format!("{id} should be there")))
    }

    /// The ids of all open files in the store.
    pub fn open_ids(&self, visit: &mut dyn FnMut(FileId)) -> Result<(), StoreError> {
        self.store.open_ids(visit)
    }

    /// A settled file that isn't in memory, unless it is forgotten.
    pub fn settled_file(&self, id: &FileId) -> Result<Option<crate::store::Kept>, StoreError> {
        if self.unwritten().any(|u| u.forgotten.contains_key(id)) {
            return Ok(None);
        }
        self.store.settled_file(id)
    }

    /// The plan of a dispatch of an open file.
    pub fn plan(&self, id: &FileId, target: &TargetName) -> Result<Option<Arc<PlannedDispatch>>, StoreError> {
        match self.unwritten().find_map(|u| u.plans.get(id)?.get(target)) {
            Some(plan) => Ok(Some(Arc::clone(plan))),
            None => Ok(self.store.plan(id, target)?.map(Arc::new)),
        }
    }

    /// Whether a file has changes that the store doesn't have for sure.
    pub fn is_to_be_written(&self, id: &FileId) -> bool {
        self.unwritten().any(|u| u.changed.contains_key(id))
    }

    /// How many files have changes that nobody writes yet.
    pub fn changed(&self) -> usize {
        self.next.changed.len()
    }

    /// When the first file settled that isn't forgotten; perhaps a little too early.
    pub fn first_settled(&self) -> Option<Timestamp> {
        self.first_settled
    }

    /// Files that settled before `before` and aren't forgotten, at most `max`, among them none that is still to be
    /// written.
    pub fn settled_before(&mut self, before: Timestamp, max: usize) -> Result<Vec<FileId>, StoreError> {
        if self.first_settled.is_none_or(|first| first >= before) {
            return Ok(Vec::new());
        }
        let pending: usize = self.unwritten().map(|u| u.forgotten.len()).sum();
        let found = self.store.settled(self.settled_from, before, max + pending)?;
        let is_live =
            |id: &FileId| !self.unwritten().any(|u| u.forgotten.contains_key(id) || u.changed.contains_key(id));
        let live: Vec<(Timestamp, FileId)> = found.into_iter().filter(|(_, id)| is_live(id)).take(max).collect();
        if live.is_empty() {
            let stored = self.store.settled(self.settled_from, Timestamp(i64::MAX), 1 + pending)?;
            let stored = stored.into_iter().find(|(_, id)| is_live(id)).map(|(at, _)| at);
            self.first_settled = self.unwritten().map(|u| u.first_settled).fold(stored, earlier);
        }
        Ok(live.into_iter().map(|(_, id)| id).collect())
    }

    fn unwritten(&self) -> impl Iterator<Item = &Unwritten> {
        [&self.next].into_iter().chain(self.writing.as_ref().map(|(writing, _)| writing))
    }

    // ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// Learns whether the write that is under way has ended.
    pub fn look(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Some((_, since)) = &self.writing else { return Ok(()) };
        if self.store.is_writing()? {
            if now.millis_since(*since) > WRITE_WITHIN_MS {
                return Err(StoreError::failed("a write doesn't come to its end"));
            }
            return Ok(());
        }
        self.note_written()
    }

    fn note_written(&mut self) -> Result<(), StoreError> {
        let Some((written, _)) = self.writing.take() else { return Ok(()) };
        self.written.extend(written.changed.into_keys());
        if written.forgotten.values().any(Option::is_some) {
            // What was removed is passed once, and not by each look. A file that settled earlier than others that are
            // forgotten may be left: it had changed since, or is still to be written.
            let stored = self.store.first_settled(self.settled_from)?;
            if let Some(first) = earlier(stored, self.next.first_settled) {
                self.settled_from = self.settled_from.max(first);
            }
        }
        Ok(())
    }

    /// The files that were written since the last time.
    pub fn take_written(&mut self) -> BTreeSet<FileId> {
        std::mem::take(&mut self.written)
    }

    /// Begins a write if one is due, or `at_once`, unless one is under way.
    pub fn write(&mut self, files: &BTreeMap<FileId, Kept>, now: Timestamp, at_once: bool) -> Result<(), StoreError> {
        self.look(now)?;
        let stored = self.store.covers();
        let is_behind = stored.is_none_or(|stored| self.covers.until.millis_since(stored.until) > AGE_EVERY_MS);
        let is_changed = stored.is_none_or(|stored| stored.positions != self.covers.positions)
            || !(self.next.changed.is_empty() && self.next.forgotten.is_empty());
        let is_due = at_once
            || now.millis_since(self.written_at) >= WRITE_EVERY_MS
            || self.next.changed.len() + self.next.forgotten.len() >= CHANGED_AT_MOST
            || self.next.plan_bytes >= PLANS_AT_MOST;
        if self.writing.is_some() || !is_due || !(is_changed || is_behind) {
            return Ok(());
        }
        let next = std::mem::take(&mut self.next);
        let put = next.changed.iter().map(|(id, has_plans)| {
            let kept = files.get(id).expect("what is still to be written is in memory");
            let plans = next.plans.get(id).into_iter().flat_map(BTreeMap::values).map(AsRef::as_ref).collect();
            Put { file: &kept.file, history_seq: kept.history_seq, plans, has_plans: *has_plans }
        });
        self.store.apply(Changes {
            forgotten: next.forgotten.iter().map(|(id, at)| (id, *at)).collect(),
            plans: Vec::new(),
            put: put.collect(),
            covers: Some(self.covers.clone()),
        })?;
        self.has_written = true;
        self.writing = Some((next, now));
        self.written_at = now;
        if self.store.is_writing()? { Ok(()) } else { self.note_written() }
    }

    /// Waits a while for the write that is under way.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        self.store.finish()?;
        self.note_written()
    }

    pub fn into_store(self) -> PartitionStore {
        self.store
    }
}

/// Roughly what a plan takes in memory.
pub(super) fn bytes_of_plan(plan: &PlannedDispatch) -> usize {
    let headers: usize = plan.request.headers.iter().map(|(name, value)| 48 + name.len() + value.len()).sum();
    PLAN_BYTES + headers + plan.request.body.as_ref().map_or(0, |body| body.0.len())
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
pub(super) mod tests;
