//! The simulated wire: requests wait on it until they are told to leave, and answers until they are told to come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::faults::Aimed;
use crate::log::{Append, Batch, Ends, Isolation, Log, LogError, Position, Reader, TopicPartition};
use crate::record::{
    DispatchAttempt, FileId, Outcome, OutcomeKind, PlannedDispatch, Reporter, TargetName, Timestamp, Topic, attempt_key,
};
use crate::transport::{Dispatch, Permit, Transport};
use crate::verify::Request;

/// What a target, or the transport that spoke to it, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Succeeded,
    /// A confirmation will follow.
    Accepted,
    /// A definite no.
    Rejected,
    /// Nothing was processed; the target asks to wait so many milliseconds, or doesn't say.
    Retryable(Option<i64>),
    /// 401: our credentials are refused.
    Refused,
    /// Nobody knows: the answer was lost.
    Unknown,
}

impl Answer {
    /// The kind of its report.
    pub const fn kind(self) -> OutcomeKind {
        match self {
            Self::Succeeded => OutcomeKind::Succeeded,
            Self::Accepted => OutcomeKind::Accepted,
            Self::Rejected => OutcomeKind::Rejected,
            Self::Retryable(_) | Self::Refused => OutcomeKind::Retryable,
            Self::Unknown => OutcomeKind::Unknown,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Succeeded => "http_200",
            Self::Accepted => "http_202",
            Self::Rejected => "http_422",
            Self::Retryable(_) => "http_503",
            Self::Refused => "http_401",
            Self::Unknown => "timeout",
        }
    }
}

/// A request on its way.
#[derive(Debug)]
pub struct Parcel {
    /// The worker that handed it over.
    pub worker: String,
    /// What is sent.
    pub plan: Arc<PlannedDispatch>,
    /// Which attempt it is.
    pub attempt: Arc<DispatchAttempt>,
    /// Where its report goes.
    pub home: i32,
    /// When it left; it has not while there is no time.
    pub left_at: Option<Timestamp>,
    permit: Permit,
}

impl Parcel {
    /// Ends the request: its permit is given back.
    pub(super) fn end(self) -> (Arc<DispatchAttempt>, i32) {
        drop(self.permit);
        (self.attempt, self.home)
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub parcels: BTreeMap<u64, Parcel>,
    pub taken: u64,
    pub journal: Vec<Request>,
    /// Keys of attempts whose commit was confirmed to the worker.
    confirmed: BTreeSet<String>,
    /// Attempts that were handed over before their commit was confirmed.
    pub premature: Vec<String>,
    pub largest_transaction: usize,
}

/// The wire of a world. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire {
    state: Arc<Mutex<State>>,
}

impl Wire {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's side of the wire.
pub(super) struct WireTransport {
    pub wire: Wire,
    pub worker: String,
}

impl Transport for WireTransport {
    fn send(&mut self, dispatch: Dispatch) {
        let Dispatch { plan, attempt, home, permit } = dispatch;
        let mut state = self.wire.lock();
        let key = attempt_key(&attempt.file_id, &attempt.target, attempt.attempt);
        if !state.confirmed.contains(&key) {
            state.premature.push(key);
        }
        state.taken += 1;
        let number = state.taken;
        let worker = self.worker.clone();
        state.parcels.insert(number, Parcel { worker, plan, attempt, home, left_at: None, permit });
    }
}

/// The log as a worker sees it, with an eye on which attempts its commits confirmed.
pub(super) struct WatchedLog {
    pub inner: Box<dyn Log>,
    pub wire: Wire,
    pub aimed: Aimed,
    pub identity: String,
}

impl Log for WatchedLog {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Batch, LogError> {
        self.inner.poll(max, wait)
    }

    fn start(&mut self, positions: &[Position]) -> Result<(), LogError> {
        self.inner.start(positions)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.inner.pause(partitions)
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.inner.committed(partitions)
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.inner.positions(partitions)
    }

    fn partitions(&mut self, topic: Topic) -> Result<i32, LogError> {
        self.inner.partitions(topic)
    }

    fn ends(&mut self, partitions: &[TopicPartition], isolation: Isolation) -> Result<Vec<Ends>, LogError> {
        self.inner.ends(partitions, isolation)
    }

    fn reader(&mut self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        self.inner.reader(partitions)
    }

    fn reader_from(&mut self, positions: &[Position]) -> Result<Box<dyn Reader>, LogError> {
        self.inner.reader_from(positions)
    }

    fn transact(&mut self, appends: Vec<Append>, positions: &[Position]) -> Result<Vec<Position>, LogError> {
        let attempts: Vec<String> = appends
            .iter()
            .filter(|a| a.topic == Topic::Attempts && a.value.is_some())
            .map(|a| String::from_utf8_lossy(&a.key).into_owned())
            .collect();
        let bytes = appends.iter().map(|a| a.key.len() + a.value.as_ref().map_or(0, Vec::len)).sum();
        let next = self.inner.transact(appends, positions)?;
        let mut wire = self.wire.lock();
        wire.confirmed.extend(attempts);
        wire.largest_transaction = wire.largest_transaction.max(bytes);
        Ok(next)
    }

    fn rebuild(&mut self) -> Result<(), LogError> {
        if self.aimed.take_rebuild(&self.identity) {
            return Err(LogError::Away("the broker is away while the producer begins".to_owned()));
        }
        self.inner.rebuild()
    }

    fn close(&mut self) {
        self.inner.close();
    }
}

/// The report of an answer to an attempt.
pub(super) fn report_of(attempt: &DispatchAttempt, answer: Answer, at: Timestamp) -> Outcome {
    let retry_after_ms = if let Answer::Retryable(after) = answer { after } else { None };
    Outcome {
        attempt: Some(attempt.attempt),
        reporter: Reporter::Transport,
        code: answer.code().to_owned(),
        retry_after_ms,
        refusal: answer == Answer::Refused,
        ..blank(&attempt.file_id, &attempt.target, answer.kind(), at)
    }
}

/// A report that says nothing but its kind, brought in by acks.
pub(super) fn blank(file_id: &FileId, target: &TargetName, kind: OutcomeKind, at: Timestamp) -> Outcome {
    let code = kind.as_str().to_lowercase();
    Outcome { code, ..Outcome::new(file_id.clone(), target.clone(), kind, Reporter::Acks, at) }
}
