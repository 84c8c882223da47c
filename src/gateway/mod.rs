//! The HTTP API: submit and wait, look, intervene. It reports and asks; only the engine declares.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::log::{Append, Appender, Cluster};
use crate::metrics::Metrics;
use crate::record::{
    Codec, Controls, FileId, FileManifest, FileState, RoutingBundle, TargetName, Timestamp, Topic, TopicNames, Wire,
};
use crate::view::{Freshness, View};

mod access;
mod callbacks;
mod callers;
mod dead_letters;
mod extract;
mod files;
mod health;
mod interventions;
mod observing;
pub mod problem;
mod serve;
mod submit;
mod targets;

pub use access::{Access, Caller, LOCAL_ACTOR, Role, Token};
pub use callbacks::{
    CallbackChecks, CallbackLimits, CallbackRule, Recorded, Report, Reported, RuleOf, SignatureCheck, TokenComparison,
    callback_signature, callback_token,
};
pub use callers::CallerLimits;
pub use dead_letters::{DeadLetterAnswer, DeadLetterSummary, DeadLetters, Reinject, Reinjected};
pub use files::{FilePage, History};
pub use health::ReadyAnswer;
pub use interventions::{Judged, RequestedAction};
pub use observing::Observing;
pub use serve::TlsFiles;
pub use submit::{SoFar, Submission};
pub use targets::{PauseRequest, PausedState, TargetChange, TargetView, Targets};

use problem::{Code, Problem};

/// The age of the view in milliseconds, on every answer under `/v1`.
pub const VIEW_AGE: &str = "consign-view-age-ms";
/// Whether the view has caught up (`true` or `false`), on every answer under `/v1`.
pub const VIEW_CAUGHT_UP: &str = "consign-view-caught-up";

/// No request takes longer: the longest wait and the longest scan, with room.
const REQUEST_PATIENCE: Duration = Duration::from_mins(2);
/// How long the log may take to confirm one record.
const APPEND_PATIENCE: Duration = Duration::from_secs(15);
/// How long open connections are waited for at the end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long the view may need to read what a request is about, where it has only begun or is behind.
const VIEW_PATIENCE: Duration = Duration::from_secs(5);

/// Whether this process can do its work, and why not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// Why not, each in words.
    pub reasons: Vec<String>,
}

/// What the gateway asks of parts that are above it in nobody's house: pure functions of the domain.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The digest by which the engine tells manifests of one `file_id` apart.
    pub manifest_digest: fn(&FileManifest) -> String,
    /// The targets of a routing document and their owners; empty if it can't be read.
    pub targets_of: fn(&RoutingBundle) -> std::collections::BTreeMap<TargetName, String>,
    /// A file explained from everything that is recorded about it, as JSON. The error says why the records don't fit
    /// together.
    pub explain: fn(&[crate::view::HistoryEntry], &Controls, Timestamp) -> Result<serde_json::Value, String>,
}

/// Why the gateway doesn't serve.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address can be reached by others and there are no tokens.
    #[error("{0} can be reached from other machines: set tokens, or listen on 127.0.0.1")]
    Exposed(SocketAddr),
    /// A token is not well formed.
    #[error("{0}")]
    Token(String),
    /// The certificate or its key can't be used.
    #[error("tls: {0}")]
    Tls(String),
    /// The listener failed.
    #[error("the gateway can't serve: {0}")]
    Io(#[from] std::io::Error),
}

/// Everything that the HTTP API needs.
pub struct Gateway {
    /// The read model.
    pub view: View,
    /// The log, for changes of `controls`.
    pub cluster: Arc<dyn Cluster>,
    /// Where manifests, interventions and reinjected dead letters go.
    pub appender: Arc<dyn Appender>,
    /// Encodes what is appended.
    pub codec: Arc<Codec>,
    /// The names of the topics.
    pub names: TopicNames,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Who may call.
    pub access: Access,
    /// By which certificate it speaks TLS; plain HTTP without one.
    pub tls: Option<TlsFiles>,
    /// What `/readyz` asks, beside the view.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// Functions of the domain.
    pub rules: Rules,
    /// By what callbacks are believed.
    pub callbacks: CallbackChecks,
    /// How many changes it takes from one caller.
    pub callers: CallerLimits,
}

/// What every handler sees.
#[derive(Clone)]
struct App {
    gateway: Arc<Gateway>,
    callback_limits: Arc<callbacks::Limits>,
    rates: Arc<callers::Callers>,
    stopping: watch::Receiver<bool>,
}

