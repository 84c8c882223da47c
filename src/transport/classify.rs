//! What became of one exchange, as an outcome kind. Pure: it does no I/O and reads no clock.
//!
//! The target's own word counts first: its rules over the response (`duplicate`, `succeeded`, `rejected`, `retryable`,
//! in this order), then its status lists (`not_processed`, `rejected_status`). What they leave open is decided by the
//! status alone, and what that leaves open is UNKNOWN.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::quota;
use crate::record::{Confirmation, ConfirmedBy, Evidence, OutcomeKind, TextMap, Timestamp};

/// Most bytes of an answer that are kept as evidence, headers included.
const EVIDENCE_BYTES: usize = 16 * 1024;
/// Most bytes of one header that are kept as evidence.
const EVIDENCE_HEADER_BYTES: usize = 1024;
/// Most bytes of a detail.
const DETAIL_BYTES: usize = 1024;

/// The headers of an answer that are kept as evidence.
const EVIDENCE_HEADERS: [&str; 15] = [
    "content-length",
    "content-type",
    "date",
    "etag",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "request-id",
    "retry-after",
    "server",
    "traceparent",
    "via",
    "www-authenticate",
    "x-correlation-id",
    "x-request-id",
];

/// A complete answer of a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers by lower-case name; values of a repeated header are joined by `, `, invalid UTF-8 is replaced.
    pub headers: BTreeMap<String, String>,
    /// The body, up to the transport's limit.
    pub body: Vec<u8>,
    /// Whether the body was longer than what is here.
    pub truncated: bool,
    /// From the beginning of the exchange to here.
    pub took: Duration,
    /// Whether the request showed a token that was kept from before: a 401 then asks for a new one, not for a person.
    pub token_was_kept: bool,
}

/// Evaluates a rule of the routing document over an answer. An error says why the rule has no value here.
pub type Rule = Arc<dyn Fn(&str, &Answer) -> Result<bool, String> + Send + Sync>;

/// What became of one exchange. Codes are stable words, such as `connect_refused`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// The request provably didn't leave.
    NotSent {
        /// `resolve_failed`, `connect_refused`, `connect_failed`, `connect_timeout`, `tls_failed`, `egress_refused`,
        /// `secret_missing`, `token_unavailable`, `dropped_unsent`, `request_invalid` or `stopped`.
        code: &'static str,
        /// The cause in words.
        detail: String,
    },
    /// The target's certificate is not trusted; the request didn't leave.
    Certificate {
        /// The cause in words.
        detail: String,
    },
    /// Our credentials were refused before the request left.
    Refused {
        /// `credentials_refused`.
        code: &'static str,
        /// The cause in words.
        detail: String,
    },
    /// The request, or part of it, left, and no complete answer came.
    Lost {
        /// `timeout`, `reset` or `stopped`.
        code: &'static str,
        /// The cause in words.
        detail: String,
    },
    /// The log of another system has the record.
    Delivered {
        /// Where.
        detail: String,
    },
    /// The target answered.
    Answer(Answer),
}

/// What a transport reports about one exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What the report says.
    pub kind: OutcomeKind,
    /// A stable word for the cause: `http_<status>`, `certificate_invalid`, or the code of the exchange.
    pub code: String,
    /// What decided, and which rules couldn't be evaluated.
    pub detail: Option<String>,
    /// Whether credentials or the certificate were refused: the refusals budget pays.
    pub refusal: bool,
    /// How long the target asked to wait, in milliseconds; only where the kind is RETRYABLE.
    pub retry_after_ms: Option<i64>,
    /// How long the target says that nothing is left of its quota, in milliseconds, whatever became of this request.
    pub exhausted_for_ms: Option<i64>,
    /// The digest of what arrived, where the answer names one: `received_digest` of its JSON body.
    pub received_digest: Option<String>,
    /// What the target answered.
    pub evidence: Option<Evidence>,
}

