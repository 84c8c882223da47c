//! The frozen plan: one record for each dispatch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text_enum::text_enum;
use super::{Bytes, Cause, FileId, TargetName, Timestamp};

text_enum! {
    /// What carries the request.
    TransportKind, "snake_case" {
        /// `http`
        Http = "http",
        /// `webhook`
        Webhook = "webhook",
        /// `kafka`
        Kafka = "kafka",
    }
}

/// A request body that is the file itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileBody {
    /// URI of the bytes.
    pub location: String,
    /// Expected size in bytes.
    pub size: i64,
    /// Expected `sha256:` digest.
    pub digest: String,
}

text_enum! {
    /// How a request shows who sends it.
    AuthKind, "snake_case" {
        /// `basic`
        Basic = "basic",
        /// `bearer`
        Bearer = "bearer",
        /// `oauth2`
        Oauth2 = "oauth2",
    }
}

/// The credentials of a request: names of secrets, never their values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// How the request shows who sends it.
    pub kind: AuthKind,
    /// Name of the secret: the password, the token or the client's secret.
    pub secret: String,
    /// The user, or the client's id.
    #[serde(default)]
    pub user: Option<String>,
    /// Where a token is asked for, by client credentials.
    #[serde(default)]
    pub token_url: Option<String>,
    /// The scope that is asked for.
    #[serde(default)]
    pub scope: Option<String>,
    /// The audience that is asked for.
    #[serde(default)]
    pub audience: Option<String>,
}

/// The certificates of a request: names of secrets in PEM, never their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Name of the client's certificates.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Name of the client's key.
    #[serde(default)]
    pub key: Option<String>,
    /// Name of the only certificates to trust; null for those of the system.
    #[serde(default)]
    pub ca: Option<String>,
}

/// The exact request, frozen. Every attempt sends these bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// URL or topic.
    pub destination: String,
    /// HTTP method.
    #[serde(default)]
    pub method: Option<String>,
    /// Headers as planned; the transport adds only those that identify the attempt and the secrets that these name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Kafka record key, for a Kafka target.
    #[serde(default)]
    pub key: Option<String>,
    /// Media type of the body.
    pub content_type: String,
    /// The body, byte for byte; null where the file itself is the body.
    #[serde(default)]
    pub body: Option<Bytes>,
    /// Set where the file itself is the body.
    #[serde(default)]
    pub body_of_file: Option<FileBody>,
    /// The credentials that it shows.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// The certificates that it shows and trusts.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Names of the secrets that sign it, by Standard Webhooks.
    #[serde(default)]
    pub sign_with: Option<Vec<String>>,
    /// The Kafka cluster by its name in the runtime configuration; null for that of the log.
    #[serde(default)]
    pub cluster: Option<String>,
    /// True where the record is part of the transaction that authorizes its attempt; null where it isn't.
    #[serde(default)]
    pub in_transaction: Option<bool>,
}

impl Request {
    /// Whether the record is part of the transaction that authorizes its attempt.
    pub fn is_in_transaction(&self) -> bool {
        self.in_transaction == Some(true)
    }
}

text_enum! {
    /// What reports success: a rule over the response, a callback, a record on the acks topic, or delivery alone.
    Confirmation, "snake_case" {
        /// `response`
        Response = "response",
        /// `callback`
        Callback = "callback",
        /// `acks`
        Acks = "acks",
        /// `transport`
        Transport = "transport",
    }
}

/// By what this target's success is confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmedBy {
    /// What reports success.
    pub by: Confirmation,
    /// How long after acceptance the confirmation may take, in milliseconds.
    #[serde(default)]
    pub within_ms: Option<i64>,
    /// How far repeated ACCEPTED reports may extend the confirmation deadline, in milliseconds from the first acceptance.
    #[serde(default)]
    pub limit_ms: Option<i64>,
    /// CEL rule over the response that names success.
    #[serde(default)]
    pub succeeded: Option<String>,
    /// CEL rule over the response that names success because the target already had it.
    #[serde(default)]
    pub duplicate: Option<String>,
    /// CEL rule over the response that names a definite no.
    #[serde(default)]
    pub rejected: Option<String>,
    /// CEL rule over the response that names a request known not to have been processed.
    #[serde(default)]
    pub retryable: Option<String>,
    /// HTTP statuses that are REJECTED in addition to the default ones.
    #[serde(default)]
    pub rejected_status: Vec<i32>,
    /// HTTP statuses by which this target promises that it processed nothing: RETRYABLE.
    #[serde(default)]
    pub not_processed: Vec<i32>,
    /// Whether a callback or ack counts only with its valid token.
    #[serde(default)]
    pub token: bool,
    /// Name of the receiver's key by which the signature of a callback is verified.
    #[serde(default)]
    pub verify_with: Option<String>,
    /// The digest that a report of success must name as received; null where none is asked for.
    #[serde(default)]
    pub receipt: Option<String>,
}

