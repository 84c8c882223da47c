//! The fold alone: one worker on the log in this process, the same reports each time. `benches/guard` counts its
//! instructions, so nothing here depends on time, addresses or chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use consign::engine::{Observed, Worker, WorkerOptions};
use consign::log::Cluster as _;
use consign::log::memory::{MemoryCluster, MemoryOptions};
use consign::node::controls::{Said, apply_routing, fix_home_partitions};
use consign::record::{Codec, Timestamp, TopicNames};
use serde_json::json;

use crate::engine::tokens;
use crate::join::Nobody;
use crate::options::{Options, say};
use crate::workload::{Maker, codec};

/// When everything happens.
const NOW: Timestamp = Timestamp(1_767_225_600_000);

pub fn run(options: &Options) {
    let workload = options.workload();
    let cluster = MemoryCluster::new(MemoryOptions::new(workload.partitions, 1, Arc::new(|| NOW)));
    let codec = Arc::new(codec());
    let said = Said { actor: "bench", reason: "bench", at: NOW };
    fix_home_partitions(&cluster, &codec, workload.partitions, said).expect("written once");
    apply_routing(&cluster, &codec, &workload.sources(), said, None).expect("the document comes into force");
    let folded = Arc::new(AtomicU64::new(0));
    // The first positions of a home stand before anything is there, as in production.
    let mut first = at_work(&cluster, &codec, &folded, workload.partitions);
    step(&mut first);
    first.close();
    let maker = Maker::new(workload, NOW);
    for file in 0..workload.files {
        for append in maker.open_file(file) {
            cluster.append_now(append).expect("no faults");
        }
    }
    // The others stay open.
    let reported = options.number("reported", workload.files);
    let of_those = workload.reports().filter(|(file, _)| *file < reported);
    let reports: Vec<_> = of_those.map(|(file, target)| maker.report(file, target)).collect();
    let expected = u64::try_from(reports.len()).expect("few");
    let mut worker = at_work(&cluster, &codec, &folded, workload.partitions);
    for append in reports {
        cluster.append_now(append).expect("no faults");
    }
    let before = cpu_ticks();
    fold_all(&mut worker, &folded, expected);
    say("FOLDED", &json!({"reports": expected, "cpu_ticks": cpu_ticks() - before}));
}

fn at_work(cluster: &MemoryCluster, codec: &Arc<Codec>, folded: &Arc<AtomicU64>, partitions: i32) -> Worker {
    let counted = Arc::clone(folded);
    let mut worker = Worker::new(
        WorkerOptions::new("w", TopicNames::new("bench.")),
        cluster.worker("w").expect("its log is there"),
        Box::new(Nobody),
        Arc::clone(codec),
        tokens(),
        Box::new(move |observed| match observed {
            Observed::Report { .. } => drop(counted.fetch_add(1, Ordering::Relaxed)),
            Observed::DeadLetter { reason, detail, .. } => panic!("{reason}: {detail}"),
            _ => {}
        }),
    );
    while worker.running().len() < usize::try_from(partitions).expect("positive") {
        step(&mut worker);
    }
    worker
}

fn step(worker: &mut Worker) {
    worker.step(Duration::ZERO, &|| NOW).unwrap_or_else(|e| panic!("{e}"));
}

/// User and system time of this process in the kernel's ticks.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum()
}

/// What is counted: callgrind collects inside this function only.
#[inline(never)]
fn fold_all(worker: &mut Worker, folded: &AtomicU64, expected: u64) {
    while folded.load(Ordering::Relaxed) < expected {
        step(worker);
    }
}
