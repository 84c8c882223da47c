//! One process: workers on threads of their own, the HTTP transport, the gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use self::health::Health;
use self::threads::Common;
use crate::engine::{self, Stop, Worker, WorkerOptions};
use crate::gateway::{
    Access, CallbackLimits, CallerLimits, Gateway, GatewayError, Observing, Readiness, Rules, TlsFiles,
};
use crate::log::{Cluster, LogError};
use crate::metrics::Metrics;
use crate::record::{Codec, TopicNames};
use crate::routing::{self, Sources};
use crate::store::Stores;
use crate::transport::{AckTokens, Answer, Clock, Egress, HttpParts, HttpTransport, KafkaTargets, Places, Secrets};
use crate::view::View;

mod callbacks;
pub mod controls;
pub mod embedded;
pub(crate) mod explained;
mod health;
mod observe;
mod said;
mod threads;

/// What a stop keeps for bringing the last reports to the log.
const FLUSH: Duration = Duration::from_secs(5);

/// How long a connection to a target may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the engine of a process keeps its local state.
#[derive(Debug, Clone)]
pub struct StoreParts {
    /// The stores of its home partitions.
    pub stores: Stores,
    /// What open files may take in memory, all workers together, in bytes.
    pub memory_budget: usize,
    /// The id of the cluster; empty where it has none.
    pub cluster_id: String,
}

impl Default for StoreParts {
    /// In memory.
    fn default() -> Self {
        Self { stores: Stores::Memory, memory_budget: engine::MEMORY_BUDGET, cluster_id: String::new() }
    }
}

/// What a process is made of.
pub struct NodeParts {
    /// The log.
    pub cluster: Arc<dyn Cluster>,
    /// Encodes and decodes records.
    pub codec: Arc<Codec>,
    /// The topics' names.
    pub names: TopicNames,
    /// Signs and checks ack tokens.
    pub tokens: Arc<AckTokens>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The wall clock.
    pub clock: Clock,
    /// Stable name of the process; its workers are `<instance>-0`, `<instance>-1`, ...
    pub instance: String,
    /// Engine workers; none for a process that is a gateway only.
    pub workers: usize,
    /// How long a settled file is remembered.
    pub retention: Duration,
    /// A worker whose clock is off by more decides nothing and isn't ready.
    pub max_clock_skew: Duration,
    /// How long a stop may take. Requests on the wire have all of it but 5 s, which reports have to reach the log.
    pub stop_within: Duration,
    /// Where the engine keeps its local state.
    pub store: StoreParts,
    /// Where the HTTP API listens and who may call it; `None` for no gateway.
    pub gateway: Option<(SocketAddr, Access)>,
    /// By which certificate the HTTP API speaks TLS; plain HTTP without one.
    pub gateway_tls: Option<TlsFiles>,
    /// How many callbacks the HTTP API takes.
    pub callbacks: CallbackLimits,
    /// How many changes the HTTP API takes from one caller.
    pub callers: CallerLimits,
    /// Where a process without a gateway serves its health and its numbers, and who may see these.
    pub observing: Option<(SocketAddr, Access)>,
    /// Where requests may go.
    pub egress: Egress,
    /// The secrets that plans name.
    pub secrets: Secrets,
    /// The HTTP API's address as targets reach it, for callbacks; `None` for where it listens, if that is this machine alone.
    pub public_url: Option<String>,
    /// Where records of Kafka targets may go.
    pub kafka: KafkaTargets,
    /// Where announced files may lie.
    pub places: Places,
}

/// Why a process can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log refuses.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The gateway can't serve.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A gateway that serves.
struct Serving {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), GatewayError>>,
    /// Ends what watches the view, by being dropped.
    _watching: Option<oneshot::Sender<()>>,
}

/// A running process.
pub struct Node {
    common: Common,
    threads: Vec<JoinHandle<()>>,
    transport: HttpTransport,
    stop_within: Duration,
    gateway: Option<Serving>,
    observing: Option<Serving>,
    view: Option<View>,
}

