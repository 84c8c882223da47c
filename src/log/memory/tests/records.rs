//! Partitions, offsets, times, compaction, deletion.

use super::*;

#[test]
fn topics_have_the_partitions_that_the_options_say() {
    let mut options = MemoryOptions::new(4, 3, Arc::new(|| Timestamp(0)));
    options.other_partitions.insert(Topic::DeadLetters, 2);
    let cluster = MemoryCluster::new(options);
    let count = |topic| cluster.partitions(topic).unwrap();
    assert_eq!(count(Topic::Manifests), 4);
    assert_eq!(count(Topic::FileState), 4);
    assert_eq!(count(Topic::Acks), 3);
    assert_eq!(count(Topic::Controls), 1);
    assert_eq!(count(Topic::DeadLetters), 2);
}

#[test]
#[should_panic(expected = "every topic has a partition")]
fn a_topic_without_partitions_is_refused() {
    MemoryCluster::new(MemoryOptions::new(1, 0, Arc::new(|| Timestamp(0))));
}

#[test]
fn a_record_keeps_all_that_was_appended_and_gets_an_offset_and_a_time() {
    let cluster = cluster(2, 1);
    let mut first = append(Topic::Manifests, 1, "a", "1");
    first.headers = vec![("why".into(), b"because".to_vec())];
    assert_eq!(cluster.append_now(first).unwrap(), (at(Topic::Manifests, 1), 0));
    assert_eq!(cluster.append_now(append(Topic::Manifests, 1, "a", "")).unwrap().1, 1);
    assert_eq!(cluster.append_now(append(Topic::Manifests, 0, "b", "2")).unwrap().1, 0);
    let records = cluster.dump(Topic::Manifests);
    assert_eq!(shown(&records), ["0 b=2", "0 a=1", "1 a=-"]);
    assert_eq!(records[1].at, at(Topic::Manifests, 1));
    assert_eq!(records[1].header("why"), Some(b"because".as_slice()));
    assert_eq!(records.iter().map(|r| r.timestamp.0).collect::<Vec<_>>(), [1002, 1000, 1001]);
    assert_eq!(records[2].value, None);
}

#[test]
fn without_a_partition_the_default_partitioner_chooses() {
    let cluster = cluster(12, 1);
    let mut partitions = std::collections::BTreeSet::new();
    for n in 0..50 {
        let key = format!("file-{n}");
        let append = Append { partition: None, ..append(Topic::Manifests, 0, &key, "x") };
        let (place, _) = cluster.append_now(append).unwrap();
        assert_eq!(place.partition, crate::record::home_partition(&key, 12));
        partitions.insert(place.partition);
    }
    assert!(partitions.len() > 6, "the keys spread: {partitions:?}");
}

#[test]
fn a_partition_that_does_not_exist_is_refused_and_nothing_is_written() {
    let cluster = cluster(1, 1);
    let stray = cluster.append_now(append(Topic::Plans, 1, "a", "1"));
    assert!(matches!(stray, Err(LogError::Fatal(_))));
    let mut worker = only_worker(&cluster);
    let both = vec![append(Topic::Plans, 0, "a", "1"), append(Topic::Plans, 7, "a", "1")];
    assert!(matches!(worker.transact(both, &[(manifests(), 0)]), Err(LogError::Fatal(_))));
    assert!(matches!(worker.ends(&[at(Topic::Plans, -1)], Isolation::ReadCommitted), Err(LogError::Fatal(_))));
    assert_eq!(cluster.dump_uncommitted(Topic::Plans), []);
}

#[test]
fn a_record_without_a_key_can_be_put() {
    let cluster = cluster(1, 1);
    assert_eq!(cluster.put(manifests(), None, Some(b"x".to_vec()), vec![]).unwrap(), 0);
    assert_eq!(shown(&cluster.dump(Topic::Manifests)), ["0 -=x"]);
    assert!(cluster.put(at(Topic::Manifests, 1), None, None, vec![]).is_err());
}

#[test]
fn an_appender_appends_when_awaited() {
    let cluster = cluster(1, 1);
    let appender = cluster.appender().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let unawaited = appender.append(append(Topic::Outcomes, 0, "a", "never"));
    drop(unawaited);
    let place = runtime.block_on(appender.append(append(Topic::Outcomes, 0, "a", "1")));
    assert_eq!(place, Ok((at(Topic::Outcomes, 0), 0)));
    assert_eq!(shown(&cluster.dump(Topic::Outcomes)), ["0 a=1"]);
}

#[test]
fn compaction_keeps_the_newest_value_of_each_key_and_all_offsets() {
    let cluster = cluster(1, 1);
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("b", ""), ("c", "1")] {
        cluster.append_now(append(Topic::Plans, 0, key, value)).unwrap();
    }
    cluster.put(plans(), None, Some(b"k".to_vec()), vec![]).unwrap();
    cluster.compact(plans(), false).unwrap();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["2 a=2", "3 b=-", "4 c=1", "5 -=k"]);
    cluster.compact(plans(), true).unwrap();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["2 a=2", "4 c=1", "5 -=k"]);
    let mut reader = cluster.reader(&[plans()]).unwrap();
    assert_eq!(read_all(&mut reader).len(), 3);
    assert!(reader.at_goal());
    assert_eq!(cluster.append_now(append(Topic::Plans, 0, "d", "1")).unwrap().1, 6, "offsets go on");
}

#[test]
fn compaction_stops_at_the_last_stable_offset_and_drops_what_was_aborted() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    once(&cluster, Fault::Abort { late_markers: false });
    let one = |value| vec![append(Topic::Plans, 0, "a", value)];
    worker.transact(one("aborted"), &[(manifests(), 0)]).unwrap_err();
    worker.transact(one("1"), &[(manifests(), 0)]).unwrap();
    once(&cluster, LATE);
    worker.transact(one("2"), &[(manifests(), 0)]).unwrap();
    cluster.append_now(append(Topic::Plans, 0, "a", "3")).unwrap();
    cluster.compact(plans(), true).unwrap();
    assert_eq!(shown(&cluster.dump_uncommitted(Topic::Plans)), ["2 a=1", "4 a=2", "5 a=3"]);
    cluster.land_markers();
    cluster.compact(plans(), true).unwrap();
    assert_eq!(shown(&cluster.dump_uncommitted(Topic::Plans)), ["5 a=3"]);
}

#[test]
fn deletion_moves_the_low_end_and_stops_at_the_last_stable_offset() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    for n in 0..4 {
        cluster.append_now(append(Topic::Plans, 0, "a", &n.to_string())).unwrap();
    }
    let ends = |worker: &mut Box<dyn Log>| worker.ends(&[plans()], Isolation::ReadUncommitted).unwrap()[0];
    cluster.delete_before(plans(), 2).unwrap();
    assert_eq!(ends(&mut worker), Ends { low: 2, high: 4 });
    cluster.delete_before(plans(), 1).unwrap();
    assert_eq!(ends(&mut worker), Ends { low: 2, high: 4 }, "the low end never falls");
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["2 a=2", "3 a=3"]);
    once(&cluster, LATE);
    worker.transact(vec![append(Topic::Plans, 0, "a", "4")], &[(manifests(), 0)]).unwrap();
    cluster.delete_before(plans(), 100).unwrap();
    assert_eq!(ends(&mut worker), Ends { low: 4, high: 5 });
    cluster.land_markers();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["4 a=4"]);
}
