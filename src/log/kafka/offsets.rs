//! Lost offsets: what the group would have to begin from, and putting it there.

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::groups::{GroupInfo, GroupMemberInfo};

use super::KafkaCluster;
use super::client::{REQUEST, partition_list, position_list, triage};
use super::worker::{group_observer, stable_offsets};
use crate::log::{Cluster, Ends, LogError, Position, TopicPartition};
use crate::record::Topic;

/// An input partition from which the group can't go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// The partition.
    pub at: TopicPartition,
    /// What the group committed: nothing, or an offset that isn't there.
    pub committed: Option<i64>,
    /// Where the partition's offsets begin and end.
    pub ends: Ends,
}

impl Misplaced {
    /// The position that loses nothing: the first offset still there. The engine knows by its own topics what it has
    /// already taken in, so that reading the rest again changes nothing.
    pub fn safe(&self) -> Position {
        (self.at, self.ends.low)
    }
}

impl KafkaCluster {
    /// The input partitions without a usable committed offset: none at all, or one outside the partition.
    ///
    /// On a new cluster that is all of them, and needs no repair; see [`KafkaCluster::has_engine_records`].
    pub fn misplaced_offsets(&self) -> Result<Vec<Misplaced>, LogError> {
        let mut partitions = Vec::new();
        for topic in Topic::INPUTS {
            partitions.extend((0..self.partitions(topic)?).map(|partition| TopicPartition { topic, partition }));
        }
        let observer = group_observer(&self.options)?;
        let committed = stable_offsets(&observer, &partition_list(&self.options.names, &partitions), REQUEST)?;
        let ends = self.ends(&partitions)?;
        let all = partitions.into_iter().zip(committed).zip(ends);
        Ok(all
            .map(|((at, committed), ends)| Misplaced { at, committed, ends })
            .filter(|m| m.committed.is_none_or(|offset| offset < m.ends.low || offset > m.ends.high))
            .collect())
    }

    /// What the group has committed on these partitions, read after every transaction that is still being committed.
    pub fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let observer = group_observer(&self.options)?;
        stable_offsets(&observer, &partition_list(&self.options.names, partitions), REQUEST)
    }

    /// Whether the engine has ever written anything: then missing offsets were lost.
    pub fn has_engine_records(&self) -> Result<bool, LogError> {
        for topic in Topic::RESTORED {
            let partitions: Vec<TopicPartition> =
                (0..self.partitions(topic)?).map(|partition| TopicPartition { topic, partition }).collect();
            if self.ends(&partitions)?.iter().any(|e| e.high > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Commits these positions for the group. `Fatal` while the group has members: theirs would be overwritten.
    pub fn commit_positions(&self, positions: &[Position]) -> Result<(), LogError> {
        if positions.is_empty() {
            return Ok(());
        }
        let observer = group_observer(&self.options)?;
        let group = &self.options.group;
        let groups = observer.fetch_group_list(Some(group), REQUEST).map_err(|e| triage(&e))?;
        let members: Vec<&str> =
            groups.groups().iter().flat_map(GroupInfo::members).map(GroupMemberInfo::client_host).collect();
        if !members.is_empty() {
            return Err(LogError::Fatal(format!(
                "the group {group} has {} members ({}): stop them first, and wait for the session time-out",
                members.len(),
                members.join(", ")
            )));
        }
        let list = position_list(&self.options.names, positions)?;
        // The broker itself refuses this too, should a member join meanwhile.
        observer.commit(&list, CommitMode::Sync).map_err(|e| match e {
            KafkaError::ConsumerCommit(code) => LogError::Fatal(format!("the group {group} takes no offsets: {code}")),
            other => triage(&other),
        })
    }
}
