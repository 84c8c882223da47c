//! The Kafka transport: one record for each attempt, on a topic of this or another cluster, by an idempotent producer.
//!
//! The record has the planned key and bytes, and the headers that a request over HTTP would have. It counts as delivered once
//! every in-sync replica has it. The client repeats it by itself, under one sequence number, until shortly before the
//! attempt's time is up, and not beyond the time to send by: so the same record is in the log at most once for each attempt, and
//! doesn't leave late.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::{Header, OwnedHeaders};

use super::{Egress, Exchange};
use crate::record::TargetName;
use cluster::Clusters;
use delivery::{Deliveries, Producer, Undelivered};

mod cluster;
mod delivery;

/// Producers that are kept: one for each cluster and time-out.
const MAX_PRODUCERS: usize = 64;
/// How long a topic that isn't known may take to become known, in milliseconds.
const TOPIC_WITHIN_MS: &str = "2000";
/// The shortest time that a record is tried for.
const SHORTEST: Duration = Duration::from_millis(100);

/// Settings of a Kafka client.
pub type ClientSettings = BTreeMap<String, String>;

/// Producers by cluster and time-out.
type Producers = BTreeMap<(Option<String>, Duration), Producer>;

/// Where records may go.
#[derive(Clone, Default)]
pub struct KafkaTargets {
    /// The cluster of the log; none where there is no broker.
    own: Option<ClientSettings>,
    /// Other clusters by name.
    clusters: BTreeMap<String, ClientSettings>,
    /// Topics of the log's cluster that only consign writes.
    closed: BTreeSet<String>,
    /// Takes the records where the log is in this process, and so has no broker.
    kept: Option<KeptRecords>,
    producers: Arc<Mutex<Producers>>,
    known: Clusters,
}

/// A record of a target that was written where there is no broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRecord {
    /// Its topic.
    pub topic: String,
    /// Its key.
    pub key: String,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its value.
    pub body: Vec<u8>,
}

/// The newest records of targets in this process, oldest first.
pub type KeptRecords = Arc<Mutex<VecDeque<KeptRecord>>>;

/// Records that are kept in this process.
const MAX_KEPT: usize = 10_000;

/// A record to be written.
pub(super) struct Written<'r> {
    pub(super) target: &'r TargetName,
    /// The cluster; none for that of the log.
    pub(super) cluster: Option<&'r str>,
    pub(super) topic: &'r str,
    pub(super) key: &'r str,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: &'r [u8],
    /// The attempt's time.
    pub(super) within: Duration,
    /// What is left of the time to send it by.
    pub(super) left: Duration,
}

impl KafkaTargets {
    /// Takes the client settings of the log's cluster and of others by name, `bootstrap.servers` among them, and the topics
    /// that no target may name.
    pub fn new(
        own: Option<ClientSettings>,
        clusters: BTreeMap<String, ClientSettings>,
        closed: BTreeSet<String>,
    ) -> Self {
        Self { own, clusters, closed, kept: None, producers: Arc::default(), known: Clusters::default() }
    }

    /// Keeps the records of the log's cluster in this process, for a log that is in this process; the newest 10,000 of them.
    pub fn in_process() -> (Self, KeptRecords) {
        let kept = KeptRecords::default();
        (Self { kept: Some(Arc::clone(&kept)), ..Self::default() }, kept)
    }

    /// Writes a record, if `pass` lets it, and waits for its delivery.
    pub(super) async fn write(
        &self,
        written: Written<'_>,
        egress: &Egress,
        pass: impl FnOnce() -> bool,
    ) -> Result<Exchange, ()> {
        if let Some(kept) = self.kept.as_ref().filter(|_| written.cluster.is_none()) {
            return if pass() { Ok(keep(kept, written)) } else { Err(()) };
        }
        let producer = match self.admitted(&written, egress).await {
            Ok(producer) => producer,
            Err(unsent) => return Ok(unsent),
        };
        let headers = OwnedHeaders::new_with_capacity(written.headers.len());
        let headers = written
            .headers
            .iter()
            .fold(headers, |all, (name, value)| all.insert(Header { key: name, value: Some(value) }));
        if !pass() {
            return Err(());
        }
        Ok(match delivery::write(&producer, written.topic, written.key, written.body, headers).await {
            Ok((partition, offset)) => {
                Exchange::Delivered { detail: format!("partition {partition}, offset {offset}") }
            }
            Err(failed) => {
                if delivery::is_broken(&producer, &failed) {
                    self.forget(&producer);
                }
                undelivered(&failed)
            }
        })
    }

