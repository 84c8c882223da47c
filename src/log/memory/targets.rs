//! Topics of the same cluster that aren't consign's: what transactions wrote there for targets.

use std::collections::{BTreeMap, VecDeque};

use crate::log::{TargetRecord, TopicCheck};
use crate::record::Timestamp;

/// Committed records that are kept, the newest of all topics.
const MAX_KEPT: usize = 100_000;

/// What is wrong with a topic of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicFault {
    /// It isn't there: who looks for it learns so.
    Missing,
    /// It passes a check, and every transaction that writes to it is aborted.
    FailsUnseen,
}

/// The topics of targets. Each is there, unless it was said otherwise.
#[derive(Debug, Default)]
pub(super) struct TargetTopics {
    committed: VecDeque<(Timestamp, TargetRecord)>,
    faults: BTreeMap<String, TopicFault>,
}

impl TargetTopics {
    pub(super) fn set_fault(&mut self, topic: &str, fault: Option<TopicFault>) {
        match fault {
            Some(fault) => drop(self.faults.insert(topic.to_owned(), fault)),
            None => drop(self.faults.remove(topic)),
        }
    }

    pub(super) fn check(&self, topic: &str) -> TopicCheck {
        match self.faults.get(topic) {
            Some(TopicFault::Missing) => TopicCheck::Refuses("the topic is missing".to_owned()),
            Some(TopicFault::FailsUnseen) | None => TopicCheck::Takes,
        }
    }

    /// The first of these records whose topic doesn't take it.
    pub(super) fn refused<'r>(&self, records: &'r [TargetRecord]) -> Option<&'r TargetRecord> {
        records.iter().find(|record| self.faults.contains_key(&record.topic))
    }

    pub(super) fn commit(&mut self, records: Vec<TargetRecord>, at: Timestamp) {
        self.committed.extend(records.into_iter().map(|record| (at, record)));
        while self.committed.len() > MAX_KEPT {
            self.committed.pop_front();
        }
    }

    pub(super) fn committed(&self) -> impl Iterator<Item = &(Timestamp, TargetRecord)> {
        self.committed.iter()
    }
}
