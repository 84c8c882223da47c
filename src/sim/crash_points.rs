//! Every commit of a script, met by every blow: before it and after it, the process ends, stands still until another has
//! taken over, or never learns what became of it.
//!
//! The script visits every kind of transaction that the engine has. Its commits are counted as they happen, so that one that
//! is new is met too; what a commit says is read from its records, and a record that nobody has a name for is a violation.

use std::collections::BTreeSet;

use super::points::When;
use super::wire::Answer;
use super::world::{World, WorldOptions, manifest};
use super::{SIMULATED_DOCUMENT, START};
use crate::log::{Append, Headers, TopicPartition};
use crate::record::{
    Action, Arrival, Codec, DispatchAttempt, FileHistory, FileState, Outcome, OutcomeKind, State, Status, Topic, Wire,
};

macro_rules! says {
    ($($name:ident = $text:literal,)+) => {
        /// Something that a commit says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each is described by its name")]
        pub enum Says { $($name,)+ }

        impl Says {
            /// Everything that the engine's commits say.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// In words.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

says! {
    Positions = "positions alone",
    Forwarded = "a manifest goes home",
    DeadLetter = "an input dies",
    Accepted = "a file is accepted",
    Planned = "a plan",
    Invalid = "a file fails its validation",
    FirstAttempt = "a first attempt",
    Retry = "another attempt",
    Report = "a report is judged",
    TimerAppended = "a timer falls due",
    TimerReadBack = "a timer takes effect",
    AckRehomed = "an ack goes home",
    Intervention = "an intervention is judged",
    TargetPaused = "a target is paused",
    SuccessorAsked = "a successor is asked for",
    SuccessorAccepted = "a successor is accepted",
    StateChanged = "a file-state",
    Settled = "a file settles",
    Forgotten = "a file is forgotten",
    ClockMeasured = "a clock is measured",
}

/// What happens to the process at a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommitBlow {
    /// It ends.
    Kill,
    /// It stands still until another has taken over, and then goes on.
    Zombie,
    /// It never learns whether the commit happened: before, it didn't; after, it did.
    Indefinite,
}

impl CommitBlow {
    /// Every blow.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Zombie, Self::Indefinite];

    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Zombie => "zombie",
            Self::Indefinite => "indefinite",
        }
    }
}

/// A commit of the script and what meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashPoint {
    /// Which commit, from 0, whichever worker makes it.
    pub commit: usize,
    /// On which side of it.
    pub when: When,
    /// What happens.
    pub blow: CommitBlow,
}

/// What a run of the script showed.
#[derive(Debug, Clone, Default)]
pub struct ScriptReport {
    /// What each commit says, in order.
    pub commits: Vec<BTreeSet<Says>>,
    /// Whether the blow struck.
    pub struck: bool,
    /// What went wrong; empty in a good run.
    pub violations: Vec<String>,
}

/// What a commit's records say; `Err` for one that says what nobody has a name for.
pub(super) fn says(codec: &Codec, appends: &[Append]) -> Result<BTreeSet<Says>, String> {
    let mut said = BTreeSet::new();
    if appends.is_empty() {
        said.insert(Says::Positions);
    }
    for append in appends {
        let unknown = || format!("a {} record that nobody has a name for", append.topic.base_name());
        match (append.topic, append.value.as_deref()) {
            (Topic::Arrivals | Topic::Plans | Topic::Attempts | Topic::History | Topic::FileState, None) => {
                said.insert(Says::Forgotten);
            }
            (Topic::Controls, None) if is_measurement(&append.key) => drop(said.insert(Says::ClockMeasured)),
            (Topic::DeadLetters, _) => drop(said.insert(Says::DeadLetter)),
            (Topic::Manifests, Some(_)) => drop(said.insert(Says::Forwarded)),
            (Topic::Interventions, Some(_)) => drop(said.insert(Says::SuccessorAsked)),
            (Topic::Controls, Some(_)) => drop(said.insert(Says::TargetPaused)),
            (Topic::Plans, Some(_)) => drop(said.insert(Says::Planned)),
            (_, Some(value)) => said.extend(says_value(codec, append.topic, value).ok_or_else(unknown)?),
            (_, None) => return Err(unknown()),
        }
    }
    Ok(said)
}

/// Whether this is the key of a record by which a worker measures its clock.
fn is_measurement(key: &[u8]) -> bool {
    key.starts_with(b"clock/")
}

fn read<T: Wire>(codec: &Codec, value: &[u8]) -> Option<T> {
    codec.decode(value).ok()
}

