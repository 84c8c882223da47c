//! What a world is made of: servers, topics, targets, the processes' configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use consign::receiver::{Behaviour, Receivers};
use consign::record::{TargetName, TopicNames};

use crate::world::{HOME_PARTITIONS, Servers};

/// How to set a world up.
pub struct Setup {
    pub test: String,
    pub servers: Servers,
    /// The broker as the processes reach it, through a proxy for example.
    pub via: Option<String>,
    pub partitions: i32,
    /// After how many seconds without a heartbeat a worker's partitions are another's.
    pub session_seconds: u64,
    /// How long a transaction may take, in seconds.
    pub transaction_seconds: u64,
    /// Which targets every file goes to.
    pub targets: Vec<&'static str>,
    /// How fast requests leave for each.
    pub rate: Option<&'static str>,
    /// The shipped document in place of these targets, and what its receivers do.
    pub shipped: Option<BTreeMap<TargetName, Behaviour>>,
}

/// Five targets: at once, after a pause, after a retry, by an ack later, and one that isn't trusted to honour the key.
pub const ALL_TARGETS: [&str; 5] = ["quick", "slow", "busy", "acking", "held"];

impl Setup {
    /// Six home partitions and all targets.
    pub fn new(test: &str, servers: Servers) -> Self {
        Self {
            test: test.to_owned(),
            servers,
            via: None,
            partitions: HOME_PARTITIONS,
            session_seconds: 6,
            transaction_seconds: 60,
            targets: ALL_TARGETS.to_vec(),
            rate: None,
            shipped: None,
        }
    }

    /// The configuration of every process; ack keys are its last table, and [`CLIENT`] has lines of its own.
    pub fn configuration(&self, names: &TopicNames) -> String {
        format!(
            "[kafka]\nbootstrap = \"{}\"\nprefix = \"{}\"\nsession_timeout = \"{}s\"\ntransaction_timeout = \"{}s\"\n\
             {CLIENT}\"fetch.wait.max.ms\" = \"{FETCH_WAIT_MS}\"\n\
             [topics]\nhome_partitions = {}\nreplication = 1\n\
             [registry]\nurl = \"{}\"\n\
             [egress]\nallow_cidrs = [\"127.0.0.0/8\"]\nallow_http = true\n\
             [[acks.keys]]\nid = \"k1\"\nsecret_file = \"{}\"\n",
            self.via.as_ref().unwrap_or(&self.servers.bootstrap),
            names.prefix(),
            self.session_seconds,
            self.transaction_seconds,
            self.partitions,
            self.servers.registry,
            secret_file().display(),
        )
    }

    /// What each target does with a request.
    pub fn behaviours(&self) -> BTreeMap<TargetName, Behaviour> {
        if let Some(shipped) = &self.shipped {
            return shipped.clone();
        }
        self.targets.iter().map(|name| (TargetName::trusted(name), behaviour(name))).collect()
    }

    /// The routing document.
    pub fn routing(&self, receivers: &Receivers) -> String {
        if self.shipped.is_some() {
            let shipped = std::fs::read_to_string(config().join("routing.yaml")).unwrap();
            return shipped.replace("http://receivers.invalid", &format!("http://{}", receivers.addr()));
        }
        let mut text = String::from(
            "file_types: {batch: {}}\npayloads: {all: {body: {n: \"=data.n\"}}}\n\
             target_defaults:\n  retry: {schedule: [200ms], attempts: 30}\n  \
             timeouts: {send_within: 3s, request: 3s, max_clock_skew: 1s}\ntargets:\n",
        );
        if let Some(rate) = self.rate {
            text = text.replace("targets:\n", &format!("  rate: {rate}\ntargets:\n"));
        }
        for name in &self.targets {
            let confirmed_by = if *name == "acking" { "{acks: 30s}" } else { "{response: \"status == 200\"}" };
            let on_unknown = if *name == "held" { "hold" } else { "retry" };
            let url = receivers.url(name);
            text += &format!(
                "  {name}: {{owner: team-{name}, http: {{url: \"{url}\"}}, confirmed_by: {confirmed_by}, on_unknown: {on_unknown}}}\n"
            );
        }
        text += "routes:\n";
        for name in &self.targets {
            text += &format!("  - {{to: {name}, payload: all}}\n");
        }
        text
    }
}

/// The head of the settings of the Kafka client.
pub const CLIENT: &str = "[kafka.client]\n";

/// How long a fetch waits at the broker where nothing comes: with the product's 50 ms what ten idle processes and their broker do takes
/// two processors.
pub const FETCH_WAIT_MS: &str = "250";

/// The shipped configuration.
pub fn config() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn behaviour(target: &str) -> Behaviour {
    let ok = Behaviour::ok;
    match target {
        "slow" => Behaviour::stall(Duration::from_millis(20), ok()),
        // Longer than it takes to end a server.
        "stalling" => Behaviour::stall(Duration::from_millis(1_500), ok()),
        "busy" => Behaviour::Sequence(vec![Behaviour::busy("0"), ok()]),
        "acking" => Behaviour::report_later(Duration::from_millis(50), &["SUCCEEDED"]),
        _ => ok(),
    }
}

/// Any file with some bytes will do as a secret that all processes share.
fn secret_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("rustfmt.toml")
}
