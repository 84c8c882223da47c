//! Workers whose clocks are off.

use consign::engine::Observed;
use consign::log::{Headers, TopicPartition};
use consign::record::{State, Status, Topic};
use consign::sim::{Answer, SIMULATED_DOCUMENT, World, WorldOptions, manifest};

use crate::{clean, passes_through, world_of};

const MAX_SKEW_MS: i64 = 1_000;

fn checked_world(skew_ms: i64) -> World {
    checked_world_of(WorldOptions::new(SIMULATED_DOCUMENT), skew_ms)
}

fn checked_world_of(mut options: WorldOptions, skew_ms: i64) -> World {
    options.max_clock_skew_ms = Some(MAX_SKEW_MS);
    let mut world = world_of(options, &[]);
    world.skew("w", skew_ms);
    world.start("w");
    world.run();
    world
}

fn codes(world: &World) -> Vec<&'static str> {
    world.unwell().iter().map(|u| u.code).collect()
}

fn timers(world: &World) -> usize {
    world.cluster.dump(Topic::Outcomes).len()
}

#[test]
fn a_clock_within_its_bound_works() {
    for skew in [-MAX_SKEW_MS, 0, MAX_SKEW_MS] {
        let mut world = checked_world(skew);
        assert_eq!(codes(&world), Vec::<&str>::new());
        assert!(world.observed().contains(&Observed::ClockMeasured { offset_ms: skew, within_ms: 0 }));
        world.submit(&manifest("f0", "plain"));
        world.run();
        assert!(world.answer("f0/fast", Answer::Succeeded));
        world.run();
        assert_eq!(world.state("f0").state, State::Completed);
        if skew == 0 {
            // The checker's own bound is zero.
            clean(&world);
        }
    }
}

#[test]
fn a_clock_that_is_off_decides_nothing_until_it_is_right() {
    for skew in [-MAX_SKEW_MS - 1, MAX_SKEW_MS + 1, 86_400_000] {
        let mut world = checked_world(0);
        world.submit(&manifest("f0", "careful"));
        world.run();
        assert_eq!(world.status("f0", "strict"), Status::InFlight);
        let leaving: Vec<u64> = world.on_the_wire().iter().map(|(number, _)| *number).collect();
        assert!(leaving.into_iter().all(|number| world.leave(number)));
        world.skew("w", skew);
        world.run();
        world.advance(60_000);
        world.run();
        assert_eq!(codes(&world), ["CG219"], "{skew}");
        assert_eq!(timers(&world), 0, "the attempt's deadline is due by either clock, and isn't appended");
        world.submit(&manifest("f1", "plain"));
        world.run();
        assert!(!world.states().contains_key("f1"), "it waits in the log");
        assert!(world.dead_letters().is_empty(), "by a clock that is a day ahead it would look expired");
        world.skew("w", 0);
        world.advance(6_000);
        world.run();
        assert_eq!(codes(&world), Vec::<&str>::new(), "{skew}");
        assert_eq!(world.status("f0", "strict"), Status::Held, "its deadline has been read");
        assert!(world.answer("f1/fast", Answer::Succeeded));
        world.run();
        assert_eq!(world.state("f1").state, State::Completed);
    }
}

#[test]
fn a_clock_that_leaps_fires_nothing_before_it_is_measured() {
    let mut world = checked_world(0);
    world.submit(&manifest("f0", "careful"));
    world.run();
    let leaving: Vec<u64> = world.on_the_wire().iter().map(|(number, _)| *number).collect();
    assert!(leaving.into_iter().all(|number| world.leave(number)));
    // Hours ahead at once: by this clock the attempt's deadline and the file's are long past.
    world.skew("w", 10 * 86_400_000);
    (0..50).for_each(|_| world.step("w"));
    assert_eq!(codes(&world), ["CG219"]);
    assert_eq!(timers(&world), 0);
    assert_eq!(world.status("f0", "strict"), Status::InFlight);
}

/// It can't measure it any more, and has nothing to decide by it.
#[test]
fn a_worker_that_lost_its_partitions_says_nothing_of_its_clock() {
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    (options.home_partitions, options.acks_partitions) = (1, 1);
    options.max_clock_skew_ms = Some(MAX_SKEW_MS);
    let mut world = world_of(options, &[]);
    world.skew("w1", 17_000);
    world.start("w1");
    world.run();
    assert_eq!(codes(&world), ["CG219"]);
    // The assignment goes by name.
    world.start("w0");
    world.run();
    assert_eq!(world.workers["w1"].running(), Vec::<i32>::new());
    assert_eq!(codes(&world), Vec::<&str>::new());
    world.submit(&manifest("f0", "plain"));
    world.run();
    assert_eq!(world.status("f0", "fast"), Status::InFlight);
    world.stop("w0");
    world.advance(60_000);
    world.run();
    assert_eq!(world.workers["w1"].running(), [0]);
    assert_eq!(codes(&world), ["CG219"], "it is measured anew with the first partition");
}

/// What waits for capacity, or backs off, is there to go on once the clock is right: by the clock at the restore its file
/// was long overdue.
#[test]
fn what_is_restored_by_a_clock_that_is_ahead_goes_on_once_it_is_right() {
    let mut of_stores = WorldOptions::new(SIMULATED_DOCUMENT);
    (of_stores.stores_survive, of_stores.memory_budget) = (true, 0);
    for options in [WorldOptions::new(SIMULATED_DOCUMENT), of_stores] {
        goes_on_once_the_clock_is_right(checked_world_of(options, 0));
    }
}

fn goes_on_once_the_clock_is_right(mut world: World) {
    for (file_id, file_type) in [("f0", "narrow"), ("f1", "narrow"), ("f2", "plain")] {
        world.submit(&manifest(file_id, file_type));
        world.run();
    }
    assert_eq!(world.status("f1", "slim"), Status::Pending, "the first has the only permit");
    assert!(world.answer("f2/fast", Answer::Retryable(None)));
    world.run();
    assert_eq!(world.status("f2", "fast"), Status::BackingOff);
    world.crash("w");
    world.skew("w", 86_400_000);
    world.start("w");
    world.run();
    assert_eq!(codes(&world), ["CG219"]);
    world.skew("w", 0);
    world.run_for(8_000);
    assert_eq!(codes(&world), Vec::<&str>::new());
    assert_eq!(world.status("f2", "fast"), Status::InFlight, "its back-off has ended");
    // The attempt that was on the wire of the process that ended meets its deadline, and frees the permit.
    world.run_for(12_000);
    assert_eq!(world.status("f1", "slim"), Status::InFlight);
    clean(&world);
}

#[test]
fn an_input_that_waits_is_tried_again_although_the_clock_was_set_back() {
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    options.home_partitions = 1;
    let mut world = world_of(options, &["w"]);
    world.skew("w", 600_000);
    world.registry.set_away(true);
    let at = TopicPartition { topic: Topic::Manifests, partition: 0 };
    let value = Some(vec![0, 0, 0, 0, 98, 1, 2, 3]);
    world.cluster.put(at, Some(b"x".to_vec()), value, Headers::new()).unwrap();
    world.run();
    assert_eq!(codes(&world), ["CG208"]);
    world.skew("w", 0);
    world.registry.set_away(false);
    world.run_for(2_000);
    assert_eq!(codes(&world), Vec::<&str>::new());
    passes_through(&mut world, "f0");
}
