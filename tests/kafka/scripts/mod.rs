//! The in-process log is honest: the same scripts show the same on it and on the real broker.

mod drawn;
mod language;
mod runner;
mod sides;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use language::Script;
use runner::Runner;
use sides::{InProcess, Lane};

/// Scripts drawn from seeds, where `SCRIPTS` doesn't say how many.
const DRAWN: u64 = 80;
/// Scripts that run beside each other on the broker: most of their time they wait.
const LANES: usize = 8;

fn on_process(script: &Script) -> Vec<String> {
    let mut side = InProcess::new();
    let mut observer = consign::log::Cluster::worker(&side.cluster, "observer").unwrap();
    Runner::new(&mut side, &mut *observer).run(script, None)
}

/// What differs, with all that was seen up to there.
fn differs(script: &Script, expected: &[String], seen: &[String]) -> Option<String> {
    if expected == seen {
        return None;
    }
    let lines = script.text.lines().filter(|line| !line.trim().is_empty());
    let mut text = format!("# {}\n", script.name);
    for ((line, expected), seen) in lines.zip(expected).zip(seen) {
        text += &format!("{line}\n");
        if expected == seen {
            text += &if seen.is_empty() { String::new() } else { format!("    {seen}\n") };
        } else {
            text += &format!("    in process: {expected}\n    on Kafka:   {seen}\n");
        }
    }
    Some(text)
}

#[test]
fn the_in_process_log_shows_what_kafka_shows() {
    let number = |name: &str, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let first = number("SCRIPT_FIRST", 1);
    let mut scripts = Script::read_all(include_str!("written.txt"));
    assert!(scripts.len() > 25, "{}", scripts.len());
    scripts.extend((first..first + number("SCRIPTS", DRAWN)).map(drawn::script));
    if let Ok(only) = std::env::var("SCRIPT") {
        scripts.retain(|script| script.name == only);
    }
    let (next, differences) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let (next, scripts, differences) = (&next, &scripts, &differences);
            scope.spawn(move || {
                let mut lane = Lane::new(&format!("scripts-{lane}"));
                let mut observer = lane.observer();
                while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let expected = on_process(script);
                    let mut side = lane.next();
                    let seen = Runner::new(&mut side, &mut *observer).run(script, Some(&expected));
                    let difference = differs(script, &expected, &seen);
                    differences.lock().unwrap().extend(difference);
                }
            });
        }
    });
    let differences = differences.into_inner().unwrap();
    println!("{} scripts, {} differ", scripts.len(), differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
