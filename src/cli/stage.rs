//! What `demo` and `dev` run: the product, on the in-process log or on a broker, with its receivers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::demo::examples;
use super::exit::Exit;
use super::failure::Failure;
use super::kafka::Connection;
use super::output::OutputFormat;
use super::reach::Waiting;
use crate::config::Config;
use crate::node::controls::ApplyError;
use crate::node::embedded::{EmbeddedError, Shared, in_process};
use crate::node::{Node, StartError};
use crate::receiver::{AckLog, Receivers, demo_behaviours};
use crate::record::{FileId, TargetName, dispatch_key};
use crate::routing::Sources;
use crate::transport::{AckTokens, Egress, KafkaTargets, Places, Secrets, wall_clock};
use crate::view::View;

/// The product is at its work within this time, or doesn't come to it.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Home partitions of the topics that the demo makes on a broker.
const FRESH_PARTITIONS: i32 = 4;

/// Where the product runs.
#[derive(Debug, Clone, Default, Args)]
pub struct Bed {
    /// Run on this broker instead of the in-process log, under topics of its own.
    #[arg(long, value_name = "BOOTSTRAP", requires = "registry")]
    pub kafka: Option<String>,
    /// The schema registry that goes with the broker.
    #[arg(long, value_name = "URL", requires = "kafka")]
    pub registry: Option<String>,
}

/// What an embedded product's refusal to start means for a person.
fn failure_of(error: EmbeddedError, port: u16) -> Failure {
    match error {
        EmbeddedError::Routing(ApplyError::Faulty(errors)) => super::routing::faulty("the routing document", &errors),
        EmbeddedError::Start(StartError::Io(e)) => cannot_listen(&format!("127.0.0.1:{port}"), &e),
        other => Failure { exit: Exit::Unreachable, code: None, message: other.to_string(), hint: None },
    }
}

/// The HTTP API's address is taken, or not this machine's.
pub(super) fn cannot_listen(address: &str, why: &std::io::Error) -> Failure {
    Failure::coded(Exit::Unreachable, "CG408", format!("can't listen on {address}: {why}"))
        .hint("end what listens there, or choose another address (dev: --port, 0 for a free one; run: --listen)")
}

/// The running product with its receivers.
pub struct Stage {
    /// The receivers.
    pub receivers: Receivers,
    node: Node,
    place: String,
}

impl Stage {
    /// Starts everything; the gateway listens on `port`, or on a free one for 0. `routing` replaces the demo's document.
    pub async fn set(bed: &Bed, format: OutputFormat, port: u16, routing: Option<Sources>) -> Result<Self, Failure> {
        let secret = uuid::Uuid::new_v4().into_bytes().to_vec();
        let tokens =
            AckTokens::new(vec![("process".into(), secret)]).unwrap_or_else(|_| unreachable!("16 bytes suffice"));
        let (shared, place) = Self::log(bed, format, Arc::new(tokens))?;
        let start_failure = |e: StartError| failure_of(EmbeddedError::Start(e), port);
        let appender = shared.cluster.appender().map_err(|e| start_failure(e.into()))?;
        let acks = AckLog { appender, codec: Arc::clone(&shared.codec) };
        let handle = tokio::runtime::Handle::current();
        let receivers = Receivers::start(&handle, demo_behaviours(), Some(acks))
            .map_err(|e| cannot_listen("a free port for the receivers", &e))?;
        let sources = routing.unwrap_or_else(|| examples::routing(&format!("http://{}", receivers.addr())));
        // A compare-and-set blocks until the log has it.
        tokio::task::block_in_place(|| shared.apply(&sources, "the demo's document"))
            .map_err(|e| failure_of(e.into(), port))?;
        let node = shared.start("consign", 2, port).await.map_err(start_failure)?;
        let waiting = Waiting::begin(format, "the product to be ready".into());
        node.ready(READY_WITHIN).await.map_err(|reasons| {
            let text = format!("it isn't ready after {} s:\n{}", READY_WITHIN.as_secs(), reasons.join("\n"));
            Failure { exit: Exit::Unreachable, code: None, message: text, hint: None }
        })?;
        drop(waiting);
        Ok(Self { receivers, node, place })
    }

    fn log(bed: &Bed, format: OutputFormat, tokens: Arc<AckTokens>) -> Result<(Shared, String), Failure> {
        let (Some(bootstrap), Some(registry)) = (&bed.kafka, &bed.registry) else {
            let (shared, _) = in_process(tokens, wall_clock()).map_err(|e| failure_of(e, 0))?;
            return Ok((shared, "the in-process log".into()));
        };
        let prefix = format!("consign-demo-{}.", uuid::Uuid::now_v7().simple());
        let place = format!("the broker {bootstrap}, topics {prefix}*");
        let mut config = Config::load(None, []).unwrap_or_else(|_| unreachable!("the defaults load"));
        config.kafka.bootstrap.clone_from(bootstrap);
        config.kafka.prefix = prefix;
        config.registry.url.clone_from(registry);
        config.topics.home_partitions = FRESH_PARTITIONS;
        // One broker is enough for a demo.
        config.topics.replication = 1;
        let connection = Connection::with(config, Duration::ZERO)?;
        connection.ask(format, |connection| {
            connection.registry.register().map_err(|e| connection.registry_failure(&e))?;
            let by = ("consign", "the demo begins", connection.now());
            let applied = connection.cluster.apply(&connection.topics(), &connection.codec, by, false);
            applied.map_err(|e| connection.log_failure(&e))
        })?;
        let cluster = connection.as_cluster();
        let Connection { codec, names, clock, .. } = connection;
        let (egress, secrets, kafka) = (Egress::with_loopback(), Secrets::default(), KafkaTargets::default());
        let places = Places::default();
        Ok((Shared { cluster, codec, names, tokens, clock, egress, secrets, kafka, places }, place))
    }

    /// The log, in words.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Where the gateway listens.
    pub fn gateway(&self) -> SocketAddr {
        self.node.gateway_address().expect("the stage has a gateway")
    }

    /// The view of all files.
    pub fn view(&self) -> &View {
        self.node.view().expect("the stage has a gateway")
    }

    /// Requests of a dispatch that its receiver got.
    pub fn requests(&self, file_id: &FileId, target: &str) -> usize {
        self.receivers.journal().of_key(&dispatch_key(file_id, &TargetName::trusted(target))).len()
    }

    /// Done when a worker had to end.
    pub async fn ended(&self) -> crate::engine::Stop {
        self.node.ended().await
    }

    /// Stops everything.
    pub async fn strike(self) {
        self.node.stop().await;
        self.receivers.stop().await;
    }
}
