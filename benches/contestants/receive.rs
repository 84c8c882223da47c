//! Receivers of the contest over HTTP: they answer at once, in a process of their own, so that what they cost is nobody's.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::options::{hear, say};

/// Answers until the driver has gone.
pub fn run() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    let app = Router::new().fallback(|_: Bytes| async { ([(CONTENT_TYPE, "application/json")], r#"{"result":"ok"}"#) });
    runtime.spawn(async move { axum::serve(listener, app).await });
    say("LISTENING", &json!({"port": port}));
    while hear().is_some() {}
}
