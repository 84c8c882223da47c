//! A home partition from its compacted topics: what its store doesn't know yet is read to the end, then folded.
//!
//! A file that has settled is folded as soon as its records are together, and goes to the store; so do plans, once there are
//! many. What memory holds is little more than what is open.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::forgetting::keys_of;
use super::keeping::{PLANS_AT_MOST, WRITE_WITHIN_MS, bytes_of_plan};
use crate::lifecycle::{File, Folded, Planned, fold, fold_on};
use crate::log::{LogError, Position, Reader, Record};
use crate::record::{
    Arrival, Codec, DecodeError, DispatchAttempt, FileHistory, FileId, FileState, PlannedDispatch, State, Timestamp,
    Topic, file_id_of_key,
};
use crate::store::{Changes, Covers, PartitionStore, Put, StoreError};

/// Settled files that are written to the store at once while it is rebuilt.
const SETTLED_AT_ONCE: usize = 2_000;

/// Settled files that may wait for the store before reading goes on.
const SETTLED_AT_MOST: usize = 20_000;

/// A restore under way.
pub(super) struct Restore {
    /// Where the inputs go on afterwards, read stably before the ends of the engine's topics were taken.
    pub positions: Vec<Position>,
    pub records: u64,
    pub begun_at: Timestamp,
    reader: Box<dyn Reader>,
    store: PartitionStore,
    /// Up to where the store will know.
    covers: Covers,
    default_deadline_ms: i64,
    /// Whether the store knew where to begin.
    resumes: bool,
    by_file: BTreeMap<String, Records>,
    /// Folded and still to be written.
    settled: BTreeMap<FileId, Settled>,
    /// Roughly what the plans take that were read and that the store doesn't have.
    plan_bytes: usize,
    /// What the store knew when it was opened, if it did.
    opened: Option<Covers>,
    /// When the write began that is under way.
    writing_since: Option<Timestamp>,
    /// A record that couldn't be decoded because the registry is away, and those after it.
    pending: Vec<Record>,
}

/// A file that has settled.
struct Settled {
    file: File,
    /// The number of its newest history record.
    history_seq: i64,
    /// Whether the store may have plans of it.
    has_plans: bool,
}

/// What was read of one file.
#[derive(Default)]
struct Records {
    folded: Folded,
    /// Attempts are keyed by target and number on the topic; the fold wants them by version.
    attempts: BTreeMap<(String, i32), Arc<DispatchAttempt>>,
    /// What the fold wants of the plan, by target.
    plan: BTreeMap<String, Arc<Planned>>,
    /// The plan by target, where the store doesn't have it.
    unstored: BTreeMap<String, Arc<PlannedDispatch>>,
    state: Option<Stated>,
    /// Its arrival was tombstoned: what the store has under this id is gone. Tombstones on the other topics say nothing:
    /// they may be those of an earlier file of this id.
    was_forgotten: bool,
    /// The highest history record that was. It is the last of a file's records to go.
    forgotten_seq: i64,
}

/// What a file-state says that the file must fold into.
struct Stated {
    state: State,
    version: i64,
    received_at: Timestamp,
    validated_at: Option<Timestamp>,
    distributing_at: Option<Timestamp>,
    settled_at: Option<Timestamp>,
}

impl From<FileState> for Stated {
    fn from(said: FileState) -> Self {
        let FileState { state, version, received_at, validated_at, distributing_at, settled_at, .. } = said;
        Self { state, version, received_at, validated_at, distributing_at, settled_at }
    }
}

/// A file, the number of its newest history record, and plans of its dispatches.
pub(super) type Changed = (File, i64, Vec<Arc<PlannedDispatch>>);

/// A home partition, up to date.
pub(super) struct Restored {
    pub store: PartitionStore,
    /// What the store knew when it was opened, if it did.
    pub opened: Option<Covers>,
    pub covers: Covers,
    /// Files that the store doesn't have, or has as they were: with the number of the newest history record, and plans of
    /// dispatches that it doesn't have.
    pub changed: Vec<Changed>,
    /// Files that the store has and that are no more.
    pub forgotten: Vec<(FileId, Option<Timestamp>)>,
    /// Keys of records that belong to no file: somebody began to forget it.
    pub leftovers: Vec<(Topic, String)>,
}

