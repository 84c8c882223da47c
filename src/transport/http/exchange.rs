//! One exchange with a target: the request as planned, and what came of it.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use reqwest::header::HeaderMap;
use reqwest::{Client, Request, Response};

use super::gate::Gate;
use super::late;
use super::unsent::Unsent;
use crate::transport::egress::Refused;
use crate::transport::{Answer, Exchange};

/// Most bytes of an answer's body that are read; rules see no more.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What the client says of a proxy that answers 407 to the request for a tunnel.
const PROXY_REFUSES: &str = "proxy authorization required";

/// Sends a request and reads its answer. The gate tells afterwards whether the request had left.
///
/// The client of a request without a body asks the gate once it has connected, see [`late`]. `heads_go_first` says that the
/// client may speak HTTP/2.
pub(super) async fn exchange(client: &Client, request: Request, gate: &Arc<Gate>, heads_go_first: bool) -> Exchange {
    let begun = Instant::now();
    let https = request.url().scheme() == "https";
    if heads_go_first && https {
        gate.hand_over();
    }
    match late::GATE.scope(Arc::clone(gate), client.execute(request)).await {
        Ok(response) => read(response, begun).await,
        Err(e) => unanswered(&e, https, gate),
    }
}

/// A request that the gate kept back.
pub(super) fn kept_back(gate: &Gate) -> Exchange {
    match (gate.was_late(), gate.is_handed_over()) {
        (true, false) => {
            Exchange::NotSent { code: "dropped_unsent", detail: "the time to send it by had passed".into() }
        }
        (false, false) => Exchange::NotSent { code: "stopped", detail: "the worker stopped before it was sent".into() },
        (true, true) => {
            let detail = "the time to send it by had passed; over HTTP/2 its head may have left".into();
            Exchange::Lost { code: "cut_off", detail }
        }
        (false, true) => {
            let detail = "the worker stopped before it was sent whole; over HTTP/2 its head may have left".into();
            Exchange::Lost { code: "stopped", detail }
        }
    }
}

/// Why there is no token: nothing but the cause, without the request.
pub(super) fn token_unavailable(e: &reqwest::Error) -> Unsent {
    match Refused::among(&chain(e)) {
        Some(refused) => refused.clone().into(),
        None => Unsent::Token { detail: format!("the request for a token failed: {}", causes(e)) },
    }
}

/// Reads an answer, [`MAX_ANSWER_BYTES`] at most.
pub(super) async fn read(mut response: Response, begun: Instant) -> Exchange {
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
    Exchange::Answer(Answer { status, headers, body, truncated, took: begun.elapsed(), token_was_kept: false })
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
    let chain = chain(e);
    let never_connected = gate.is_handed_over() && e.is_connect();
    if gate.keeps_back() && !never_connected {
        return kept_back(gate);
    }
    if let Some(refused) = Refused::among(&chain) {
        return Unsent::Egress(refused.clone()).into();
    }
    if e.is_builder() {
        return Exchange::NotSent { code: "request_invalid", detail };
    }
    if e.is_connect() {
        return unconnected(e, https, detail);
    }
    // With TLS 1.3 a server reads our certificate after we have sent the request, and before it reads that.
    if chain.iter().any(|cause| cause.downcast_ref().is_some_and(refuses_certificate)) {
        return Exchange::Certificate { detail };
    }
    // Closing the gate tells for sure: a request whose body was never asked for has not left.
    if gate.shut() {
        return Exchange::NotSent { code: "connect_failed", detail };
    }
    let code = if e.is_timeout() { "timeout" } else { "reset" };
    Exchange::Lost { code, detail }
}

/// Whether the server ended the connection because of our certificate, or because we showed none.
fn refuses_certificate(e: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        e,
        rustls::Error::AlertReceived(
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::CertificateRequired
        )
    )
}

fn unconnected(e: &reqwest::Error, https: bool, detail: String) -> Exchange {
    let certificate = |e: &rustls::Error| {
        let is_invalid = matches!(e, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented);
        is_invalid || refuses_certificate(e)
    };
    let chain = chain(e);
    let tls = chain.iter().find_map(|e| e.downcast_ref::<rustls::Error>());
    let kind = chain.iter().rev().find_map(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind);
    // Of the tunnel's errors, only the text can be told apart.
    if chain.iter().any(|cause| cause.to_string().ends_with(PROXY_REFUSES)) {
        return Exchange::Refused { code: "http_407", detail };
    }
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
pub(in crate::transport) fn chain<'a>(e: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
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
pub(in crate::transport) fn causes(e: &(dyn StdError + 'static)) -> String {
    let mut text = e.to_string();
    for cause in chain(e).iter().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
