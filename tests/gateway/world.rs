//! A gateway on the in-process log, and a hand that writes what an engine would write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use consign::cli::client::{ClientCommand, Globals, run_on};
use consign::cli::exit::Exit;
use consign::gateway::{
    Access, CallbackChecks, CallbackLimits, CallbackRule, CallerLimits, Gateway, GatewayError, Readiness, Rules,
    TlsFiles,
};
use consign::log::memory::{MemoryCluster, MemoryOptions};
use consign::log::{Append, Cluster, TopicPartition};
use consign::record::registry::LocalRegistry;
use consign::record::{
    Arrival, Budget, Cause, Codec, Control, DispatchState, FileHistory, FileId, FileManifest, FileState, HeldBecause,
    HistoryEvent, Judgement, RoutingBundle, State, Status, TargetName, Timestamp, TokenCheck, Topic, TopicNames, Wire,
    file_id_of_key, history_key, home_partition,
};
use consign::view::View;
use reqwest::{Client, Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const HOME_PARTITIONS: i32 = 4;
/// The digest of the routing document that files were planned by. Another one is in force.
pub const ROUTING: &str = "sha256:planned by";
/// Longer than anything here may take, however slow the machine; nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since_1970.as_millis()).unwrap())
}

pub fn digest(manifest: &FileManifest) -> String {
    let hash = Sha256::digest(serde_json::to_vec(manifest).unwrap());
    hash.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

pub struct World {
    pub cluster: MemoryCluster,
    pub codec: Arc<Codec>,
    pub view: View,
    pub url: String,
    pub ready: Arc<AtomicBool>,
    pub client: Client,
    stop: std::sync::Mutex<Option<oneshot::Sender<()>>>,
    serving: JoinHandle<Result<(), GatewayError>>,
}

/// How much the gateway takes.
#[derive(Default)]
pub struct Limits {
    pub callbacks: CallbackLimits,
    pub callers: CallerLimits,
}

impl From<CallbackLimits> for Limits {
    fn from(callbacks: CallbackLimits) -> Self {
        Self { callbacks, ..Self::default() }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// Checks that it is a problem with this code.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], status);
        problem
    }
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub exit: Exit,
    pub out: String,
    pub err: String,
}

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: ClientCommand,
    #[command(flatten)]
    globals: Globals,
}

impl World {
    pub async fn start() -> Self {
        Self::with(Access::Loopback).await
    }

    pub async fn with(access: Access) -> Self {
        Self::on(access, TcpListener::bind("127.0.0.1:0").await.unwrap()).await
    }

    pub async fn on(access: Access, listener: TcpListener) -> Self {
        Self::limited(access, listener, Limits::default()).await
    }

    pub async fn limited(access: Access, listener: TcpListener, limits: impl Into<Limits>) -> Self {
        Self::over(access, listener, limits.into(), None).await
    }

    /// Over TLS where there is a certificate; then `call` and the commands don't reach it.
    pub async fn over(access: Access, listener: TcpListener, limits: Limits, tls: Option<TlsFiles>) -> Self {
        Self::built(access, listener, limits, tls, |log| log).await
    }

    /// Its view follows what is made of the log.
    pub async fn following(followed: impl FnOnce(Arc<dyn Cluster>) -> Arc<dyn Cluster>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::built(Access::Loopback, listener, Limits::default(), None, followed).await
    }

