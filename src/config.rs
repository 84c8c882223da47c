//! The runtime configuration: the embedded defaults, a file over them, the environment over both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// The commented default configuration, with every key.
pub const DEFAULT: &str = include_str!("../config/consign.toml");

/// Why a configuration can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CG400: {0}")]
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
    /// The HTTP API.
    pub gateway: GatewayConfig,
    /// Ack tokens.
    pub acks: Acks,
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
    /// How long a settled file is remembered.
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
}

/// `[registry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Base URL.
    pub url: String,
}

/// `[gateway]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address of the HTTP API.
    pub listen: SocketAddr,
    /// Callers.
    pub tokens: Vec<TokenConfig>,
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
        let mut table: toml::Table = DEFAULT.parse().expect("the embedded defaults are TOML");
        if let Some(file) = file {
            let over: toml::Table =
                file.parse().map_err(|e| ConfigError(format!("the configuration is no TOML: {e}")))?;
            lay_over(&mut table, over);
        }
        for (name, value) in environment {
            lay_variable_over(&mut table, name, value);
        }
        let config: Self = table.try_into().map_err(|e| ConfigError(format!("the configuration doesn't load: {e}")))?;
        config.check()
    }

    fn check(self) -> Result<Self, ConfigError> {
        let wrong = |text: &str| Err(ConfigError(text.to_owned()));
        if self.process.workers == 0 {
            return wrong("process.workers is at least 1");
        }
        if self.process.roles.is_empty() {
            return wrong("process.roles names at least one of engine, gateway");
        }
        if self.topics.home_partitions < 1 {
            return wrong("topics.home_partitions is at least 1");
        }
        if self.process.instance.is_empty() {
            return wrong("process.instance is empty");
        }
        if let Some(key) = self.acks.keys.iter().find(|k| k.secret_env.is_some() == k.secret_file.is_some()) {
            return Err(ConfigError(format!("acks key `{}` has either secret_env or secret_file", key.id)));
        }
        Ok(self)
    }
}

fn lay_over(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// `CONSIGN_KAFKA_BOOTSTRAP=x` sets `kafka.bootstrap`; the value takes the type of the default.
fn lay_variable_over(table: &mut toml::Table, name: &str, value: &str) {
    let Some(rest) = name.strip_prefix("CONSIGN_") else { return };
    let Some((section, key)) = rest.split_once('_') else { return };
    let Some(toml::Value::Table(section)) = table.get_mut(&section.to_lowercase()) else { return };
    let Some(current) = section.get_mut(&key.to_lowercase()) else { return };
    *current = match current {
        toml::Value::Integer(_) => value.parse().map_or_else(|_| value.into(), toml::Value::Integer),
        toml::Value::Array(_) => value.split(',').map(|part| toml::Value::from(part.trim())).collect::<Vec<_>>().into(),
        _ => value.into(),
    };
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|e| de::Error::custom(format!("`{text}` is no duration such as 30s: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_load_and_have_every_key() {
        // No field of Config has a default of its own, so a missing key would fail here.
        let config = Config::load(None, []).unwrap();
        assert_eq!(config.topics.retention, Duration::from_secs(30 * 86_400));
    }

    #[test]
    fn a_file_and_the_environment_are_laid_over_the_defaults() {
        let file = "[kafka]\nbootstrap = \"a:1\"\nprefix = \"x.\"\n[kafka.client]\n\"security.protocol\" = \"ssl\"\n";
        let environment = [("CONSIGN_KAFKA_BOOTSTRAP", "b:2"), ("CONSIGN_PROCESS_WORKERS", "3"), ("CONSIGN_URL", "u")];
        let config = Config::load(Some(file), environment).unwrap();
        assert_eq!(config.kafka.bootstrap, "b:2");
        assert_eq!(config.kafka.prefix, "x.");
        assert_eq!(config.kafka.client["security.protocol"], "ssl");
        assert_eq!(config.process.workers, 3);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (file, says) in [
            ("[kafka]\nbootstarp = \"a\"", "bootstarp"),
            ("[process]\nworkers = 0", "process.workers"),
            ("[process]\nworkers = \"many\"", "workers"),
            ("[process]\nstop_within = \"soon\"", "soon"),
            ("[[acks.keys]]\nid = \"k\"", "secret_env or secret_file"),
            ("nonsense", "no TOML"),
        ] {
            let error = Config::load(Some(file), []).unwrap_err().to_string();
            assert!(error.contains(says), "{file}: {error}");
        }
    }
}