    /// The producer for a record that may go where it is meant to; otherwise why it didn't leave.
    async fn admitted(&self, written: &Written<'_>, egress: &Egress) -> Result<Producer, Exchange> {
        let is_closed = self.closed.contains(written.topic);
        let closed = || {
            let detail = format!("the topic {} is consign's own", written.topic);
            Exchange::NotSent { code: "egress_refused", detail }
        };
        let invalid = |detail| Exchange::NotSent { code: "request_invalid", detail };
        if written.cluster.is_none() && is_closed {
            return Err(closed());
        }
        // The client's verdict comes before the attempt's time is up, and it sends nothing that is late.
        let mut patience = (written.within * 9 / 10).max(SHORTEST);
        while patience > written.left {
            patience /= 2;
            if patience < SHORTEST {
                let detail = format!("less than {SHORTEST:?} were left to send it by");
                return Err(Exchange::NotSent { code: "dropped_unsent", detail });
            }
        }
        let producer = self.producer(written.cluster, patience).map_err(invalid)?;
        let Some((name, settings)) = written.cluster.and_then(|name| self.clusters.get_key_value(name)) else {
            return Ok(producer);
        };
        let own = self.own.as_ref().and_then(|_| self.producer(None, patience).ok());
        let of = ((name.as_str(), settings), (&producer, own.as_ref()), (egress, written.target));
        let found = self.known.admit(of.0, of.1, of.2, written.left).await.inspect_err(|unsent| {
            // A client that isn't answered may have lost its brokers for good.
            if matches!(unsent, Exchange::NotSent { code: "not_taken", .. }) {
                self.forget(&producer);
                own.iter().for_each(|own| self.forget(own));
            }
        })?;
        if found.is_own && is_closed { Err(closed()) } else { Ok(producer) }
    }

    fn forget(&self, producer: &Producer) {
        let mut producers = self.producers.lock().expect("nothing panics while it is held");
        producers.retain(|_, kept| !delivery::is_same(kept, producer));
    }

    fn producer(&self, cluster: Option<&str>, patience: Duration) -> Result<Producer, String> {
        let settings = match cluster {
            None => self.own.as_ref().ok_or("this process has no Kafka cluster of its own")?,
            Some(name) => self.clusters.get(name).ok_or(format!("the configuration has no [clusters.{name}]"))?,
        };
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
        let new = Producer::from_config_and_context(&config, Deliveries::default())
            .map_err(|_| "the cluster's client settings can't be used")?;
        if producers.len() >= MAX_PRODUCERS {
            producers.clear();
        }
        producers.insert(place, new.clone());
        Ok(new)
    }
}

fn keep(kept: &KeptRecords, written: Written<'_>) -> Exchange {
    let Written { topic, key, headers, body, .. } = written;
    let record = KeptRecord { topic: topic.to_owned(), key: key.to_owned(), headers, body: body.to_vec() };
    let mut kept = kept.lock().expect("nothing panics while it is held");
    if kept.len() >= MAX_KEPT {
        kept.pop_front();
    }
    kept.push_back(record);
    Exchange::Delivered { detail: "in this process".into() }
}

/// What a failed delivery means. What a broker may have is unknown, whatever was said of it last.
fn undelivered(failed: &Undelivered) -> Exchange {
    let (detail, code) = (failed.error.to_string(), failed.error.rdkafka_error_code());
    if !failed.is_absent {
        let code = if code == Some(Code::MessageTimedOut) { "timeout" } else { "undelivered" };
        return Exchange::Lost { code, detail };
    }
    match code {
        _ if failed.is_refused => Exchange::Refused { code: "credentials_refused", detail },
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
        _ => Exchange::NotSent { code: "not_taken", detail },
    }
}

#[cfg(test)]
mod tests;
