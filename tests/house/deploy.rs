//! What operators deploy: the compose file, the alerts and the dashboard speak of what exists.

use std::collections::BTreeSet;

use clap::Parser as _;
use consign::cli::Cli;
use consign::config::Config;
use saphyr::{LoadableYamlNode, Yaml};
use sha2::{Digest, Sha256};

use super::repository::{none, read, root};

const COMPOSE: &str = "docker-compose.yml";

pub fn yaml(path: &str) -> Yaml<'static> {
    // A test may leak a file's text.
    let text: &'static str = Box::leak(read(path).into_boxed_str());
    let mut documents = Yaml::load_from_str(text).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert_eq!(documents.len(), 1, "{path} is one document");
    documents.remove(0)
}

fn texts_of(yaml: &Yaml<'_>) -> Vec<String> {
    let of = |item: &Yaml<'_>| item.as_str().map_or_else(|| panic!("{item:?} is no text"), str::to_owned);
    yaml.as_vec().map(|items| items.iter().map(of).collect()).unwrap_or_default()
}

fn services() -> Vec<(String, Yaml<'static>)> {
    let compose = yaml(COMPOSE);
    let services = compose["services"].as_mapping().expect("there are services").clone();
    services.into_iter().map(|(name, service)| (name.as_str().expect("a name").to_owned(), service)).collect()
}

fn field<'y>(yaml: &'y Yaml<'static>, key: &str) -> Option<&'y Yaml<'static>> {
    yaml.as_mapping()?.get(&Yaml::value_from_str(key.to_owned().leak()))
}

#[test]
fn the_compose_file_has_the_services_that_the_readme_names() {
    let names: Vec<String> = services().into_iter().map(|(name, _)| name).collect();
    for name in ["kafka", "registry", "setup", "consign", "prometheus"] {
        assert!(names.iter().any(|service| service == name), "{COMPOSE} has no service `{name}`: {names:?}");
    }
}

#[test]
fn what_the_compose_file_mounts_and_builds_exists() {
    let mut wrong = Vec::new();
    for (name, service) in services() {
        for volume in field(&service, "volumes").map(texts_of).unwrap_or_default() {
            let source = volume.split(':').next().unwrap_or_default();
            if source.starts_with('.') && !root().join(source).exists() {
                wrong.push(format!("{name} mounts {source}"));
            }
        }
        if let Some(build) = field(&service, "build").and_then(Yaml::as_str)
            && !root().join(build).join("Dockerfile").exists()
        {
            wrong.push(format!("{name} builds {build}"));
        }
    }
    none(&wrong, "what isn't there");
}

/// The calls of consign that a service makes, as words: of its command, or of the script that is its command.
fn calls(name: &str, service: &Yaml<'static>) -> Vec<Vec<String>> {
    let ours = field(service, "image").and_then(Yaml::as_str).is_some_and(|image| image.starts_with("consign:"));
    if !ours {
        return Vec::new();
    }
    let entrypoint = field(service, "entrypoint").map(texts_of).unwrap_or_default();
    let command = field(service, "command").map(texts_of).unwrap_or_default();
    if entrypoint.is_empty() {
        // As the image has it: ENTRYPOINT is the binary.
        assert!(read("Dockerfile").contains("ENTRYPOINT [\"/usr/local/bin/consign\"]"), "{name} runs another program");
        return vec![[vec!["consign".to_owned()], command].concat()];
    }
    assert_eq!(entrypoint, ["/bin/sh", "-ec"], "{name}: a shell that stops at the first failure");
    assert_eq!(command.len(), 1, "{name}: the script is one word");
    let lines = command[0].lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn what_the_compose_file_runs_are_commands_of_the_binary() {
    let mut count = 0;
    for (name, service) in services() {
        for call in calls(&name, &service) {
            assert_eq!(call[0], "consign", "{name} runs {call:?}");
            if let Err(error) = Cli::try_parse_from(&call) {
                panic!("{name}: {call:?}: {error}");
            }
            count += 1;
        }
    }
    assert!(count >= 4, "setup and consign: {count}");
}

#[test]
fn paths_in_the_compose_file_lie_under_what_is_mounted() {
    let mut checked = 0;
    for (name, service) in services() {
        let volumes = field(&service, "volumes").map(texts_of).unwrap_or_default();
        let mounts: Vec<(String, String)> = volumes
            .iter()
            .map(|volume| {
                let mut parts = volume.split(':');
                (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default().to_owned())
            })
            .collect();
        let configs: Vec<String> = field(&service, "configs")
            .and_then(Yaml::as_vec)
            .map(|all| all.iter().filter_map(|one| Some(one["target"].as_str()?.to_owned())).collect())
            .unwrap_or_default();
        for path in calls(&name, &service).concat().into_iter().filter(|word| word.starts_with('/')) {
            checked += 1;
            if configs.contains(&path) {
                continue;
            }
            let mounted = mounts.iter().find_map(|(from, to)| Some((from, path.strip_prefix(&format!("{to}/"))?)));
            let (from, below) = mounted.unwrap_or_else(|| panic!("{name} names {path}, which nothing mounts"));
            assert!(root().join(from).join(below).exists(), "{name}: {path} is {from}/{below}, which isn't there");
        }
    }
    assert!(checked >= 2, "the routing document and the configuration: {checked}");
}

#[test]
fn what_the_services_are_told_by_their_environment_is_configuration() {
    let mut ours = 0;
    for (name, service) in services() {
        let Some(environment) = field(&service, "environment").and_then(Yaml::as_mapping) else { continue };
        let told: Vec<(String, String)> = environment
            .iter()
            .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned())))
            .filter(|(key, _)| key.starts_with("CONSIGN_"))
            .collect();
        ours += told.len();
        let told = told.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        assert!(Config::load(None, told).is_ok(), "{name}: its environment is no configuration");
    }
    assert!(ours >= 3, "{ours} variables for consign");
}