impl std::ops::Deref for App {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

impl Gateway {
    /// Answers requests until `stop` is done; then those under way end within ten seconds, waits at once.
    ///
    /// Fails at once if the address can be reached by others and there are no tokens, or the certificate can't be used.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), GatewayError> {
        self.access.check(listener.local_addr()?)?;
        let certificate = self.tls.clone().map(serve::Certificate::read).transpose()?;
        let stopping = flag_of(stop);
        let callback_limits = Arc::new(callbacks::Limits::new(self.callbacks.limits));
        let rates = Arc::new(callers::Callers::new(self.callers));
        let app = App { gateway: Arc::new(self), callback_limits, rates, stopping: stopping.clone() };
        let certificate = certificate.map(Arc::new);
        if let Some(certificate) = &certificate {
            tokio::spawn(serve::keep_fresh(Arc::clone(certificate), stopping.clone()));
        }
        serve_until(listener, router(app), certificate, stopping).await;
        Ok(())
    }
}

/// Answers requests until the flag is up; then those under way end within [`STOP_PATIENCE`].
async fn serve_until(
    listener: TcpListener,
    router: Router,
    certificate: Option<Arc<serve::Certificate>>,
    stopping: watch::Receiver<bool>,
) {
    let serving = serve::serve(listener, router, certificate, stopping.clone());
    tokio::select! {
        () = serving => {}
        () = async { flagged(stopping).await; tokio::time::sleep(STOP_PATIENCE).await } => {}
    }
}

/// A flag that goes up once `stop` is done.
fn flag_of(stop: impl Future<Output = ()> + Send + 'static) -> watch::Receiver<bool> {
    let (stopped, stopping) = watch::channel(false);
    tokio::spawn(async move {
        stop.await;
        stopped.send_replace(true);
    });
    stopping
}

/// Done once the flag is up, or can't go up any more.
async fn flagged(mut flag: watch::Receiver<bool>) {
    flag.wait_for(|up| *up).await.ok();
}

/// Every route with its method and whether a viewer may use it; the `OpenAPI` document is checked against this list.
pub const ROUTES: &[(&str, &str, Option<Role>)] = &[
    ("POST", "/v1/files", Some(Role::Operator)),
    ("GET", "/v1/files", Some(Role::Viewer)),
    ("GET", "/v1/files/{file_id}", Some(Role::Viewer)),
    ("GET", "/v1/files/{file_id}/history", Some(Role::Viewer)),
    ("GET", "/v1/files/{file_id}/explain", Some(Role::Viewer)),
    ("POST", "/v1/files/{file_id}/interventions", Some(Role::Operator)),
    ("POST", "/v1/files/{file_id}/dispatches/{target}/interventions", Some(Role::Operator)),
    ("GET", "/v1/targets", Some(Role::Viewer)),
    ("POST", "/v1/targets/{target}/pause", Some(Role::Operator)),
    ("POST", "/v1/targets/{target}/resume", Some(Role::Operator)),
    ("GET", "/v1/dead-letters", Some(Role::Viewer)),
    ("GET", "/v1/dead-letters/{partition}/{offset}", Some(Role::Viewer)),
    ("POST", "/v1/dead-letters/{partition}/{offset}/reinject", Some(Role::Operator)),
    ("POST", "/v1/callbacks/{file_id}/{target}", None),
    ("GET", "/metrics", Some(Role::Viewer)),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
];

fn router(app: App) -> Router {
    let api = Router::new()
        .route("/v1/files", post(submit::submit).get(files::list))
        .route("/v1/files/{file_id}", get(files::file))
        .route("/v1/files/{file_id}/history", get(files::history))
        .route("/v1/files/{file_id}/explain", get(files::explain))
        .route("/v1/files/{file_id}/interventions", post(interventions::on_file))
        .route("/v1/files/{file_id}/dispatches/{target}/interventions", post(interventions::on_dispatch))
        .route("/v1/targets", get(targets::list))
        .route("/v1/targets/{target}/pause", post(targets::pause))
        .route("/v1/targets/{target}/resume", post(targets::resume))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/{partition}/{offset}", get(dead_letters::show))
        .route("/v1/dead-letters/{partition}/{offset}/reinject", post(dead_letters::reinject))
        .layer(from_fn_with_state(app.clone(), say_freshness))
        .route("/metrics", get(health::metrics))
        .layer(from_fn_with_state(app.clone(), access::authenticate));
    // Targets have no operator's token, but one for the dispatch.
    api.route("/v1/callbacks/{file_id}/{target}", post(callbacks::report))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .method_not_allowed_fallback(async || Problem::new(Code::CG308, "see docs/api"))
        .fallback(async || Problem::new(Code::CG307, "see docs/api"))
        .layer(DefaultBodyLimit::max(extract::MAX_BODY))
        .layer(middleware::from_fn(limit_time))
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app)
}

