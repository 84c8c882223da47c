//! Crashes: what was in flight, what was started, what was frozen.

use consign::engine::reason;
use consign::log::TopicPartition;
use consign::log::memory::Fault;
use consign::record::{Action, HeldBecause, State, Status, Topic};
use consign::sim::{Answer, OTHER_DOCUMENT, SIMULATED_DOCUMENT, World, WorldOptions, manifest};

use crate::{clean, reasons, world, world_of};

#[test]
fn an_attempt_in_flight_at_a_crash_ends_at_its_deadline() {
    let mut world = world();
    world.submit(&manifest("f0", "careful"));
    world.submit(&manifest("f1", "plain"));
    world.run();
    let leaving: Vec<u64> = world.on_the_wire().iter().map(|(number, _)| *number).collect();
    for number in leaving {
        assert!(world.leave(number));
    }
    world.crash("w");
    world.start("w");
    world.run_for(10_900);
    assert_eq!(world.status("f0", "strict"), Status::InFlight, "5 s to send, 5 s to answer, 1 s of skew");
    world.run_for(200);
    let held = world.state("f0");
    assert_eq!(held.dispatches[0].status, Status::Held);
    assert_eq!(held.dispatches[0].held_because, Some(HeldBecause::FateUnknown));
    assert_eq!(held.accountable.unwrap().party, "team-s");
    assert_eq!(world.requests("f0/strict"), 1);
    // A target that honours the key is asked again with the same key and bytes.
    world.run_for(3_000);
    assert!(world.answer("f1/fast", Answer::Succeeded));
    world.run_for(600_000);
    assert_eq!(world.requests("f0/strict"), 1, "a request of unknown fate is never sent again by itself");
    assert_eq!(world.requests("f1/fast"), 2);
    clean(&world);
}

#[test]
fn restored_attempts_count_against_capacity() {
    let mut world = world();
    for n in 0..3 {
        world.submit(&manifest(&format!("f{n}"), "narrow"));
    }
    world.run();
    assert_eq!(world.on_the_wire().len(), 1);
    world.crash("w");
    world.start("w");
    world.run();
    assert!(world.on_the_wire().is_empty(), "the one in flight has the only permit");
    world.run_for(11_000);
    assert_eq!(world.on_the_wire().len(), 1);
    clean(&world);
}

#[test]
fn one_permit_carries_many_files_one_after_the_other() {
    let mut world = world();
    for n in 0..12 {
        world.submit(&manifest(&format!("f{n}"), "narrow"));
    }
    world.run();
    for _ in 0..12 {
        let on_the_wire = world.on_the_wire();
        assert_eq!(on_the_wire.len(), 1);
        let key = on_the_wire[0].1.rsplit_once('/').unwrap().0.to_owned();
        assert!(world.answer(&key, Answer::Succeeded));
        world.run();
    }
    assert!(world.states().values().all(|s| s.state == State::Completed));
    clean(&world);
}

fn failed_file(world: &mut World) {
    world.submit(&manifest("f0", "careful"));
    world.run();
    world.answer("f0/strict", Answer::Rejected);
    world.run();
    assert_eq!(world.state("f0").state, State::Failed);
}

#[test]
fn a_successor_starts_once_whatever_crashes() {
    let faults = [
        Fault::NONE,
        Fault::Away,
        Fault::LeftOpen,
        Fault::Abort { late_markers: false },
        Fault::Abort { late_markers: true },
        Fault::Commit { reply_lost: true, late_markers: false },
        Fault::Commit { reply_lost: true, late_markers: true },
        Fault::Commit { reply_lost: false, late_markers: true },
    ];
    for fault in faults {
        for steps in 0..6 {
            let mut world = world();
            failed_file(&mut world);
            world.intervene("f0", None, Action::Resubmit);
            world.aimed.transaction("w", fault);
            (0..steps).for_each(|_| world.step("w"));
            world.crash("w");
            world.aimed.clear();
            world.start("w");
            world.run();
            world.cluster.land_markers();
            world.run_for(200);
            let states = world.states();
            assert_eq!(states.len(), 2, "{fault:?} {steps}: {:?}", states.keys());
            assert_eq!(world.state("f0~1").supersedes.unwrap().as_str(), "f0");
            assert_eq!(world.cluster.dump(Topic::Arrivals).len(), 2, "{fault:?} {steps}");
            // The crash may have taken its request along.
            world.answer("f0~1/strict", Answer::Succeeded);
            world.run_for(12_000);
            assert!(world.requests("f0~1/strict") <= 1);
            clean(&world);
        }
    }
}

