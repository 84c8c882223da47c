//! The idempotent producer that all tasks of a process share.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::KafkaOptions;
use super::client::{Tracing, check_size, owned_headers, producer_settings, triage};
use crate::log::{Append, Appender, BoxFuture, LogError, TopicPartition};

/// How long an append may wait for the log before it fails as `Away`.
const PATIENCE: Duration = Duration::from_secs(30);

type Client = FutureProducer<Tracing>;

/// [`Appender`] on Kafka.
pub(super) struct KafkaAppender {
    options: Arc<KafkaOptions>,
    producer: RwLock<Client>,
}

impl KafkaAppender {
    pub(super) fn open(options: Arc<KafkaOptions>) -> Result<Self, LogError> {
        let producer = RwLock::new(connect(&options)?);
        Ok(Self { options, producer })
    }

    fn producer(&self) -> Client {
        self.producer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A fatal error ends an idempotent producer, and one that delivered nothing in all that time may have lost its brokers for
    /// good: the next append gets a new one, unless another append has seen to that.
    fn replace_if_dead(&self, failed: &Client, error: &KafkaError) -> Result<(), LogError> {
        let why = match failed.client().fatal_error() {
            Some((_, why)) => why,
            None if error.rdkafka_error_code() == Some(Code::MessageTimedOut) => error.to_string(),
            None => return Ok(()),
        };
        let mut producer = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if std::ptr::eq(producer.client(), failed.client()) {
            tracing::warn!("the producer is replaced: {why}");
            *producer = connect(&self.options)?;
        }
        Ok(())
    }
}

fn connect(options: &KafkaOptions) -> Result<Client, LogError> {
    let patience = PATIENCE.as_millis().to_string();
    producer_settings(options, &[("message.timeout.ms", &patience)])
        .create_with_context(Tracing)
        .map_err(|e| triage(&e))
}

impl Appender for KafkaAppender {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(TopicPartition, i64), LogError>> {
        Box::pin(async move {
            check_size(&append)?;
            let producer = self.producer();
            let name = self.options.names.name(append.topic);
            let mut record = FutureRecord::<[u8], [u8]>::to(&name).key(&append.key);
            record.partition = append.partition;
            record.payload = append.value.as_deref();
            record.headers = owned_headers(&append.headers);
            match producer.send(record, PATIENCE).await {
                Ok(delivery) => {
                    Ok((TopicPartition { topic: append.topic, partition: delivery.partition }, delivery.offset))
                }
                Err((error, _)) => {
                    self.replace_if_dead(&producer, &error)?;
                    Err(triage(&error))
                }
            }
        })
    }
}