/// Decides what became of an exchange; see the module's description for the order. `now` is what a date in Retry-After
/// is compared with.
pub fn classify(
    confirmed_by: &ConfirmedBy,
    exchange: &Exchange,
    now: Timestamp,
    rule: &dyn Fn(&str, &Answer) -> Result<bool, String>,
) -> Verdict {
    match exchange {
        Exchange::NotSent { code, detail } => without_answer(OutcomeKind::Retryable, code, detail),
        Exchange::Certificate { detail } => {
            Verdict { refusal: true, ..without_answer(OutcomeKind::Retryable, "certificate_invalid", detail) }
        }
        Exchange::Refused { code, detail } => {
            Verdict { refusal: true, ..without_answer(OutcomeKind::Retryable, code, detail) }
        }
        Exchange::Lost { code, detail } => without_answer(OutcomeKind::Unknown, code, detail),
        Exchange::Delivered { detail } => {
            let kind = match confirmed_by.by {
                Confirmation::Transport => OutcomeKind::Succeeded,
                Confirmation::Acks | Confirmation::Callback => OutcomeKind::Accepted,
                Confirmation::Response => OutcomeKind::Unknown,
            };
            without_answer(kind, "delivered", detail)
        }
        Exchange::Answer(answer) => of_answer(confirmed_by, answer, now, rule),
    }
}

fn without_answer(kind: OutcomeKind, code: &str, detail: &str) -> Verdict {
    let detail = Some(cut(detail, DETAIL_BYTES).to_owned());
    Verdict {
        kind,
        code: code.to_owned(),
        detail,
        refusal: false,
        retry_after_ms: None,
        exhausted_for_ms: None,
        received_digest: None,
        evidence: None,
    }
}

fn of_answer(
    confirmed_by: &ConfirmedBy,
    answer: &Answer,
    now: Timestamp,
    rule: &dyn Fn(&str, &Answer) -> Result<bool, String>,
) -> Verdict {
    let mut notes = Vec::new();
    let retry_after = answer.headers.get("retry-after").and_then(|value| retry_after_ms(value, now));
    let exhausted_for_ms = quota::exhausted_for_ms(&answer.headers);
    let kind = by_rules(confirmed_by, answer, rule, &mut notes)
        .or_else(|| by_lists(confirmed_by, answer.status, &mut notes))
        .unwrap_or_else(|| by_default(confirmed_by.by, answer.status, retry_after.is_some(), &mut notes));
    let received_digest = received_digest(&answer.body);
    let unproven = unproven(confirmed_by, kind, received_digest.as_deref());
    let kind = match unproven {
        Some((_, why)) => {
            notes.push(why.into());
            OutcomeKind::Unknown
        }
        None => kind,
    };
    let retryable = kind == OutcomeKind::Retryable;
    Verdict {
        kind,
        code: unproven.map_or_else(|| format!("http_{}", answer.status), |(code, _)| code.to_owned()),
        detail: (!notes.is_empty()).then(|| cut(&notes.join("; "), DETAIL_BYTES).to_owned()),
        refusal: retryable && matches!(answer.status, 401 | 403 | 407 | 410) && !answer.token_was_kept,
        // What is asked for in so many words goes before what is left of a quota.
        retry_after_ms: retry_after.or(exhausted_for_ms).filter(|_| retryable),
        exhausted_for_ms,
        received_digest,
        evidence: Some(evidence(answer)),
    }
}

/// Why a success isn't proven, with its code: the plan asks for a receipt, and the answer isn't the right one.
fn unproven(
    confirmed_by: &ConfirmedBy,
    kind: OutcomeKind,
    received: Option<&str>,
) -> Option<(&'static str, &'static str)> {
    let says_success = matches!(kind, OutcomeKind::Succeeded | OutcomeKind::Duplicate);
    let receipt = confirmed_by.receipt.as_deref().filter(|_| says_success)?;
    match received {
        None => Some(("receipt_missing", "the answer doesn't say what arrived: it has no `received_digest`")),
        Some(received) if received != receipt => {
            Some(("receipt_differs", "the answer says that something else arrived"))
        }
        Some(_) => None,
    }
}

/// The `received_digest` of an answer whose body is a JSON object, where it is a SHA-256 as consign writes them.
fn received_digest(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Receipt {
        received_digest: String,
    }
    const NAME: &[u8] = b"received_digest";
    // Most answers have none, and needn't be read as JSON for it.
    body.windows(NAME.len()).find(|window| *window == NAME)?;
    let Receipt { received_digest } = serde_json::from_slice(body).ok()?;
    let hex = received_digest.strip_prefix("sha256:")?;
    let is_digest = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_digest.then_some(received_digest)
}

