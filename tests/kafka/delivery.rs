//! What a worker is handed, and what not.

use consign::log::TopicPartition;
use consign::record::Topic;

use crate::bed::{Bed, at, lone_worker, nothing_comes, offsets_of, take};

const P0: TopicPartition = TopicPartition { topic: Topic::Manifests, partition: 0 };
const P1: TopicPartition = TopicPartition { topic: Topic::Manifests, partition: 1 };
const P2: TopicPartition = TopicPartition { topic: Topic::Outcomes, partition: 1 };

fn bed_with_records(test: &str) -> Bed {
    let bed = Bed::new(test, 2);
    let producer = bed.raw_producer(None);
    for partition in [P0, P1, P2] {
        bed.send(&producer, partition, 0..200);
    }
    bed
}

#[test]
fn nothing_is_delivered_before_its_start_and_then_everything_once() {
    let bed = bed_with_records("delivery-start");
    let mut worker = lone_worker(&bed, "w");
    nothing_comes(&mut *worker);
    worker.start(&[(P0, 0)]).unwrap();
    let records = take(&mut *worker, 200);
    assert_eq!(offsets_of(&records, P0), (0..200).collect::<Vec<_>>());
    assert_eq!(records.len(), 200);
    nothing_comes(&mut *worker);
    worker.start(&[(P1, 57), (P2, 199)]).unwrap();
    let records = take(&mut *worker, 144);
    assert_eq!(offsets_of(&records, P1), (57..200).collect::<Vec<_>>());
    assert_eq!(offsets_of(&records, P2), [199]);
    nothing_comes(&mut *worker);
}

#[test]
fn starting_again_rewinds() {
    let bed = bed_with_records("delivery-rewind");
    let mut worker = lone_worker(&bed, "w");
    worker.start(&[(P0, 0), (P1, 0)]).unwrap();
    take(&mut *worker, 150);
    // As after an aborted transaction, with records already polled and others under way.
    worker.start(&[(P0, 20), (P1, 40)]).unwrap();
    let records = take(&mut *worker, 180 + 160);
    assert_eq!(offsets_of(&records, P0), (20..200).collect::<Vec<_>>());
    assert_eq!(offsets_of(&records, P1), (40..200).collect::<Vec<_>>());
    nothing_comes(&mut *worker);
}

#[test]
fn a_pause_lasts_until_the_next_start() {
    let bed = bed_with_records("delivery-pause");
    let mut worker = lone_worker(&bed, "w");
    worker.start(&[(P0, 0), (P1, 0)]).unwrap();
    let mut seen = take(&mut *worker, 10);
    worker.pause(&[P1]).unwrap();
    seen.retain(|r| r.at == P0);
    let left = 200 - seen.len();
    if left > 0 {
        seen.extend(take(&mut *worker, left));
    }
    assert_eq!(offsets_of(&seen, P0), (0..200).collect::<Vec<_>>());
    assert_eq!(seen.len(), 200);
    nothing_comes(&mut *worker);
    worker.start(&[(P1, 3)]).unwrap();
    assert_eq!(offsets_of(&take(&mut *worker, 197), P1), (3..200).collect::<Vec<_>>());
}

#[test]
fn a_poll_hands_out_no_more_than_was_asked_for() {
    let bed = bed_with_records("delivery-max");
    let mut worker = lone_worker(&bed, "w");
    worker.start(&[(P0, 0)]).unwrap();
    let mut seen = 0;
    while seen < 200 {
        let batch = worker.poll(7, std::time::Duration::from_secs(5)).unwrap();
        assert!(batch.records.len() <= 7);
        seen += batch.records.len();
    }
    assert_eq!(seen, 200);
}

#[test]
fn a_position_outside_its_partition_names_the_repair() {
    let bed = bed_with_records("delivery-range");
    let mut worker = lone_worker(&bed, "w");
    worker.start(&[(at(Topic::Manifests, 0), 5000)]).unwrap();
    let error = crate::bed::eventually("the refusal", || worker.poll(10, std::time::Duration::from_millis(100)).err());
    assert!(error.to_string().contains("consign offsets repair"), "{error}");
}

#[test]
fn starts_and_pauses_that_follow_each_other_closely_end_nothing() {
    let bed = bed_with_records("delivery-close");
    let mut worker = lone_worker(&bed, "w");
    // librdkafka ends the whole process if it is asked twice to stop one partition before it has stopped once.
    for round in 0..500 {
        worker.start(&[(P0, 0), (P1, 0), (P2, 0)]).unwrap();
        worker.pause(&[P1]).unwrap();
        worker.pause(&[P2]).unwrap();
        worker.start(&[(P1, 7)]).unwrap();
        if round % 50 == 0 {
            take(&mut *worker, 1);
        }
    }
    worker.start(&[(P0, 0), (P1, 0), (P2, 0)]).unwrap();
    assert_eq!(take(&mut *worker, 600).len(), 600);
    nothing_comes(&mut *worker);
}
