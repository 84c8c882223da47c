//! A home partition: its files, what they wait for, and when.
//!
//! Open files are in memory within a budget; the others, and all that have settled, are in the store only and are fetched
//! before a batch that is about them ([`Home::fetch`], [`Home::prepare`]), so that deciding stays a plain function.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::keeping::Keeping;
use crate::lifecycle::{DueTimer, File};
use crate::record::{FileId, PlannedDispatch, Status, TargetName, Timer, TimerKind, Timestamp, Topic};
use crate::store::{PartitionStore, StoreError};
use crate::transport::Permit;

/// What tells one timer of a file from another.
pub(super) type TimerMark = (Option<TargetName>, TimerKind, Timestamp, Option<i32>);

pub(super) fn mark_of(target: Option<&TargetName>, timer: &Timer) -> TimerMark {
    (target.cloned(), timer.what, timer.due, timer.escalation)
}

/// A file with what the engine knows beside its events.
#[derive(Debug)]
pub(super) struct Kept {
    pub file: File,
    /// Sequence number of its newest history record; 0 before the first.
    pub history_seq: i64,
    /// Timers that were appended and not yet read back.
    appended: BTreeSet<TimerMark>,
    /// Timers that are due and wait until earlier acks have been read.
    parked: BTreeSet<TimerMark>,
    /// Where it stands in `wakes` and `waiting`.
    places: Places,
    /// When it was last touched, in the order of touches.
    touched: u64,
    /// Roughly what it takes in memory.
    bytes: usize,
}

/// Where a file stands in the orders of its home.
#[derive(Debug, Default, PartialEq)]
struct Places {
    wake: Option<Timestamp>,
    waits_for: Vec<(TargetName, Timestamp)>,
}

impl Kept {
    fn new(file: File, history_seq: i64) -> Self {
        Self {
            file,
            history_seq,
            appended: BTreeSet::new(),
            parked: BTreeSet::new(),
            places: Places::default(),
            touched: 0,
            bytes: 0,
        }
    }

    /// The timers that are still to be appended.
    pub fn timers(&self) -> impl Iterator<Item = DueTimer> + '_ {
        self.file.timers().into_iter().filter(|t| !self.was_appended(&mark_of(t.target.as_ref(), &t.timer)))
    }

    pub fn was_appended(&self, mark: &TimerMark) -> bool {
        self.appended.contains(mark)
    }

    /// Whether the store knows all that there is to know of it.
    fn may_sleep(&self) -> bool {
        self.appended.is_empty() && self.parked.is_empty()
    }

    /// Drops what belonged to a status that the file has left; gives the due times for which nothing waits any more.
    fn tidy(&mut self) -> Vec<Timestamp> {
        let file = &self.file;
        if self.appended.is_empty() && self.parked.is_empty() {
            return Vec::new();
        }
        let live: BTreeSet<TimerMark> = file.timers().iter().map(|t| mark_of(t.target.as_ref(), &t.timer)).collect();
        self.appended.retain(|mark| live.contains(mark) || is_pause_escalation(file, mark));
        let dropped: Vec<TimerMark> = self.parked.extract_if(.., |mark| !live.contains(mark)).collect();
        let waits = |due: &Timestamp| self.parked.iter().any(|(_, _, at, _)| at == due);
        dropped.into_iter().map(|(_, _, due, _)| due).filter(|due| !waits(due)).collect()
    }
}

/// Before every time: what is restored is placed by what it waits for and by no clock. A clock that is ahead and not
/// measured yet would take what still may be sent for overdue, and no later time would bring it back.
pub(super) const BEFORE_ALL: Timestamp = Timestamp(i64::MIN);

/// One home partition that this worker works on.
#[derive(Debug)]
pub(super) struct Home {
    forgets_after_ms: i64,
    /// The store, and what is still to be written to it.
    pub keeping: Keeping,
    /// The files in memory: open ones, and settled ones while a batch is about them or they are still to be written.
    files: BTreeMap<FileId, Kept>,
    /// Open files that are only in the store.
    asleep: BTreeMap<FileId, Places>,
    /// Permits of attempts that were restored, of files in memory or not: held until their outcome or deadline is read.
    permits: BTreeMap<FileId, Vec<(TargetName, Permit)>>,
    /// The files in memory in the order in which they were last touched.
    by_touch: BTreeMap<u64, FileId>,
    touches: u64,
    /// Roughly what the files take in memory.
    bytes: usize,
    orders: Orders,
    /// Files with timers that wait until earlier acks have been read, by when these fell due.
    parked: BTreeSet<(Timestamp, FileId)>,
    /// Settled files in memory that are to be forgotten.
    expired: Vec<FileId>,
    /// Files whose forgetting has begun, with the number of their keys that have tombstones.
    forgetting: BTreeMap<FileId, usize>,
    /// Keys of records that belong to no file: somebody began to forget it.
    leftovers: VecDeque<(Topic, String)>,
    /// Settled files that were fetched for this turn.
    visitors: BTreeSet<FileId>,
    /// Up to where the files that wait at paused targets were fetched, to see whether they escalate.
    paused_until: BTreeMap<TargetName, (Timestamp, FileId)>,
}

