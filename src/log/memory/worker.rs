//! One worker's connection: a member of the group and a transactional producer under one identity.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::group::Session;
use super::reader::{Cursor, MemoryReader, OutOfRange};
use super::state::{Shared, State};
use super::transactions::Producer;
use crate::log::{
    Append, AssignmentChange, Batch, Ends, Isolation, Log, LogError, Position, Reader, TargetRecord, TopicCheck,
    TopicPartition,
};
use crate::record::Topic;

/// A worker's connection. Dropping it is a crash: it stays a member until it is expired or its identity comes back.
pub(super) struct Worker {
    shared: Arc<Shared>,
    identity: String,
    session: Session,
    producer: Producer,
    /// What the last polls said is this worker's.
    told: BTreeSet<TopicPartition>,
    cursor: Cursor,
    /// What ended the producer: it works again after a rebuild.
    producer_ended: Option<LogError>,
    closed: bool,
}

impl Worker {
    /// Takes an identity over from whoever has it.
    pub(super) fn new(shared: Arc<Shared>, identity: &str) -> Self {
        let (session, producer) =
            shared.change(|state| (state.group.begin_session(identity), state.begin_producer(identity)));
        Self {
            shared,
            identity: identity.to_owned(),
            session,
            producer,
            told: BTreeSet::new(),
            cursor: Cursor::default(),
            producer_ended: None,
            closed: false,
        }
    }

    fn check(&self, state: &State) -> Result<(), LogError> {
        if self.closed {
            return Err(LogError::Fatal(format!("{} is closed", self.identity)));
        }
        state.group.check_session(&self.identity, self.session)
    }

    fn check_read(&self, state: &mut State) -> Result<(), LogError> {
        self.check(state)?;
        state.check_read(Some(&self.identity))
    }

    fn poll_once(&mut self, state: &mut State, max: usize) -> Result<Option<Batch>, LogError> {
        self.check(state)?;
        let polled = state.group.poll(&self.identity, &mut self.told);
        if polled.moved {
            self.shared.wake();
        }
        for change in &polled.changes {
            if let AssignmentChange::Revoked(partitions) = change {
                self.cursor.remove(partitions);
            }
        }
        if !polled.changes.is_empty() {
            // Nothing is started of what was just assigned, and a revocation took all that was.
            return Ok(Some(Batch { changes: polled.changes, records: Vec::new() }));
        }
        let records = self.cursor.read(&state.partitions, max, OutOfRange::Error)?;
        Ok(if records.is_empty() { None } else { Some(Batch { changes: Vec::new(), records }) })
    }
}

impl Log for Worker {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Batch, LogError> {
        let shared = Arc::clone(&self.shared);
        self.check_read(&mut shared.lock())?;
        shared.attempt_for(wait, |state| self.poll_once(state, max)).map(Option::unwrap_or_default)
    }

    fn start(&mut self, positions: &[Position]) -> Result<(), LogError> {
        self.check(&self.shared.lock())?;
        let assigned: Vec<Position> = positions.iter().filter(|(at, _)| self.told.contains(at)).copied().collect();
        self.cursor.set(&assigned);
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.check(&self.shared.lock())?;
        self.cursor.remove(partitions);
        Ok(())
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let mut state = self.shared.lock();
        self.check_read(&mut state)?;
        if let Some(at) = partitions.iter().find(|at| state.transactions.holds_position(**at)) {
            return Err(LogError::Away(format!("the offset of {at} is part of a transaction that has not ended")));
        }
        Ok(partitions.iter().map(|at| state.group.committed(*at)).collect())
    }

    /// Nobody waits for an answer here.
    fn committed_within(
        &mut self,
        partitions: &[TopicPartition],
        _patience: Duration,
    ) -> Result<Vec<Option<i64>>, LogError> {
        self.committed(partitions)
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.check(&self.shared.lock())?;
        Ok(partitions.iter().map(|at| self.cursor.position(*at)).collect())
    }

    fn partitions(&mut self, topic: Topic) -> Result<i32, LogError> {
        let state = self.shared.lock();
        self.check(&state)?;
        let count = state.partitions.keys().filter(|at| at.topic == topic).count();
        Ok(i32::try_from(count).expect("few partitions"))
    }

    fn ends(&mut self, partitions: &[TopicPartition], isolation: Isolation) -> Result<Vec<Ends>, LogError> {
        let mut state = self.shared.lock();
        self.check_read(&mut state)?;
        state.ends(partitions, isolation)
    }

    fn reader(&mut self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        self.check(&self.shared.lock())?;
        Ok(Box::new(MemoryReader::new(Arc::clone(&self.shared), partitions)?))
    }

    fn reader_from(&mut self, positions: &[Position]) -> Result<Box<dyn Reader>, LogError> {
        self.check(&self.shared.lock())?;
        Ok(Box::new(MemoryReader::from(Arc::clone(&self.shared), positions)?))
    }

    fn check_topic(&mut self, topic: &str) -> TopicCheck {
        self.shared.lock().targets.check(topic)
    }

    fn transact_with(
        &mut self,
        appends: Vec<Append>,
        records: Vec<TargetRecord>,
        positions: &[Position],
    ) -> Result<Vec<Position>, LogError> {
        if positions.is_empty() {
            return Err(LogError::Fatal("a transaction without positions fences nobody".to_owned()));
        }
        let shared = Arc::clone(&self.shared);
        let outcome = shared.change(|state| {
            self.check(state)?;
            if let Some(ended) = &self.producer_ended {
                return Err(ended.clone());
            }
            let may_commit = state.group.check_commit(&self.identity, positions);
            state.transact(&self.producer, (appends, records), positions, may_commit)
        });
        if let Err(error @ (LogError::Undecided(_) | LogError::ProducerFenced(_))) = &outcome {
            self.producer_ended = Some(error.clone());
        }
        outcome
    }

    fn rebuild(&mut self) -> Result<(), LogError> {
        let shared = Arc::clone(&self.shared);
        shared.change(|state| {
            self.check(state)?;
            state.group.forget_told(&self.identity);
            self.producer = state.begin_producer(&self.identity);
            Ok(())
        })?;
        self.told.clear();
        self.cursor.clear();
        self.producer_ended = None;
        Ok(())
    }

    fn close(&mut self) {
        self.shared.change(|state| {
            if self.check(state).is_ok() {
                state.group.remove(&self.identity);
            }
        });
        self.closed = true;
        self.told.clear();
        self.cursor.clear();
    }
}
