//! Trouble while a home partition is restored.

use std::time::Duration;

use consign::log::memory::Fault;
use consign::log::{Headers, TopicPartition};
use consign::record::{State, Topic};
use consign::sim::{Answer, SIMULATED_DOCUMENT, SimRegistry, World, WorldOptions, manifest};

use crate::{clean, ids_of_both_homes, passes_through, world, world_of};

fn codes(world: &World) -> Vec<&'static str> {
    world.unwell().iter().map(|u| u.code).collect()
}

#[test]
fn an_invariant_that_breaks_in_a_restore_refuses_its_partition_only() {
    let mut world = world();
    let [zero, one] = ids_of_both_homes(&world);
    passes_through(&mut world, &zero);
    world.crash("w");
    world.registry.register(SimRegistry::BREAKING_ID, Topic::Arrivals.schema().unwrap());
    world.registry.set_broken(true);
    let mut arrival = world.cluster.dump(Topic::Arrivals).remove(0);
    assert_eq!(arrival.at.partition, 0);
    arrival.value.as_mut().unwrap()[1..5].copy_from_slice(&SimRegistry::BREAKING_ID.to_be_bytes());
    world.append(Topic::Arrivals, 0, &zero, arrival.value);
    world.start("w");
    world.run();
    assert_eq!(codes(&world), ["CG213"]);
    assert!(world.stops.is_empty(), "{:?}", world.stops);
    passes_through(&mut world, &one);
    world.registry.set_broken(false);
    world.crash("w");
    world.start("w");
    world.run();
    assert_eq!(codes(&world), Vec::<&str>::new());
    world.submit(&manifest(&format!("{zero}a"), "plain"));
    world.run();
    assert!(world.answer(&format!("{zero}a/fast"), Answer::Succeeded));
    world.run();
    assert_eq!(world.state(&format!("{zero}a")).state, State::Completed);
    clean(&world);
}

#[test]
fn a_committed_offset_beyond_the_end_stops_its_partition() {
    let mut world = world();
    let [zero, one] = ids_of_both_homes(&world);
    passes_through(&mut world, &zero);
    world.crash("w");
    // As after the topic was deleted and created again.
    world.cluster.set_committed(&[(TopicPartition { topic: Topic::Manifests, partition: 0 }, 5_000)]);
    world.start("w");
    world.run();
    assert_eq!(codes(&world), ["CG212"]);
    assert!(world.stops.is_empty(), "{:?}", world.stops);
    assert_eq!(world.workers["w"].running(), [1]);
    passes_through(&mut world, &one);
}

#[test]
fn acks_that_were_deleted_unread_stop_their_partition() {
    for offset in [2, 5_000] {
        let mut world = world();
        world.crash("w");
        let at = TopicPartition { topic: Topic::Acks, partition: 0 };
        world.cluster.set_committed(&[(at, offset)]);
        for _ in 0..4 {
            world.cluster.put(at, Some(b"k".to_vec()), Some(b"x".to_vec()), Headers::new()).unwrap();
        }
        world.cluster.delete_before(at, 3).unwrap();
        world.start("w");
        world.run();
        assert_eq!(codes(&world), ["CG212"], "{offset}");
        passes_through(&mut world, "f0");
        passes_through(&mut world, "f1");
    }
}

#[test]
fn records_that_are_deleted_under_a_workers_feet_stop_their_partition_only() {
    for topic in [Topic::Manifests, Topic::Outcomes, Topic::Acks] {
        let mut world = world();
        let [zero, one] = ids_of_both_homes(&world);
        let at = TopicPartition { topic, partition: 0 };
        for _ in 0..4 {
            world.cluster.put(at, Some(b"k".to_vec()), Some(b"x".to_vec()), Headers::new()).unwrap();
        }
        world.cluster.delete_before(at, 3).unwrap();
        world.run();
        assert_eq!(codes(&world), ["CG212"], "{topic:?}");
        assert!(world.stops.is_empty(), "{:?}", world.stops);
        assert_eq!(world.dead_letters().len(), 0, "what is left there is not taken for the rest");
        passes_through(&mut world, &one);
        if topic == Topic::Acks {
            passes_through(&mut world, &zero);
        }
    }
}

#[test]
fn a_log_that_keeps_committed_offsets_back_is_waited_for_under_its_own_code() {
    let mut world = world();
    let [zero, one] = ids_of_both_homes(&world);
    passes_through(&mut world, &one);
    world.submit(&manifest(&zero, "plain"));
    // The transaction stays open, and nobody comes to end it.
    world.aimed.rebuilds("w", u32::MAX);
    world.aimed.transaction("w", Fault::LeftOpen);
    world.run();
    world.crash("w");
    world.cluster.expire("w");
    world.start("v");
    world.run();
    assert!(codes(&world).contains(&"CG218"), "{:?}", world.unwell());
    assert!(!codes(&world).contains(&"CG208"), "the registry has nothing to do with it: {:?}", world.unwell());
    world.cluster.expire_transactions();
    world.run();
    assert_eq!(codes(&world), Vec::<&str>::new());
    assert!(world.answer(&format!("{zero}/fast"), Answer::Succeeded));
    world.run();
    assert_eq!(world.state(&zero).state, State::Completed);
    clean(&world);
}

/// The most homes that are restored at a time, of six with so many records each, and how many of them come to work.
fn at_a_time(records: usize) -> (usize, usize) {
    let options = WorldOptions { home_partitions: 6, ..WorldOptions::new(SIMULATED_DOCUMENT) };
    let mut world = world_of(options, &["w"]);
    world.crash("w");
    for home in 0..6 {
        for n in 0..records {
            world.append(Topic::Arrivals, home, &format!("gone-{n}"), None);
        }
    }
    world.start("w");
    let mut most = 0;
    for _ in 0..20_000 {
        let now = world.now();
        let worker = world.workers.get_mut("w").unwrap();
        worker.step(Duration::ZERO, &move || now).unwrap();
        most = most.max(worker.unwell().iter().filter(|u| u.text.contains("is being restored")).count());
        if worker.running().len() == 6 {
            break;
        }
    }
    (most, world.workers["w"].running().len())
}

#[test]
fn homes_that_have_much_to_read_are_restored_few_at_a_time() {
    assert_eq!(at_a_time(3_000), (6, 6), "what is small is soon over");
    // Two at first, more once these are nearly through.
    assert_eq!(at_a_time(25_000), (4, 6), "each holds what its reader fetches ahead");
}
