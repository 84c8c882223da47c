//! The runtime configuration: the embedded defaults, a file over them, the environment over both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::record::registry::{RegistryAuth, WRITE_VERSIONS};

mod faults;

/// The commented default configuration, with every key.
pub const DEFAULT: &str = include_str!("../config/consign.toml");

/// Why a configuration can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// One process's configuration; `config/consign.toml` says what each key means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The process itself.
    pub process: Process,
    /// The broker.
    pub kafka: Kafka,
    /// The topics.
    pub topics: Topics,
    /// The schema registry.
    pub registry: Registry,
    /// The record schemas.
    pub schemas: Schemas,
    /// The engine's local state.
    pub store: Store,
    /// The HTTP API.
    pub gateway: GatewayConfig,
    /// Where announced files may lie.
    pub content: ContentConfig,
    /// Ack tokens.
    pub acks: Acks,
    /// Where requests may go.
    pub egress: EgressConfig,
    /// Where secrets are.
    pub secrets: SecretsConfig,
    /// `[clusters.NAME]`: client settings of other Kafka clusters, by the name that a target uses.
    pub clusters: BTreeMap<String, BTreeMap<String, String>>,
    /// Logs.
    pub log: LogConfig,
}

/// `[process]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Stable name of the process.
    pub instance: String,
    /// Engine workers.
    pub workers: usize,
    /// What the process does.
    pub roles: Vec<Role>,
    /// A worker whose clock is off by more decides nothing and isn't ready.
    #[serde(deserialize_with = "duration")]
    pub max_clock_skew: Duration,
    /// How long a stop may take.
    #[serde(deserialize_with = "duration")]
    pub stop_within: Duration,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Workers and the transports.
    Engine,
    /// The HTTP API.
    Gateway,
}

/// `[kafka]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Addresses of brokers.
    pub bootstrap: String,
    /// Prefix of topics, group and transactional ids.
    pub prefix: String,
    /// Silence after which a worker loses its partitions.
    #[serde(deserialize_with = "duration")]
    pub session_timeout: Duration,
    /// After this the broker aborts an open transaction.
    #[serde(deserialize_with = "duration")]
    pub transaction_timeout: Duration,
    /// Settings passed to the client as they are.
    pub client: BTreeMap<String, String>,
}

/// `[topics]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    /// Home partitions.
    pub home_partitions: i32,
    /// Copies of each partition.
    pub replication: i32,
    /// For how long after a file has settled what announces it again is a repeat. Its records stay for twice this time.
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Directory below which each process has its own; empty for memory.
    pub dir: String,
    /// What open files may take in memory, in MiB.
    pub memory_budget_mib: usize,
}

/// `[registry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Base URL.
    pub url: String,
    /// User of basic authentication; none where empty.
    pub user: String,
    /// Environment variable with that user's password.
    pub password_env: String,
    /// Environment variable with a bearer token; none where empty.
    pub token_env: String,
}

impl Registry {
    /// How the registry is told who asks; reads the environment variables that are named.
    pub fn auth(&self) -> Result<RegistryAuth, ConfigError> {
        let secret = |name: &str| std::env::var(name).map_err(|e| ConfigError(format!("[registry]: {name}: {e}")));
        Ok(match (self.user.as_str(), self.token_env.as_str()) {
            ("", "") => RegistryAuth::None,
            ("", token) => RegistryAuth::Bearer(secret(token)?),
            (user, _) => RegistryAuth::Basic { user: user.to_owned(), password: secret(&self.password_env)? },
        })
    }
}

/// `[schemas]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schemas {
    /// The version of the record schemas in which this process writes.
    pub write_version: u32,
}

/// `[gateway]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address of the HTTP API.
    pub listen: SocketAddr,
    /// Callers.
    pub tokens: Vec<TokenConfig>,
    /// Its address as targets reach it; empty for where it listens.
    pub public_url: String,
    /// How many changes it takes.
    pub callers: GatewayCallers,
    /// How many callbacks it takes.
    pub callbacks: GatewayCallbacks,
    /// Its certificate.
    pub tls: GatewayTls,
}

/// `[gateway.callers]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayCallers {
    /// Of one caller in a second.
    pub per_second: u32,
}