fn says_value(codec: &Codec, topic: Topic, value: &[u8]) -> Option<Vec<Says>> {
    Some(match topic {
        Topic::Arrivals if read::<Arrival>(codec, value)?.supersedes.is_some() => vec![Says::SuccessorAccepted],
        Topic::Arrivals => vec![Says::Accepted],
        Topic::Attempts if read::<DispatchAttempt>(codec, value)?.attempt > 1 => vec![Says::Retry],
        Topic::Attempts => vec![Says::FirstAttempt],
        Topic::Outcomes if read::<Outcome>(codec, value)?.kind == OutcomeKind::Timer => vec![Says::TimerAppended],
        Topic::Outcomes => vec![Says::AckRehomed],
        Topic::FileState => {
            let terminal = matches!(read::<FileState>(codec, value)?.state, State::Completed | State::Failed);
            if terminal { vec![Says::StateChanged, Says::Settled] } else { vec![Says::StateChanged] }
        }
        Topic::History => {
            let events = read::<FileHistory>(codec, value)?.events;
            let each = events.iter().map(|e| match (&e.outcome, &e.intervention, &e.failure) {
                (Some(outcome), None, None) if outcome.timer.is_some() => Some(Says::TimerReadBack),
                (Some(_), None, None) => Some(Says::Report),
                (None, Some(_), None) => Some(Says::Intervention),
                (None, None, Some(_)) => Some(Says::Invalid),
                _ => None,
            });
            each.collect::<Option<Vec<_>>>()?
        }
        _ => return None,
    })
}

/// Runs the script on so many processes, with a blow at one of its commits or without any.
pub fn run_script(processes: usize, point: Option<CrashPoint>) -> ScriptReport {
    let world =
        World::new(WorldOptions { max_clock_skew_ms: Some(MAX_SKEW_MS), ..WorldOptions::new(SIMULATED_DOCUMENT) });
    world.aimed.watch_commits(point);
    let identities = (0..processes).map(|n| format!("w{n}")).collect();
    let mut script = Script { world, identities, violations: Vec::new() };
    script.rest();
    script.files_arrive();
    script.targets_answer();
    script.people_decide();
    script.time_passes();
    script.end()
}

/// Clocks are measured, and none is off.
const MAX_SKEW_MS: i64 = 1_000;

struct Script {
    world: World,
    identities: Vec<String>,
    violations: Vec<String>,
}

/// Turns without progress, and turns at all, after which a script counts as stuck.
const MAX_TURNS: usize = 4_000;

impl Script {
    /// Goes on until nothing moves any more while the clock stands. Who ended begins anew; who stands still goes on after
    /// another has taken over.
    fn rest(&mut self) {
        let mut idle = 0;
        for _ in 0..MAX_TURNS {
            let before = self.world.progress();
            let frozen = self.world.frozen();
            for identity in self.identities.clone() {
                if !frozen.contains(&identity) && !self.world.workers.contains_key(&identity) {
                    self.world.start(&identity);
                }
                self.world.step(&identity);
            }
            self.world.step_other();
            let newly = self.world.frozen().first().filter(|_| frozen.is_empty()).cloned();
            if let Some(identity) = newly {
                self.replace(&identity);
            }
            idle = if self.world.progress() == before { idle + 1 } else { 0 };
            if idle >= self.world.patience() {
                if self.world.thaw().is_none() {
                    return;
                }
                idle = 0;
            }
        }
        self.violations.push(format!("L1 it never comes to rest: {:?}", self.world.unwell()));
    }

    /// Another process takes over from one that stands still: under its identity where there is no other.
    fn replace(&mut self, identity: &str) {
        if self.identities.len() == 1 {
            self.world.start(identity);
        } else {
            self.world.cluster.expire(identity);
        }
    }

    fn wait(&mut self, millis: i64) {
        self.world.advance(millis);
        self.rest();
    }

    fn files_arrive(&mut self) {
        for (id, file_type) in [("a", "plain"), ("b", "careful"), ("c", "acked"), ("d", "narrow"), ("e", "guarded")] {
            self.world.submit(&manifest(id, file_type));
        }
        self.rest();
        for (id, file_type) in [("f", "brief"), ("g", "chained"), ("h", "nowhere"), ("i", "careful"), ("k", "booked")] {
            self.world.submit(&manifest(id, file_type));
        }
        let astray = manifest("astray", "plain");
        let off_home = 1 - self.world.home_of("astray");
        let bytes = self.world.encode(Topic::Manifests, &astray);
        self.world.append(Topic::Manifests, off_home, "astray", Some(bytes));
        let at = TopicPartition { topic: Topic::Manifests, partition: 0 };
        self.world.cluster.put(at, Some(b"x".to_vec()), Some(vec![9]), Headers::new()).expect("it exists");
        self.rest();
        self.world.submit(&manifest("a", "plain"));
        self.rest();
    }