/// What the target's rules say. Success is a response's to tell only where the target is confirmed by its response.
fn by_rules(
    confirmed_by: &ConfirmedBy,
    answer: &Answer,
    rule: &dyn Fn(&str, &Answer) -> Result<bool, String>,
    notes: &mut Vec<String>,
) -> Option<OutcomeKind> {
    let by_response = confirmed_by.by == Confirmation::Response;
    let rules = [
        ("duplicate", confirmed_by.duplicate.as_ref().filter(|_| by_response), OutcomeKind::Duplicate),
        ("succeeded", confirmed_by.succeeded.as_ref().filter(|_| by_response), OutcomeKind::Succeeded),
        ("rejected", confirmed_by.rejected.as_ref(), OutcomeKind::Rejected),
        ("retryable", confirmed_by.retryable.as_ref(), OutcomeKind::Retryable),
    ];
    for (name, text, kind) in rules {
        match text.map(|text| rule(text, answer)) {
            Some(Ok(true)) => {
                notes.push(format!("the target's rule `{name}` holds"));
                return Some(kind);
            }
            Some(Err(why)) => notes.push(format!("the target's rule `{name}` has no value: {why}")),
            Some(Ok(false)) | None => {}
        }
    }
    None
}

fn by_lists(confirmed_by: &ConfirmedBy, status: u16, notes: &mut Vec<String>) -> Option<OutcomeKind> {
    let status = i32::from(status);
    if confirmed_by.not_processed.contains(&status) {
        notes.push("the target lists the status as not_processed".into());
        Some(OutcomeKind::Retryable)
    } else if confirmed_by.rejected_status.contains(&status) {
        notes.push("the target lists the status as rejected".into());
        Some(OutcomeKind::Rejected)
    } else {
        None
    }
}

fn by_default(by: Confirmation, status: u16, retry_after: bool, notes: &mut Vec<String>) -> OutcomeKind {
    match status {
        200..=299 => match by {
            Confirmation::Transport => OutcomeKind::Succeeded,
            Confirmation::Acks | Confirmation::Callback => OutcomeKind::Accepted,
            Confirmation::Response => {
                notes.push("no rule of the target names this answer".into());
                OutcomeKind::Unknown
            }
        },
        300..=399 | 400 | 405 | 406 | 411 | 413..=415 | 422 | 431 | 501 | 505 => OutcomeKind::Rejected,
        404 | 425 | 429 => OutcomeKind::Retryable,
        503 if retry_after => OutcomeKind::Retryable,
        401 | 403 | 407 | 410 => {
            notes.push("the target refused the request's credentials or address".into());
            OutcomeKind::Retryable
        }
        _ => OutcomeKind::Unknown,
    }
}

/// Milliseconds that a Retry-After asks for: a number of seconds or a date in any of HTTP's three forms, 0 for one that
/// has passed. `None` where the value is neither or too large.
fn retry_after_ms(value: &str, now: Timestamp) -> Option<i64> {
    let value = value.trim();
    if value.bytes().all(|b| b.is_ascii_digit()) {
        return value.parse::<i64>().ok()?.checked_mul(1000);
    }
    let date = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let date = i64::try_from(date.as_millis()).ok()?;
    Some(Timestamp(date).millis_since(now).max(0))
}

fn evidence(answer: &Answer) -> Evidence {
    let headers: TextMap = answer
        .headers
        .iter()
        .filter(|(name, _)| EVIDENCE_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), cut(value, EVIDENCE_HEADER_BYTES).to_owned()))
        .collect();
    let body = String::from_utf8_lossy(&answer.body);
    let kept = cut(&body, EVIDENCE_BYTES.saturating_sub(headers.bytes()));
    Evidence {
        status: Some(i32::from(answer.status)),
        headers,
        body: Some(kept.to_owned()),
        truncated: answer.truncated || kept.len() < body.len(),
        took_ms: i64::try_from(answer.took.as_millis()).ok(),
    }
}

/// The longest beginning of a text that has at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
