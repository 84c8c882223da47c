//! What librdkafka calls on the polling thread while the group shares its partitions out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::client::{log_error, log_line, partitions_of};
use crate::log::AssignmentChange;
use crate::record::TopicNames;

/// How long a consumer that is being closed may take before an assignment is answered all the same.
const LAST_ASSIGNMENT: Duration = Duration::from_secs(1);

/// Notes the changes of the assignment, in order, and keeps what is newly assigned from delivering anything.
///
/// No transaction is ever open while the consumer is polled, so a revocation has nothing to commit or abort.
pub(super) struct Rebalances {
    names: TopicNames,
    noted: Mutex<Vec<AssignmentChange>>,
    closing: AtomicBool,
    /// Whether a revocation was answered since.
    answered: AtomicBool,
}

impl Rebalances {
    pub(super) fn new(names: TopicNames) -> Self {
        Self { names, noted: Mutex::default(), closing: AtomicBool::default(), answered: AtomicBool::default() }
    }

    /// The changes noted since the last call.
    pub(super) fn take(&self) -> Vec<AssignmentChange> {
        std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Must be said before the consumer is dropped.
    pub(super) fn closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
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
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                if !(self.closing.load(Ordering::Relaxed) && closes(consumer)) {
                    self.assign(consumer, list);
                }
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                self.note(AssignmentChange::Revoked(partitions_of(&self.names, list)));
                let again = self.closing.load(Ordering::Relaxed) && self.answered.swap(true, Ordering::Relaxed);
                if !(again && closes(consumer)) {
                    log_failure("unassign", &consumer.unassign().and_then(|()| self.settle(consumer)));
                }
            }
            other => {
                tracing::warn!("rebalance: {}", RDKafkaErrorCode::from(other));
                log_failure("unassign", &consumer.unassign().and_then(|()| self.settle(consumer)));
            }
        }
    }
}

impl Rebalances {
    /// Takes the partitions on without reading any: each is fetched from the position at which the worker starts it.
    fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        log_failure("assign", &consumer.assign(&TopicPartitionList::new()).and_then(|()| self.settle(consumer)));
        self.note(AssignmentChange::Assigned(partitions_of(&self.names, list)));
    }

    /// Waits until every partition that was taken from an assignment has stopped; not while the consumer is closed,
    /// because then nobody may be left to answer.
    fn settle(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        if self.closing.load(Ordering::Relaxed) { Ok(()) } else { settle(consumer) }
    }
}

/// Waits until every partition that was taken from an assignment has stopped.
///
/// librdkafka up to 2.15 aborts the process (confluentinc/librdkafka#5573) if an assignment asks a partition to stop for
/// which the answer to an earlier stop is still queued. Its main thread takes a stop, the answer to it and our questions from
/// one queue: the first answer comes after the stops were carried out, the second after their answers were, and the
/// third after what these set off.
pub(super) fn settle<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> KafkaResult<()> {
    for _ in 0..3 {
        consumer.assignment()?;
    }
    Ok(())
}

/// Whether a consumer that is being closed has closed before long.
///
/// An assignment or a second revocation that arrives while librdkafka ends its place in the group must not be answered:
/// nobody is left to take the answer, and the call never returns. One that came before waits for its answer, and then
/// the consumer isn't closed.
fn closes(consumer: &BaseConsumer<Rebalances>) -> bool {
    let deadline = Instant::now() + LAST_ASSIGNMENT;
    while !consumer.closed() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    consumer.closed()
}

fn log_failure(call: &str, result: &KafkaResult<()>) {
    if let Err(e) = result {
        tracing::error!("{call} in a rebalance: {e}");
    }
}