impl Node {
    /// Starts the workers' threads and the gateway. Must be called inside a tokio runtime.
    pub async fn start(parts: NodeParts) -> Result<Self, StartError> {
        observe::begin(&parts.metrics);
        // Bound first, because requests may name it.
        let listener = match &parts.gateway {
            Some((listen, access)) => Some(bind(*listen, access).await?),
            None => None,
        };
        let observing = match &parts.observing {
            Some((listen, access)) => Some((bind(*listen, access).await?, access.clone())),
            None => None,
        };
        let local = listener.as_ref().map(tokio::net::TcpListener::local_addr).transpose()?;
        let scheme = scheme(&parts);
        // What it listens on tells others where it is only on the machine itself.
        let reached = local.filter(|address| address.ip().is_loopback()).map(|address| format!("{scheme}://{address}"));
        let callback_base = parts.public_url.clone().or(reached);
        let transport = HttpTransport::new(
            Handle::current(),
            HttpParts {
                appender: parts.cluster.appender()?,
                codec: Arc::clone(&parts.codec),
                tokens: Arc::clone(&parts.tokens),
                rule: Arc::new(rules()),
                clock: Arc::clone(&parts.clock),
                connect_timeout: CONNECT_TIMEOUT,
                egress: parts.egress.clone(),
                secrets: parts.secrets.clone(),
                callback_base,
                kafka: parts.kafka.clone(),
                places: parts.places.clone(),
            },
            &parts.instance,
        );
        let mut node = Self {
            common: Common {
                health: Arc::new(Health::new(parts.workers)),
                stopping: Arc::default(),
                ended: Arc::default(),
            },
            threads: Vec::new(),
            transport,
            stop_within: parts.stop_within,
            gateway: None,
            observing: None,
            view: None,
        };
        if let Some((listener, access)) = observing {
            node.start_observing(Arc::clone(&parts.metrics), listener, access)?;
        }
        for number in 0..parts.workers {
            node.start_worker(&parts, number)?;
        }
        node.threads.push(threads::watch_registry(node.common.clone(), Arc::clone(&parts.codec))?);
        if let (Some(listener), Some((_, access))) = (listener, &parts.gateway) {
            let (cluster, metrics) = (Arc::clone(&parts.cluster), Arc::clone(&parts.metrics));
            node.threads.push(threads::watch_lags(node.common.clone(), cluster, metrics)?);
            node.start_gateway(&parts, listener, access.clone())?;
        }
        Ok(node)
    }

    /// Where the HTTP API listens.
    pub fn gateway_address(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().map(|serving| serving.address)
    }

    /// Where health and numbers are served: by the gateway where there is one.
    pub fn observing_address(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().or(self.observing.as_ref()).map(|serving| serving.address)
    }

    /// The gateway's view of all files.
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Whether every worker is at its work, and why not.
    pub fn readiness(&self) -> Readiness {
        self.common.health.readiness()
    }