/// Why a home can't be restored.
pub(super) enum RestoreError {
    /// The log or the registry is away, or the store is in use: the same step may be repeated. With the code of what it
    /// waits for.
    Wait(&'static str, String),
    /// The log failed in a way that is not this partition's.
    Log(LogError),
    /// The topics hold what this engine can't have written or can't read: a person must look.
    Refused(&'static str, String),
    /// The store fails, or doesn't fit what is on the log: begin without it.
    Store(crate::store::Unusable),
}

impl From<LogError> for RestoreError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Away(text) => Self::Wait("CG218", text),
            other => Self::Log(other),
        }
    }
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Store(crate::store::Unusable::new(error.reason, error.text))
    }
}

impl Restore {
    /// `goal` is where the reader's goal lies.
    pub fn new(
        positions: Vec<Position>,
        reader: Box<dyn Reader>,
        store: PartitionStore,
        goal: BTreeMap<Topic, i64>,
        default_deadline_ms: i64,
        begun_at: Timestamp,
    ) -> Self {
        Self {
            positions,
            records: 0,
            begun_at,
            reader,
            resumes: store.covers().is_some(),
            opened: store.covers().cloned(),
            store,
            default_deadline_ms,
            covers: Covers { positions: goal, until: begun_at },
            by_file: BTreeMap::new(),
            settled: BTreeMap::new(),
            plan_bytes: 0,
            writing_since: None,
            pending: Vec::new(),
        }
    }

