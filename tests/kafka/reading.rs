//! Readers outside the group, committed offsets and ends: what is seen of transactions that aren't over.

use std::time::Duration;

use consign::log::{Cluster, Ends, Isolation, TopicPartition};
use consign::record::Topic;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::bed::{Bed, PATIENCE, at, eventually, lone_worker, read_to_goal, run, text};

const P: [TopicPartition; 6] = [
    TopicPartition { topic: Topic::Outcomes, partition: 0 },
    TopicPartition { topic: Topic::Outcomes, partition: 1 },
    TopicPartition { topic: Topic::Outcomes, partition: 2 },
    TopicPartition { topic: Topic::Outcomes, partition: 3 },
    TopicPartition { topic: Topic::Outcomes, partition: 4 },
    TopicPartition { topic: Topic::Outcomes, partition: 5 },
];

fn delete_before(bed: &Bed, at: TopicPartition, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&bed.names.name(at.topic), at.partition, Offset::Offset(offset)).unwrap();
    let done = run(bed.admin().delete_records(&list, &AdminOptions::new())).unwrap();
    assert!(done.elements().iter().all(|e| e.error().is_ok()), "{done:?}");
}

#[test]
fn the_goal_is_reached_whatever_stands_at_the_end() {
    let bed = Bed::new("reading-goal", 6);
    let producer = bed.raw_producer(Some(&format!("{}raw", bed.names.prefix())));
    let send = |at, numbers, commit: bool| {
        producer.begin_transaction().unwrap();
        bed.send(&producer, at, numbers);
        if commit {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.abort_transaction(PATIENCE).unwrap();
        }
    };
    // 0: ends in a commit marker. 1: ends in aborted records. 2: holds nothing but aborted ones. 3: is empty.
    // 4: is empty because everything was deleted. 5: begins late.
    send(P[0], 0..5, true);
    send(P[1], 0..5, true);
    send(P[1], 5..9, false);
    send(P[2], 0..3, false);
    send(P[4], 0..3, true);
    delete_before(&bed, P[4], 4);
    send(P[5], 0..3, true);
    delete_before(&bed, P[5], 2);
    let mut reader = bed.cluster.reader(&P).unwrap();
    let (_, all) = reader.progress();
    assert_eq!(all, 6 + 11 + 4 + 2);
    let records = read_to_goal(&mut *reader);
    assert_eq!(reader.progress(), (all, all));
    let of = |p| records.iter().filter(|r| r.at == p).map(|r| text(r.value.as_ref())).collect::<Vec<_>>();
    assert_eq!(of(P[0]), ["0", "1", "2", "3", "4"]);
    assert_eq!(of(P[1]), ["0", "1", "2", "3", "4"]);
    assert_eq!(of(P[5]), ["2"]);
    assert_eq!(records.len(), 11);
}

#[test]
fn a_reader_of_nothing_is_at_its_goal() {
    let bed = Bed::new("reading-nothing", 1);
    let mut reader = bed.cluster.reader(&P[..1]).unwrap();
    assert!(reader.at_goal());
    assert_eq!(reader.poll(10, Duration::ZERO).unwrap(), []);
}

#[test]
fn an_open_transaction_holds_the_goal_back() {
    let bed = Bed::new("reading-open", 1);
    let producer = bed.raw_producer(Some(&format!("{}raw", bed.names.prefix())));
    producer.begin_transaction().unwrap();
    bed.send(&producer, P[0], 0..3);
    let mut worker = lone_worker(&bed, "w");
    assert_eq!(worker.ends(&P[..1], Isolation::ReadCommitted).unwrap(), [Ends { low: 0, high: 0 }]);
    assert_eq!(worker.ends(&P[..1], Isolation::ReadUncommitted).unwrap(), [Ends { low: 0, high: 3 }]);
    let mut reader = worker.reader(&P[..1]).unwrap();
    for _ in 0..5 {
        assert_eq!(reader.poll(10, Duration::from_millis(100)).unwrap(), []);
        assert!(!reader.at_goal());
    }
    producer.commit_transaction(PATIENCE).unwrap();
    assert_eq!(read_to_goal(&mut *reader).len(), 3);
}

#[test]
fn what_is_deleted_while_it_is_being_read_doesnt_hold_the_goal_back() {
    let bed = Bed::new("reading-deleted", 1);
    let producer = bed.raw_producer(Some(&format!("{}raw", bed.names.prefix())));
    producer.begin_transaction().unwrap();
    bed.send(&producer, P[0], 0..3);
    // Nothing of an open transaction is delivered, so that the reader stands before all of it.
    let mut reader = bed.cluster.reader(&P[..1]).unwrap();
    assert_eq!(reader.poll(10, Duration::from_millis(200)).unwrap(), []);
    producer.abort_transaction(PATIENCE).unwrap();
    // The abort is answered before its marker is in the log.
    eventually("the marker", || (bed.cluster.ends(&P[..1]).unwrap()[0].high == 4).then_some(()));
    delete_before(&bed, P[0], 4);
    assert_eq!(read_to_goal(&mut *reader), []);
}

#[test]
fn committed_offsets_wait_for_a_transaction_that_is_still_open() {
    let bed = Bed::new("reading-stable", 1);
    let input = at(Topic::Acks, 0);
    let observer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &bed.options.bootstrap)
        .set("group.id", &bed.options.group)
        .create()
        .unwrap();
    let producer = bed.raw_producer(Some(&format!("{}raw", bed.names.prefix())));
    producer.begin_transaction().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&bed.names.name(input.topic), input.partition, Offset::Offset(7)).unwrap();
    producer.send_offsets_to_transaction(&list, &observer.group_metadata().unwrap(), PATIENCE).unwrap();
    let mut worker = bed.cluster.worker("w").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            producer.commit_transaction(PATIENCE).unwrap();
        });
        assert_eq!(worker.committed(&[input]).unwrap(), [Some(7)]);
    });
}

#[test]
fn a_follower_reads_everything_and_goes_on() {
    let bed = Bed::new("reading-follow", 2);
    let producer = bed.raw_producer(None);
    let state = [at(Topic::FileState, 0), at(Topic::FileState, 1)];
    bed.send(&producer, state[0], 0..10);
    let mut follower = bed.cluster.follow(&[Topic::FileState, Topic::Controls]).unwrap();
    let before = read_to_goal(&mut *follower);
    assert_eq!(before.iter().filter(|r| r.at.topic == Topic::FileState).count(), 10);
    assert_eq!(before.iter().filter(|r| r.at.topic == Topic::Controls).count(), 1, "home_partitions");
    bed.send(&producer, state[1], 10..15);
    let mut after = Vec::new();
    eventually("the records that came later", || {
        after.extend(follower.poll(100, Duration::from_millis(100)).unwrap());
        (after.len() == 5).then_some(())
    });
    assert!(follower.at_goal());
}
