//! Polls of workers, and the readers outside the group.

use std::ops::ControlFlow;

use super::*;
use crate::log::scan;

fn fill(cluster: &MemoryCluster, topic: Topic, partition: i32, count: i32) {
    for n in 0..count {
        cluster.append_now(append(topic, partition, "k", &n.to_string())).unwrap();
    }
}

#[test]
fn only_started_partitions_are_delivered_from_their_positions_on() {
    let cluster = cluster(2, 1);
    let mut worker = cluster.worker("w").unwrap();
    poll(&mut worker);
    fill(&cluster, Topic::Manifests, 0, 3);
    fill(&cluster, Topic::Manifests, 1, 3);
    assert_eq!(poll(&mut worker).records, []);
    worker.start(&[(manifests(), 1)]).unwrap();
    assert_eq!(shown(&poll(&mut worker).records), ["1 k=1", "2 k=2"]);
    assert_eq!(poll(&mut worker).records, []);
    worker.start(&[(manifests(), 2)]).unwrap();
    assert_eq!(shown(&poll(&mut worker).records), ["2 k=2"], "a start moves the position");
    worker.pause(&[manifests()]).unwrap();
    fill(&cluster, Topic::Manifests, 0, 1);
    assert_eq!(poll(&mut worker).records, []);
    worker.start(&[(manifests(), 3)]).unwrap();
    assert_eq!(poll(&mut worker).records.len(), 1);
}

#[test]
fn a_partition_of_another_worker_can_not_be_started() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    assert!(matches!(worker.start(&[(plans(), 0)]), Err(LogError::Fatal(_))));
    let mut other = cluster.worker("z").unwrap();
    poll(&mut other);
    assert!(matches!(other.start(&[(manifests(), 0)]), Err(LogError::Fatal(_))));
}

#[test]
fn a_batch_is_bounded_and_partitions_take_turns() {
    let cluster = cluster(2, 1);
    let mut worker = cluster.worker("w").unwrap();
    poll(&mut worker);
    fill(&cluster, Topic::Manifests, 0, 5);
    fill(&cluster, Topic::Manifests, 1, 3);
    worker.start(&[(manifests(), 0), (at(Topic::Manifests, 1), 0)]).unwrap();
    let mut batches = Vec::new();
    for _ in 0..5 {
        let records = worker.poll(2, Duration::ZERO).unwrap().records;
        let shown: Vec<_> = records.iter().map(|r| format!("{}:{}", r.at.partition, r.offset)).collect();
        batches.push(shown.join(" "));
    }
    assert_eq!(batches, ["0:0 0:1", "1:0 1:1", "0:2 0:3", "1:2 0:4", ""]);
    fill(&cluster, Topic::Manifests, 0, 1);
    assert_eq!(worker.poll(0, Duration::ZERO).unwrap().records, []);
}

#[test]
fn a_worker_skips_aborted_records_and_stops_at_the_last_stable_offset() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    let outcomes = at(Topic::Outcomes, 0);
    worker.start(&[(outcomes, 0)]).unwrap();
    let outcome = |value| vec![append(Topic::Outcomes, 0, "k", value)];
    once(&cluster, Fault::Abort { late_markers: true });
    worker.transact(outcome("aborted"), &[(outcomes, 0)]).unwrap_err();
    fill(&cluster, Topic::Outcomes, 0, 1);
    assert_eq!(poll(&mut worker).records, []);
    cluster.land_markers();
    assert_eq!(shown(&poll(&mut worker).records), ["1 k=0"]);
}

#[test]
fn a_position_that_was_deleted_or_never_was_is_an_error() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    fill(&cluster, Topic::Manifests, 0, 3);
    cluster.delete_before(manifests(), 2).unwrap();
    for lost in [1, 4] {
        worker.start(&[(manifests(), lost)]).unwrap();
        assert!(matches!(worker.poll(1, Duration::ZERO), Err(LogError::OutOfRange(_))), "{lost}");
    }
    worker.start(&[(manifests(), 3)]).unwrap();
    assert_eq!(poll(&mut worker).records, []);
}

#[test]
fn a_reader_reads_to_the_ends_of_its_creation_and_says_when_it_is_there() {
    let cluster = cluster(2, 1);
    fill(&cluster, Topic::Plans, 0, 3);
    fill(&cluster, Topic::Plans, 1, 2);
    let mut reader = only_cluster_reader(&cluster);
    assert_eq!((reader.at_goal(), reader.progress()), (false, (0, 5)));
    assert_eq!(reader.poll(4, Duration::ZERO).unwrap().len(), 4);
    assert_eq!((reader.at_goal(), reader.progress()), (false, (4, 5)));
    fill(&cluster, Topic::Plans, 0, 2);
    assert_eq!(reader.poll(100, Duration::ZERO).unwrap().len(), 3);
    assert_eq!((reader.at_goal(), reader.progress()), (true, (5, 5)));
    assert!(cluster.reader(&[at(Topic::History, 0)]).unwrap().at_goal(), "an empty partition is read");
    assert!(matches!(cluster.reader(&[at(Topic::History, 2)]), Err(LogError::Fatal(_))));
}

fn only_cluster_reader(cluster: &MemoryCluster) -> Box<dyn Reader> {
    cluster.reader(&[plans(), at(Topic::Plans, 1)]).unwrap()
}

