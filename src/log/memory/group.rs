//! The consumer group: static members, an eager rebalance, and the group's committed offsets.
//!
//! A rebalance waits until every member has given up what it held and joined again by a poll; a member that crashed is
//! waited for until it comes back under its identity or is expired. Only then is there a new generation.

use std::collections::{BTreeMap, BTreeSet};

use super::transactions::TransactionNumber;
use crate::log::{AssignmentChange, LogError, Position, TopicPartition};
use crate::record::Topic;

/// Numbers the connections that ran under one identity; only the newest is alive.
pub(super) type Session = u64;

#[derive(Debug, Default)]
struct Member {
    /// It has polled since the rebalance began and holds nothing until that ends.
    joined: bool,
    /// It has been handed its assignment of this generation.
    informed: bool,
    assignment: BTreeSet<TopicPartition>,
}

/// The one group.
#[derive(Debug)]
pub(super) struct Group {
    partitions_by_topic: BTreeMap<Topic, i32>,
    generation: u64,
    rebalancing: bool,
    session_by_identity: BTreeMap<String, Session>,
    members: BTreeMap<String, Member>,
    committed: BTreeMap<TopicPartition, (i64, TransactionNumber)>,
}

/// What a poll did to a member.
#[derive(Debug, Default)]
pub(super) struct Polled {
    pub(super) changes: Vec<AssignmentChange>,
    /// Others may have something to learn.
    pub(super) moved: bool,
}

impl Group {
    /// A group without members on topics with these numbers of partitions.
    pub(super) fn new(partitions_by_topic: BTreeMap<Topic, i32>) -> Self {
        Self {
            partitions_by_topic,
            generation: 0,
            rebalancing: false,
            session_by_identity: BTreeMap::new(),
            members: BTreeMap::new(),
            committed: BTreeMap::new(),
        }
    }

    /// Begins a session under an identity and ends the one before. A member that comes back keeps its assignment.
    pub(super) fn begin_session(&mut self, identity: &str) -> Session {
        let session = self.session_by_identity.entry(identity.to_owned()).or_default();
        *session += 1;
        let session = *session;
        self.forget_told(identity);
        session
    }

    /// The member has a new consumer that doesn't know its assignment.
    pub(super) fn forget_told(&mut self, identity: &str) {
        if let Some(member) = self.members.get_mut(identity) {
            member.informed = false;
        }
    }

    /// Whether this session is still the one of its identity.
    pub(super) fn check_session(&self, identity: &str, session: Session) -> Result<(), LogError> {
        if self.session_by_identity.get(identity) == Some(&session) {
            Ok(())
        } else {
            Err(LogError::InstanceFenced(identity.to_owned()))
        }
    }

    /// Takes a member's poll: it joins, gives up what it was `told`, and learns its assignment once there is one.
    pub(super) fn poll(&mut self, identity: &str, told: &mut BTreeSet<TopicPartition>) -> Polled {
        let mut polled = Polled::default();
        if !self.members.contains_key(identity) {
            self.members.insert(identity.to_owned(), Member::default());
            self.begin_rebalance();
        }
        let member = self.members.get_mut(identity).expect("it has joined");
        if !member.joined {
            member.joined = true;
            polled.moved = true;
            if !told.is_empty() {
                polled.changes.push(AssignmentChange::Revoked(std::mem::take(told).into_iter().collect()));
            }
            self.end_rebalance_if_all_joined();
        }
        let member = self.members.get_mut(identity).expect("it has joined");
        if !self.rebalancing && !member.informed {
            member.informed = true;
            told.clone_from(&member.assignment);
            if !told.is_empty() {
                polled.changes.push(AssignmentChange::Assigned(told.iter().copied().collect()));
            }
        }
        polled
    }

    /// Takes a member out: it left, or its session expired.
    pub(super) fn remove(&mut self, identity: &str) {
        if self.members.remove(identity).is_some() {
            self.begin_rebalance();
            self.end_rebalance_if_all_joined();
        }
    }

    /// Makes every member give up what it holds and join again.
    pub(super) fn begin_rebalance(&mut self) {
        if !self.rebalancing {
            self.rebalancing = true;
            for member in self.members.values_mut() {
                *member = Member::default();
            }
        }
    }

    fn end_rebalance_if_all_joined(&mut self) {
        if !self.rebalancing || !self.members.values().all(|member| member.joined) {
            return;
        }
        self.rebalancing = false;
        self.generation += 1;
        let members = i32::try_from(self.members.len()).expect("members are few");
        for (index, member) in (0..).zip(self.members.values_mut()) {
            let of_topic = |topic| {
                let partitions = self.partitions_by_topic.get(&topic).copied().unwrap_or(0);
                range_of(index, members, partitions).map(move |partition| TopicPartition { topic, partition })
            };
            member.informed = false;
            member.assignment = Topic::INPUTS.into_iter().flat_map(of_topic).collect();
        }
    }

    /// Whether this member may commit these positions in the present generation; else why not.
    pub(super) fn check_commit(&self, identity: &str, positions: &[Position]) -> Result<(), String> {
        let Some(member) = self.members.get(identity) else {
            return Err(format!("{identity} is not a member of the group"));
        };
        if !member.informed {
            return Err(format!("{identity} has not polled since the rebalance after generation {}", self.generation));
        }
        match positions.iter().find(|(at, _)| !member.assignment.contains(at)) {
            Some((at, _)) => Err(format!("{at} is not assigned to {identity} in generation {}", self.generation)),
            None => Ok(()),
        }
    }

    /// The committed offset of a partition.
    pub(super) fn committed(&self, at: TopicPartition) -> Option<i64> {
        self.committed.get(&at).map(|(offset, _)| *offset)
    }

    /// Makes a transaction's positions the group's, where no later transaction's are there already.
    pub(super) fn commit(&mut self, transaction: TransactionNumber, positions: &BTreeMap<TopicPartition, i64>) {
        for (&at, &offset) in positions {
            let newest = self.committed.get(&at).is_none_or(|(_, by)| *by < transaction);
            if newest {
                self.committed.insert(at, (offset, transaction));
            }
        }
    }

    /// Forgets the committed offset of a partition.
    pub(super) fn forget_committed(&mut self, at: TopicPartition) {
        self.committed.remove(&at);
    }

    /// All committed offsets.
    pub(super) fn all_committed(&self) -> BTreeMap<TopicPartition, i64> {
        self.committed.iter().map(|(at, (offset, _))| (*at, *offset)).collect()
    }
}

/// Kafka's range assignment: consecutive partitions, the first members take one more each where it doesn't divide.
fn range_of(index: i32, members: i32, partitions: i32) -> std::ops::Range<i32> {
    let (share, extra) = (partitions / members, partitions % members);
    let start = share * index + index.min(extra);
    start..start + share + i32::from(index < extra)
}
