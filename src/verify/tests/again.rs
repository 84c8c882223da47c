//! What comes twice: a file that begins again too early, and an event from where the one before it came from.

use super::*;
use crate::record::{Arrival, Origin};

/// What `done` began by was announced so long after an earlier life of it had settled, and read so much later.
fn begun_again(after_ms: i64, read_later_ms: i64) -> Vec<String> {
    let mut again = left();
    let arrival: Arrival = again.value(again.place(Topic::Arrivals, "done"));
    let announced = again.records.iter().find(|r| r.at.topic == Topic::Manifests && r.offset == arrival.cause.offset);
    let read_at = announced.expect("it is there").timestamp;
    let announced_at = read_at.plus_millis(-read_later_ms);
    if read_later_ms > 0 {
        let topic = again.options.names.name(Topic::Manifests);
        let origin = Origin { topic, partition: 0, offset: 0, timestamp: announced_at };
        again.edit::<Arrival>(Topic::Arrivals, "done", |arrival| arrival.origin = Some(origin));
    }
    let mut earlier = again.records[again.place(Topic::FileState, "done")].clone();
    let mut state: FileState = again.codec.decode(earlier.value.as_deref().expect("a value")).expect("it can be read");
    state.settled_at = Some(announced_at.plus_millis(-after_ms));
    earlier.offset = -9;
    earlier.value = Some(again.codec.encode_for(Topic::FileState, &state).expect("the ids are known"));
    let tombstone = Record { value: None, offset: -8, ..earlier.clone() };
    again.records.splice(0..0, [earlier, tombstone]);
    let report = again.check();
    assert_eq!(report.count("files.again"), 1);
    let of_memory = report.violations.iter().filter(|v| v.invariant == "I1" && v.text.contains("began again"));
    of_memory.map(ToString::to_string).collect()
}

#[test]
fn i1_what_is_announced_while_a_file_is_remembered_is_that_file() {
    let Options { retention_ms, max_clock_skew_ms, .. } = left().options;
    let remembered_ms = retention_ms - 2 * max_clock_skew_ms;
    assert_eq!(begun_again(remembered_ms, 0).len(), 1);
    assert_eq!(begun_again(remembered_ms + 1, 0), Vec::<String>::new());
    // It is announced where a producer put it, however late it came home.
    assert_eq!(begun_again(remembered_ms, 60_000).len(), 1);
}

#[test]
fn i14_no_two_events_come_from_one_report() {
    let mut twice = left();
    let outcomes = twice.options.names.name(Topic::Outcomes);
    let mut first = None;
    twice.rewrite("retried", |e| {
        if *e.cause.topic == *outcomes {
            e.cause.offset = *first.get_or_insert(e.cause.offset);
        }
    });
    twice.breaks("I14");
    let named = twice.check().violations;
    assert!(named.iter().any(|v| v.invariant == "I14" && v.text.contains("comes from offset")), "{named:?}");
}
