//! The examples under config/, embedded: what the demo submits and what must become of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::record::{State, Status};
use crate::routing::Sources;

/// Stands for the receivers' address in the demo's routing document.
const PLACEHOLDER: &str = "http://receivers.invalid";

macro_rules! embed {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../config/examples/", $name))),)+]
    };
}

const EXAMPLES: &[(&str, &str)] = embed![
    "01-one-to-one.json",
    "02-one-to-one-version-1.json",
    "03-many-to-one-a.json",
    "03-many-to-one-b.json",
    "03-many-to-one-c.json",
    "04-one-to-many.json",
    "05-many-to-many-a.json",
    "05-many-to-many-b.json",
    "06-retry.json",
    "07-exhausted.json",
    "08-rejected-and-resubmitted.json",
    "09-held-and-confirmed.json",
    "10-validation-failure.json",
    "11-no-route.json",
    "12-after.json",
    "13-callback.json",
];

const FILES: &[(&str, &str)] = embed![
    "schemas/account-data.json",
    "schemas/account-partner.json",
    "schemas/account-v1.json",
    "schemas/account-v2.json",
    "tables/accounts.csv",
];

/// One file that the demo submits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Example {
    /// What it shows, in one sentence.
    pub about: String,
    /// The manifest as a producer writes it.
    pub manifest: Value,
    /// What must become of it.
    pub expect: Expectation,
    /// What a person does then.
    pub then: Option<Then>,
}

/// What must become of a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expectation {
    pub state: State,
    pub dispatches: BTreeMap<String, ExpectedDispatch>,
    pub reason: Option<String>,
}

/// What must become of a dispatch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedDispatch {
    pub status: Status,
    pub requests: usize,
}

/// What a person does once a file is as expected, and what must become of it then.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Then {
    pub intervene: Option<Intervene>,
    pub resubmit: Option<Resubmit>,
    /// The file that takes this one up; `expect` is about that one.
    pub successor: Option<String>,
    pub expect: Expectation,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intervene {
    pub target: String,
    pub kind: String,
    #[serde(rename = "actor")]
    pub _actor: String,
    pub reason: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resubmit {
    #[serde(rename = "actor")]
    pub _actor: String,
    pub reason: String,
}

impl Example {
    pub fn file_id(&self) -> &str {
        self.manifest["file_id"].as_str().expect("a test checks that every example has one")
    }
}

/// Every example, in order.
pub(super) fn all() -> Vec<Example> {
    EXAMPLES
        .iter()
        .map(|(name, text)| serde_json::from_str(text).unwrap_or_else(|e| panic!("config/examples/{name}: {e}")))
        .collect()
}

/// The demo's routing document, with the receivers' address in it.
pub(in crate::cli) fn routing(receivers: &str) -> Sources {
    let document = include_str!("../../../config/routing.yaml").replace(PLACEHOLDER, receivers);
    let files = FILES.iter().map(|(name, text)| (format!("examples/{name}"), (*text).to_owned())).collect();
    Sources { name: "config/routing.yaml".into(), document, files }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_embedded_and_well_formed() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples");
        let mut there: Vec<String> = ["", "schemas", "tables"]
            .iter()
            .flat_map(|folder| {
                let folder = (*folder).to_owned();
                std::fs::read_dir(format!("{root}/{folder}")).unwrap().filter_map(move |entry| {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                    {
                        let kind = std::path::Path::new(&name).extension().and_then(|e| e.to_str());
                        matches!(kind, Some("json" | "csv")).then_some(name)
                    }
                })
            })
            .collect();
        there.sort();
        let mut embedded: Vec<&str> = EXAMPLES.iter().chain(FILES).map(|(name, _)| *name).collect();
        embedded.sort_unstable();
        assert_eq!(embedded, there);
        for example in all() {
            assert!(!example.file_id().is_empty());
        }
        crate::routing::load(&routing("http://127.0.0.1:1")).unwrap();
    }
}
