//! One exchange with a target: the request as planned, and what came of it.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Certificate, Client, Method, Request, Response, Url};
use sha2::{Digest, Sha256};

use super::gate::{Gate, GatedBody};
use crate::record::{Confirmation, DispatchAttempt, PlannedDispatch, TransportKind, attempt_key};
use crate::transport::{AckTokens, Answer, Exchange, hex};

/// Most bytes of an answer's body that are read; rules see no more.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How long an idle connection is kept. Shorter than what servers commonly wait before they close one, because a request
/// that meets a closing connection has an unknown fate.
const POOL_IDLE: Duration = Duration::from_secs(3);

/// The HTTP client. It sends what it is told, once: no redirects, no retries, no cookies, no proxies from the environment.
///
/// The roots of trust are the system's. Where there are none, every certificate is invalid and plain HTTP works.
pub(super) fn client(connect_timeout: Duration, also_trusted: &[Certificate]) -> Result<Client, reqwest::Error> {
    // An error means that the process has a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(POOL_IDLE)
    };
    builder().tls_certs_merge(also_trusted.iter().cloned()).build().or_else(|e| {
        let why = causes(&e);
        tracing::warn!("the system's roots of trust can't be used, no certificate will be valid: {why}");
        builder().tls_certs_only([]).build()
    })
}

/// The request of an attempt: as planned, with the headers that identify the attempt.
///
/// The error says why it can't be built.
pub(super) fn request(
    plan: &PlannedDispatch,
    attempt: &DispatchAttempt,
    tokens: &AckTokens,
    gate: &Arc<Gate>,
) -> Result<Request, String> {
    let planned = &plan.request;
    if plan.transport != TransportKind::Http {
        return Err(format!("the plan's transport is {}, not http", plan.transport));
    }
    if planned.body_of_file.is_some() {
        return Err("the http transport sends no file bodies".into());
    }
    let url = Url::parse(&planned.destination).map_err(|e| format!("the destination is no URL: {e}"))?;
    let method = planned.method.as_deref().unwrap_or("POST");
    let method = Method::from_bytes(method.as_bytes()).map_err(|e| format!("method `{method}`: {e}"))?;
    let mut request = Request::new(method, url);
    *request.headers_mut() = headers(plan, attempt, tokens)?;
    if let Some(body) = planned.body.as_ref().filter(|body| !body.0.is_empty()) {
        let bytes = Bytes::from_owner(Arc::clone(&body.0));
        *request.body_mut() = Some(Body::wrap(GatedBody::new(Arc::clone(gate), bytes)));
    }
    Ok(request)
}

fn headers(plan: &PlannedDispatch, attempt: &DispatchAttempt, tokens: &AckTokens) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: &str| -> Result<(), String> {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|e| format!("header `{name}`: {e}"))?;
        let value = HeaderValue::from_str(value).map_err(|e| format!("the value of header `{name}`: {e}"))?;
        headers.insert(key, value);
        Ok(())
    };
    for (name, value) in &plan.request.headers {
        set(name, value)?;
    }
    set(CONTENT_TYPE.as_str(), &plan.request.content_type)?;
    set("idempotency-key", &plan.idempotency_key)?;
    set("consign-attempt", &attempt.attempt.to_string())?;
    set("consign-attempts-left", &attempt.attempts_left.to_string())?;
    set("traceparent", &traceparent(attempt))?;
    if matches!(plan.confirmed_by.by, Confirmation::Acks | Confirmation::Callback) {
        set("consign-ack-token", &tokens.issue(&plan.idempotency_key))?;
    }
    Ok(headers)
}

/// W3C trace context of an attempt, version 00, sampled. All requests of a file share its trace, and each attempt is a
/// span of it: the trace id is the beginning of SHA-256 of the `file_id`, the span id that of `file_id/target/attempt`.
fn traceparent(attempt: &DispatchAttempt) -> String {
    let trace = Sha256::digest(attempt.file_id.as_str());
    let span = Sha256::digest(attempt_key(&attempt.file_id, &attempt.target, attempt.attempt));
    format!("00-{}-{}-01", hex(&trace[..16]), hex(&span[..8]))
}

