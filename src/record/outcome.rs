//! Reports: what became of a dispatch, and times that have come.

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;
use super::{Bytes, FileId, Origin, TargetName, TextMap, Timestamp};

text_enum! {
    /// What the report says. DUPLICATE is a success: the target already had it.
    OutcomeKind, "SCREAMING_SNAKE_CASE" {
        /// `ACCEPTED`
        Accepted = "ACCEPTED",
        /// `SUCCEEDED`
        Succeeded = "SUCCEEDED",
        /// `DUPLICATE`
        Duplicate = "DUPLICATE",
        /// `REJECTED`
        Rejected = "REJECTED",
        /// `RETRYABLE`
        Retryable = "RETRYABLE",
        /// `UNKNOWN`
        Unknown = "UNKNOWN",
        /// `TIMER`
        Timer = "TIMER",
    }
}

text_enum! {
    /// Who brought the report in.
    Reporter, "snake_case" {
        /// `transport`
        Transport = "transport",
        /// `callback`
        Callback = "callback",
        /// `acks`
        Acks = "acks",
        /// `engine`
        Engine = "engine",
    }
}

/// What the target answered, cut to 16 KiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// HTTP status.
    #[serde(default)]
    pub status: Option<i32>,
    /// Response headers that matter.
    #[serde(default)]
    pub headers: TextMap,
    /// Response body as text, invalid UTF-8 replaced.
    #[serde(default)]
    pub body: Option<String>,
    /// Whether the body was cut.
    #[serde(default)]
    pub truncated: bool,
    /// From send to answer, in milliseconds.
    #[serde(default)]
    pub took_ms: Option<i64>,
}

text_enum! {
    /// Result of checking the ack token.
    TokenCheck, "snake_case" {
        /// `ok`
        Ok = "ok",
        /// `absent`
        Absent = "absent",
        /// `wrong`
        Wrong = "wrong",
    }
}

text_enum! {
    /// What fell due.
    TimerKind, "snake_case" {
        /// `attempt_deadline`
        AttemptDeadline = "attempt_deadline",
        /// `confirmation_deadline`
        ConfirmationDeadline = "confirmation_deadline",
        /// `file_deadline`
        FileDeadline = "file_deadline",
        /// `escalation`
        Escalation = "escalation",
    }
}

/// A time that has come, appended by the engine and judged when it is read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timer {
    /// What fell due.
    pub what: TimerKind,
    /// When it fell due.
    pub due: Timestamp,
    /// The attempt it belongs to.
    #[serde(default)]
    pub attempt: Option<i32>,
    /// Which escalation it is, from 1.
    #[serde(default)]
    pub escalation: Option<i32>,
}

/// One report of what became of a dispatch. Key: file_id/target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The file.
    pub file_id: FileId,
    /// The target; empty for a timer of the file itself.
    pub target: TargetName,
    /// The attempt it is about, where the reporter knows.
    #[serde(default)]
    pub attempt: Option<i32>,
    /// What the report says.
    pub kind: OutcomeKind,
    /// Who brought the report in.
    pub reporter: Reporter,
    /// When it was reported, by the reporter's clock.
    pub reported_at: Timestamp,
    /// A stable word for the cause, such as http_503 or connect_refused.
    #[serde(default)]
    pub code: String,
    /// The cause in words.
    #[serde(default)]
    pub detail: Option<String>,
    /// What the target answered.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// How long the target asked to wait, in milliseconds.
    #[serde(default)]
    pub retry_after_ms: Option<i64>,
    /// Whether the target refused our credentials or certificate: RETRYABLE from the refusals budget.
    #[serde(default)]
    pub refusal: bool,
    /// Result of checking the ack token; written by whoever brought the report in.
    #[serde(default)]
    pub token: Option<TokenCheck>,
    /// The token that came with the request, as a target returns it on the acks topic; never kept by the engine.
    #[serde(default)]
    pub ack_token: Option<String>,
    /// The receiver's own reference.
    #[serde(default)]
    pub reference: Option<String>,
    /// Digest of what the receiver got.
    #[serde(default)]
    pub received_digest: Option<String>,
    /// Size of what the receiver got.
    #[serde(default)]
    pub received_size: Option<i64>,
    /// The bytes of the file, where a fetch was told to record them; never kept by the engine.
    #[serde(default)]
    pub content: Option<Bytes>,
    /// Set where kind is TIMER.
    #[serde(default)]
    pub timer: Option<Timer>,
    /// Where the report first stood, if it came from acks.
    #[serde(default)]
    pub origin: Option<Origin>,
}

impl Outcome {
    /// A report that says nothing but this: no attempt, no code, no evidence.
    pub fn new(
        file_id: FileId,
        target: TargetName,
        kind: OutcomeKind,
        reporter: Reporter,
        reported_at: Timestamp,
    ) -> Self {
        Self {
            file_id,
            target,
            attempt: None,
            kind,
            reporter,
            reported_at,
            code: String::new(),
            detail: None,
            evidence: None,
            retry_after_ms: None,
            refusal: false,
            token: None,
            ack_token: None,
            reference: None,
            received_digest: None,
            received_size: None,
            content: None,
            timer: None,
            origin: None,
        }
    }
}
