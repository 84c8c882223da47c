//! The log in this process, with Kafka's semantics for what the engine uses.
//!
//! It serves the embedded product, the simulation and fast tests. All state stands behind one lock; it has no clock and no
//! randomness of its own, and with a `wait` of zero nothing sleeps, so that a run on one thread is deterministic.
//!
//! It keeps every record until [`MemoryCluster::compact`] or [`MemoryCluster::delete_before`] removes it: memory grows with
//! what is appended.
//!
//! - `partition`: records and markers by offset, the last stable offset, compaction.
//! - `transactions`: producer epochs, decisions, markers that land per partition.
//! - `group`: static members, the eager rebalance, committed offsets.
//! - `worker`, `reader`: the handles.
//! - `faults`: what may go wrong, chosen by the caller.
//!
//! Where it is stricter than Kafka: a member that has not polled since a rebalance began can't commit, and nobody can commit
//! the position of a partition that isn't assigned to it. A session doesn't expire by itself: see [`MemoryCluster::expire`].

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::log::{
    Append, Appender, BoxFuture, Cluster, ControlsChange, Headers, Isolation, Lag, Log, LogError, Position, Reader,
    Record, TargetRecord, TopicPartition,
};
use crate::record::{Timestamp, Topic};

mod faults;
mod group;
mod partition;
mod reader;
mod state;
mod targets;
mod transactions;
mod worker;

#[cfg(test)]
mod tests;

pub use faults::{Fault, FaultPoint, Faults};
pub use targets::TopicFault;
pub use transactions::{MarkerTarget, PendingMarker};

use partition::Content;
use reader::MemoryReader;
use state::Shared;
use worker::Worker;

/// The transactional id of changes of `controls`; no worker may have it as its identity.
pub const CONTROLS_ID: &str = "controls";

/// Where `LogAppendTime` comes from. It runs inside the log's lock: it must not call the log.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a log in this process is made of.
#[derive(Clone)]
pub struct MemoryOptions {
    /// Partitions of every topic but `acks` and `controls`, which has 1. At least 1.
    pub home_partitions: i32,
    /// Partitions of `acks`. At least 1.
    pub acks_partitions: i32,
    /// Topics with another number of partitions than these say. Each at least 1.
    pub other_partitions: BTreeMap<Topic, i32>,
    /// The time of every record.
    pub clock: Clock,
}

impl MemoryOptions {
    /// Options with these numbers of partitions, each at least 1, and this clock.
    pub fn new(home_partitions: i32, acks_partitions: i32, clock: Clock) -> Self {
        Self { home_partitions, acks_partitions, other_partitions: BTreeMap::new(), clock }
    }

    /// The number of partitions of a topic.
    fn partitions(&self, topic: Topic) -> i32 {
        self.other_partitions.get(&topic).copied().unwrap_or(match topic {
            Topic::Controls => 1,
            Topic::Acks => self.acks_partitions,
            _ => self.home_partitions,
        })
    }
}

/// A log in this process. Clones are handles on the same log.
#[derive(Clone)]
pub struct MemoryCluster {
    shared: Arc<Shared>,
}

impl MemoryCluster {
    /// An empty log.
    ///
    /// # Panics
    /// If a topic would have no partition.
    pub fn new(options: MemoryOptions) -> Self {
        assert!(Topic::ALL.iter().all(|topic| options.partitions(*topic) > 0), "every topic has a partition");
        Self { shared: Arc::new(Shared::new(options)) }
    }

    /// Appends one record outside any transaction, as an [`Appender`] does, without a future.
    pub fn append_now(&self, append: Append) -> Result<(TopicPartition, i64), LogError> {
        self.shared.change(|state| state.append(append))
    }

    /// Puts any record on a partition, past all faults: one without a key, or one whose producer compressed what is too
    /// long. Gives its offset.
    pub fn put(
        &self,
        at: TopicPartition,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Headers,
    ) -> Result<i64, LogError> {
        self.shared.change(|state| {
            let timestamp = (state.options.clock)();
            Ok(state.partition_mut(at)?.append(Content { timestamp, key, value, headers }, None))
        })
    }

    /// One transaction of another producer than consign's, a target that acknowledges in transactions, say: all of
    /// `appends` become visible, or none does. Begins the producer anew each time, which ends what it left open.
    pub fn transact_as(&self, transactional_id: &str, appends: Vec<Append>) -> Result<(), LogError> {
        self.transact_with_positions_as(transactional_id, appends, &[])
    }