    /// Waits until every worker is at its work and the view has caught up; gives why not after `patience`.
    pub async fn ready(&self, patience: Duration) -> Result<(), Vec<String>> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            let mut reasons = self.readiness().reasons;
            if self.view.as_ref().is_some_and(|view| !view.freshness().caught_up) {
                reasons.push("the view is catching up".into());
            }
            if reasons.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() >= until {
                return Err(reasons);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Done once a worker had to end; gives why.
    pub async fn ended(&self) -> Stop {
        loop {
            let notified = self.common.ended.notified();
            if let Some(stop) = self.common.health.stopped() {
                return stop;
            }
            notified.await;
        }
    }

    /// Stops gracefully, within [`NodeParts::stop_within`] whatever the log does: nothing is sent any more, workers leave the
    /// group, requests on the wire have until shortly before the bound, reports are flushed.
    pub async fn stop(self) {
        let until = Instant::now() + self.stop_within;
        self.common.stopping.store(true, Ordering::SeqCst);
        let serving = self.gateway.or(self.observing).map(|Serving { stop, task, _watching, .. }| {
            // The server may have ended by itself; then nobody listens any more.
            let _ = stop.send(());
            task
        });
        let on_the_wire = self.stop_within.saturating_sub(FLUSH);
        let (stuck, _) = tokio::join!(threads::join(self.threads, until), self.transport.stop(on_the_wire));
        // A worker may have given something to the transport while it ended.
        let unreported = match self.transport.open() {
            0 => 0,
            _ => self.transport.stop(Duration::ZERO).await,
        };
        if stuck > 0 {
            tracing::warn!(
                stuck,
                "threads still wait for the log; their partitions are free after the session time-out"
            );
        }
        if unreported > 0 {
            tracing::warn!(unreported, "reports did not reach the log; their attempts' deadlines will tell");
        }
        let Some(task) = serving else { return };
        match tokio::time::timeout_at(until.into(), task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(e))) => tracing::error!(error = %e, "the gateway failed"),
            Ok(Err(e)) => tracing::error!(error = %e, "the gateway panicked"),
            Err(_) => tracing::warn!("requests to the gateway were cut off"),
        }
    }

    fn start_worker(&mut self, parts: &NodeParts, number: usize) -> Result<(), StartError> {
        let identity = format!("{}-{number}", parts.instance);
        let log = parts.cluster.worker(&identity)?;
        let mut options = WorkerOptions::new(&identity, parts.names.clone());
        options.stores = parts.store.stores.clone();
        options.memory_budget = parts.store.memory_budget / parts.workers.max(1);
        options.cluster_id.clone_from(&parts.store.cluster_id);
        options.retention_ms = i64::try_from(parts.retention.as_millis()).unwrap_or(i64::MAX);
        options.max_clock_skew_ms = i64::try_from(parts.max_clock_skew.as_millis()).ok();
        let (metrics, name) = (Arc::clone(&parts.metrics), identity.clone());
        let worker = Worker::new(
            options,
            log,
            Box::new(self.transport.for_worker(&identity)),
            Arc::clone(&parts.codec),
            Arc::clone(&parts.tokens),
            Box::new(move |observed| observe::observe(&metrics, &name, observed)),
        );
        let clock = Arc::clone(&parts.clock);
        self.threads.push(threads::run_worker(self.common.clone(), number, identity, worker, clock)?);
        Ok(())
    }

    fn start_observing(
        &mut self,
        metrics: Arc<Metrics>,
        listener: tokio::net::TcpListener,
        access: Access,
    ) -> Result<(), StartError> {
        let address = listener.local_addr()?;
        let health = Arc::clone(&self.common.health);
        let observing = Observing { metrics, access, readiness: Arc::new(move || health.readiness()) };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(observing.serve(listener, async move {
            // A dropped sender stops the server as well.
            let _ = stopped.await;
        }));
        self.observing = Some(Serving { address, stop, task, _watching: None });
        Ok(())
    }

    fn start_gateway(
        &mut self,
        parts: &NodeParts,
        listener: tokio::net::TcpListener,
        access: Access,
    ) -> Result<(), StartError> {
        let address = listener.local_addr()?;
        let view = View::start(Arc::clone(&parts.cluster), Arc::clone(&parts.codec))?;
        let health = Arc::clone(&self.common.health);
        let gateway = Gateway {
            view: view.clone(),
            cluster: Arc::clone(&parts.cluster),
            appender: parts.cluster.appender()?,
            codec: Arc::clone(&parts.codec),
            names: parts.names.clone(),
            metrics: Arc::clone(&parts.metrics),
            access,
            tls: parts.gateway_tls.clone(),
            readiness: Arc::new(move || health.readiness()),
            rules: Rules { manifest_digest: crate::plan::manifest_digest, targets_of, explain: explained::explain },
            callbacks: callbacks::checks(
                Arc::clone(&parts.tokens),
                parts.secrets.clone(),
                Arc::clone(&parts.clock),
                parts.callbacks,
            ),
            callers: parts.callers,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(gateway.serve(listener, async move {
            // A dropped sender stops the gateway as well.
            let _ = stopped.await;
        }));
        let (common, watched) = (self.common.clone(), view.clone());
        let watching = async move {
            let text = watched.broken().await;
            let stop = Stop::Broken { identity: "view".into(), text };
            tracing::error!("{stop}");
            common.health.breaks(stop);
            common.ended.notify_waiters();
            common.ended.notify_one();
        };
        let (done, ended) = oneshot::channel::<()>();
        tokio::spawn(async move {
            // A watcher that went on would keep the view's thread.
            tokio::select! { () = watching => {}, _ = ended => {} }
        });
        self.gateway = Some(Serving { address, stop, task, _watching: Some(done) });
        self.view = Some(view);
        Ok(())
    }
}

/// How the HTTP API is spoken to.
fn scheme(parts: &NodeParts) -> &'static str {
    if parts.gateway_tls.is_some() { "https" } else { "http" }
}

async fn bind(listen: SocketAddr, access: &Access) -> Result<tokio::net::TcpListener, StartError> {
    access.check(listen)?;
    Ok(tokio::net::TcpListener::bind(listen).await?)
}

/// Rules that are kept compiled; a routing document has fewer.
const MAX_RULES: usize = 4_096;

/// Evaluates targets' rules over answers, each compiled once.
fn rules() -> impl Fn(&str, &Answer) -> Result<bool, String> + Send + Sync {
    let compiled: Mutex<BTreeMap<String, routing::Rule>> = Mutex::default();
    move |rule, answer| {
        let known = compiled.lock().ok().and_then(|compiled| compiled.get(rule).cloned());
        let compiled_rule = match known {
            Some(known) => known,
            None => {
                let new = routing::Rule::compile(rule)?;
                if let Ok(mut compiled) = compiled.lock() {
                    if compiled.len() >= MAX_RULES {
                        compiled.clear();
                    }
                    compiled.insert(rule.to_owned(), new.clone());
                }
                new
            }
        };
        let (headers, body) = (answer.headers.clone(), answer.body.clone());
        compiled_rule.holds(&routing::Response { status: answer.status, headers, body })
    }
}

/// The targets of a routing document and their owners.
fn targets_of(bundle: &crate::record::RoutingBundle) -> BTreeMap<crate::record::TargetName, String> {
    match routing::load(&Sources::from(bundle)) {
        Ok(loaded) => loaded.document.targets().into_iter().map(|t| (t.name, t.owner)).collect(),
        Err(_) => BTreeMap::new(),
    }
}
