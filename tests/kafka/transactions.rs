//! Transactions: all or nothing, and who may make them.

use std::time::{Duration, Instant};

use consign::log::{AbortCause, Cluster, Ends, Isolation, Log, LogError, TopicPartition};
use consign::record::Topic;
use rdkafka::producer::Producer;

use crate::bed::{Bed, PATIENCE, append, assigned, at, eventually, lone_worker, take, text};

const IN: TopicPartition = TopicPartition { topic: Topic::Manifests, partition: 0 };
const OUT: TopicPartition = TopicPartition { topic: Topic::Arrivals, partition: 0 };
const OTHER: TopicPartition = TopicPartition { topic: Topic::History, partition: 0 };

fn values(bed: &Bed, at: TopicPartition) -> Vec<String> {
    bed.read(&[at]).iter().map(|r| text(r.value.as_ref())).collect()
}

#[test]
fn records_and_positions_become_visible_together() {
    let bed = Bed::new("txn-commit", 1);
    bed.send(&bed.raw_producer(None), IN, 0..3);
    let mut worker = lone_worker(&bed, "w");
    assert_eq!(worker.committed(&[IN]).unwrap(), [None]);
    worker.start(&[(IN, 0)]).unwrap();
    take(&mut *worker, 3);
    worker.transact(vec![append(OUT, "k", "one"), append(OTHER, "k", "two")], &[(IN, 3)]).unwrap();
    assert_eq!(values(&bed, OUT), ["one"]);
    assert_eq!(values(&bed, OTHER), ["two"]);
    assert_eq!(worker.committed(&[IN, OUT]).unwrap(), [Some(3), None]);
    // Positions alone are a transaction too.
    worker.transact(Vec::new(), &[(IN, 2)]).unwrap();
    assert_eq!(worker.committed(&[IN]).unwrap(), [Some(2)]);
    let ends = worker.ends(&[OUT], Isolation::ReadUncommitted).unwrap();
    assert_eq!(ends, [Ends { low: 0, high: 2 }], "a record and a marker");
}

#[test]
fn of_a_refused_transaction_nothing_stays() {
    let bed = Bed::new("txn-refused", 1);
    let mut worker = lone_worker(&bed, "w");
    worker.transact(vec![append(OUT, "k", "before")], &[(IN, 0)]).unwrap();
    // However well it would compress.
    let huge = "x".repeat(3 << 20);
    let error = worker.transact(vec![append(OUT, "k", "never"), append(OTHER, "k", &huge)], &[(IN, 1)]).unwrap_err();
    assert!(matches!(error, LogError::TooLong(_)), "{error:?}");
    let nowhere = append(at(Topic::History, 9), "k", "x");
    let error = worker.transact(vec![append(OUT, "k", "never"), nowhere], &[(IN, 1)]).unwrap_err();
    assert!(matches!(error, LogError::Fatal(_)), "{error:?}");
    assert_eq!(worker.committed(&[IN]).unwrap(), [Some(0)]);
    worker.transact(vec![append(OUT, "k", "after")], &[(IN, 0)]).unwrap();
    assert_eq!(values(&bed, OUT), ["before", "after"]);
    assert_eq!(values(&bed, OTHER), Vec::<String>::new());
}

#[test]
fn the_transaction_after_one_that_was_given_up_unsent_is_not_aborted_for_it() {
    let bed = Bed::new("txn-unsent", 1);
    let mut worker = lone_worker(&bed, "w");
    // Whoever knows the topic refuses a partition that isn't there at once, before the record ahead of it is sent.
    worker.transact(vec![append(OUT, "k", "before"), append(OTHER, "k", "before")], &[(IN, 0)]).unwrap();
    for round in ["one", "two"] {
        let nowhere = append(at(Topic::History, 9), "k", "x");
        let error = worker.transact(vec![append(OUT, "k", "never"), nowhere], &[(IN, 1)]).unwrap_err();
        assert!(matches!(error, LogError::Fatal(_)), "{error:?}");
        worker.transact(vec![append(OUT, "k", round)], &[(IN, 0)]).unwrap();
    }
    assert_eq!(values(&bed, OUT), ["before", "one", "two"]);
}

/// While the markers of the last transaction are written, the coordinator knows of none that could be aborted.
#[test]
fn a_transaction_that_is_given_up_before_the_log_knows_of_it_fences_nobody() {
    let bed = Bed::new("txn-unbegun", 1);
    let mut worker = lone_worker(&bed, "w");
    let rounds = ["one", "two", "three", "four", "five"];
    for round in rounds {
        worker.transact(vec![append(OUT, "k", round), append(OTHER, "k", round)], &[(IN, 0)]).unwrap();
        // Enough to be announced before the last one is refused.
        let mut records: Vec<_> = (0..2_000).map(|_| append(OUT, "k", "never")).collect();
        records.push(append(at(Topic::History, 9), "k", "x"));
        let error = worker.transact(records, &[(IN, 1)]).unwrap_err();
        assert!(matches!(error, LogError::Fatal(_)), "{error:?}");
    }
    worker.transact(vec![append(OUT, "k", "after")], &[(IN, 2)]).unwrap();
    assert_eq!(worker.committed(&[IN]).unwrap(), [Some(2)]);
    assert_eq!(values(&bed, OUT), [&rounds[..], &["after"]].concat());
    assert_eq!(values(&bed, OTHER), rounds);
}

