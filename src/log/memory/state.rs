//! All of the log's state, behind one lock.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::MemoryOptions;
use super::faults::{Fault, FaultPoint, Faults};
use super::group::Group;
use super::partition::{Content, Partition};
use super::targets::TargetTopics;
use super::transactions::Transactions;
use crate::log::{Append, Ends, Isolation, LogError, TopicPartition};
use crate::record::{Topic, murmur2};

/// What every handle on one log shares.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Held through a whole change of controls; never taken while `state` is held.
    pub(super) controls: Mutex<()>,
}

/// The log.
pub(super) struct State {
    pub(super) options: MemoryOptions,
    pub(super) partitions: BTreeMap<TopicPartition, Partition>,
    pub(super) group: Group,
    pub(super) transactions: Transactions,
    pub(super) targets: TargetTopics,
    pub(super) faults: Option<Faults>,
}

impl Shared {
    pub(super) fn new(options: MemoryOptions) -> Self {
        let counts: BTreeMap<Topic, i32> = Topic::ALL.into_iter().map(|t| (t, options.partitions(t))).collect();
        let of_topic =
            |(&topic, &count): (&Topic, &i32)| (0..count).map(move |p| TopicPartition { topic, partition: p });
        let partitions = counts.iter().flat_map(of_topic).map(|at| (at, Partition::default())).collect();
        let state = State {
            options,
            partitions,
            group: Group::new(counts),
            transactions: Transactions::default(),
            targets: TargetTopics::default(),
            faults: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), controls: Mutex::new(()) }
    }

    /// The state, to look at. A panic elsewhere doesn't make it unusable: nothing is left half done by one.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes everyone who waits for a change.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let outcome = change(&mut self.lock());
        self.changed.notify_all();
        outcome
    }

    /// Wakes everyone who waits for a change.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Attempts until the attempt gives something or `wait` has passed; with no `wait`, once.
    pub(super) fn attempt_for<T>(
        &self,
        wait: Duration,
        mut attempt: impl FnMut(&mut State) -> Result<Option<T>, LogError>,
    ) -> Result<Option<T>, LogError> {
        let mut state = self.lock();
        let mut attempted = attempt(&mut state);
        if !wait.is_zero() && matches!(attempted, Ok(None)) {
            let waited = self.changed.wait_timeout_while(state, wait, |state| {
                attempted = attempt(state);
                matches!(attempted, Ok(None))
            });
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        attempted
    }
}

impl State {
    /// Asks what becomes of a call.
    pub(super) fn fault(&mut self, point: FaultPoint<'_>) -> Fault {
        self.faults.as_mut().map_or(Fault::NONE, |choose| choose(point))
    }

    /// Asks whether a read goes well.
    pub(super) fn check_read(&mut self, identity: Option<&str>) -> Result<(), LogError> {
        match self.fault(FaultPoint::Read { identity }) {
            Fault::Away => Err(LogError::Away("a read failed, as its fault says".to_owned())),
            _ => Ok(()),
        }
    }

    pub(super) fn partition(&self, at: TopicPartition) -> Result<&Partition, LogError> {
        self.partitions.get(&at).ok_or_else(|| LogError::Fatal(format!("there is no partition {at}")))
    }

    pub(super) fn partition_mut(&mut self, at: TopicPartition) -> Result<&mut Partition, LogError> {
        self.partitions.get_mut(&at).ok_or_else(|| LogError::Fatal(format!("there is no partition {at}")))
    }

    pub(super) fn ends(&self, at: &[TopicPartition], isolation: Isolation) -> Result<Vec<Ends>, LogError> {
        at.iter().map(|at| Ok(self.partition(*at)?.ends(isolation))).collect()
    }

    /// Where an append goes: its own partition, or the one of Kafka's default partitioner. Nowhere if it is too long.
    pub(super) fn place(&self, append: &Append) -> Result<TopicPartition, LogError> {
        if !append.fits() {
            let text = format!("{}: a record of {} bytes", append.topic.base_name(), append.bytes());
            return Err(LogError::TooLong(text));
        }
        let count = self.options.partitions(append.topic);
        let partition = append.partition.unwrap_or_else(|| (murmur2(&append.key) & 0x7fff_ffff) % count);
        let at = TopicPartition { topic: append.topic, partition };
        self.partition(at).map(|_| at)
    }

    /// The content of an append that the log takes in at this moment.
    pub(super) fn content(&self, append: Append) -> Content {
        let Append { key, value, headers, .. } = append;
        Content { timestamp: (self.options.clock)(), key: Some(key), value, headers }
    }

    /// Appends outside any transaction.
    pub(super) fn append(&mut self, append: Append) -> Result<(TopicPartition, i64), LogError> {
        let at = self.place(&append)?;
        let reply_lost = match self.fault(FaultPoint::Append { append: &append }) {
            Fault::Commit { reply_lost, .. } => reply_lost,
            Fault::LeftOpen => return Err(LogError::Undecided(format!("an append to {at}"))),
            Fault::Away | Fault::Abort { .. } | Fault::Displaced => {
                return Err(LogError::Away(format!("an append to {at} failed")));
            }
        };
        let content = self.content(append);
        let offset = self.partition_mut(at)?.append(content, None);
        if reply_lost { Err(LogError::Undecided(format!("an append to {at}"))) } else { Ok((at, offset)) }
    }
}
