//! Input that can't be what it should be: each ends in one named decision and never stops the partition.

use consign::engine::{Observed, reason};
use consign::log::{Append, Headers, TopicPartition};
use consign::record::{Action, Judgement, OutcomeKind, State, Status, Topic};
use consign::sim::{Answer, SIMULATED_DOCUMENT, WorldOptions, manifest};

use crate::{clean, history, ids_of_both_homes, passes_through, reasons, world, world_of};

#[test]
fn bytes_that_are_no_record_die_with_their_reason_on_every_input() {
    let mut world = world();
    for topic in Topic::INPUTS {
        for bytes in [&b""[..], b"{}", &[0, 0, 0, 0, 99, 1], &[0, 0, 0, 0, 1, 255, 255]] {
            let at = TopicPartition { topic, partition: 0 };
            world.cluster.put(at, Some(b"k".to_vec()), Some(bytes.to_vec()), Headers::new()).unwrap();
        }
    }
    world.run();
    assert_eq!(reasons(&world), vec![reason::UNDECODABLE; 16]);
    let kept: Vec<Vec<u8>> = world.dead_letters().into_iter().map(|(_, r)| r.value.unwrap()).collect();
    assert_eq!(kept.iter().filter(|bytes| **bytes == b"{}").count(), 4, "the original bytes are kept");
    passes_through(&mut world, "f0");
    passes_through(&mut world, "f1");
    clean(&world);
}

#[test]
fn a_tombstone_or_a_missing_key_dies_on_every_input() {
    let mut world = world();
    for topic in Topic::INPUTS {
        let at = TopicPartition { topic, partition: 1 };
        world.cluster.put(at, Some(b"k".to_vec()), None, Headers::new()).unwrap();
    }
    world.run();
    assert_eq!(reasons(&world), vec![reason::TOMBSTONE; 4]);
    let value = world.encode(Topic::Manifests, &manifest("f0", "plain"));
    let at = TopicPartition { topic: Topic::Manifests, partition: world.home_of("f0") };
    world.cluster.put(at, None, Some(value), Headers::new()).unwrap();
    world.run();
    assert_eq!(reasons(&world)[4..], [reason::KEY_MISMATCH]);
    passes_through(&mut world, "f0");
    clean(&world);
}

#[test]
fn a_manifest_under_another_key_or_an_illegal_name_dies() {
    let mut world = world();
    let value = world.encode(Topic::Manifests, &manifest("f0", "plain"));
    world.append(Topic::Manifests, world.home_of("f1"), "f1", Some(value));
    for illegal in ["a b", "x~1", "a/b", ""] {
        world.submit(&manifest(illegal, "plain"));
    }
    let mut empty = manifest("f2", "plain");
    empty.name = String::new();
    world.submit(&empty);
    world.run();
    let mut reasons = reasons(&world);
    reasons.sort();
    let mut expected = vec![reason::ILLEGAL_FILE_ID; 4];
    expected.extend([reason::ILLEGAL_MANIFEST, reason::KEY_MISMATCH]);
    assert_eq!(reasons, expected);
    assert!(world.states().is_empty());
    clean(&world);
}

#[test]
fn what_a_dead_letter_says_stays_small_however_long_the_names_are() {
    let world = {
        let mut world = world();
        let long = "k".repeat(100_000);
        let value = world.encode(Topic::Manifests, &manifest(&"f".repeat(50_000), "plain"));
        world.append(Topic::Manifests, 0, &long, Some(value));
        world.run();
        world
    };
    let (reason, record) = world.dead_letters().remove(0);
    assert_eq!(reason, reason::KEY_MISMATCH);
    assert!(record.header("consign-detail").unwrap().len() <= 2_048, "the log would refuse the dead letter for ever");
}

#[test]
fn the_same_manifest_is_counted_and_another_under_its_name_dies() {
    let mut world = world();
    let first = manifest("f0", "plain");
    world.submit(&first);
    world.submit(&first);
    world.run();
    let mut other = manifest("f0", "careful");
    world.submit(&other);
    other.file_type = "plain".into();
    other.attributes.insert("a".into(), "b".into());
    world.submit(&other);
    world.submit(&first);
    world.run();
    assert_eq!(reasons(&world), vec![reason::CONFLICTING_MANIFEST; 2]);
    let duplicates =
        world.observed().iter().filter(|o| matches!(o, Observed::Duplicate { what: "manifest", .. })).count();
    assert_eq!(duplicates, 2);
    assert_eq!(world.on_the_wire().len(), 1);
    world.answer("f0/fast", Answer::Succeeded);
    world.run();
    clean(&world);
}

