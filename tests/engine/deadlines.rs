//! Deadlines against what came before them.

use consign::log::memory::Fault;
use consign::record::{Action, HeldBecause, OutcomeKind, State, Status, Topic};
use consign::sim::{Answer, SIMULATED_DOCUMENT, World, WorldOptions, manifest};

use crate::{clean, world, world_of};

/// A file whose `ledger` awaits its confirmation, for 30 s, and whose `lagging` has succeeded.
fn awaiting(world: &mut World, id: &str) {
    world.submit(&manifest(id, "acked"));
    world.run();
    for target in ["ledger", "lagging"] {
        assert!(world.answer(&format!("{id}/{target}"), Answer::Accepted));
    }
    world.acknowledge(&world.ack(id, "lagging", OutcomeKind::Succeeded));
    world.run();
    assert_eq!(world.status(id, "ledger"), Status::Awaiting);
}

#[test]
fn an_ack_in_time_wins_however_late_it_is_read() {
    // The acks are another worker's than the file.
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    options.acks_partitions = 1;
    let mut world = world_of(options, &["w0", "w1"]);
    let id =
        (0..1_000).map(|n| format!("f{n}")).find(|id| world.workers["w1"].running() == [world.home_of(id)]).unwrap();
    awaiting(&mut world, &id);
    world.advance(29_999);
    world.acknowledge(&world.ack(&id, "ledger", OutcomeKind::Succeeded));
    for _ in 0..100 {
        world.advance(600);
        world.step("w1");
    }
    assert_eq!(world.status(&id, "ledger"), Status::Awaiting, "w0 has not read the acks");
    world.run_for(200);
    assert_eq!(world.state(&id).state, State::Completed);
    clean(&world);
}

#[test]
fn a_transactional_ack_in_time_wins_whenever_its_marker_lands() {
    let mut world = world();
    awaiting(&mut world, "f0");
    world.advance(29_999);
    world.aimed.transaction("target", Fault::Commit { reply_lost: false, late_markers: true });
    let ack = world.ack_append(&world.ack("f0", "ledger", OutcomeKind::Succeeded));
    world.cluster.transact_as("target", vec![ack]).unwrap();
    world.run_for(120_000);
    assert_eq!(world.status("f0", "ledger"), Status::Awaiting);
    world.cluster.land_markers();
    world.run_for(200);
    assert_eq!(world.state("f0").state, State::Completed);
    clean(&world);
}

#[test]
fn an_aborted_ack_holds_the_deadline_back_until_it_is_known_to_be_none() {
    let mut world = world();
    awaiting(&mut world, "f0");
    world.aimed.transaction("target", Fault::Abort { late_markers: true });
    let ack = world.ack_append(&world.ack("f0", "ledger", OutcomeKind::Succeeded));
    world.cluster.transact_as("target", vec![ack]).unwrap_err();
    world.run_for(60_000);
    assert_eq!(world.status("f0", "ledger"), Status::Awaiting);
    world.cluster.land_markers();
    world.run_for(200);
    assert_eq!(world.state("f0").dispatches[0].held_because, Some(HeldBecause::ConfirmationOverdue));
    // What comes after the deadline still settles what it held.
    world.acknowledge(&world.ack("f0", "ledger", OutcomeKind::Succeeded));
    world.run();
    assert_eq!(world.state("f0").state, State::Completed);
    clean(&world);
}

#[test]
fn repeated_acceptance_extends_the_deadline_up_to_its_limit() {
    let mut world = world();
    awaiting(&mut world, "f0");
    for _ in 0..6 {
        world.run_for(20_000);
        world.acknowledge(&{
            let mut ack = world.ack("f0", "ledger", OutcomeKind::Accepted);
            ack.attempt = Some(1);
            ack
        });
        world.run();
    }
    let held = world.state("f0");
    assert_eq!(held.dispatches[0].status, Status::Held);
    assert_eq!(held.dispatches[0].since.millis_since(held.received_at) / 1_000, 90);
    clean(&world);
}

#[test]
fn from_the_files_deadline_only_a_person_sends_again() {
    let mut world = world();
    world.submit(&manifest("f0", "plain"));
    world.run();
    world.answer("f0/fast", Answer::Retryable(Some(50_000)));
    world.run();
    assert_eq!(world.status("f0", "fast"), Status::BackingOff);
    world.pause("fast", true).unwrap();
    world.run_for(60_000);
    world.advance(30 * 60_000);
    world.run_for(200);
    let held = world.state("f0");
    assert!(held.overdue);
    assert_eq!(held.dispatches[0].held_because, Some(HeldBecause::FileOverdue));
    world.pause("fast", false).unwrap();
    world.run_for(60_000);
    assert!(world.on_the_wire().is_empty());
    world.intervene("f0", Some("fast"), Action::Retry);
    world.run();
    assert!(world.answer("f0/fast", Answer::Succeeded));
    world.run();
    assert_eq!(world.state("f0").state, State::Completed);
    clean(&world);
}

#[test]
fn a_timer_is_a_record_and_only_its_reading_back_counts() {
    let mut world = world();
    world.submit(&manifest("f0", "careful"));
    world.run();
    let (number, _) = world.on_the_wire()[0].clone();
    assert!(world.leave(number));
    world.advance(11_001);
    // The answer is on the log before the timer that is due.
    assert!(world.answer("f0/strict", Answer::Succeeded));
    world.run();
    assert_eq!(world.state("f0").state, State::Completed);
    let timers = world.cluster.dump(Topic::Outcomes).len();
    assert!(timers <= 2, "at most the timer stands beside the answer");
    clean(&world);
}

#[test]
fn timers_survive_aborts() {
    for fault in [Fault::Abort { late_markers: false }, Fault::Away, Fault::LeftOpen] {
        let mut world = world();
        world.submit(&manifest("f0", "careful"));
        world.run();
        world.crash("w");
        world.start("w");
        world.run();
        world.advance(11_001);
        for _ in 0..3 {
            world.aimed.transaction("w", fault);
        }
        world.run_for(500);
        assert_eq!(world.status("f0", "strict"), Status::Held, "{fault:?}");
        clean(&world);
    }
}
