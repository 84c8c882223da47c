//! Transactions: markers, the last stable offset, fencing, the group's offsets, changes of controls.

use super::*;

fn plan(value: &str) -> Vec<Append> {
    vec![append(Topic::Plans, 0, "a", value)]
}

fn ends(worker: &mut Box<dyn Log>) -> (i64, i64) {
    let mut end = |isolation| worker.ends(&[plans()], isolation).unwrap()[0].high;
    (end(Isolation::ReadCommitted), end(Isolation::ReadUncommitted))
}

#[test]
fn a_commit_shows_its_records_and_positions_and_its_markers_take_offsets() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    let both = vec![append(Topic::Plans, 0, "a", "1"), append(Topic::FileState, 0, "a", "v1")];
    worker.transact(both, &[(manifests(), 5), (at(Topic::Acks, 0), 3)]).unwrap();
    worker.transact(plan("2"), &[(manifests(), 6)]).unwrap();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["0 a=1", "2 a=2"]);
    assert_eq!(shown(&cluster.dump(Topic::FileState)), ["0 a=v1"]);
    assert_eq!(ends(&mut worker), (4, 4));
    let inputs = [manifests(), at(Topic::Acks, 0), at(Topic::Outcomes, 0)];
    assert_eq!(worker.committed(&inputs).unwrap(), [Some(6), Some(3), None]);
}

#[test]
fn an_aborted_transaction_leaves_offsets_and_nothing_else() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    once(&cluster, Fault::Abort { late_markers: false });
    let aborted = worker.transact(plan("lost"), &[(manifests(), 5)]);
    assert!(matches!(aborted, Err(LogError::Aborted(_))));
    worker.transact(plan("kept"), &[(at(Topic::Outcomes, 0), 1)]).unwrap();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["2 a=kept"]);
    assert_eq!(shown(&cluster.dump_uncommitted(Topic::Plans)), ["0 a=lost", "2 a=kept"]);
    assert_eq!(worker.committed(&[manifests()]).unwrap(), [None]);
}

#[test]
fn an_open_transaction_holds_back_all_that_follows_it() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    cluster.append_now(append(Topic::Plans, 0, "before", "1")).unwrap();
    once(&cluster, Fault::LeftOpen);
    let undecided = worker.transact(plan("open"), &[(manifests(), 5)]);
    assert!(matches!(undecided, Err(LogError::Undecided(_))));
    cluster.append_now(append(Topic::Plans, 0, "behind", "1")).unwrap();
    assert_eq!(ends(&mut worker), (1, 3));
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["0 before=1"]);
    assert!(matches!(worker.committed(&[manifests()]), Err(LogError::Away(_))));
    worker.rebuild().unwrap();
    assert_eq!(ends(&mut worker), (4, 4));
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["0 before=1", "2 behind=1"]);
    assert_eq!(worker.committed(&[manifests()]).unwrap(), [None]);
}

#[test]
fn late_markers_land_one_by_one_in_any_order() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    once(&cluster, LATE);
    let both = vec![append(Topic::Plans, 0, "a", "1"), append(Topic::FileState, 0, "a", "v1")];
    worker.transact(both, &[(manifests(), 5)]).unwrap();
    let pending = cluster.pending_markers();
    let targets: Vec<_> = pending.iter().map(|marker| marker.target).collect();
    let file_state = at(Topic::FileState, 0);
    assert_eq!(
        targets,
        [MarkerTarget::Partition(plans()), MarkerTarget::Partition(file_state), MarkerTarget::GroupOffsets]
    );
    assert!(pending.iter().all(|marker| marker.committed));
    assert_eq!((cluster.dump(Topic::Plans).len(), cluster.dump(Topic::FileState).len()), (0, 0));

    assert!(cluster.land_marker(pending[1]));
    assert_eq!((cluster.dump(Topic::Plans).len(), cluster.dump(Topic::FileState).len()), (0, 1));
    assert!(matches!(worker.committed(&[manifests()]), Err(LogError::Away(_))));
    assert_eq!(worker.committed(&[at(Topic::Acks, 0)]).unwrap(), [None], "no transaction carries this one");

    assert!(cluster.land_marker(pending[2]));
    assert_eq!(worker.committed(&[manifests()]).unwrap(), [Some(5)]);
    assert!(!cluster.land_marker(pending[2]), "a marker lands once");
    assert_eq!(ends(&mut worker), (0, 1));
    cluster.land_markers();
    assert_eq!(ends(&mut worker), (2, 2));
    assert_eq!(cluster.pending_markers(), []);
}

#[test]
fn a_producer_waits_for_its_own_late_markers_but_not_for_others() {
    let cluster = cluster(2, 1);
    let mut w1 = cluster.worker("w1").unwrap();
    let mut w2 = cluster.worker("w2").unwrap();
    changes(&mut w1);
    changes(&mut w2);
    assert_eq!(changes(&mut w1), ["-0", "-1", "+0"]);
    assert_eq!(changes(&mut w2), ["+1"]);
    once(&cluster, LATE);
    w1.transact(plan("1"), &[(manifests(), 1)]).unwrap();
    w2.transact(plan("2"), &[(at(Topic::Manifests, 1), 1)]).unwrap();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), [""; 0], "the first transaction holds back the second");
    w1.transact(plan("3"), &[(manifests(), 2)]).unwrap();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["0 a=1", "1 a=2", "4 a=3"]);
}

#[test]
fn positions_that_land_late_do_not_undo_newer_ones() {
    let cluster = cluster(1, 1);
    let mut old = only_worker(&cluster);
    once(&cluster, LATE);
    old.transact(vec![], &[(manifests(), 5)]).unwrap();
    old.close();
    let mut new = cluster.worker("v").unwrap();
    poll(&mut new);
    new.transact(vec![], &[(manifests(), 9)]).unwrap();
    cluster.land_markers();
    assert_eq!(new.committed(&[manifests()]).unwrap(), [Some(9)]);
}

