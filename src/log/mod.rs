//! Port 1: the log. Kafka outside, or the same semantics in this process.
//!
//! The engine's worker sees one consumer of one group and one transactional producer, both driven from its own thread by
//! plain calls. Nothing here is async but [`Appender`], which belongs to transports and the gateway.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::record::{Timestamp, Topic};

pub mod double;
pub mod kafka;
mod limits;
pub mod memory;
mod scan;

pub use limits::{MAX_RECORD_BYTES, headers_bytes, max_record_bytes};
pub use scan::scan;

/// A partition of one of consign's topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// The partition, from 0.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.base_name(), self.partition)
    }
}

/// A partition and the offset of the next record to read there.
pub type Position = (TopicPartition, i64);

/// Record headers, in order.
pub type Headers = Vec<(String, Vec<u8>)>;

/// A record as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where it stands.
    pub at: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// The broker's LogAppendTime, or the producer's CreateTime where the topic keeps that.
    pub timestamp: Timestamp,
    /// Its key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
}

impl Record {
    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_slice())
    }
}

/// A record to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The topic.
    pub topic: Topic,
    /// The partition; `None` lets the default partitioner (murmur2 of the key) choose.
    pub partition: Option<i32>,
    /// The key.
    pub key: Vec<u8>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Headers,
}

/// A record of a target that is part of a transaction: on a topic of the log's cluster that isn't consign's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRecord {
    /// The topic, by its full name.
    pub topic: String,
    /// The key; the default partitioner (murmur2) places the record by it.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The headers.
    pub headers: Headers,
}

/// Whether a topic takes records of targets in a worker's transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicCheck {
    /// It isn't known yet: ask again.
    Asking,
    /// It does.
    Takes,
    /// It doesn't; why, in words.
    Refuses(String),
}

/// What happened to a worker's assignment. The partitions are those of the inputs, acks included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssignmentChange {
    /// These are this worker's from now on. Nothing of them is delivered before [`Log::start`].
    Assigned(Vec<TopicPartition>),
    /// These are so no longer; what was read of them and not committed is another worker's to read again.
    Revoked(Vec<TopicPartition>),
}

/// What one poll brought. The changes happened before the records were read: none of the records is of a partition
/// that a change of the same batch revoked.
#[derive(Debug, Default)]
pub struct Batch {
    /// Changes of the assignment, in order.
    pub changes: Vec<AssignmentChange>,
    /// Records, in offset order within each partition.
    pub records: Vec<Record>,
}

crate::record::text_enum! {
    /// Why a transaction didn't happen, or why nobody knows whether it did.
    AbortCause, "snake_case" {
        /// Partitions of its inputs are another worker's: the group has moved on.
        Rebalance = "rebalance",
        /// The log didn't take it.
        Log = "log",
        /// An invariant of ours broke while a record was folded.
        Invariant = "invariant",
        /// The store of a home partition failed.
        Store = "store",
        /// The reply to its commit was lost.
        Undecided = "undecided",
        /// Another producer has its transactional id.
        Fenced = "fenced",
        /// The topic of a target whose record was part of it.
        Target = "target",
    }
}

/// A transaction of which nothing is visible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Aborted {
    /// Why.
    pub cause: AbortCause,
    /// The same in words.
    pub text: String,
}

