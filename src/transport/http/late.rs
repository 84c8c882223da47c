//! A request without a body can't ask its gate by its body: the HTTP client writes its head as soon as there is a
//! connection. So it has a connection of its own, and the connector asks the gate once that stands, TLS included, as the
//! last thing before the head is written.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::gate::{Gate, KeptBack};

tokio::task_local! {
    /// The gate of the request that this task sends.
    pub(super) static GATE: Arc<Gate>;
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Puts the gate behind a connector.
#[derive(Debug, Clone, Copy)]
pub(super) struct GateLayer;

impl<C> Layer<C> for GateLayer {
    type Service = Gated<C>;

    fn layer(&self, connector: C) -> Gated<C> {
        Gated { connector }
    }
}

/// A connector whose connections count only while the gate lets pass.
#[derive(Debug, Clone)]
pub(super) struct Gated<C> {
    connector: C,
}

impl<C, R> Service<R> for Gated<C>
where
    C: Service<R, Error = BoxError>,
    C::Future: Send + 'static,
    C::Response: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The client connects within the future that the request's task polls.
        let gate = GATE.try_with(Arc::clone);
        let connecting = self.connector.call(request);
        Box::pin(async move {
            let connection = connecting.await?;
            match gate {
                Ok(gate) if gate.pass() => Ok(connection),
                _ => Err(Box::new(KeptBack) as BoxError),
            }
        })
    }
}
