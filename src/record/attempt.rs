//! The write-ahead record of an attempt.

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;
use super::{Cause, FileId, TargetName, Timestamp};

text_enum! {
    /// Which budget the attempt spends.
    Authorization, "snake_case" {
        /// `retry_budget`
        RetryBudget = "retry_budget",
        /// `operator`
        Operator = "operator",
    }
}

/// One authorized attempt, committed before its request may leave. Key: file_id/target/n.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DispatchAttempt {
    /// The file.
    pub file_id: FileId,
    /// The target.
    pub target: TargetName,
    /// Number of the attempt, from 1 without a gap.
    pub attempt: i32,
    /// The file's version at which it was authorized.
    pub version: i64,
    /// The record whose effect made it due.
    pub cause: Cause,
    /// file_id/target.
    pub idempotency_key: String,
    /// The plan it carries out.
    pub plan_digest: String,
    /// Which budget it spends.
    pub authorized_by: Authorization,
    /// The operator's retry that granted it.
    #[serde(default)]
    pub intervention_id: Option<String>,
    /// When it was authorized.
    pub authorized_at: Timestamp,
    /// The request never leaves later than this.
    pub send_before: Timestamp,
    /// When its fate is UNKNOWN if nothing was heard.
    pub deadline: Timestamp,
    /// Automatic attempts left after this one.
    pub attempts_left: i32,
    /// Identity of the worker that authorized it.
    pub worker: String,
}