    /// Reads on, waiting for records or the store at most so long; true once everything up to the goal is there.
    pub fn step(&mut self, codec: &Codec, max: usize, wait: Duration, now: Timestamp) -> Result<bool, RestoreError> {
        let must_wait = self.settled.len() >= SETTLED_AT_MOST || self.reader.at_goal();
        let is_writing = self.is_writing(if must_wait { wait } else { Duration::ZERO }, now)?;
        if !is_writing && (self.settled.len() >= SETTLED_AT_ONCE || self.plan_bytes >= PLANS_AT_MOST) {
            self.write_settled(now)?;
        }
        if is_writing && self.settled.len() >= SETTLED_AT_MOST {
            return Ok(false);
        }
        if self.pending.is_empty() && !self.reader.at_goal() {
            self.pending = self.reader.poll(max, wait)?;
            self.pending.reverse();
        }
        while let Some(record) = self.pending.last() {
            let place = || format!("{} at offset {}", record.at, record.offset);
            let taken = unbroken(place, || take_in(&mut self.by_file, codec, record))?;
            self.pending.pop();
            self.records += 1;
            self.plan_bytes += taken.plan_bytes;
            if let Some(id) = taken.whole {
                self.fold_settled(&id)?;
            }
        }
        if !self.reader.at_goal() || self.is_writing(Duration::ZERO, now)? {
            return Ok(false);
        }
        if !self.settled.is_empty() {
            self.write_settled(now)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether a write is under way, having waited for it so long. One that doesn't come to its end is the disk's failure.
    fn is_writing(&mut self, wait: Duration, now: Timestamp) -> Result<bool, StoreError> {
        let is_writing = self.store.wait(wait)?;
        let since = *self.writing_since.get_or_insert(now);
        if !is_writing {
            self.writing_since = None;
        } else if now.millis_since(since) > WRITE_WITHIN_MS {
            return Err(StoreError::failed("a write doesn't come to its end"));
        }
        Ok(is_writing)
    }

    /// Records read and records to the goal.
    pub fn progress(&self) -> (i64, i64) {
        self.reader.progress()
    }

    /// How many records are still to be read.
    pub fn left(&self) -> i64 {
        let (read, to_goal) = self.progress();
        to_goal - read
    }

    /// Folds every file that isn't in the store as it is on the log.
    pub fn finish(self) -> Result<Restored, RestoreError> {
        let Self { store, opened, covers, by_file, default_deadline_ms, resumes, .. } = self;
        let (mut changed, mut forgotten, mut leftovers) = (Vec::new(), Vec::new(), Vec::new());
        for (id, records) in by_file {
            let mut stored = store.file(&FileId::trusted(&id))?;
            if let Some(gone) = stored.take_if(|stored| records.replace(&stored.file)) {
                if !records.is_whole_gone(gone.history_seq) {
                    let seq = gone.history_seq.max(records.forgotten_seq).max(records.history_seq());
                    leftovers.extend(keys_of(&gone.file, seq));
                }
                forgotten.push((FileId::trusted(&id), gone.file.settled_at));
            } else if records.was_forgotten && records.is_empty() {
                // Its plan may have been written before its tombstones were read.
                forgotten.push((FileId::trusted(&id), None));
            }
            if records.is_empty() {
                continue;
            }
            if stored.is_none() && records.is_no_file() {
                leftovers.extend(records.keys(&id));
            } else {
                let fold = || records.fold(&id, stored, default_deadline_ms);
                changed.push(unbroken(|| id.clone(), || fold().map_err(|e| e.refusal(resumes)))?);
            }
        }
        Ok(Restored { store, opened, covers, changed, forgotten, leftovers })
    }

    /// Folds a file that has settled and whose records are together. If they don't fit, the rest is still to come.
    fn fold_settled(&mut self, id: &str) -> Result<(), RestoreError> {
        let Some(records) = self.by_file.remove(id) else { return Ok(()) };
        let (default_deadline_ms, plan_bytes) = (self.default_deadline_ms, records.plan_bytes());
        let has_plans = self.resumes || records.unstored.len() < records.plan.len();
        match unbroken(|| id.to_owned(), || Ok(records.fold_whole(default_deadline_ms)))? {
            Ok((file, history_seq)) => {
                self.plan_bytes = self.plan_bytes.saturating_sub(plan_bytes);
                self.settled.insert(file.id().clone(), Settled { file, history_seq, has_plans });
            }
            Err(records) => drop(self.by_file.insert(id.to_owned(), *records)),
        }
        Ok(())
    }

    /// Writes what has settled, where the store has an earlier file of the same id in its place; and plans, if there are
    /// many. The store still says that it knows what it knew: what it has beyond that is read again if this ends here.
    fn write_settled(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let settled = std::mem::take(&mut self.settled);
        let mut replaced = Vec::new();
        for id in settled.keys() {
            if let Some(earlier) = self.store.settled_file(id)? {
                replaced.push((id, earlier.file.settled_at));
            }
        }
        let mut plans = Vec::new();
        if self.plan_bytes >= PLANS_AT_MOST {
            self.plan_bytes = 0;
            // Where a file was forgotten, what the store has under its id is removed later.
            for records in self.by_file.values_mut().filter(|records| !records.was_forgotten) {
                plans.extend(std::mem::take(&mut records.unstored).into_values());
            }
        }
        let put = settled.values().map(|Settled { file, history_seq, has_plans }| Put {
            file,
            history_seq: *history_seq,
            plans: Vec::new(),
            has_plans: *has_plans,
        });
        let put = put.collect();
        self.store.apply(Changes { forgotten: replaced, plans, put, covers: self.opened.clone() })?;
        self.writing_since = Some(now);
        Ok(())
    }
}

/// What taking in a record did.
struct Taken {
    /// The file, if it has settled and as many records are there as it has.
    whole: Option<String>,
    /// What the plan takes that it is.
    plan_bytes: usize,
}

/// Why the records of a file don't give it: a store that doesn't fit may be to blame, but not one that was made of these
/// very records.
struct Contradiction(String);

impl Contradiction {
    fn refusal(self, resumes: bool) -> RestoreError {
        let Self(text) = self;
        if resumes {
            let text = format!("CG205: {text}");
            RestoreError::Store(crate::store::Unusable::new(crate::store::Reason::ContradictsLog, text))
        } else {
            RestoreError::Refused("CG205", text)
        }
    }
}

/// A broken invariant refuses the partition that it breaks in, and no other.
fn unbroken<T>(place: impl Fn() -> String, work: impl FnOnce() -> Result<T, RestoreError>) -> Result<T, RestoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let text = format!("an invariant breaks by {} in a restore; the log has the message", place());
        Err(RestoreError::Refused("CG213", text))
    })
}

