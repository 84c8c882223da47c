//! How the commands that work on the cluster itself find broker and registry.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Handle;

use super::exit::Exit;
use super::failure::Failure;
use super::outbound::client_settings;
use super::reach::{self, Hearer, Waiting};
use crate::config::Config;
use crate::log::kafka::{Difference, KafkaCluster, KafkaOptions, TopicOptions, TopicSpec, plan_topics};
use crate::log::{Cluster, LogError};
use crate::record::registry::{HttpRegistry, RegistryError};
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
    pub fn config(&self) -> Result<Config, Failure> {
        let file = match &self.config {
            None => None,
            Some(path) => Some(std::fs::read_to_string(path).map_err(|e| self.faulty(&e.to_string()))?),
        };
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let environment = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut config = Config::load(file.as_deref(), environment).map_err(|e| self.faulty(&e.0))?;
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

    fn faulty(&self, why: &str) -> Failure {
        let text = match &self.config {
            Some(path) => format!("{}: {why}", path.display()),
            None => why.to_owned(),
        };
        Failure::coded(Exit::Usage, "CG400", text).hint("config/consign.toml shows every key with its default")
    }
}

impl Connection {
    /// Prepares the clients, once something listens where the broker should be. Must be called inside a multi-threaded
    /// tokio runtime.
    pub fn open(args: &ConnectionArgs) -> Result<Self, Failure> {
        Self::with(args.config()?, Duration::ZERO)
    }

    /// As [`Connection::open`], with a configuration at hand and patience for the broker to come.
    pub fn with(config: Config, patience: Duration) -> Result<Self, Failure> {
        let bootstrap = &config.kafka.bootstrap;
        tokio::task::block_in_place(|| reach::someone_listens(bootstrap, patience)).map_err(|why| {
            Failure::coded(Exit::Unreachable, "CG403", format!("the broker can't be reached: {why}"))
                .hint("look at the broker, and at kafka.bootstrap (--kafka, KAFKA_BOOTSTRAP)")
        })?;
        Self::unasked(config)
    }

    /// The clients, without asking whether anything listens.
    pub fn unasked(config: Config) -> Result<Self, Failure> {
        let refused = |text: String| Failure::coded(Exit::Usage, "CG400", text);
        let names = TopicNames::new(&config.kafka.prefix);
        let auth = config.registry.auth().map_err(|e| refused(e.0))?;
        let registry = HttpRegistry::new(&config.registry.url, names.clone(), auth, Handle::current());
        let registry = Arc::new(registry.map_err(|e| refused(e.to_string()))?);
        let codec = Arc::new(Codec::new(Arc::clone(&registry) as Arc<_>));
        let options = kafka_options(&config).map_err(refused)?;
        let cluster = Arc::new(KafkaCluster::new(options).map_err(|e| refused(format!("[kafka]: {e}")))?);
        Ok(Self { config, cluster, registry, codec, names, clock: wall_clock() })
    }

    /// Asks broker and registry, which wait for each other's ends in plain calls; tells whoever waits long.
    pub fn ask<T>(
        &self,
        hearer: impl Into<Hearer>,
        question: impl FnOnce(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let what = format!("the broker {} or the registry {}", self.config.kafka.bootstrap, self.config.registry.url);
        let _waiting = Waiting::begin(hearer, what);
        tokio::task::block_in_place(|| question(self))
    }

    /// The registry answers, and has this version's schemas: what reading and writing of records rests on.
    pub fn prepare(&self) -> Result<(), Failure> {
        self.codec.prepare().map_err(|e| self.registry_failure(&e))
    }

    /// What an error of the log means for a person.
    pub fn log_failure(&self, error: &LogError) -> Failure {
        let bootstrap = &self.config.kafka.bootstrap;
        match error {
            LogError::Fatal(_) | LogError::OutOfRange(_) | LogError::TooLong(_) | LogError::InstanceFenced(_) => {
                Failure::coded(Exit::Usage, "CG406", format!("the broker {bootstrap} refuses: {error}")).hint(
                    "look at topics, permissions (consign topics acls) and [kafka.client]; repeating it will not help",
                )
            }
            LogError::Away(_) => {
                let text = format!("the broker {bootstrap} accepts connections, but doesn't answer: {error}");
                Failure::coded(Exit::Unreachable, "CG403", text).hint(
                    "is it a Kafka broker, with the protocol that [kafka.client] says? Do its advertised listeners lead \
                     here? Then repeat it",
                )
            }
            _ => Failure::coded(Exit::Unreachable, "CG403", format!("the broker {bootstrap}: {error}"))
                .hint("look at what there is, then repeat it"),
        }
    }

    /// What an error of the registry means for a person.
    pub fn registry_failure(&self, error: &RegistryError) -> Failure {
        let url = &self.config.registry.url;
        match error {
            RegistryError::Away(why) => Failure::coded(
                Exit::Unreachable,
                "CG404",
                format!("the schema registry {url} gives no usable answer: {why}"),
            )
            .hint("look at the registry, and at registry.url (--registry, SCHEMA_REGISTRY_URL)"),
            RegistryError::Refused(why) => {
                Failure::coded(Exit::Usage, "CG407", format!("the schema registry {url}: {why}"))
                    .hint("consign schemas check says what differs, consign schemas register what is missing")
            }
        }
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

    /// Every difference between the topics, the number of home partitions included, and what they must be.
    pub fn differences(&self, specs: &[TopicSpec]) -> Result<Vec<Difference>, Failure> {
        let mut all = self.cluster.check(specs).map_err(|e| self.log_failure(&e))?;
        match self.cluster.check_home(specs, &self.codec) {
            Ok(home) => all.extend(home),
            // The record is Avro: without the registry nobody can read it.
            Err(error) => return Err(self.prepare().err().unwrap_or_else(|| self.log_failure(&error))),
        }
        Ok(all)
    }

    /// The broker as a cluster of the log.
    pub fn as_cluster(&self) -> Arc<dyn Cluster> {
        Arc::clone(&self.cluster) as Arc<dyn Cluster>
    }
}

/// What the clients of the broker are told; the error names a secret that isn't there.
pub(super) fn kafka_options(config: &Config) -> Result<KafkaOptions, String> {
    let kafka = &config.kafka;
    let names = TopicNames::new(&kafka.prefix);
    Ok(KafkaOptions {
        client: client_settings(config, "kafka.client", &kafka.client)?,
        session_timeout: kafka.session_timeout,
        transaction_timeout: kafka.transaction_timeout,
        ..KafkaOptions::new(&kafka.bootstrap, names, group(config))
    })
}

/// The consumer group of the workers.
pub(super) fn group(config: &Config) -> String {
    format!("{}engine", config.kafka.prefix)
}
