//! Killed at every call that it makes outside, before it takes effect, after, and half-way through those that change more than
//! one thing: the journal, and a move.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::desk::Desk;
use super::event::{Event, What};
use super::journal::Entry;
use super::rounds::{Policy, Rounds};
use super::shelf::{Directory, Mark, Shelf, neighbour};
use super::*;
use crate::gateway::Submission;
use crate::record::{Failure as Reason, FileState, State};

/// Rounds after which everything has long come to rest.
const LONG: u64 = 40;

/// When a process is killed: at which of its calls, and how much of that takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    Before,
    Half,
    After,
}

/// The calls that can be cut half-way.
const IN_STEPS: [&str; 3] = ["note", "begin_journal", "move_to"];

/// The gateway, the engine behind it, and the life of the process that calls.
#[derive(Default)]
struct World {
    /// The calls so far, by their names.
    calls: Vec<&'static str>,
    kill_at: Option<(usize, Cut)>,
    /// Where it was killed: at which call, about which file.
    killed: Option<(&'static str, String, Cut)>,
    dead: bool,
    /// What was accepted, with the bytes' digest and how often the file was asked for.
    accepted: BTreeMap<String, (Submission, usize)>,
    submitted: usize,
    /// Answers that were other than the first manifest of a file.
    conflicts: Vec<String>,
    /// What was moved or deleted although nobody knew its end.
    early: Vec<String>,
    names_asked: Vec<String>,
}

type Shared = Rc<RefCell<World>>;

impl World {
    /// Whether a call takes effect, and whether its caller learns of it.
    fn call(&mut self, what: &'static str, about: &str) -> (bool, bool) {
        if self.dead {
            return (false, false);
        }
        self.calls.push(what);
        let cut = self.kill_at.filter(|(at, _)| *at == self.calls.len()).map(|(_, cut)| cut);
        self.dead = cut.is_some();
        self.killed = cut.map(|cut| (what, about.to_owned(), cut)).or(self.killed.take());
        (cut != Some(Cut::Before), cut.is_none())
    }

    /// Whether the call under way is cut half-way.
    fn half(&self) -> bool {
        self.kill_at == Some((self.calls.len(), Cut::Half))
    }

    fn state(&mut self, file_id: &str) -> Option<FileState> {
        let (submission, asked) = self.accepted.get_mut(file_id)?;
        *asked += 1;
        let mut state = crate::view::testing::file(file_id, State::Distributing, 0);
        if *asked > 2 {
            state.state = State::Completed;
        }
        if submission.name.starts_with("bad") {
            state.state = State::Failed;
            state.reason = Some(Reason { code: "CG122".into(), text: "it doesn't fit".into() });
        }
        Some(state)
    }

    fn is_settled(&self, name: &str) -> bool {
        if name.starts_with("wrong") {
            // No manifest may have such a name: its end was known when it was found.
            return true;
        }
        let of_name = self.accepted.values().filter(|(submission, _)| submission.name == name);
        of_name.into_iter().any(|(submission, asked)| *asked > 2 || submission.name.starts_with("bad"))
    }
}

fn killed() -> Failure {
    Failure::coded(Exit::Unreachable, "CG405", "killed")
}

struct Clerk(Shared);

impl Desk for Clerk {
    fn submit(&mut self, submission: &Submission) -> impl Future<Output = Result<Option<FileState>, Failure>> + Send {
        let mut world = self.0.borrow_mut();
        let (takes_effect, is_told) = world.call("submit", &submission.name);
        if takes_effect {
            world.submitted += 1;
            let id = submission.file_id.clone();
            match world.accepted.get(&id).map(|(first, _)| serde_json::to_string(first).unwrap()) {
                Some(first) if first != serde_json::to_string(submission).unwrap() => world.conflicts.push(id),
                Some(_) => {}
                None => drop(world.accepted.insert(id, (submission.clone(), 0))),
            }
        }
        std::future::ready(if is_told { Ok(None) } else { Err(killed()) })
    }

