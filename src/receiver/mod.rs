//! Receivers that answer, refuse, stall, break off and confirm late: for the demo, for `dev`, for `consign receiver` and for
//! tests.
//!
//! One listener plays every target: the first segment of a request's path names the target, and its [`Behaviour`] says what
//! happens. Every request is written to a [`Journal`] and said as a [`Line`] before anything is answered.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::log::Appender;
use crate::record::{Codec, TargetName};
use crate::transport::{Clock, Reports, Secrets, wall_clock};

mod behaviour;
mod callback;
mod connection;
mod file;
mod journal;
mod line;
mod request;
mod script;

pub use behaviour::{Behaviour, Reply, Report, demo_behaviours};
pub use callback::{Callbacks, Heard};
use connection::{Breakable, Breaker};
pub use file::LineFile;
pub use journal::{Journal, Received};
pub use line::{DigestCheck, Line, Repeat, RequestLine, Signature};
pub use script::scripted;

/// How long a stop waits for connections to end.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// Where confirmations go: the `acks` topic.
#[derive(Clone)]
pub struct AckLog {
    /// Takes the acks.
    pub appender: Arc<dyn Appender>,
    /// Encodes the acks.
    pub codec: Arc<Codec>,
}

/// Hears what receivers say as they go.
pub type Listener = Arc<dyn Fn(&Line) + Send + Sync>;

/// What receivers are made of.
#[derive(Clone)]
pub struct Setup {
    /// Where they listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What the targets do, by name.
    pub behaviours: BTreeMap<TargetName, Behaviour>,
    /// What all other targets do; without it they answer 404.
    pub otherwise: Option<Behaviour>,
    /// Where targets report whose requests name no callback URL: without it they accept and never confirm.
    pub acks: Option<AckLog>,
    /// Where the keys are.
    pub keys: Secrets,
    /// The names of the keys of which one must have signed a request to be looked at: those of a target, and under `None`
    /// those of every target that has none of its own.
    pub verify_with: BTreeMap<Option<TargetName>, Vec<String>>,
    /// The names of the keys by which reports by callback are signed.
    pub sign_with: Vec<String>,
    /// What is kept of requests in memory.
    pub journal: Journal,
    /// Hears every line.
    pub listener: Listener,
}

impl Default for Setup {
    /// On a free port of 127.0.0.1, without a target.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            behaviours: BTreeMap::new(),
            otherwise: None,
            acks: None,
            keys: Secrets::default(),
            verify_with: BTreeMap::new(),
            sign_with: Vec::new(),
            journal: Journal::default(),
            listener: Arc::new(|_| {}),
        }
    }
}

/// Running receivers. Dropping them stops them.
pub struct Receivers {
    addr: SocketAddr,
    journal: Journal,
    callbacks: Callbacks,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

struct Shared {
    setup: Setup,
    seen: Mutex<line::Seen>,
    callbacks: Callbacks,
    acks: Option<Reports>,
    clock: Clock,
    stop: watch::Receiver<bool>,
}

impl Receivers {
    /// Listens on a free port of 127.0.0.1; tasks run on `handle`. A target without a behaviour answers 404.
    ///
    /// `acks` is where targets report whose requests name no callback URL.
    pub fn start(
        handle: &Handle,
        behaviours: BTreeMap<TargetName, Behaviour>,
        acks: Option<AckLog>,
    ) -> io::Result<Self> {
        Self::start_with(handle, Setup { behaviours, acks, ..Setup::default() })
    }

    /// Listens as the set-up says; tasks run on `handle`.
    pub fn start_with(handle: &Handle, setup: Setup) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(setup.listen)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let listener = {
            let _in_runtime = handle.enter();
            Breakable(tokio::net::TcpListener::from_std(listener)?)
        };
        let (stop, stopped) = watch::channel(false);
        let (journal, callbacks) = (setup.journal.clone(), Callbacks::default());
        let acks = setup.acks.clone().map(|AckLog { appender, codec }| Reports { appender, codec });
        let shared = Shared {
            setup,
            seen: Mutex::default(),
            callbacks: callbacks.clone(),
            acks,
            clock: wall_clock(),
            stop: stopped.clone(),
        };
        let app = Router::new()
            .fallback(request::receive)
            .with_state(Arc::new(shared))
            .into_make_service_with_connect_info::<Breaker>();
        let server = handle.spawn(async move {
            let serving = axum::serve(listener, app).with_graceful_shutdown(ended(stopped));
            if let Err(e) = serving.await {
                tracing::error!("the receivers ended: {e}");
            }
        });
        Ok(Self { addr, journal, callbacks, stop, server })
    }

    /// Where they listen.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of a target.
    pub fn url(&self, target: &str) -> String {
        format!("http://{}/{target}", self.addr)
    }

    /// Every request so far; a clone goes on being filled.
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Every report by callback so far; a clone goes on being filled.
    pub fn callbacks(&self) -> Callbacks {
        self.callbacks.clone()
    }

    /// Stops listening, breaks off what is stalled and drops the reports that are still to come.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // A connection on which a client holds on is left to itself.
        let _ = tokio::time::timeout(STOP_WITHIN, &mut self.server).await;
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.server.abort();
    }
}

async fn ended(mut stop: watch::Receiver<bool>) {
    // An error means that the receivers were dropped.
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests;
