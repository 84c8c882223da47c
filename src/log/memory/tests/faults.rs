//! Chosen faults.

use std::sync::Mutex;

use super::*;

#[test]
fn faults_see_every_call_and_what_it_carries() {
    let cluster = cluster(1, 1);
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&seen);
    cluster.faults(Box::new(move |point| {
        log.lock().unwrap().push(match point {
            FaultPoint::Transact { transactional_id, appends, positions } => {
                format!("transact {transactional_id} {} {}", appends.len(), positions.len())
            }
            FaultPoint::Append { append } => format!("append {}", append.topic.base_name()),
            FaultPoint::Read { identity } => format!("read {}", identity.unwrap_or("-")),
        });
        Fault::NONE
    }));
    let mut worker = only_worker(&cluster);
    worker.transact(vec![], &[(manifests(), 1)]).unwrap();
    cluster.append_now(append(Topic::Acks, 0, "a", "1")).unwrap();
    cluster.reader(&[plans()]).unwrap();
    cluster.change_controls(&mut |_| vec![append(Topic::Controls, 0, "a", "1")]).unwrap();
    cluster.no_faults();
    cluster.append_now(append(Topic::Acks, 0, "a", "1")).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(*seen, ["read w", "transact w 0 1", "append acks", "read -", "read -", "transact controls 1 0"]);
}

#[test]
fn a_log_that_is_away_does_nothing() {
    let cluster = cluster(1, 1);
    let mut worker = only_worker(&cluster);
    let mut reader = cluster.reader(&[plans()]).unwrap();
    cluster.faults(Box::new(|_| Fault::Away));
    let plan = append(Topic::Plans, 0, "a", "1");
    let calls = [
        worker.transact(vec![plan.clone()], &[(manifests(), 1)]).map(|_| ()),
        worker.poll(1, FOREVER).map(|_| ()),
        worker.committed(&[manifests()]).map(|_| ()),
        worker.ends(&[manifests()], Isolation::ReadCommitted).map(|_| ()),
        worker.reader(&[plans()]).map(|_| ()),
        reader.poll(1, FOREVER).map(|_| ()),
        cluster.follow(&[Topic::Plans]).map(|_| ()),
        cluster.append_now(plan.clone()).map(|_| ()),
        cluster.change_controls(&mut |_| vec![append(Topic::Controls, 0, "a", "1")]),
    ];
    for (call, outcome) in calls.iter().enumerate() {
        assert!(matches!(outcome, Err(LogError::Away(_))), "call {call}: {outcome:?}");
    }
    cluster.no_faults();
    assert_eq!(cluster.dump_uncommitted(Topic::Plans), []);
    assert_eq!(cluster.dump_uncommitted(Topic::Controls), []);
    worker.transact(vec![plan], &[(manifests(), 1)]).unwrap();
}

#[test]
fn a_lost_reply_comes_with_or_without_the_commit() {
    for (fault, visible) in [
        (Fault::Commit { reply_lost: true, late_markers: false }, 1),
        (Fault::Commit { reply_lost: true, late_markers: true }, 1),
        (Fault::LeftOpen, 0),
    ] {
        let cluster = cluster(1, 1);
        let mut worker = only_worker(&cluster);
        once(&cluster, fault);
        let outcome = worker.transact(vec![append(Topic::Plans, 0, "a", "1")], &[(manifests(), 7)]);
        assert!(matches!(outcome, Err(LogError::Undecided(_))), "{fault:?}");
        worker.rebuild().unwrap();
        assert_eq!(cluster.dump(Topic::Plans).len(), visible, "{fault:?}");
        assert_eq!(worker.committed(&[manifests()]).unwrap()[0].is_some(), visible == 1, "{fault:?}");
        assert_eq!(cluster.pending_markers(), []);
    }
}

#[test]
fn an_append_may_happen_without_its_reply() {
    let cluster = cluster(1, 1);
    let mut next = [
        Fault::Commit { reply_lost: true, late_markers: false },
        Fault::LeftOpen,
        Fault::Abort { late_markers: false },
    ]
    .into_iter();
    cluster.faults(Box::new(move |_| next.next().unwrap_or(Fault::NONE)));
    let outcome = |value| cluster.append_now(append(Topic::Outcomes, 0, "a", value));
    assert!(matches!(outcome("1"), Err(LogError::Undecided(_))));
    assert!(matches!(outcome("2"), Err(LogError::Undecided(_))));
    assert!(matches!(outcome("3"), Err(LogError::Away(_))));
    outcome("4").unwrap();
    assert_eq!(shown(&cluster.dump(Topic::Outcomes)), ["0 a=1", "1 a=4"]);
}
