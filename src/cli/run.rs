//! `consign run`: engine, transports and gateway on a broker.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::client::Globals;
use super::exit::Exit;
use super::failure::Failure;
use super::kafka::{Connection, ConnectionArgs};
use super::outbound;
use super::output::answer::{Differs, Serving};
use super::output::print;
use super::reach::{Hearer, Waiting};
use crate::config::{AckKey, Config, Role, TokenConfig};
use crate::engine::Stop;
use crate::gateway::{Access, CallbackLimits, CallerLimits, Role as CallerRole, TlsFiles, Token};
use crate::metrics::Metrics;
use crate::node::controls::read_controls;
use crate::node::{Node, NodeParts, StartError, StoreParts};
use crate::record::Confirmation;
use crate::routing::{self, Document, Sources};
use crate::store::Stores;
use crate::transport::AckTokens;

/// How long a process that starts waits for its broker; whoever starts both at once need not order them.
const BROKER_PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign run --config consign.toml
  consign run --instance node-a --workers 2
  consign run --roles gateway --listen 127.0.0.1:8481
  consign run --roles engine --listen 127.0.0.1:8482

It takes the routing document that `consign routing apply` brought into force. It ends with 2 where topics, schemas or
routing document are not as they must be. A process without the gateway serves /healthz, /readyz and /metrics alone.")]
pub struct RunArgs {
    /// Where broker and registry are.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Stable name of this process; wins over the configuration.
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// Engine workers in this process; wins over the configuration.
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// What this process does; wins over the configuration.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub roles: Vec<Role>,
    /// Address of the HTTP API, or of health and metrics alone without the gateway; wins over the configuration.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Refuse to start unless this routing document is the one in force.
    #[arg(long, value_name = "FILE")]
    pub routing: Option<PathBuf>,
}

impl RunArgs {
    /// The configuration, with the options over it.
    pub fn config(&self) -> Result<Config, Failure> {
        let mut config = self.connection.config()?;
        if let Some(instance) = &self.instance {
            config.process.instance.clone_from(instance);
        }
        if let Some(workers) = self.workers {
            config.process.workers = workers;
        }
        if !self.roles.is_empty() {
            config.process.roles.clone_from(&self.roles);
        }
        if let Some(listen) = self.listen {
            config.gateway.listen = listen;
        }
        config.check().map_err(|e| usage("CG400", e.0))
    }
}

/// Runs until it is told to stop, or a worker must end.
pub async fn run(args: RunArgs, config: Config, globals: &Globals) -> Exit {
    let scheme = if tls_files(&config).is_some() { "https" } else { "http" };
    match start(&args, config).await {
        Err(failure) => failure.tell(globals.output),
        Ok((node, told)) => {
            let gateway = node.gateway_address().map(|address| format!("{scheme}://{address}"));
            let observing = node.observing_address().map(|address| format!("http://{address}"));
            let serving = Serving { gateway, observing, receivers: None };
            print(globals.output, &serving, || match (&serving.gateway, &serving.observing) {
                (Some(gateway), _) => format!("consign run: {gateway}\n"),
                (None, Some(observing)) => format!("consign run: health and metrics alone: {observing}\n"),
                (None, None) => "consign run\n".to_owned(),
            });
            let exit = tokio::select! {
                stop = node.ended() => stopped(&stop, globals),
                () = told => Exit::Ok,
            };
            node.stop().await;
            exit
        }
    }
}

/// A worker had to end, and the process with it.
pub(super) fn stopped(stop: &Stop, globals: &Globals) -> Exit {
    let text = stop.to_string();
    let (code, message) = match text.split_once(": ") {
        Some((code, rest)) if code.starts_with("CG") => (Some(code.to_owned()), rest.to_owned()),
        _ => (None, text),
    };
    Failure { exit: Exit::from(stop), code, message, hint: None }.tell(globals.output)
}

/// Starts the process; gives what is done when it is told to stop. Until it answers anybody, a signal ends it at once, whatever it
/// waits for.
async fn start(args: &RunArgs, config: Config) -> Result<(Node, impl Future<Output = ()> + use<>), Failure> {
    tracing::info!(
        instance = config.process.instance,
        workers = config.process.workers,
        prefix = config.kafka.prefix,
        broker = config.kafka.bootstrap,
        "consign run begins"
    );
    let waiting = Waiting::begin(Hearer::Log, format!("the broker {}", config.kafka.bootstrap));
    let connection = Connection::with(config, BROKER_PATIENCE)?;
    drop(waiting);
    let cluster_id = connection.ask(Hearer::Log, |connection| {
        check(connection, args)?;
        cluster_id(connection)
    })?;
    let mut parts = parts(&connection)?;
    parts.store.cluster_id = cluster_id;
    let told = super::interrupted();
    let node = Node::start(parts).await.map_err(|e| match e {
        StartError::Log(e) => connection.log_failure(&e),
        StartError::Gateway(e) => usage("CG400", format!("[gateway]: {e}")),
        StartError::Io(e) => super::stage::cannot_listen(&connection.config.gateway.listen.to_string(), &e),
    })?;
    Ok((node, told))
}

