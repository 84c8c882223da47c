//! What a process without the gateway's role serves: its health and its numbers, and nothing of the files.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::access::Access;
use super::health::{ReadyAnswer, healthz, status_of};
use super::problem::{Code, Problem};
use super::{GatewayError, Readiness, flag_of, serve_until};
use crate::metrics::Metrics;

/// `/healthz`, `/readyz` and `/metrics` of a process that is no gateway.
pub struct Observing {
    /// What `/metrics` shows: what this process counts. What counts files is a gateway's.
    pub metrics: Arc<Metrics>,
    /// Who may see the numbers.
    pub access: Access,
    /// What `/readyz` asks.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
}

impl Observing {
    /// Answers requests until `stop` is done; then those under way end within ten seconds. Clients are bounded as the gateway's.
    ///
    /// Fails at once if the address can be reached by others and there are no tokens.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), GatewayError> {
        self.access.check(listener.local_addr()?)?;
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .fallback(async || Problem::new(Code::CG307, "this process has no gateway: ask one that has"))
            .with_state(Arc::new(self));
        serve_until(listener, router, None, flag_of(stop)).await;
        Ok(())
    }
}

async fn readyz(State(observing): State<Arc<Observing>>) -> impl IntoResponse {
    let Readiness { ready, reasons } = (observing.readiness)();
    (status_of(ready), Json(ReadyAnswer { ready, reasons }))
}

async fn metrics(State(observing): State<Arc<Observing>>, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    observing.access.identify(&headers)?;
    observing.metrics.ready((observing.readiness)().ready);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], observing.metrics.render()))
}
