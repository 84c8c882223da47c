//! Faults planted on purpose: each must be caught, by an invariant that should catch it.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use consign::log::memory::{Fault, MarkerTarget};
use consign::log::{Headers, TopicPartition};
use consign::record::Topic;
use consign::sim::{SIMULATED_DOCUMENT, Sabotage, SeedOptions, World, WorldOptions, manifest, run_seed};

/// Seeds that are tried before a planted fault counts as missed.
const SEEDS: u64 = 60;

/// What became of one planted fault.
struct Found {
    sabotage: Sabotage,
    /// The seed in which it was caught by what should catch it; 0 for a run of its own.
    seed: Option<u64>,
    /// Everything that was found broken on the way.
    broken: BTreeSet<&'static str>,
}

fn options(sabotage: Option<Sabotage>) -> SeedOptions {
    SeedOptions { files: 40, actions: 320, faults: 0, tell: false, sabotage }
}

/// A restore while the markers of the last commit are still to land on the engine's topics, and the same manifest once
/// more: what a seed comes by once in many. Says what the checker finds broken.
fn restore_among_late_markers(sabotage: Option<Sabotage>) -> BTreeSet<&'static str> {
    let mut world = World::new(WorldOptions { sabotage, ..WorldOptions::new(SIMULATED_DOCUMENT) });
    world.start("w");
    world.run();
    let announced = manifest("f0", "plain");
    world.submit(&announced);
    world.aimed.transaction("w", Fault::Commit { reply_lost: false, late_markers: true });
    (0..50).for_each(|_| world.step("w"));
    world.crash("w");
    // Another process takes over: a producer under the same id would have the transaction ended first.
    world.cluster.expire("w");
    for marker in world.cluster.pending_markers() {
        // The group's offsets say that the manifest is done; the engine's topics don't show it yet.
        if marker.target == MarkerTarget::GroupOffsets {
            world.cluster.land_marker(marker);
        }
    }
    world.start("v");
    (0..50).for_each(|_| world.step("v"));
    world.cluster.land_markers();
    world.run();
    world.submit(&announced);
    world.run();
    world.run_for(60_000);
    world.check(true).violations.iter().map(|v| v.invariant).collect()
}

#[test]
fn a_restore_waits_for_late_markers() {
    assert_eq!(restore_among_late_markers(None), BTreeSet::new());
    let broken = restore_among_late_markers(Some(Sabotage::RestoreToLastStable));
    assert!(Sabotage::RestoreToLastStable.caught_by().iter().any(|i| broken.contains(i)), "{broken:?}");
}

/// A file that is announced again while it is remembered, by what waits for longer than that: a seed comes by it once in many.
/// Says what the checker finds broken.
fn announced_again_and_read_late(sabotage: Option<Sabotage>) -> BTreeSet<&'static str> {
    let options =
        WorldOptions { sabotage, retention_ms: 60_000, home_partitions: 1, ..WorldOptions::new(SIMULATED_DOCUMENT) };
    let mut world = World::new(options);
    world.start("w");
    world.run();
    let announced = manifest("f0", "nowhere");
    world.submit(&announced);
    world.run_for(30_000);
    world.registry.set_away(true);
    let at = TopicPartition { topic: Topic::Manifests, partition: 0 };
    let of_no_schema = Some(vec![0, 0, 0, 0, 98, 1, 2, 3]);
    world.cluster.put(at, Some(b"x".to_vec()), of_no_schema, Headers::new()).expect("it exists");
    world.submit(&announced);
    world.run_for(150_000);
    world.registry.set_away(false);
    world.run_for(5_000);
    world.check(true).violations.iter().map(|v| v.invariant).collect()
}

#[test]
fn what_is_read_late_is_judged_by_its_age() {
    assert_eq!(announced_again_and_read_late(None), BTreeSet::new());
}

fn hunt(sabotage: Sabotage) -> Found {
    let mut found = Found { sabotage, seed: None, broken: BTreeSet::new() };
    let own = match sabotage {
        Sabotage::RestoreToLastStable => Some(restore_among_late_markers(Some(sabotage))),
        Sabotage::AgeMistaken => Some(announced_again_and_read_late(Some(sabotage))),
        _ => None,
    };
    if let Some(broken) = own {
        found.broken = broken;
        found.seed = sabotage.caught_by().iter().any(|i| found.broken.contains(i)).then_some(0);
        return found;
    }
    for seed in 1..=SEEDS {
        // A planted fault may break an assertion of the engine first: then another seed shows what the checker sees.
        let Ok(report) = catch_unwind(|| run_seed(seed, &options(Some(sabotage)))) else { continue };
        found.broken.extend(report.broken.iter().map(|(invariant, _)| *invariant));
        if report.broken.iter().any(|(invariant, _)| sabotage.caught_by().contains(invariant)) {
            found.seed = Some(seed);
            break;
        }
    }
    found
}

#[test]
fn every_planted_fault_is_caught_by_what_should_catch_it() {
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(sabotage) = Sabotage::ALL.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let found = hunt(*sabotage);
                    all.lock().unwrap().push(found);
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap();
    all.sort_by_key(|found| found.sabotage);
    println!("{:28} {:24} {:>5}  broken", "planted", "caught by", "seed");
    for found in &all {
        let (planted, seed) = (format!("{:?}", found.sabotage), found.seed.map_or("-".into(), |s| s.to_string()));
        let broken = found.broken.iter().copied().collect::<Vec<_>>().join(" ");
        println!("{planted:28} {:24} {seed:>5}  {broken}", found.sabotage.caught_by().join(" "));
    }
    let missed: Vec<String> = all.iter().filter(|f| f.seed.is_none()).map(|f| format!("{:?}", f.sabotage)).collect();
    assert!(missed.is_empty(), "missed: {missed:?}");
    assert!(all.len() >= 20, "only {} faults are planted", all.len());
}

#[test]
fn nothing_is_caught_where_nothing_is_planted() {
    for seed in 1..=12 {
        let report = run_seed(seed, &options(None));
        assert!(report.violations.is_empty(), "seed {seed}: {:?}", report.violations);
    }
}
