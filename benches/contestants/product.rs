//! The product as `run --roles engine` starts it: workers, HTTP transport, metrics. What it sends goes to receivers on loopback.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use consign::gateway::{CallbackLimits, CallerLimits};
use consign::metrics::Metrics;
use consign::node::{Node, NodeParts, StoreParts};
use consign::store::Stores;
use consign::transport::{Egress, KafkaTargets, Places, Secrets, wall_clock};
use serde_json::json;
use tokio::runtime::Builder;

use crate::engine::{Parts, tokens};
use crate::kafka::PATIENCE;
use crate::options::{Options, hear, say};

/// Runs until the driver has gone.
pub fn run(options: &Options) {
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let Parts { cluster, codec, names } = Parts::of(options);
    let stores = Stores::Directory(PathBuf::from(options.text("store", "")));
    let parts = NodeParts {
        cluster: Arc::new(cluster),
        codec,
        names,
        tokens: tokens(),
        metrics: Arc::new(Metrics::default()),
        clock: wall_clock(),
        instance: "bench".into(),
        workers: options.number("workers", 2),
        retention: Duration::from_hours(30 * 24),
        max_clock_skew: Duration::from_secs(2),
        stop_within: Duration::from_secs(15),
        store: StoreParts { stores, ..StoreParts::default() },
        gateway: None,
        gateway_tls: None,
        observing: None,
        egress: Egress::with_loopback(),
        secrets: Secrets::default(),
        public_url: None,
        callbacks: CallbackLimits::default(),
        callers: CallerLimits::default(),
        kafka: KafkaTargets::default(),
        places: Places::default(),
    };
    runtime.block_on(async {
        let node = Node::start(parts).await.unwrap_or_else(|e| panic!("{e}"));
        node.ready(PATIENCE).await.unwrap_or_else(|why| panic!("{why:?}"));
        say("READY", &json!({}));
        tokio::task::spawn_blocking(|| while hear().is_some() {}).await.expect("it only listens");
        node.stop().await;
    });
}
