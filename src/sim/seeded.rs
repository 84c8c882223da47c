//! A run that one seed decides: a stormy part in which anything may go wrong, a calm in which all heals and comes to rest,
//! and the judgement over what is left.

use std::collections::{BTreeMap, BTreeSet};

use super::draws::Draws;
use super::sabotage::Sabotage;
use super::storm::Storm;
use super::story::{Story, digest_of_log};
use super::world::{World, WorldOptions};
use super::{Blow, Point, SIMULATED_DOCUMENT, When};
use crate::engine::Observed;
use crate::log::TopicPartition;
use crate::log::memory::MemoryCluster;
use crate::record::{FileId, FileState, NextEventKind, State, Status, Timestamp, Topic};

/// How large a run is, and what it is for.
#[derive(Debug, Clone, Copy)]
pub struct SeedOptions {
    /// Files that are submitted, at least.
    pub files: u64,
    /// Actions of the storm, at least.
    pub actions: usize,
    /// Faults that strike, at least.
    pub faults: u64,
    /// Whether every record is told of in the trace as it becomes visible. Changes nothing of what happens.
    pub tell: bool,
    /// A fault that is planted.
    pub sabotage: Option<Sabotage>,
}

impl Default for SeedOptions {
    /// What a run of the set is: 200 files, 20 faults, told in few words.
    fn default() -> Self {
        Self { files: 200, actions: 700, faults: 20, tell: false, sabotage: None }
    }
}

/// What one seed led to.
#[derive(Debug, Clone, Default)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// Digest over everything that was done and everything that is on the log: the same seed gives the same.
    pub hash: String,
    /// What went wrong; empty in a good run.
    pub violations: Vec<String>,
    /// The invariants that were found broken, and the files concerned.
    pub broken: BTreeSet<(&'static str, Option<String>)>,
    /// What was seen, by the names of [`crate::verify::Report::counts`], and `fault.…` and `sim.…` beside.
    pub counts: BTreeMap<String, u64>,
    /// What was done, a line each.
    pub trace: Vec<String>,
}

impl SeedReport {
    /// The lines of the trace that name a file, and those that name none and no other.
    pub fn story_of(&self, file_id: &str) -> Vec<&String> {
        let names = |line: &&String| line.split([' ', '/', ':', ',', '~']).any(|word| word == file_id);
        self.trace.iter().filter(names).collect()
    }
}

/// Turns of the calm before a run counts as stuck.
const MAX_CALM_TURNS: usize = 6_000;

/// Turns of the calm after which a person looks for paused targets again.
const LOOK_FOR_PAUSES_EVERY: usize = 300;

/// Where clocks are measured, off by more than this is too much, in milliseconds.
const MAX_SKEW_MS: i64 = 1_000;

/// How often people decide about everything that is HELD before a run counts as stuck.
const MAX_ROUNDS: usize = 12;

/// Codes that only a person ends: a healed run must not show them.
const REFUSED: [&str; 6] = ["CG204", "CG205", "CG211", "CG212", "CG213", "CG209"];

/// Runs a seed: a storm, then the calm.
pub fn run_seed(seed: u64, options: &SeedOptions) -> SeedReport {
    let mut draws = Draws::new(seed);
    let home_partitions = i32::try_from(draws.between(1, 5)).expect("small");
    // Sometimes the inputs have partitions beyond the homes: what stands there is only sent home.
    let beyond = if draws.percent(30) { i32::try_from(draws.between(1, 2)).expect("small") } else { 0 };
    let more_partitions = Topic::HOME_INPUTS.into_iter().map(|topic| (topic, home_partitions + beyond)).collect();
    let world = WorldOptions {
        home_partitions,
        more_partitions,
        acks_partitions: i32::try_from(draws.between(1, 2)).expect("small"),
        max_batch: *draws.one_of(&[3, 20, 500]),
        retention_ms: *draws.one_of(&[20, 60, 360]) * 60_000,
        sabotage: options.sabotage,
        stores_survive: seed % 2 == 1,
        max_clock_skew_ms: (seed % 8 >= 6).then_some(MAX_SKEW_MS),
        // Some have transactions of a few records, so that a file takes several to be forgotten.
        max_batch_bytes: if seed % 16 >= 13 { 2 * 1024 } else { 4 * 1024 * 1024 },
        // Nothing stays in memory that the store has.
        memory_budget: if matches!(seed % 4, 1 | 2) { 0 } else { 64 * 1024 * 1024 },
        ..WorldOptions::new(SIMULATED_DOCUMENT)
    };
    let extras = draws.below(4);
    let mut storm = Storm::new(World::new(world), draws, options.files);
    let mut story = options.tell.then(|| Story::new(&storm.world));
    let mut actions = 0;
    while actions < options.actions || !storm.is_done() || (storm.faults() < options.faults && actions < 10_000) {
        storm.act();
        actions += 1;
        if let Some(story) = &mut story {
            story.go_on(&storm.world, &mut storm.trace);
        }
    }
    let mut run = Run { storm, story, violations: Vec::new(), broken: BTreeSet::new(), counts: BTreeMap::new() };
    run.come_to_an_end("the storm");
    run.judge("after the storm");
    run.count_the_end();
    match extras {
        0 => run.restart_from_compacted_topics(),
        1 => run.outlive_retention(),
        _ => {}
    }
    run.report(seed)
}

