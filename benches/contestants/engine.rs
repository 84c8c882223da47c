//! consign's engine as a contestant: workers on threads, on the broker, over any transport.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use consign::engine::{Observed, Worker, WorkerOptions};
use consign::log::double::{Double, Doubled};
use consign::log::kafka::{KafkaCluster, KafkaOptions};
use consign::log::{Append, Cluster as _, Log, LogError, Position, TargetRecord};
use consign::record::{Codec, TopicNames};
use consign::store::Stores;
use consign::transport::{AckTokens, Transport, wall_clock};
use serde_json::json;

use crate::options::{Options, hear, say};

/// How long a worker's poll waits at most when nothing is due.
const PATIENCE: Duration = Duration::from_millis(50);

/// Records and bytes by topic, of all workers.
type Written = Arc<Mutex<BTreeMap<&'static str, (u64, u64)>>>;

/// What an engine is made of, beside its options.
pub struct Parts {
    pub cluster: KafkaCluster,
    pub codec: Arc<Codec>,
    pub names: TopicNames,
}

impl Parts {
    pub fn of(options: &Options) -> Self {
        let names = TopicNames::new(options.prefix());
        let kafka = KafkaOptions::new(options.kafka(), names.clone(), format!("{}engine", names.prefix()));
        let cluster = KafkaCluster::new(kafka).expect("legal settings");
        Self { cluster, codec: Arc::new(crate::workload::codec()), names }
    }
}

/// Counts of all workers together.
#[derive(Default, Clone)]
struct Counts {
    restored: Arc<AtomicU64>,
    commits: Arc<AtomicU64>,
    written: Written,
}

impl Counts {
    fn observe(&self, observed: &Observed) {
        match observed {
            Observed::Restored { .. } => drop(self.restored.fetch_add(1, Ordering::SeqCst)),
            Observed::Committed { .. } => drop(self.commits.fetch_add(1, Ordering::SeqCst)),
            Observed::Aborted { cause } => eprintln!("aborted: {cause}"),
            Observed::DeadLetter { reason, detail, .. } => panic!("{reason}: {detail}"),
            _ => {}
        }
    }
}

/// Runs an engine until the driver has gone; tells it `FIGURES` whenever it asks.
pub fn run(options: &Options, parts: &Parts, transport: &mut dyn FnMut() -> Box<dyn Transport>) {
    let workers: usize = options.number("workers", 2);
    let partitions = u64::try_from(options.workload().partitions).expect("positive");
    let (counts, stop) = (Counts::default(), Arc::new(AtomicBool::new(false)));
    let threads: Vec<JoinHandle<()>> = (0..workers)
        .map(|number| {
            let identity = format!("bench-{number}");
            let log = parts.cluster.worker(&identity).expect("the broker is there");
            let counted = counts.clone();
            let mut worker = Worker::new(
                worker_options(options, parts, &identity, workers),
                Box::new(Doubled(Counted { log, written: Arc::clone(&counts.written) })),
                transport(),
                Arc::clone(&parts.codec),
                tokens(),
                Box::new(move |observed| counted.observe(observed)),
            );
            let (stop, clock) = (Arc::clone(&stop), wall_clock());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    worker.step(PATIENCE, clock.as_ref()).unwrap_or_else(|e| panic!("{e}"));
                }
                worker.close();
            })
        })
        .collect();
    while counts.restored.load(Ordering::SeqCst) < partitions {
        std::thread::sleep(Duration::from_millis(5));
        assert!(!threads.iter().any(JoinHandle::is_finished), "a worker has ended");
    }
    let before = counts.commits.load(Ordering::SeqCst);
    say("READY", &json!({}));
    while let Some(line) = hear() {
        assert_eq!(line, "figures");
        let written = counts.written.lock().expect("no panic").clone();
        let transactions = counts.commits.load(Ordering::SeqCst) - before;
        say("FIGURES", &json!({"written": written, "transactions": transactions}));
    }
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("a worker ends in good order"));
}

fn worker_options(options: &Options, parts: &Parts, identity: &str, workers: usize) -> WorkerOptions {
    let mut of_worker = WorkerOptions::new(identity, parts.names.clone());
    of_worker.max_clock_skew_ms = Some(2_000);
    of_worker.memory_budget = options.number("memory-mib", 256_usize) * 1024 * 1024 / workers;
    of_worker.max_poll = options.number("max-poll", of_worker.max_poll);
    let store = options.text("store", "");
    if !store.is_empty() {
        of_worker.stores = Stores::Directory(PathBuf::from(store));
    }
    of_worker
}

pub fn tokens() -> Arc<AckTokens> {
    Arc::new(AckTokens::new(vec![("k".into(), b"a secret of the bench".to_vec())]).expect("a legal key"))
}

/// A log that counts what is appended.
struct Counted {
    log: Box<dyn Log>,
    written: Written,
}

impl Double for Counted {
    fn other(&mut self) -> &mut dyn Log {
        &mut *self.log
    }

    fn transact_with(
        &mut self,
        appends: Vec<Append>,
        records: Vec<TargetRecord>,
        positions: &[Position],
    ) -> Result<Vec<Position>, LogError> {
        {
            let mut written = self.written.lock().expect("no panic");
            for append in &appends {
                let (records, bytes) = written.entry(append.topic.base_name()).or_default();
                *records += 1;
                *bytes += u64::try_from(append.key.len() + append.value.as_ref().map_or(0, Vec::len)).unwrap_or(0);
            }
        }
        self.log.transact_with(appends, records, positions)
    }
}
