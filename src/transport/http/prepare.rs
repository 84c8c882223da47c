//! From a plan and an attempt to a request that only has to leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Client, Method, Request, Url};
use sha2::{Digest, Sha256};

use super::Shared;
use super::auth::{Kept, Shown};
use super::clients::Wire;
use super::gate::{Gate, GatedBody};
use super::unsent::Unsent;
use crate::record::{Confirmation, DispatchAttempt, OnUnknown, PlannedDispatch, TransportKind, attempt_key};
use crate::transport::secrets::Secret;
use crate::transport::{Answer, callback_url, hex, sign};

/// What stands where a target repeated a secret.
const REDACTED: &str = "[redacted]";
/// Shortest secret that is looked for: a shorter one would take apart what is harmless.
const MIN_REDACTED: usize = 4;

/// What goes with a request that only has to leave.
pub(super) struct Prepared {
    pub(super) client: Client,
    /// Whether the head may leave before the gate is asked.
    pub(super) heads_go_first: bool,
    /// What must not come back into a record.
    pub(super) secrets: Vec<Secret>,
    /// The token that the request shows, where it is kept.
    pub(super) kept: Option<Kept>,
}

impl Prepared {
    /// Takes out of an answer what the request held of secrets.
    pub(super) fn redact(&self, answer: &mut Answer) {
        for secret in self.secrets.iter().filter(|secret| secret.bytes().len() >= MIN_REDACTED) {
            answer.body = without(&answer.body, secret.bytes());
            let Some(text) = secret.text() else { continue };
            let quoted = serde_json::to_string(text).unwrap_or_default();
            answer.body = without(&answer.body, quoted.trim_matches('"').as_bytes());
            for value in answer.headers.values_mut() {
                *value = value.replace(text, REDACTED);
            }
        }
    }
}

/// Replaces every occurrence of `secret`.
fn without(bytes: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
        kept.extend_from_slice(&rest[..at]);
        kept.extend_from_slice(REDACTED.as_bytes());
        rest = &rest[at + secret.len()..];
    }
    kept.extend_from_slice(rest);
    kept
}

