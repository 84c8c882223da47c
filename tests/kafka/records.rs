//! Records of targets that are part of a worker's transactions, on topics that are there, missing or vanish.

use std::time::{Duration, Instant};

use consign::log::{Log, LogError, TargetRecord, TopicCheck, TopicPartition};
use consign::record::Topic;
use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;

use crate::bed::{Bed, PATIENCE, append, eventually, lone_worker, run, text};
use crate::servers::topics::create;

const IN: TopicPartition = TopicPartition { topic: Topic::Manifests, partition: 0 };
const OUT: TopicPartition = TopicPartition { topic: Topic::Arrivals, partition: 0 };

fn record(topic: &str, key: &str) -> TargetRecord {
    let headers = vec![("idempotency-key".to_owned(), key.as_bytes().to_vec())];
    TargetRecord { topic: topic.to_owned(), key: key.into(), value: b"v".to_vec(), headers }
}

/// The keys that a reader of this isolation finds on a topic, sorted.
fn keys(bed: &Bed, topic: &str, isolation: &str) -> Vec<String> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &bed.options.bootstrap).set("group.id", "nobody").set("isolation.level", isolation);
    config.set("enable.partition.eof", "true").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    (0..2).for_each(|p| list.add_partition_offset(topic, p, Offset::Beginning).unwrap());
    consumer.assign(&list).unwrap();
    let (mut keys, mut at_end, begun) = (Vec::new(), 0, Instant::now());
    while at_end < 2 {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => keys.push(String::from_utf8(message.key().unwrap().to_vec()).unwrap()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => at_end += 1,
            Some(Err(error)) => panic!("{error}"),
            None => assert!(begun.elapsed() < PATIENCE),
        }
    }
    keys.sort();
    keys
}

/// What a check comes to.
fn checked(worker: &mut dyn Log, topic: &str) -> TopicCheck {
    eventually("an answer", || {
        let answer = worker.check_topic(topic);
        std::thread::sleep(Duration::from_millis(20));
        (answer != TopicCheck::Asking).then_some(answer)
    })
}

#[test]
fn a_record_of_a_target_commits_with_the_rest_or_not_at_all() {
    let bed = Bed::new("records", 1);
    let (there, elsewhere) = (format!("{}entries", bed.names.prefix()), format!("{}missing", bed.names.prefix()));
    create(&bed.options.bootstrap, &there, 2);
    let mut worker = lone_worker(&bed, "w");
    assert_eq!(checked(&mut *worker, &there), TopicCheck::Takes);
    assert_eq!(keys(&bed, &there, "read_committed"), Vec::<String>::new(), "nobody sees the trial");
    worker
        .transact_with(vec![append(OUT, "k", "1")], vec![record(&there, "a"), record(&there, "b")], &[(IN, 0)])
        .unwrap();
    assert_eq!(keys(&bed, &there, "read_committed"), ["a", "b"]);

    let TopicCheck::Refuses(why) = checked(&mut *worker, &elsewhere) else { panic!("it isn't there") };
    assert!(why.contains("missing"), "{why}");
    let metadata = bed.admin().inner().fetch_metadata(None, Duration::from_secs(30)).unwrap();
    assert!(!metadata.topics().iter().any(|t| t.name() == elsewhere), "a check makes no topic");
    drop(worker);
}

#[test]
fn a_topic_that_vanishes_is_named_and_the_worker_goes_on() {
    let bed = Bed::new("records-gone", 1);
    let (gone, stays) = (format!("{}gone", bed.names.prefix()), format!("{}stays", bed.names.prefix()));
    create(&bed.options.bootstrap, &gone, 2);
    create(&bed.options.bootstrap, &stays, 2);
    let mut worker = lone_worker(&bed, "w");
    for topic in [&gone, &stays] {
        assert_eq!(checked(&mut *worker, topic), TopicCheck::Takes);
    }
    let both = |key: &str| vec![record(&stays, key), record(&gone, key)];
    worker.transact_with(vec![append(OUT, "k", "before")], both("before"), &[(IN, 0)]).unwrap();
    let deleted = run(bed.admin().delete_topics(&[&gone], &AdminOptions::new())).unwrap();
    deleted.into_iter().for_each(|deleted| drop(deleted.unwrap()));
    // The brokers may still say for a moment that it is there.
    eventually("its end", || {
        let metadata = bed.admin().inner().fetch_metadata(None, Duration::from_secs(30)).unwrap();
        (!metadata.topics().iter().any(|t| t.name() == gone)).then_some(())
    });
    let begun = Instant::now();
    let error = worker.transact_with(vec![append(OUT, "k", "never")], both("never"), &[(IN, 1)]).unwrap_err();
    println!("after {:?}: {error}", begun.elapsed());
    assert!(matches!(&error, LogError::TargetTopic { topic, .. } if *topic == gone), "{error:?}");
    assert_eq!(worker.committed(&[IN]).unwrap(), [Some(0)]);
    worker.transact_with(vec![append(OUT, "k", "after")], vec![record(&stays, "after")], &[(IN, 1)]).unwrap();
    assert_eq!(keys(&bed, &stays, "read_committed"), ["after", "before"]);
    let values: Vec<String> = bed.read(&[OUT]).iter().map(|r| text(r.value.as_ref())).collect();
    assert_eq!(values, ["before", "after"]);
}
