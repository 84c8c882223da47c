//! Every commit of a script × {before, after} × {kill, zombie, indefinite reply}, on one process and on three.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use consign::sim::{CommitBlow, CrashPoint, Says, ScriptReport, When, run_script};

/// What a cell of the table counts.
type Cell = (Says, When, CommitBlow, usize);

fn run(processes: usize, point: Option<CrashPoint>) -> ScriptReport {
    catch_unwind(|| run_script(processes, point)).unwrap_or_else(|_| ScriptReport {
        violations: vec!["it panicked; the message is above".to_owned()],
        ..ScriptReport::default()
    })
}

/// Every point of the script on so many processes, and what the commit there says.
fn points(processes: usize) -> Vec<(usize, CrashPoint, Vec<Says>)> {
    let quiet = run(processes, None);
    assert!(quiet.violations.is_empty(), "without any blow: {:#?}", quiet.violations);
    let mut points = Vec::new();
    for (commit, said) in quiet.commits.iter().enumerate() {
        for when in When::ALL {
            for blow in CommitBlow::ALL {
                points.push((processes, CrashPoint { commit, when, blow }, said.iter().copied().collect()));
            }
        }
    }
    points
}

fn print_table(cells: &BTreeMap<Cell, usize>) {
    let columns: Vec<(usize, When, CommitBlow)> = [1, 3]
        .into_iter()
        .flat_map(|processes| When::ALL.into_iter().map(move |when| (processes, when)))
        .flat_map(|(processes, when)| CommitBlow::ALL.into_iter().map(move |blow| (processes, when, blow)))
        .collect();
    print!("{:28}", "commits that say");
    for (processes, when, blow) in &columns {
        print!(" {:>10}", format!("{processes} {} {}", &when.name()[..2], &blow.name()[..4]));
    }
    println!();
    for says in Says::ALL {
        print!("{:28}", says.name());
        for (processes, when, blow) in &columns {
            print!(" {:>10}", cells.get(&(*says, *when, *blow, *processes)).copied().unwrap_or(0));
        }
        println!();
    }
}

#[test]
fn no_blow_at_any_commit_breaks_an_invariant() {
    let points: Vec<_> = [1, 3].into_iter().flat_map(points).collect();
    let (next, cells, bad) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<Cell, usize>::new()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((processes, point, said)) = points.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let report = run(*processes, Some(*point));
                    if !report.struck || !report.violations.is_empty() {
                        bad.lock().unwrap().push(format!("{processes} processes, {point:?}: {:?}", report.violations));
                    }
                    for says in said {
                        let cell = (*says, point.when, point.blow, *processes);
                        *cells.lock().unwrap().entry(cell).or_default() += 1;
                    }
                }
            });
        }
    });
    let (cells, bad) = (cells.into_inner().unwrap(), bad.into_inner().unwrap());
    println!("{} runs", points.len());
    print_table(&cells);
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), points.len(), bad.join("\n"));
    for says in Says::ALL {
        let covered = cells.keys().filter(|(s, ..)| s == says).count();
        assert_eq!(covered, 12, "no commit of the script is {} in every column", says.name());
    }
}