/// The process as its configuration says.
fn parts(connection: &Connection) -> Result<NodeParts, Failure> {
    let config = &connection.config;
    let is_engine = config.process.roles.contains(&Role::Engine);
    let is_gateway = config.process.roles.contains(&Role::Gateway);
    let listening = Some((config.gateway.listen, access(config)));
    let (gateway, observing) = if is_gateway { (listening, None) } else { (None, listening) };
    Ok(NodeParts {
        cluster: connection.as_cluster(),
        codec: Arc::clone(&connection.codec),
        names: connection.names.clone(),
        tokens: Arc::new(tokens(&config.acks.keys)?),
        metrics: Arc::new(Metrics::default()),
        clock: Arc::clone(&connection.clock),
        instance: config.process.instance.clone(),
        workers: if is_engine { config.process.workers } else { 0 },
        retention: config.topics.retention,
        max_clock_skew: config.process.max_clock_skew,
        stop_within: config.process.stop_within,
        store: store(config),
        gateway,
        gateway_tls: tls_files(config),
        callbacks: callback_limits(config)?,
        callers: caller_limits(config)?,
        observing,
        egress: outbound::egress(&config.egress).map_err(|text| usage("CG400", text))?,
        secrets: outbound::secrets(config),
        public_url: outbound::public_url(config),
        kafka: outbound::kafka(config, &connection.names).map_err(|text| usage("CG400", text))?,
        places: outbound::places(&config.content).map_err(|text| usage("CG400", text))?,
    })
}

/// How many callbacks the HTTP API takes.
fn callback_limits(config: &Config) -> Result<CallbackLimits, Failure> {
    let limits = &config.gateway.callbacks;
    let per_second = NonZeroU32::new(limits.per_second);
    let per_second = per_second.ok_or_else(|| usage("CG400", "gateway.callbacks.per_second is at least 1".into()))?;
    let (at_once, of_target) = (limits.at_once, limits.of_target);
    Ok(CallbackLimits { at_once, of_target, per_second, ..CallbackLimits::default() })
}

/// How many changes the HTTP API takes from one caller.
fn caller_limits(config: &Config) -> Result<CallerLimits, Failure> {
    let per_second = NonZeroU32::new(config.gateway.callers.per_second);
    let per_second = per_second.ok_or_else(|| usage("CG400", "gateway.callers.per_second is at least 1".into()))?;
    Ok(CallerLimits { per_second })
}

/// The certificate of the HTTP API, if it has one.
fn tls_files(config: &Config) -> Option<TlsFiles> {
    let tls = &config.gateway.tls;
    let files = || TlsFiles { certificate: (&tls.certificate).into(), key: (&tls.key).into() };
    (!tls.certificate.is_empty()).then(files)
}

/// Each process has a directory of its own below the configured one.
fn store(config: &Config) -> StoreParts {
    let stores = if config.store.dir.is_empty() {
        Stores::Memory
    } else {
        Stores::Directory(Path::new(&config.store.dir).join(&config.process.instance))
    };
    StoreParts { stores, memory_budget: config.store.memory_budget_mib * 1024 * 1024, cluster_id: String::new() }
}

/// The id of the cluster: without it the store of another one could be taken for one of this.
fn cluster_id(connection: &Connection) -> Result<String, Failure> {
    if connection.config.store.dir.is_empty() {
        return Ok(String::new());
    }
    connection.cluster.id().ok_or_else(|| {
        let text = "the brokers don't say the cluster's id, by which the stores in [store] dir are known";
        Failure::coded(Exit::Unreachable, "CG203", text)
    })
}

/// Topics, schemas and routing document must be as this version needs them before anything starts.
fn check(connection: &Connection, args: &RunArgs) -> Result<(), Failure> {
    let differences = connection.differences(&connection.topics())?;
    let (tolerable, wrong): (Vec<_>, Vec<_>) = differences.iter().partition(|d| d.is_tolerable());
    if !wrong.is_empty() {
        let lines: Vec<String> = wrong.into_iter().map(|d| Differs::from(d).line()).collect();
        let text = format!("the topics are not as they must be:\n{}", lines.join("\n"));
        return Err(usage("CG401", text).hint("consign topics check names every difference"));
    }
    for difference in tolerable {
        tracing::warn!("{}", Differs::from(difference).line());
    }
    connection.prepare()?;
    let controls = read_controls(connection.cluster.as_ref(), &connection.codec);
    let controls = controls.map_err(|e| connection.log_failure(&e))?;
    let Some(active) = controls.active() else {
        let text = "no routing document is in force";
        return Err(usage("CG402", text.into()).hint("consign routing apply FILE brings one into force"));
    };
    let Some(bundle) = controls.routing(&active.routing_digest) else {
        let text = format!("{} is in force, but `controls` doesn't hold it", active.routing_digest);
        return Err(usage("CG402", text).hint("apply it again: consign routing apply FILE"));
    };
    let document = load(&Sources::from(bundle), "the routing document in force")?;
    check_ack_keys(&document, &connection.config)?;
    outbound::warn_of_missing(&document, &outbound::secrets(&connection.config));
    warn_of_clocks(&document, &connection.config);
    if let Some(path) = &args.routing {
        let named = load(&super::routing::read(path)?, &path.display().to_string())?;
        if named.digest() != active.routing_digest {
            let text = format!("{} is {}, but {} is in force", path.display(), named.digest(), active.routing_digest);
            return Err(usage("CG402", text).hint("consign routing apply FILE brings another one into force"));
        }
    }
    Ok(())
}

