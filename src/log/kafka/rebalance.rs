//! What librdkafka calls on the polling thread while the group shares its partitions out.

use std::sync::{Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{log_error, log_line, partitions_of};
use crate::log::AssignmentChange;
use crate::record::TopicNames;

/// Notes the changes of the assignment, in order, and keeps what is newly assigned from delivering anything.
///
/// No transaction is ever open while the consumer is polled, so a revocation has nothing to commit or abort.
pub(super) struct Rebalances {
    names: TopicNames,
    noted: Mutex<Vec<AssignmentChange>>,
}

impl Rebalances {
    pub(super) fn new(names: TopicNames) -> Self {
        Self { names, noted: Mutex::default() }
    }

    /// The changes noted since the last call.
    pub(super) fn take(&self) -> Vec<AssignmentChange> {
        std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, change: AssignmentChange) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            // An explicit place spares the look-up of committed offsets, whose absence would be reported as an error;
            // nothing is read from there, because the partition is paused before any fetch and sought before it resumes.
            Rebalance::Assign(list) => {
                for mut element in list.elements() {
                    if let Err(e) = element.set_offset(Offset::End) {
                        tracing::error!("an assigned partition keeps its stored offset: {e}");
                    }
                }
            }
            Rebalance::Revoke(list) => self.note(AssignmentChange::Revoked(partitions_of(&self.names, list))),
            Rebalance::Error(e) => tracing::warn!("rebalance: {e}"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            pause(consumer, list);
            self.note(AssignmentChange::Assigned(partitions_of(&self.names, list)));
        }
    }
}

fn pause(consumer: &BaseConsumer<Rebalances>, list: &TopicPartitionList) {
    // Not fatal: records of partitions that aren't started are dropped where they are polled, and read again from the
    // position at which the partition is started.
    if let Err(e) = consumer.pause(list) {
        tracing::warn!("newly assigned partitions can't be paused: {e}");
    }
}
