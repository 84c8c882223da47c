//! Tests of the log in this process, by what a caller sees through the port.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::*;
use crate::log::{AbortCause, AssignmentChange, Batch, Ends};

mod exactly_once;
mod faults;
mod group;
mod reading;
mod records;
mod transactions;

/// Longer than any test may take: a poll that isn't woken hangs its test.
const FOREVER: Duration = Duration::from_hours(24);

fn at(topic: Topic, partition: i32) -> TopicPartition {
    TopicPartition { topic, partition }
}

/// A log whose clock says 1000, 1001, 1002 … with every record.
fn cluster(home_partitions: i32, acks_partitions: i32) -> MemoryCluster {
    let now = AtomicI64::new(1000);
    let clock: Clock = Arc::new(move || Timestamp(now.fetch_add(1, Ordering::Relaxed)));
    MemoryCluster::new(MemoryOptions::new(home_partitions, acks_partitions, clock))
}

fn append(topic: Topic, partition: i32, key: &str, value: &str) -> Append {
    Append {
        topic,
        partition: Some(partition),
        key: key.into(),
        value: (!value.is_empty()).then(|| value.into()),
        headers: Vec::new(),
    }
}

fn text(bytes: Option<&Vec<u8>>) -> &str {
    bytes.map_or("-", |bytes| std::str::from_utf8(bytes).unwrap())
}

/// `offset key=value`, with `-` for what is missing.
fn shown(records: &[Record]) -> Vec<String> {
    let show = |r: &Record| format!("{} {}={}", r.offset, text(r.key.as_ref()), text(r.value.as_ref()));
    records.iter().map(show).collect()
}

fn poll(log: &mut Box<dyn Log>) -> Batch {
    log.poll(100, Duration::ZERO).unwrap()
}

/// The changes of one poll as `+manifests/0` and `-manifests/0`, of manifests alone.
fn changes(log: &mut Box<dyn Log>) -> Vec<String> {
    let of = |sign: &str, partitions: &[TopicPartition]| {
        let manifests = partitions.iter().filter(|p| p.topic == Topic::Manifests);
        manifests.map(|p| format!("{sign}{}", p.partition)).collect::<Vec<_>>()
    };
    let changes = poll(log).changes;
    let show = |change: &AssignmentChange| match change {
        AssignmentChange::Assigned(partitions) => of("+", partitions),
        AssignmentChange::Revoked(partitions) => of("-", partitions),
    };
    changes.iter().flat_map(show).collect()
}

/// The only worker of a log with one partition, after its assignment.
fn only_worker(cluster: &MemoryCluster) -> Box<dyn Log> {
    let mut worker = cluster.worker("w").unwrap();
    assert_eq!(changes(&mut worker)[0], "+0");
    worker
}

fn read_all(reader: &mut Box<dyn Reader>) -> Vec<String> {
    shown(&reader.poll(100, Duration::ZERO).unwrap())
}

fn manifests() -> TopicPartition {
    at(Topic::Manifests, 0)
}

fn plans() -> TopicPartition {
    at(Topic::Plans, 0)
}

/// A transaction's fault, once; all others go well.
fn once(cluster: &MemoryCluster, fault: Fault) {
    let mut left = Some(fault);
    cluster.faults(Box::new(move |point| match point {
        FaultPoint::Transact { .. } => left.take().unwrap_or(Fault::NONE),
        _ => Fault::NONE,
    }));
}

const LATE: Fault = Fault::Commit { reply_lost: false, late_markers: true };
