//! One transaction in the making: the files as they will be, the records that say so, and what follows its commit.
//!
//! Everything lives here until the commit; an abort drops it, permits included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Worker;
use super::forgetting::Tombstoned;
use super::home::{Home, TimerMark};
use super::observed::Observed;
use super::work::Deciding;
use crate::lifecycle::{File, Judged, fetch_plan};
use crate::log::{Append, Headers, Record, TargetRecord, TopicPartition};
use crate::record::{
    Arrival, Cause, Control, DispatchAttempt, FileHistory, FileId, HistoryEvent, PlannedDispatch, State, Status,
    TargetName, Timestamp, Topic, Wire, history_key,
};
use crate::store::StoreError;
use crate::transport::Permit;

/// A history record is closed once its events take this many bytes.
const HISTORY_RECORD_BYTES: usize = 256 * 1024;

/// What a record takes beside its key and value, roughly.
const RECORD_BYTES: usize = 64;

/// A file as this batch leaves it.
pub(super) struct Draft {
    pub home: i32,
    pub file: File,
    history_seq: i64,
    events: Vec<HistoryEvent>,
    before: Option<Before>,
}

/// A file as the last commit left it.
struct Before {
    version: i64,
    state: State,
    statuses: Vec<Status>,
}

/// An attempt whose request leaves once the batch is committed.
pub(super) struct Order {
    pub home: i32,
    pub plan: Arc<PlannedDispatch>,
    pub attempt: Arc<DispatchAttempt>,
    /// The file whose bytes are fetched, where this is no request to a target.
    pub fetch: Option<Arc<Arrival>>,
    pub permit: Permit,
}

/// A record of a target that is part of the transaction.
pub(super) struct Written {
    pub target: TargetName,
    pub record: TargetRecord,
    pub permit: Permit,
}

/// A transaction in the making.
pub(super) struct Batch<'w> {
    pub worker: &'w Worker,
    pub now: Timestamp,
    pub drafts: BTreeMap<FileId, Draft>,
    pub appends: Vec<Append>,
    /// Roughly what `appends`, and the events and file-states to come, take.
    bytes: usize,
    /// Something that is due was left for the next batch, because this one is full.
    pub is_cut: bool,
    /// Changes of `controls` among the appends: this worker obeys them from the commit on.
    pub controls: Vec<Control>,
    pub positions: BTreeMap<TopicPartition, i64>,
    pub orders: Vec<Order>,
    pub written: Vec<Written>,
    /// Topics of targets that must be asked first whether they take records, and the targets that write there.
    pub unasked: BTreeMap<String, BTreeSet<TargetName>>,
    pub appended: Vec<(i32, FileId, TimerMark)>,
    pub parked: Vec<(i32, FileId, TimerMark)>,
    pub roused: Vec<(i32, FileId)>,
    pub tombstoned: Vec<(i32, FileId, Tombstoned)>,
    /// How many of the leftovers of each home were cleared.
    pub cleared: Vec<(i32, usize)>,
    pub observed: Vec<Observed>,
    /// What this batch planned, with the home of its file.
    pub plans: BTreeMap<(FileId, TargetName), (i32, Arc<PlannedDispatch>)>,
    /// A home whose store failed: nothing of this batch may be committed.
    pub store_failed: Option<(i32, StoreError)>,
}

impl<'w> Batch<'w> {
    pub fn new(worker: &'w Worker, now: Timestamp) -> Self {
        Self {
            worker,
            now,
            drafts: BTreeMap::new(),
            appends: Vec::new(),
            bytes: 0,
            is_cut: false,
            controls: Vec::new(),
            positions: BTreeMap::new(),
            orders: Vec::new(),
            written: Vec::new(),
            unasked: BTreeMap::new(),
            appended: Vec::new(),
            parked: Vec::new(),
            roused: Vec::new(),
            tombstoned: Vec::new(),
            cleared: Vec::new(),
            observed: Vec::new(),
            plans: BTreeMap::new(),
            store_failed: None,
        }
    }

