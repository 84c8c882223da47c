//! The storm: one drawn action after another, by workers, targets, producers, people and fate.
//!
//! - `producers`: files, repeats, conflicts, poison.
//! - `targets`: requests that leave and answers of every temper; confirmations and reports, forged ones too.
//! - `people`: interventions, pauses, routing documents; and the patience that ends every HELD in the calm.
//! - `fate`: what happens to processes, clocks, the log and the registry.

mod fate;
mod people;
mod producers;
mod targets;

use std::collections::BTreeMap;

use super::draws::Draws;
use super::world::World;
use crate::log::TopicPartition;
use crate::record::{Outcome, Topic};

pub(super) const FILE_TYPES: [&str; 13] = [
    "plain", "careful", "acked", "narrow", "wide", "guarded", "brief", "chained", "nowhere", "fetched", "checked",
    "booked", "proven",
];
pub(super) const TARGETS: [&str; 11] =
    ["fast", "strict", "ledger", "lagging", "slim", "locked", "brittle", "last", "booked", "sworn", "stamped"];
const IDENTITIES: [&str; 5] = ["w0", "w1", "w2", "w3", "w4"];

/// Every fault that a storm knows, by its name in counts: over a set of seeds each must have struck. Those of the points at
/// which a process ends or stands still are in [`super::Point`].
pub const FAULTS: [&str; 62] = [
    "aborted",
    "aborted_late",
    "ack_late_markers",
    "away",
    "backlog_past_memory",
    "clock_beyond_skew",
    "clock_jump",
    "clock_skew",
    "committed_late",
    "compacted",
    "crashed",
    "duplicate_manifest",
    "conflicting_manifest",
    "misplaced_manifest",
    "over_large_plan",
    "reused_file_id",
    "expired_member",
    "fenced",
    "forged_attempt",
    "forged_reporter",
    "forged_timer",
    "forged_token",
    "handed_over_on_the_wire",
    "inbox_deleted",
    "intervention_repeated",
    "intervention_stale",
    "markers_landed_late",
    "offsets_lost",
    "poison_bad_magic",
    "poison_long_value",
    "poison_null_key",
    "poison_tombstone",
    "poison_truncated",
    "poison_unknown_id",
    "poison_unknown_file",
    "read_away",
    "reader_away",
    "rebalanced",
    "receipt_missing",
    "receipt_of_something_else",
    "rebuild_away",
    "registry_away",
    "report_delayed",
    "report_repeated",
    "report_contradicting",
    "routing_switched",
    "stopped",
    "target_paused",
    "temper_accepted_confirmed_twice",
    "temper_accepted_never_confirmed",
    "temper_bad_gateway",
    "temper_gone",
    "temper_rejected",
    "temper_reset",
    "temper_response_lost",
    "temper_retry_after",
    "temper_slow",
    "temper_unauthorized",
    "topic_fails_unseen",
    "topic_missing",
    "transactions_expired",
    "twin",
];

/// A confirmation that a target owes.
#[derive(Debug, Clone)]
struct Owed {
    file_id: String,
    target: String,
    attempt: i32,
}

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Move {
    Step,
    Advance,
    Submit,
    Spoil,
    Wire,
    Report,
    Ack,
    Forge,
    Intervene,
    Pause,
    Route,
    Aim,
    Blow,
    Thaw,
    Land,
    Compact,
    Start,
    Strike,
}

const MOVES: [(usize, Move); 18] = [
    (300, Move::Step),
    (60, Move::Advance),
    (40, Move::Submit),
    (12, Move::Spoil),
    (110, Move::Wire),
    (25, Move::Report),
    (40, Move::Ack),
    (10, Move::Forge),
    (30, Move::Intervene),
    (7, Move::Pause),
    (2, Move::Route),
    (14, Move::Aim),
    (6, Move::Blow),
    (8, Move::Thaw),
    (40, Move::Land),
    (9, Move::Compact),
    (25, Move::Start),
    (9, Move::Strike),
];

/// A world in a storm.
pub(super) struct Storm {
    pub world: World,
    pub trace: Vec<String>,
    draws: Draws,
    files: u64,
    owed: Vec<Owed>,
    /// Reports that are on their way to the log.
    delayed: Vec<(i32, Outcome)>,
    /// Reports that were delivered, to be delivered again.
    said: Vec<(i32, Outcome)>,
    asked: Vec<crate::record::Intervention>,
    submitted: u64,
    wanted: Vec<&'static str>,
    /// Whether clocks may be off by more than the plans allow for.
    wild_clocks: bool,
    pub counts: BTreeMap<String, u64>,
}