#[test]
fn the_configuration_in_the_compose_file_loads() {
    let compose = yaml(COMPOSE);
    let content = compose["configs"]["consign"]["content"].as_str().expect("consign's configuration");
    let config = Config::load(Some(content), []).expect("it loads");
    assert!(!config.gateway.listen.ip().is_loopback(), "other containers reach the gateway");
    let viewer = compose["configs"]["viewer-token"]["content"].as_str().expect("the token of Prometheus");
    let digest: Vec<u8> = Sha256::digest(viewer.trim()).to_vec();
    let bytes_of = |hex: &str| -> Vec<u8> {
        let pairs = (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16));
        pairs.collect::<Result<_, _>>().expect("hexadecimal digits")
    };
    assert!(
        config.gateway.tokens.iter().any(|token| bytes_of(&token.token_sha256) == digest && token.role == "viewer"),
        "the gateway doesn't know the token that Prometheus brings"
    );
}

#[test]
fn services_depend_on_services_that_exist() {
    let all = services();
    let names: BTreeSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    for (name, service) in &all {
        let Some(needed) = field(service, "depends_on") else { continue };
        let needed: Vec<&str> = match needed.as_mapping() {
            Some(needed) => needed.keys().filter_map(Yaml::as_str).collect(),
            None => panic!("{name}: depends_on says for what it waits (`condition`)"),
        };
        assert!(needed.iter().all(|needed| names.contains(needed)), "{name} depends on {needed:?}");
    }
}

#[test]
fn ports_are_loopback_only() {
    let open: Vec<String> = services()
        .iter()
        .flat_map(|(name, service)| {
            let ports = field(service, "ports").map(texts_of).unwrap_or_default();
            ports.into_iter().map(move |port| (name.clone(), port))
        })
        .filter(|(_, port)| !port.starts_with("127.0.0.1:"))
        .map(|(name, port)| format!("{name}: {port}"))
        .collect();
    none(&open, "ports that other machines reach");
}

#[test]
fn images_are_pinned() {
    let loose: Vec<String> = services()
        .iter()
        .filter_map(|(name, service)| Some((name, field(service, "image")?.as_str()?.to_owned())))
        .filter(|(_, image)| image.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest" || tag.is_empty()))
        .map(|(name, image)| format!("{name}: {image}"))
        .collect();
    none(&loose, "images without a version");
}

#[test]
fn the_dockerfile_copies_what_exists_and_runs_as_nobody() {
    let dockerfile = read("Dockerfile");
    let mut copied = 0;
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from=")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let (_, from) = words.split_last().expect("COPY has a destination");
        for path in from {
            assert!(root().join(path).exists(), "the Dockerfile copies {path}, which isn't there");
            copied += 1;
        }
    }
    assert!(copied > 0, "the Dockerfile copies the sources");
    let last_stage = dockerfile.rsplit("\nFROM ").next().expect("there is a stage");
    assert!(last_stage.lines().any(|line| line.starts_with("USER ")), "the last stage sets no user");
}

#[test]
fn prometheus_loads_the_alerts_that_exist() {
    let config = yaml("config/prometheus/prometheus.yml");
    for file in texts_of(&config["rule_files"]) {
        let name = file.rsplit('/').next().expect("a name");
        assert!(root().join("config/prometheus").join(name).exists(), "prometheus.yml names {file}");
    }
    let targets = texts_of(&config["scrape_configs"][0]["static_configs"][0]["targets"]);
    let services: Vec<String> = services().into_iter().map(|(name, _)| name).collect();
    assert!(!targets.is_empty());
    for target in targets {
        let host = target.split(':').next().unwrap_or_default();
        assert!(services.iter().any(|name| name == host), "prometheus.yml scrapes {target}, which is no service");
    }
}