    async fn built(
        access: Access,
        listener: TcpListener,
        limits: Limits,
        tls: Option<TlsFiles>,
        followed: impl FnOnce(Arc<dyn Cluster>) -> Arc<dyn Cluster>,
    ) -> Self {
        let cluster = MemoryCluster::new(MemoryOptions::new(HOME_PARTITIONS, 2, Arc::new(now)));
        let codec = Arc::new(Codec::new(Arc::new(LocalRegistry)));
        let shared: Arc<dyn Cluster> = Arc::new(cluster.clone());
        let view = View::start(followed(Arc::clone(&shared)), Arc::clone(&codec)).unwrap();
        let ready = Arc::new(AtomicBool::new(true));
        let workers_ready = Arc::clone(&ready);
        let gateway = Gateway {
            view: view.clone(),
            appender: shared.appender().unwrap(),
            cluster: shared,
            codec: Arc::clone(&codec),
            names: TopicNames::new("consign."),
            metrics: Arc::default(),
            access,
            tls,
            readiness: Arc::new(move || {
                let ready = workers_ready.load(Ordering::Relaxed);
                let reasons = if ready { Vec::new() } else { vec!["no worker".to_owned()] };
                Readiness { ready, reasons }
            }),
            rules: Rules {
                manifest_digest: digest,
                targets_of: |_| BTreeMap::from([(TargetName::trusted("billing"), "team-billing".to_owned())]),
                explain: |entries, _, _| match entries.len() {
                    1 => Err("a plan is missing".to_owned()),
                    entries => Ok(serde_json::json!({ "entries": entries })),
                },
            },
            callers: limits.callers,
            callbacks: CallbackChecks {
                token: Arc::new(|key, token| match token {
                    Some(token) if token == format!("token of {key}") => TokenCheck::Ok,
                    Some(_) => TokenCheck::Wrong,
                    None => TokenCheck::Absent,
                }),
                receipt: Arc::new(|key, digest, seal| {
                    Some(seal? == format!("seal-of-{key}-{digest}").replace('/', "-"))
                }),
                rule: Arc::new(|bundle, target| {
                    assert_eq!(bundle.digest, ROUTING, "only the document of the plan counts");
                    let verify_with = (target.as_str() == "signed").then(|| "key".to_owned());
                    Ok(Some(CallbackRule {
                        confirms: target.as_str() != "ledger",
                        verify_with,
                        receipt: target.as_str() == "receipted",
                    }))
                }),
                signature: Arc::new(|key, [id, _, _], _| (key, id) == ("key", Some("fits"))),
                limits: limits.callbacks,
            },
        };
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(gateway.serve(listener, async {
            stopped.await.ok();
        }));
        let url = format!("http://127.0.0.1:{}", address.port());
        let client = consign_client();
        let world = Self { cluster, codec, view, url, ready, client, stop: std::sync::Mutex::new(Some(stop)), serving };
        for digest in [ROUTING, "sha256:in force"] {
            world.control(&Control::keeping(bundle(digest), ("test", "set-up", now())));
        }
        world.control(&Control::homing(HOME_PARTITIONS, ("test", "set-up", now())));
        assert!(world.view.wait_until(PATIENCE, || world.view.home_partitions().is_some()).await);
        world
    }

    pub async fn stop(self) -> Result<(), GatewayError> {
        self.stop_now();
        self.ended().await
    }

    /// Tells the gateway to stop; a second time changes nothing.
    pub fn stop_now(&self) {
        if let Some(stop) = self.stop.lock().unwrap().take() {
            stop.send(()).ok();
        }
    }

    pub async fn ended(self) -> Result<(), GatewayError> {
        self.serving.await.unwrap()
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>, token: Option<&str>) -> Reply {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        reply(request).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path, Some(body), None).await
    }

    pub async fn cli(&self, words: &[&str]) -> Ran {
        run(&[words, &["--url", &self.url]].concat()).await
    }

    pub fn put<T: Wire>(&self, topic: Topic, key: &str, value: &T) {
        let partition = match topic {
            Topic::Controls => 0,
            _ => home_partition(file_id_of_key(key), HOME_PARTITIONS),
        };
        let value = self.codec.encode_for(topic, value).unwrap();
        let append =
            Append { topic, partition: Some(partition), key: key.into(), value: Some(value), headers: Vec::new() };
        self.cluster.append_now(append).unwrap();
    }

    pub fn control(&self, control: &Control) {
        self.put(Topic::Controls, &control.name, control);
    }

    /// Writes a state and waits until the view has it.
    pub async fn state(&self, file: &FileState) {
        self.put(Topic::FileState, file.file_id.as_str(), file);
        self.seen(file.file_id.as_str(), file.version).await;
    }

    pub async fn seen(&self, file_id: &str, version: i64) {
        let file = self.view.wait_version(&FileId::trusted(file_id), version, PATIENCE).await;
        assert!(file.is_some_and(|f| f.version >= version), "the view never saw {file_id} version {version}");
    }

    /// Writes one event to the history of a file.
    pub fn event(&self, file_id: &str, seq: i64, event: HistoryEvent) {
        let history = FileHistory {
            file_id: FileId::trusted(file_id),
            seq,
            version: event.version,
            cause: event.cause.clone(),
            events: vec![event],
        };
        self.put(Topic::History, &history_key(&history.file_id, seq), &history);
    }

    /// Puts a dead letter on partition 0; gives its offset.
    pub fn dead_letter(&self, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &str)]) -> i64 {
        let at = TopicPartition { topic: Topic::DeadLetters, partition: 0 };
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        self.cluster.put(at, key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec), headers).unwrap()
    }

    /// What the gateway appended to a topic, decoded.
    pub fn appended<T: Wire>(&self, topic: Topic) -> Vec<T> {
        self.cluster.dump(topic).iter().map(|r| self.codec.decode(r.value.as_ref().unwrap()).unwrap()).collect()
    }
}

