//! What every client of the broker shares: its settings, the triage of errors, records from messages.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaOptions;
use super::missing::Missing;
use crate::log::{
    Append, Ends, Headers, LogError, MAX_RECORD_BYTES, Position, Record, TopicPartition, max_record_bytes,
};
use crate::record::{Timestamp, TopicNames};

/// How long one request may take before the broker counts as away.
pub(super) const REQUEST: Duration = Duration::from_secs(10);
/// The wait before a question is asked again that the broker can't answer at the moment.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Settings in order of precedence: `fixed` over the user's over `defaults`.
pub(super) fn settings(options: &KafkaOptions, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "consign").set("reconnect.backoff.max.ms", "2000").set("socket.keepalive.enable", "true");
    for (name, value) in defaults {
        config.set(*name, *value);
    }
    for (name, value) in &options.client {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &options.bootstrap);
    for (name, value) in fixed {
        config.set(*name, *value);
    }
    config
}

/// Defaults of everything that reads: catch up fast, don't hold single records back, and keep no more ahead than is read
/// in a moment: a process has a reader for each partition while it restores. A fetch that waits at the broker waits no
/// longer: some records come only with the next one (of 40 files one after the other the slowest took 52 ms like this, 276 ms
/// with 250 ms and 951 ms with 500 ms).
pub(super) const FETCH: [(&str, &str); 4] = [
    ("fetch.queue.backoff.ms", "5"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.wait.max.ms", "50"),
];

/// Defaults of what reads several partitions in the order of time: each has a queue of its own, and all of them together
/// are in memory.
pub(super) const FETCH_IN_TIME: [(&str, &str); 4] = [
    ("fetch.queue.backoff.ms", "5"),
    ("queued.min.messages", "4000"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.wait.max.ms", "50"),
];

/// Defaults of everything that writes.
pub(super) const PRODUCE: [(&str, &str); 3] =
    [("linger.ms", "1"), ("compression.type", "lz4"), ("queue.buffering.max.messages", "500000")];

/// The defaults together with the limit on a record, which follows from the topics.
pub(super) fn producer_settings(options: &KafkaOptions, fixed: &[(&str, &str)]) -> ClientConfig {
    let max = MAX_RECORD_BYTES.to_string();
    let mut all = vec![
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("partitioner", "murmur2_random"),
        ("message.max.bytes", &max),
        // The brokers limit batches: one of several records never takes more than a single record may.
        ("batch.size", "1000000"),
    ];
    all.extend_from_slice(fixed);
    settings(options, &PRODUCE, &all)
}

/// Nothing longer than its topic takes is sent: a producer that was refused once may have to begin anew.
pub(super) fn check_size(append: &Append) -> Result<(), LogError> {
    if append.fits() {
        return Ok(());
    }
    let (topic, bytes, max) = (append.topic.base_name(), append.bytes(), max_record_bytes(append.topic));
    Err(LogError::TooLong(format!("{topic}: a record of {bytes} bytes, more than {max}")))
}

/// A consumer without a place in a group: for metadata, offsets and readers. Group calls go to the options' group.
pub(super) fn plain_consumer(
    options: &KafkaOptions,
    isolation: &str,
    reset: &str,
) -> Result<BaseConsumer<Tracing>, LogError> {
    plain_consumer_with(options, &FETCH, isolation, reset)
}

/// The same, with defaults of its own.
pub(super) fn plain_consumer_with(
    options: &KafkaOptions,
    defaults: &[(&str, &str)],
    isolation: &str,
    reset: &str,
) -> Result<BaseConsumer<Tracing>, LogError> {
    plain_consumer_in(options, defaults, (isolation, reset), Tracing)
}

/// The same, which tells a context what happens.
pub(super) fn plain_consumer_in<C: rdkafka::consumer::ConsumerContext>(
    options: &KafkaOptions,
    defaults: &[(&str, &str)],
    (isolation, reset): (&str, &str),
    context: C,
) -> Result<BaseConsumer<C>, LogError> {
    let session = options.session_timeout.as_millis().to_string();
    let fixed = [
        ("group.id", options.group.as_str()),
        ("session.timeout.ms", session.as_str()),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("isolation.level", isolation),
        ("auto.offset.reset", reset),
    ];
    settings(options, defaults, &fixed).create_with_context(context).map_err(|e| triage(&e))
}

/// Hands librdkafka's own lines to `tracing`.
#[derive(Clone, Copy)]
pub(super) struct Tracing;

impl ClientContext for Tracing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Tracing {}

pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(facility, "{line}");
        }
        _ => tracing::debug!(facility, "{line}"),
    }
}

pub(super) fn log_error(error: &KafkaError, reason: &str) {
    tracing::debug!("{error}: {reason}");
}

/// Whether the broker will answer the same to the same request, whenever it is repeated.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::Authentication
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::InvalidArgument
            | Code::InvalidConfig
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::InvalidTransactionTimeout
            | Code::InvalidReplicationFactor
            | Code::InvalidPartitions
            | Code::InvalidRequest
            | Code::InconsistentGroupProtocol
            | Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::PolicyViolation
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::NonEmptyGroup
    )
}

