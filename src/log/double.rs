//! A log that stands in for another in tests and benchmarks: it forwards every call but those that it answers itself.

use std::time::Duration;

use super::{
    Append, Batch, Ends, Isolation, Log, LogError, Position, Reader, TargetRecord, TopicCheck, TopicPartition,
};
use crate::record::Topic;

/// What a stand-in does by itself; everything else is the other's. See [`Log`] for what each call means.
#[allow(missing_docs, clippy::missing_errors_doc)]
pub trait Double: Send {
    /// The log behind it.
    fn other(&mut self) -> &mut dyn Log;

    fn poll(&mut self, max: usize, wait: Duration) -> Result<Batch, LogError> {
        self.other().poll(max, wait)
    }

    fn start(&mut self, positions: &[Position]) -> Result<(), LogError> {
        self.other().start(positions)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.other().pause(partitions)
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.other().committed(partitions)
    }

    fn committed_within(
        &mut self,
        partitions: &[TopicPartition],
        patience: Duration,
    ) -> Result<Vec<Option<i64>>, LogError> {
        self.other().committed_within(partitions, patience)
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.other().positions(partitions)
    }

    fn partitions(&mut self, topic: Topic) -> Result<i32, LogError> {
        self.other().partitions(topic)
    }

    fn ends(&mut self, partitions: &[TopicPartition], isolation: Isolation) -> Result<Vec<Ends>, LogError> {
        self.other().ends(partitions, isolation)
    }

    fn reader(&mut self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        self.other().reader(partitions)
    }

    fn reader_from(&mut self, positions: &[Position]) -> Result<Box<dyn Reader>, LogError> {
        self.other().reader_from(positions)
    }

    fn transact_with(
        &mut self,
        appends: Vec<Append>,
        records: Vec<TargetRecord>,
        positions: &[Position],
    ) -> Result<Vec<Position>, LogError> {
        self.other().transact_with(appends, records, positions)
    }

    fn check_topic(&mut self, topic: &str) -> TopicCheck {
        self.other().check_topic(topic)
    }

    fn rebuild(&mut self) -> Result<(), LogError> {
        self.other().rebuild()
    }

    fn close(&mut self) {
        self.other().close();
    }
}

/// A stand-in as a log.
#[derive(Debug, Default)]
pub struct Doubled<D>(pub D);

impl<D: Double> Log for Doubled<D> {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Batch, LogError> {
        self.0.poll(max, wait)
    }

    fn start(&mut self, positions: &[Position]) -> Result<(), LogError> {
        self.0.start(positions)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.0.pause(partitions)
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.0.committed(partitions)
    }

    fn committed_within(
        &mut self,
        partitions: &[TopicPartition],
        patience: Duration,
    ) -> Result<Vec<Option<i64>>, LogError> {
        self.0.committed_within(partitions, patience)
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.0.positions(partitions)
    }

    fn partitions(&mut self, topic: Topic) -> Result<i32, LogError> {
        self.0.partitions(topic)
    }

    fn ends(&mut self, partitions: &[TopicPartition], isolation: Isolation) -> Result<Vec<Ends>, LogError> {
        self.0.ends(partitions, isolation)
    }

    fn reader(&mut self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        self.0.reader(partitions)
    }

    fn reader_from(&mut self, positions: &[Position]) -> Result<Box<dyn Reader>, LogError> {
        self.0.reader_from(positions)
    }

    fn transact_with(
        &mut self,
        appends: Vec<Append>,
        records: Vec<TargetRecord>,
        positions: &[Position],
    ) -> Result<Vec<Position>, LogError> {
        self.0.transact_with(appends, records, positions)
    }

    fn check_topic(&mut self, topic: &str) -> TopicCheck {
        self.0.check_topic(topic)
    }

    fn rebuild(&mut self) -> Result<(), LogError> {
        self.0.rebuild()
    }

    fn close(&mut self) {
        self.0.close();
    }
}
