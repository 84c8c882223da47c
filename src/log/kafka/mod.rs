//! The log on Kafka.
//!
//! Everything here is driven by plain calls on the caller's thread; librdkafka's own threads do the rest. Nothing
//! reaches into librdkafka past rdkafka's safe interface, but for one function that is left out (`leader_hints`).

mod acls;
mod admin;
mod appender;
mod aside;
mod client;
mod contact;
mod controls;
mod gathering;
mod lags;
#[cfg(target_os = "linux")]
mod leader_hints;
mod missing;
mod offsets;
mod probe;
mod producer;
mod progress;
mod reader;
mod rebalance;
mod sending;
mod table;
mod targets;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;

pub use acls::{Grant, Principals, Resource, plan_grants};
pub use admin::Applied;
pub use offsets::Misplaced;
pub use table::{Difference, TopicOptions, TopicSpec, plan_topics};

use self::client::Tracing;
use self::probe::Probe;
use self::reader::KafkaReader;
use self::worker::KafkaLog;
use super::{Appender, Cluster, ControlsChange, Ends, Lag, Log, LogError, Reader, TopicPartition};
use crate::record::{Topic, TopicNames};

/// How to reach a cluster, and as whom.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// Brokers to begin with, as `host:port,host:port`.
    pub bootstrap: String,
    /// The names of consign's topics.
    pub names: TopicNames,
    /// The consumer group of the workers.
    pub group: String,
    /// Further librdkafka properties for every client, security above all. Those on which correctness rests (identities,
    /// isolation, commits, acks, the partitioner) can't be set here: consign's own win.
    pub client: BTreeMap<String, String>,
    /// After how long without a heartbeat a worker's partitions go to another. A worker is a static member: they stay
    /// its own for that long also when it leaves in good order, so that a restart moves nothing.
    pub session_timeout: Duration,
    /// How long a transaction may take, and with it a send. Should outlast an election of partition leaders.
    pub transaction_timeout: Duration,
    /// The wait before librdkafka repeats a request of a transaction, give or take a fifth. It says nothing of it, so a
    /// transaction of which something took that long is followed by a producer of a later epoch (decision 48).
    pub repeated_after: Duration,
}

impl KafkaOptions {
    /// Options with a session time-out of 10 s, a transaction time-out of 30 s, and 200 ms before a request is repeated.
    pub fn new(bootstrap: impl Into<String>, names: TopicNames, group: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            names,
            group: group.into(),
            client: BTreeMap::new(),
            session_timeout: Duration::from_secs(10),
            transaction_timeout: Duration::from_secs(30),
            repeated_after: Duration::from_millis(200),
        }
    }
}

/// [`Cluster`] on Kafka.
pub struct KafkaCluster {
    options: Arc<KafkaOptions>,
    probe: Arc<Probe>,
    /// Made when lags are asked for.
    observer: Mutex<Option<BaseConsumer<Tracing>>>,
}

impl KafkaCluster {
    /// Prepares the clients; asks nothing of the brokers yet. `Fatal` for settings that librdkafka doesn't take.
    pub fn new(options: KafkaOptions) -> Result<Self, LogError> {
        let probe = Arc::new(Probe::new(&options)?);
        Ok(Self { options: Arc::new(options), probe, observer: Mutex::default() })
    }

    /// The options it was made with.
    pub fn options(&self) -> &KafkaOptions {
        &self.options
    }

    /// The id of the cluster, where it says one within a few seconds.
    pub fn id(&self) -> Option<String> {
        self.probe.cluster_id()
    }

    /// Where the offsets of these partitions begin and end, open transactions included.
    pub fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<Ends>, LogError> {
        self.probe.ends(partitions)
    }
}

impl Cluster for KafkaCluster {
    fn worker(&self, identity: &str) -> Result<Box<dyn Log>, LogError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if identity.is_empty() || identity.len() > 200 || !identity.bytes().all(legal) {
            return Err(LogError::Fatal(format!("the identity {identity:?} is not 1 to 200 of [A-Za-z0-9._-]")));
        }
        if identity == controls::IDENTITY {
            return Err(LogError::Fatal(format!("the identity {identity:?} is that of changes to controls")));
        }
        Ok(Box::new(KafkaLog::open(Arc::clone(&self.options), Arc::clone(&self.probe), identity)?))
    }

    fn appender(&self) -> Result<Arc<dyn Appender>, LogError> {
        Ok(Arc::new(appender::KafkaAppender::open(Arc::clone(&self.options))?))
    }

    fn follow(&self, topics: &[Topic]) -> Result<Box<dyn Reader>, LogError> {
        let mut partitions = Vec::new();
        for topic in topics {
            partitions
                .extend((0..self.partitions(*topic)?).map(|partition| TopicPartition { topic: *topic, partition }));
        }
        self.reader(&partitions)
    }

    fn reader(&self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(KafkaReader::open(&self.options, &self.probe, partitions)?))
    }

    fn partitions(&self, topic: Topic) -> Result<i32, LogError> {
        self.probe.partition_count(topic)
    }

    fn lags(&self) -> Result<Vec<Lag>, LogError> {
        self.measure_lags()
    }

    fn change_controls(&self, change: &mut ControlsChange<'_>) -> Result<(), LogError> {
        controls::change(&self.options, &self.probe, change)
    }
}