impl Home {
    pub fn new(forgets_after_ms: i64, keeping: Keeping) -> Self {
        Self {
            forgets_after_ms,
            keeping,
            files: BTreeMap::new(),
            asleep: BTreeMap::new(),
            permits: BTreeMap::new(),
            by_touch: BTreeMap::new(),
            touches: 0,
            bytes: 0,
            orders: Orders::default(),
            parked: BTreeSet::new(),
            expired: Vec::new(),
            forgetting: BTreeMap::new(),
            leftovers: VecDeque::new(),
            visitors: BTreeSet::new(),
            paused_until: BTreeMap::new(),
        }
    }

    /// A file that is in memory.
    pub fn kept(&self, id: &FileId) -> Option<&Kept> {
        self.files.get(id)
    }

    /// The plan of a dispatch of an open file.
    pub fn plan(&self, id: &FileId, target: &TargetName) -> Result<Option<Arc<PlannedDispatch>>, StoreError> {
        self.keeping.plan(id, target)
    }

    /// Takes in a file as it is after a commit or a restore, to be written to the store.
    pub fn put(&mut self, file: File, history_seq: i64, now: Timestamp) {
        let id = file.id().clone();
        self.keeping.note_changed(&file);
        if self.files.contains_key(&id) {
            self.update_if_there(&id, now, |kept| (kept.file, kept.history_seq) = (file, history_seq));
        } else {
            self.take_in(file, history_seq, now);
        }
    }

    /// Takes in a file as the store has it.
    pub fn take_in(&mut self, file: File, history_seq: i64, now: Timestamp) {
        let id = file.id().clone();
        if let Some(old) = self.leave_memory(&id) {
            self.orders.leave(&id, &old.places);
        }
        self.files.insert(id.clone(), Kept::new(file, history_seq));
        self.update_if_there(&id, now, |_| ());
    }

    /// Takes in the open files of the store but some, those beyond the budget only by what they wait for.
    pub fn take_in_stored(
        &mut self,
        but: &BTreeSet<FileId>,
        budget: usize,
        permit_for: &dyn Fn(&TargetName) -> Permit,
    ) -> Result<(), StoreError> {
        let mut stored = Vec::new();
        self.keeping.open_ids(&mut |id| {
            if !but.contains(&id) {
                stored.push(id);
            }
        })?;
        for id in stored {
            let kept = self.keeping.open_file(&id)?;
            let open: Vec<TargetName> =
                kept.file.dispatches.iter().filter(|d| d.has_open_attempt()).map(|d| d.target().clone()).collect();
            self.take_in(kept.file, kept.history_seq, BEFORE_ALL);
            for target in open {
                let permit = permit_for(&target);
                self.keep_permit(&id, target, permit);
            }
            self.trim(budget);
        }
        Ok(())
    }

    /// Keeps the permit of a restored attempt until its outcome or deadline is read.
    pub fn keep_permit(&mut self, id: &FileId, target: TargetName, permit: Permit) {
        self.permits.entry(id.clone()).or_default().push((target, permit));
    }

    /// Marks timers of a file as appended, after the commit that appended them.
    pub fn mark_appended(&mut self, id: &FileId, marks: Vec<TimerMark>, now: Timestamp) {
        self.update_if_there(id, now, |kept| kept.appended.extend(marks));
    }

    /// Sets timers aside until earlier acks have been read.
    pub fn park(&mut self, id: &FileId, marks: Vec<TimerMark>, now: Timestamp) {
        self.parked.extend(marks.iter().map(|(_, _, due, _)| (*due, id.clone())));
        self.update_if_there(id, now, |kept| kept.parked.extend(marks));
    }