    fn state(&mut self, file_id: &str) -> impl Future<Output = Result<Option<FileState>, Failure>> + Send {
        let mut world = self.0.borrow_mut();
        // Behind the name stands a digest.
        let (takes_effect, is_told) = world.call("state", &file_id[..file_id.len() - 33]);
        let state = if takes_effect { world.state(file_id) } else { None };
        world.names_asked.push(file_id.to_owned());
        std::future::ready(if is_told { Ok(state) } else { Err(killed()) })
    }
}

/// A directory whose user may be killed.
struct Mortal {
    world: Shared,
    inner: Directory,
}

impl Mortal {
    fn call<R>(
        &mut self,
        what: &'static str,
        about: &str,
        effect: impl FnOnce(&mut Directory) -> io::Result<R>,
    ) -> io::Result<R> {
        let (takes_effect, is_told) = self.world.borrow_mut().call(what, about);
        let done = if takes_effect { effect(&mut self.inner) } else { Err(io::Error::other("killed")) };
        if is_told { done } else { Err(io::Error::other("killed")) }
    }

    fn put_away(&self, name: &str) {
        let mut world = self.world.borrow_mut();
        if !world.dead && !world.is_settled(name) {
            world.early.push(name.to_owned());
        }
    }
}

impl Shelf for Mortal {
    fn list(&mut self) -> io::Result<Vec<(String, Mark)>> {
        self.call("list", "", Shelf::list)
    }

    fn look(&mut self, name: &str) -> io::Result<Option<Mark>> {
        self.call("look", name, |inner| inner.look(name))
    }

    fn digest(&mut self, name: &str, mark: Mark) -> io::Result<Option<String>> {
        self.call("digest", name, |inner| inner.digest(name, mark))
    }

    fn journal(&mut self) -> io::Result<String> {
        self.call("journal", "", Shelf::journal)
    }

    fn begin_journal(&mut self, lines: &str) -> io::Result<()> {
        let world = Rc::clone(&self.world);
        self.call("begin_journal", "", |inner| {
            if world.borrow().half() {
                let new = inner.path().join(format!("{}.new", super::shelf::JOURNAL));
                return fs::write(new, &lines[..lines.len() / 2]);
            }
            inner.begin_journal(lines)
        })
    }

    fn note(&mut self, line: &str) -> io::Result<()> {
        let world = Rc::clone(&self.world);
        let entry: Entry = serde_json::from_str(line).unwrap();
        let about = format!("{} {:?}", entry.name, entry.stage);
        self.call("note", &about, |inner| {
            // What a crash leaves of a line has no end.
            if world.borrow().half() {
                let half = &line[..line.len() / 2];
                let path = inner.path().join(super::shelf::JOURNAL);
                let whole = fs::read_to_string(&path)? + half;
                return fs::write(path, whole);
            }
            inner.note(line)
        })
    }

    fn move_to(&mut self, name: &str, to: &Path, reason: Option<&str>) -> io::Result<PathBuf> {
        self.put_away(name);
        let world = Rc::clone(&self.world);
        self.call("move_to", name, |inner| {
            if world.borrow().half() {
                fs::hard_link(inner.path().join(name), to.join(name))?;
                return reason
                    .map_or(Ok(()), |_| fs::write(to.join(format!(".{name}.reason.new")), ""))
                    .map(|()| to.into());
            }
            inner.move_to(name, to, reason)
        })
    }

