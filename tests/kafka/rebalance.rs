//! Partitions that change hands while work is going on.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use consign::log::{AssignmentChange, Cluster, LogError, Position, TopicPartition};
use consign::record::Topic;

use crate::bed::{Bed, Stop, append, at, eventually, offsets_of, positions};

const PARTITIONS: i32 = 4;
const EACH: i64 = 600;

/// Copies manifests to arrivals, partition by partition and exactly once, until told to stop.
fn copy(bed: &Bed, identity: &str, copied: &AtomicUsize, stop: &AtomicBool, held: &Mutex<BTreeMap<String, usize>>) {
    let mut worker = bed.cluster.worker(identity).unwrap();
    let mut mine: Vec<TopicPartition> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let batch = worker.poll(20, Duration::from_millis(50)).unwrap();
        for change in &batch.changes {
            match change {
                AssignmentChange::Assigned(partitions) => {
                    mine.extend(partitions);
                    let from = positions(&mut *worker, partitions).unwrap();
                    worker.start(&from).unwrap();
                }
                AssignmentChange::Revoked(partitions) => mine.retain(|at| !partitions.contains(at)),
            }
            held.lock().unwrap().insert(identity.to_owned(), mine.len());
        }
        assert!(batch.records.iter().all(|r| mine.contains(&r.at)), "a record of a partition that isn't held");
        if batch.records.is_empty() {
            continue;
        }
        let appends =
            batch.records.iter().map(|r| append(at(Topic::Arrivals, r.at.partition), &r.offset.to_string(), identity));
        let next: BTreeMap<TopicPartition, i64> = batch.records.iter().map(|r| (r.at, r.offset + 1)).collect();
        let next: Vec<Position> = next.into_iter().collect();
        match worker.transact(appends.collect(), &next) {
            Ok(_) => {
                copied.fetch_add(batch.records.len(), Ordering::Relaxed);
            }
            Err(LogError::Aborted(_)) => {
                let from = positions(&mut *worker, &mine).unwrap();
                worker.start(&from).unwrap();
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn nothing_is_lost_and_nothing_done_twice_when_workers_come_and_go() {
    let bed = Bed::new("rebalance", PARTITIONS);
    let producer = bed.raw_producer(None);
    let held = Mutex::new(BTreeMap::new());
    let (copied, stop_first, stop_second) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let send = |numbers: std::ops::Range<i64>| {
        for partition in 0..PARTITIONS {
            bed.send(&producer, at(Topic::Manifests, partition), numbers.clone());
        }
    };
    let all = 4 * usize::try_from(PARTITIONS).unwrap();
    let holds = |identity: &str, count: usize| {
        eventually(&format!("{identity} with {count} partitions"), || {
            std::thread::sleep(Duration::from_millis(10));
            (held.lock().unwrap().get(identity) == Some(&count)).then_some(())
        });
    };
    std::thread::scope(|scope| {
        let (_first, _second) = (Stop(&stop_first), Stop(&stop_second));
        scope.spawn(|| copy(&bed, "first", &copied, &stop_first, &held));
        holds("first", all);
        send(0..EACH / 3);
        let second = scope.spawn(|| copy(&bed, "second", &copied, &stop_second, &held));
        send(EACH / 3..EACH * 2 / 3);
        holds("second", all / 2);
        holds("first", all / 2);
        send(EACH * 2 / 3..EACH);
        stop_second.store(true, Ordering::Relaxed);
        second.join().unwrap();
        // A static member's partitions move on once its session has timed out.
        holds("first", all);
        let total = usize::try_from(EACH * i64::from(PARTITIONS)).unwrap();
        eventually("all copies", || {
            std::thread::sleep(Duration::from_millis(10));
            (copied.load(Ordering::Relaxed) >= total).then_some(())
        });
    });
    for partition in 0..PARTITIONS {
        let records = bed.read(&[at(Topic::Arrivals, partition)]);
        let numbers: Vec<i64> =
            records.iter().map(|r| String::from_utf8_lossy(r.key.as_ref().unwrap()).parse().unwrap()).collect();
        assert_eq!(numbers, (0..EACH).collect::<Vec<_>>(), "partition {partition}");
        assert!(!offsets_of(&records, at(Topic::Arrivals, partition)).is_empty());
    }
}

#[test]
fn the_same_partition_number_of_all_inputs_goes_to_one_worker() {
    let bed = Bed::new("range", 3);
    let mut workers = [bed.cluster.worker("a").unwrap(), bed.cluster.worker("b").unwrap()];
    let mut held = [Vec::new(), Vec::new()];
    eventually("an even share", || {
        for (worker, held) in workers.iter_mut().zip(&mut held) {
            let batch = worker.poll(1, Duration::from_millis(50)).unwrap();
            crate::bed::follow_changes(held, &batch.changes);
        }
        (held.iter().all(|h| !h.is_empty()) && held.iter().map(Vec::len).sum::<usize>() == 12).then_some(())
    });
    for held in held {
        let numbers = |topic| {
            let mut numbers: Vec<i32> =
                held.iter().filter(|at: &&TopicPartition| at.topic == topic).map(|at| at.partition).collect();
            numbers.sort_unstable();
            numbers
        };
        for topic in Topic::INPUTS {
            assert_eq!(numbers(topic), numbers(Topic::Manifests));
        }
    }
}

#[test]
fn a_worker_that_goes_while_it_joins_doesnt_hang() {
    let bed = Bed::new("joining", 1);
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for n in 0..24 {
            let mut worker = bed.cluster.worker("w").unwrap();
            // Somewhere between the subscription and the assignment.
            if n % 3 == 0 {
                worker.poll(1, Duration::from_millis(n)).unwrap();
            } else {
                std::thread::sleep(Duration::from_millis(n * 4));
            }
            drop(worker);
        }
        done.send(()).unwrap();
    });
    ended.recv_timeout(crate::bed::PATIENCE * 2).expect("a worker's end never came");
}

#[test]
fn a_partition_that_is_gone_by_the_time_it_is_started_is_passed_over() {
    let bed = Bed::new("passed-over", 2);
    let producer = bed.raw_producer(None);
    bed.send(&producer, at(Topic::Manifests, 1), 0..3);
    let mut worker = bed.cluster.worker("w").unwrap();
    // Nothing is assigned yet: as if a revocation had come and waited for the next poll.
    worker.start(&[(at(Topic::Manifests, 0), 0)]).unwrap();
    let assigned = eventually("an assignment", || {
        let batch = worker.poll(10, Duration::from_millis(100)).unwrap();
        assert!(batch.records.is_empty());
        batch.changes.into_iter().find_map(|change| match change {
            AssignmentChange::Assigned(partitions) => Some(partitions),
            AssignmentChange::Revoked(_) => None,
        })
    });
    assert!(assigned.contains(&at(Topic::Manifests, 1)));
    worker.start(&[(at(Topic::Manifests, 1), 1), (at(Topic::Manifests, 9), 0)]).unwrap();
    let records = eventually("the records", || {
        let records = worker.poll(10, Duration::from_millis(100)).unwrap().records;
        (!records.is_empty()).then_some(records)
    });
    assert_eq!(offsets_of(&records, at(Topic::Manifests, 1))[0], 1);
}
