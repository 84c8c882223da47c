//! What was announced, and how it ended: one line of JSON for each, the newest of a name counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::shelf::Mark;
use crate::record::Timestamp;

/// How far a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Its manifest leaves after this line.
    Announcing,
    /// It stays in the directory, COMPLETED.
    Completed,
    /// It stays in the directory, FAILED.
    Failed,
}

/// A file as it was when it was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub name: String,
    pub stage: Stage,
    pub mark: Mark,
    pub digest: String,
    pub file_id: String,
    pub produced_at: Timestamp,
    /// Why it FAILED.
    #[serde(default)]
    pub reason: Option<String>,
}

impl Entry {
    pub(super) fn line(&self) -> String {
        serde_json::to_string(self).expect("an entry has text keys")
    }
}

/// The newest entry of each name. A line that was cut by a crash says nothing: what it would have said hadn't happened yet.
pub(super) fn read(text: &str) -> BTreeMap<String, Entry> {
    let entries = text.lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok());
    entries.map(|entry| (entry.name.clone(), entry)).collect()
}
