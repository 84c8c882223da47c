//! `consign watch` against a running `consign dev`: killed in the middle, and with every way to put a file away.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::binary::{Dev, check, command, consign, run};

/// A `consign watch` whose lines are read one by one; dropping it kills it.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn start(dev: &Dev, directory: &Path, more: &[&str]) -> Self {
        let directory = directory.to_str().unwrap();
        let fixed = ["watch", directory, "--type", "note", "--still", "0s", "--interval", "20ms", "--output", "json"];
        let mut command = command(&[&fixed[..], more].concat());
        let mut child = command.env("CONSIGN_URL", dev.url()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next thing that happens.
    fn next(&mut self) -> Value {
        check("watch", &self.lines.next().expect("it goes on").unwrap())
    }

    fn until(&mut self, event: &str) -> Value {
        loop {
            let next = self.next();
            if next["event"] == event {
                return next;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn files_are_announced_and_put_away_and_a_kill_changes_nothing() {
    let dev = Dev::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let moved = ["--on-completed", "move:done", "--on-failed", "move:failed"];
    std::fs::write(folder.path().join("one.txt"), "1").unwrap();
    let mut first = Watch::start(&dev, folder.path(), &moved);
    let announced = first.until("announced");
    assert_eq!(announced["name"], "one.txt");
    // SIGKILL.
    drop(first);
    let mut second = Watch::start(&dev, folder.path(), &moved);
    let completed = second.until("completed");
    assert_eq!((&completed["name"], &completed["file_id"]), (&announced["name"], &announced["file_id"]));
    assert_eq!(std::fs::read_to_string(folder.path().join("done/one.txt")).unwrap(), "1");
    assert!(!folder.path().join("one.txt").exists());
    let (code, status) = dev.json("status", &["status", announced["file_id"].as_str().unwrap()]);
    assert_eq!((code, status["dispatches"][0]["attempts"].as_i64()), (Some(0), Some(1)), "{status}");
    // Renamed in, while it watches.
    std::fs::write(folder.path().join(".two"), "2").unwrap();
    std::fs::rename(folder.path().join(".two"), folder.path().join("two.txt")).unwrap();
    assert_eq!(second.until("completed")["name"], "two.txt");
    let pid = second.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(second.child.wait().unwrap().code(), Some(0));
}

#[test]
fn once_ends_with_what_became_of_the_files() {
    let dev = Dev::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let once = ["--once", "--still", "0s", "--interval", "20ms"];
    std::fs::write(folder.path().join("a"), "a").unwrap();
    let ran = dev.run(&[&["watch", directory, "--type", "note", "--on-completed", "delete"], &once[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("a: announced (a-") && ran.out.contains("a: COMPLETED (a-"), "{ran:?}");
    assert!(ran.out.trim_end().ends_with(", deleted"), "{ran:?}");
    assert!(!folder.path().join("a").exists());
    // No such type: validation says so, and the file is set aside with the reason.
    std::fs::write(folder.path().join("b"), "b").unwrap();
    let ran = dev.run(&[&["watch", directory, "--type", "nothing", "--on-failed", "move:bad"], &once[..]].concat());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let beside = std::fs::read_to_string(folder.path().join("bad/b.reason.json")).unwrap();
    let beside: Value = serde_json::from_str(&beside).unwrap();
    assert!(beside["reason"].as_str().unwrap().starts_with("CG1"), "{beside}");
}

#[test]
fn what_cannot_be_watched_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let gone = folder.path().join("gone");
    for (arguments, code, says) in [
        (vec!["watch", gone.to_str().unwrap(), "--type", "note", "--once"], 4, "gone"),
        (vec!["watch", directory, "--type", "note", "--on-failed", "delete"], 2, "never deleted"),
        (vec!["watch", directory, "--type", "note", "--on-completed", "move:."], 2, "watched directory itself"),
        (vec!["watch", directory, "--type", "note", "--on-completed", "burn"], 2, "move:DIR"),
        (vec!["watch", directory, "--type", "note", "--located-at", "here"], 2, "--located-at"),
    ] {
        let ran = consign(&arguments);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.err.contains(says), "{ran:?}");
    }
    std::fs::write(folder.path().join("a"), "a").unwrap();
    let closed = crate::binary::closed_address();
    let url = format!("http://{closed}");
    let ran = run(&mut command(&["watch", directory, "--type", "note", "--once", "--still", "0s", "--url", &url]));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("CG405"), "{ran:?}");
}
