//! The events of a file that are not attempts.

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;
use super::{Cause, FileId, Intervention, Outcome, TargetName, Timestamp};

text_enum! {
    /// What the engine made of it: applied; refused (it asks for what is not allowed); late (true or not, it comes after the decision); contradiction (late, and saying the opposite).
    Judgement, "snake_case" {
        /// `applied`
        Applied = "applied",
        /// `refused`
        Refused = "refused",
        /// `late`
        Late = "late",
        /// `contradiction`
        Contradiction = "contradiction",
    }
}

/// Why a file or a check failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// A stable code with a page in the documentation.
    pub code: String,
    /// The cause in words.
    pub text: String,
}

/// One event of a file that is not an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryEvent {
    /// The file's version of this event.
    pub version: i64,
    /// When the engine judged it.
    pub at: Timestamp,
    /// The record it came from.
    pub cause: Cause,
    /// The dispatch it is about.
    #[serde(default)]
    pub target: Option<TargetName>,
    /// What the engine made of it.
    pub judgement: Judgement,
    /// Why it was refused.
    #[serde(default)]
    pub code: Option<String>,
    /// Set for a report or a timer.
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// Set for an intervention.
    #[serde(default)]
    pub intervention: Option<Intervention>,
    /// Set where validation failed.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// Events of one file and commit. Key: file_id/seq.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileHistory {
    /// The file.
    pub file_id: FileId,
    /// Dense from 1.
    pub seq: i64,
    /// Version of the last event.
    pub version: i64,
    /// Cause of the last event.
    pub cause: Cause,
    /// The events in order.
    pub events: Vec<HistoryEvent>,
}
