//! Reading forward: positions in partitions, and the readers outside the group.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::partition::Partition;
use super::state::{Shared, State};
use crate::log::{Ends, Isolation, LogError, Position, Reader, Record, TopicPartition};

/// What happens where a position is outside of what the partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutOfRange {
    /// Reading fails: what is missing might never have been seen.
    Error,
    /// Reading goes on at the first offset still there.
    Earliest,
}

/// Positions of several partitions, read committed in turns.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    positions: BTreeMap<TopicPartition, i64>,
    /// The partition that filled the last batch: the next one begins behind it.
    last_served: Option<TopicPartition>,
}

impl Cursor {
    pub(super) fn set(&mut self, positions: &[Position]) {
        self.positions.extend(positions.iter().copied());
    }

    /// The offset of the next record, behind everything that no reader sees.
    pub(super) fn position(&self, at: TopicPartition) -> Option<i64> {
        self.positions.get(&at).copied()
    }

    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        self.positions.retain(|at, _| !partitions.contains(at));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes up to `max` records and moves the positions behind them and behind what no reader sees.
    pub(super) fn read(
        &mut self,
        partitions: &BTreeMap<TopicPartition, Partition>,
        max: usize,
        out_of_range: OutOfRange,
    ) -> Result<Vec<Record>, LogError> {
        let mut records = Vec::new();
        for at in self.turns() {
            let partition = partitions.get(&at).expect("positions are of partitions that exist");
            let position = self.positions.get_mut(&at).expect("turns are of these positions");
            let ends = partition.ends(Isolation::ReadUncommitted);
            if !(ends.low..=ends.high).contains(position) {
                if out_of_range == OutOfRange::Error {
                    return Err(LogError::OutOfRange(vec![(at, *position)]));
                }
                *position = ends.low;
            }
            let before = records.len();
            *position = partition.read(at, *position, max, Isolation::ReadCommitted, &mut records);
            if records.len() == max && before < max {
                self.last_served = Some(at);
            }
        }
        Ok(records)
    }

    fn turns(&self) -> Vec<TopicPartition> {
        let all = || self.positions.keys().copied();
        match self.last_served {
            None => all().collect(),
            Some(last) => {
                let behind = self.positions.range((Bound::Excluded(last), Bound::Unbounded));
                behind.map(|(at, _)| *at).chain(all().take_while(|at| *at <= last)).collect()
            }
        }
    }
}

/// A read-committed reader of fixed partitions.
pub(super) struct MemoryReader {
    shared: Arc<Shared>,
    cursor: Cursor,
    start: BTreeMap<TopicPartition, i64>,
    goal: BTreeMap<TopicPartition, i64>,
}

impl MemoryReader {
    /// Begins at the first offset of each partition; the goal is where each ends, read uncommitted.
    pub(super) fn new(shared: Arc<Shared>, partitions: &[TopicPartition]) -> Result<Self, LogError> {
        let ends = {
            let mut state = shared.lock();
            state.check_read(None)?;
            state.ends(partitions, Isolation::ReadUncommitted)?
        };
        let starts: Vec<Position> = partitions.iter().zip(&ends).map(|(at, ends)| (*at, ends.low)).collect();
        Ok(Self::towards(shared, starts, &ends))
    }

    /// From these positions on.
    pub(super) fn from(shared: Arc<Shared>, starts: &[Position]) -> Result<Self, LogError> {
        let partitions: Vec<TopicPartition> = starts.iter().map(|(at, _)| *at).collect();
        let ends = {
            let mut state = shared.lock();
            state.check_read(None)?;
            state.ends(&partitions, Isolation::ReadUncommitted)?
        };
        Ok(Self::towards(shared, starts.to_vec(), &ends))
    }

    fn towards(shared: Arc<Shared>, starts: Vec<Position>, ends: &[Ends]) -> Self {
        let mut cursor = Cursor::default();
        cursor.set(&starts);
        let goal = starts.iter().zip(ends).map(|((at, _), ends)| (*at, ends.high)).collect();
        Self { shared, cursor, start: starts.into_iter().collect(), goal }
    }
}

impl Reader for MemoryReader {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        self.shared.lock().check_read(None)?;
        let cursor = &mut self.cursor;
        let records = self.shared.attempt_for(wait, |state: &mut State| {
            let records = cursor.read(&state.partitions, max, OutOfRange::Earliest)?;
            Ok(if records.is_empty() { None } else { Some(records) })
        });
        records.map(Option::unwrap_or_default)
    }

    fn at_goal(&self) -> bool {
        self.goal.iter().all(|(at, goal)| self.cursor.positions[at] >= *goal)
    }

    fn progress(&self) -> (i64, i64) {
        let read = |(at, goal): (&TopicPartition, &i64)| self.cursor.positions[at].min(*goal) - self.start[at];
        let done = self.goal.iter().map(read).sum();
        let total = self.goal.iter().map(|(at, goal)| goal - self.start[at]).sum();
        (done, total)
    }
}