/// Why a call on the log failed, by what the caller must do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The log is away for the moment; the same call may be repeated.
    #[error("the log is away: {0}")]
    Away(String),
    /// The transaction was aborted and none of it is visible: forget what it decided and read its inputs again.
    #[error("the transaction was aborted: {0}")]
    Aborted(Aborted),
    /// The transaction was aborted because of a topic that records of targets go to, and none of it is visible.
    #[error("the topic {topic} of a target refused: {text}")]
    TargetTopic {
        /// The topic.
        topic: String,
        /// Why, in words.
        text: String,
    },
    /// The reply to a commit was lost: it may or may not have happened. Rebuild from what the log holds.
    #[error("the commit's reply was lost: {0}")]
    Undecided(String),
    /// Another producer has this transactional id: rebuild, once.
    #[error("another producer took over the transactional id: {0}")]
    ProducerFenced(String),
    /// An outage made the group take this worker's own repeated join for another process: rebuild. Said once for each outage.
    #[error("the group took this worker for another after an outage: {0}")]
    Displaced(String),
    /// A client of the log has stopped, while the log answers others: rebuild. A transaction that was under way didn't happen,
    /// and ends with it.
    #[error("a client of the log has stopped: {0}")]
    Stuck(String),
    /// Another process has this identity: this one must end.
    #[error("another process runs under this identity: {0}")]
    InstanceFenced(String),
    /// Delivery of these partitions can't go on where it was: records there were deleted, or the topic is another one. The
    /// others go on once these are paused.
    #[error("{} lies outside of what is there (`consign offsets repair` mends that)", places(.0))]
    OutOfRange(Vec<Position>),
    /// A record is longer than its topic takes, and always will be: nothing was appended.
    #[error("too long: {0}")]
    TooLong(String),
    /// The log refuses, and will refuse again: a missing topic, a missing permission, a configuration error.
    #[error("{0}")]
    Fatal(String),
}

impl LogError {
    /// A transaction was aborted.
    pub fn aborted(cause: AbortCause, text: impl Into<String>) -> Self {
        Self::Aborted(Aborted { cause, text: text.into() })
    }

    /// Why a transaction didn't happen, where it was one that this error ended.
    pub fn abort_cause(&self) -> Option<AbortCause> {
        match self {
            Self::Aborted(aborted) => Some(aborted.cause),
            Self::Stuck(_) => Some(AbortCause::Log),
            Self::TargetTopic { .. } => Some(AbortCause::Target),
            Self::Undecided(_) => Some(AbortCause::Undecided),
            Self::ProducerFenced(_) | Self::Displaced(_) => Some(AbortCause::Fenced),
            Self::Away(_) | Self::InstanceFenced(_) | Self::OutOfRange(_) | Self::TooLong(_) | Self::Fatal(_) => None,
        }
    }
}

fn places(positions: &[Position]) -> String {
    let places: Vec<String> = positions.iter().map(|(at, offset)| format!("{at} at offset {offset}")).collect();
    places.join(", ")
}

/// Where offsets of a partition begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The first offset still there.
    pub low: i64,
    /// One past the last.
    pub high: i64,
}

/// Up to where a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the last stable offset, without aborted records.
    ReadCommitted,
    /// Up to the log's end.
    ReadUncommitted,
}

/// One worker's connection: its place in the group and its transactional producer.
///
/// There is never an open transaction while `poll` runs, because [`Log::transact`] begins and ends one: a revocation
/// therefore finds nothing pending.
pub trait Log: Send {
    /// Takes part in the group and waits up to `wait` for records of started partitions, `max` at most. Shortly after a
    /// transaction it may gather for some milliseconds what goes into the next one.
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Batch, LogError>;

    /// Begins (or resumes) the delivery of assigned partitions at these offsets. One that isn't assigned any more is passed
    /// over: the next poll says so.
    fn start(&mut self, positions: &[Position]) -> Result<(), LogError>;

    /// Stops the delivery of partitions until [`Log::start`] names them again.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;

    /// The group's committed offsets, read stably (after every transaction that is still being committed).
    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError>;

    /// The same for one who has other work: `Away` when there is no answer after about so long.
    fn committed_within(
        &mut self,
        partitions: &[TopicPartition],
        patience: Duration,
    ) -> Result<Vec<Option<i64>>, LogError>;

    /// The offset of the next record that would be handed out, with control markers and aborted records before it
    /// already passed; `None` for a partition that was not started.
    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError>;

    /// The number of partitions of a topic.
    fn partitions(&mut self, topic: Topic) -> Result<i32, LogError>;

    /// Where the offsets of these partitions begin and end.
    fn ends(&mut self, partitions: &[TopicPartition], isolation: Isolation) -> Result<Vec<Ends>, LogError>;

