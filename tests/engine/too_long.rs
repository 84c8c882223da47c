//! Records that a producer's compression put on an input, and that no topic takes as they are.

use consign::engine::reason;
use consign::log::{Append, Appender as _, Headers, LogError, TopicPartition, max_record_bytes};
use consign::record::{Topic, header};
use consign::routing::sha256_digest;
use consign::sim::manifest;

use crate::{clean, ids_of_both_homes, passes_through, reasons, world};

#[test]
fn what_is_too_long_is_cut_into_dead_letters_and_its_partition_goes_on() {
    let mut world = world();
    let long = vec![b'x'; 8 << 20];
    for topic in Topic::INPUTS {
        let at = TopicPartition { topic, partition: 1 };
        world.cluster.put(at, Some(b"k".to_vec()), Some(long.clone()), Headers::new()).unwrap();
    }
    world.run();
    assert_eq!(reasons(&world), vec![reason::TOO_LONG; 4]);
    for (_, letter) in world.dead_letters() {
        let text = |name| letter.header(name).map(|v| String::from_utf8(v.to_vec()).unwrap());
        assert_eq!(text(header::FULL_BYTES), Some(long.len().to_string()));
        assert_eq!(text(header::FULL_SHA256), Some(sha256_digest(&long)));
        assert_eq!(text(header::CUT).as_deref(), Some("value"));
        assert_eq!((text(header::PARTITION).as_deref(), text(header::OFFSET).as_deref()), (Some("1"), Some("0")));
        assert!(letter.bytes() <= max_record_bytes(Topic::DeadLetters));
    }
    passes_through(&mut world, "f0");
    passes_through(&mut world, "f1");
    clean(&world);
}

#[test]
fn a_legal_manifest_with_headers_that_make_it_too_long_dies_at_home_and_astray() {
    let mut world = world();
    let [zero, one] = ids_of_both_homes(&world);
    for (partition, id) in [(0, &zero), (0, &one)] {
        let at = TopicPartition { topic: Topic::Manifests, partition };
        let value = world.encode(Topic::Manifests, &manifest(id, "plain"));
        let headers = vec![("trace".to_owned(), vec![1; 8 << 20])];
        world.cluster.put(at, Some(id.as_bytes().to_vec()), Some(value), headers).unwrap();
    }
    world.run();
    assert_eq!(reasons(&world), vec![reason::TOO_LONG; 2]);
    assert!(world.states().is_empty());
    for (_, letter) in world.dead_letters() {
        assert_eq!(letter.header(header::CUT), Some(&b"headers"[..]));
    }
    clean(&world);
}

#[test]
fn a_stray_that_fits_only_without_its_origin_is_not_forwarded() {
    let mut world = world();
    let [zero, _] = ids_of_both_homes(&world);
    let value = world.encode(Topic::Manifests, &manifest(&zero, "plain"));
    let mut stray = Append {
        topic: Topic::Manifests,
        partition: Some(1),
        key: zero.as_bytes().to_vec(),
        value: Some(value),
        headers: vec![("pad".to_owned(), Vec::new())],
    };
    stray.headers[0].1 = vec![0; max_record_bytes(Topic::Manifests) - stray.bytes()];
    assert!(stray.fits());
    world.cluster.append_now(stray).unwrap();
    world.run();
    assert_eq!(reasons(&world), [reason::TOO_LONG]);
    clean(&world);
}

#[test]
fn the_log_takes_nothing_that_is_too_long() {
    let world = world();
    let append = |bytes: usize| Append {
        topic: Topic::Acks,
        partition: Some(0),
        key: b"k".to_vec(),
        value: Some(vec![0; bytes]),
        headers: Headers::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(world.cluster.append(append(max_record_bytes(Topic::Acks)))).unwrap_err();
    assert!(matches!(error, LogError::TooLong(_)), "{error:?}");
    let error = world.cluster.transact_as("t", vec![append(10), append(8 << 20)]).unwrap_err();
    assert!(matches!(error, LogError::TooLong(_)), "{error:?}");
    assert!(world.cluster.dump_uncommitted(Topic::Acks).is_empty());
}