/// What to say beside a refusal that a permission ends; nothing beside others.
pub(super) fn permission(code: Code) -> &'static str {
    match code {
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => " (`consign topics acls` prints what must be permitted)",
        _ => "",
    }
}

/// What the caller of a plain request must do about an error.
pub(super) fn triage(error: &KafkaError) -> LogError {
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => {
            LogError::Fatal(error.to_string())
        }
        KafkaError::AdminOp(code) => triage_code(*code, error),
        other => match other.rdkafka_error_code() {
            Some(code) => triage_code(code, error),
            None => LogError::Away(error.to_string()),
        },
    }
}

fn triage_code(code: Code, error: &KafkaError) -> LogError {
    match code {
        Code::FencedInstanceId => LogError::InstanceFenced(error.to_string()),
        Code::UnknownTopic | Code::UnknownTopicOrPartition => {
            LogError::Fatal(format!("a topic is missing (`consign topics apply` creates them): {error}"))
        }
        Code::AutoOffsetReset | Code::OffsetOutOfRange => LogError::Fatal(format!(
            "a position lies outside its partition (`consign offsets repair` mends that): {error}"
        )),
        code if is_refusal(code) => LogError::Fatal(format!("{error}{}", permission(code))),
        _ => LogError::Away(error.to_string()),
    }
}

/// A list of partitions without offsets.
pub(super) fn partition_list(names: &TopicNames, partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for at in partitions {
        list.add_partition(&names.name(at.topic), at.partition);
    }
    list
}

/// A list of partitions with the offsets to read next.
pub(super) fn position_list(names: &TopicNames, positions: &[Position]) -> Result<TopicPartitionList, LogError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (at, offset) in positions {
        list.add_partition_offset(&names.name(at.topic), at.partition, Offset::Offset(*offset))
            .map_err(|e| LogError::Fatal(format!("{at} can't be at {offset}: {e}")))?;
    }
    Ok(list)
}

/// The partitions of a list that are of our topics.
pub(super) fn partitions_of(names: &TopicNames, list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements()
        .iter()
        .filter_map(|e| Some(TopicPartition { topic: names.topic(e.topic())?, partition: e.partition() }))
        .collect()
}

/// Where the offsets of partitions begin and end, as far as this consumer's isolation lets it see.
pub(super) fn ends_seen_by<C: rdkafka::consumer::ConsumerContext>(
    consumer: &BaseConsumer<C>,
    names: &TopicNames,
    missing: &Missing,
    partitions: &[TopicPartition],
) -> Result<Vec<Ends>, LogError> {
    let deadline = Instant::now() + REQUEST;
    partitions.iter().map(|at| ends_of(consumer, &names.name(at.topic), missing, *at, deadline)).collect()
}

/// Asks again while the partition has no leader, as between its creation and its first election, or isn't known yet, as to a
/// broker that has just started.
fn ends_of<C: rdkafka::consumer::ConsumerContext>(
    consumer: &BaseConsumer<C>,
    name: &str,
    missing: &Missing,
    at: TopicPartition,
    deadline: Instant,
) -> Result<Ends, LogError> {
    loop {
        let error = match consumer.fetch_watermarks(name, at.partition, REQUEST) {
            Ok((low, high)) => {
                missing.found(at);
                return Ok(Ends { low, high });
            }
            Err(error) if missing.doubts(at, &error) => LogError::Away(error.to_string()),
            Err(error) => triage(&error),
        };
        match error {
            LogError::Away(_) if Instant::now() < deadline => std::thread::sleep(ASK_AGAIN),
            error => return Err(with_place(error, at)),
        }
    }
}

fn with_place(error: LogError, at: TopicPartition) -> LogError {
    match error {
        LogError::Fatal(text) => LogError::Fatal(format!("{at}: {text}")),
        LogError::Away(text) => LogError::Away(format!("{at}: {text}")),
        other => other,
    }
}

/// The record of a message, or `None` where it is of no topic of ours.
pub(super) fn record(names: &TopicNames, message: &BorrowedMessage<'_>) -> Option<Record> {
    Some(Record {
        at: TopicPartition { topic: names.topic(message.topic())?, partition: message.partition() },
        offset: message.offset(),
        timestamp: Timestamp(message.timestamp().to_millis().unwrap_or(0)),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers(message),
    })
}

fn headers(message: &BorrowedMessage<'_>) -> Headers {
    let Some(found) = message.headers() else { return Vec::new() };
    (0..found.count())
        .filter_map(|place| {
            // rdkafka panics on a header whose name isn't UTF-8. Anyone may produce one to an inbox: leave it out.
            catch_unwind(AssertUnwindSafe(|| found.get(place)))
                .ok()
                .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
        })
        .collect()
}

/// Headers as rdkafka wants them; none where there are none.
pub(super) fn owned_headers(headers: &Headers) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let all = OwnedHeaders::new_with_capacity(headers.len());
    Some(headers.iter().fold(all, |all, (name, value)| all.insert(Header { key: name, value: Some(value) })))
}
