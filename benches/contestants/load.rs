//! What is there before a join begins: topics, open files, and their reports in a transaction that is still open.
//!
//! The reports become visible to everyone at once, when the driver says so: until then a contestant may take its time to
//! come to work. Then the loader watches the contestant's group, and says when it has committed all of them.

use std::time::{Duration, Instant};

use consign::log::kafka::{KafkaCluster, KafkaOptions, TopicOptions, plan_topics};
use consign::log::{Cluster as _, TopicPartition};
use consign::node::controls::{Said, apply_routing};
use consign::record::{Timestamp, Topic, TopicNames};
use consign::transport::wall_clock;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use crate::kafka::{PATIENCE, drain, producer, send_append, settings};
use crate::options::{Options, hear, say};
use crate::workload::{Maker, Workload, codec};

/// How often the group's positions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub fn run(options: &Options) {
    let (workload, kafka) = (options.workload(), options.kafka());
    let names = TopicNames::new(options.prefix());
    let now = wall_clock()();
    let maker = Maker::new(workload, now);
    let group = options.text("group", &format!("{}engine", names.prefix()));
    prepare(&kafka, &names, workload, now);
    let state = producer(&kafka, None);
    for file in 0..workload.files {
        for append in maker.open_file(file) {
            send_append(&state, &names, &append);
        }
    }
    drain(&state);
    let reports = producer(&kafka, Some(&format!("{}reports", names.prefix())));
    reports.begin_transaction().expect("a transaction begins");
    let (mut count, mut bytes) = (0_u64, 0);
    for (file, target) in workload.reports() {
        let append = maker.report(file, target);
        count += 1;
        bytes += append.bytes();
        send_append(&reports, &names, &append);
    }
    drain(&reports);
    say("LOADED", &json!({"reports": count, "report_bytes": bytes}));
    let watch = Watch::new(&kafka, &group, &names, workload.partitions);
    while let Some(line) = hear() {
        match line.as_str() {
            "await" => {
                watch.until_committed(&[Topic::Arrivals, Topic::Plans, Topic::Attempts]);
                say("READY", &json!({}));
            }
            "go" => {
                reports.commit_transaction(PATIENCE).expect("the reports become visible");
                let began = Instant::now();
                say("COMMITTED", &json!({}));
                watch.until_committed(&[Topic::Outcomes]);
                say("DONE", &json!({"seconds": began.elapsed().as_secs_f64()}));
            }
            other => panic!("{other}?"),
        }
    }
}

/// Topics, routing document, and the positions from which the engine's group goes on.
pub fn prepare(kafka: &str, names: &TopicNames, workload: Workload, now: Timestamp) {
    let group = format!("{}engine", names.prefix());
    let cluster = KafkaCluster::new(KafkaOptions::new(kafka, names.clone(), group)).expect("legal settings");
    let retention = Duration::from_hours(30 * 24);
    let topics = TopicOptions { names: names.clone(), partitions: workload.partitions, replication: 1, retention };
    let (codec, by) = (codec(), ("bench", "bench", now));
    cluster.apply(&plan_topics(&topics), &codec, by, false).expect("topics are created");
    let said = Said { actor: "bench", reason: "bench", at: now };
    apply_routing(&cluster, &codec, &workload.sources(), said, None).expect("the document comes into force");
    let mut positions = Vec::new();
    for topic in Topic::INPUTS {
        let partitions = cluster.partitions(topic).expect("the topic is there");
        positions.extend((0..partitions).map(|partition| (TopicPartition { topic, partition }, 0)));
    }
    cluster.commit_positions(&positions).expect("the group is new");
}

/// Looks at the committed positions of a group, without being a member.
struct Watch {
    consumer: BaseConsumer,
    names: TopicNames,
    partitions: i32,
}

impl Watch {
    fn new(kafka: &str, group: &str, names: &TopicNames, partitions: i32) -> Self {
        let mut config = settings(kafka);
        // Uncommitted: an open transaction of the group doesn't keep it from answering.
        config.set("group.id", group).set("isolation.level", "read_uncommitted").set("enable.auto.commit", "false");
        Self { consumer: config.create().expect("legal settings"), names: names.clone(), partitions }
    }

    /// Waits until the group has committed all records of these topics.
    fn until_committed(&self, topics: &[Topic]) {
        let mut open = Vec::new();
        for topic in topics {
            let name = self.names.name(*topic);
            for partition in 0..self.partitions {
                let (_, high) = self.consumer.fetch_watermarks(&name, partition, PATIENCE).expect("the broker answers");
                // A marker ends the transaction that wrote the reports: a position before it has all of them.
                let end = high - i64::from(*topic == Topic::Outcomes);
                if end > 0 {
                    open.push((name.clone(), partition, end));
                }
            }
        }
        let began = Instant::now();
        while !open.is_empty() {
            assert!(began.elapsed() < PATIENCE, "the contestant doesn't come to its end: {open:?}");
            let mut list = TopicPartitionList::new();
            for (name, partition, _) in &open {
                list.add_partition(name, *partition);
            }
            if let Ok(committed) = self.consumer.committed_offsets(list, PATIENCE) {
                open.retain(|(name, partition, end)| {
                    let at = committed.find_partition(name, *partition).map(|found| found.offset());
                    !matches!(at, Some(Offset::Offset(at)) if at >= *end)
                });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
