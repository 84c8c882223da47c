//! Trouble while a home partition is restored.

use consign::record::{State, Topic};
use consign::sim::{Answer, SimRegistry, World, manifest};

use crate::{clean, ids_of_both_homes, passes_through, world};

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