#[test]
fn a_stray_goes_home_once() {
    let mut world = world();
    let [zero, one] = ids_of_both_homes(&world);
    let value = world.encode(Topic::Manifests, &manifest(&zero, "plain"));
    world.append(Topic::Manifests, 1, &zero, Some(value));
    world.run();
    assert_eq!(world.state(&zero).state, State::Distributing);
    assert!(reasons(&world).is_empty());
    let forwarded = world.cluster.dump(Topic::Manifests).into_iter().find(|r| r.at.partition == 0).unwrap();
    assert_eq!(forwarded.header("consign-origin-partition"), Some(&b"1"[..]));
    // One that was forwarded already, to where its home is not.
    let value = world.encode(Topic::Manifests, &manifest(&one, "plain"));
    let headers = forwarded.headers.clone();
    let key = one.as_bytes().to_vec();
    let append = Append { topic: Topic::Manifests, partition: Some(0), key, value: Some(value), headers };
    world.cluster.append_now(append).unwrap();
    world.run();
    assert_eq!(reasons(&world), [reason::ASTRAY]);
    assert!(!world.states().contains_key(one.as_str()));
    // A forwarded record that died carries the place that it was read at before the one that it first stood at.
    let (_, record) = world.dead_letters().remove(0);
    assert_eq!(record.header("consign-partition"), Some(&b"0"[..]));
    assert_eq!(record.header("consign-origin-partition"), Some(&b"1"[..]));
}

#[test]
fn a_manifest_older_than_the_memory_is_never_dispatched() {
    let mut world = world_of(WorldOptions::new(SIMULATED_DOCUMENT), &[]);
    world.submit(&manifest("f0", "plain"));
    world.advance(6 * 3_600_000 + 1);
    world.submit(&manifest("f1", "plain"));
    world.start("w");
    world.run();
    assert_eq!(reasons(&world), [reason::EXPIRED]);
    assert_eq!(world.on_the_wire().len(), 1);
}

#[test]
fn reports_about_what_is_not_known_die_or_are_refused() {
    let mut world = world();
    world.submit(&manifest("f0", "acked"));
    world.run();
    world.acknowledge(&world.ack("f9", "ledger", OutcomeKind::Succeeded));
    world.acknowledge(&world.ack("f0", "fast", OutcomeKind::Succeeded));
    let mut ahead = world.ack("f0", "ledger", OutcomeKind::Succeeded);
    ahead.attempt = Some(7);
    world.acknowledge(&ahead);
    world.run();
    let mut died = reasons(&world);
    died.sort();
    assert_eq!(died, [reason::UNKNOWN_FILE, reason::UNKNOWN_TARGET]);
    assert_eq!(history(&world, "f0"), [(Judgement::Refused, Some("unknown_attempt".into()))]);
    assert_eq!(world.status("f0", "ledger"), Status::InFlight);
    clean(&world);
}

#[test]
fn an_ack_counts_only_with_its_token() {
    let mut world = world();
    world.submit(&manifest("f0", "acked"));
    world.run();
    world.answer("f0/lagging", Answer::Accepted);
    world.answer("f0/ledger", Answer::Accepted);
    world.run();
    let mut ack = world.ack("f0", "lagging", OutcomeKind::Succeeded);
    ack.ack_token = None;
    world.acknowledge(&ack);
    ack.ack_token = Some(world.tokens.issue("f1/lagging"));
    ack.code = "again".into();
    world.acknowledge(&ack);
    let mut ack = world.ack("f0", "ledger", OutcomeKind::Succeeded);
    ack.ack_token = Some("k1.AAAA".into());
    world.acknowledge(&ack);
    world.run();
    let mut codes: Vec<String> = history(&world, "f0").into_iter().filter_map(|(_, code)| code).collect();
    codes.sort();
    assert_eq!(codes, ["token_missing", "wrong_token", "wrong_token"]);
    assert_eq!(world.status("f0", "lagging"), Status::Awaiting);
    // Without a token where none is asked for.
    ack.ack_token = None;
    world.acknowledge(&ack);
    world.acknowledge(&world.ack("f0", "lagging", OutcomeKind::Succeeded));
    world.run();
    assert_eq!(world.state("f0").state, State::Completed);
    clean(&world);
}

#[test]
fn the_first_settling_report_wins_and_what_contradicts_it_is_kept() {
    let mut world = world();
    world.submit(&manifest("f0", "acked"));
    world.run();
    world.answer("f0/ledger", Answer::Accepted);
    world.acknowledge(&world.ack("f0", "ledger", OutcomeKind::Succeeded));
    world.run();
    for _ in 0..2 {
        world.acknowledge(&world.ack("f0", "ledger", OutcomeKind::Rejected));
        world.acknowledge(&world.ack("f0", "ledger", OutcomeKind::Succeeded));
        world.acknowledge(&world.ack("f0", "ledger", OutcomeKind::Retryable));
        world.run();
    }
    assert_eq!(world.status("f0", "ledger"), Status::Succeeded);
    let after: Vec<_> = history(&world, "f0").into_iter().skip(2).collect();
    assert_eq!(
        after,
        [
            (Judgement::Contradiction, Some("settled_otherwise".into())),
            (Judgement::Late, Some("already_settled".into()))
        ]
    );
    clean(&world);
}