/// The request of an attempt: as planned, with the headers that identify the attempt and the secrets that the plan names.
pub(super) async fn prepare(
    shared: &Shared,
    plan: &PlannedDispatch,
    attempt: &DispatchAttempt,
    gate: &Arc<Gate>,
) -> Result<(Request, Prepared), Unsent> {
    let planned = &plan.request;
    if plan.transport == TransportKind::Kafka {
        return Err("the plan's transport is kafka, not http".to_owned().into());
    }
    if planned.body_of_file.is_some() {
        return Err("the http transport sends no file bodies".to_owned().into());
    }
    let url = Url::parse(&planned.destination).map_err(|e| format!("the destination is no URL: {e}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(format!("the scheme {} is not HTTP", url.scheme()).into());
    }
    let allowance = shared.clients.egress.of(&plan.target);
    allowance.check_url(&url)?;
    let method = planned.method.as_deref().unwrap_or("POST");
    let method = Method::from_bytes(method.as_bytes()).map_err(|e| format!("method `{method}`: {e}"))?;
    let body = planned.body.as_ref().filter(|body| !body.0.is_empty());
    let tls = planned.tls.as_ref();
    let wire = wire(plan);
    let client = shared.clients.of(&plan.target, tls, wire).await?;
    let shown = match &planned.auth {
        // Tokens are asked for over a client that keeps connections.
        Some(auth) => {
            let asking = shared.clients.of(&plan.target, tls, Wire::Any).await?;
            shared.bearer.show(auth, &shared.clients.secrets, &asking, &allowance).await?
        }
        None => Shown::default(),
    };
    let Shown { authorization, mut secrets, kept } = shown;
    let mut request = Request::new(method, url);
    for (name, value) in named(shared, plan, attempt, &mut secrets)? {
        set(request.headers_mut(), &name, &value)?;
    }
    if let Some(value) = authorization {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    signed(shared, plan, &mut request).await?;
    if let Some(body) = body {
        let bytes = Bytes::from_owner(Arc::clone(&body.0));
        *request.body_mut() = Some(Body::wrap(GatedBody::new(Arc::clone(gate), bytes)));
    }
    Ok((request, Prepared { client, heads_go_first: wire == Wire::Any, secrets, kept }))
}

/// A target that must not be asked twice gets nothing of a request that is said not to have left.
fn wire(plan: &PlannedDispatch) -> Wire {
    match (&plan.request.body, plan.on_unknown) {
        (Some(body), OnUnknown::Retry) if !body.0.is_empty() => Wire::Any,
        (Some(body), OnUnknown::Hold) if !body.0.is_empty() => Wire::Http1,
        _ => Wire::Single,
    }
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let key = HeaderName::from_bytes(name.as_bytes()).map_err(|e| format!("header `{name}`: {e}"))?;
    let value = HeaderValue::from_str(value).map_err(|e| format!("the value of header `{name}`: {e}"))?;
    headers.insert(key, value);
    Ok(())
}

/// What a request or a record carries beside its body, by lower-case name.
type Named = BTreeMap<String, String>;

fn named(
    shared: &Shared,
    plan: &PlannedDispatch,
    attempt: &DispatchAttempt,
    secrets: &mut Vec<Secret>,
) -> Result<Named, String> {
    let mut headers = plan.request.headers.clone();
    let mut own = |name: &str, value: String| drop(headers.insert(name.to_owned(), value));
    // A request without a body has no type of it.
    if !plan.request.content_type.is_empty() {
        own(CONTENT_TYPE.as_str(), plan.request.content_type.clone());
    }
    own("idempotency-key", plan.idempotency_key.clone());
    own("consign-attempt", attempt.attempt.to_string());
    own("consign-attempts-left", attempt.attempts_left.to_string());
    own("traceparent", traceparent(attempt));
    let by = plan.confirmed_by.by;
    if matches!(by, Confirmation::Acks | Confirmation::Callback) {
        let token = shared.tokens.issue(&plan.idempotency_key);
        own("consign-ack-token", token.clone());
        secrets.push(Secret::new(token.into_bytes()));
    }
    if by == Confirmation::Callback {
        let base = shared.callback_base.as_deref().ok_or("this process doesn't know the gateway's address")?;
        own("consign-callback-url", callback_url(base, attempt));
    }
    Ok(headers)
}

/// The headers of a record: those that a request would have, in UTF-8.
pub(super) fn record_headers(
    shared: &Shared,
    plan: &PlannedDispatch,
    attempt: &DispatchAttempt,
) -> Result<Vec<(String, Vec<u8>)>, String> {
    let headers = named(shared, plan, attempt, &mut Vec::new())?;
    Ok(headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect())
}

/// Adds the signatures of a webhook, at this very time.
async fn signed(shared: &Shared, plan: &PlannedDispatch, request: &mut Request) -> Result<(), Unsent> {
    let Some(names) = &plan.request.sign_with else { return Ok(()) };
    let mut keys = Vec::new();
    for name in names {
        keys.extend(shared.clients.secrets.fetch(name).await?.all().cloned());
    }
    let body = plan.request.body.as_ref().map(|body| &body.0[..]).unwrap_or_default();
    let signed = sign::headers(&plan.idempotency_key, (shared.clock)(), body, &keys);
    let signed = signed.map_err(|why| format!("with {}: {why}", names.join(", ")))?;
    for (name, value) in signed {
        set(request.headers_mut(), name, &value)?;
    }
    Ok(())
}

/// W3C trace context of an attempt, version 00, sampled. All requests of a file share its trace, and each attempt is a
/// span of it: the trace id is the beginning of SHA-256 of the `file_id`, the span id that of `file_id/target/attempt`.
fn traceparent(attempt: &DispatchAttempt) -> String {
    let trace = Sha256::digest(attempt.file_id.as_str());
    let span = Sha256::digest(attempt_key(&attempt.file_id, &attempt.target, attempt.attempt));
    format!("00-{}-{}-01", hex(&trace[..16]), hex(&span[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_goes() {
        assert_eq!(without(b"a key1 key1b", b"key1"), b"a [redacted] [redacted]b");
        assert_eq!(without(b"ke", b"key1"), b"ke");
    }
}