/// `[gateway.callbacks]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayCallbacks {
    /// At once, all targets together.
    pub at_once: usize,
    /// At once of one target.
    pub of_target: usize,
    /// Of one target in a second.
    pub per_second: u32,
}

/// `[gateway.tls]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayTls {
    /// A file in PEM; empty for plain HTTP.
    pub certificate: String,
    /// A file in PEM.
    pub key: String,
}

/// `[[gateway.tokens]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Hex of the token's SHA-256.
    pub token_sha256: String,
    /// Who calls with it.
    pub actor: String,
    /// `viewer` or `operator`.
    pub role: String,
}

/// `[acks]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acks {
    /// Keys that sign ack tokens.
    pub keys: Vec<AckKey>,
}

/// `[[acks.keys]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckKey {
    /// Names the key in a token.
    pub id: String,
    /// Environment variable that holds the secret.
    #[serde(default)]
    pub secret_env: Option<String>,
    /// File that holds the secret.
    #[serde(default)]
    pub secret_file: Option<String>,
}

/// `[egress]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressConfig {
    /// Networks inside that every target may reach.
    pub allow_cidrs: Vec<String>,
    /// Whether plain HTTP may be used.
    pub allow_http: bool,
    /// Opens link-local addresses and metadata of clouds where `allow_cidrs` holds them.
    pub dangerous_allow_metadata: bool,
    /// The proxy that every request goes through; empty for none.
    pub proxy: String,
    /// More for some targets, by name.
    pub targets: BTreeMap<String, EgressTarget>,
}

/// `[egress.targets.NAME]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressTarget {
    /// Networks inside that this target may reach.
    pub allow_cidrs: Vec<String>,
    /// Whether plain HTTP may be used.
    pub allow_http: bool,
}

/// `[secrets]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsConfig {
    /// A directory with one file for each secret; empty for none.
    pub directory: String,
    /// Files by the names of secrets.
    pub files: BTreeMap<String, String>,
    /// Environment variables by the names of secrets.
    pub variables: BTreeMap<String, String>,
}

