//! Lost offsets and their repair.

use consign::log::{Cluster, Lag, LogError, Position};
use consign::record::Topic;
use rdkafka::producer::Producer;

use crate::bed::{Bed, append, assigned, at, eventually, lone_worker};

#[test]
fn lost_offsets_are_found_and_put_where_nothing_is_lost() {
    let bed = Bed::new("offsets", 2);
    let producer = bed.raw_producer(None);
    bed.send(&producer, at(Topic::Manifests, 0), 0..5);
    assert!(!bed.cluster.has_engine_records().unwrap(), "a new cluster has lost nothing");
    let mut worker = lone_worker(&bed, "w");
    let committed: Vec<Position> = vec![(at(Topic::Manifests, 0), 3), (at(Topic::Acks, 1), 9)];
    worker.transact(vec![append(at(Topic::Arrivals, 0), "k", "x")], &committed).unwrap();
    assert!(bed.cluster.has_engine_records().unwrap());
    let misplaced = bed.cluster.misplaced_offsets().unwrap();
    // All inputs but the one partition with a good offset; the one beyond its end is among them.
    assert_eq!(misplaced.len(), 7);
    let beyond = misplaced.iter().find(|m| m.at == at(Topic::Acks, 1)).unwrap();
    assert_eq!((beyond.committed, beyond.safe()), (Some(9), (at(Topic::Acks, 1), 0)));
    let repair: Vec<Position> = misplaced.iter().map(consign::log::kafka::Misplaced::safe).collect();
    let refused = bed.cluster.commit_positions(&repair);
    assert!(matches!(&refused, Err(LogError::Fatal(text)) if text.contains("member")), "{refused:?}");
    drop(worker);
    eventually("the end of the member's session", || bed.cluster.commit_positions(&repair).ok());
    assert_eq!(bed.cluster.misplaced_offsets().unwrap(), []);
    let mut worker = bed.cluster.worker("w").unwrap();
    assigned(&mut *worker, 8);
    let found = worker.committed(&[at(Topic::Manifests, 0), at(Topic::Manifests, 1), at(Topic::Acks, 1)]).unwrap();
    assert_eq!(found, [Some(3), Some(0), Some(0)]);
}

#[test]
fn lags_are_measured_from_the_committed_position_and_from_the_last_stable_offset() {
    let bed = Bed::new("lags", 2);
    let (read, unread) = (at(Topic::Manifests, 0), at(Topic::Manifests, 1));
    let producer = bed.raw_producer(None);
    bed.send(&producer, read, 0..10);
    bed.send(&producer, unread, 0..4);
    let mut worker = lone_worker(&bed, "w");
    worker.transact(Vec::new(), &[(read, 7)]).unwrap();
    let open = bed.raw_producer(Some("lags-open"));
    open.begin_transaction().unwrap();
    bed.send(&open, unread, 0..5);
    let lags = bed.cluster.lags().unwrap();
    assert_eq!(lags.len(), 8);
    let of = |partition| *lags.iter().find(|lag| lag.at == partition).unwrap();
    assert_eq!(of(read), Lag { at: read, input: 3, last_stable_offset: 0 });
    assert_eq!(of(unread), Lag { at: unread, input: 4, last_stable_offset: 5 }, "nothing is committed there");
    open.commit_transaction(crate::bed::PATIENCE).unwrap();
    eventually("the end of the transaction", || {
        let lag = bed.cluster.lags().unwrap().into_iter().find(|lag| lag.at == unread).unwrap();
        // Nine records and a marker.
        (lag == Lag { at: unread, input: 10, last_stable_offset: 0 }).then_some(())
    });
}
