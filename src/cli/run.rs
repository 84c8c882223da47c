//! `consign run`: engine, transports and gateway on a broker.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::exit::Exit;
use super::kafka::{Connection, ConnectionArgs, Unconnected};
use crate::config::{AckKey, Config, Role};
use crate::gateway::{Access, Role as CallerRole, Token};
use crate::log::kafka::Difference;
use crate::metrics::Metrics;
use crate::node::controls::read_controls;
use crate::node::{Node, NodeParts, StartError};
use crate::record::Confirmation;
use crate::routing::{self, Document, Sources};
use crate::transport::AckTokens;

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign run --config consign.toml
  consign run --instance node-a --workers 2
  consign run --roles gateway --listen 127.0.0.1:8481

It takes the routing document that `consign routing apply` brought into force. It ends with 2 where topics, schemas or
routing document are not as they must be.")]
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
    /// Address of the HTTP API; wins over the configuration.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Refuse to start unless this routing document is the one in force.
    #[arg(long, value_name = "FILE")]
    pub routing: Option<PathBuf>,
}

/// Runs until it is told to stop, or a worker must end.
pub async fn run(args: RunArgs) -> Exit {
    match start(&args).await {
        Err(failure) => failure.tell(),
        Ok(node) => {
            if let Some(address) = node.gateway_address() {
                println!("consign run: http://{address}");
            }
            let exit = tokio::select! {
                stop = node.ended() => {
                    eprintln!("consign: {stop}");
                    Exit::from(&stop)
                }
                () = super::interrupted() => Exit::Ok,
            };
            node.stop().await;
            exit
        }
    }
}

async fn start(args: &RunArgs) -> Result<Node, Unconnected> {
    let mut config = args.connection.config()?;
    if let Some(instance) = &args.instance {
        config.process.instance.clone_from(instance);
    }
    if let Some(workers) = args.workers {
        config.process.workers = workers;
    }
    if !args.roles.is_empty() {
        config.process.roles.clone_from(&args.roles);
    }
    if let Some(listen) = args.listen {
        config.gateway.listen = listen;
    }
    let connection = Connection::with(config)?;
    tokio::task::block_in_place(|| check(&connection, args))?;
    let config = &connection.config;
    let is_engine = config.process.roles.contains(&Role::Engine);
    let is_gateway = config.process.roles.contains(&Role::Gateway);
    let gateway = if is_gateway { Some((config.gateway.listen, access(config)?)) } else { None };
    let parts = NodeParts {
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
        gateway,
    };
    Node::start(parts).await.map_err(|e| match e {
        StartError::Log(e) => Unconnected::from(e),
        StartError::Gateway(_) => usage(e.to_string()),
        other => Unconnected { exit: Exit::Unreachable, text: other.to_string() },
    })
}

/// Topics, schemas and routing document must be as this version needs them before anything starts.
fn check(connection: &Connection, args: &RunArgs) -> Result<(), Unconnected> {
    let differences = connection.cluster.check(&connection.topics())?;
    let wrong: Vec<String> = differences
        .iter()
        .filter(|d| !matches!(d, Difference::Config { .. } | Difference::Replication { .. }))
        .map(ToString::to_string)
        .collect();
    if !wrong.is_empty() {
        let text =
            format!("CG401: the topics are not as they must be; `consign topics apply` mends: {}", wrong.join("; "));
        return Err(usage(text));
    }
    for difference in &differences {
        tracing::warn!("{difference}; `consign topics check` shows all");
    }
    connection.codec.prepare()?;
    let controls = read_controls(connection.cluster.as_ref(), &connection.codec)?;
    if controls.home_partitions().is_none() {
        let text = "CG401: `controls` doesn't say how many home partitions there are; `consign topics apply` writes it";
        return Err(usage(text.into()));
    }
    let Some(active) = controls.active() else {
        return Err(usage("CG402: no routing document is in force; `consign routing apply FILE` brings one".into()));
    };
    let Some(bundle) = controls.routing(&active.routing_digest) else {
        let text = format!("CG402: {} is in force, but `controls` doesn't hold it", active.routing_digest);
        return Err(usage(text));
    };
    let document = load(&Sources::from(bundle))?;
    check_ack_keys(&document, &connection.config)?;
    warn_of_clocks(&document, &connection.config);
    if let Some(path) = &args.routing {
        let sources = super::routing::read(path).map_err(usage)?;
        let named = load(&sources)?;
        if named.digest() != active.routing_digest {
            let text = format!(
                "CG402: {} is {}, but {} is in force; `consign routing apply` changes that",
                path.display(),
                named.digest(),
                active.routing_digest
            );
            return Err(usage(text));
        }
    }
    Ok(())
}

fn load(sources: &Sources) -> Result<Document, Unconnected> {
    routing::load(sources).map(|loaded| loaded.document).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        usage(format!("CG402: the routing document doesn't load:\n{}", lines.join("\n")))
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

/// A token is checked by whichever process reads the ack: without a common key, most would be refused.
fn check_ack_keys(document: &Document, config: &Config) -> Result<(), Unconnected> {
    let by_acks: Vec<String> = document
        .targets()
        .into_iter()
        .filter(|t| document.target(t.name.as_str()).is_some_and(|t| t.policy.confirmed_by.by == Confirmation::Acks))
        .map(|t| t.name.to_string())
        .collect();
    if config.acks.keys.is_empty() && !by_acks.is_empty() {
        return Err(usage(format!(
            "CG400: {} confirm by acks: give every process the same [[acks.keys]], or their tokens don't verify",
            by_acks.join(", ")
        )));
    }
    Ok(())
}

fn usage(text: String) -> Unconnected {
    Unconnected { exit: Exit::Usage, text }
}

fn access(config: &Config) -> Result<Access, Unconnected> {
    if config.gateway.tokens.is_empty() {
        return Ok(Access::Loopback);
    }
    let tokens = config.gateway.tokens.iter().map(|token| {
        let role = match token.role.as_str() {
            "viewer" => CallerRole::Viewer,
            "operator" => CallerRole::Operator,
            other => {
                return Err(usage(format!("CG400: role `{other}` of {} is none of viewer, operator", token.actor)));
            }
        };
        Ok(Token { token_sha256: token.token_sha256.clone(), actor: token.actor.clone(), role })
    });
    tokens.collect::<Result<_, _>>().map(Access::Tokens)
}

fn tokens(keys: &[AckKey]) -> Result<AckTokens, Unconnected> {
    if keys.is_empty() {
        let secret = uuid::Uuid::new_v4().into_bytes().to_vec();
        return AckTokens::new(vec![("process".into(), secret)]).map_err(|e| usage(e.to_string()));
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
            .map_err(|e| usage(format!("CG400: acks key `{}`: {e}", key.id)))
    });
    AckTokens::new(secrets.collect::<Result<_, _>>()?).map_err(|e| usage(format!("CG400: {e}")))
}
