//! What the configuration says about requests: where they may go, and where their secrets are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{Config, ContentConfig, EgressConfig};
use crate::record::{TargetName, Topic, TopicNames};
use crate::routing::Document;
use crate::transport::{Allowance, Egress, KafkaTargets, Places, Secrets};

/// How a setting names a secret.
const SECRET: &str = "secret:";

/// Where requests may go.
pub(super) fn egress(config: &EgressConfig) -> Result<Egress, String> {
    let mut everywhere = allowance(&config.allow_cidrs, config.allow_http)?;
    everywhere.dangerous_metadata = config.dangerous_allow_metadata;
    let mut targets = BTreeMap::new();
    for (name, more) in &config.targets {
        let name = TargetName::parse(name).map_err(|e| format!("egress.targets: {e}"))?;
        targets.insert(name, allowance(&more.allow_cidrs, more.allow_http)?);
    }
    let proxy = match config.proxy.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|e| format!("egress.proxy is no URL: {e}"))?),
    };
    Ok(Egress::new(everywhere, targets, proxy))
}

fn allowance(cidrs: &[String], http: bool) -> Result<Allowance, String> {
    let parsed = cidrs
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|_| format!("`{text}` of allow_cidrs is no network such as 10.20.0.0/16")));
    Ok(Allowance { cidrs: parsed.collect::<Result<_, _>>()?, http, dangerous_metadata: false })
}

/// Where secrets are.
pub(super) fn secrets(config: &Config) -> Secrets {
    let config = &config.secrets;
    let path = |text: &String| PathBuf::from(text);
    Secrets {
        held: std::collections::BTreeMap::new(),
        variables: config.variables.clone(),
        files: config.files.iter().map(|(name, file)| (name.clone(), path(file))).collect(),
        directory: Some(&config.directory).filter(|text| !text.is_empty()).map(path),
    }
}

/// The gateway's address as targets reach it, if the configuration says so.
pub(super) fn public_url(config: &Config) -> Option<String> {
    Some(&config.gateway.public_url).filter(|url| !url.is_empty()).cloned()
}

/// Where records of Kafka targets may go: the log's cluster but for consign's own topics, and the clusters by name.
pub(super) fn kafka(config: &Config, names: &TopicNames) -> Result<KafkaTargets, String> {
    let mut own = client_settings(config, "kafka.client", &config.kafka.client)?;
    own.insert("bootstrap.servers".into(), config.kafka.bootstrap.clone());
    let closed = Topic::ALL.into_iter().map(|topic| names.name(topic)).collect();
    let others = config
        .clusters
        .iter()
        .map(|(name, settings)| Ok((name.clone(), client_settings(config, &format!("clusters.{name}"), settings)?)));
    Ok(KafkaTargets::new(Some(own), others.collect::<Result<_, String>>()?, closed))
}

/// Settings of a Kafka client, with the values of the secrets that they name: `secret:NAME`. Read once, at the start.
///
/// The error names the setting and the secret, and has no value.
pub(super) fn client_settings(
    config: &Config,
    section: &str,
    settings: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let secrets = secrets(config);
    let value = |key: &str, text: &str| -> Result<String, String> {
        let Some(name) = text.strip_prefix(SECRET) else { return Ok(text.to_owned()) };
        let values = secrets.read(name).map_err(|e| format!("[{section}] {key}: {e}"))?;
        let text =
            values.current.text().ok_or_else(|| format!("[{section}] {key}: the secret `{name}` is no UTF-8"))?;
        Ok(text.to_owned())
    };
    settings.iter().map(|(key, text)| Ok((key.clone(), value(key, text)?))).collect()
}

/// Where announced files may lie.
pub(super) fn places(config: &ContentConfig) -> Result<Places, String> {
    let roots: Vec<PathBuf> = config.roots.iter().filter(|text| !text.is_empty()).map(PathBuf::from).collect();
    if let Some(relative) = roots.iter().find(|root| !root.is_absolute()) {
        return Err(format!("`{}` of content.roots is no absolute path", relative.display()));
    }
    let stores = [("s3", &config.s3), ("gcs", &config.gcs), ("azure", &config.azure)];
    let stores = stores.map(|(name, options)| (name.to_owned(), options.clone())).into();
    Ok(Places { roots, stores })
}

/// Says which secrets of a routing document can't be read. Their targets wait; the others don't.
pub(super) fn warn_of_missing(document: &Document, secrets: &Secrets) {
    for name in document.secrets() {
        if let Err(why) = secrets.read(&name) {
            tracing::warn!("the routing document names a secret that isn't there: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_says_what_is_open_and_where_secrets_are() {
        let text = "[egress]\nallow_cidrs = [\"10.0.0.0/8\"]\n[egress.targets.b]\nallow_http = true\n\
                    [secrets]\ndirectory = \"/run/secrets\"\n[secrets.variables]\nk = \"K\"\n";
        let config = Config::load(Some(text), []).unwrap();
        egress(&config.egress).unwrap();
        let secrets = secrets(&config);
        assert_eq!(secrets.directory, Some("/run/secrets".into()));
        assert_eq!(secrets.variables["k"], "K");
        assert_eq!(public_url(&config), None);
    }

    #[test]
    fn settings_of_kafka_clients_may_name_secrets() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "canary\n").unwrap();
        let text = format!(
            "[kafka.client]\n\"sasl.username\" = \"consign\"\n\"sasl.password\" = \"secret:pw\"\n\
             [clusters.b]\n\"sasl.password\" = \"secret:other\"\n[secrets.files]\npw = \"{}\"\n",
            file.path().display()
        );
        let config = Config::load(Some(&text), []).unwrap();
        let settings = client_settings(&config, "kafka.client", &config.kafka.client).unwrap();
        assert_eq!((settings["sasl.username"].as_str(), settings["sasl.password"].as_str()), ("consign", "canary"));
        let said = client_settings(&config, "clusters.b", &config.clusters["b"]).unwrap_err();
        assert!(said.contains("[clusters.b] sasl.password: no secret `other`"), "{said}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("[egress]\nallow_cidrs = [\"10.0.0.1/33\"]\n", "10.0.0.1/33"),
            ("[egress]\nproxy = \"proxy\"\n", "egress.proxy"),
            ("[egress.targets.\"a/b\"]\nallow_http = true\n", "egress.targets"),
        ] {
            let config = Config::load(Some(text), []).unwrap();
            let said = egress(&config.egress).err().unwrap_or_default();
            assert!(said.contains(says), "{text}: {said}");
        }
        let config = Config::load(Some("[content]\nroots = [\"in\"]\n"), []).unwrap();
        assert!(places(&config.content).unwrap_err().contains("`in` of content.roots"));
    }
}
