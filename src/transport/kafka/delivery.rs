//! A producer that says of a record that wasn't delivered whether some broker may have it all the same.

use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::oneshot;

/// Where a record is, or why it isn't.
pub(super) type Delivered = Result<(i32, i64), Undelivered>;

/// A record whose delivery nobody confirmed.
#[derive(Debug, Clone)]
pub(super) struct Undelivered {
    pub(super) error: KafkaError,
    /// Whether it is known not to be in the log: it never left, or every broker that got it refused it.
    pub(super) is_absent: bool,
    /// Whether the cluster refuses our credentials.
    pub(super) is_refused: bool,
}

/// A producer; clones are the same.
pub(super) type Producer = ThreadedProducer<Deliveries>;

/// What the client reports to.
#[derive(Default)]
pub(super) struct Deliveries {
    /// Whether the cluster refused our credentials last.
    is_refused: AtomicBool,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error.rdkafka_error_code(), Some(Code::Authentication | Code::SaslAuthenticationFailed)) {
            self.is_refused.store(true, Ordering::Release);
        }
        tracing::warn!("a target's cluster: {error}: {reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Delivered>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let delivered = match result {
            Ok(message) => {
                self.is_refused.store(false, Ordering::Release);
                Ok((message.partition(), message.offset()))
            }
            Err((error, message)) => {
                let (is_absent, is_refused) = (is_absent(message), self.is_refused.load(Ordering::Acquire));
                Err(Undelivered { error: error.clone(), is_absent, is_refused })
            }
        };
        // Whoever asked may have given up.
        let _ = waiting.send(delivered);
    }
}

/// The client keeps for each message whether it may have been written; once it may have been, it stays so.
#[allow(unsafe_code, reason = "the binding has no safe call for it, and no error code tells the same")]
fn is_absent(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the message is the one of the delivery report that is being handled, so it is alive, and the call reads one of
    // its fields.
    let status = unsafe { rdkafka::bindings::rd_kafka_message_status(message.ptr()) };
    status == rdkafka::bindings::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

/// Writes a record and waits for what becomes of it.
pub(super) async fn write(
    producer: &Producer,
    topic: &str,
    key: &str,
    body: &[u8],
    headers: OwnedHeaders,
) -> Delivered {
    let (waiting, report) = oneshot::channel();
    let record = BaseRecord::with_opaque_to(topic, Box::new(waiting)).key(key).payload(body).headers(headers);
    // What isn't queued went nowhere.
    let unqueued = |error| Undelivered { error, is_absent: true, is_refused: false };
    producer.send(record).map_err(|(error, _)| unqueued(error))?;
    let lost = KafkaError::MessageProduction(RDKafkaRespErr::RD_KAFKA_RESP_ERR__DESTROY.into());
    report.await.unwrap_or(Err(Undelivered { error: lost, is_absent: false, is_refused: false }))
}

/// Whether the client is of no more use: it says so itself, or it delivered nothing in all its time, as one does that has lost
/// its brokers for good.
pub(super) fn is_broken(producer: &Producer, failed: &Undelivered) -> bool {
    failed.error.rdkafka_error_code() == Some(Code::MessageTimedOut) || producer.client().fatal_error().is_some()
}

/// Whether two are clones of each other.
pub(super) fn is_same(one: &Producer, other: &Producer) -> bool {
    std::ptr::eq(one.client(), other.client())
}