/// Takes in a record.
fn take_in(by_file: &mut BTreeMap<String, Records>, codec: &Codec, record: &Record) -> Result<Taken, RestoreError> {
    let unreadable = |text: String| {
        let place = format!("{} at offset {}", record.at, record.offset);
        RestoreError::Refused("CG204", format!("{place}: {text}"))
    };
    let key = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok());
    let key = key.ok_or_else(|| unreadable("the key is no text".into()))?;
    let decoding = |error: DecodeError| match error {
        DecodeError::RegistryAway(text) => RestoreError::Wait("CG208", text),
        DecodeError::Poison(text) => unreadable(text),
    };
    let id = file_id_of_key(key);
    if !by_file.contains_key(id) {
        by_file.insert(id.to_owned(), Records::default());
    }
    let records = by_file.get_mut(id).expect("just inserted");
    let mut parts = key.splitn(3, '/').skip(1);
    let (second, third) = (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default());
    let value = record.value.as_deref();
    let mut plan_bytes = 0;
    match record.at.topic {
        Topic::Arrivals => {
            records.was_forgotten |= value.is_none();
            records.folded.arrival =
                value.map(|v| codec.decode::<Arrival>(v)).transpose().map_err(decoding)?.map(Arc::new);
        }
        Topic::FileState => {
            let said: Option<FileState> = value.map(|v| codec.decode(v)).transpose().map_err(decoding)?;
            records.state = said.map(Stated::from);
        }
        Topic::Plans => match value {
            Some(value) => {
                let planned: PlannedDispatch = codec.decode(value).map_err(decoding)?;
                plan_bytes = bytes_of_plan(&planned);
                records.plan.insert(second.clone(), Arc::new(Planned::of(&planned)));
                records.unstored.insert(second, Arc::new(planned));
            }
            None => {
                records.plan.remove(&second);
                records.unstored.remove(&second);
            }
        },
        Topic::Attempts => {
            let number = third.parse().map_err(|_| unreadable("the key names no attempt".into()))?;
            match value {
                Some(value) => {
                    let attempt: DispatchAttempt = codec.decode(value).map_err(decoding)?;
                    records.attempts.insert((second, number), Arc::new(attempt));
                }
                None => drop(records.attempts.remove(&(second, number))),
            }
        }
        Topic::History => {
            let seq: i64 = second.parse().map_err(|_| unreadable("the key names no history record".into()))?;
            match value {
                Some(value) => {
                    let history: FileHistory = codec.decode(value).map_err(decoding)?;
                    records.folded.history.insert(seq, history);
                }
                None => {
                    records.forgotten_seq = records.forgotten_seq.max(seq);
                    records.folded.history.remove(&seq);
                }
            }
        }
        other => unreachable!("{} is not restored from", other.base_name()),
    }
    Ok(Taken { whole: records.is_whole().then(|| id.to_owned()), plan_bytes })
}

impl Records {
    fn is_empty(&self) -> bool {
        self.folded.arrival.is_none()
            && self.state.is_none()
            && self.plan.is_empty()
            && self.attempts.is_empty()
            && self.folded.history.is_empty()
    }

    /// Whether these belong to no file: the arrival and the file-state come with the first record, and go first.
    fn is_no_file(&self) -> bool {
        self.folded.arrival.is_none() && self.state.is_none()
    }

    /// Whether nothing is left of a file that was forgotten, which had so many history records at least; another one may
    /// have its id.
    fn is_whole_gone(&self, history_seq: i64) -> bool {
        !self.is_no_file() || (self.is_empty() && self.forgotten_seq >= history_seq)
    }

