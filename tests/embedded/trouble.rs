//! What a process does when one of its workers breaks, or its log stalls.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use consign::engine::Stop;
use consign::gateway::{Access, CallbackLimits, CallerLimits};
use consign::log::double::{Double, Doubled};
use consign::log::memory::MemoryCluster;
use consign::log::{Appender, Batch, Cluster, ControlsChange, Lag, Log, LogError, Reader, Record, TopicPartition};
use consign::node::embedded::{Shared, in_process};
use consign::node::{Node, NodeParts, StoreParts};
use consign::record::Topic;
use consign::transport::{AckTokens, Egress, Secrets, wall_clock};

/// A log whose workers panic or stall when they are told to.
#[derive(Clone)]
struct Troubled {
    inner: MemoryCluster,
    panics: Arc<AtomicBool>,
    /// Whether who follows panics.
    blinds: Arc<AtomicBool>,
    stalls: Arc<Stall>,
}

/// Holds whoever enters while it is on, and says when somebody has.
#[derive(Default)]
struct Stall {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Stall {
    fn set(&self, on: bool) {
        self.state.lock().unwrap().0 = on;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += usize::from(state.0);
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.0).unwrap());
    }

    fn holds_somebody(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.1 == 0).unwrap());
    }
}

struct TroubledLog {
    inner: Box<dyn Log>,
    trouble: Troubled,
}

impl Double for TroubledLog {
    fn other(&mut self) -> &mut dyn Log {
        self.inner.as_mut()
    }

    fn poll(&mut self, max: usize, wait: Duration) -> Result<Batch, LogError> {
        assert!(!self.trouble.panics.load(Ordering::SeqCst), "broken on purpose");
        self.trouble.stalls.pass();
        self.inner.poll(max, wait)
    }
}

struct TroubledReader {
    inner: Box<dyn Reader>,
    blinds: Arc<AtomicBool>,
}

impl Reader for TroubledReader {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        assert!(!self.blinds.load(Ordering::SeqCst), "blind on purpose");
        self.inner.poll(max, wait)
    }

    fn at_goal(&self) -> bool {
        self.inner.at_goal()
    }

    fn progress(&self) -> (i64, i64) {
        self.inner.progress()
    }
}

impl Cluster for Troubled {
    fn worker(&self, identity: &str) -> Result<Box<dyn Log>, LogError> {
        Ok(Box::new(Doubled(TroubledLog { inner: self.inner.worker(identity)?, trouble: self.clone() })))
    }

    fn appender(&self) -> Result<Arc<dyn Appender>, LogError> {
        self.inner.appender()
    }

    fn follow(&self, topics: &[Topic]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(TroubledReader { inner: self.inner.follow(topics)?, blinds: Arc::clone(&self.blinds) }))
    }

    fn reader(&self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        Cluster::reader(&self.inner, partitions)
    }

    fn partitions(&self, topic: Topic) -> Result<i32, LogError> {
        self.inner.partitions(topic)
    }

    fn lags(&self) -> Result<Vec<Lag>, LogError> {
        self.inner.lags()
    }

    fn change_controls(&self, change: &mut ControlsChange<'_>) -> Result<(), LogError> {
        self.inner.change_controls(change)
    }
}

/// A process, at work.
async fn process(stop_within: Duration, gateway: Option<(SocketAddr, Access)>) -> (Node, Troubled) {
    let tokens = Arc::new(AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).unwrap());
    let (shared, inner) = in_process(tokens, wall_clock()).unwrap();
    let trouble = Troubled { inner, panics: Arc::default(), blinds: Arc::default(), stalls: Arc::default() };
    let shared = Shared { cluster: Arc::new(trouble.clone()), ..shared };
    shared.apply(&super::world::any_routing(), "test").unwrap();
    let parts = NodeParts {
        cluster: Arc::clone(&shared.cluster),
        codec: Arc::clone(&shared.codec),
        names: shared.names.clone(),
        tokens: Arc::clone(&shared.tokens),
        metrics: Arc::default(),
        clock: Arc::clone(&shared.clock),
        instance: "t".into(),
        workers: 1,
        retention: Duration::from_hours(24),
        max_clock_skew: Duration::from_secs(2),
        stop_within,
        store: StoreParts::default(),
        gateway,
        gateway_tls: None,
        callbacks: CallbackLimits::default(),
        callers: CallerLimits::default(),
        observing: None,
        egress: Egress::with_loopback(),
        secrets: Secrets::default(),
        public_url: None,
        kafka: consign::transport::KafkaTargets::default(),
        places: consign::transport::Places::default(),
    };
    let node = Node::start(parts).await.unwrap();
    node.ready(Duration::from_secs(30)).await.unwrap();
    (node, trouble)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_ends_the_process_and_is_named() {
    let (node, trouble) = process(Duration::from_secs(15), None).await;
    trouble.panics.store(true, Ordering::SeqCst);
    let stop = tokio::time::timeout(Duration::from_secs(30), node.ended()).await.expect("it ends");
    assert_eq!(stop, Stop::Broken { identity: "t-0".into(), text: "broken on purpose".into() });
    assert_eq!(consign::cli::exit::Exit::from(&stop), consign::cli::exit::Exit::Broken);
    let reasons = node.readiness().reasons;
    assert!(reasons.len() == 1 && reasons[0].contains("CG217") && reasons[0].contains("t-0"), "{reasons:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_panics_ends_the_process_and_is_named() {
    let loopback = Some((([127, 0, 0, 1], 0).into(), Access::Loopback));
    let (node, trouble) = process(Duration::from_secs(15), loopback).await;
    trouble.blinds.store(true, Ordering::SeqCst);
    let stop = tokio::time::timeout(Duration::from_secs(30), node.ended()).await.expect("it ends");
    assert_eq!(stop, Stop::Broken { identity: "view".into(), text: "blind on purpose".into() });
    assert_eq!(consign::cli::exit::Exit::from(&stop), consign::cli::exit::Exit::Broken);
    let reasons = node.readiness().reasons;
    assert!(reasons.len() == 1 && reasons[0].contains("CG217") && reasons[0].contains("view"), "{reasons:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_stalls_holds_neither_readiness_nor_a_stop() {
    let (node, trouble) = process(Duration::from_secs(2), None).await;
    trouble.stalls.set(true);
    let stalls = Arc::clone(&trouble.stalls);
    tokio::task::spawn_blocking(move || stalls.holds_somebody()).await.unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while node.readiness().ready {
        assert!(Instant::now() < until, "it still says that it is ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let reasons = node.readiness().reasons.join("\n");
    assert!(reasons.contains("CG218") || reasons.contains("CG216"), "{reasons}");
    // Without a bound it would never come back, because the log never does.
    tokio::time::timeout(Duration::from_secs(60), node.stop()).await.expect("a stop has a bound");
    trouble.stalls.set(false);
}
