//! The group: range assignment, generations, static members, hand-over.

use super::*;

fn workers<const N: usize>(cluster: &MemoryCluster, names: [&str; N]) -> [Box<dyn Log>; N] {
    let mut workers = names.map(|name| cluster.worker(name).unwrap());
    // All join, then all give up what they held alone, then all learn their part.
    for _ in 0..2 {
        for worker in &mut workers {
            poll(worker);
        }
    }
    workers
}

fn is_aborted(worker: &mut Box<dyn Log>, partition: i32) -> bool {
    let outcome = worker.transact(vec![], &[(at(Topic::Manifests, partition), 1)]);
    assert!(matches!(outcome, Ok(_) | Err(LogError::Aborted(_))), "{outcome:?}");
    outcome.is_err()
}

#[test]
fn one_worker_is_assigned_every_partition_of_every_input() {
    let cluster = cluster(2, 3);
    let mut worker = cluster.worker("w").unwrap();
    let AssignmentChange::Assigned(partitions) = &poll(&mut worker).changes[0] else { panic!("not assigned") };
    let count = |topic| partitions.iter().filter(|p| p.topic == topic).count();
    assert_eq!(Topic::INPUTS.map(count), [2, 2, 2, 3]);
    assert_eq!(partitions.len(), 9);
    assert_eq!(poll(&mut worker).changes, [], "it is told once");
}

