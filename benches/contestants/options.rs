//! What a contestant is told: `--name value` pairs, all of which have a default but the broker's address.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::str::FromStr;

use crate::workload::Workload;

/// Options by name.
pub struct Options(BTreeMap<String, String>);

impl Options {
    pub fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = BTreeMap::new();
        while let Some(name) = arguments.next() {
            let name = name.strip_prefix("--").unwrap_or_else(|| panic!("{name} is no option")).to_owned();
            let value = arguments.next().unwrap_or_else(|| panic!("--{name} has no value"));
            options.insert(name, value);
        }
        Self(options)
    }

    pub fn text(&self, name: &str, default: &str) -> String {
        self.0.get(name).map_or(default, String::as_str).to_owned()
    }

    pub fn number<T: FromStr>(&self, name: &str, default: T) -> T {
        let parse = |text: &String| text.parse().unwrap_or_else(|_| panic!("--{name} {text} is no number"));
        self.0.get(name).map_or(default, parse)
    }

    /// The broker's addresses.
    pub fn kafka(&self) -> String {
        self.text("kafka", &std::env::var("KAFKA_BOOTSTRAP").unwrap_or_default())
    }

    /// What every topic's name begins with.
    pub fn prefix(&self) -> String {
        self.text("prefix", "bench.")
    }

    pub fn workload(&self) -> Workload {
        Workload {
            files: self.number("files", 1_000),
            targets: self.number("targets", 5),
            partitions: self.number("partitions", 12),
            window: self.number("window", 2_000),
            port: self.number("port", 9),
            concurrency: self.number("concurrency", 10_000),
        }
    }
}

/// Tells the driver where this process stands.
pub fn say(word: &str, what: &serde_json::Value) {
    println!("{word} {what}");
    std::io::stdout().flush().expect("the driver listens");
}

/// Waits for the driver's next line; `None` once it has gone.
pub fn hear() -> Option<String> {
    std::io::stdin().lock().lines().next().and_then(Result::ok)
}