#[test]
fn stale_and_repeated_interventions_change_nothing() {
    let mut world = world();
    world.submit(&manifest("f0", "careful"));
    world.run();
    let early = world.asked("f0", Some("strict"), Action::Fail);
    world.answer("f0/strict", Answer::Unknown);
    world.run();
    assert_eq!(world.status("f0", "strict"), Status::Held);
    let mut stale = early.clone();
    stale.seen_version = stale.seen_version.map(|v| v - 1);
    world.ask(&stale);
    world.run();
    assert_eq!(history(&world, "f0")[1], (Judgement::Refused, Some("stale_version".into())));
    let retry = world.asked("f0", Some("strict"), Action::Retry);
    world.ask(&retry);
    world.ask(&retry);
    world.run();
    assert_eq!(world.status("f0", "strict"), Status::InFlight);
    world.ask(&retry);
    world.run();
    let judged = history(&world, "f0");
    assert_eq!(judged[3], (Judgement::Refused, Some("repeated".into())), "a repeat is refused and recorded");
    assert_eq!(judged.len(), 4, "and only counted from then on");
    assert_eq!(world.on_the_wire().len(), 1);
    world.answer("f0/strict", Answer::Succeeded);
    world.run();
    clean(&world);
}

#[test]
fn what_a_target_writes_without_end_is_cut_before_it_is_kept() {
    let mut world = world();
    world.submit(&manifest("f0", "acked"));
    world.run();
    world.answer("f0/ledger", Answer::Accepted);
    world.run();
    for n in 0..40 {
        let mut ack = world.ack("f0", "ledger", OutcomeKind::Retryable);
        ack.attempt = Some(0);
        ack.detail = Some("d".repeat(400_000));
        ack.reference = Some(format!("{n}{}", "r".repeat(100_000)));
        ack.code = format!("{n}{}", "c".repeat(100_000));
        world.acknowledge(&ack);
    }
    world.run();
    let largest = world.cluster.dump(Topic::History).iter().filter_map(|r| r.value.as_ref().map(Vec::len)).max();
    assert!(largest.unwrap() < 400 * 1024, "{largest:?}: the log would refuse the record for ever");
    assert_eq!(world.status("f0", "ledger"), Status::Awaiting);
}

#[test]
fn a_transaction_stays_within_what_the_log_takes() {
    let options = WorldOptions::new(&SIMULATED_DOCUMENT.replace("labels: \"=attributes\"", "content: \"=data\""));
    let mut world = world_of(options, &[]);
    for n in 0..40 {
        let mut large = manifest(&format!("f{n}"), "careful");
        large.data = Some(format!("\"{}\"", "x".repeat(200_000)));
        world.submit(&large);
    }
    world.start("w");
    world.run();
    assert_eq!(world.on_the_wire().len(), 32, "all that capacity allows");
    assert_eq!(world.states().len(), 40);
    assert!(world.largest_transaction() < 6 * 1024 * 1024, "{}", world.largest_transaction());
}

#[test]
fn what_a_record_says_of_its_first_place_makes_it_no_younger() {
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    options.retention_ms = 60_000;
    let mut world = world_of(options, &[]);
    let value = world.encode(Topic::Manifests, &manifest("f0", "plain"));
    let told = world.now().plus_millis(3_600_000);
    let headers: Headers = [
        ("topic", "consign.manifests".to_owned()),
        ("partition", "1".into()),
        ("offset", "7".into()),
        ("timestamp", told.0.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("consign-origin-{name}"), value.into_bytes()))
    .collect();
    let at = TopicPartition { topic: Topic::Manifests, partition: world.home_of("f0") };
    world.cluster.put(at, Some(b"f0".to_vec()), Some(value), headers).unwrap();
    world.advance(61_000);
    world.start("w");
    world.run();
    assert_eq!(reasons(&world), [reason::EXPIRED]);
}

#[test]
fn a_script_that_is_refused_in_a_loop_makes_no_history_without_end() {
    let mut world = world();
    world.submit(&manifest("f0", "careful"));
    world.run();
    world.answer("f0/strict", Answer::Unknown);
    world.run();
    assert_eq!(world.status("f0", "strict"), Status::Held);
    for _ in 0..100 {
        let mut asked = world.asked("f0", Some("strict"), Action::Confirm);
        asked.seen_version = Some(1);
        world.ask(&asked);
        world.run();
    }
    let refused = history(&world, "f0").iter().filter(|(judgement, _)| *judgement == Judgement::Refused).count();
    assert_eq!(refused, 64, "{:?}", history(&world, "f0"));
    assert_eq!(reasons(&world), vec![reason::REFUSED_TOO_OFTEN; 36]);
    let detail =
        world.dead_letters().remove(0).1.header("consign-detail").map(String::from_utf8_lossy).unwrap().into_owned();
    assert!(detail.contains("stale_version"), "{detail}");
    let version = world.state("f0").version;
    // The person who looked is heard, and a restart knows as much.
    world.crash("w");
    world.start("w");
    world.run();
    world.intervene("f0", Some("strict"), Action::Confirm);
    world.run();
    assert_eq!((world.state("f0").state, world.state("f0").version), (State::Completed, version + 1));
    clean(&world);
}
