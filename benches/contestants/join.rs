//! consign's engine as a contestant: workers on threads, on the broker, with stores on disk, and a transport that is never
//! asked for anything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use consign::engine::{Observed, Worker, WorkerOptions};
use consign::log::kafka::{KafkaCluster, KafkaOptions};
use consign::log::{Append, Batch, Cluster as _, Ends, Isolation, Log, LogError, Position, Reader, TopicPartition};
use consign::record::{Topic, TopicNames};
use consign::store::Stores;
use consign::transport::{AckTokens, Dispatch, Transport, wall_clock};
use serde_json::json;

use crate::options::{Options, hear, say};
use crate::workload::codec;

/// How long a worker's poll waits at most when nothing is due.
const PATIENCE: Duration = Duration::from_millis(50);

/// Records and bytes by topic, of all workers.
type Written = Arc<Mutex<BTreeMap<&'static str, (u64, u64)>>>;

pub fn run(options: &Options) {
    let names = TopicNames::new(options.prefix());
    let workers: usize = options.number("workers", 2);
    let partitions = u64::try_from(options.workload().partitions).expect("positive");
    let kafka = KafkaOptions::new(options.kafka(), names.clone(), format!("{}engine", names.prefix()));
    let cluster = KafkaCluster::new(kafka).expect("legal settings");
    let codec = Arc::new(codec());
    let (running, commits) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Written::default());
    let threads: Vec<_> = (0..workers)
        .map(|number| {
            let identity = format!("bench-{number}");
            let mut worker_options = WorkerOptions::new(&identity, names.clone());
            worker_options.max_clock_skew_ms = Some(2_000);
            worker_options.memory_budget = options.number("memory-mib", 256_usize) * 1024 * 1024 / workers;
            let store = options.text("store", "");
            if !store.is_empty() {
                worker_options.stores = Stores::Directory(PathBuf::from(store));
            }
            let log = cluster.worker(&identity).expect("the broker is there");
            let (running, commits) = (Arc::clone(&running), Arc::clone(&commits));
            let observe = move |observed: &Observed| match observed {
                Observed::Restored { .. } => drop(running.fetch_add(1, Ordering::SeqCst)),
                Observed::Committed { .. } => drop(commits.fetch_add(1, Ordering::SeqCst)),
                Observed::Aborted { cause } => eprintln!("aborted: {cause}"),
                Observed::DeadLetter { reason, detail, .. } => panic!("{reason}: {detail}"),
                _ => {}
            };
            let mut worker = Worker::new(
                worker_options,
                Box::new(Counted { log, written: Arc::clone(&written) }),
                Box::new(Nobody),
                Arc::clone(&codec),
                tokens(),
                Box::new(observe),
            );
            let stop = Arc::clone(&stop);
            let clock = wall_clock();
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    worker.step(PATIENCE, clock.as_ref()).unwrap_or_else(|e| panic!("{e}"));
                }
                worker.close();
            })
        })
        .collect();
    while running.load(Ordering::SeqCst) < partitions {
        std::thread::sleep(Duration::from_millis(5));
        assert!(!threads.iter().any(std::thread::JoinHandle::is_finished), "a worker has ended");
    }
    let before = commits.load(Ordering::SeqCst);
    say("READY", &json!({}));
    while let Some(line) = hear() {
        assert_eq!(line, "figures");
        let written = written.lock().expect("no panic").clone();
        let transactions = commits.load(Ordering::SeqCst) - before;
        say("FIGURES", &json!({"written": written, "transactions": transactions}));
    }
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("a worker ends in good order"));
}

pub fn tokens() -> Arc<AckTokens> {
    Arc::new(AckTokens::new(vec![("k".into(), b"a secret of the bench".to_vec())]).expect("a legal key"))
}

/// Every request of the workload is on the wire already.
pub struct Nobody;

impl Transport for Nobody {
    fn send(&mut self, dispatch: Dispatch) {
        panic!("nothing is due: {}", dispatch.plan.idempotency_key);
    }
}

/// A log that counts what is appended.
struct Counted {
    log: Box<dyn Log>,
    written: Written,
}

impl Log for Counted {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Batch, LogError> {
        self.log.poll(max, wait)
    }

    fn start(&mut self, positions: &[Position]) -> Result<(), LogError> {
        self.log.start(positions)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.log.pause(partitions)
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.log.committed(partitions)
    }

    fn committed_within(
        &mut self,
        partitions: &[TopicPartition],
        patience: Duration,
    ) -> Result<Vec<Option<i64>>, LogError> {
        self.log.committed_within(partitions, patience)
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.log.positions(partitions)
    }

    fn partitions(&mut self, topic: Topic) -> Result<i32, LogError> {
        self.log.partitions(topic)
    }

    fn ends(&mut self, partitions: &[TopicPartition], isolation: Isolation) -> Result<Vec<Ends>, LogError> {
        self.log.ends(partitions, isolation)
    }

    fn reader(&mut self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        self.log.reader(partitions)
    }

    fn reader_from(&mut self, positions: &[Position]) -> Result<Box<dyn Reader>, LogError> {
        self.log.reader_from(positions)
    }

    fn transact(&mut self, appends: Vec<Append>, positions: &[Position]) -> Result<Vec<Position>, LogError> {
        {
            let mut written = self.written.lock().expect("no panic");
            for append in &appends {
                let (records, bytes) = written.entry(append.topic.base_name()).or_default();
                *records += 1;
                *bytes += u64::try_from(append.key.len() + append.value.as_ref().map_or(0, Vec::len)).unwrap_or(0);
            }
        }
        self.log.transact(appends, positions)
    }

    fn rebuild(&mut self) -> Result<(), LogError> {
        self.log.rebuild()
    }

    fn close(&mut self) {
        self.log.close();
    }
}
