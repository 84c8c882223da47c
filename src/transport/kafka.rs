//! The Kafka transport: one record for each attempt, on a topic of this or another cluster, by an idempotent producer.
//!
//! The record has the planned key and bytes, and the headers that a request over HTTP would have. It counts as delivered once
//! every in-sync replica has it. The client repeats it by itself, under one sequence number, until shortly before the
//! attempt's time is up; so the same record is in the log at most once for each attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::Exchange;

/// Producers that are kept: one for each cluster and time-out.
const MAX_PRODUCERS: usize = 64;
/// How long a topic that isn't known may take to become known, in milliseconds.
const TOPIC_WITHIN_MS: &str = "2000";
/// The shortest time that a record is tried for.
const SHORTEST: Duration = Duration::from_millis(100);

/// Settings of a Kafka client.
pub type ClientSettings = BTreeMap<String, String>;

/// Producers by cluster and time-out.
type Producers = BTreeMap<(Option<String>, Duration), FutureProducer>;

/// Where records may go.
#[derive(Clone, Default)]
pub struct KafkaTargets {
    /// The cluster of the log; none where there is no broker.
    own: Option<ClientSettings>,
    /// Other clusters by name.
    clusters: BTreeMap<String, ClientSettings>,
    /// Topics of the log's cluster that only consign writes.
    closed: BTreeSet<String>,
    producers: Arc<Mutex<Producers>>,
}

/// A record to be written.
pub(super) struct Written<'r> {
    /// The cluster; none for that of the log.
    pub(super) cluster: Option<&'r str>,
    pub(super) topic: &'r str,
    pub(super) key: &'r str,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: &'r [u8],
    /// The attempt's time.
    pub(super) within: Duration,
}

impl KafkaTargets {
    /// Takes the client settings of the log's cluster and of others by name, `bootstrap.servers` among them, and the topics
    /// that no target may name.
    pub fn new(
        own: Option<ClientSettings>,
        clusters: BTreeMap<String, ClientSettings>,
        closed: BTreeSet<String>,
    ) -> Self {
        Self { own, clusters, closed, producers: Arc::default() }
    }

    /// Writes a record, if `pass` lets it, and waits for its delivery.
    pub(super) async fn write(&self, written: Written<'_>, pass: impl FnOnce() -> bool) -> Result<Exchange, ()> {
        let unsent = |code, detail: String| Ok(Exchange::NotSent { code, detail });
        if written.cluster.is_none() && self.closed.contains(written.topic) {
            let detail = format!("the topic {} is consign's own", written.topic);
            return unsent("egress_refused", detail);
        }
        let producer = match self.producer(written.cluster, written.within) {
            Ok(producer) => producer,
            Err(detail) => return unsent("request_invalid", detail),
        };
        let headers = OwnedHeaders::new_with_capacity(written.headers.len());
        let headers = written
            .headers
            .iter()
            .fold(headers, |all, (name, value)| all.insert(Header { key: name, value: Some(value) }));
        let record = FutureRecord::to(written.topic).key(written.key).payload(written.body).headers(headers);
        if !pass() {
            return Err(());
        }
        Ok(match producer.send(record, Duration::ZERO).await {
            Ok(delivery) => {
                Exchange::Delivered { detail: format!("partition {}, offset {}", delivery.partition, delivery.offset) }
            }
            Err((error, _)) => {
                if producer.client().fatal_error().is_some() {
                    self.forget();
                }
                undelivered(&error)
            }
        })
    }

    fn forget(&self) {
        self.producers.lock().expect("nothing panics while it is held").clear();
    }

    fn producer(&self, cluster: Option<&str>, within: Duration) -> Result<FutureProducer, String> {
        let settings = match cluster {
            None => self.own.as_ref().ok_or("this process has no Kafka cluster of its own")?,
            Some(name) => self.clusters.get(name).ok_or(format!("the configuration has no [clusters.{name}]"))?,
        };
        // The client's verdict comes before the attempt's time is up.
        let patience = (within * 9 / 10).max(SHORTEST);
        let place = (cluster.map(str::to_owned), patience);
        let mut producers = self.producers.lock().expect("nothing panics while it is held");
        if let Some(known) = producers.get(&place) {
            return Ok(known.clone());
        }
        let mut config = ClientConfig::new();
        config.set("client.id", "consign").set("linger.ms", "5").set("partitioner", "murmur2_random");
        for (name, value) in settings {
            config.set(name, value);
        }
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", patience.as_millis().to_string());
        config.set("topic.metadata.propagation.max.ms", TOPIC_WITHIN_MS);
        // The error may repeat a setting, and a setting may be a password.
        let new: FutureProducer = config.create().map_err(|_| "the cluster's client settings can't be used")?;
        if producers.len() >= MAX_PRODUCERS {
            producers.clear();
        }
        producers.insert(place, new.clone());
        Ok(new)
    }
}

/// What a failed delivery means: only what the broker or the client refused is known not to be in the log.
fn undelivered(error: &KafkaError) -> Exchange {
    let detail = error.to_string();
    match error.rdkafka_error_code() {
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication,
        ) => Exchange::Refused { code: "credentials_refused", detail },
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::InvalidTopic) => {
            Exchange::NotSent { code: "topic_unknown", detail }
        }
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::InvalidRecord | Code::PolicyViolation) => {
            Exchange::NotSent { code: "record_refused", detail }
        }
        Some(Code::QueueFull) => Exchange::NotSent { code: "queue_full", detail },
        Some(Code::MessageTimedOut) => Exchange::Lost { code: "timeout", detail },
        _ => Exchange::Lost { code: "undelivered", detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(topic: &str) -> Written<'_> {
        let within = Duration::from_secs(1);
        Written { cluster: None, topic, key: "k", headers: Vec::new(), body: b"{}", within }
    }

    #[tokio::test]
    async fn our_own_topics_and_unknown_clusters_get_nothing() {
        let own = ClientSettings::from([("bootstrap.servers".into(), "127.0.0.1:1".into())]);
        let closed = BTreeSet::from(["consign.outcomes".to_owned()]);
        let targets = KafkaTargets::new(Some(own), BTreeMap::new(), closed);
        let elsewhere = Written { cluster: Some("other"), ..written("t") };
        for (record, expected) in [(written("consign.outcomes"), "egress_refused"), (elsewhere, "request_invalid")] {
            let exchange = targets.write(record, || panic!("it isn't asked")).await;
            assert!(matches!(exchange, Ok(Exchange::NotSent { code, .. }) if code == expected), "{exchange:?}");
        }
        let none = KafkaTargets::default().write(written("t"), || panic!("it isn't asked")).await;
        assert!(matches!(none, Ok(Exchange::NotSent { code: "request_invalid", .. })), "{none:?}");
        assert_eq!(targets.write(written("t"), || false).await, Err(()));
    }

    #[test]
    fn only_what_was_refused_is_known_not_to_be_there() {
        let of = |code| undelivered(&KafkaError::MessageProduction(code));
        assert!(matches!(of(Code::TopicAuthorizationFailed), Exchange::Refused { .. }));
        assert!(matches!(of(Code::UnknownTopic), Exchange::NotSent { code: "topic_unknown", .. }));
        assert!(matches!(of(Code::MessageSizeTooLarge), Exchange::NotSent { code: "record_refused", .. }));
        assert!(matches!(of(Code::MessageTimedOut), Exchange::Lost { code: "timeout", .. }));
        assert!(matches!(of(Code::BrokerTransportFailure), Exchange::Lost { code: "undelivered", .. }));
    }
}