impl Storm {
    /// A storm over so many files at least.
    pub fn new(world: World, mut draws: Draws, files: u64) -> Self {
        let workers = 3 + draws.below(IDENTITIES.len() - 2);
        let mut storm = Self {
            world,
            trace: Vec::new(),
            files: files + u64::try_from(draws.below(20)).unwrap_or(0),
            wild_clocks: draws.percent(40),
            draws,
            owed: Vec::new(),
            delayed: Vec::new(),
            said: Vec::new(),
            asked: Vec::new(),
            submitted: 0,
            wanted: IDENTITIES[..workers].to_vec(),
            counts: BTreeMap::new(),
        };
        for identity in storm.wanted.clone() {
            let ahead = storm.draws.between(-400, 400);
            storm.world.skew(identity, ahead);
        }
        storm.restart_the_stopped();
        storm
    }

    pub fn say(&mut self, line: impl AsRef<str>) {
        self.trace.push(format!("{:>9} {}", self.world.now().millis_since(super::START), line.as_ref()));
    }

    /// Counts a fault that has struck.
    fn fault(&self, name: &str) {
        self.world.aimed.count(name);
    }

    fn count(&mut self, name: &str) {
        *self.counts.entry(name.to_owned()).or_default() += 1;
    }

    /// Files that were submitted.
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Processes that there should be.
    pub fn processes(&self) -> usize {
        self.wanted.len()
    }

    /// Faults that have struck so far.
    pub fn faults(&self) -> u64 {
        self.world.aimed.struck().values().sum()
    }

    /// Whether all files that belong to it are submitted.
    pub fn is_done(&self) -> bool {
        self.submitted >= self.files
    }

    /// One action.
    pub fn act(&mut self) {
        match self.draws.weighted(&MOVES) {
            Move::Step => self.step(),
            Move::Advance => self.advance(),
            Move::Submit => self.submit(),
            Move::Spoil => self.spoil(),
            Move::Wire => self.wire(),
            Move::Report => self.deliver_a_report(),
            Move::Ack => self.ack(),
            Move::Forge => self.forge(),
            Move::Intervene => self.intervene(),
            Move::Pause => self.pause(),
            Move::Route => self.route(),
            Move::Aim => self.aim(),
            Move::Blow => self.aim_a_blow(),
            Move::Thaw => self.thaw(),
            Move::Land => self.land(),
            Move::Compact => self.compact(),
            Move::Start => self.restart_the_stopped(),
            Move::Strike => self.strike(),
        }
    }

    fn worker(&mut self) -> &'static str {
        self.draws.one_of::<&'static str>(&self.wanted)
    }

    fn partitions(&self) -> i32 {
        self.world.verify_options(false).home_partitions
    }

    fn anywhere(&mut self) -> i32 {
        let partitions = usize::try_from(self.partitions()).unwrap_or(1);
        i32::try_from(self.draws.below(partitions)).expect("few")
    }

    /// A few turns of one worker, and one of a process that lost its identity.
    fn step(&mut self) {
        self.world.step_other();
        let identity = self.worker();
        for _ in 0..=self.draws.below(3) {
            let before = (self.world.observed_so_far(), self.world.stops.len());
            self.world.step(identity);
            let observed = self.world.observed_so_far() - before.0;
            if observed > 0 {
                self.say(format!("{identity} steps: {observed} things happen"));
            }
            for (who, stop) in self.world.stops.iter().skip(before.1).cloned().collect::<Vec<_>>() {
                self.say(format!("{who} ends: {stop}"));
                self.count("ended");
            }
        }
    }

    fn advance(&mut self) {
        let millis = match self.draws.below(20) {
            0..=9 => self.draws.between(1, 100),
            10..=15 => self.draws.between(200, 3_000),
            16..=18 => self.draws.between(5_000, 40_000),
            _ => self.draws.between(60_000, 600_000),
        };
        self.world.advance(millis);
    }

    /// Starts every worker that should be there, isn't, and isn't standing still either.
    pub fn restart_the_stopped(&mut self) {
        let frozen = self.world.frozen();
        for identity in self.wanted.clone() {
            let is_frozen = frozen.iter().any(|f| f == identity);
            if !is_frozen && !self.world.workers.contains_key(identity) {
                self.world.start(identity);
                self.say(format!("{identity} starts"));
            }
        }
    }

    /// Compacts every topic that is compacted, markers included; tombstones too, where none is left that says that a file
    /// was forgotten lately.
    pub fn compact_everything(&mut self) {
        let is_tombstone = |r: &crate::log::Record| r.value.is_none();
        let forgotten = Topic::RESTORED.iter().any(|topic| self.world.cluster.dump(*topic).iter().any(is_tombstone));
        for topic in Topic::RESTORED {
            for partition in 0..self.partitions() {
                self.world.cluster.compact(TopicPartition { topic, partition }, !forgotten).expect("it exists");
            }
        }
        let controls = TopicPartition { topic: Topic::Controls, partition: 0 };
        self.world.cluster.compact(controls, false).expect("it exists");
    }
}
