//! Partitions that the brokers say aren't there. One that has just started says so of partitions that it doesn't know yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::log::TopicPartition;

/// For how long brokers must say so before it is believed: whoever asks knows of the partition.
const BELIEVED: Duration = Duration::from_mins(1);

/// Since when partitions have been missing.
#[derive(Default)]
pub(super) struct Missing {
    since: Mutex<BTreeMap<TopicPartition, Instant>>,
}

impl Missing {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is there.
    pub(super) fn found(&self, at: TopicPartition) {
        self.lock().remove(&at);
    }

    /// Whether an error says that a partition is missing for which that isn't believed yet.
    pub(super) fn doubts(&self, at: TopicPartition, error: &KafkaError) -> bool {
        self.doubts_at(at, error, Instant::now())
    }

    fn doubts_at(&self, at: TopicPartition, error: &KafkaError, now: Instant) -> bool {
        says_missing(error) && now - *self.lock().entry(at).or_insert(now) < BELIEVED
    }
}

/// Whether an error says that a partition isn't there.
pub(super) fn says_missing(error: &KafkaError) -> bool {
    let codes = [Code::UnknownPartition, Code::UnknownTopic, Code::UnknownTopicOrPartition];
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Topic;

    #[test]
    fn a_partition_is_missing_once_that_was_said_for_a_minute() {
        let (missing, begun) = (Missing::default(), Instant::now());
        let at = TopicPartition { topic: Topic::Acks, partition: 2 };
        let other = TopicPartition { partition: 1, ..at };
        let unknown = KafkaError::MetadataFetch(Code::UnknownPartition);
        let (before, later) = (begun + BELIEVED / 2, begun + BELIEVED);
        assert!(missing.doubts_at(at, &unknown, begun));
        assert!(missing.doubts_at(at, &unknown, before));
        assert!(!missing.doubts_at(at, &unknown, later));
        assert!(missing.doubts_at(other, &unknown, later), "each for itself");
        missing.found(at);
        assert!(missing.doubts_at(at, &unknown, later), "it was there in between");
        let forbidden = KafkaError::MetadataFetch(Code::TopicAuthorizationFailed);
        assert!(!missing.doubts_at(at, &forbidden, later), "that is no doubt");
    }
}
