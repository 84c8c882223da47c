//! Faults planted on purpose: each must be caught, by an invariant that should catch it.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use consign::sim::{Sabotage, SeedOptions, run_seed};

/// Seeds that are tried before a planted fault counts as missed.
const SEEDS: u64 = 60;

/// What became of one planted fault.
struct Found {
    sabotage: Sabotage,
    /// The seed in which it was caught by what should catch it.
    seed: Option<u64>,
    /// Everything that was found broken on the way.
    broken: BTreeSet<&'static str>,
}

fn options(sabotage: Option<Sabotage>) -> SeedOptions {
    SeedOptions { files: 40, actions: 320, faults: 0, tell: false, sabotage }
}

fn hunt(sabotage: Sabotage) -> Found {
    let mut found = Found { sabotage, seed: None, broken: BTreeSet::new() };
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