fn load(sources: &Sources, name: &str) -> Result<Document, Failure> {
    routing::load(sources).map(|loaded| loaded.document).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        usage("CG402", format!("{name} doesn't load:\n{}", lines.join("\n")))
    })
}

/// Two clocks may be apart by twice what each may be off, and every deadline of an attempt counts on what its target says.
fn warn_of_clocks(document: &Document, config: &Config) {
    let apart_ms = 2 * config.process.max_clock_skew.as_millis();
    for target in document.targets() {
        let Some(counted_on) = document.target(target.name.as_str()).map(|t| t.policy.timeouts.max_clock_skew_ms)
        else {
            continue;
        };
        if u128::try_from(counted_on).is_ok_and(|counted_on| counted_on < apart_ms) {
            tracing::warn!(
                target_name = %target.name,
                "process.max_clock_skew lets two clocks be {apart_ms} ms apart; the target's timeouts count on {counted_on} ms"
            );
        }
    }
}

/// A token is checked by whichever process reads the report: without a common key, most would be refused. And whoever
/// reports by callback must be told where.
fn check_ack_keys(document: &Document, config: &Config) -> Result<(), Failure> {
    let confirmed_by = |ways: &[Confirmation]| -> Vec<String> {
        let is_by = |name: &str| document.target(name).is_some_and(|t| ways.contains(&t.policy.confirmed_by.by));
        document.targets().into_iter().filter(|t| is_by(t.name.as_str())).map(|t| t.name.to_string()).collect()
    };
    let later = confirmed_by(&[Confirmation::Acks, Confirmation::Callback]);
    if config.acks.keys.is_empty() && !later.is_empty() {
        let text = format!(
            "{} confirm later: give every process the same [[acks.keys]], or their tokens don't verify",
            later.join(", ")
        );
        return Err(usage("CG400", text));
    }
    let callbacks = confirmed_by(&[Confirmation::Callback]);
    let unreached = if !config.gateway.public_url.is_empty() {
        None
    } else if !config.process.roles.contains(&Role::Gateway) {
        Some("this process has no gateway".to_owned())
    } else if !config.gateway.listen.ip().is_loopback() {
        Some(format!("what listens on {} doesn't know by which name others reach it", config.gateway.listen))
    } else {
        None
    };
    if let Some(why) = unreached.filter(|_| !callbacks.is_empty()) {
        let text = format!("{} confirm by callback and {why}: say gateway.public_url", callbacks.join(", "));
        return Err(usage("CG400", text));
    }
    Ok(())
}

fn usage(code: &str, text: String) -> Failure {
    Failure::coded(Exit::Usage, code, text)
}

fn access(config: &Config) -> Access {
    if config.gateway.tokens.is_empty() {
        return Access::Loopback;
    }
    let token = |token: &TokenConfig| {
        // Config::check has refused every word but these two.
        let role = if token.role == "operator" { CallerRole::Operator } else { CallerRole::Viewer };
        Token { token_sha256: token.token_sha256.clone(), actor: token.actor.clone(), role }
    };
    Access::Tokens(config.gateway.tokens.iter().map(token).collect())
}

fn tokens(keys: &[AckKey]) -> Result<AckTokens, Failure> {
    if keys.is_empty() {
        let secret = uuid::Uuid::new_v4().into_bytes().to_vec();
        return AckTokens::new(vec![("process".into(), secret)]).map_err(|e| usage("CG400", e.to_string()));
    }
    let secrets = keys.iter().map(|key| {
        let secret = match (&key.secret_env, &key.secret_file) {
            (Some(name), _) => std::env::var(name).map_err(|e| format!("{name}: {e}")),
            (None, Some(path)) => {
                std::fs::read_to_string(path).map(|s| s.trim_end().to_owned()).map_err(|e| format!("{path}: {e}"))
            }
            (None, None) => Err("no secret".to_owned()),
        };
        secret
            .map(|s| (key.id.clone(), s.into_bytes()))
            .map_err(|e| usage("CG400", format!("acks key `{}`: {e}", key.id)))
    });
    AckTokens::new(secrets.collect::<Result<_, _>>()?).map_err(|e| usage("CG400", format!("[acks]: {e}")))
}

#[cfg(test)]
mod tests;