struct Run {
    storm: Storm,
    story: Option<Story>,
    violations: Vec<String>,
    broken: BTreeSet<(&'static str, Option<String>)>,
    counts: BTreeMap<String, u64>,
}

impl Run {
    /// The calm, again and again, until people have decided about everything that is HELD.
    fn come_to_an_end(&mut self, after: &str) {
        self.storm.heal();
        for round in 0..MAX_ROUNDS {
            if !self.calm(after) || !self.storm.decide_what_is_held(round) {
                return;
            }
        }
    }

    /// Goes on without faults until nothing moves by itself any more; false if that doesn't end.
    fn calm(&mut self, after: &str) -> bool {
        let mut idle = 0;
        for turn in 1..=MAX_CALM_TURNS {
            // A refusal that was folded beside the first resume may have paused its target again.
            if turn % LOOK_FOR_PAUSES_EVERY == 0 {
                self.storm.resume_everything();
            }
            let world = &mut self.storm.world;
            let before = world.progress();
            let identities: Vec<String> = world.workers.keys().cloned().collect();
            for identity in &identities {
                world.step(identity);
            }
            self.storm.restart_the_stopped();
            self.storm.world.heal_disks();
            let delivered = self.storm.deliver_everything();
            if let Some(story) = &mut self.story {
                story.go_on(&self.storm.world, &mut self.storm.trace);
            }
            idle = if delivered || self.storm.world.progress() != before { 0 } else { idle + 1 };
            if idle < self.storm.world.patience() {
                continue;
            }
            let now = self.storm.world.now();
            // For the registry, the log or a store, or to be measured anew.
            let waits = |code: &str| matches!(code, "CG208" | "CG218" | "CG219" | "CG221");
            let waits = self.storm.world.unwell().iter().any(|u| waits(u.code));
            match next_due(&mut self.storm.world) {
                // What is overdue waits for something by a clock that has been set back since.
                Some(due) => self.storm.world.advance(if due > now { due.millis_since(now) } else { 1_000 }),
                None if waits => self.storm.world.advance(1_000),
                None => return true,
            }
            idle = 0;
        }
        let unwell = self.storm.world.unwell();
        let open = self.storm.world.states().values().filter(|s| !is_terminal(s.state));
        let open: Vec<String> = open.map(|s| format!("{} {:?}", s.file_id, s.next_event)).collect();
        self.broken.insert(("L1", None));
        let cluster = &self.storm.world.cluster;
        let committed = cluster.committed_positions();
        let running: Vec<(String, Vec<i32>)> =
            self.storm.world.workers.iter().map(|(name, worker)| (name.clone(), worker.running())).collect();
        self.storm.say(format!("it never comes to rest: homes {running:?}, committed {committed:?}"));
        self.violations.push(format!("L1 after {after}, it never comes to rest: {unwell:?} {open:?}"));
        false
    }

    fn tell_on(&mut self) {
        if let Some(story) = &mut self.story {
            story.go_on(&self.storm.world, &mut self.storm.trace);
        }
    }

    fn judge(&mut self, when: &str) {
        let report = self.storm.world.check(true);
        for violation in &report.violations {
            self.violations.push(format!("{when}: {violation}"));
            self.broken.insert((violation.invariant, violation.file_id.as_ref().map(ToString::to_string)));
        }
        for (name, count) in report.counts {
            let known = self.counts.entry(name).or_default();
            *known = (*known).max(count);
        }
        for unwell in self.storm.world.unwell() {
            if REFUSED.contains(&unwell.code) {
                self.violations.push(format!("{when}: {}: {}", unwell.code, unwell.text));
            }
        }
        let unread = unread(&self.storm.world.cluster);
        if !unread.is_empty() {
            let unwell = self.storm.world.unwell();
            self.violations.push(format!("{when}: {} are not read to their ends: {unwell:?}", unread.join(", ")));
        }
    }

    /// How the files ended.
    fn count_the_end(&mut self) {
        let states = self.storm.world.states();
        let (all, terminal) = (states.len(), states.values().filter(|s| is_terminal(s.state)).count());
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.counts.insert("end.files".into(), wide(all));
        self.counts.insert("end.terminal".into(), wide(terminal));
    }

    /// Everything must follow from compacted topics alone.
    fn restart_from_compacted_topics(&mut self) {
        self.storm.say("compact everything and restart every worker");
        let before = self.storm.world.states().clone();
        self.storm.compact_everything();
        let identities: Vec<String> = self.storm.world.workers.keys().cloned().collect();
        for identity in identities {
            self.storm.world.crash(&identity);
            self.storm.world.heal_disks();
            self.storm.world.start(&identity);
        }
        self.storm.world.run();
        self.judge("after the restart");
        self.tell_on();
        let after = self.storm.world.states();
        let ids: BTreeSet<&FileId> = before.keys().chain(after.keys()).collect();
        let changed: Vec<String> =
            ids.iter().filter(|id| before.get(**id) != after.get(**id)).map(ToString::to_string).collect();
        if !changed.is_empty() {
            self.violations.push(format!("after the restart: the states of {} changed", changed.join(", ")));
        }
        *self.counts.entry("sim.restored_from_compacted".into()).or_default() += 1;
    }

