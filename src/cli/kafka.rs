//! How the commands that work on the cluster itself find broker and registry.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::runtime::Handle;

use super::exit::Exit;
use crate::config::Config;
use crate::log::kafka::{KafkaCluster, KafkaOptions, TopicOptions, TopicSpec, plan_topics};
use crate::log::{Cluster, LogError};
use crate::record::registry::{HttpRegistry, RegistryAuth, RegistryError};
use crate::record::{Codec, Timestamp, TopicNames};
use crate::transport::{Clock, wall_clock};

/// Where broker and registry are.
#[derive(Debug, Clone, Default, Args)]
pub struct ConnectionArgs {
    /// The configuration file; `config/consign.toml` in the sources shows every key.
    #[arg(long, env = "CONSIGN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Brokers, as host:port,host:port; wins over the configuration.
    #[arg(long, env = "KAFKA_BOOTSTRAP", value_name = "BOOTSTRAP")]
    pub kafka: Option<String>,
    /// The schema registry; wins over the configuration.
    #[arg(long, env = "SCHEMA_REGISTRY_URL", value_name = "URL")]
    pub registry: Option<String>,
    /// Prefix of topics, group and transactional ids; wins over the configuration.
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
}

/// Why a command can't reach its cluster.
#[derive(Debug)]
pub struct Unconnected {
    /// How the command ends.
    pub exit: Exit,
    /// The cause in words.
    pub text: String,
}

impl Unconnected {
    /// Says why on standard error.
    pub fn tell(&self) -> Exit {
        eprintln!("consign: {}", self.text);
        self.exit
    }
}

impl From<LogError> for Unconnected {
    fn from(error: LogError) -> Self {
        Self { exit: exit_of(&error), text: error.to_string() }
    }
}

impl From<RegistryError> for Unconnected {
    fn from(error: RegistryError) -> Self {
        let exit = match error {
            RegistryError::Away(_) => Exit::Unreachable,
            RegistryError::Refused(_) => Exit::Usage,
        };
        Self { exit, text: error.to_string() }
    }
}

/// How a command ends for an error of the log.
pub fn exit_of(error: &LogError) -> Exit {
    match error {
        LogError::Fatal(_) | LogError::TooLong(_) | LogError::InstanceFenced(_) => Exit::Usage,
        _ => Exit::Unreachable,
    }
}

/// Broker and registry of a configuration.
pub struct Connection {
    /// The configuration.
    pub config: Config,
    /// The broker.
    pub cluster: Arc<KafkaCluster>,
    /// The registry.
    pub registry: Arc<HttpRegistry>,
    /// Encodes and decodes records.
    pub codec: Arc<Codec>,
    /// The topics' names.
    pub names: TopicNames,
    /// The wall clock.
    pub clock: Clock,
}

impl ConnectionArgs {
    /// The configuration, with the options over it.
    pub fn config(&self) -> Result<Config, Unconnected> {
        let usage = |text: String| Unconnected { exit: Exit::Usage, text };
        let text = match &self.config {
            None => None,
            Some(path) => {
                Some(std::fs::read_to_string(path).map_err(|e| usage(format!("CG400: {}: {e}", path.display())))?)
            }
        };
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let environment = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut config = Config::load(text.as_deref(), environment).map_err(|e| usage(e.to_string()))?;
        let over = |place: &mut String, option: &Option<String>| {
            if let Some(value) = option {
                place.clone_from(value);
            }
        };
        over(&mut config.kafka.bootstrap, &self.kafka);
        over(&mut config.kafka.prefix, &self.prefix);
        over(&mut config.registry.url, &self.registry);
        Ok(config)
    }
}

impl Connection {
    /// Prepares the clients. Whether anything answers shows at the first question. Must be called inside a tokio runtime.
    pub fn open(args: &ConnectionArgs) -> Result<Self, Unconnected> {
        Self::with(args.config()?)
    }

    /// As [`Connection::open`], with a configuration at hand.
    pub fn with(config: Config) -> Result<Self, Unconnected> {
        let names = TopicNames::new(&config.kafka.prefix);
        let mut options =
            KafkaOptions::new(&config.kafka.bootstrap, names.clone(), format!("{}engine", config.kafka.prefix));
        options.client.clone_from(&config.kafka.client);
        options.session_timeout = config.kafka.session_timeout;
        options.transaction_timeout = config.kafka.transaction_timeout;
        let registry =
            Arc::new(HttpRegistry::new(&config.registry.url, names.clone(), RegistryAuth::None, Handle::current())?);
        let codec = Arc::new(Codec::new(Arc::clone(&registry) as Arc<_>));
        let cluster = Arc::new(KafkaCluster::new(options)?);
        Ok(Self { config, cluster, registry, codec, names, clock: wall_clock() })
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The topics as they must be.
    pub fn topics(&self) -> Vec<TopicSpec> {
        plan_topics(&TopicOptions {
            names: self.names.clone(),
            partitions: self.config.topics.home_partitions,
            replication: self.config.topics.replication,
            retention: self.config.topics.retention,
        })
    }

    /// The broker as a cluster of the log.
    pub fn as_cluster(&self) -> Arc<dyn Cluster> {
        Arc::clone(&self.cluster) as Arc<dyn Cluster>
    }
}
