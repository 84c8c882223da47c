//! Receivers that answer, refuse, stall, break off and confirm late: for the demo, for `dev` and for tests.
//!
//! One listener on the loopback interface plays every target: the first segment of a request's path names the target,
//! and its [`Behaviour`] says what happens. Every request is written to a [`Journal`] before anything is answered.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Router, serve};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::log::Appender;
use crate::record::{Codec, FileId, Outcome, OutcomeKind, Reporter, TargetName, Timestamp, Topic, file_id_of_key};
use crate::transport::{Clock, Reports, wall_clock};

mod behaviour;
mod callback;
mod connection;
mod journal;

pub use behaviour::{Behaviour, Reply, demo_behaviours};
use callback::Way;
pub use callback::{Callbacks, Heard};
use connection::{Breakable, Breaker};
pub use journal::{Journal, Received};

/// Longest request body that is read, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
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

/// Running receivers. Dropping them stops them.
pub struct Receivers {
    addr: SocketAddr,
    journal: Journal,
    callbacks: Callbacks,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

struct Shared {
    behaviours: BTreeMap<TargetName, Behaviour>,
    /// Requests so far of each target and idempotency key.
    seen: Mutex<BTreeMap<(String, String), usize>>,
    journal: Journal,
    callbacks: Callbacks,
    acks: Option<Reports>,
    clock: Clock,
    stop: watch::Receiver<bool>,
}

impl Receivers {
    /// Listens on a free port of 127.0.0.1; tasks run on `handle`. A target without a behaviour answers 404.
    ///
    /// `acks` is needed by [`Behaviour::ConfirmLater`]: without it such a target accepts and never confirms.
    pub fn start(
        handle: &Handle,
        behaviours: BTreeMap<TargetName, Behaviour>,
        acks: Option<AckLog>,
    ) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let listener = {
            let _in_runtime = handle.enter();
            Breakable(tokio::net::TcpListener::from_std(listener)?)
        };
        let (stop, stopped) = watch::channel(false);
        let journal = Journal::default();
        let callbacks = Callbacks::default();
        let shared = Shared {
            behaviours,
            seen: Mutex::default(),
            journal: journal.clone(),
            callbacks: callbacks.clone(),
            acks: acks.map(|AckLog { appender, codec }| Reports { appender, codec }),
            clock: wall_clock(),
            stop: stopped.clone(),
        };
        let app = Router::new()
            .fallback(receive)
            .with_state(Arc::new(shared))
            .into_make_service_with_connect_info::<Breaker>();
        let server = handle.spawn(async move {
            let serving = serve(listener, app).with_graceful_shutdown(ended(stopped));
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

    /// Stops listening, breaks off what is stalled and drops the acks that are still to come.
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

/// What a behaviour needs to know of a request.
struct Asked {
    target: String,
    key: String,
    file_id: FileId,
    /// How many requests with this key came before.
    earlier: usize,
    attempt: Option<i32>,
    ack_token: Option<String>,
    callback_url: Option<String>,
    headers: BTreeMap<String, String>,
    body_sha256: String,
    body_length: usize,
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    request: Request,
) -> Response {
    let received_at = (shared.clock)();
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return Reply::new(413, "the body is too long, or was cut").into_response();
    };
    let target = parts.uri.path().trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    let key = text(&parts.headers, "idempotency-key").unwrap_or_default();
    let number = |name| text(&parts.headers, name).and_then(|value| value.parse().ok());
    let received = shared.journal.push(Received {
        target: target.clone(),
        idempotency_key: key.clone(),
        attempt: number("consign-attempt"),
        attempts_left: number("consign-attempts-left"),
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: journal::headers(&parts.headers),
        body_sha256: journal::sha256(&body),
        body: body.to_vec().into(),
        received_at,
    });
    let earlier = {
        let mut seen = shared.seen.lock().expect("not poisoned");
        let count = seen.entry((target.clone(), key.clone())).or_default();
        *count += 1;
        *count - 1
    };
    let asked = Asked {
        file_id: FileId::trusted(file_id_of_key(&key)),
        target,
        key,
        earlier,
        attempt: received.attempt,
        ack_token: text(&parts.headers, "consign-ack-token"),
        callback_url: text(&parts.headers, "consign-callback-url"),
        headers: received.headers.clone(),
        body_sha256: received.body_sha256.clone(),
        body_length: body.len(),
    };
    act(&shared, &breaker, &asked).await
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

async fn act(shared: &Arc<Shared>, breaker: &Breaker, asked: &Asked) -> Response {
    let Some(mut behaviour) = shared.behaviours.get(asked.target.as_str()).cloned() else {
        return Reply::new(404, "there is no such receiver").into_response();
    };
    loop {
        behaviour = match behaviour {
            Behaviour::Answer(reply) => return reply.into_response(),
            Behaviour::Sequence(all) => match all.get(asked.earlier).or(all.last()) {
                Some(next) => next.clone(),
                None => return Reply::new(500, "the receiver has an empty sequence").into_response(),
            },
            Behaviour::Stall(time, next) => {
                tokio::select! {
                    () = tokio::time::sleep(time) => *next,
                    () = ended(shared.stop.clone()) => Behaviour::Reset,
                }
            }
            Behaviour::ByFile(choose) => choose(&asked.file_id),
            Behaviour::Echo(status) => return echo(status, asked).into_response(),
            Behaviour::Reset => {
                breaker.break_off();
                return Response::new(Body::empty());
            }
            Behaviour::CallBack { after, outcomes } => {
                call_back(shared, asked, after, outcomes);
                return Reply::new(202, "").into_response();
            }
            Behaviour::ConfirmLater { after, kind } => {
                confirm_later(shared, asked, after, kind);
                return Reply::new(202, "").into_response();
            }
        };
    }
}

fn echo(status: u16, asked: &Asked) -> Reply {
    let lines: Vec<String> = asked.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    Reply::new(status, lines.join("\n")).with("server", &lines.join(", "))
}

fn call_back(shared: &Arc<Shared>, asked: &Asked, after: Duration, outcomes: Vec<&'static str>) {
    let (Some(url), Some(token)) = (asked.callback_url.clone(), asked.ack_token.clone()) else { return };
    let (callbacks, stop) = (shared.callbacks.clone(), shared.stop.clone());
    let (key, digest, size) = (asked.key.clone(), asked.body_sha256.clone(), asked.body_length);
    tokio::spawn(async move {
        let way = Way { url, token };
        let reporting = async {
            for outcome in outcomes {
                tokio::time::sleep(after).await;
                callbacks.report(&key, &way, outcome, &digest, size).await;
            }
        };
        tokio::select! {
            () = reporting => {}
            () = ended(stop) => {}
        }
    });
}

fn confirm_later(shared: &Arc<Shared>, asked: &Asked, after: Duration, kind: OutcomeKind) {
    let Some(acks) = shared.acks.clone() else { return };
    let (clock, stop) = (Arc::clone(&shared.clock), shared.stop.clone());
    let mut outcome = ack(asked, kind);
    tokio::spawn(async move {
        let confirming = async {
            tokio::time::sleep(after).await;
            outcome.reported_at = clock();
            acks.deliver(Topic::Acks, None, outcome).await;
        };
        tokio::select! {
            () = confirming => {}
            () = ended(stop) => {}
        }
    });
}

fn ack(asked: &Asked, kind: OutcomeKind) -> Outcome {
    let target = TargetName::trusted(asked.key.split_once('/').map_or(asked.target.as_str(), |(_, target)| target));
    Outcome {
        attempt: asked.attempt,
        ack_token: asked.ack_token.clone(),
        reference: Some(format!("{}-{}", asked.target, asked.file_id)),
        received_digest: Some(format!("sha256:{}", asked.body_sha256)),
        received_size: i64::try_from(asked.body_length).ok(),
        ..Outcome::new(asked.file_id.clone(), target, kind, Reporter::Acks, Timestamp(0))
    }
}

impl Reply {
    fn into_response(self) -> Response {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Body::from(self.body)).unwrap_or_else(|e| {
            let mut response = Response::new(Body::from(format!("the receiver's reply is illegal: {e}")));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }
}

#[cfg(test)]
mod tests;