    /// When the earliest timer fell due that waits until earlier acks have been read.
    pub fn first_parked(&self) -> Option<Timestamp> {
        self.parked.first().map(|(due, _)| *due)
    }

    /// Acks appended before `passed` have been read: timers that fell due by then may be appended.
    pub fn unpark(&mut self, passed: Timestamp, now: Timestamp) {
        while let Some((due, id)) = self.parked.first().filter(|(due, _)| *due <= passed).cloned() {
            self.parked.remove(&(due, id.clone()));
            self.update_if_there(&id, now, |kept| kept.parked.retain(|(_, _, at, _)| *at > passed));
        }
    }

    /// Looks at a file again: back-offs that have ended now wait for capacity.
    pub fn rouse(&mut self, id: &FileId, now: Timestamp) {
        self.update_if_there(id, now, |_| ());
    }

    /// How many keys of a file have tombstones, if its forgetting has begun.
    pub fn tombstoned(&self, id: &FileId) -> Option<usize> {
        self.forgetting.get(id).copied()
    }

    /// Notes how far the forgetting of a file has come.
    pub fn note_tombstoned(&mut self, id: &FileId, upto: usize) {
        self.forgetting.insert(id.clone(), upto);
    }

    /// Keys of records that belong to no file.
    pub fn leftovers(&self) -> impl Iterator<Item = &(Topic, String)> {
        self.leftovers.iter()
    }

    /// Takes in what a restore found of files that are none.
    pub fn take_in_leftovers(&mut self, keys: impl IntoIterator<Item = (Topic, String)>) {
        self.leftovers.extend(keys);
    }

    /// Notes that so many of them have their tombstones.
    pub fn note_cleared(&mut self, count: usize) {
        self.leftovers.drain(..count);
    }

    /// Forgets a file whose records were tombstoned.
    pub fn remove(&mut self, id: &FileId) {
        self.forgetting.remove(id);
        self.permits.remove(id);
        if let Some(kept) = self.leave_memory(id) {
            self.orders.leave(id, &kept.places);
            self.keeping.note_forgotten(id, kept.file.settled_at);
        }
    }

