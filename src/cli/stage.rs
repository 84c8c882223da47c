//! What `demo` and `dev` run: the product, on the in-process log or on a broker, with its receivers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::demo::examples;
use super::exit::Exit;
use crate::node::Node;
use crate::node::controls::ApplyError;
use crate::node::embedded::{EmbeddedError, Shared, in_process};
use crate::receiver::{AckLog, Receivers, demo_behaviours};
use crate::record::{FileId, TargetName, dispatch_key};
use crate::routing::Sources;
use crate::transport::{AckTokens, wall_clock};
use crate::view::View;

/// The product is at its work within this time, or doesn't come to it.
const READY_WITHIN: Duration = Duration::from_secs(30);

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

/// Why it doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The product can't start.
    #[error(transparent)]
    Start(#[from] EmbeddedError),
    /// The broker or the registry refuses.
    #[error("{0}")]
    Kafka(String),
    /// It doesn't come to its work.
    #[error("it isn't ready: {}", .0.join("; "))]
    NotReady(Vec<String>),
    /// The receivers can't listen.
    #[error("the receivers can't listen: {0}")]
    Receivers(#[from] std::io::Error),
}

impl StageError {
    /// How a command ends for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Start(EmbeddedError::Routing(ApplyError::Faulty(_))) => Exit::Usage,
            _ => Exit::Unreachable,
        }
    }
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
    pub async fn set(bed: &Bed, port: u16, routing: Option<Sources>) -> Result<Self, StageError> {
        let secret = uuid::Uuid::new_v4().into_bytes().to_vec();
        let tokens =
            AckTokens::new(vec![("process".into(), secret)]).unwrap_or_else(|_| unreachable!("16 bytes suffice"));
        let (shared, place) = Self::log(bed, Arc::new(tokens))?;
        let appender = shared.cluster.appender().map_err(|e| StageError::Start(EmbeddedError::Start(e.into())))?;
        let acks = AckLog { appender, codec: Arc::clone(&shared.codec) };
        let handle = tokio::runtime::Handle::current();
        let receivers = Receivers::start(&handle, demo_behaviours(), Some(acks))?;
        let sources = routing.unwrap_or_else(|| examples::routing(&format!("http://{}", receivers.addr())));
        // A compare-and-set blocks until the log has it.
        tokio::task::block_in_place(|| shared.apply(&sources, "the demo's document")).map_err(EmbeddedError::from)?;
        let node = shared.start("consign", 2, port).await.map_err(EmbeddedError::from)?;
        node.ready(READY_WITHIN).await.map_err(StageError::NotReady)?;
        Ok(Self { receivers, node, place })
    }

    fn log(bed: &Bed, tokens: Arc<AckTokens>) -> Result<(Shared, String), StageError> {
        match (&bed.kafka, &bed.registry) {
            (Some(bootstrap), Some(registry)) => {
                let prefix = format!("consign-demo-{}.", uuid::Uuid::now_v7().simple());
                let place = format!("the broker {bootstrap}, topics {prefix}*");
                let shared = crate::node::kafka::fresh(bootstrap, registry, &prefix, tokens);
                shared.map(|shared| (shared, place)).map_err(StageError::Kafka)
            }
            _ => {
                let (shared, _) = in_process(tokens, wall_clock())?;
                Ok((shared, "the in-process log".into()))
            }
        }
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
