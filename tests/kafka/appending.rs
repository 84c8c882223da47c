//! Records written outside transactions.

use consign::log::{Append, Cluster, LogError, max_record_bytes};
use consign::record::{Topic, home_partition};

use crate::bed::{Bed, append, at, incompressible};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn what_is_appended_is_read_as_it_was() {
    let bed = Bed::new("append", 3);
    let appender = bed.cluster.appender().unwrap();
    let headers = vec![("a".to_owned(), b"1".to_vec()), ("a".to_owned(), vec![0, 255]), ("empty".to_owned(), vec![])];
    let full = Append { headers: headers.clone(), ..append(at(Topic::Outcomes, 2), "key", "value") };
    let tombstone = Append { value: None, ..append(at(Topic::Outcomes, 2), "key", "") };
    let runtime = runtime();
    let (place, offset) = runtime.block_on(appender.append(full)).unwrap();
    assert_eq!((place, offset), (at(Topic::Outcomes, 2), 0));
    assert_eq!(runtime.block_on(appender.append(tombstone)).unwrap(), (at(Topic::Outcomes, 2), 1));
    let records = bed.read(&[place]);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(records[0].value.as_deref(), Some(&b"value"[..]));
    assert_eq!(records[0].headers, headers);
    assert!(records[0].timestamp.0 > 1_700_000_000_000);
    assert_eq!((records[1].value.as_ref(), records[1].headers.len()), (None, 0));
}

#[test]
fn without_a_partition_a_key_goes_to_its_home() {
    let bed = Bed::new("append-home", 5);
    let appender = bed.cluster.appender().unwrap();
    let runtime = runtime();
    for n in 0..40 {
        let key = format!("file-{n}");
        let free = Append { partition: None, ..append(at(Topic::Manifests, 0), &key, "x") };
        let (place, _) = runtime.block_on(appender.append(free)).unwrap();
        assert_eq!(place.partition, home_partition(&key, 5), "{key}");
    }
}

#[test]
fn many_appends_at_once_all_arrive() {
    let bed = Bed::new("append-many", 1);
    let appender = bed.cluster.appender().unwrap();
    let runtime = runtime();
    let mut offsets = runtime.block_on(async {
        let tasks: Vec<_> = (0..500)
            .map(|n| {
                let appender = appender.clone();
                tokio::spawn(async move { appender.append(append(at(Topic::Acks, 0), &n.to_string(), "x")).await })
            })
            .collect();
        let mut offsets = Vec::new();
        for task in tasks {
            offsets.push(task.await.unwrap().unwrap().1);
        }
        offsets
    });
    offsets.sort_unstable();
    assert_eq!(offsets, (0..500).collect::<Vec<i64>>());
}

#[test]
fn what_is_refused_is_no_matter_of_waiting() {
    let bed = Bed::new("append-refused", 1);
    let appender = bed.cluster.appender().unwrap();
    let huge = append(at(Topic::Acks, 0), "k", &"x".repeat(2 << 20));
    let error = runtime().block_on(appender.append(huge)).unwrap_err();
    assert!(matches!(error, LogError::TooLong(_)), "{error:?}");
    let nowhere = append(at(Topic::Acks, 9), "k", "x");
    let error = runtime().block_on(appender.append(nowhere)).unwrap_err();
    assert!(matches!(error, LogError::Fatal(_)), "{error:?}");
}

#[test]
fn the_longest_record_of_every_topic_is_taken() {
    let bed = Bed::new("append-longest", 1);
    let appender = bed.cluster.appender().unwrap();
    let runtime = runtime();
    for topic in Topic::ALL {
        let empty = append(at(topic, 0), "k", "");
        let value = incompressible(max_record_bytes(topic) - empty.bytes());
        let longest = append(at(topic, 0), "k", &value);
        assert!(longest.fits());
        runtime.block_on(appender.append(longest)).unwrap();
    }
}
