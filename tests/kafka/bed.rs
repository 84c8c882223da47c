//! What the tests share: the servers named by the environment, and topics of each test's own.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use consign::log::kafka::{KafkaCluster, KafkaOptions, TopicOptions, TopicSpec, plan_topics};
use consign::log::{Append, AssignmentChange, Cluster, Log, LogError, Position, Reader, Record, TopicPartition};
use consign::record::registry::LocalRegistry;
use consign::record::{Codec, Timestamp, Topic, TopicNames};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Longer than anything here takes on a busy machine: only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_mins(1);
pub const BY: (&str, &str, Timestamp) = ("tests", "test bed", Timestamp(1));

/// A server's address from the environment. Without it no test can say anything: one line, and the whole run ends.
pub fn server(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        // Past the capture of the test's output.
        let _ = writeln!(std::io::stderr(), "{name} is not set: these tests need servers, and `make test` starts them");
        std::process::exit(1)
    })
}

/// A prefix that no other test and no other run has.
pub fn unique_prefix(test: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    format!("{test}-{}-{nanos}-{}.", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A cluster with topics of one test's own.
pub struct Bed {
    pub names: TopicNames,
    pub options: KafkaOptions,
    pub cluster: KafkaCluster,
    pub specs: Vec<TopicSpec>,
}

impl Bed {
    /// All topics, with that many partitions.
    pub fn new(test: &str, partitions: i32) -> Self {
        let bed = Self::without_topics(test, partitions);
        bed.cluster.apply(&bed.specs, &local_codec(), BY, false).unwrap();
        bed
    }

    pub fn without_topics(test: &str, partitions: i32) -> Self {
        Self::on(test, partitions, server("KAFKA_BOOTSTRAP"))
    }

    /// The same on a broker of a test's own.
    pub fn on(test: &str, partitions: i32, bootstrap: String) -> Self {
        let names = TopicNames::new(unique_prefix(test));
        let mut options = KafkaOptions::new(bootstrap, names.clone(), format!("{}engine", names.prefix()));
        options.session_timeout = Duration::from_secs(3);
        let retention = Duration::from_hours(30 * 24);
        let specs = plan_topics(&TopicOptions { names: names.clone(), partitions, replication: 1, retention });
        let cluster = KafkaCluster::new(options.clone()).unwrap();
        Self { names, options, cluster, specs }
    }

    /// The same, where no transaction is taken for one of which something was repeated, however busy the machine is: a producer
    /// of a later epoch isn't reached by a fence before it.
    pub fn keeping_producers(mut self) -> Self {
        self.options.repeated_after = Duration::from_secs(20);
        self.cluster = KafkaCluster::new(self.options.clone()).unwrap();
        self
    }

    /// A producer outside the product, for what the product itself would never do.
    pub fn raw_producer(&self, transactional_id: Option<&str>) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.options.bootstrap).set("linger.ms", "1");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
        }
        let producer: BaseProducer = config.create().unwrap();
        if transactional_id.is_some() {
            producer.init_transactions(PATIENCE).unwrap();
        }
        producer
    }

    /// For what the product itself would never ask.
    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.options.bootstrap).create().unwrap()
    }

    /// Sends records `from..to` to a partition, each with its number as key and value.
    pub fn send(&self, producer: &BaseProducer, at: TopicPartition, numbers: std::ops::Range<i64>) {
        let name = self.names.name(at.topic);
        for number in numbers {
            let text = number.to_string();
            let record = BaseRecord::to(&name).partition(at.partition).key(&text).payload(&text);
            producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Everything that a read-committed reader finds, up to its goal.
    pub fn read(&self, partitions: &[TopicPartition]) -> Vec<Record> {
        read_to_goal(&mut *self.cluster.reader(partitions).unwrap())
    }
}

/// Runs one request of an administrator to its end.
pub fn run<T>(request: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(request)
}

pub fn local_codec() -> Codec {
    Codec::new(Arc::new(LocalRegistry))
}

pub fn at(topic: Topic, partition: i32) -> TopicPartition {
    TopicPartition { topic, partition }
}

pub fn append(at: TopicPartition, key: &str, value: &str) -> Append {
    Append {
        topic: at.topic,
        partition: Some(at.partition),
        key: key.as_bytes().to_vec(),
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
    }
}

pub fn text(bytes: Option<&Vec<u8>>) -> String {
    String::from_utf8(bytes.cloned().unwrap_or_default()).unwrap()
}

/// Text that no compression makes smaller: limits are on what is sent.
pub fn incompressible(bytes: usize) -> String {
    let mut state: u64 = 42;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[(state >> 58) as usize])
        })
        .collect()
}

