//! Seeded runs.

use std::collections::BTreeMap;

use consign::sim::{SeedReport, run_seed};

const ACTIONS: usize = 500;

#[test]
fn seeds() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let report = run_seed(seed.parse().expect("SIM_SEED is a number"), ACTIONS);
        for line in &report.trace {
            println!("{line}");
        }
        println!("{:#?}", report.counts);
        assert!(report.violations.is_empty(), "{:#?}", report.violations);
        return;
    }
    let count: u64 = std::env::var("SIM_SEEDS").map_or(200, |text| text.parse().expect("SIM_SEEDS is a number"));
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut bad: Vec<SeedReport> = Vec::new();
    for seed in 1..=count {
        let report = run_seed(seed, ACTIONS);
        for (name, count) in &report.counts {
            *counts.entry(name.clone()).or_default() += count;
        }
        if !report.violations.is_empty() {
            bad.push(report);
        }
    }
    println!("{counts:#?}");
    for report in &bad {
        println!("seed {}: {}", report.seed, report.violations[0]);
    }
    assert!(bad.is_empty(), "{} bad seeds", bad.len());
}
