//! A run that one seed decides: a stormy part in which anything may go wrong, a calm in which all heals and comes to rest,
//! and the judgement over what is left.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::draws::Draws;
use super::storm::Storm;
use super::world::{World, WorldOptions};
use super::{Answer, SIMULATED_DOCUMENT};
use crate::engine::Observed;
use crate::log::TopicPartition;
use crate::log::memory::MemoryCluster;
use crate::record::{NextEventKind, OutcomeKind, State, Status, Timestamp, Topic};
use crate::routing::sha256_digest;

/// What one seed led to.
#[derive(Debug, Clone, Default)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// Digest over everything that was done and everything that is on the log: the same seed gives the same.
    pub hash: String,
    /// What went wrong; empty in a good run.
    pub violations: Vec<String>,
    /// What was seen, by the names of [`crate::verify::Report::counts`], and `fault.…` and `sim.…` beside.
    pub counts: BTreeMap<String, u64>,
    /// What was done, a line each.
    pub trace: Vec<String>,
}

/// Turns of the calm before a run counts as stuck.
const MAX_CALM_TURNS: usize = 4_000;

/// Turns of the calm after which a person looks for paused targets again.
const LOOK_FOR_PAUSES_EVERY: usize = 500;

/// Codes that only a person ends: a healed run must not show them.
const REFUSED: [&str; 6] = ["CG204", "CG205", "CG211", "CG212", "CG213", "CG209"];

/// Runs a seed: about `actions` actions of storm, then the calm.
pub fn run_seed(seed: u64, actions: usize) -> SeedReport {
    let mut draws = Draws::new(seed);
    let options = WorldOptions {
        home_partitions: i32::try_from(draws.between(1, 3)).expect("small"),
        acks_partitions: i32::try_from(draws.between(1, 2)).expect("small"),
        max_batch: *draws.one_of(&[2, 7, 500]),
        stores_survive: seed % 2 == 1,
        // Nothing stays in memory that the store has.
        memory_budget: if matches!(seed % 4, 1 | 2) { 0 } else { 64 * 1024 * 1024 },
        ..WorldOptions::new(SIMULATED_DOCUMENT)
    };
    let mut storm = Storm::new(World::new(options), draws);
    for _ in 0..actions {
        storm.act();
    }
    let mut run = Run { storm, violations: Vec::new(), counts: BTreeMap::new() };
    run.calm("the storm");
    run.judge("after the storm");
    run.restart_from_compacted_topics();
    run.outlive_retention();
    run.report(seed)
}

struct Run {
    storm: Storm,
    violations: Vec<String>,
    counts: BTreeMap<String, u64>,
}

impl Run {
    /// Ends all faults and goes on until nothing moves by itself any more.
    fn calm(&mut self, after: &str) {
        self.storm.heal();
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
            let delivered = self.storm.deliver_everything();
            idle = if delivered || self.storm.world.progress() != before { 0 } else { idle + 1 };
            if idle < self.storm.world.patience() {
                continue;
            }
            match next_due(&mut self.storm.world) {
                Some(due) => {
                    let ahead = due.millis_since(self.storm.world.now());
                    self.storm.world.advance(if ahead > 0 { ahead } else { 60 });
                    idle = 0;
                }
                None => return,
            }
        }
        let unwell = self.storm.world.unwell();
        let open: Vec<String> = self
            .storm
            .world
            .states()
            .values()
            .filter(|s| !matches!(s.state, State::Completed | State::Failed))
            .map(|s| format!("{} {:?}", s.file_id, s.next_event))
            .collect();
        self.violations.push(format!("after {after}, it never comes to rest: {unwell:?} {open:?}"));
    }

    fn judge(&mut self, when: &str) {
        let report = self.storm.world.check(true);
        self.violations.extend(report.violations.iter().map(|v| format!("{when}: {v}")));
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
            self.violations.push(format!("{when}: {} are not read to their ends", unread.join(", ")));
        }
    }

    /// Everything must follow from compacted topics alone.
    fn restart_from_compacted_topics(&mut self) {
        self.storm.say("compact everything and restart every worker");
        let before = self.storm.world.states().clone();
        self.storm.compact_everything();
        let identities: Vec<String> = self.storm.world.workers.keys().cloned().collect();
        for identity in identities {
            self.storm.world.crash(&identity);
            self.storm.world.start(&identity);
        }
        self.storm.world.run();
        self.judge("after the restart");
        if *self.storm.world.states() != before {
            self.violations.push("after the restart: the states changed".to_owned());
        }
    }

    fn outlive_retention(&mut self) {
        self.storm.say("retention passes");
        let hours = 7 * 3_600_000;
        self.storm.world.advance(hours);
        self.calm("the retention");
        self.judge("after the retention");
        let settled = |state| matches!(state, State::Completed | State::Failed);
        let now = self.storm.world.now();
        let retention_ms = self.storm.world.verify_options(true).retention_ms;
        for state in self.storm.world.states().values().filter(|s| settled(s.state)) {
            if state.settled_at.is_some_and(|at| now.millis_since(at) > retention_ms) {
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
                Observed::Duplicate { what } => format!("sim.duplicate.{what}"),
                Observed::Forgotten { .. } => "sim.forgotten".to_owned(),
                Observed::Report { judgement, .. } => format!("sim.report.{judgement}"),
                Observed::Intervention { action, judgement, .. } => format!("sim.{action}.{judgement}"),
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
        let mut all = self.storm.trace.join("\n");
        for record in self.storm.world.dump() {
            let value = sha256_digest(record.value.as_deref().unwrap_or_default());
            let (at, offset, timestamp, key) = (record.at, record.offset, record.timestamp.0, record.key);
            let _ = write!(all, "\n{at} {offset} {timestamp} {key:?} {value}");
        }
        let (violations, counts, trace) = (self.violations, self.counts, self.storm.trace);
        SeedReport { seed, hash: sha256_digest(all.as_bytes()), violations, counts, trace }
    }
}

/// The time of the next thing that happens by itself, what only escalates left out; `None` when there is none.
fn next_due(world: &mut World) -> Option<Timestamp> {
    let open = |status| !matches!(status, Status::Held | Status::Succeeded | Status::Failed | Status::Cancelled);
    world
        .states()
        .values()
        .filter(|state| !matches!(state.state, State::Completed | State::Failed))
        .flat_map(|state| {
            let waits = state.dispatches.iter().filter(|d| open(d.status)).filter_map(|d| d.next_event.as_ref());
            waits.chain(state.next_event.iter()).filter(|e| e.what != NextEventKind::Escalation).map(|e| e.at)
        })
        .min()
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

/// What a target answers in the calm.
pub(super) fn calm_answer(target: &str) -> Answer {
    if matches!(target, "ledger" | "lagging") { Answer::Accepted } else { Answer::Succeeded }
}

/// How a target acknowledges in the calm.
pub(super) const CALM_ACK: OutcomeKind = OutcomeKind::Succeeded;