#[test]
fn a_second_resubmit_is_refused_and_starts_nothing() {
    let mut world = world();
    failed_file(&mut world);
    for _ in 0..2 {
        world.intervene("f0", None, Action::Resubmit);
        world.run();
    }
    assert_eq!(world.states().len(), 2);
    world.answer("f0~1/strict", Answer::Succeeded);
    world.run();
    clean(&world);
}

#[test]
fn files_under_way_keep_the_document_they_were_planned_by() {
    let mut world = world();
    world.submit(&manifest("f0", "plain"));
    world.run();
    world.answer("f0/fast", Answer::Retryable(None));
    world.run();
    world.apply_routing(OTHER_DOCUMENT).unwrap();
    world.submit(&manifest("f1", "plain"));
    world.run_for(5_000);
    world.crash("w");
    world.start("w");
    for _ in 0..60 {
        world.run_for(500);
        while let Some((_, key)) = world.on_the_wire().first().cloned() {
            world.answer(key.rsplit_once('/').unwrap().0, Answer::Succeeded);
        }
    }
    assert_eq!(world.state("f0").dispatches.len(), 1);
    assert_eq!(world.state("f1").dispatches.len(), 2);
    let bodies: Vec<String> =
        world.journal().into_iter().filter(|r| r.idempotency_key == "f0/fast").map(|r| r.body_sha256).collect();
    assert!(bodies.len() >= 2 && bodies.windows(2).all(|pair| pair[0] == pair[1]));
    let report = world.check(true);
    assert_eq!((report.count("plans.equal"), report.count("plans.different")), (2, 0));
    clean(&world);
}

#[test]
fn a_settled_file_is_forgotten_after_its_retention() {
    let mut world = world();
    world.submit(&manifest("f0", "acked"));
    world.run();
    for target in ["ledger", "lagging"] {
        world.answer(&format!("f0/{target}"), Answer::Accepted);
        world.acknowledge(&world.ack("f0", target, consign::record::OutcomeKind::Succeeded));
    }
    world.run();
    assert_eq!(world.state("f0").state, State::Completed);
    world.run_for(1_000);
    world.advance(world.forgets_after_ms());
    world.run();
    assert!(world.states().is_empty());
    for topic in Topic::RESTORED {
        let partition = world.home_of("f0");
        let newest = world.cluster.dump(topic).into_iter().rfind(|r| r.at.partition == partition).unwrap();
        assert_eq!(newest.value, None, "{topic:?}");
        world.cluster.compact(TopicPartition { topic, partition }, true).unwrap();
        assert!(world.cluster.dump(topic).is_empty(), "{topic:?}: every key has its tombstone");
    }
    // A report that comes after that has no file any more; the manifest is older than the memory.
    world.acknowledge(&world.ack("f0", "ledger", consign::record::OutcomeKind::Rejected));
    world.crash("w");
    world.start("w");
    world.run();
    assert_eq!(reasons(&world), [consign::engine::reason::UNKNOWN_FILE]);
    clean(&world);
}

#[test]
fn a_successor_that_may_have_been_forgotten_is_not_started_again() {
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    options.retention_ms = 60_000;
    let mut world = world_of(options, &["w"]);
    world.submit(&manifest("f0", "careful"));
    world.run();
    world.answer("f0/strict", Answer::Rejected);
    world.run();
    world.intervene("f0", None, Action::Resubmit);
    world.run();
    assert!(world.answer("f0~1/strict", Answer::Succeeded));
    world.run_for(122_000);
    assert!(world.states().is_empty(), "both are forgotten");
    // The group's offsets are lost and repaired: everything that is still on the inboxes is read again.
    world.crash("w");
    let lows: Vec<_> = world.cluster.committed_positions().into_keys().map(|tp| (tp, 0)).collect();
    world.cluster.set_committed(&lows);
    world.start("w");
    world.run_for(1_000);
    assert!(world.on_the_wire().is_empty(), "nothing is dispatched again: {:?}", world.on_the_wire());
    assert_eq!(world.journal().len(), 2);
    let mut reasons = reasons(&world);
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons, [reason::EXPIRED, reason::UNKNOWN_FILE]);
}