impl ConfirmedBy {
    /// Confirmed in this way, and nothing else said: no rule, no list, no time, no token, signature or receipt asked for.
    pub const fn by(by: Confirmation) -> Self {
        Self {
            by,
            within_ms: None,
            limit_ms: None,
            succeeded: None,
            duplicate: None,
            rejected: None,
            retryable: None,
            rejected_status: Vec::new(),
            not_processed: Vec::new(),
            token: false,
            verify_with: None,
            receipt: None,
        }
    }
}

text_enum! {
    /// What follows when the fate of a request is unknown: a person decides, or the same request is sent again.
    OnUnknown, "snake_case" {
        /// `hold`
        Hold = "hold",
        /// `retry`
        Retry = "retry",
    }
}

text_enum! {
    /// What follows when a confirmation is overdue.
    OnOverdue, "snake_case" {
        /// `hold`
        Hold = "hold",
        /// `retry`
        Retry = "retry",
        /// `fail`
        Fail = "fail",
    }
}

text_enum! {
    /// What follows when the retry budget is spent.
    OnExhausted, "snake_case" {
        /// `hold`
        Hold = "hold",
        /// `fail`
        Fail = "fail",
    }
}

text_enum! {
    /// Whether the other dispatches of the file finish when this one fails, or those never sent are cancelled.
    OnFailed, "snake_case" {
        /// `settle`
        Settle = "settle",
        /// `cancel`
        Cancel = "cancel",
    }
}

/// The retry budgets and the schedule of one dispatch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Automatic attempts, the first included.
    pub attempts: i32,
    /// Attempts that operators may grant.
    pub operator_attempts: i32,
    /// Automatic attempts that may be refused (401, 403, 407, 410, certificate) before the dispatch is HELD.
    pub refusals: i32,
    /// Back-off before the second, third, ... attempt in milliseconds; the last entry repeats.
    pub schedule_ms: Vec<i64>,
    /// How far a back-off may exceed its schedule, in percent; the share is a hash of key and attempt.
    pub jitter_percent: i32,
    /// No automatic attempt is authorized later than this after the first, in milliseconds.
    #[serde(default)]
    pub give_up_after_ms: Option<i64>,
    /// Longest Retry-After that is honoured, in milliseconds; a longer one spends the budget.
    pub retry_after_max_ms: i64,
}

/// The bounds of one attempt, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// A request that has not left by then is dropped unsent.
    pub send_within_ms: i64,
    /// From the first byte sent to the last byte read.
    pub request_ms: i64,
    /// How far two clocks of the group may be apart.
    pub max_clock_skew_ms: i64,
}

/// When a HELD dispatch moves from its owner to the operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// After this long, in milliseconds.
    pub first_ms: i64,
    /// Doubling up to this, in milliseconds.
    pub max_ms: i64,
}

/// One dispatch of a file as planned, frozen for ever. Key: file_id/target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedDispatch {
    /// The file.
    pub file_id: FileId,
    /// The target's name in the routing document.
    pub target: TargetName,
    /// The file's version at which the plan was made.
    pub version: i64,
    /// The record that caused the plan.
    pub cause: Cause,
    /// Place of this dispatch in the plan, from 0.
    pub ordinal: i32,
    /// Number of dispatches in the plan.
    pub of: i32,
    /// Every target of the plan in order; only on ordinal 0.
    #[serde(default)]
    pub expected_targets: Option<Vec<TargetName>>,
    /// file_id/target: the key of every request of this dispatch.
    pub idempotency_key: String,
    /// The manifest_digest that the plan was made from.
    pub arrival_digest: String,
    /// Digest of the file's verified content, where it was read.
    #[serde(default)]
    pub content_digest: Option<String>,
    /// Digest of the routing document in force when the plan was made.
    pub routing_digest: String,
    /// Digest over all dispatches of the plan.
    pub plan_digest: String,
    /// Version of the planning code; raised whenever the same inputs would give other bytes.
    pub planner_version: i32,
    /// What carries the request.
    pub transport: TransportKind,
    /// The exact request.
    pub request: Request,
    /// Targets whose success this dispatch waits for.
    #[serde(default)]
    pub after: Vec<TargetName>,
    /// By what success is confirmed.
    pub confirmed_by: ConfirmedBy,
    /// When a request's fate is unknown.
    pub on_unknown: OnUnknown,
    /// When a confirmation is overdue.
    pub on_overdue: OnOverdue,
    /// When the budget is spent.
    pub on_exhausted: OnExhausted,
    /// What this dispatch's failure means for the others.
    pub on_failed: OnFailed,
    /// Budgets and schedule.
    pub retry: Retry,
    /// Bounds of an attempt.
    pub timeouts: Timeouts,
    /// When a person's turn moves on.
    pub escalation: Escalation,
    /// Whether an operator may confirm success by hand.
    #[serde(default)]
    pub operator_confirm: bool,
    /// When the file is overdue.
    pub file_deadline: Timestamp,
    /// Who is accountable for this target.
    pub owner: String,
    /// When the plan was made.
    pub planned_at: Timestamp,
}