#[test]
fn a_second_producer_fences_the_first_and_aborts_what_it_left_open() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    once(&cluster, Fault::LeftOpen);
    worker.transact(plan("open"), &[(manifests(), 1)]).unwrap_err();
    worker.rebuild().unwrap();
    poll(&mut worker);
    cluster.fence_producer("w");
    for _ in 0..2 {
        let fenced = worker.transact(plan("fenced"), &[(manifests(), 1)]);
        assert!(matches!(fenced, Err(LogError::ProducerFenced(_))));
    }
    assert_eq!(shown(&cluster.dump_uncommitted(Topic::Plans)), ["0 a=open"], "a fenced producer writes nothing");
    worker.rebuild().unwrap();
    poll(&mut worker);
    worker.transact(plan("kept"), &[(manifests(), 1)]).unwrap();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["2 a=kept"]);
}

#[test]
fn an_expired_transaction_is_aborted_and_its_producer_fenced() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    once(&cluster, Fault::LeftOpen);
    worker.transact(plan("open"), &[(manifests(), 1)]).unwrap_err();
    drop(worker);
    cluster.append_now(append(Topic::Plans, 0, "b", "1")).unwrap();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), [""; 0]);
    cluster.expire_transactions();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["1 b=1"]);
}

#[test]
fn after_a_lost_reply_or_a_fence_only_a_rebuild_makes_the_producer_work() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    once(&cluster, Fault::Commit { reply_lost: true, late_markers: false });
    assert!(matches!(worker.transact(plan("1"), &[(manifests(), 1)]), Err(LogError::Undecided(_))));
    assert!(matches!(worker.transact(plan("2"), &[(manifests(), 1)]), Err(LogError::Undecided(_))));
    worker.rebuild().unwrap();
    let early = worker.transact(plan("3"), &[(manifests(), 1)]);
    assert!(matches!(early, Err(LogError::Aborted(_))), "its partitions are not assigned anew yet: {early:?}");
    assert_eq!(changes(&mut worker), ["+0"]);
    assert_eq!(worker.committed(&[manifests()]).unwrap(), [Some(1)], "the commit whose reply was lost happened");
    worker.transact(plan("4"), &[(manifests(), 1)]).unwrap();
    assert_eq!(shown(&cluster.dump(Topic::Plans)), ["0 a=1", "4 a=4"]);
}

#[test]
fn a_transaction_without_positions_is_refused() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    assert!(matches!(worker.transact(plan("1"), &[]), Err(LogError::Fatal(_))));
    assert_eq!(cluster.dump_uncommitted(Topic::Plans), []);
}

#[test]
fn the_groups_offsets_can_be_set_and_forgotten() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    worker.transact(vec![], &[(manifests(), 5)]).unwrap();
    cluster.set_committed(&[(manifests(), 2), (at(Topic::Acks, 0), 1)]);
    assert_eq!(worker.committed(&[manifests()]).unwrap(), [Some(2)]);
    cluster.forget_committed(&[manifests()]);
    assert_eq!(worker.committed(&[manifests()]).unwrap(), [None]);
    assert_eq!(cluster.committed_positions(), BTreeMap::from([(at(Topic::Acks, 0), 1)]));
}

#[test]
fn a_change_of_controls_sees_the_newest_values_and_commits_what_it_decides() {
    let cluster = cluster(1, 1);
    let control = |key: &str, value: &str| append(Topic::Controls, 0, key, value);
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("b", "")] {
        cluster.append_now(control(key, value)).unwrap();
    }
    let mut seen = Vec::new();
    cluster
        .change_controls(&mut |records| {
            seen = shown(records);
            vec![control("a", "3"), control("c", "1")]
        })
        .unwrap();
    assert_eq!(seen, ["2 a=2"]);
    assert_eq!(shown(&cluster.dump(Topic::Controls))[4..], ["4 a=3", "5 c=1"]);
    cluster.change_controls(&mut |_| vec![]).unwrap();
    let stray = cluster.change_controls(&mut |_| plan("1"));
    assert!(matches!(stray, Err(LogError::Fatal(_))));
    let reader = cluster.reader(&[at(Topic::Controls, 0)]).unwrap();
    assert_eq!(reader.progress(), (0, 7), "four appends, two committed and one marker");
}

#[test]
fn changes_of_controls_never_decide_on_the_same_values() {
    let cluster = cluster(1, 1);
    let count_up = |cluster: &MemoryCluster| {
        for _ in 0..50 {
            let mut change = |records: &[Record]| {
                let count: i32 = records.first().map_or(0, |r| text(r.value.as_ref()).parse().unwrap());
                vec![append(Topic::Controls, 0, "count", &(count + 1).to_string())]
            };
            cluster.change_controls(&mut change).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| count_up(&cluster));
        }
    });
    assert_eq!(text(cluster.dump(Topic::Controls).last().unwrap().value.as_ref()), "200");
}

#[test]
fn a_change_of_controls_waits_for_transactions_there() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    once(&cluster, LATE);
    worker.transact(vec![append(Topic::Controls, 0, "pause", "1")], &[(manifests(), 1)]).unwrap();
    let away = cluster.change_controls(&mut |_| panic!("it can't know what is there"));
    assert!(matches!(away, Err(LogError::Away(_))));
    cluster.land_markers();
    let mut seen = 0;
    cluster
        .change_controls(&mut |records| {
            seen = records.len();
            vec![]
        })
        .unwrap();
    assert_eq!(seen, 1);
    assert!(matches!(cluster.worker(CONTROLS_ID), Err(LogError::Fatal(_))));
}