    pub fn home(&self, partition: i32) -> &'w Home {
        self.worker.running_home(partition).expect("only records of running homes are folded")
    }

    /// The file as it stands in this batch, from its home if the batch hasn't touched it.
    pub fn file(&self, home: i32, id: &FileId) -> Option<&File> {
        match self.drafts.get(id) {
            Some(draft) => Some(&draft.file),
            None => self.home(home).kept(id).map(|kept| &kept.file),
        }
    }

    /// The file to be changed.
    pub fn draft(&mut self, home: i32, id: &FileId) -> Option<&mut Draft> {
        if !self.drafts.contains_key(id) {
            let kept = self.home(home).kept(id)?;
            let before = Before {
                version: kept.file.version,
                state: kept.file.state,
                statuses: kept.file.dispatches.iter().map(|d| d.status).collect(),
            };
            self.bytes += weight_of_state(&kept.file);
            let (file, history_seq) = (kept.file.clone(), kept.history_seq);
            let draft = Draft { home, file, history_seq, events: Vec::new(), before: Some(before) };
            self.drafts.insert(id.clone(), draft);
        }
        self.drafts.get_mut(id)
    }

    /// Takes in a file that has just been accepted.
    pub fn begin(&mut self, home: i32, file: File) -> &mut Draft {
        let id = file.id().clone();
        self.bytes += weight_of_state(&file);
        let draft = Draft { home, file, history_seq: 0, events: Vec::new(), before: None };
        let replaced = self.drafts.insert(id.clone(), draft);
        assert!(replaced.is_none(), "{id} is accepted once");
        self.drafts.get_mut(&id).expect("just inserted")
    }

    /// Appends a record to a topic in a home partition.
    pub fn append<T: Wire>(&mut self, topic: Topic, partition: i32, key: String, value: &T) {
        let value = self.worker.codec.encode_for(topic, value).expect("write ids are learned before the first batch");
        let (partition, key) = (Some(partition), key.into_bytes());
        self.push(Append { topic, partition, key, value: Some(value), headers: Headers::new() });
    }

    /// Adds a record to the transaction. One that is too long is a broken invariant: planning limits what is written,
    /// and what others wrote is cut.
    pub fn push(&mut self, append: Append) {
        assert!(append.fits(), "{} takes no record of {} bytes", append.topic.base_name(), append.bytes());
        self.bytes += RECORD_BYTES + append.key.len() + append.value.as_ref().map_or(0, Vec::len);
        self.appends.push(append);
    }

    /// Adds a record of a target to the transaction.
    pub fn write(&mut self, written: Written) {
        let headers: usize = written.record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.bytes += RECORD_BYTES + written.record.key.len() + written.record.value.len() + headers;
        self.written.push(written);
    }

    /// Whether it takes no further record, so that the transaction stays of a size that the log and memory bear.
    pub fn is_full(&self) -> bool {
        self.bytes >= self.worker.options.max_batch_bytes
    }

    /// Whether nothing more that is due fits; then the next batch comes at once.
    pub fn is_full_for_now(&mut self, max_orders: usize) -> bool {
        let is_full = self.is_full() || self.orders.len() + self.written.len() >= max_orders;
        self.is_cut |= is_full;
        is_full
    }

    /// Whether a target is paused, or is being paused by this batch.
    pub fn is_paused(&self, target: &TargetName) -> bool {
        let being_paused = |c: &Control| c.pause.as_ref().is_some_and(|p| p.paused && p.target == *target);
        self.worker.controls.is_paused(target) || self.controls.iter().any(being_paused)
    }

    pub fn tombstone(&mut self, topic: Topic, partition: i32, key: String) {
        let (key, headers) = (key.into_bytes(), Headers::new());
        self.push(Append { topic, partition: Some(partition), key, value: None, headers });
    }

    /// The record as a cause.
    pub fn cause_of(&self, record: &Record) -> Cause {
        Cause {
            topic: Arc::clone(self.worker.options.names.shared(record.at.topic)),
            partition: record.at.partition,
            offset: record.offset,
        }
    }

    pub fn observe(&mut self, observed: Observed) {
        self.observed.push(observed);
    }

    /// Counts an exact repeat, or keeps what was judged as an event of the file.
    pub fn keep(
        &mut self,
        id: &FileId,
        cause: Cause,
        target: Option<TargetName>,
        judged: Judged,
        fill: impl FnOnce(&mut HistoryEvent),
    ) -> Option<crate::lifecycle::Recorded> {
        let Judged::Recorded(recorded) = judged else { return None };
        let draft = self.drafts.get_mut(id).expect("a judged file is a draft");
        let mut event = HistoryEvent {
            version: draft.file.version,
            at: self.now,
            cause,
            target,
            judgement: recorded.judgement,
            code: recorded.code.map(str::to_owned),
            outcome: None,
            intervention: None,
            failure: None,
        };
        fill(&mut event);
        self.bytes += weight_of(&event);
        draft.events.push(event);
        Some(recorded)
    }

    /// Appends the records of every draft: history, then file-state, at most once for each file.
    pub fn finish(&mut self, current: &mut Option<Deciding>) {
        let mut drafts = std::mem::take(&mut self.drafts);
        for (id, draft) in &mut drafts {
            *current = Some(Deciding::Home(draft.home));
            self.finish_history(id, draft);
            let was_terminal =
                draft.before.as_ref().is_some_and(|b| matches!(b.state, State::Completed | State::Failed));
            let changed = draft.before.as_ref().is_none_or(|b| b.version != draft.file.version);
            // Nothing follows a terminal state: what comes later stands in the history alone.
            if changed && !was_terminal {
                let state = draft.file.to_state();
                self.append(Topic::FileState, draft.home, id.to_string(), &state);
            }
            self.observe_draft(draft);
        }
        self.drafts = drafts;
    }

    fn finish_history(&mut self, id: &FileId, draft: &mut Draft) {
        let mut events = std::mem::take(&mut draft.events);
        while !events.is_empty() {
            let mut bytes = 0;
            let mut fits = |event: &HistoryEvent| {
                let before = bytes;
                bytes += weight_of(event);
                before < HISTORY_RECORD_BYTES
            };
            let count = events.iter().take_while(|event| fits(event)).count();
            let more = events.split_off(count);
            let record = std::mem::replace(&mut events, more);
            draft.history_seq += 1;
            let last = record.last().expect("at least one event");
            let history = FileHistory {
                file_id: id.clone(),
                seq: draft.history_seq,
                version: last.version,
                cause: last.cause.clone(),
                events: record,
            };
            self.append(Topic::History, draft.home, history_key(id, history.seq), &history);
        }
    }

    fn observe_draft(&mut self, draft: &Draft) {
        let file = &draft.file;
        if draft.before.as_ref().map(|b| b.state) != Some(file.state) {
            let took_ms = file.settled_at.map(|at| at.millis_since(file.arrival.received_at));
            let code = file.reason.as_ref().map(|failure| failure.code.clone());
            self.observe(Observed::FileState { file_id: file.id().clone(), state: file.state, code, took_ms });
        }
        for (index, dispatch) in file.dispatches.iter().enumerate() {
            let before = draft.before.as_ref().and_then(|b| b.statuses.get(index).copied());
            if before != Some(dispatch.status) {
                self.observe(Observed::Dispatch {
                    file_id: file.id().clone(),
                    target: dispatch.target().clone(),
                    status: dispatch.status,
                    held_because: dispatch.held_because,
                });
            }
        }
    }

    /// The plan of a dispatch that has not settled, which its file is kept without.
    pub fn plan_of(&self, home: i32, id: &FileId, target: &TargetName) -> Result<Arc<PlannedDispatch>, StoreError> {
        if let Some((_, plan)) = self.plans.get(&(id.clone(), target.clone())) {
            return Ok(Arc::clone(plan));
        }
        let fetch = self.file(home, id).filter(|file| file.is_fetching()).and_then(|file| fetch_plan(&file.arrival));
        match fetch {
            Some(fetch) => Ok(Arc::new(fetch)),
            None => self
                .home(home)
                .plan(id, target)?
                .ok_or_else(|| StoreError::corrupt(format!("the plan of {id}/{target} should be there"))),
        }
    }
}

impl Draft {
    pub fn history_seq(&self) -> i64 {
        self.history_seq
    }
}

/// Roughly what a file takes in a file-state record.
fn weight_of_state(file: &File) -> usize {
    1024 + 256 * file.dispatches.len()
}

/// Roughly what an event takes in a record.
fn weight_of(event: &HistoryEvent) -> usize {
    let evidence = event.outcome.as_ref().and_then(|o| o.evidence.as_ref());
    let body = evidence.and_then(|e| e.body.as_ref()).map_or(0, String::len);
    let headers = evidence.map_or(0, |e| e.headers.bytes());
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let said = event.outcome.as_ref().map_or(0, |o| o.code.len() + optional(&o.detail) + optional(&o.reference));
    let asked = event.intervention.as_ref().map_or(0, |i| i.actor.len() + i.reason.len() + optional(&i.evidence));
    1024 + body + headers + said + asked
}