    /// The keys of what is there of a file with neither arrival nor file-state.
    fn keys<'a>(&'a self, id: &'a str) -> impl Iterator<Item = (Topic, String)> + 'a {
        let plans = self.plan.keys().map(move |target| (Topic::Plans, format!("{id}/{target}")));
        let attempts = self.attempts.keys().map(move |(target, n)| (Topic::Attempts, format!("{id}/{target}/{n}")));
        let history = self.folded.history.keys().map(move |seq| (Topic::History, format!("{id}/{seq}")));
        plans.chain(attempts).chain(history)
    }

    fn plan_bytes(&self) -> usize {
        self.unstored.values().map(|plan| bytes_of_plan(plan)).sum()
    }

    /// Whether it has settled and as many events are there as its file-state counts.
    fn is_whole(&self) -> bool {
        let Some(state) = self.state.as_ref().filter(|s| matches!(s.state, State::Completed | State::Failed)) else {
            return false;
        };
        let events: usize = self.folded.history.values().map(|h| h.events.len()).sum();
        let known = usize::from(!self.plan.is_empty()) + self.attempts.len() + events;
        self.folded.arrival.is_some() && i64::try_from(1 + known).ok() == Some(state.version)
    }

    /// Whether these say that a file that the store has is gone: forgotten, or another has its id.
    fn replace(&self, stored: &File) -> bool {
        let arrival = self.folded.arrival.as_deref();
        let is_another = |arrival: &Arrival| {
            (&arrival.cause, arrival.received_at) != (&stored.arrival.cause, stored.arrival.received_at)
        };
        self.was_forgotten || arrival.is_some_and(is_another)
    }

    /// Folds a settled file whose records may be of two files that had its id, one after the other.
    fn fold_whole(mut self, default_deadline_ms: i64) -> Result<(File, i64), Box<Self>> {
        self.sort();
        let state = self.state.as_ref().expect("it is whole");
        match fold(&self.folded, default_deadline_ms) {
            Ok(file) if is_of(&file, state) => Ok((file, self.history_seq())),
            _ => Err(Box::new(self)),
        }
    }

    fn sort(&mut self) {
        self.folded.plan = self.plan.values().map(|p| (p.ordinal, Arc::clone(p))).collect();
        self.folded.attempts = self.attempts.values().map(|a| (a.version, Arc::clone(a))).collect();
    }

    fn history_seq(&self) -> i64 {
        self.folded.history.keys().next_back().copied().unwrap_or(0)
    }

    /// Folds it, from where the store has it.
    fn fold(
        mut self,
        id: &str,
        stored: Option<crate::store::Kept>,
        default_deadline_ms: i64,
    ) -> Result<Changed, Contradiction> {
        self.sort();
        let plans = std::mem::take(&mut self.unstored).into_values().collect();
        let is_stored = stored.is_some();
        let (file, history_seq) = match stored {
            Some(stored) => {
                let history_seq = self.history_seq().max(stored.history_seq);
                (fold_on(stored.file, stored.history_seq, &self.folded), history_seq)
            }
            None => (fold(&self.folded, default_deadline_ms), self.history_seq()),
        };
        let file = file.map_err(|e| Contradiction(format!("{id}: {e}")))?;
        let Some(state) = self.state else {
            // After a file has settled, its file-state isn't written any more.
            if is_stored && file.is_terminal() {
                return Ok((file, history_seq, Vec::new()));
            }
            return Err(Contradiction(format!("{id}: there is no file-state")));
        };
        let newest = if file.is_terminal() { state.version <= file.version } else { state.version == file.version };
        if state.state != file.state || !newest || state.received_at != file.arrival.received_at {
            return Err(Contradiction(format!(
                "{id}: file-state says {} at version {}, its records say {} at {}",
                state.state, state.version, file.state, file.version
            )));
        }
        Ok((file, history_seq, plans))
    }
}

/// Whether a file-state is that of the file, and not of another one that had its id before or after.
fn is_of(file: &File, state: &Stated) -> bool {
    let times = (file.arrival.received_at, file.validated_at, file.distributing_at, file.settled_at);
    file.state == state.state
        && file.version == state.version
        && times == (state.received_at, state.validated_at, state.distributing_at, state.settled_at)
}
