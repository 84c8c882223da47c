//! Receives files: verifies each signature, and puts each body under its webhook-id into the directory INBOX.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use standardwebhooks::Webhook;

/// What each request needs.
pub struct Receiver {
    /// Verifies.
    pub webhook: Webhook,
    /// What it fills.
    pub inbox: PathBuf,
}

/// The service; bodies of more than 2 MB are answered 413.
pub fn app(receiver: Receiver) -> Router {
    Router::new().fallback(receive).with_state(Arc::new(receiver))
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok());
    let Some(id) = id.filter(|_| receiver.webhook.verify(&body, &headers).is_ok()) else {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "the signature is missing, wrong or too old"})));
    };
    let Ok(()) = keep(&receiver, id, &body) else {
        let error = json!({"error": "it is not known whether it was taken"});
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(error));
    };
    let digest: Vec<String> = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    (StatusCode::OK, Json(json!({"result": "ok", "received_digest": format!("sha256:{}", digest.concat())})))
}

/// Every attempt has the same id and the same bytes: the second time changes nothing.
fn keep(receiver: &Receiver, id: &str, body: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".").tempfile_in(&receiver.inbox)?;
    file.write_all(body)?;
    file.as_file().sync_all()?;
    file.persist(receiver.inbox.join(id))?;
    Ok(())
}

#[tokio::main]
#[allow(dead_code, reason = "a test runs the service without it")]
async fn main() -> io::Result<()> {
    let variable = |name: &str| std::env::var(name).map_err(|e| io::Error::other(format!("{name}: {e}")));
    let webhook = Webhook::new(&variable("WEBHOOK_SECRET")?).map_err(io::Error::other)?;
    let inbox = variable("INBOX")?.into();
    let port = std::env::var("PORT").unwrap_or_else(|_| "8492".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, app(Receiver { webhook, inbox })).await
}
