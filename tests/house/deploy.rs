//! What operators deploy: the compose file, the alerts and the dashboard speak of what exists.

use std::collections::BTreeSet;

use consign::config::Config;
use consign::metrics::metrics_page;
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::repository::{none, read, root, words_after};

const COMPOSE: &str = "docker-compose.yml";

fn yaml(path: &str) -> Yaml<'static> {
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

/// Names of the time series, and the labels that there are.
fn series() -> (BTreeSet<String>, BTreeSet<String>) {
    let mut names = BTreeSet::new();
    let mut labels: BTreeSet<String> = ["instance", "job", "le"].into_iter().map(str::to_owned).collect();
    for row in metrics_page().lines().filter(|line| line.starts_with("| `consign_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        if cells[2] == "histogram" {
            names.extend(["_bucket", "_sum", "_count"].map(|ending| format!("{name}{ending}")));
        } else {
            names.insert(name.to_owned());
        }
        labels.extend(cells[3].split(", ").map(|label| label.trim_matches('`').to_owned()));
    }
    (names, labels)
}

/// What is wrong with an expression of `PromQL`, as far as names go.
fn faults(place: &str, expression: &str) -> Vec<String> {
    let (names, labels) = series();
    let used = words_after(expression, "consign_", |c| c.is_ascii_lowercase() || c == '_');
    let mut faults: Vec<String> =
        used.iter().filter(|name| !names.contains(*name)).map(|name| format!("{place}: no metric {name}")).collect();
    if used.is_empty() && !expression.starts_with("up{") {
        faults.push(format!("{place}: it reads no metric of ours: {expression}"));
    }
    for list in expression.match_indices("by (").filter_map(|(at, by)| expression[at + by.len()..].split(')').next()) {
        let unknown = list.split(',').map(str::trim).filter(|label| !labels.contains(*label));
        faults.extend(unknown.map(|label| format!("{place}: no label {label}")));
    }
    faults
}

#[test]
fn alerts_read_metrics_that_exist() {
    let rules = yaml("config/prometheus/alerts.yml");
    let mut wrong = Vec::new();
    let mut count = 0;
    for group in rules["groups"].as_vec().expect("groups") {
        for rule in group["rules"].as_vec().expect("rules") {
            let name = rule["alert"].as_str().expect("an alert has a name");
            wrong.extend(faults(name, rule["expr"].as_str().expect("an alert has an expression")));
            for said in ["summary", "description"] {
                assert!(rule["annotations"][said].as_str().is_some(), "{name} has no {said}");
            }
            assert!(rule["labels"]["severity"].as_str().is_some(), "{name} has no severity");
            count += 1;
        }
    }
    assert!(count >= 8, "the alerts mirror the machine");
    none(&wrong, "alerts about nothing");
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

#[test]
fn the_dashboard_reads_metrics_that_exist() {
    let dashboard: Json = serde_json::from_str(&read("config/grafana/consign.json")).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut wrong = Vec::new();
    let mut count = 0;
    for panel in panels {
        let title = panel["title"].as_str().expect("a panel has a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            wrong.extend(faults(title, target["expr"].as_str().expect("a target has an expression")));
            count += 1;
        }
    }
    assert!(count >= 8, "the dashboard shows the machine");
    none(&wrong, "panels about nothing");
}

#[test]
fn a_name_that_is_no_metric_is_found() {
    assert_eq!(faults("x", "sum by (file_id) (consign_filez)").len(), 2);
    assert_eq!(faults("x", "sum by (target) (consign_held)"), Vec::<String>::new());
    assert_eq!(faults("x", "1 + 1").len(), 1);
}