    /// The earliest time at which something is due.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let forget = self.keeping.first_settled().map(|at| at.plus_millis(self.forgets_after_ms));
        self.orders.wakes.first().map(|(at, _)| *at).into_iter().chain(forget).min()
    }

    /// Files whose time has come, at most `max`.
    pub fn woken(&self, now: Timestamp, max: usize) -> Vec<FileId> {
        self.orders.wakes.iter().take_while(|(at, _)| *at <= now).take(max).map(|(_, id)| id.clone()).collect()
    }

    /// Settled files that are to be forgotten.
    pub fn expired(&self) -> &[FileId] {
        &self.expired
    }

    /// Targets that something waits for.
    pub fn waited_for(&self) -> impl Iterator<Item = &TargetName> {
        self.orders.waiting.keys()
    }

    /// Files whose dispatch at a target waits for capacity, oldest first.
    pub fn waiting(&self, target: &TargetName) -> impl Iterator<Item = &(Timestamp, FileId)> {
        self.orders.waiting.get(target).into_iter().flatten()
    }

    // ── between memory and the store ──────────────────────────────────────────────────────────────────────────────

    /// Fetches what the next batch may be about without an input: files that are due, those whose turn comes at a
    /// target, and those that are to be forgotten. `take` says how many of so many that wait for a target have their turn.
    pub fn prepare(
        &mut self,
        now: Timestamp,
        max: usize,
        take: &mut dyn FnMut(&TargetName, usize) -> usize,
    ) -> Result<(), StoreError> {
        let mut turns: Vec<(TargetName, FileId)> = Vec::new();
        for (target, waiting) in &self.orders.waiting {
            let count = take(target, waiting.len());
            turns.extend(waiting.iter().take(count).map(|(_, id)| (target.clone(), id.clone())));
        }
        self.woken(now, max).iter().try_for_each(|id| self.fetch(id, now))?;
        for (target, id) in &turns {
            self.fetch(id, now)?;
            let may_go = |kept: &Kept| kept.file.index_of(target).is_some_and(|at| kept.file.may_authorize(at, now));
            if !self.kept(id).is_some_and(may_go) {
                // Its deadline has passed since it was placed: it mustn't take the turn of those behind it again.
                self.update_if_there(id, now, |_| ());
            }
        }
        self.expired = self.keeping.settled_before(now.plus_millis(-self.forgets_after_ms), max)?;
        let expired = std::mem::take(&mut self.expired);
        expired.iter().try_for_each(|id| self.fetch(id, now))?;
        self.expired = expired;
        Ok(())
    }

    /// Fetches some of the files that wait at a paused target, others each time, so that each is seen to escalate.
    pub fn prepare_paused(&mut self, target: &TargetName, now: Timestamp, max: usize) -> Result<(), StoreError> {
        let Some(waiting) = self.orders.waiting.get(target).filter(|_| !self.asleep.is_empty()) else { return Ok(()) };
        let after = self.paused_until.remove(target).map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<(Timestamp, FileId)> = waiting.range((after, Bound::Unbounded)).take(max).cloned().collect();
        next.iter().try_for_each(|(_, id)| self.fetch(id, now))?;
        if let Some(last) = next.into_iter().last() {
            self.paused_until.insert(target.clone(), last);
        }
        Ok(())
    }

    /// Brings a file into memory, if there is one.
    pub fn fetch(&mut self, id: &FileId, now: Timestamp) -> Result<(), StoreError> {
        if self.files.contains_key(id) {
            return Ok(());
        }
        let kept = if self.asleep.contains_key(id) {
            self.keeping.open_file(id)?
        } else if let Some(kept) = self.keeping.settled_file(id)? {
            self.visitors.insert(id.clone());
            kept
        } else {
            return Ok(());
        };
        if let Some(places) = self.asleep.remove(id) {
            self.orders.leave(id, &places);
        }
        self.take_in(kept.file, kept.history_seq, now);
        Ok(())
    }

    /// Lets go of settled files that the store has, and of the open files that were touched longest ago beyond the
    /// budget.
    pub fn trim(&mut self, budget: usize) {
        let mut leave = std::mem::take(&mut self.visitors);
        leave.extend(self.keeping.take_written());
        for id in leave {
            if self.files.get(&id).is_some_and(|kept| kept.file.is_terminal()) && !self.keeping.is_to_be_written(&id) {
                self.leave_memory(&id);
            }
        }
        if self.bytes <= budget {
            return;
        }
        let mut asleep = Vec::new();
        let mut left = self.bytes;
        for id in self.by_touch.values() {
            if left <= budget {
                break;
            }
            let kept = &self.files[id];
            if kept.may_sleep() && !self.keeping.is_to_be_written(id) {
                left -= kept.bytes;
                asleep.push(id.clone());
            }
        }
        for id in asleep {
            if let Some(kept) = self.leave_memory(&id).filter(|kept| !kept.file.is_terminal()) {
                self.asleep.insert(id, kept.places);
            }
        }
    }

    /// Whether most of what is in memory beyond the budget can't leave it before it is written.
    pub fn is_crowded(&self, budget: usize) -> bool {
        self.bytes > budget + CROWD_BYTES && self.keeping.changed() * 2 > self.files.len()
    }

    /// Begins to write what has changed, if it is time to.
    pub fn keep(&mut self, now: Timestamp, at_once: bool) -> Result<(), StoreError> {
        if !self.leftovers.is_empty() {
            // Once the store knows nothing of a file, only these keys say what is left of it on the log.
            return Ok(());
        }
        self.keeping.write(&self.files, now, at_once)
    }

    /// Writes what has changed and waits for it a while: the worker lets go of the partition.
    pub fn close(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.keeping.finish()?;
        self.keep(now, true)?;
        self.keeping.finish()
    }

    pub fn into_store(self) -> PartitionStore {
        self.keeping.into_store()
    }

    // ── places ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Changes a file that is in memory, and puts it where it stands by that in the orders.
    fn update_if_there(&mut self, id: &FileId, now: Timestamp, change: impl FnOnce(&mut Kept)) {
        let Some(kept) = self.files.get_mut(id) else { return };
        let planned = kept.file.dispatches.len();
        change(kept);
        for due in kept.tidy() {
            self.parked.remove(&(due, id.clone()));
        }
        if let Some(permits) = self.permits.get_mut(id) {
            let is_open = |at: usize| kept.file.dispatches[at].has_open_attempt();
            permits.retain(|(target, _)| kept.file.index_of(target).is_some_and(is_open));
            if permits.is_empty() {
                self.permits.remove(id);
            }
        }
        let places = Places { wake: wake_of(kept, now), waits_for: waits_of(&kept.file, now) };
        if places != kept.places {
            self.orders.leave(id, &kept.places);
            self.orders.take(id, &places);
            kept.places = places;
        }
        self.touches += 1;
        self.by_touch.remove(&kept.touched);
        kept.touched = self.touches;
        self.by_touch.insert(kept.touched, id.clone());
        // What takes room is the manifest and the plan, which a file gets once.
        if kept.bytes == 0 || kept.file.dispatches.len() != planned {
            let before = std::mem::replace(&mut kept.bytes, bytes_of(&kept.file));
            self.bytes = self.bytes - before + kept.bytes;
        }
    }

    fn leave_memory(&mut self, id: &FileId) -> Option<Kept> {
        let kept = self.files.remove(id)?;
        self.by_touch.remove(&kept.touched);
        self.bytes -= kept.bytes;
        Some(kept)
    }
}