    fn outlive_retention(&mut self) {
        self.storm.wait_past_memory();
        self.calm("what waited");
        self.judge("after what waited");
        self.storm.say("retention passes");
        let remembered_ms = self.storm.world.forgets_after_ms();
        self.storm.world.advance(remembered_ms + 3_600_000);
        self.calm("the retention");
        self.judge("after the retention");
        let now = self.storm.world.now();
        for state in self.storm.world.states().values().filter(|s| is_terminal(s.state)) {
            if state.settled_at.is_some_and(|at| now.millis_since(at) > remembered_ms) {
                self.violations.push(format!("after the retention: {} is still there", state.file_id));
            }
        }
    }

    fn report(mut self, seed: u64) -> SeedReport {
        for (name, count) in self.storm.world.aimed.struck() {
            self.counts.insert(format!("fault.{name}"), count);
        }
        for observed in self.storm.world.observed() {
            let name = match observed {
                Observed::Restored { .. } => "sim.restored".to_owned(),
                Observed::StoreEmpty { reason, .. } => format!("sim.store.{}", reason.as_str()),
                Observed::Aborted { cause } => format!("sim.aborted.{cause}"),
                Observed::Escalated { .. } => "sim.escalated".to_owned(),
                Observed::Duplicate { what, .. } => format!("sim.duplicate.{what}"),
                Observed::Forgotten { .. } => "sim.forgotten".to_owned(),
                Observed::Paused { .. } => "sim.paused".to_owned(),
                Observed::Report { judgement, .. } => format!("sim.report.{judgement}"),
                Observed::Intervention { action, judgement, .. } => format!("sim.{action}.{judgement}"),
                Observed::Dispatch { held_because: Some(because), .. } => format!("sim.held.{because}"),
                _ => continue,
            };
            *self.counts.entry(name).or_default() += 1;
        }
        for (harm, count) in &self.storm.world.harm {
            self.counts.insert(format!("sim.store_{harm}"), *count);
        }
        for (name, count) in &self.storm.counts {
            self.counts.insert(format!("sim.{name}"), *count);
        }
        self.counts.insert("sim.submitted".into(), self.storm.submitted());
        self.counts.insert("sim.processes".into(), u64::try_from(self.storm.processes()).unwrap_or(0));
        self.counts.insert("sim.faults".into(), self.storm.faults());
        let hash = digest_of_log(&self.storm.world, &self.storm.trace);
        let Self { violations, broken, counts, storm, .. } = self;
        SeedReport { seed, hash, violations, broken, counts, trace: storm.trace }
    }
}

impl SeedReport {
    /// The names of all faults that a set of seeds must show, as they stand in the counts.
    pub fn all_faults() -> Vec<String> {
        let mut names: Vec<String> = super::FAULTS.iter().map(|name| format!("fault.{name}")).collect();
        for blow in [Blow::Kill, Blow::Freeze] {
            for when in When::ALL {
                for point in Point::ALL {
                    names.push(format!("fault.{}.{}.{}", blow.name(), when.name(), point.name()));
                }
            }
        }
        names
    }
}

fn is_terminal(state: State) -> bool {
    matches!(state, State::Completed | State::Failed)
}

/// The time of the next thing that happens by itself, what only escalates left out; `None` when there is none.
fn next_due(world: &mut World) -> Option<Timestamp> {
    let (now, forgets_after_ms) = (world.now(), world.forgets_after_ms());
    let open = |status| !matches!(status, Status::Held | Status::Succeeded | Status::Failed | Status::Cancelled);
    let due = |state: &FileState| {
        if is_terminal(state.state) {
            // One that was spoken of as its memory ended is forgotten once that is written.
            return state.settled_at.map(|at| at.plus_millis(forgets_after_ms)).filter(|at| *at < now);
        }
        let waits = state.dispatches.iter().filter(|d| open(d.status)).filter_map(|d| d.next_event.as_ref());
        let events = waits.chain(state.next_event.iter()).filter(|e| e.what != NextEventKind::Escalation);
        events.map(|e| e.at).min()
    };
    world.states().values().filter_map(due).min()
}

/// Inputs that the group has not read to their ends.
fn unread(cluster: &MemoryCluster) -> Vec<String> {
    let committed = cluster.committed_positions();
    let mut newest: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    for record in Topic::INPUTS.into_iter().flat_map(|topic| cluster.dump(topic)) {
        newest.insert(record.at, record.offset);
    }
    newest.retain(|at, offset| committed.get(at).is_none_or(|at| *at <= *offset));
    newest.keys().map(ToString::to_string).collect()
}
