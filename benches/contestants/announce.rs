//! Announces files at a rate, or all at once, and follows file-state until each is COMPLETED: how long that took, as whoever
//! reads file-state sees it. Then the same for transactions that do nothing else.
//!
//! Before that a number of files that don't count: the first record of each partition costs the broker what no later one does.

use std::ops::Range;
use std::time::{Duration, Instant};

use consign::log::Cluster as _;
use consign::record::{Codec, FileState, State, Topic, TopicNames};
use consign::transport::wall_clock;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::engine::Parts;
use crate::kafka::{PATIENCE, drain, producer, send, send_append, settings};
use crate::options::{Options, hear, say};
use crate::workload::{Maker, codec};

/// Files a second before those that count are announced all at once.
const WARM_UP_RATE: f64 = 200.0;
/// Transactions that are timed for comparison.
const TRANSACTIONS: usize = 300;

pub fn run(options: &Options) {
    let (workload, kafka) = (options.workload(), options.kafka());
    let names = TopicNames::new(options.prefix());
    let now = wall_clock()();
    crate::load::prepare(&kafka, &names, workload, now);
    let rate: f64 = options.number("rate", 0.0);
    let warm_up: usize = options.number("warm-up", 1_000);
    let mut announcer = Announcer {
        follower: follower(&kafka, options, &names),
        manifests: producer(&kafka, None),
        maker: Maker::new(workload, now),
        names,
        codec: codec(),
    };
    say("LOADED", &json!({}));
    while let Some(line) = hear() {
        match line.as_str() {
            "warm" => {
                announcer.announce(0..warm_up, if rate > 0.0 { rate } else { WARM_UP_RATE });
                say("WARM", &json!({}));
            }
            "go" => {
                let began = Instant::now();
                let took = announcer.announce(warm_up..warm_up + workload.files, rate);
                let seconds = began.elapsed().as_secs_f64();
                say("DONE", &json!({"seconds": seconds, "latency_ms": spread(took)}));
                say("BARE", &json!({"two_transactions_ms": bare(&kafka, &announcer.names)}));
            }
            other => panic!("{other}?"),
        }
    }
}

struct Announcer {
    follower: BaseConsumer,
    manifests: BaseProducer,
    maker: Maker,
    names: TopicNames,
    codec: Codec,
}

impl Announcer {
    /// Announces these files, so many a second or all at once, and waits until each is COMPLETED: how long it took.
    fn announce(&mut self, files: Range<usize>, rate: f64) -> Vec<Duration> {
        let began = Instant::now();
        let mut sent: Vec<Option<Instant>> = vec![None; files.len()];
        let mut took: Vec<Duration> = Vec::with_capacity(files.len());
        let mut next = 0;
        while took.len() < files.len() {
            assert!(began.elapsed() < PATIENCE, "{} of {} files are COMPLETED", took.len(), files.len());
            let due = |n: usize| rate <= 0.0 || began.elapsed().as_secs_f64() * rate >= count(n);
            while next < files.len() && due(next) {
                sent[next] = Some(Instant::now());
                send_append(&self.manifests, &self.names, &self.maker.announcement(files.start + next));
                next += 1;
            }
            self.manifests.poll(Duration::ZERO);
            while let Some(message) = self.follower.poll(Duration::from_millis(1)) {
                let message = message.expect("the broker answers");
                let state: FileState =
                    self.codec.decode(message.payload().expect("no tombstones")).expect("file-state");
                if state.state == State::Completed {
                    let number = state.file_id.as_str().rsplit('-').next().and_then(|n| n.parse::<usize>().ok());
                    if let Some(at) = number.and_then(|n| n.checked_sub(files.start)).and_then(|n| sent.get(n)) {
                        took.push(at.expect("announced").elapsed());
                    }
                }
                if rate > 0.0 {
                    break;
                }
            }
        }
        took
    }
}

fn follower(kafka: &str, options: &Options, names: &TopicNames) -> BaseConsumer {
    let follower: BaseConsumer = settings(kafka)
        .set("group.id", "bench-follower")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "10")
        .create()
        .expect("legal settings");
    let mut list = TopicPartitionList::new();
    let partitions = Parts::of(options).cluster.partitions(Topic::FileState).expect("the topic is there");
    for partition in 0..partitions {
        list.add_partition_offset(&names.name(Topic::FileState), partition, Offset::Beginning).expect("legal");
    }
    follower.assign(&list).expect("its partitions");
    follower
}

/// Two transactions of one record each, one after the other, again and again.
fn bare(kafka: &str, names: &TopicNames) -> Value {
    let producer = producer(kafka, Some(&format!("{}compare", names.prefix())));
    let name = names.name(Topic::DeadLetters);
    let mut took = Vec::with_capacity(TRANSACTIONS);
    for _ in 0..TRANSACTIONS {
        let began = Instant::now();
        for _ in 0..2 {
            producer.begin_transaction().expect("a transaction begins");
            send(&producer, &name, 0, b"k", b"v");
            drain(&producer);
            producer.commit_transaction(PATIENCE).expect("it commits");
        }
        took.push(began.elapsed());
    }
    spread(took)
}

fn spread(mut took: Vec<Duration>) -> Value {
    took.sort_unstable();
    let at = |permille: usize| took[(took.len() * permille / 1_000).min(took.len() - 1)].as_secs_f64() * 1_000.0;
    json!({"p50": at(500), "p99": at(990), "p999": at(999), "most": at(1_000)})
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("fewer"))
}
