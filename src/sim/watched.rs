//! The log as one worker sees it: every call is a point at which its process may end or stand still, and the wire learns
//! which attempts a commit confirmed.

use std::sync::Arc;
use std::time::Duration;

use super::faults::Aimed;
use super::points::{Point, When};
use super::sabotage::Saboteur;
use super::wire::Wire;
use crate::log::{
    Append, Batch, Ends, Isolation, Log, LogError, Position, Reader, TargetRecord, TopicCheck, TopicPartition,
};
use crate::record::{Codec, Topic};

/// One worker's log under watch.
pub(super) struct WatchedLog {
    pub inner: Box<dyn Log>,
    pub wire: Wire,
    pub aimed: Aimed,
    pub identity: String,
    pub saboteur: Option<Saboteur>,
    /// Reads what the worker commits.
    pub codec: Arc<Codec>,
}

impl WatchedLog {
    fn at<T>(&mut self, point: Point, call: impl FnOnce(&mut Self) -> Result<T, LogError>) -> Result<T, LogError> {
        self.aimed.meet(&self.identity, point, When::Before);
        let done = call(self);
        self.aimed.meet(&self.identity, point, When::After);
        done
    }

    fn commit(
        &mut self,
        appends: Vec<Append>,
        records: Vec<TargetRecord>,
        positions: &[Position],
    ) -> Result<Vec<Position>, LogError> {
        let attempts: Vec<String> = appends
            .iter()
            .filter(|a| a.topic == Topic::Attempts && a.value.is_some())
            .map(|a| String::from_utf8_lossy(&a.key).into_owned())
            .collect();
        let bytes = appends.iter().map(|a| a.key.len() + a.value.as_ref().map_or(0, Vec::len)).sum();
        let next = match &self.saboteur {
            Some(saboteur) => saboteur.transact(self.inner.as_mut(), &self.wire, (appends, records), positions)?,
            None => self.inner.transact_with(appends, records, positions)?,
        };
        let mut wire = self.wire.lock();
        wire.confirmed.extend(attempts);
        wire.largest_transaction = wire.largest_transaction.max(bytes);
        Ok(next)
    }
}

impl WatchedLog {
    fn watch(&self, partitions: &[TopicPartition], inner: Box<dyn Reader>) -> Box<dyn Reader> {
        let inner = match &self.saboteur {
            Some(saboteur) => saboteur.reader(partitions, inner),
            None => inner,
        };
        Box::new(WatchedReader { inner, aimed: self.aimed.clone(), identity: self.identity.clone() })
    }
}

impl Log for WatchedLog {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Batch, LogError> {
        self.at(Point::Poll, |log| {
            let batch = log.inner.poll(max, wait)?;
            Ok(match &log.saboteur {
                Some(saboteur) => saboteur.polled(batch),
                None => batch,
            })
        })
    }

    fn start(&mut self, positions: &[Position]) -> Result<(), LogError> {
        self.at(Point::Start, |log| log.inner.start(positions))
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.at(Point::Pause, |log| log.inner.pause(partitions))
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.at(Point::Committed, |log| log.inner.committed(partitions))
    }

    fn committed_within(
        &mut self,
        partitions: &[TopicPartition],
        patience: Duration,
    ) -> Result<Vec<Option<i64>>, LogError> {
        self.at(Point::Committed, |log| log.inner.committed_within(partitions, patience))
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.at(Point::Positions, |log| log.inner.positions(partitions))
    }

    fn partitions(&mut self, topic: Topic) -> Result<i32, LogError> {
        self.at(Point::Partitions, |log| log.inner.partitions(topic))
    }

    fn ends(&mut self, partitions: &[TopicPartition], isolation: Isolation) -> Result<Vec<Ends>, LogError> {
        self.at(Point::Ends, |log| log.inner.ends(partitions, isolation))
    }

    fn reader(&mut self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        self.at(Point::Reader, |log| {
            let inner = log.inner.reader(partitions)?;
            Ok(log.watch(partitions, inner))
        })
    }

    fn reader_from(&mut self, positions: &[Position]) -> Result<Box<dyn Reader>, LogError> {
        self.at(Point::Reader, |log| {
            let inner = log.inner.reader_from(positions)?;
            let partitions: Vec<TopicPartition> = positions.iter().map(|(tp, _)| *tp).collect();
            Ok(log.watch(&partitions, inner))
        })
    }

    fn transact_with(
        &mut self,
        appends: Vec<Append>,
        records: Vec<TargetRecord>,
        positions: &[Position],
    ) -> Result<Vec<Position>, LogError> {
        self.aimed.commit_begins(&self.identity, &self.codec, &appends);
        self.at(Point::Transact, |log| log.commit(appends, records, positions))
    }

    fn check_topic(&mut self, topic: &str) -> TopicCheck {
        self.inner.check_topic(topic)
    }

    fn rebuild(&mut self) -> Result<(), LogError> {
        self.at(Point::Rebuild, |log| {
            if log.aimed.take_rebuild(&log.identity) {
                return Err(LogError::Away("the broker is away while the producer begins".to_owned()));
            }
            log.inner.rebuild()
        })
    }

    fn close(&mut self) {
        self.inner.close();
    }
}

/// A reader of a worker under watch.
struct WatchedReader {
    inner: Box<dyn Reader>,
    aimed: Aimed,
    identity: String,
}

impl Reader for WatchedReader {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<crate::log::Record>, LogError> {
        self.aimed.meet(&self.identity, Point::Read, When::Before);
        if self.aimed.take_reader(&self.identity) {
            return Err(LogError::Away("a reader's poll failed, as it was told to".to_owned()));
        }
        let records = self.inner.poll(max, wait);
        self.aimed.meet(&self.identity, Point::Read, When::After);
        records
    }

    fn at_goal(&self) -> bool {
        self.inner.at_goal()
    }

    fn progress(&self) -> (i64, i64) {
        self.inner.progress()
    }
}