    fn delete(&mut self, name: &str) -> io::Result<()> {
        self.put_away(name);
        self.call("delete", name, |inner| inner.delete(name))
    }
}

fn policy(directory: &Path) -> Policy {
    Policy {
        file_type: "note".into(),
        schema_version: 1,
        attributes: BTreeMap::new(),
        produced_by: None,
        located_at: url::Url::from_file_path(directory).unwrap(),
        still: Duration::from_secs(2),
        on_completed: Action::Move(neighbour(directory, Path::new("../done")).unwrap()),
        on_failed: Action::Move(neighbour(directory, Path::new("../failed")).unwrap()),
        patient: true,
    }
}

/// A name that no manifest may have.
const WRONG: &str = "wrong\u{1}.csv";

/// What arrives, by the second.
fn arrivals(directory: &Path, second: u64) {
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
    match second {
        0 => {
            write("a.csv", "a");
            write("b.csv", "half");
            write(".hidden.csv", "c");
            write("d.csv.part", "d");
            fs::create_dir(directory.join("below")).unwrap();
        }
        1 => write("b.csv", "half and half"),
        2 => fs::rename(directory.join(".hidden.csv"), directory.join("c.csv")).unwrap(),
        3 => {
            write("bad.csv", "e");
            write(WRONG, "f");
            // The bytes of another.
            write("twin.csv", "a");
        }
        4 => fs::rename(directory.join("d.csv.part"), directory.join("d.csv")).unwrap(),
        _ => {}
    }
}

struct Run {
    folder: tempfile::TempDir,
    world: Shared,
    second: u64,
    events: Vec<Event>,
}

impl Run {
    fn new(kill_at: Option<(usize, Cut)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let world = World { kill_at, ..World::default() };
        Self { folder, world: Rc::new(RefCell::new(world)), second: 0, events: Vec::new() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("in")
    }

    /// A process, until it is killed or everything is at rest.
    fn process(&mut self, edit: impl FnOnce(&mut Policy)) {
        let inner = Directory::open(&self.path()).expect("nobody else watches it");
        let mut policy = policy(inner.path());
        edit(&mut policy);
        let shelf = Mortal { world: Rc::clone(&self.world), inner };
        let events = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&events);
        let tell = move |event: &Event| told.borrow_mut().push(event.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let Ok(mut rounds) = Rounds::begin(policy, shelf, Clerk(Rc::clone(&self.world)), tell) else {
            assert!(self.world.borrow().dead, "it begins");
            return;
        };
        while self.second < LONG && !self.world.borrow().dead {
            arrivals(&self.path(), self.second);
            runtime.block_on(rounds.round(Duration::from_secs(self.second))).expect("it goes on");
            self.second += 1;
        }
        self.events.append(&mut events.borrow_mut());
    }

    /// Processes until everything is at rest; the number of calls.
    fn run_to_the_end(&mut self, edit: impl Fn(&mut Policy)) -> usize {
        while self.second < LONG {
            self.process(&edit);
            self.world.borrow_mut().dead = false;
        }
        self.world.borrow().calls.len()
    }

    fn names(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join(below)).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|n| !n.starts_with('.')).collect();
        names.sort();
        names
    }

    /// Each is announced once, under one manifest, and is where the policy wants it, whole.
    #[track_caller]
    fn check(&self, about: &str, completed: &Action, failed: &Action) {
        let world = self.world.borrow();
        let mut accepted: Vec<&str> = world.accepted.values().map(|(s, _)| s.name.as_str()).collect();
        accepted.sort_unstable();
        let good = ["a.csv", "b.csv", "c.csv", "d.csv", "twin.csv"];
        assert_eq!(accepted, ["a.csv", "b.csv", "bad.csv", "c.csv", "d.csv", "twin.csv"], "{about}: each once");
        assert_eq!(world.conflicts, Vec::<String>::new(), "{about}: a manifest is always the same");
        assert_eq!(world.early, Vec::<String>::new(), "{about}: nothing is put away early");
        let (mut stays, mut done, mut set_aside) = (vec!["below"], Vec::new(), Vec::new());
        match completed {
            Action::Leave => stays.extend(good),
            Action::Delete => {}
            Action::Move(_) => done.extend(good),
        }
        match failed {
            Action::Move(_) => set_aside = vec!["bad.csv", "bad.csv.reason.json", WRONG, "wrong\u{1}.csv.reason.json"],
            _ => stays.extend(["bad.csv", WRONG]),
        }
        stays.sort_unstable();
        assert_eq!(self.names("in"), stays, "{about}: nothing is lost");
        assert_eq!(self.names("done"), done, "{about}: nothing is lost");
        assert_eq!(self.names("failed"), set_aside, "{about}");
        if let Action::Move(_) = failed {
            let read = |name: &str| fs::read_to_string(self.folder.path().join("failed").join(name)).unwrap();
            let (bad, wrong) = (read("bad.csv.reason.json"), read("wrong\u{1}.csv.reason.json"));
            assert!(bad.contains("CG122 it doesn't fit") && wrong.contains("CG120"), "{about}: {bad}{wrong}");
        }
        let below = if *completed == Action::Leave { "in" } else { "done" };
        if *completed != Action::Delete {
            let whole = fs::read_to_string(self.folder.path().join(below).join("b.csv")).unwrap();
            assert_eq!(whole, "half and half", "{about}");
        }
    }
}