/// Sends a request and reads its answer. The gate tells afterwards whether the request had left.
pub(super) async fn exchange(client: &Client, request: Request, gate: &Gate) -> Exchange {
    let begun = Instant::now();
    let https = request.url().scheme() == "https";
    // An empty body is never asked for, so the gate is asked here.
    if request.body().is_none() && !gate.pass() {
        return kept_back(gate);
    }
    match client.execute(request).await {
        Ok(response) => read(response, begun).await,
        Err(e) => unanswered(&e, https, gate),
    }
}

/// A request that the gate kept back.
pub(super) fn kept_back(gate: &Gate) -> Exchange {
    if gate.was_late() {
        Exchange::NotSent { code: "dropped_unsent", detail: "the time to send it by had passed".into() }
    } else {
        Exchange::NotSent { code: "stopped", detail: "the worker stopped before it was sent".into() }
    }
}

async fn read(mut response: Response, begun: Instant) -> Exchange {
    let status = response.status().as_u16();
    let headers = joined(response.headers());
    let mut body = Vec::new();
    let mut truncated = false;
    while !truncated {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = MAX_ANSWER_BYTES - body.len();
                truncated = chunk.len() > room;
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            Ok(None) => break,
            Err(e) => {
                let code = if e.is_timeout() { "timeout" } else { "reset" };
                let detail = format!("status {status}, but the answer's body was cut: {}", causes(&e));
                return Exchange::Lost { code, detail };
            }
        }
    }
    Exchange::Answer(Answer { status, headers, body, truncated, took: begun.elapsed() })
}

fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        joined
            .entry(name.as_str().to_owned())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert_with(|| value.to_string());
    }
    joined
}

/// What an error of the client means: only what provably didn't leave is known not to have been processed.
fn unanswered(e: &reqwest::Error, https: bool, gate: &Gate) -> Exchange {
    let detail = causes(e);
    if gate.was_late() {
        return kept_back(gate);
    }
    if e.is_builder() {
        return Exchange::NotSent { code: "request_invalid", detail };
    }
    if e.is_connect() {
        return unconnected(e, https, detail);
    }
    // Closing the gate tells for sure: a request whose body was never asked for has not left.
    if gate.shut() {
        return Exchange::NotSent { code: "connect_failed", detail };
    }
    let code = if e.is_timeout() { "timeout" } else { "reset" };
    Exchange::Lost { code, detail }
}

fn unconnected(e: &reqwest::Error, https: bool, detail: String) -> Exchange {
    let certificate =
        |e: &rustls::Error| matches!(e, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented);
    let chain = chain(e);
    let tls = chain.iter().find_map(|e| e.downcast_ref::<rustls::Error>());
    let kind = chain.iter().rev().find_map(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind);
    let code = match (tls, kind) {
        (Some(tls), _) if certificate(tls) => return Exchange::Certificate { detail },
        _ if e.is_dns() => "resolve_failed",
        _ if e.is_timeout() => "connect_timeout",
        (Some(_), _) => "tls_failed",
        (None, Some(io::ErrorKind::ConnectionRefused)) => "connect_refused",
        // The connection stood, and ended during the handshake.
        (None, Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
            if https =>
        {
            "tls_failed"
        }
        _ => "connect_failed",
    };
    Exchange::NotSent { code, detail }
}

/// An error and all its causes, outermost first. An `io::Error` skips what it wraps in its own chain, so it is opened.
fn chain<'a>(e: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut chain = Vec::new();
    let mut next = Some(e);
    while let Some(e) = next {
        chain.push(e);
        let wrapped = e.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| e.source());
    }
    chain
}

/// An error with its causes, in one line.
fn causes(e: &(dyn StdError + 'static)) -> String {
    let mut text = e.to_string();
    for cause in chain(e).iter().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