/// Sets a flag when it goes, also in a panic, so that threads which watch it end.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Repeats `step` until it gives something.
pub fn eventually<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = step() {
            return result;
        }
        assert!(Instant::now() < deadline, "{what} didn't happen");
    }
}

pub fn read_to_goal(reader: &mut dyn Reader) -> Vec<Record> {
    let mut records = Vec::new();
    eventually("the goal", || {
        records.extend(reader.poll(1000, Duration::from_millis(100)).unwrap());
        reader.at_goal().then_some(())
    });
    records
}

/// Polls until the worker holds `count` partitions; gives them. No record may come: nothing is started.
pub fn assigned(worker: &mut dyn Log, count: usize) -> Vec<TopicPartition> {
    let mut held: Vec<TopicPartition> = Vec::new();
    eventually("the assignment", || {
        let batch = worker.poll(1000, Duration::from_millis(100)).unwrap();
        assert!(batch.records.is_empty(), "records of partitions that aren't started");
        follow_changes(&mut held, &batch.changes);
        (held.len() == count).then_some(())
    });
    held.sort_unstable();
    held
}

pub fn follow_changes(held: &mut Vec<TopicPartition>, changes: &[AssignmentChange]) {
    for change in changes {
        match change {
            AssignmentChange::Assigned(partitions) => held.extend(partitions),
            AssignmentChange::Revoked(partitions) => held.retain(|at| !partitions.contains(at)),
        }
    }
}

/// Where the group goes on: at its committed offsets, else at the beginning.
pub fn positions(worker: &mut dyn Log, partitions: &[TopicPartition]) -> Result<Vec<Position>, LogError> {
    let committed = worker.committed(partitions)?;
    Ok(partitions.iter().copied().zip(committed).map(|(at, offset)| (at, offset.unwrap_or(0))).collect())
}

/// A worker that holds all partitions of all inputs, none of them started.
pub fn lone_worker(bed: &Bed, identity: &str) -> Box<dyn Log> {
    let mut worker = bed.cluster.worker(identity).unwrap();
    let partitions = usize::try_from(bed.cluster.partitions(Topic::Manifests).unwrap()).unwrap();
    assigned(&mut *worker, partitions * Topic::INPUTS.len());
    worker
}

/// Polls until `count` records have come.
pub fn take(worker: &mut dyn Log, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    eventually("records", || {
        let batch = worker.poll(100, Duration::from_millis(100)).unwrap();
        assert!(batch.changes.is_empty(), "{:?}", batch.changes);
        records.extend(batch.records);
        (records.len() >= count).then_some(())
    });
    records
}

/// Asserts that nothing comes. A wait can only fail to find what is wrong, never fail what is right.
pub fn nothing_comes(worker: &mut dyn Log) {
    let until = Instant::now() + Duration::from_millis(700);
    while Instant::now() < until {
        assert_eq!(worker.poll(100, Duration::from_millis(100)).unwrap().records, []);
    }
}

/// The offsets of records of one partition.
pub fn offsets_of(records: &[Record], at: TopicPartition) -> Vec<i64> {
    records.iter().filter(|r| r.at == at).map(|r| r.offset).collect()
}
