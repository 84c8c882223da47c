//! The limit: consume → produce in transactions with librdkafka and nothing else, through the same safe interface. It moves
//! as many records of the same bytes as the engine wrote: those are read from its topics beforehand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use consign::record::{Topic, TopicNames};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use crate::kafka::{PATIENCE, drain, producer, send, settings};
use crate::options::{Options, hear, say};

/// Records of the engine's that are written again and again.
const POOL: usize = 5_000;

/// What is written to one topic for each record that is read.
#[derive(Clone)]
struct Output {
    name: String,
    each: f64,
    pool: Arc<Vec<(Vec<u8>, Vec<u8>)>>,
}

pub fn run(options: &Options) {
    let names = TopicNames::new(options.prefix());
    let source = TopicNames::new(options.text("like", "bench."));
    let workers: i32 = options.number("workers", 2);
    let partitions = options.workload().partitions;
    let outputs: Vec<Output> = [(Topic::History, "history-each"), (Topic::FileState, "file-state-each")]
        .into_iter()
        .map(|(topic, option)| Output {
            name: names.name(topic),
            each: options.number(option, 0.0),
            pool: Arc::new(pool(&options.kafka(), &source.name(topic))),
        })
        .collect();
    let max: usize = options.number("batch", 10_000);
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..workers)
        .map(|number| {
            let (kafka, names, outputs, stop) = (options.kafka(), names.clone(), outputs.clone(), Arc::clone(&stop));
            let own: Vec<i32> = (0..partitions).filter(|p| p % workers == number).collect();
            std::thread::spawn(move || move_records(&kafka, &names, number, &own, &outputs, max, &stop))
        })
        .collect();
    say("READY", &json!({}));
    while hear().is_some() {}
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("a thread ends in good order"));
}

fn move_records(
    kafka: &str,
    names: &TopicNames,
    number: i32,
    own: &[i32],
    outputs: &[Output],
    max: usize,
    stop: &AtomicBool,
) {
    let input = names.name(Topic::Outcomes);
    let consumer: BaseConsumer = settings(kafka)
        .set("group.id", format!("{}engine", names.prefix()))
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "20000")
        .set("fetch.wait.max.ms", "50")
        .create()
        .expect("legal settings");
    let mut list = TopicPartitionList::new();
    for partition in own {
        list.add_partition_offset(&input, *partition, Offset::Beginning).expect("a legal offset");
    }
    consumer.assign(&list).expect("its partitions");
    let producer = producer(kafka, Some(&format!("{}bare-{number}", names.prefix())));
    let mut owed: Vec<f64> = vec![0.0; outputs.len()];
    let mut next: Vec<usize> = vec![0; outputs.len()];
    while !stop.load(Ordering::SeqCst) {
        let mut positions: BTreeMap<i32, i64> = BTreeMap::new();
        let mut read = 0;
        let mut wait = Duration::from_millis(50);
        while read < max {
            let Some(message) = consumer.poll(wait) else { break };
            let message = message.expect("the broker answers");
            if read == 0 {
                producer.begin_transaction().expect("a transaction begins");
                wait = Duration::ZERO;
            }
            read += 1;
            positions.insert(message.partition(), message.offset() + 1);
            for (at, output) in outputs.iter().enumerate() {
                owed[at] += output.each;
                if owed[at] >= 1.0 {
                    owed[at] -= 1.0;
                    let (key, value) = &output.pool[next[at] % output.pool.len()];
                    next[at] += 1;
                    send(&producer, &output.name, message.partition(), key, value);
                }
            }
        }
        if read > 0 {
            drain(&producer);
            let mut list = TopicPartitionList::new();
            for (partition, position) in positions {
                list.add_partition_offset(&input, partition, Offset::Offset(position)).expect("a legal offset");
            }
            let group = consumer.group_metadata().expect("it has a group");
            producer.send_offsets_to_transaction(&list, &group, PATIENCE).expect("the offsets are sent");
            producer.commit_transaction(PATIENCE).expect("the transaction commits");
        }
    }
}

/// Records of a topic, from its beginning.
fn pool(kafka: &str, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let consumer: BaseConsumer = settings(kafka)
        .set("group.id", "bench-pool")
        .set("enable.auto.commit", "false")
        .create()
        .expect("legal settings");
    let metadata = consumer.fetch_metadata(Some(name), PATIENCE).expect("the broker answers");
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(name, partition.id(), Offset::Beginning).expect("a legal offset");
    }
    consumer.assign(&list).expect("its partitions");
    let mut records = Vec::new();
    let until = Instant::now() + Duration::from_secs(20);
    while records.len() < POOL && Instant::now() < until {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => {
                let bytes = |b: Option<&[u8]>| b.unwrap_or_default().to_vec();
                records.push((bytes(message.key()), bytes(message.payload())));
            }
            Some(Err(error)) => panic!("{name}: {error}"),
            None if records.is_empty() => {}
            None => break,
        }
    }
    assert!(!records.is_empty(), "{name} holds nothing");
    records
}