/// `[content]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentConfig {
    /// Directories below which local files may be opened.
    pub roots: Vec<String>,
    /// Options of S3.
    pub s3: BTreeMap<String, String>,
    /// Options of Google Cloud Storage.
    pub gcs: BTreeMap<String, String>,
    /// Options of Azure Blob Storage.
    pub azure: BTreeMap<String, String>,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged.
    pub level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The defaults, with the text of a file and then some environment variables laid over them.
    ///
    /// `environment` are name and value pairs; those that begin with `CONSIGN_<SECTION>_` of an existing section count.
    pub fn load<'e>(
        file: Option<&str>,
        environment: impl IntoIterator<Item = (&'e str, &'e str)>,
    ) -> Result<Self, ConfigError> {
        let defaults: toml::Table = DEFAULT.parse().expect("the embedded defaults are TOML");
        let mut table = defaults.clone();
        let mut variables = BTreeMap::new();
        if let Some(file) = file {
            let over: toml::Table = file.parse().map_err(|e| faults::no_toml(file, &e))?;
            faults::unknown_keys(file, &defaults)?;
            lay_over(&mut table, over);
        }
        for (name, value) in environment {
            if let Some(path) = lay_variable_over(&mut table, name, value)? {
                variables.insert(path, name.to_owned());
            }
        }
        let config: Self = table.try_into().map_err(|e| faults::wrong_value(&e, file, &variables))?;
        config.check()
    }

    /// Whether the values can be used together; for one whose values were changed by options.
    pub fn check(self) -> Result<Self, ConfigError> {
        let roles = &self.process.roles;
        let registry = &self.registry;
        let wrong = [
            (self.process.workers == 0, "process.workers is at least 1"),
            (roles.is_empty(), "process.roles names at least one of engine, gateway"),
            (self.process.instance.is_empty(), "process.instance is empty"),
            (self.kafka.bootstrap.trim().is_empty(), "kafka.bootstrap is empty"),
            (
                !is_prefix(&self.kafka.prefix),
                "kafka.prefix has other characters than letters, digits, `.`, `_` and `-`",
            ),
            (self.kafka.session_timeout < Duration::from_secs(1), "kafka.session_timeout is at least 1s"),
            (self.kafka.transaction_timeout < Duration::from_secs(1), "kafka.transaction_timeout is at least 1s"),
            (self.topics.home_partitions < 1, "topics.home_partitions is at least 1"),
            (self.topics.replication < 1, "topics.replication is at least 1"),
            (self.topics.retention < Duration::from_secs(60), "topics.retention is at least 1m"),
            (
                !registry.user.is_empty() && !registry.token_env.is_empty(),
                "registry.user and registry.token_env exclude each other",
            ),
            (
                registry.user.is_empty() != registry.password_env.is_empty(),
                "registry.user and registry.password_env go together",
            ),
            (
                self.gateway.tls.certificate.is_empty() != self.gateway.tls.key.is_empty(),
                "gateway.tls.certificate and gateway.tls.key go together",
            ),
            (self.gateway.callers.per_second == 0, "gateway.callers.per_second is at least 1"),
            (self.gateway.callbacks.at_once == 0, "gateway.callbacks.at_once is at least 1"),
            (self.gateway.callbacks.of_target == 0, "gateway.callbacks.of_target is at least 1"),
            (self.gateway.callbacks.per_second == 0, "gateway.callbacks.per_second is at least 1"),
            (self.log.level.trim().is_empty(), "log.level is empty"),
        ];
        if let Some((_, text)) = wrong.iter().find(|(is_wrong, _)| *is_wrong) {
            return Err(ConfigError((*text).to_owned()));
        }
        if let Some(key) = self.acks.keys.iter().find(|k| k.secret_env.is_some() == k.secret_file.is_some()) {
            return Err(ConfigError(format!("acks key `{}` has either secret_env or secret_file", key.id)));
        }
        if let Some(token) = self.gateway.tokens.iter().find(|t| !["viewer", "operator"].contains(&t.role.as_str())) {
            return Err(ConfigError(format!("role `{}` of {} is none of viewer, operator", token.role, token.actor)));
        }
        let version = self.schemas.write_version;
        if !WRITE_VERSIONS.contains(&version) {
            let known: Vec<String> = WRITE_VERSIONS.iter().map(ToString::to_string).collect();
            let known = known.join(", ");
            return Err(ConfigError(format!("schemas.write_version is {version}; this consign can write {known}")));
        }
        Ok(self)
    }
}

/// Characters that a topic's name may have.
fn is_prefix(text: &str) -> bool {
    text.len() <= 200 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn lay_over(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// `CONSIGN_KAFKA_BOOTSTRAP=x` sets `kafka.bootstrap`; the value takes the type of the default. Gives the key that was
/// set; none for a variable of somebody else's.
fn lay_variable_over(table: &mut toml::Table, name: &str, value: &str) -> Result<Option<String>, ConfigError> {
    let Some((section, key)) = name.strip_prefix("CONSIGN_").and_then(|rest| rest.split_once('_')) else {
        return Ok(None);
    };
    let (section, key) = (section.to_lowercase(), key.to_lowercase());
    let Some(toml::Value::Table(keys)) = table.get_mut(&section) else { return Ok(None) };
    let known: Vec<String> = keys.keys().cloned().collect();
    let Some(current) = keys.get_mut(&key) else {
        let meant = faults::nearest(&key, known.iter().map(String::as_str));
        let meant = meant.map(|k| format!(" (CONSIGN_{}_{}?)", section.to_uppercase(), k.to_uppercase()));
        return Err(ConfigError(format!("{name}: [{section}] has no key `{key}`{}", meant.unwrap_or_default())));
    };
    *current = match current {
        toml::Value::Integer(_) => value.parse().map_or_else(|_| value.into(), toml::Value::Integer),
        toml::Value::Boolean(_) => value.parse().map_or_else(|_| value.into(), toml::Value::Boolean),
        toml::Value::Array(_) => value.split(',').map(|part| toml::Value::from(part.trim())).collect::<Vec<_>>().into(),
        _ => value.into(),
    };
    Ok(Some(format!("{section}.{key}")))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|e| de::Error::custom(format!("`{text}` is no duration such as 30s: {e}")))
}

#[cfg(test)]
mod tests;