    /// The same with positions of the group, which are asked for no member's name: the group checks nothing of them.
    pub fn transact_with_positions_as(
        &self,
        transactional_id: &str,
        appends: Vec<Append>,
        positions: &[Position],
    ) -> Result<(), LogError> {
        self.shared.change(|state| {
            let producer = state.begin_producer(transactional_id);
            state.transact(&producer, (appends, Vec::new()), positions, Ok(())).map(drop)
        })
    }

    /// Every record of a topic that a read-committed reader sees, in the order of partitions and offsets.
    pub fn dump(&self, topic: Topic) -> Vec<Record> {
        self.dump_as(topic, Isolation::ReadCommitted)
    }

    /// Every record of a topic, those of open and aborted transactions included, in the order of partitions and offsets.
    pub fn dump_uncommitted(&self, topic: Topic) -> Vec<Record> {
        self.dump_as(topic, Isolation::ReadUncommitted)
    }

    fn dump_as(&self, topic: Topic, isolation: Isolation) -> Vec<Record> {
        let state = self.shared.lock();
        let mut records = Vec::new();
        for (at, partition) in state.partitions.iter().filter(|(at, _)| at.topic == topic) {
            partition.read(*at, 0, usize::MAX, isolation, &mut records);
        }
        records
    }

    /// The records of targets that committed transactions wrote, and when they were committed, oldest first; the newest
    /// 100,000.
    pub fn target_records(&self) -> Vec<(Timestamp, TargetRecord)> {
        self.shared.lock().targets.committed().cloned().collect()
    }

    /// Says what is wrong with the topic of a target from here on; none: nothing.
    pub fn topic_fault(&self, topic: &str, fault: Option<TopicFault>) {
        self.shared.change(|state| state.targets.set_fault(topic, fault));
    }

    /// Removes, below the last stable offset of a partition, aborted records and all but the newest value of each key;
    /// with `tombstones` also those and the markers, as after `delete.retention.ms`. Offsets stay what they are.
    pub fn compact(&self, at: TopicPartition, tombstones: bool) -> Result<(), LogError> {
        self.shared.change(|state| {
            state.partition_mut(at)?.compact(tombstones);
            Ok(())
        })
    }

    /// Deletes the head of a partition up to `offset`, exclusive, but nothing from the last stable offset on.
    pub fn delete_before(&self, at: TopicPartition, offset: i64) -> Result<(), LogError> {
        self.shared.change(|state| {
            state.partition_mut(at)?.delete_before(offset);
            Ok(())
        })
    }

    /// The first offset of a partition that is still there.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn first_offset(&self, at: TopicPartition) -> i64 {
        let state = self.shared.lock();
        state.partition(at).expect("the caller knows the partitions").ends(Isolation::ReadUncommitted).low
    }

    /// Chooses from here on what becomes of each call; see [`Fault`].
    pub fn faults(&self, faults: Faults) {
        self.shared.lock().faults = Some(faults);
    }

    /// Ends all faults. Markers that are late stay so until they are landed.
    pub fn no_faults(&self) {
        self.shared.lock().faults = None;
    }

    /// The markers that were made late, in the order of their transactions.
    pub fn pending_markers(&self) -> Vec<PendingMarker> {
        self.shared.lock().transactions.pending_markers()
    }

    /// Lands one marker that was late; false if it has landed already.
    pub fn land_marker(&self, marker: PendingMarker) -> bool {
        self.shared.change(|state| state.land_marker(marker))
    }

    /// Lands every marker that was late, in the order of their transactions.
    pub fn land_markers(&self) {
        self.shared.change(|state| {
            for marker in state.transactions.pending_markers() {
                state.land_marker(marker);
            }
        });
    }

    /// Aborts every open transaction, as after `transaction.timeout.ms`, and fences its producer.
    pub fn expire_transactions(&self) {
        self.shared.change(state::State::expire_transactions);
    }

    /// Begins another producer under this transactional id: the one that has it is fenced and its open transaction aborted.
    pub fn fence_producer(&self, transactional_id: &str) {
        self.shared.change(|state| {
            state.begin_producer(transactional_id);
        });
    }

    /// Expires a member's session: its partitions become the others'. If it still lives, it learns so by its next poll.
    pub fn expire(&self, identity: &str) {
        self.shared.change(|state| state.group.remove(identity));
    }

    /// Makes the group rebalance as it is.
    pub fn rebalance(&self) {
        self.shared.change(|state| state.group.begin_rebalance());
    }

    /// The group's committed offsets.
    pub fn committed_positions(&self) -> BTreeMap<TopicPartition, i64> {
        self.shared.lock().group.all_committed()
    }

    /// Sets committed offsets of the group, as its administrator may.
    pub fn set_committed(&self, positions: &[Position]) {
        self.shared.change(|state| {
            let number = state.transactions.next_number();
            state.group.commit(number, &positions.iter().copied().collect());
        });
    }

    /// Forgets committed offsets of the group, as when they have expired.
    pub fn forget_committed(&self, partitions: &[TopicPartition]) {
        self.shared.change(|state| partitions.iter().for_each(|at| state.group.forget_committed(*at)));
    }

    /// The newest value of each key of `controls`, in offset order, without tombstones; away while a transaction there
    /// is open or landing.
    fn read_controls(state: &state::State) -> Result<Vec<Record>, LogError> {
        let at = TopicPartition { topic: Topic::Controls, partition: 0 };
        let partition = state.partition(at)?;
        let mut records = Vec::new();
        let end = partition.read(at, 0, usize::MAX, Isolation::ReadCommitted, &mut records);
        if end < partition.ends(Isolation::ReadUncommitted).high {
            return Err(LogError::Away("a transaction on controls has not ended".to_owned()));
        }
        let newest: BTreeMap<_, _> = records.iter().map(|record| (record.key.clone(), record.offset)).collect();
        records.retain(|record| record.value.is_some() && newest[&record.key] == record.offset);
        Ok(records)
    }
}

