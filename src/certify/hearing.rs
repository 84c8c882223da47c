//! Hears what a receiver reports by callback, and answers as the gateway would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Subject;
use crate::gateway::{Report, Reported, callback_signature, callback_token};
use crate::record::{PlannedDispatch, TokenCheck};
use crate::transport::{AckTokens, CALLBACKS, Secrets, sign, wall_clock};

/// Longest report, in bytes.
const MAX_REPORT: usize = 64 * 1024;
/// Most reports of one key that are kept.
const MAX_REPORTS: usize = 1_000;

/// Why nobody can be heard.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address} for callbacks: {why}")]
pub struct ListenError {
    address: std::net::SocketAddr,
    why: std::io::Error,
}

/// What came for one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    /// Reports that count, in order.
    pub(super) reports: Vec<Report>,
    /// Why others don't.
    pub(super) wrong: Vec<String>,
}

impl Heard {
    /// The first report that ends the dispatch.
    pub(super) fn end(&self) -> Option<&Report> {
        self.reports.iter().find(|report| settles(report.outcome))
    }
}

pub(super) fn settles(outcome: Reported) -> bool {
    matches!(outcome, Reported::Succeeded | Reported::Duplicate | Reported::Rejected)
}

pub(super) fn is_success(outcome: Reported) -> bool {
    matches!(outcome, Reported::Succeeded | Reported::Duplicate)
}

struct Shared {
    by_key: Mutex<BTreeMap<String, Heard>>,
    count: watch::Sender<usize>,
    tokens: Arc<AckTokens>,
    secrets: Secrets,
    verify_with: Option<String>,
}

/// Listens for callbacks until it is dropped.
pub(super) struct Hearing {
    shared: Arc<Shared>,
    /// The URL of the place, as the receiver reaches it.
    pub(super) base: String,
    /// What the tokens are made by.
    pub(super) tokens: Arc<AckTokens>,
    server: tokio::task::JoinHandle<()>,
}

impl Hearing {
    pub(super) async fn begin(subject: &Subject, plan: &PlannedDispatch) -> Result<Self, ListenError> {
        let (address, base) = &subject.listen;
        let failed = |why| ListenError { address: *address, why };
        let listener = tokio::net::TcpListener::bind(*address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let tokens = super::sender::tokens();
        let shared = Arc::new(Shared {
            by_key: Mutex::default(),
            count: watch::Sender::new(0),
            tokens: Arc::clone(&tokens),
            secrets: subject.secrets.clone(),
            verify_with: plan.confirmed_by.verify_with.clone(),
        });
        let app = Router::new()
            .route(&format!("{CALLBACKS}/{{file_id}}/{{target}}"), post(hear))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            if let Err(e) = axum::serve(listener, app).await {
                tracing::error!("callbacks are not heard any more: {e}");
            }
        });
        let base = base.clone().unwrap_or_else(|| format!("http://{local}"));
        Ok(Self { shared, base, tokens, server })
    }

    /// What came for a key so far.
    pub(super) fn of(&self, key: &str) -> Heard {
        self.shared.by_key.lock().expect("nothing panics while it is held").get(key).cloned().unwrap_or_default()
    }

    /// Waits until a condition holds, looked at with each report.
    pub(super) async fn until(&self, holds: impl Fn() -> bool) {
        let mut count = self.shared.count.subscribe();
        // The sender is in `shared`.
        let _ = count.wait_for(|_| holds()).await;
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn hear(
    State(shared): State<Arc<Shared>>,
    Path((file_id, target)): Path<(String, String)>,
    request: Request,
) -> (StatusCode, Json<Value>) {
    let key = format!("{file_id}/{target}");
    let (parts, body) = request.into_parts();
    let answer = match to_bytes(body, MAX_REPORT).await {
        Ok(body) => checked(&shared, &key, &parts.headers, &body).await,
        Err(_) => Err((StatusCode::PAYLOAD_TOO_LARGE, "it is longer than 64 KiB, or was cut".to_owned())),
    };
    let (status, said) = {
        let mut by_key = shared.by_key.lock().expect("nothing panics while it is held");
        let heard = by_key.entry(key).or_default();
        match answer {
            Ok(report) => {
                let contradicts = heard.end().is_some_and(|end| {
                    settles(report.outcome) && is_success(end.outcome) != is_success(report.outcome)
                });
                if heard.reports.len() < MAX_REPORTS {
                    heard.reports.push(report);
                }
                let status = if contradicts { StatusCode::CONFLICT } else { StatusCode::OK };
                (status, json!({"status": null}))
            }
            Err((status, why)) => {
                if heard.wrong.len() < MAX_REPORTS {
                    heard.wrong.push(why.clone());
                }
                (status, json!({"detail": why}))
            }
        }
    };
    shared.count.send_modify(|count| *count += 1);
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
            by_key: Mutex::default(),
            count: watch::Sender::new(0),
            tokens: Arc::clone(&tokens),
            secrets: Secrets::default(),
            verify_with: None,
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
