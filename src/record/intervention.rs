//! What people ask for.

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;
use super::{FileId, FileManifest, TargetName, Timestamp};

text_enum! {
    /// What is asked. start_successor is written by the engine only.
    Action, "snake_case" {
        /// `retry`
        Retry = "retry",
        /// `confirm`
        Confirm = "confirm",
        /// `fail`
        Fail = "fail",
        /// `cancel`
        Cancel = "cancel",
        /// `resubmit`
        Resubmit = "resubmit",
        /// `start_successor`
        StartSuccessor = "start_successor",
    }
}

/// A file that takes up a FAILED one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Successor {
    /// The FAILED file.
    pub supersedes: FileId,
    /// The targets it is limited to.
    pub only_targets: Vec<TargetName>,
    /// The manifest, under the successor's file_id.
    pub manifest: FileManifest,
    /// When the resubmit was applied.
    pub received_at: Timestamp,
}

/// What a person asks of one dispatch or file. Key: file_id/target, or file_id/ for the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intervention {
    /// Identity of the request; a repeated one changes nothing.
    pub intervention_id: String,
    /// The file.
    pub file_id: FileId,
    /// The target; null for the file itself.
    #[serde(default)]
    pub target: Option<TargetName>,
    /// What is asked.
    pub action: Action,
    /// Who asks.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Proof, for confirm.
    #[serde(default)]
    pub evidence: Option<String>,
    /// Version of the dispatch (of the file, for a file's action) that the person saw; a stale one is refused.
    #[serde(default)]
    pub seen_version: Option<i64>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// For resubmit: also the targets whose requests' fate is unknown.
    #[serde(default)]
    pub resend_unknown: bool,
    /// Set where action is start_successor.
    #[serde(default)]
    pub successor: Option<Successor>,
}
