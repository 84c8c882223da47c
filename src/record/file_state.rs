//! The authoritative state of a file, as anyone may join it.

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;
use super::{Cause, Failure, FileId, OutcomeKind, TargetName, Timestamp};

text_enum! {
    /// Where the file stands. COMPLETED and FAILED are final.
    State, "SCREAMING_SNAKE_CASE" {
        /// `RECEIVED`
        Received = "RECEIVED",
        /// `VALIDATED`
        Validated = "VALIDATED",
        /// `DISTRIBUTING`
        Distributing = "DISTRIBUTING",
        /// `COMPLETED`
        Completed = "COMPLETED",
        /// `FAILED`
        Failed = "FAILED",
    }
}

text_enum! {
    /// Where the dispatch stands.
    Status, "SCREAMING_SNAKE_CASE" {
        /// `PENDING`
        Pending = "PENDING",
        /// `IN_FLIGHT`
        InFlight = "IN_FLIGHT",
        /// `AWAITING`
        Awaiting = "AWAITING",
        /// `BACKING_OFF`
        BackingOff = "BACKING_OFF",
        /// `HELD`
        Held = "HELD",
        /// `SUCCEEDED`
        Succeeded = "SUCCEEDED",
        /// `FAILED`
        Failed = "FAILED",
        /// `CANCELLED`
        Cancelled = "CANCELLED",
    }
}

/// Attempts left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Automatic ones.
    pub attempts: i32,
    /// Those an operator may grant.
    pub operator_attempts: i32,
    /// Refusals before HELD.
    pub refusals: i32,
}

text_enum! {
    /// Why a person must decide.
    HeldBecause, "snake_case" {
        /// `fate_unknown`
        FateUnknown = "fate_unknown",
        /// `budget_spent`
        BudgetSpent = "budget_spent",
        /// `confirmation_overdue`
        ConfirmationOverdue = "confirmation_overdue",
        /// `file_overdue`
        FileOverdue = "file_overdue",
        /// `refused`
        Refused = "refused",
    }
}

text_enum! {
    /// Who settled it.
    SettledBy, "snake_case" {
        /// `target`
        Target = "target",
        /// `operator`
        Operator = "operator",
        /// `deadline`
        Deadline = "deadline",
    }
}

text_enum! {
    /// What happens.
    NextEventKind, "snake_case" {
        /// `attempt`
        Attempt = "attempt",
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

/// What happens next if nobody does anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextEvent {
    /// What happens.
    pub what: NextEventKind,
    /// When.
    pub at: Timestamp,
    /// At which target.
    #[serde(default)]
    pub target: Option<TargetName>,
}

/// The newest report that counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastOutcome {
    /// What it said.
    pub kind: OutcomeKind,
    /// Its cause.
    pub code: String,
    /// When it was judged.
    pub at: Timestamp,
    /// The attempt it is about.
    #[serde(default)]
    pub attempt: Option<i32>,
}

/// Who must act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accountable {
    /// `consign`, `operator`, `producer:` and its name, or a target's owner.
    pub party: String,
    /// Since when.
    pub since: Timestamp,
}

/// One dispatch within file-state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DispatchState {
    /// The target.
    pub target: TargetName,
    /// Where it stands.
    pub status: Status,
    /// The file's version at which status or attempt last changed; interventions name it.
    pub version: i64,
    /// Attempts authorized so far.
    pub attempts: i32,
    /// Attempts left.
    pub budget: Budget,
    /// Who is accountable for the target.
    pub owner: String,
    /// Since when it stands there.
    pub since: Timestamp,
    /// Why a person must decide.
    #[serde(default)]
    pub held_because: Option<HeldBecause>,
    /// Escalations so far.
    #[serde(default)]
    pub escalations: i32,
    /// Who settled it.
    #[serde(default)]
    pub settled_by: Option<SettledBy>,
    /// What happens next.
    #[serde(default)]
    pub next_event: Option<NextEvent>,
    /// The newest report that counted.
    #[serde(default)]
    pub last_outcome: Option<LastOutcome>,
    /// Who must act; null once settled.
    #[serde(default)]
    pub accountable: Option<Accountable>,
}

/// The one authoritative state of a file. Key: file_id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileState {
    /// The file.
    pub file_id: FileId,
    /// Where the file stands.
    pub state: State,
    /// Count of the file's events; rises with every record.
    pub version: i64,
    /// Cause of the last event.
    pub cause: Cause,
    /// From the manifest.
    pub schema_version: i32,
    /// From the manifest.
    pub file_type: String,
    /// From the manifest.
    pub name: String,
    /// From the manifest.
    pub produced_by: String,
    /// The FAILED file that this one takes up.
    #[serde(default)]
    pub supersedes: Option<FileId>,
    /// Digest of the manifest.
    pub arrival_digest: String,
    /// Digest of the verified content.
    #[serde(default)]
    pub content_digest: Option<String>,
    /// Routing document of the plan.
    #[serde(default)]
    pub routing_digest: Option<String>,
    /// Digest of the plan.
    #[serde(default)]
    pub plan_digest: Option<String>,
    /// Every dispatch of the plan in order.
    pub dispatches: Vec<DispatchState>,
    /// Who must act for the file to finish; on a FAILED file, who must answer for it; null once COMPLETED.
    #[serde(default)]
    pub accountable: Option<Accountable>,
    /// The next thing that happens by itself; null once settled.
    #[serde(default)]
    pub next_event: Option<NextEvent>,
    /// Whether the deadline has passed.
    #[serde(default)]
    pub overdue: bool,
    /// Whether it is certain before the deadline that the file can't be COMPLETED by it without a person.
    #[serde(default)]
    pub deadline_lost: bool,
    /// Why it FAILED.
    #[serde(default)]
    pub reason: Option<Failure>,
    /// When it is overdue.
    pub deadline: Timestamp,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// When its plan was made.
    #[serde(default)]
    pub validated_at: Option<Timestamp>,
    /// When its first attempt was authorized.
    #[serde(default)]
    pub distributing_at: Option<Timestamp>,
    /// When it became COMPLETED or FAILED.
    #[serde(default)]
    pub settled_at: Option<Timestamp>,
}
