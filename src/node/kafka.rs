//! The parts of a process on a broker and a registry.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::embedded::Shared;
use crate::log::kafka::{KafkaCluster, KafkaOptions, TopicOptions, plan_topics};
use crate::record::registry::{HttpRegistry, RegistryAuth};
use crate::record::{Codec, TopicNames};
use crate::transport::{AckTokens, Egress, Secrets, wall_clock};

/// Home partitions of the topics that [`fresh`] creates.
const FRESH_PARTITIONS: i32 = 4;

/// Creates topics and registers schemas under a prefix of their own, on a single broker: for the demo. Must be called
/// inside a multi-threaded tokio runtime.
pub fn fresh(bootstrap: &str, registry: &str, prefix: &str, tokens: Arc<AckTokens>) -> Result<Shared, String> {
    let names = TopicNames::new(prefix);
    let clock = wall_clock();
    let registry = HttpRegistry::new(registry, names.clone(), RegistryAuth::None, Handle::current());
    let registry = registry.map_err(|e| e.to_string())?;
    let cluster = KafkaCluster::new(KafkaOptions::new(bootstrap, names.clone(), format!("{prefix}engine")));
    let cluster = cluster.map_err(|e| e.to_string())?;
    // Both wait for servers in plain calls.
    let (cluster, codec) = tokio::task::block_in_place(|| {
        registry.register().map_err(|e| e.to_string())?;
        let codec = Codec::new(Arc::new(registry));
        let specs = plan_topics(&TopicOptions {
            names: names.clone(),
            partitions: FRESH_PARTITIONS,
            replication: 1,
            retention: std::time::Duration::from_secs(86_400),
        });
        let by = ("consign", "the demo begins", clock());
        cluster.apply(&specs, &codec, by, false).map_err(|e| e.to_string())?;
        Ok::<_, String>((cluster, codec))
    })?;
    let (egress, secrets) = (Egress::with_loopback(), Secrets::default());
    Ok(Shared { cluster: Arc::new(cluster), codec: Arc::new(codec), names, tokens, clock, egress, secrets })
}