impl Cluster for MemoryCluster {
    fn worker(&self, identity: &str) -> Result<Box<dyn Log>, LogError> {
        if identity == CONTROLS_ID {
            return Err(LogError::Fatal(format!("`{CONTROLS_ID}` is the transactional id of changes of controls")));
        }
        Ok(Box::new(Worker::new(Arc::clone(&self.shared), identity)))
    }

    fn appender(&self) -> Result<Arc<dyn Appender>, LogError> {
        Ok(Arc::new(self.clone()))
    }

    fn follow(&self, topics: &[Topic]) -> Result<Box<dyn Reader>, LogError> {
        let of_topic = |topic: &Topic| {
            let topic = *topic;
            let count = self.shared.lock().options.partitions(topic);
            (0..count).map(move |partition| TopicPartition { topic, partition })
        };
        let partitions: Vec<_> = topics.iter().flat_map(of_topic).collect();
        self.reader(&partitions)
    }

    fn reader(&self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(MemoryReader::new(Arc::clone(&self.shared), partitions)?))
    }

    fn partitions(&self, topic: Topic) -> Result<i32, LogError> {
        Ok(self.shared.lock().options.partitions(topic))
    }

    fn lags(&self) -> Result<Vec<Lag>, LogError> {
        let mut state = self.shared.lock();
        state.check_read(None)?;
        let inputs = state.partitions.iter().filter(|(at, _)| Topic::INPUTS.contains(&at.topic));
        let lag = |(at, partition): (&TopicPartition, &partition::Partition)| {
            let (end, stable) = (partition.ends(Isolation::ReadUncommitted), partition.ends(Isolation::ReadCommitted));
            let from = state.group.committed(*at).unwrap_or(end.low);
            Lag { at: *at, input: (stable.high - from).max(0), last_stable_offset: end.high - stable.high }
        };
        Ok(inputs.map(lag).collect())
    }

    fn change_controls(&self, change: &mut ControlsChange<'_>) -> Result<(), LogError> {
        let _one_at_a_time = self.shared.controls.lock().unwrap_or_else(PoisonError::into_inner);
        let (producer, records) = self.shared.change(|state| {
            state.check_read(None)?;
            let producer = state.begin_producer(CONTROLS_ID);
            Ok((producer, Self::read_controls(state)?))
        })?;
        let appends = change(&records);
        if appends.is_empty() {
            return Ok(());
        }
        if let Some(stray) = appends.iter().find(|append| append.topic != Topic::Controls) {
            return Err(LogError::Fatal(format!("a change of controls appends to {}", stray.topic.base_name())));
        }
        self.shared.change(|state| state.transact(&producer, (appends, Vec::new()), &[], Ok(()))).map(drop)
    }
}

impl Appender for MemoryCluster {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(TopicPartition, i64), LogError>> {
        Box::pin(async move { self.append_now(append) })
    }
}