#[test]
fn range_gives_one_partition_number_of_all_inputs_to_one_worker() {
    let cluster = cluster(7, 2);
    let mut held: Vec<Vec<TopicPartition>> = Vec::new();
    let mut w = ["a", "b", "c"].map(|name| cluster.worker(name).unwrap());
    for worker in &mut w {
        poll(worker);
    }
    for worker in &mut w {
        let changes = poll(worker).changes;
        let Some(AssignmentChange::Assigned(partitions)) = changes.last() else { continue };
        held.push(partitions.clone());
    }
    // `a` was alone, gave all up last and completed the rebalance; `b` and `c` had joined before.
    let numbers = |held: &[TopicPartition], topic| {
        held.iter().filter(|p| p.topic == topic).map(|p| p.partition).collect::<Vec<_>>()
    };
    assert_eq!(held.len(), 3);
    for topic in Topic::HOME_INPUTS {
        let all: Vec<_> = held.iter().map(|held| numbers(held, topic)).collect();
        assert_eq!(all, [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
    }
    let acks: Vec<_> = held.iter().map(|held| numbers(held, Topic::Acks)).collect();
    assert_eq!(acks, [vec![0], vec![1], vec![]]);
}

#[test]
fn a_partition_goes_to_its_new_owner_after_the_old_one_gave_it_up() {
    let cluster = cluster(2, 1);
    let mut old = cluster.worker("a").unwrap();
    assert_eq!(changes(&mut old), ["+0", "+1"]);
    assert!(!is_aborted(&mut old, 1));
    let mut new = cluster.worker("b").unwrap();
    assert!(!is_aborted(&mut old, 1), "a worker that hasn't polled is no member");
    assert_eq!(changes(&mut new), [""; 0]);
    assert_eq!(changes(&mut new), [""; 0]);
    assert!(is_aborted(&mut old, 0), "it hasn't polled since the rebalance began");
    assert!(is_aborted(&mut new, 1));
    assert_eq!(changes(&mut old), ["-0", "-1", "+0"]);
    assert!(!is_aborted(&mut old, 0));
    assert!(is_aborted(&mut old, 1), "it is another's");
    assert!(is_aborted(&mut new, 1), "it doesn't know yet");
    assert_eq!(changes(&mut new), ["+1"]);
    assert!(!is_aborted(&mut new, 1));
}

#[test]
fn what_is_aborted_by_the_group_leaves_no_visible_record() {
    let cluster = cluster(2, 1);
    let [mut a, _b] = workers(&cluster, ["a", "b"]);
    let stale = a.transact(vec![append(Topic::Plans, 0, "a", "1")], &[(at(Topic::Manifests, 1), 1)]);
    assert_eq!(stale.unwrap_err().abort_cause(), Some(AbortCause::Rebalance));
    assert_eq!(cluster.dump(Topic::Plans), []);
    assert_eq!(cluster.dump_uncommitted(Topic::Plans).len(), 1);
    assert_eq!(cluster.committed_positions(), BTreeMap::new());
}

#[test]
fn the_same_identity_fences_the_old_connection_and_keeps_the_assignment() {
    let cluster = cluster(2, 1);
    let [mut a, mut b] = workers(&cluster, ["a", "b"]);
    let mut again = cluster.worker("a").unwrap();
    assert!(matches!(a.poll(1, Duration::ZERO), Err(LogError::InstanceFenced(who)) if who == "a"));
    assert!(matches!(a.transact(vec![], &[(manifests(), 1)]), Err(LogError::InstanceFenced(_))));
    assert!(matches!(a.committed(&[manifests()]), Err(LogError::InstanceFenced(_))));
    assert!(matches!(a.rebuild(), Err(LogError::InstanceFenced(_))));
    a.close();
    assert_eq!(changes(&mut again), ["+0"]);
    assert_eq!(changes(&mut b), [""; 0], "no rebalance");
    assert!(!is_aborted(&mut again, 0));
    assert!(!is_aborted(&mut b, 1));
}

#[test]
fn a_crashed_members_partitions_stay_its_own_until_it_is_expired() {
    let cluster = cluster(2, 1);
    let [a, mut b] = workers(&cluster, ["a", "b"]);
    drop(a);
    assert_eq!(changes(&mut b), [""; 0]);
    assert!(!is_aborted(&mut b, 1));
    cluster.expire("a");
    assert!(is_aborted(&mut b, 1));
    assert_eq!(changes(&mut b), ["-1", "+0", "+1"]);
    assert!(!is_aborted(&mut b, 0));
}

#[test]
fn a_crashed_member_holds_up_a_rebalance_until_it_comes_back() {
    let cluster = cluster(2, 1);
    let [a, mut b] = workers(&cluster, ["a", "b"]);
    drop(a);
    cluster.rebalance();
    assert_eq!(changes(&mut b), ["-1"]);
    assert_eq!(changes(&mut b), [""; 0]);
    let mut a = cluster.worker("a").unwrap();
    assert_eq!(changes(&mut a), ["+0"]);
    assert_eq!(changes(&mut b), ["+1"]);
}

#[test]
fn a_member_that_closes_leaves_at_once() {
    let cluster = cluster(2, 1);
    let [mut a, mut b] = workers(&cluster, ["a", "b"]);
    a.close();
    assert!(matches!(a.poll(1, Duration::ZERO), Err(LogError::Fatal(_))));
    assert_eq!(changes(&mut b), ["-1", "+0", "+1"]);
    b.close();
    assert_eq!(changes(&mut cluster.worker("c").unwrap()), ["+0", "+1"]);
}

#[test]
fn an_expired_member_that_lives_can_not_commit_and_joins_again() {
    let cluster = cluster(2, 1);
    let [mut a, mut b] = workers(&cluster, ["a", "b"]);
    cluster.expire("a");
    assert_eq!(changes(&mut b), ["-1", "+0", "+1"]);
    assert!(!is_aborted(&mut b, 0));
    assert!(is_aborted(&mut a, 0), "a zombie");
    assert_eq!(changes(&mut a), ["-0"]);
    assert_eq!(changes(&mut b), ["-0", "-1", "+1"]);
    assert_eq!(changes(&mut a), ["+0"]);
}

#[test]
fn a_rebuild_is_assigned_everything_anew_without_a_rebalance() {
    let cluster = cluster(2, 1);
    let [mut a, mut b] = workers(&cluster, ["a", "b"]);
    cluster.append_now(append(Topic::Manifests, 0, "k", "1")).unwrap();
    a.start(&[(manifests(), 0)]).unwrap();
    a.rebuild().unwrap();
    let batch = poll(&mut a);
    assert!(matches!(batch.changes.as_slice(), [AssignmentChange::Assigned(_)]), "{batch:?}");
    assert_eq!(poll(&mut a).records, [], "nothing of it is started");
    assert!(!is_aborted(&mut b, 1));
}

#[test]
fn a_rebalance_ends_the_delivery_until_the_next_start() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    worker.start(&[(manifests(), 0)]).unwrap();
    cluster.append_now(append(Topic::Manifests, 0, "k", "1")).unwrap();
    cluster.rebalance();
    let batch = poll(&mut worker);
    assert!(
        matches!(batch.changes.as_slice(), [AssignmentChange::Revoked(_), AssignmentChange::Assigned(_)]),
        "{batch:?}"
    );
    assert_eq!(batch.records, []);
    assert_eq!(poll(&mut worker).records, []);
    worker.start(&[(manifests(), 0)]).unwrap();
    assert_eq!(poll(&mut worker).records.len(), 1);
}

#[test]
fn workers_in_threads_hand_their_partitions_over() {
    let cluster = cluster(4, 1);
    let mut first = cluster.worker("a").unwrap();
    assert_eq!(changes(&mut first).len(), 4);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut second = cluster.worker("b").unwrap();
            second.poll(1, FOREVER).unwrap().changes
        });
        let gave_up = first.poll(1, FOREVER).unwrap().changes;
        assert!(matches!(gave_up.as_slice(), [AssignmentChange::Revoked(_), AssignmentChange::Assigned(_)]));
        let taken = second.join().unwrap();
        assert!(matches!(taken.as_slice(), [AssignmentChange::Assigned(partitions)] if partitions.len() == 6));
    });
}