    /// What a target answers to an attempt; `None` where the answer is lost for good.
    fn answer(target: &str, attempt: i32) -> Option<Answer> {
        Some(match (target, attempt) {
            ("slim", 1) => Answer::Retryable(None),
            ("strict", 1) => return None,
            ("locked", 1) => Answer::Refused,
            ("brittle", _) => Answer::Rejected,
            ("ledger" | "lagging" | "stamped", _) => Answer::Accepted,
            _ => Answer::Succeeded,
        })
    }

    fn answer_everything(&mut self) {
        for (number, key) in self.world.on_the_wire() {
            let mut parts = key.split('/').skip(1);
            let target = parts.next().unwrap_or_default().to_owned();
            let attempt = parts.next().and_then(|n| n.parse().ok()).unwrap_or(1);
            if !self.world.leave(number) {
                continue;
            }
            match Self::answer(&target, attempt) {
                Some(answer) => self.world.report(number, answer),
                None => drop(self.world.wire.lock().parcels.remove(&number).map(super::Parcel::end)),
            }
        }
    }

    fn targets_answer(&mut self) {
        self.answer_everything();
        self.rest();
        for file in ["c", "g"] {
            let ack = self.world.ack(file, "ledger", OutcomeKind::Succeeded);
            self.world.acknowledge(&ack);
        }
        self.rest();
        // Back-offs end, deadlines of attempts and confirmations fall due, what is HELD escalates.
        for millis in [2_000, 12_000, 16_000, 40_000, 150_000] {
            self.answer_everything();
            self.wait(millis);
        }
    }

    /// What is HELD: file and target.
    fn held(&mut self) -> Vec<(String, String)> {
        let open = self.world.states().values().filter(|s| s.settled_at.is_none());
        let each = open.flat_map(|s| s.dispatches.iter().map(move |d| (s, d)));
        let held = each.filter(|(_, d)| d.status == Status::Held);
        held.map(|(s, d)| (s.file_id.to_string(), d.target.to_string())).collect()
    }

    fn people_decide(&mut self) {
        self.world.pause("locked", false).expect("nothing is aimed at people");
        if self.world.states().get(&crate::record::FileId::trusted("k")).is_some_and(|s| s.settled_at.is_none()) {
            self.world.intervene("k", None, Action::Cancel);
        }
        for (file, target) in self.held() {
            // One file stays as it is, until its deadline.
            if file != "i" {
                self.world.intervene(&file, Some(&target), Action::Retry);
            }
        }
        self.rest();
        self.answer_everything();
        self.wait(3_000);
        for file in self.failed() {
            self.world.intervene(&file, None, Action::Resubmit);
        }
        self.rest();
        self.answer_everything();
        self.rest();
    }

    fn failed(&mut self) -> Vec<String> {
        let failed = self.world.states().values().filter(|s| s.state == State::Failed);
        failed.map(|s| s.file_id.to_string()).collect()
    }

    /// Deadlines of files, people who decide about all that is left, and the end of the retention.
    fn time_passes(&mut self) {
        self.wait(31 * 60_000);
        for round in 0..6 {
            for (file, target) in self.held() {
                let action = if round < 4 { Action::Confirm } else { Action::Fail };
                // Nobody can have what was never sent.
                let action = if round % 2 == 1 { Action::Fail } else { action };
                self.world.intervene(&file, Some(&target), action);
            }
            self.rest();
            self.answer_everything();
            self.wait(45_000);
        }
        self.judge("before the retention's end");
        let open = self.world.states().values().filter(|s| s.settled_at.is_none());
        let open: Vec<String> = open.map(|s| format!("{} {:?}", s.file_id, s.next_event)).collect();
        if !open.is_empty() {
            self.violations.push(format!("L1 {open:?} are open at the end"));
        }
        self.wait(self.world.forgets_after_ms());
        self.wait(1_000);
        self.judge("after the retention's end");
    }

    fn judge(&mut self, when: &str) {
        let report = self.world.check(true);
        self.violations.extend(report.violations.iter().map(|v| format!("{when}: {v}")));
    }

    fn end(self) -> ScriptReport {
        let (commits, struck, unnamed) = self.world.aimed.watched_commits();
        let mut violations = self.violations;
        violations.extend(unnamed);
        let hours = self.world.now().millis_since(START) / 3_600_000;
        debug_assert!(hours >= 12, "the script is played to its end");
        ScriptReport { commits, struck, violations }
    }
}