/// What a home looks at next: by time, and by target.
#[derive(Debug, Default)]
struct Orders {
    /// When a file must be looked at again without an input.
    wakes: BTreeSet<(Timestamp, FileId)>,
    /// Dispatches whose next attempt may be authorized as soon as there is capacity, oldest first.
    waiting: BTreeMap<TargetName, BTreeSet<(Timestamp, FileId)>>,
}

impl Orders {
    fn take(&mut self, id: &FileId, places: &Places) {
        for (target, since) in &places.waits_for {
            self.waiting.entry(target.clone()).or_default().insert((*since, id.clone()));
        }
        if let Some(at) = places.wake {
            self.wakes.insert((at, id.clone()));
        }
    }

    fn leave(&mut self, id: &FileId, places: &Places) {
        if let Some(at) = places.wake {
            self.wakes.remove(&(at, id.clone()));
        }
        for (target, since) in &places.waits_for {
            if let Some(queue) = self.waiting.get_mut(target) {
                queue.remove(&(*since, id.clone()));
                if queue.is_empty() {
                    self.waiting.remove(target);
                }
            }
        }
    }
}

/// What a file takes in memory beside its texts, and each of its dispatches: structs, nodes of maps, what the allocator
/// can't use between them. Measured (decision 95): 4.2 KB a file of 5 targets, and its places beside that.
const FILE_BYTES: usize = 2 * 1024;
const DISPATCH_BYTES: usize = 768;

/// How far files that are still to be written may exceed the budget before they are written at once.
const CROWD_BYTES: usize = 4 * 1024 * 1024;

/// Roughly what a file takes in memory.
fn bytes_of(file: &File) -> usize {
    let data = file.arrival.manifest.data.as_ref().map_or(0, String::len);
    let attributes: usize = file.arrival.manifest.attributes.iter().map(|(k, v)| 48 + k.len() + v.len()).sum();
    FILE_BYTES + data + attributes + DISPATCH_BYTES * file.dispatches.len()
}

/// Dispatches whose next attempt is due, and since when.
fn waits_of(file: &File, now: Timestamp) -> Vec<(TargetName, Timestamp)> {
    if file.is_terminal() {
        return Vec::new();
    }
    (0..file.dispatches.len())
        .filter(|index| file.may_authorize(*index, now))
        .map(|index| {
            let dispatch = &file.dispatches[index];
            (dispatch.target().clone(), dispatch.retry_at.unwrap_or(dispatch.since))
        })
        .collect()
}

fn wake_of(kept: &Kept, now: Timestamp) -> Option<Timestamp> {
    let file = &kept.file;
    if file.is_terminal() {
        return None;
    }
    let backoffs = file
        .dispatches
        .iter()
        .filter(|d| d.status == Status::BackingOff)
        .filter_map(|d| d.retry_at)
        .filter(|due| *due > now);
    if kept.appended.is_empty() && kept.parked.is_empty() {
        return file.first_due().into_iter().chain(backoffs).min();
    }
    let timers = kept.timers().filter(|t| !kept.parked.contains(&mark_of(t.target.as_ref(), &t.timer)));
    timers.map(|t| t.timer.due).chain(backoffs).min()
}

/// An escalation of a dispatch that waits under a pause is no timer of the file, so it is remembered by its number.
fn is_pause_escalation(file: &File, (target, what, _, escalation): &TimerMark) -> bool {
    *what == TimerKind::Escalation
        && target.as_ref().and_then(|t| file.index_of(t)).is_some_and(|index| {
            let dispatch = &file.dispatches[index];
            matches!(dispatch.status, Status::Pending | Status::BackingOff)
                && *escalation == Some(dispatch.escalations + 1)
        })
}

#[cfg(test)]
mod tests;
