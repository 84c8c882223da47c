//! Hears what a receiver reports by callback, and answers as the gateway would.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Subject;
use super::hearing::{Hearing, Reports, is_success};
use crate::gateway::{Report, callback_signature, callback_token};
use crate::record::{PlannedDispatch, TokenCheck};
use crate::transport::{AckTokens, CALLBACKS, Secrets, sign, wall_clock};

/// Longest report, in bytes.
const MAX_REPORT: usize = 64 * 1024;

/// Why nobody can be heard.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address} for callbacks: {why}")]
pub struct ListenError {
    address: std::net::SocketAddr,
    why: std::io::Error,
}

struct Shared {
    reports: Arc<Reports>,
    tokens: Arc<AckTokens>,
    secrets: Secrets,
    verify_with: Option<String>,
    /// Whether a success must name the digest of what arrived.
    receipt: bool,
}

/// Ends the server.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens for callbacks.
pub(super) async fn hear(subject: &Subject, plan: &PlannedDispatch) -> Result<Hearing, ListenError> {
    let (address, base) = &subject.listen;
    let failed = |why| ListenError { address: *address, why };
    let listener = tokio::net::TcpListener::bind(*address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    let (reports, tokens) = (Arc::<Reports>::default(), super::sender::tokens());
    let shared = Shared {
        reports: Arc::clone(&reports),
        tokens: Arc::clone(&tokens),
        secrets: subject.secrets.clone(),
        verify_with: plan.confirmed_by.verify_with.clone(),
        receipt: plan.confirmed_by.receipt.is_some(),
    };
    let app =
        Router::new().route(&format!("{CALLBACKS}/{{file_id}}/{{target}}"), post(take)).with_state(Arc::new(shared));
    let server = tokio::spawn(async move {
        if let Err(e) = axum::serve(listener, app).await {
            tracing::error!("callbacks are not heard any more: {e}");
        }
    });
    let base = Some(base.clone().unwrap_or_else(|| format!("http://{local}")));
    Ok(Hearing { reports, base, tokens, _listener: Box::new(AbortOnDrop(server)) })
}

async fn take(
    State(shared): State<Arc<Shared>>,
    Path((file_id, target)): Path<(String, String)>,
    Query(of): Query<BTreeMap<String, String>>,
    request: Request,
) -> (StatusCode, Json<Value>) {
    let key = format!("{file_id}/{target}");
    let (parts, body) = request.into_parts();
    let answer = match to_bytes(body, MAX_REPORT).await {
        Ok(body) => checked(&shared, &key, &parts.headers, &body).await,
        Err(_) => Err((StatusCode::PAYLOAD_TOO_LARGE, "it is longer than 64 KiB, or was cut".to_owned())),
    };
    let (status, said) = match answer {
        Ok(report) => {
            let seal = of.get("receipt").map(String::as_str);
            let differs = |digest: &String| shared.tokens.is_sealed(&key, digest, seal) == Some(false);
            let is_unproven =
                shared.receipt && is_success(report.outcome) && report.received_digest.as_ref().is_none_or(differs);
            let status = match shared.reports.add(&key, Ok(report)) {
                _ if is_unproven => StatusCode::UNPROCESSABLE_ENTITY,
                true => StatusCode::CONFLICT,
                false => StatusCode::OK,
            };
            (status, json!({"status": null}))
        }
        Err((status, why)) => {
            shared.reports.add(&key, Err(why.clone()));
            (status, json!({"detail": why}))
        }
    };
    (status, Json(said))
}

async fn checked(shared: &Shared, key: &str, headers: &HeaderMap, body: &[u8]) -> Result<Report, (StatusCode, String)> {
    let refused = |status, why: &str| Err((status, why.to_owned()));
    if shared.tokens.check(key, callback_token(headers)) != TokenCheck::Ok {
        return refused(StatusCode::UNAUTHORIZED, "its token is not that of the request");
    }
    if let Some(name) = &shared.verify_with {
        let (secrets, name) = (shared.secrets.clone(), name.clone());
        let (signed, body) = (callback_signature(headers), body.to_vec());
        let check = move || {
            let signed = signed.each_ref().map(Option::as_deref);
            sign::verify_named((&secrets, &name), signed, &body, wall_clock()())
        };
        // The key is read from where it is.
        if !matches!(tokio::task::spawn_blocking(check).await, Ok(Ok(true))) {
            return refused(StatusCode::UNAUTHORIZED, "it isn't signed by the receiver's key");
        }
    }
    let report: Report = match serde_json::from_slice(body) {
        Ok(report) => report,
        Err(e) => return Err((StatusCode::UNPROCESSABLE_ENTITY, format!("it is no report: {e}"))),
    };
    match &report.idempotency_key {
        Some(named) if named != key => refused(StatusCode::UNAUTHORIZED, "it names another key than its URL"),
        None if shared.verify_with.is_some() => {
            refused(StatusCode::UNPROCESSABLE_ENTITY, "it is signed, and doesn't name its idempotency_key")
        }
        _ => Ok(report),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the gateway takes, a receiver may show: the scheme of a token in any case, or a header of its own.
    #[tokio::test]
    async fn a_token_counts_however_the_gateway_would_take_it() {
        let tokens = crate::certify::sender::tokens();
        let shared = Shared {
            reports: Arc::default(),
            tokens: Arc::clone(&tokens),
            secrets: Secrets::default(),
            verify_with: None,
            receipt: false,
        };
        let token = tokens.issue("f/t");
        let body = br#"{"outcome": "SUCCEEDED"}"#;
        for (name, value, counts) in [
            ("authorization", format!("Bearer {token}"), true),
            ("authorization", format!("bearer {token}"), true),
            ("authorization", format!("BEARER {token}"), true),
            ("consign-ack-token", token.clone(), true),
            ("authorization", format!("Basic {token}"), false),
            ("authorization", format!("bearer {token}x"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            let status = checked(&shared, "f/t", &headers, body).await.err().map(|(status, _)| status);
            assert_eq!(status, (!counts).then_some(StatusCode::UNAUTHORIZED), "{name}: {value}");
        }
    }
}
