//! The headers of a request or a record that say which attempt it is and by what it is confirmed.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{AckTokens, callback_url, hex};
use crate::log::Headers;
use crate::record::{Confirmation, DispatchAttempt, PlannedDispatch, attempt_key};

/// What a request or a record carries beside its body, by lower-case name.
pub(super) type Named = BTreeMap<String, String>;

/// The header of the ack token.
pub(super) const TOKEN: &str = "consign-ack-token";

/// The planned headers with those that identify the attempt. Why there are none, in words: the gateway's address is needed
/// and isn't known.
pub(super) fn headers(
    plan: &PlannedDispatch,
    attempt: &DispatchAttempt,
    tokens: &AckTokens,
    callback_base: Option<&str>,
) -> Result<Named, String> {
    let mut headers = plan.request.headers.clone();
    let mut own = |name: &str, value: String| drop(headers.insert(name.to_owned(), value));
    // A request without a body has no type of it.
    if !plan.request.content_type.is_empty() {
        own("content-type", plan.request.content_type.clone());
    }
    own("idempotency-key", plan.idempotency_key.clone());
    own("consign-attempt", attempt.attempt.to_string());
    own("consign-attempts-left", attempt.attempts_left.to_string());
    own("traceparent", traceparent(attempt));
    let by = plan.confirmed_by.by;
    if matches!(by, Confirmation::Acks | Confirmation::Callback) {
        own(TOKEN, tokens.issue(&plan.idempotency_key));
    }
    if by == Confirmation::Callback {
        let base = callback_base.ok_or("this process doesn't know the gateway's address")?;
        let receipt = plan.confirmed_by.receipt.as_deref();
        let seal = receipt.map(|digest| tokens.seal(&plan.idempotency_key, digest));
        own("consign-callback-url", callback_url(base, attempt, seal.as_deref()));
    }
    Ok(headers)
}

/// The headers of a record: those that a request would have, in UTF-8. The error says in words why there are none.
pub fn record_headers(
    plan: &PlannedDispatch,
    attempt: &DispatchAttempt,
    tokens: &AckTokens,
    callback_base: Option<&str>,
) -> Result<Headers, String> {
    let headers = headers(plan, attempt, tokens, callback_base)?;
    Ok(headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect())
}

/// W3C trace context of an attempt, version 00, sampled. All requests of a file share its trace, and each attempt is a
/// span of it: the trace id is the beginning of SHA-256 of the `file_id`, the span id that of `file_id/target/attempt`.
fn traceparent(attempt: &DispatchAttempt) -> String {
    let trace = Sha256::digest(attempt.file_id.as_str());
    let span = Sha256::digest(attempt_key(&attempt.file_id, &attempt.target, attempt.attempt));
    format!("00-{}-{}-01", hex(&trace[..16]), hex(&span[..8]))
}
