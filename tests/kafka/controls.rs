//! Changes to controls by several parties at once.

use consign::log::{Append, Cluster, LogError, Record};
use consign::record::Topic;

use crate::bed::{Bed, append, at, text};

fn count(newest: &[Record]) -> u32 {
    let found = newest.iter().find(|r| r.key.as_deref() == Some(b"count"));
    found.map_or(0, |r| text(r.value.as_ref()).parse().unwrap())
}

fn set(key: &str, value: &str) -> Append {
    append(at(Topic::Controls, 0), key, value)
}

#[test]
fn no_change_is_lost_between_two_who_change_at_once() {
    let bed = Bed::new("controls-race", 1);
    let increment = || {
        for _ in 0..6 {
            bed.cluster.change_controls(&mut |newest| vec![set("count", &(count(newest) + 1).to_string())]).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(increment);
        scope.spawn(increment);
    });
    let mut seen = 0;
    bed.cluster
        .change_controls(&mut |newest| {
            seen = count(newest);
            Vec::new()
        })
        .unwrap();
    assert_eq!(seen, 12);
}

#[test]
fn a_change_sees_the_newest_value_of_each_name() {
    let bed = Bed::new("controls-newest", 1);
    let change = |appends: Vec<Append>| {
        let mut seen = Vec::new();
        bed.cluster
            .change_controls(&mut |newest| {
                seen = newest.iter().map(|r| (text(r.key.as_ref()), text(r.value.as_ref()))).collect();
                appends.clone()
            })
            .unwrap();
        seen.retain(|(key, _)| key != "home_partitions");
        seen
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(change(vec![set("a", "1"), set("b", "1")]), []);
    assert_eq!(change(vec![set("a", "2"), Append { value: None, ..set("b", "") }]), [pair("a", "1"), pair("b", "1")]);
    assert_eq!(change(Vec::new()), [pair("a", "2")]);
    assert_eq!(change(Vec::new()), [pair("a", "2")]);
}

#[test]
fn a_change_that_is_refused_is_an_error() {
    let bed = Bed::new("controls-refused", 1);
    let result = bed.cluster.change_controls(&mut |_| vec![set("a", &"x".repeat(7 << 20))]);
    assert!(matches!(result, Err(LogError::TooLong(_))), "{result:?}");
    let nowhere = Append { partition: Some(9), ..set("a", "1") };
    let result = bed.cluster.change_controls(&mut |_| vec![nowhere.clone()]);
    assert!(matches!(result, Err(LogError::Fatal(_))), "{result:?}");
}