#[test]
fn what_arrives_is_announced_once_and_put_away_when_it_has_settled() {
    let mut run = Run::new(None);
    run.run_to_the_end(|_| {});
    let moved = Action::Move(PathBuf::new());
    run.check("undisturbed", &moved, &moved);
    assert_eq!(run.world.borrow().submitted, 6);
    let of = |what: What| run.events.iter().filter(|event| event.event == what).count();
    assert_eq!((of(What::Announced), of(What::Completed), of(What::Failed), of(What::Trouble)), (6, 5, 2, 0));
}

/// Kills it once at every call of a whole run; gives where, and how often a manifest was sent again.
fn kill_everywhere(completed: &Action, failed: &Action) -> (BTreeSet<(&'static str, String, Cut)>, usize) {
    let edit = |policy: &mut Policy| {
        // A move goes where the policy of all these tests says.
        if !matches!(completed, Action::Move(_)) {
            policy.on_completed = completed.clone();
        }
        if !matches!(failed, Action::Move(_)) {
            policy.on_failed = failed.clone();
        }
    };
    let mut undisturbed = Run::new(None);
    undisturbed.run_to_the_end(edit);
    undisturbed.check("undisturbed", completed, failed);
    let calls = undisturbed.world.borrow().calls.clone();
    let (mut points, mut again) = (BTreeSet::new(), 0);
    for (at, what) in (1..).zip(&calls) {
        for cut in [Cut::Before, Cut::Half, Cut::After] {
            if cut == Cut::Half && !IN_STEPS.contains(what) {
                continue;
            }
            let mut run = Run::new(Some((at, cut)));
            run.run_to_the_end(edit);
            let point = run.world.borrow_mut().killed.take().expect("it was killed");
            run.check(&format!("killed at call {at}, {point:?}, {completed:?}, {failed:?}"), completed, failed);
            again += usize::from(run.world.borrow().submitted > 6);
            points.insert(point);
        }
    }
    (points, again)
}

#[test]
fn killed_at_any_call_nothing_is_announced_twice_lost_or_put_away_early() {
    let moved = || Action::Move(PathBuf::new());
    let (mut points, mut calls) = (BTreeSet::new(), BTreeSet::new());
    for (completed, failed) in
        [(moved(), moved()), (Action::Delete, moved()), (Action::Leave, Action::Leave), (moved(), Action::Leave)]
    {
        let (killed_at, again) = kill_everywhere(&completed, &failed);
        // Whoever begins anew asks before it sends a manifest again.
        assert_eq!(again, 0, "manifests were sent again");
        calls.extend(killed_at.iter().map(|(what, _, cut)| (*what, *cut)));
        points.extend(killed_at);
    }
    // Ten calls, before and after; three of them half-way too.
    assert_eq!(calls.len(), 23, "{calls:?}");
    // The same calls about files that are new, still growing, renamed in, the same as another, bad, and not to be announced.
    assert!(points.len() >= 100, "{} points", points.len());
    let about = |name: &str| points.iter().filter(|(_, of, _)| of.starts_with(name)).count();
    for name in ["a.csv", "b.csv", "c.csv", "d.csv", "twin.csv", "bad.csv", "wrong"] {
        assert!(about(name) >= 6, "{name}: {} points", about(name));
    }
}

#[test]
fn what_stays_is_known_by_the_journal_for_ever() {
    let mut run = Run::new(None);
    let leave = |policy: &mut Policy| {
        policy.on_completed = Action::Leave;
        policy.on_failed = Action::Leave;
    };
    run.run_to_the_end(leave);
    assert_eq!(run.names("in").len(), 8);
    let submitted = run.world.borrow().submitted;
    // The gateway has forgotten all of it.
    run.world.borrow_mut().accepted.clear();
    run.world.borrow_mut().names_asked.clear();
    run.second = 5;
    run.run_to_the_end(leave);
    assert_eq!(run.world.borrow().submitted, submitted);
    assert!(run.world.borrow().names_asked.is_empty(), "nobody is asked about what has settled");
    // A command with another policy follows what the journal says.
    run.second = 5;
    run.run_to_the_end(|policy| {
        policy.on_completed = Action::Delete;
    });
    assert_eq!(run.names("in"), ["below"]);
    assert_eq!(run.names("failed"), ["bad.csv", "bad.csv.reason.json", WRONG, "wrong\u{1}.csv.reason.json"]);
}

#[test]
fn another_file_under_the_name_is_not_put_away_for_the_first() {
    let mut run = Run::new(None);
    run.second = 10;
    fs::write(run.path().join("a.csv"), "one").unwrap();
    let path = run.path();
    let inner = Directory::open(&path).unwrap();
    let world = Rc::clone(&run.world);
    let shelf = Mortal { world: Rc::clone(&world), inner };
    let policy = Policy { on_completed: Action::Delete, still: Duration::ZERO, ..policy(&path) };
    let mut rounds = Rounds::begin(policy, shelf, Clerk(Rc::clone(&world)), |_: &Event| {}).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut round = |second| runtime.block_on(rounds.round(Duration::from_secs(second))).unwrap();
    assert_eq!(round(0), 1);
    fs::write(path.join("new"), "another").unwrap();
    fs::rename(path.join("new"), path.join("a.csv")).unwrap();
    for second in 1..3 {
        round(second);
    }
    assert_eq!(fs::read_to_string(path.join("a.csv")).unwrap(), "another", "it is announced, and has not settled");
    for second in 3..9 {
        round(second);
    }
    assert!(!path.join("a.csv").exists());
    assert_eq!(world.borrow().accepted.len(), 2);
    assert_eq!(world.borrow().early, Vec::<String>::new());
}

#[test]
fn nothing_is_overwritten_and_a_move_that_was_cut_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in"), folder.path().join("done"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(to.join("a"), "there before").unwrap();
    fs::write(from.join("a"), "new").unwrap();
    let mut directory = Directory::open(&from).unwrap();
    assert!(Directory::open(&from).is_err(), "one process watches it");
    assert_eq!(directory.move_to("a", &to, Some("why")).unwrap(), to.join("a.1"));
    assert_eq!(fs::read_to_string(to.join("a")).unwrap(), "there before");
    assert_eq!(fs::read_to_string(to.join("a.1.reason.json")).unwrap(), "why");
    fs::write(from.join("b"), "b").unwrap();
    fs::hard_link(from.join("b"), to.join("b")).unwrap();
    assert_eq!(directory.move_to("b", &to, None).unwrap(), to.join("b"));
    assert!(!from.join("b").exists());
    assert!(neighbour(&from, Path::new(".")).is_err());
}

#[test]
fn actions_are_read_and_a_failed_file_is_never_deleted() {
    assert_eq!("move:done".parse(), Ok(Action::Move("done".into())));
    assert_eq!(("leave".parse(), "delete".parse()), (Ok(Action::Leave), Ok(Action::Delete)));
    for wrong in ["move:", "move", "remove", ""] {
        assert!(wrong.parse::<Action>().is_err(), "{wrong}");
    }
}
