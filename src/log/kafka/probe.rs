//! A read-uncommitted client for questions about the log, shared by all parts of a process. It hears why brokers turn it away:
//! librdkafka tries again for ever, and says that to who polls only.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;

use super::KafkaOptions;
use super::client::{FETCH, REQUEST, ends_seen_by, log_error, log_line, plain_consumer_in, triage};
use super::missing::Missing;
use crate::log::{Ends, LogError, TopicPartition};
use crate::record::{Topic, TopicNames};

/// Events that are looked at for a reason.
const MAX_EVENTS: usize = 64;

/// How long an answer may take that says no more than that there is one.
const SIGN: Duration = Duration::from_secs(1);
/// How old a client is that gives way to another one when it has no answer: there is nobody to compare it with.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Probe {
    options: KafkaOptions,
    client: Mutex<Client>,
    names: TopicNames,
    /// What all clients of the process hear of partitions that aren't there.
    pub(super) missing: Missing,
    /// Whether a broker has ever answered: one that turns away a known client may be mending itself.
    was_let_in: AtomicBool,
}

struct Client {
    consumer: Arc<BaseConsumer<Hearing>>,
    made: Instant,
}

impl Client {
    fn new(options: &KafkaOptions) -> Result<Self, LogError> {
        let consumer = plain_consumer_in(options, &FETCH, ("read_uncommitted", "error"), Hearing::default())?;
        Ok(Self { consumer: Arc::new(consumer), made: Instant::now() })
    }
}

/// Keeps why the brokers turned the client away last.
#[derive(Default)]
pub(super) struct Hearing {
    turned_away: Mutex<Option<String>>,
}

impl ClientContext for Hearing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
        if matches!(error.rdkafka_error_code(), Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL))
        {
            *self.turned_away.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

impl rdkafka::consumer::ConsumerContext for Hearing {}

impl Probe {
    pub(super) fn new(options: &KafkaOptions) -> Result<Self, LogError> {
        let client = Mutex::new(Client::new(options)?);
        let (options, names) = (options.clone(), options.names.clone());
        Ok(Self { options, client, names, missing: Missing::default(), was_let_in: AtomicBool::new(false) })
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the brokers something. A client that has no answer gives way to a new one: librdkafka's may have lost them for good,
    /// or never know some partitions again.
    pub(super) fn asked<T>(
        &self,
        ask: impl FnOnce(&BaseConsumer<Hearing>) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let consumer = Arc::clone(&self.client().consumer);
        let answer = ask(&consumer);
        let mut client = self.client();
        let is_current = Arc::ptr_eq(&client.consumer, &consumer) && client.made.elapsed() > PATIENCE;
        if is_current && matches!(answer, Err(LogError::Away(_))) {
            *client = Client::new(&self.options)?;
        }
        answer
    }

    /// Whether the brokers answer at once.
    pub(super) fn is_answered(&self, topic: &str) -> bool {
        self.asked(|consumer| consumer.fetch_metadata(Some(topic), SIGN).map_err(|e| triage(&e))).is_ok()
    }

    /// The id of the cluster, where it says one within a few seconds.
    pub(super) fn cluster_id(&self) -> Option<String> {
        let silent = || LogError::Away("the cluster doesn't say what it is".to_owned());
        self.asked(|consumer| consumer.client().fetch_cluster_id(REQUEST).ok_or_else(silent)).ok()
    }

    pub(super) fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<Ends>, LogError> {
        self.asked(|consumer| ends_seen_by(consumer, &self.names, &self.missing, partitions))
    }

    pub(super) fn partition_count(&self, topic: Topic) -> Result<i32, LogError> {
        let name = self.names.name(topic);
        let count = self.partition_counts(&[&name])?.remove(&name);
        count.ok_or_else(|| LogError::Fatal(format!("the topic {name} is missing: `consign topics apply` creates it")))
    }

    /// The partition counts of those of these topics that are there.
    pub(super) fn partition_counts(&self, names: &[&str]) -> Result<BTreeMap<String, i32>, LogError> {
        let mut counts = BTreeMap::new();
        for name in names {
            let metadata =
                self.asked(|consumer| self.let_in(consumer, consumer.fetch_metadata(Some(name), REQUEST)))?;
            for topic in metadata.topics().iter().filter(|t| t.name() == *name) {
                match topic.error().map(Code::from) {
                    None => {
                        let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
                        counts.insert((*name).to_owned(), count);
                    }
                    Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {}
                    Some(code) => return Err(of_topic(name, triage(&KafkaError::MetadataFetch(code)))),
                }
            }
        }
        Ok(counts)
    }

    /// What was answered; `Fatal` where no broker has let this client in yet and one said why.
    fn let_in(&self, consumer: &BaseConsumer<Hearing>, answer: KafkaResult<Metadata>) -> Result<Metadata, LogError> {
        let error = match answer {
            Ok(metadata) => {
                self.was_let_in.store(true, Ordering::Relaxed);
                return Ok(metadata);
            }
            Err(error) => error,
        };
        if self.was_let_in.load(Ordering::Relaxed) {
            return Err(triage(&error));
        }
        // A poll may bring nothing but log lines, and gives nothing then.
        for _ in 0..MAX_EVENTS {
            let _ = consumer.poll(Duration::ZERO);
        }
        let heard = consumer.context().turned_away.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(heard.map_or_else(
            || triage(&error),
            |reason| LogError::Fatal(format!("nobody is let in with these settings: {reason}")),
        ))
    }
}

fn of_topic(name: &str, error: LogError) -> LogError {
    match error {
        LogError::Fatal(text) => LogError::Fatal(format!("{name}: {text}")),
        other => other,
    }
}