#[test]
fn a_goal_beyond_the_last_stable_offset_is_reached_when_the_markers_have_landed() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    worker.transact(vec![append(Topic::Plans, 0, "a", "1")], &[(manifests(), 1)]).unwrap();
    once(&cluster, LATE);
    worker.transact(vec![append(Topic::Plans, 0, "a", "2")], &[(manifests(), 2)]).unwrap();
    let mut reader = worker.reader(&[plans()]).unwrap();
    assert_eq!(read_all(&mut reader), ["0 a=1"]);
    assert!(!reader.at_goal());
    assert_eq!(reader.progress(), (2, 3), "the first marker is behind it");
    cluster.land_markers();
    assert_eq!(read_all(&mut reader), ["2 a=2"]);
    assert!(reader.at_goal());
}

#[test]
fn a_scan_gives_up_where_nothing_comes_and_ends_where_its_reader_does() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    worker.transact(vec![append(Topic::Plans, 0, "a", "1")], &[(manifests(), 1)]).unwrap();
    once(&cluster, LATE);
    worker.transact(vec![append(Topic::Plans, 0, "a", "2")], &[(manifests(), 2)]).unwrap();
    let mut read = Vec::new();
    let mut reader = cluster.reader(&[plans()]).unwrap();
    let mut take = |records: Vec<Record>, _| {
        read.extend(shown(&records));
        Ok::<_, LogError>(ControlFlow::Continue(()))
    };
    assert!(matches!(scan(reader.as_mut(), Duration::ZERO, &mut take), Err(LogError::Away(_))), "a marker is missing");
    cluster.land_markers();
    scan(reader.as_mut(), Duration::ZERO, take).unwrap();
    assert_eq!(read, ["0 a=1", "2 a=2"]);
    let mut batches = 0;
    let enough = |_, _| {
        batches += 1;
        Ok::<_, LogError>(ControlFlow::Break(()))
    };
    scan(cluster.reader(&[plans()]).unwrap().as_mut(), FOREVER, enough).unwrap();
    assert_eq!(batches, 1);
}

#[test]
fn the_position_passes_a_tail_that_no_reader_sees() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    worker.transact(vec![append(Topic::Plans, 0, "a", "1")], &[(manifests(), 1)]).unwrap();
    once(&cluster, Fault::Abort { late_markers: false });
    worker.transact(vec![append(Topic::Plans, 0, "a", "2")], &[(manifests(), 2)]).unwrap_err();
    let mut reader = cluster.reader(&[plans()]).unwrap();
    assert_eq!(reader.poll(1, Duration::ZERO).unwrap().len(), 1);
    assert!(reader.at_goal(), "one full batch, then markers and an aborted record");
}

#[test]
fn a_reader_goes_on_where_the_head_was_deleted() {
    let cluster = cluster(1, 1);
    fill(&cluster, Topic::Plans, 0, 5);
    let mut reader = cluster.reader(&[plans()]).unwrap();
    cluster.delete_before(plans(), 3).unwrap();
    assert_eq!(read_all(&mut reader), ["3 k=3", "4 k=4"]);
    assert!(reader.at_goal());
    assert_eq!(cluster.reader(&[plans()]).unwrap().progress(), (0, 2));
}

#[test]
fn a_follower_reads_all_partitions_of_its_topics_and_wakes_for_new_records() {
    let cluster = cluster(2, 1);
    fill(&cluster, Topic::Plans, 1, 1);
    fill(&cluster, Topic::FileState, 0, 1);
    fill(&cluster, Topic::Manifests, 0, 1);
    let mut follower = cluster.follow(&[Topic::Plans, Topic::FileState]).unwrap();
    assert_eq!(follower.poll(100, FOREVER).unwrap().len(), 2);
    assert!(follower.at_goal());
    std::thread::scope(|scope| {
        let next = scope.spawn(|| follower.poll(100, FOREVER).unwrap());
        fill(&cluster, Topic::Manifests, 1, 1);
        fill(&cluster, Topic::Plans, 0, 1);
        assert_eq!(next.join().unwrap()[0].at, plans());
    });
}

#[test]
fn a_waiting_worker_wakes_for_records_markers_and_its_end() {
    let cluster = cluster(2, 1);
    let [mut worker, mut other] = ["a", "b"].map(|name| cluster.worker(name).unwrap());
    for _ in 0..2 {
        poll(&mut worker);
        poll(&mut other);
    }
    worker.start(&[(manifests(), 0)]).unwrap();
    let (say, said) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                let outcome = worker.poll(10, FOREVER).map(|batch| shown(&batch.records));
                let ended = outcome.is_err();
                say.send(outcome).unwrap();
                if ended {
                    break;
                }
            }
        });
        fill(&cluster, Topic::Manifests, 0, 1);
        assert_eq!(said.recv().unwrap(), Ok(vec!["0 k=0".to_owned()]));
        once(&cluster, LATE);
        other.transact(vec![append(Topic::Manifests, 0, "k", "1")], &[(at(Topic::Manifests, 1), 0)]).unwrap();
        cluster.land_markers();
        assert_eq!(said.recv().unwrap(), Ok(vec!["1 k=1".to_owned()]));
        cluster.worker("a").unwrap();
        assert_eq!(said.recv().unwrap(), Err(LogError::InstanceFenced("a".to_owned())));
    });
}

#[test]
fn a_poll_gives_up_after_its_wait() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    let batch = worker.poll(10, Duration::from_millis(5)).unwrap();
    assert!(batch.changes.is_empty() && batch.records.is_empty());
}