/// Runs a command.
pub async fn run(words: &[&str]) -> Ran {
    let words = ["consign"].iter().chain(words).copied();
    let line = Line::try_parse_from(words).unwrap_or_else(|e| panic!("{e}"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run_on(line.command, &line.globals, &mut out, &mut err).await;
    Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

pub fn consign_client() -> Client {
    // A second choice is refused, and the first is the same.
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder().no_proxy().timeout(PATIENCE * 2).build().unwrap()
}

pub async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    Reply { status: response.status(), headers: response.headers().clone(), text: response.text().await.unwrap() }
}

fn bundle(digest: &str) -> RoutingBundle {
    RoutingBundle { digest: digest.into(), name: "r.yaml".into(), document: String::new(), files: BTreeMap::new() }
}

pub fn cause() -> Cause {
    Cause { topic: "consign.manifests".into(), partition: 0, offset: 0 }
}

pub fn file(file_id: &str, state: State, version: i64) -> FileState {
    FileState {
        file_id: FileId::trusted(file_id),
        state,
        version,
        cause: cause(),
        schema_version: 1,
        file_type: "invoice".into(),
        name: format!("{file_id}.pdf"),
        produced_by: "shop".into(),
        supersedes: None,
        arrival_digest: "sha256:0".into(),
        content_digest: None,
        routing_digest: Some(ROUTING.into()),
        plan_digest: None,
        dispatches: Vec::new(),
        accountable: None,
        next_event: None,
        overdue: false,
        deadline_lost: false,
        reason: None,
        deadline: Timestamp(1_700_000_600_000),
        received_at: Timestamp(1_700_000_000_000),
        validated_at: None,
        distributing_at: None,
        settled_at: None,
    }
}

pub fn dispatch(target: &str, status: Status) -> DispatchState {
    DispatchState {
        target: TargetName::trusted(target),
        status,
        version: 3,
        attempts: 1,
        budget: Budget { attempts: 4, operator_attempts: 3, refusals: 3 },
        owner: format!("team-{target}"),
        since: Timestamp(1_700_000_000_000),
        held_because: None,
        escalations: 0,
        settled_by: None,
        next_event: None,
        last_outcome: None,
        accountable: None,
    }
}

/// A file at version 3 with a HELD dispatch to `billing`.
pub fn held(file_id: &str) -> FileState {
    let mut file = file(file_id, State::Distributing, 3);
    let mut dispatch = dispatch("billing", Status::Held);
    dispatch.held_because = Some(HeldBecause::FateUnknown);
    file.dispatches.push(dispatch);
    file
}

pub fn event(version: i64, judgement: Judgement) -> HistoryEvent {
    HistoryEvent {
        version,
        at: now(),
        cause: cause(),
        target: None,
        judgement,
        code: None,
        outcome: None,
        intervention: None,
        failure: None,
    }
}

/// Accepts a manifest as an engine does: its arrival, and the file in this state.
pub fn accept(world: &World, manifest: &FileManifest, state: State) -> FileState {
    let arrival = Arrival {
        file_id: manifest.file_id.clone(),
        version: 1,
        cause: cause(),
        manifest: manifest.clone(),
        manifest_digest: digest(manifest),
        origin: None,
        received_at: now(),
        supersedes: None,
        only_targets: None,
        fetch: None,
    };
    world.put(Topic::Arrivals, manifest.file_id.as_str(), &arrival);
    let mut file = file(manifest.file_id.as_str(), state, 1);
    file.arrival_digest.clone_from(&arrival.manifest_digest);
    world.put(Topic::FileState, manifest.file_id.as_str(), &file);
    file
}