#[test]
fn a_worker_that_lost_its_place_in_the_group_commits_nothing() {
    let mut bed = Bed::new("txn-stale", 1);
    // Who doesn't poll for that long is out of the group, though its heart beats.
    bed.options.client.insert("max.poll.interval.ms".into(), "3000".into());
    let slow = consign::log::kafka::KafkaCluster::new(bed.options.clone()).unwrap();
    let mut stale = slow.worker("stale").unwrap();
    assigned(&mut *stale, 4);
    let mut heir = bed.cluster.worker("heir").unwrap();
    // One partition of each input: the heir gets them all once the other one is out.
    assigned(&mut *heir, 4);
    let error = stale.transact(vec![append(OUT, "k", "never")], &[(IN, 1)]).unwrap_err();
    assert!(matches!(error, LogError::Aborted(_)), "{error:?}");
    assert_eq!(error.abort_cause(), Some(AbortCause::Rebalance), "{error:?}");
    heir.transact(vec![append(OUT, "k", "heir")], &[(IN, 0)]).unwrap();
    assert_eq!(values(&bed, OUT), ["heir"]);
    assert_eq!(heir.committed(&[IN]).unwrap(), [Some(0)]);
}

#[test]
fn a_second_worker_under_the_same_identity_fences_the_first() {
    let bed = Bed::new("txn-fence", 1).keeping_producers();
    let mut first = lone_worker(&bed, "w");
    first.transact(vec![append(OUT, "k", "first")], &[(IN, 0)]).unwrap();
    let mut second = bed.cluster.worker("w").unwrap();
    let error = first.transact(vec![append(OUT, "k", "never")], &[(IN, 0)]).unwrap_err();
    assert!(matches!(error, LogError::ProducerFenced(_) | LogError::InstanceFenced(_)), "{error:?}");
    assigned(&mut *second, 4);
    let error = eventually("the fencing of the member", || first.poll(10, Duration::from_millis(100)).err());
    assert!(matches!(error, LogError::InstanceFenced(_)), "{error:?}");
    let error = first.transact(vec![append(OUT, "k", "never")], &[(IN, 0)]).unwrap_err();
    assert!(matches!(error, LogError::InstanceFenced(_)), "{error:?}");
    second.transact(vec![append(OUT, "k", "second")], &[(IN, 0)]).unwrap();
    assert_eq!(values(&bed, OUT), ["first", "second"]);
}

#[test]
fn a_fenced_producer_goes_on_after_a_rebuild() {
    let bed = Bed::new("txn-rebuild", 1).keeping_producers();
    bed.send(&bed.raw_producer(None), IN, 0..5);
    let mut worker = lone_worker(&bed, "w");
    worker.start(&[(IN, 0)]).unwrap();
    take(&mut *worker, 5);
    worker.transact(vec![append(OUT, "k", "before")], &[(IN, 2)]).unwrap();
    // Someone takes the transactional id, and no place in the group.
    drop(bed.raw_producer(Some(&format!("{}w", bed.names.prefix()))));
    let error = worker.transact(vec![append(OUT, "k", "never")], &[(IN, 3)]).unwrap_err();
    assert!(matches!(error, LogError::ProducerFenced(_)), "{error:?}");
    worker.rebuild().unwrap();
    assigned(&mut *worker, 4);
    assert_eq!(worker.committed(&[IN]).unwrap(), [Some(2)]);
    worker.start(&[(IN, 2)]).unwrap();
    assert_eq!(take(&mut *worker, 3).len(), 3);
    worker.transact(vec![append(OUT, "k", "after")], &[(IN, 5)]).unwrap();
    assert_eq!(values(&bed, OUT), ["before", "after"]);
}

#[test]
fn a_successor_takes_over_at_once_and_ends_what_was_left_open() {
    let bed = Bed::new("txn-takeover", 1);
    let mut first = lone_worker(&bed, "w");
    first.transact(vec![append(OUT, "k", "first")], &[(IN, 0)]).unwrap();
    drop(first);
    // As a worker that was killed within a transaction leaves it: records are in the log, and no marker.
    let killed = bed.raw_producer(Some(&format!("{}w", bed.names.prefix())));
    killed.begin_transaction().unwrap();
    bed.send(&killed, OUT, 100..105);
    let mut second = lone_worker(&bed, "w");
    assert_eq!(second.committed(&[IN]).unwrap(), [Some(0)]);
    second.transact(vec![append(OUT, "k", "second")], &[(IN, 0)]).unwrap();
    assert_eq!(values(&bed, OUT), ["first", "second"]);
    assert!(killed.commit_transaction(PATIENCE).is_err(), "the killed one comes back too late");
}

#[test]
fn a_commit_takes_no_needless_wait() {
    let bed = Bed::new("txn-latency", 4);
    let mut worker = lone_worker(&bed, "w");
    let mut times: Vec<Duration> = (0..40)
        .map(|n: i32| {
            let appends = (0..25).map(|i| append(at(Topic::Arrivals, i % 4), &n.to_string(), "x")).collect();
            let began = Instant::now();
            worker.transact(appends, &[(IN, 0)]).unwrap();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("a transaction of 25 records on 4 partitions: median {:?}, longest {:?}", times[20], times[39]);
    // Whoever commits with records under way waits in steps of 100 ms, every time: the shortest tells.
    assert!(times[0] < Duration::from_millis(100), "{times:?}");
}

#[test]
fn identities_are_checked() {
    let bed = Bed::without_topics("txn-identity", 1);
    for bad in ["", "a b", "controls", "x/y"] {
        assert!(matches!(bed.cluster.worker(bad).map(drop), Err(LogError::Fatal(_))), "{bad:?}");
    }
}

#[test]
fn closing_ends_everything() {
    let bed = Bed::new("txn-close", 1);
    let mut worker: Box<dyn Log> = lone_worker(&bed, "w");
    worker.close();
    assert!(worker.poll(1, Duration::ZERO).is_err());
    assert!(worker.transact(Vec::new(), &[(IN, 0)]).is_err());
}