async fn limit_time(request: Request, next: Next) -> Response {
    tokio::time::timeout(REQUEST_PATIENCE, next.run(request)).await.unwrap_or_else(|_| {
        Problem::new(Code::CG309, format!("no answer within {} s", REQUEST_PATIENCE.as_secs())).into_response()
    })
}

async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = match *request.method() {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        // Callers choose methods freely: they must not choose labels.
        _ => "other",
    };
    let response = next.run(request).await;
    app.metrics.http_request(&route, method, response.status().as_u16());
    response
}

async fn say_freshness(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let freshness = app.view.freshness();
    let age = u64::try_from(freshness.age.as_millis()).unwrap_or(u64::MAX);
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(VIEW_AGE), HeaderValue::from(age));
    let caught_up = if freshness.caught_up { "true" } else { "false" };
    headers.insert(HeaderName::from_static(VIEW_CAUGHT_UP), HeaderValue::from_static(caught_up));
    response
}

impl App {
    /// The newest state of a file. "Not there" is said only by a view that has read everything.
    async fn known_file(&self, file_id: &FileId) -> Result<Arc<FileState>, Problem> {
        if self.view.file(file_id).is_none() {
            self.caught_up().await?;
        }
        self.view.file(file_id).ok_or_else(|| Problem::no_file(file_id))
    }

    /// Nothing, or the problem that the view can't say what is not there. A view that has only begun gets a moment to read;
    /// one that can't read on is not waited for.
    async fn caught_up(&self) -> Result<(), Problem> {
        let knows = |view: &Freshness| view.caught_up || view.trouble.is_some();
        self.wait(VIEW_PATIENCE, || knows(&self.view.freshness())).await;
        let freshness = self.view.freshness();
        if freshness.caught_up {
            return Ok(());
        }
        let why = freshness.trouble.unwrap_or_else(|| format!("{} records to read", freshness.records_behind));
        Err(Problem::new(Code::CG340, why))
    }

    async fn home_partitions(&self) -> Result<i32, Problem> {
        // Only a view that has read everything knows that it isn't there.
        if self.view.home_partitions().is_none() {
            self.caught_up().await?;
        }
        self.view.home_partitions().ok_or_else(problem::homeless)
    }

    /// Waits for the view to satisfy `condition`, `timeout` at most and not beyond the end of this process.
    async fn wait(&self, timeout: Duration, condition: impl Fn() -> bool) -> bool {
        tokio::select! {
            satisfied = self.view.wait_until(timeout, &condition) => satisfied,
            () = flagged(self.stopping.clone()) => condition(),
        }
    }

    /// The framed bytes of a record for the topic of its type.
    async fn encode<T: Wire + Send + 'static>(&self, value: T) -> Result<Vec<u8>, Problem> {
        self.encode_for(T::TOPIC, value).await
    }

    /// The framed bytes of a record for a topic, put together where it is called. The registry is asked only while the
    /// schema's id isn't known, which blocks and has a thread of its own.
    async fn encode_for<T: Wire + Send + 'static>(&self, topic: Topic, value: T) -> Result<Vec<u8>, Problem> {
        if let Some(encoded) = self.codec.encode_if_known(topic, &value) {
            return Ok(encoded);
        }
        let codec = Arc::clone(&self.codec);
        let encoded = tokio::task::spawn_blocking(move || codec.encode_for(topic, &value));
        Ok(encoded.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))?)
    }

    /// Appends a record and waits for the log to have it, a bounded time.
    async fn append(&self, append: Append) -> Result<(), Problem> {
        match tokio::time::timeout(APPEND_PATIENCE, self.appender.append(append)).await {
            Ok(appended) => appended.map(drop).map_err(Problem::from),
            Err(_) => Err(Problem::new(
                Code::CG341,
                format!(
                    "the log did not confirm the record within {} s; it may still take it. Asking again under the same \
                     file_id or intervention_id is safe",
                    APPEND_PATIENCE.as_secs()
                ),
            )),
        }
    }
}

/// This moment by this machine's clock.
fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}
