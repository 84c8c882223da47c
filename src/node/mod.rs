//! One process: workers on threads of their own, the HTTP transport, the gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::engine::{Stop, Unwell, Worker, WorkerOptions};
use crate::gateway::{Access, Gateway, GatewayError, Readiness, Rules};
use crate::log::{Cluster, LogError};
use crate::metrics::Metrics;
use crate::record::{Codec, TopicNames};
use crate::routing::{self, Sources};
use crate::transport::{AckTokens, Answer, Clock, Egress, HttpParts, HttpTransport, Secrets};
use crate::view::View;

pub mod controls;
pub mod embedded;
pub mod kafka;
mod observe;

/// How long a worker's poll waits at most when nothing is due.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a connection to a target may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// How long a stop waits for requests on the wire.
    pub stop_within: Duration,
    /// Where the HTTP API listens and who may call it; `None` for no gateway.
    pub gateway: Option<(SocketAddr, Access)>,
    /// Where requests may go.
    pub egress: Egress,
    /// The secrets that plans name.
    pub secrets: Secrets,
    /// The HTTP API's address as targets reach it, for callbacks; `None` for where it listens.
    pub public_url: Option<String>,
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

/// What a worker's thread says of itself.
#[derive(Debug, Clone, Default)]
struct Health {
    unwell: Vec<Unwell>,
    stopped: Option<Stop>,
    turned: bool,
}

/// A gateway that serves.
struct Serving {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), GatewayError>>,
}

/// A running process.
pub struct Node {
    health: Arc<Vec<Mutex<Health>>>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    transport: HttpTransport,
    stop_within: Duration,
    gateway: Option<Serving>,
    view: Option<View>,
    ended: Arc<tokio::sync::Notify>,
}

impl Node {
    /// Starts the workers' threads and the gateway. Must be called inside a tokio runtime.
    pub async fn start(parts: NodeParts) -> Result<Self, StartError> {
        // Bound first, because requests may name it.
        let listener = match &parts.gateway {
            Some((listen, access)) => Some(bind(*listen, access).await?),
            None => None,
        };
        let local = listener.as_ref().map(tokio::net::TcpListener::local_addr).transpose()?;
        let callback_base = parts.public_url.clone().or_else(|| local.map(|address| format!("http://{address}")));
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
            },
            &parts.instance,
        );
        let mut node = Self {
            health: Arc::new((0..parts.workers).map(|_| Mutex::default()).collect()),
            stopping: Arc::default(),
            threads: Vec::new(),
            transport,
            stop_within: parts.stop_within,
            gateway: None,
            view: None,
            ended: Arc::default(),
        };
        for number in 0..parts.workers {
            node.start_worker(&parts, number)?;
        }
        if let (Some(listener), Some((_, access))) = (listener, &parts.gateway) {
            node.start_gateway(&parts, listener, access.clone())?;
        }
        Ok(node)
    }

    /// Where the HTTP API listens.
    pub fn gateway_address(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().map(|serving| serving.address)
    }

    /// The gateway's view of all files.
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Whether every worker is at its work, and why not.
    pub fn readiness(&self) -> Readiness {
        readiness_of(&self.health)
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
            let notified = self.ended.notified();
            let stop = self.health.iter().find_map(|h| h.lock().ok().and_then(|h| h.stopped.clone()));
            if let Some(stop) = stop {
                return stop;
            }
            notified.await;
        }
    }

    /// Stops gracefully: workers leave the group, requests on the wire have until the bound, reports are flushed.
    pub async fn stop(self) {
        self.stopping.store(true, Ordering::SeqCst);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a worker's thread panicked");
                }
            }
        });
        if let Err(e) = joined.await {
            tracing::error!(error = %e, "the workers could not be joined");
        }
        let unreported = self.transport.stop(self.stop_within).await;
        if unreported > 0 {
            tracing::warn!(unreported, "reports did not reach the log; their attempts' deadlines will tell");
        }
        if let Some(Serving { stop, task, .. }) = self.gateway {
            // The gateway may have ended by itself; then nobody listens any more.
            let _ = stop.send(());
            match task.await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => tracing::error!(error = %e, "the gateway failed"),
                Err(e) => tracing::error!(error = %e, "the gateway panicked"),
            }
        }
    }

    fn start_worker(&mut self, parts: &NodeParts, number: usize) -> Result<(), StartError> {
        let identity = format!("{}-{number}", parts.instance);
        let log = parts.cluster.worker(&identity)?;
        let mut options = WorkerOptions::new(&identity, parts.names.clone());
        options.retention_ms = i64::try_from(parts.retention.as_millis()).unwrap_or(i64::MAX);
        let metrics = Arc::clone(&parts.metrics);
        let mut worker = Worker::new(
            options,
            log,
            Box::new(self.transport.for_worker(&identity)),
            Arc::clone(&parts.codec),
            Arc::clone(&parts.tokens),
            Box::new(move |observed| observe::observe(&metrics, observed)),
        );
        let (stopping, ended) = (Arc::clone(&self.stopping), Arc::clone(&self.ended));
        let (health, clock) = (Arc::clone(&self.health), Arc::clone(&parts.clock));
        let turn = move || {
            let mut said = Vec::new();
            while !stopping.load(Ordering::SeqCst) {
                let stopped = worker.step(PATIENCE, clock.as_ref()).err();
                let unwell = worker.unwell();
                observe::say_changes(&identity, &mut said, &unwell);
                let must_end = stopped.is_some();
                if let Some(stop) = &stopped {
                    tracing::error!(worker = identity, "{stop}");
                }
                if let Ok(mut health) = health[number].lock() {
                    *health = Health { unwell, stopped, turned: true };
                }
                if must_end {
                    ended.notify_waiters();
                    ended.notify_one();
                    break;
                }
            }
            worker.close();
        };
        self.threads.push(std::thread::Builder::new().name(format!("worker-{number}")).spawn(turn)?);
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
        let health = Arc::clone(&self.health);
        let gateway = Gateway {
            view: view.clone(),
            cluster: Arc::clone(&parts.cluster),
            appender: parts.cluster.appender()?,
            codec: Arc::clone(&parts.codec),
            names: parts.names.clone(),
            metrics: Arc::clone(&parts.metrics),
            access,
            readiness: Arc::new(move || readiness_of(&health)),
            rules: Rules { manifest_digest: crate::plan::manifest_digest, targets_of },
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(gateway.serve(listener, async move {
            // A dropped sender stops the gateway as well.
            let _ = stopped.await;
        }));
        self.gateway = Some(Serving { address, stop, task });
        self.view = Some(view);
        Ok(())
    }
}

async fn bind(listen: SocketAddr, access: &Access) -> Result<tokio::net::TcpListener, StartError> {
    access.check(listen)?;
    Ok(tokio::net::TcpListener::bind(listen).await?)
}

fn readiness_of(health: &[Mutex<Health>]) -> Readiness {
    let mut reasons = Vec::new();
    for (number, health) in health.iter().enumerate() {
        let Ok(health) = health.lock() else { continue };
        if let Some(stop) = &health.stopped {
            reasons.push(format!("worker {number} ended: {stop}"));
        } else if !health.turned {
            reasons.push(format!("worker {number} is starting"));
        }
        reasons.extend(health.unwell.iter().map(|u| format!("worker {number}: {}: {}", u.code, u.text)));
    }
    Readiness { ready: reasons.is_empty(), reasons }
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
