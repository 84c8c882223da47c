//! A home partition: its files, what they wait for, and when.

use std::collections::{BTreeMap, BTreeSet};

use crate::lifecycle::{DueTimer, File};
use crate::record::{FileId, Status, TargetName, Timer, TimerKind, Timestamp};
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
    /// Permits of attempts that were restored: held until their outcome or deadline is read.
    pub permits: BTreeMap<TargetName, Permit>,
    /// Timers that were appended and not yet read back.
    appended: BTreeSet<TimerMark>,
    /// Timers that are due and wait until earlier acks have been read.
    parked: BTreeSet<TimerMark>,
    /// Where it stands in `wakes`.
    wake: Option<Timestamp>,
    /// Where it stands in `waiting`.
    waits_for: Vec<(TargetName, Timestamp)>,
}

impl Kept {
    fn new(file: File, history_seq: i64) -> Self {
        Self {
            file,
            history_seq,
            permits: BTreeMap::new(),
            appended: BTreeSet::new(),
            parked: BTreeSet::new(),
            wake: None,
            waits_for: Vec::new(),
        }
    }

    /// The timers that are still to be appended.
    pub fn timers(&self) -> impl Iterator<Item = DueTimer> + '_ {
        self.file.timers().into_iter().filter(|t| !self.was_appended(&mark_of(t.target.as_ref(), &t.timer)))
    }

    pub fn was_appended(&self, mark: &TimerMark) -> bool {
        self.appended.contains(mark)
    }

    /// Drops what belonged to a status that the file has left.
    fn tidy(&mut self) {
        let file = &self.file;
        self.permits.retain(|target, _| file.index_of(target).is_some_and(|i| file.dispatches[i].has_open_attempt()));
        if self.appended.is_empty() && self.parked.is_empty() {
            return;
        }
        let live: BTreeSet<TimerMark> = file.timers().iter().map(|t| mark_of(t.target.as_ref(), &t.timer)).collect();
        self.appended.retain(|mark| live.contains(mark) || is_pause_escalation(file, mark));
        self.parked.retain(|mark| live.contains(mark));
    }
}

/// One home partition that this worker works on.
#[derive(Debug)]
pub(super) struct Home {
    retention_ms: i64,
    files: BTreeMap<FileId, Kept>,
    /// When a file must be looked at again without an input.
    wakes: BTreeSet<(Timestamp, FileId)>,
    /// Files with timers that wait until earlier acks have been read, by when these fell due.
    parked: BTreeSet<(Timestamp, FileId)>,
    /// Dispatches whose next attempt may be authorized as soon as there is capacity, oldest first.
    waiting: BTreeMap<TargetName, BTreeSet<(Timestamp, FileId)>>,
}

impl Home {
    pub fn new(retention_ms: i64) -> Self {
        Self {
            retention_ms,
            files: BTreeMap::new(),
            wakes: BTreeSet::new(),
            parked: BTreeSet::new(),
            waiting: BTreeMap::new(),
        }
    }

    pub fn kept(&self, id: &FileId) -> Option<&Kept> {
        self.files.get(id)
    }

    /// Takes in a file as it is after a commit or a restore.
    pub fn put(&mut self, file: File, history_seq: i64, now: Timestamp) {
        let id = file.id().clone();
        self.update(&id, now, |old| match old {
            Some(kept) => Kept { file, history_seq, ..kept },
            None => Kept::new(file, history_seq),
        });
    }

    /// Keeps the permit of a restored attempt until its outcome or deadline is read.
    pub fn keep_permit(&mut self, id: &FileId, target: TargetName, permit: Permit) {
        if let Some(kept) = self.files.get_mut(id) {
            kept.permits.insert(target, permit);
        }
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

    /// Forgets a file whose records were tombstoned.
    pub fn remove(&mut self, id: &FileId) {
        if let Some(kept) = self.files.remove(id) {
            self.leave_places(id, &kept);
        }
    }

    /// The earliest time at which a file must be looked at.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Files whose time has come, at most `max`.
    pub fn woken(&self, now: Timestamp, max: usize) -> Vec<FileId> {
        self.wakes.iter().take_while(|(at, _)| *at <= now).take(max).map(|(_, id)| id.clone()).collect()
    }

    /// Targets that something waits for.
    pub fn waited_for(&self) -> impl Iterator<Item = &TargetName> {
        self.waiting.keys()
    }

    /// Files whose dispatch at a target waits for capacity, oldest first.
    pub fn waiting(&self, target: &TargetName) -> impl Iterator<Item = &(Timestamp, FileId)> {
        self.waiting.get(target).into_iter().flatten()
    }

    fn update_if_there(&mut self, id: &FileId, now: Timestamp, change: impl FnOnce(&mut Kept)) {
        if self.files.contains_key(id) {
            self.update(id, now, |kept| {
                let mut kept = kept.expect("checked");
                change(&mut kept);
                kept
            });
        }
    }

    fn update(&mut self, id: &FileId, now: Timestamp, change: impl FnOnce(Option<Kept>) -> Kept) {
        let old = self.files.remove(id);
        if let Some(old) = &old {
            self.leave_places(id, old);
        }
        let mut kept = change(old);
        kept.tidy();
        self.take_places(id, &mut kept, now);
        self.files.insert(id.clone(), kept);
    }

    fn leave_places(&mut self, id: &FileId, kept: &Kept) {
        if let Some(at) = kept.wake {
            self.wakes.remove(&(at, id.clone()));
        }
        for (target, since) in &kept.waits_for {
            if let Some(queue) = self.waiting.get_mut(target) {
                queue.remove(&(*since, id.clone()));
                if queue.is_empty() {
                    self.waiting.remove(target);
                }
            }
        }
    }

    fn take_places(&mut self, id: &FileId, kept: &mut Kept, now: Timestamp) {
        kept.waits_for = waits_of(&kept.file, now);
        for (target, since) in &kept.waits_for {
            self.waiting.entry(target.clone()).or_default().insert((*since, id.clone()));
        }
        kept.wake = wake_of(kept, now, self.retention_ms);
        if let Some(at) = kept.wake {
            self.wakes.insert((at, id.clone()));
        }
    }
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

fn wake_of(kept: &Kept, now: Timestamp, retention_ms: i64) -> Option<Timestamp> {
    let file = &kept.file;
    if let Some(settled_at) = file.settled_at {
        return Some(settled_at.plus_millis(retention_ms));
    }
    let backoffs = file
        .dispatches
        .iter()
        .filter(|d| d.status == Status::BackingOff)
        .filter_map(|d| d.retry_at)
        .filter(|due| *due > now);
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