    /// A read-committed reader of these partitions from their beginning, outside the group, with the ends of this
    /// moment (read uncommitted) as its goal.
    fn reader(&mut self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError>;

    /// The same, from these positions on. Each lies within what its partition holds.
    fn reader_from(&mut self, positions: &[Position]) -> Result<Box<dyn Reader>, LogError>;

    /// One transaction: all of `appends` and the group's `positions` become visible, or nothing does.
    ///
    /// `positions` is never empty: an empty list would not fence. Gives for each partition that was appended to the
    /// offset behind the last of these records.
    fn transact(&mut self, appends: Vec<Append>, positions: &[Position]) -> Result<Vec<Position>, LogError> {
        self.transact_with(appends, Vec::new(), positions)
    }

    /// The same with records of targets on other topics of the cluster: visible with the rest, or not at all. A topic that
    /// is why it failed is named ([`LogError::TargetTopic`]).
    fn transact_with(
        &mut self,
        appends: Vec<Append>,
        records: Vec<TargetRecord>,
        positions: &[Position],
    ) -> Result<Vec<Position>, LogError>;

    /// Whether a topic takes records of targets in this worker's transactions. Never waits: the answer is looked for
    /// meanwhile. No older than some seconds.
    fn check_topic(&mut self, topic: &str) -> TopicCheck;

    /// Ends this connection's producer and consumer and begins new ones under the same identity. Every partition is
    /// assigned anew by a later poll.
    fn rebuild(&mut self) -> Result<(), LogError>;

    /// How long the log has given no answer. A quiet log that is there is asked during a poll every few seconds.
    fn silence(&self) -> Duration {
        Duration::ZERO
    }

    /// Leaves the group for good.
    fn close(&mut self);
}

/// A reader outside any group.
pub trait Reader: Send {
    /// Waits up to `wait` for records, `max` at most.
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>, LogError>;

    /// Whether everything up to the goal has been handed out: the ends at the time of creation.
    fn at_goal(&self) -> bool;

    /// Records read so far and records to the goal, for progress: offsets, so an estimate on compacted topics.
    fn progress(&self) -> (i64, i64);

    /// How long the log has given no answer; see [`Log::silence`]. A poll that doesn't wait asks nothing.
    fn silence(&self) -> Duration {
        Duration::ZERO
    }
}

/// A boxed future, so that [`Appender`] can be an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An idempotent producer outside any transaction, shared by all tasks of a process.
pub trait Appender: Send + Sync {
    /// Appends one record and waits until the log has it; gives its place.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(TopicPartition, i64), LogError>>;
}

/// How far the group is behind on a partition of an input, in offsets: control markers count as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// The partition.
    pub at: TopicPartition,
    /// From the group's committed position to the last stable offset.
    pub input: i64,
    /// From the last stable offset to the end: what an open transaction holds back.
    pub last_stable_offset: i64,
}

/// The log as a whole: what a process opens once.
pub trait Cluster: Send + Sync {
    /// A worker's connection under a stable identity: group instance id and transactional id.
    fn worker(&self, identity: &str) -> Result<Box<dyn Log>, LogError>;

    /// An idempotent producer.
    fn appender(&self) -> Result<Arc<dyn Appender>, LogError>;

    /// A read-committed reader outside any group that reads these topics, all their partitions, from the beginning and
    /// then follows them.
    fn follow(&self, topics: &[Topic]) -> Result<Box<dyn Reader>, LogError>;

    /// A read-committed reader of some partitions, from the beginning; see [`Log::reader`].
    fn reader(&self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError>;

    /// The number of partitions of a topic.
    fn partitions(&self, topic: Topic) -> Result<i32, LogError>;

    /// How far the group is behind on every partition of the inputs.
    fn lags(&self) -> Result<Vec<Lag>, LogError>;

    /// A compare-and-set on `controls`: under the one transactional id of people's changes, reads the topic to its end,
    /// lets `change` decide on what is there (key and newest value), and commits what it appends.
    fn change_controls(&self, change: &mut ControlsChange<'_>) -> Result<(), LogError>;
}

/// Decides a change of `controls` by what the topic holds: the records to append, or an empty list to leave it.
pub type ControlsChange<'a> = dyn FnMut(&[Record]) -> Vec<Append> + Send + 'a;
