//! The whole product on the in-process log: what `demo` and `dev` run, and what fast tests run on.

use std::sync::Arc;
use std::time::Duration;

use super::controls::{ApplyError, Said, apply_routing, fix_home_partitions};
use super::{Node, NodeParts, StartError};
use crate::gateway::{Access, CallbackLimits, CallerLimits};
use crate::log::Cluster;
use crate::log::memory::{MemoryCluster, MemoryOptions};
use crate::metrics::Metrics;
use crate::record::registry::LocalRegistry;
use crate::record::{Codec, TopicNames};
use crate::routing::Sources;
use crate::transport::{AckTokens, Clock, Egress, KafkaTargets, Places, Secrets};

/// Home partitions of the in-process log.
const HOME_PARTITIONS: i32 = 4;

/// Partitions of its acks topic.
const ACKS_PARTITIONS: i32 = 2;

/// What the processes on one log share.
#[derive(Clone)]
pub struct Shared {
    /// The log.
    pub cluster: Arc<dyn Cluster>,
    /// Encodes and decodes records.
    pub codec: Arc<Codec>,
    /// The topics' names.
    pub names: TopicNames,
    /// Signs and checks ack tokens.
    pub tokens: Arc<AckTokens>,
    /// The wall clock.
    pub clock: Clock,
    /// Where requests may go.
    pub egress: Egress,
    /// The secrets that plans name.
    pub secrets: Secrets,
    /// Where records of Kafka targets may go.
    pub kafka: KafkaTargets,
    /// Where announced files may lie.
    pub places: Places,
}

/// Why the embedded product can't start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The routing document can't come into force.
    #[error(transparent)]
    Routing(#[from] ApplyError),
    /// The process can't start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A log in this process, with nothing on it but the number of home partitions; gives its handle for tests too.
pub fn in_process(tokens: Arc<AckTokens>, clock: Clock) -> Result<(Shared, MemoryCluster), EmbeddedError> {
    let cluster = MemoryCluster::new(MemoryOptions::new(HOME_PARTITIONS, ACKS_PARTITIONS, Arc::clone(&clock)));
    let shared = Shared {
        cluster: Arc::new(cluster.clone()),
        codec: Arc::new(Codec::new(Arc::new(LocalRegistry))),
        names: TopicNames::new("consign."),
        tokens,
        clock,
        egress: Egress::with_loopback(),
        secrets: Secrets::default(),
        kafka: KafkaTargets::default(),
        places: Places::default(),
    };
    let said = Said { actor: "consign", reason: "an in-process log begins", at: (shared.clock)() };
    fix_home_partitions(shared.cluster.as_ref(), &shared.codec, HOME_PARTITIONS, said).map_err(StartError::from)?;
    Ok((shared, cluster))
}

impl Shared {
    /// Brings a routing document into force.
    pub fn apply(&self, sources: &Sources, reason: &str) -> Result<super::controls::Applied, ApplyError> {
        let said = Said { actor: "consign", reason, at: (self.clock)() };
        apply_routing(self.cluster.as_ref(), &self.codec, sources, said, None)
    }

    /// Starts a process with workers and a gateway on a free loopback port, or on `port`.
    pub async fn start(&self, instance: &str, workers: usize, port: u16) -> Result<Node, StartError> {
        Node::start(NodeParts {
            cluster: Arc::clone(&self.cluster),
            codec: Arc::clone(&self.codec),
            names: self.names.clone(),
            tokens: Arc::clone(&self.tokens),
            metrics: Arc::new(Metrics::default()),
            clock: Arc::clone(&self.clock),
            instance: instance.to_owned(),
            workers,
            retention: Duration::from_secs(30 * 86_400),
            max_clock_skew: Duration::from_secs(2),
            stop_within: Duration::from_secs(15),
            store: super::StoreParts::default(),
            gateway: Some((([127, 0, 0, 1], port).into(), Access::Loopback)),
            gateway_tls: None,
            callbacks: CallbackLimits::default(),
            callers: CallerLimits::default(),
            observing: None,
            egress: self.egress.clone(),
            secrets: self.secrets.clone(),
            public_url: None,
            kafka: self.kafka.clone(),
            places: self.places.clone(),
        })
        .await
    }
}
