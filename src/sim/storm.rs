//! The storm: one drawn action after another, by workers, targets, producers, people and fate.

use std::collections::BTreeMap;

use super::draws::Draws;
use super::seeded::{CALM_ACK, calm_answer};
use super::wire::Answer;
use super::world::{World, manifest};
use super::{OTHER_DOCUMENT, SIMULATED_DOCUMENT};
use crate::engine::Worker;
use crate::log::memory::Fault;
use crate::log::{Append, Headers, TopicPartition};
use crate::record::{Action, FileId, Outcome, OutcomeKind, State, Status, Topic};

const FILE_TYPES: [&str; 9] = ["plain", "careful", "acked", "narrow", "wide", "guarded", "brief", "chained", "nowhere"];
const TARGETS: [&str; 8] = ["fast", "strict", "ledger", "lagging", "slim", "locked", "brittle", "last"];
const IDENTITIES: [&str; 3] = ["w0", "w1", "w2"];

/// A confirmation that a target owes.
#[derive(Debug, Clone)]
struct Owed {
    file_id: String,
    target: String,
    attempt: i32,
}

/// What a person sees of a file: its state, and its targets with their statuses.
type Seen = (FileId, State, Vec<(String, Status)>);

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Move {
    Step,
    Advance,
    Submit,
    Spoil,
    Wire,
    Ack,
    Repeat,
    Intervene,
    Pause,
    Aim,
    Land,
    Fence,
    Expire,
    Crash,
    Start,
    Twin,
    Rebalance,
    Compact,
    ExpireTransactions,
    Route,
    ReadsAway,
    RebuildAway,
}

const MOVES: [(usize, Move); 22] = [
    (300, Move::Step),
    (70, Move::Advance),
    (40, Move::Submit),
    (8, Move::Spoil),
    (110, Move::Wire),
    (40, Move::Ack),
    (10, Move::Repeat),
    (25, Move::Intervene),
    (8, Move::Pause),
    (30, Move::Aim),
    (40, Move::Land),
    (2, Move::Fence),
    (4, Move::Expire),
    (8, Move::Crash),
    (20, Move::Start),
    (2, Move::Twin),
    (3, Move::Rebalance),
    (5, Move::Compact),
    (5, Move::ExpireTransactions),
    (2, Move::Route),
    (4, Move::ReadsAway),
    (3, Move::RebuildAway),
];

/// A world in a storm.
pub(super) struct Storm {
    pub world: World,
    pub trace: Vec<String>,
    pub counts: BTreeMap<String, u64>,
    draws: Draws,
    owed: Vec<Owed>,
    /// Reports that were delivered, to be delivered again.
    said: Vec<(i32, Outcome)>,
    asked: Vec<crate::record::Intervention>,
    submitted: u64,
    /// Workers whose identity another one took.
    twins: Vec<Worker>,
    wanted: Vec<&'static str>,
}

impl Storm {
    pub fn new(world: World, mut draws: Draws) -> Self {
        let workers = 1 + draws.below(IDENTITIES.len());
        let mut storm = Self {
            world,
            trace: Vec::new(),
            counts: BTreeMap::new(),
            draws,
            owed: Vec::new(),
            said: Vec::new(),
            asked: Vec::new(),
            submitted: 0,
            twins: Vec::new(),
            wanted: IDENTITIES[..workers].to_vec(),
        };
        storm.restart_the_stopped();
        storm
    }

    pub fn say(&mut self, line: impl AsRef<str>) {
        self.trace.push(format!("{:>9} {}", self.world.now().millis_since(super::START), line.as_ref()));
    }

    fn count(&mut self, name: &str) {
        *self.counts.entry(name.to_owned()).or_default() += 1;
    }

    /// One action.
    pub fn act(&mut self) {
        match self.draws.weighted(&MOVES) {
            Move::Step => self.step(),
            Move::Advance => self.advance(),
            Move::Submit => self.submit(),
            Move::Spoil => self.spoil(),
            Move::Wire => self.wire(),
            Move::Ack => self.ack(),
            Move::Repeat => self.repeat(),
            Move::Intervene => self.intervene(),
            Move::Pause => self.pause(),
            Move::Aim => self.aim(),
            Move::Land => self.land(),
            Move::Compact => self.compact(),
            Move::Route => self.route(),
            other => self.strike(other),
        }
    }

    fn worker(&mut self) -> &'static str {
        self.draws.one_of::<&'static str>(&self.wanted)
    }

    fn step(&mut self) {
        if let Some(twin) = self.twins.last_mut() {
            let now = self.world.now();
            if twin.step(std::time::Duration::ZERO, &|| now).is_err() {
                self.twins.pop();
                self.say("a twin ends");
            }
        }
        let identity = self.worker();
        let before = (self.world.progress(), self.world.stops.len());
        self.world.step(identity);
        let after = (self.world.progress(), self.world.stops.len());
        if after != before {
            let news: Vec<String> =
                self.world.observed().iter().skip(before.0.observed).map(|o| format!("{o:?}")).collect();
            self.say(format!("{identity} steps: {}", news.join(", ")));
        }
        for (who, stop) in self.world.stops.iter().skip(before.1).cloned().collect::<Vec<_>>() {
            self.say(format!("{who} ends: {stop}"));
            self.count("stopped");
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

    fn submit(&mut self) {
        if self.submitted > 30 {
            return;
        }
        self.submitted += 1;
        let file_type = *self.draws.one_of(&FILE_TYPES);
        let file = manifest(&format!("f{}", self.submitted), file_type);
        self.say(format!("submit {} ({file_type})", file.file_id));
        self.world.submit(&file);
    }

    /// Input that must change nothing, or die.
    fn spoil(&mut self) {
        let number = self.draws.below(usize::try_from(self.submitted).unwrap_or(0) + 1);
        let id = format!("f{number}");
        let partitions = self.world.verify_options(false).home_partitions;
        let anywhere = i32::try_from(self.draws.below(usize::try_from(partitions).unwrap_or(1))).expect("few");
        let file_type = *self.draws.one_of(&FILE_TYPES);
        let twice = manifest(&id, file_type);
        let bytes = self.world.encode(Topic::Manifests, &twice);
        let topic = *self.draws.one_of(&Topic::INPUTS);
        let place = TopicPartition { topic, partition: if topic == Topic::Acks { 0 } else { anywhere } };
        match self.draws.below(5) {
            0 => drop(self.world.append(Topic::Manifests, anywhere, &id, Some(bytes))),
            1 => self.world.submit(&twice),
            2 => drop(self.world.cluster.put(place, Some(id.clone().into_bytes()), None, Headers::new())),
            3 => {
                let garbage = Some(vec![0, 0, 0, 0, 99, 1, 2, 3]);
                drop(self.world.cluster.put(place, None, garbage, Headers::new()));
            }
            _ => {
                let ack = self.world.ack("never-heard-of", "fast", OutcomeKind::Succeeded);
                self.world.acknowledge(&ack);
            }
        }
        self.count("spoilt");
        self.say(format!("spoil {place} with {id}"));
    }

    fn wire(&mut self) {
        let parcels = self.world.on_the_wire();
        if parcels.is_empty() {
            return;
        }
        let (number, key) = self.draws.one_of(&parcels).clone();
        let has_left = self.world.wire.lock().parcels.get(&number).is_some_and(|p| p.left_at.is_some());
        if !has_left {
            let left = self.world.leave(number);
            return self.say(format!("{key} {}", if left { "leaves" } else { "is dropped unsent" }));
        }
        if self.draws.percent(10) {
            self.count("response_lost");
            self.say(format!("the answer to {key} is lost for good"));
            if let Some(parcel) = self.world.wire.lock().parcels.remove(&number) {
                parcel.end();
            }
            return;
        }
        let answer = self.drawn_answer(&key);
        self.conclude(number, &key, answer);
    }

    fn drawn_answer(&mut self, key: &str) -> Answer {
        let target = key.split('/').nth(1).unwrap_or_default();
        let good = calm_answer(target);
        let share = match target {
            "strict" => [50, 25, 15, 5, 5],
            "locked" => [30, 5, 5, 5, 55],
            "brittle" => [30, 25, 35, 10, 0],
            _ => [65, 15, 12, 5, 3],
        };
        let wait = self.draws.percent(30).then(|| self.draws.between(500, 20_000));
        self.draws.weighted(&[
            (share[0], good),
            (share[1], Answer::Unknown),
            (share[2], Answer::Retryable(wait)),
            (share[3], Answer::Rejected),
            (share[4], Answer::Refused),
        ])
    }

    fn conclude(&mut self, number: u64, key: &str, answer: Answer) {
        self.say(format!("{key} is answered {answer:?}"));
        let Some((home, outcome)) = self.world.report(number, answer) else { return };
        if answer == Answer::Accepted {
            let (file_id, target) = (outcome.file_id.to_string(), outcome.target.to_string());
            self.owed.push(Owed { file_id, target, attempt: outcome.attempt.unwrap_or(1) });
        }
        self.said.push((home, outcome));
    }

    fn ack(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        let owed = self.owed[self.draws.below(self.owed.len())].clone();
        let kind = self.draws.weighted(&[
            (60, OutcomeKind::Succeeded),
            (15, OutcomeKind::Accepted),
            (8, OutcomeKind::Rejected),
            (8, OutcomeKind::Retryable),
            (5, OutcomeKind::Duplicate),
        ]);
        let mut ack = self.world.ack(&owed.file_id, &owed.target, kind);
        ack.attempt = self.draws.percent(70).then_some(owed.attempt);
        if self.draws.percent(8) {
            ack.ack_token = self.draws.percent(50).then(|| "k1.d3Jvbmc".to_owned());
        }
        self.say(format!("{}/{} acks {kind}", owed.file_id, owed.target));
        if self.draws.percent(40) {
            self.count("transactional_acks");
            let late_markers = self.draws.percent(60);
            let fault = if self.draws.percent(10) {
                Fault::Abort { late_markers }
            } else {
                Fault::Commit { reply_lost: false, late_markers }
            };
            self.world.aimed.transaction("target", fault);
            let appends: Vec<Append> = vec![self.world.ack_append(&ack)];
            drop(self.world.cluster.transact_as("target", appends));
        } else {
            self.world.acknowledge(&ack);
        }
    }

    /// A report that was delivered comes again, late and out of order.
    fn repeat(&mut self) {
        if self.said.is_empty() {
            return;
        }
        let (home, mut outcome) = self.said[self.draws.below(self.said.len())].clone();
        if self.draws.percent(30) {
            outcome.kind = *self.draws.one_of(&[OutcomeKind::Succeeded, OutcomeKind::Rejected]);
        }
        self.count("repeated_reports");
        self.say(format!("{}/{} is reported again: {}", outcome.file_id, outcome.target, outcome.kind));
        self.world.append_outcome(home, &outcome);
    }

    fn intervene(&mut self) {
        if self.draws.percent(10) && !self.asked.is_empty() {
            let again = self.asked[self.draws.below(self.asked.len())].clone();
            self.say(format!("{} is asked again", again.intervention_id));
            return self.world.ask(&again);
        }
        let open: Vec<Seen> = self
            .world
            .states()
            .values()
            .map(|s| {
                (s.file_id.clone(), s.state, s.dispatches.iter().map(|d| (d.target.to_string(), d.status)).collect())
            })
            .collect();
        if open.is_empty() {
            return;
        }
        let held: Vec<(String, String)> = open
            .iter()
            .flat_map(|(id, _, dispatches)| {
                let held = dispatches.iter().filter(|(_, status)| *status == Status::Held);
                held.map(|(target, _)| (id.to_string(), target.clone()))
            })
            .collect();
        let (file_id, state, dispatches) = self.draws.one_of(&open).clone();
        let (file_id, target, action) = if !held.is_empty() && self.draws.percent(70) {
            let (file_id, target) = self.draws.one_of(&held).clone();
            let action = self.draws.weighted(&[(60, Action::Retry), (20, Action::Confirm), (15, Action::Fail)]);
            (file_id, Some(target), action)
        } else if state == State::Failed {
            (file_id.to_string(), None, Action::Resubmit)
        } else if dispatches.is_empty() || self.draws.percent(15) {
            (file_id.to_string(), None, Action::Cancel)
        } else {
            let (target, _) = self.draws.one_of(&dispatches).clone();
            let action = *self.draws.one_of(&[Action::Retry, Action::Confirm, Action::Fail]);
            (file_id.to_string(), Some(target), action)
        };
        let mut asked = self.world.asked(&file_id, target.as_deref(), action);
        asked.resend_unknown = self.draws.percent(50);
        if self.draws.percent(10) {
            asked.seen_version = asked.seen_version.map(|v| v - 1);
        }
        self.say(format!("{action} {file_id} {} ({})", target.unwrap_or_default(), asked.intervention_id));
        self.world.ask(&asked);
        self.asked.push(asked);
    }

    fn pause(&mut self) {
        let target = *self.draws.one_of(&TARGETS);
        let paused = self.draws.percent(35);
        let done = self.world.pause(target, paused);
        self.say(format!("{} {target}: {done:?}", if paused { "pause" } else { "resume" }));
    }

    fn route(&mut self) {
        let document = if self.draws.percent(40) { OTHER_DOCUMENT } else { SIMULATED_DOCUMENT };
        let done = self.world.apply_routing(document);
        self.count("routing_switched");
        self.say(format!("another routing document: {done:?}"));
    }

    fn aim(&mut self) {
        let identity = self.worker();
        let late_markers = self.draws.percent(50);
        let fault = self.draws.weighted(&[
            (20, Fault::Away),
            (25, Fault::Abort { late_markers }),
            (15, Fault::LeftOpen),
            (20, Fault::Commit { reply_lost: true, late_markers }),
            (30, Fault::Commit { reply_lost: false, late_markers: true }),
        ]);
        self.say(format!("aim {fault:?} at {identity}"));
        self.world.aimed.transaction(identity, fault);
    }

    fn land(&mut self) {
        let pending = self.world.cluster.pending_markers();
        if !pending.is_empty() {
            let marker = *self.draws.one_of(&pending);
            self.world.cluster.land_marker(marker);
            self.count("markers_landed_late");
        }
    }

    fn compact(&mut self) {
        let topic = *self.draws.one_of(&Topic::RESTORED);
        let partitions = self.world.verify_options(false).home_partitions;
        for partition in 0..partitions {
            self.world.cluster.compact(TopicPartition { topic, partition }, false).expect("it exists");
        }
        self.count("compacted");
        self.say(format!("compact {}", topic.base_name()));
    }

    /// What fate does to workers.
    fn strike(&mut self, what: Move) {
        let identity = self.worker();
        let name = match what {
            Move::Fence => {
                self.world.cluster.fence_producer(identity);
                "fenced"
            }
            Move::Expire => {
                self.world.cluster.expire(identity);
                "expired"
            }
            Move::Crash => {
                self.note_open_attempts();
                self.world.crash(identity);
                "crashed"
            }
            Move::Start => return self.restart_the_stopped(),
            Move::Twin => {
                self.note_open_attempts();
                self.twins.extend(self.world.start(identity));
                "twin"
            }
            Move::Rebalance => {
                self.world.cluster.rebalance();
                "rebalanced"
            }
            Move::ExpireTransactions => {
                self.world.cluster.expire_transactions();
                "transactions_expired"
            }
            Move::ReadsAway => {
                self.world.aimed.reads(identity, 3);
                "reads_aimed"
            }
            Move::RebuildAway => {
                self.world.aimed.rebuilds(identity, 2);
                self.world.aimed.transaction(identity, Fault::LeftOpen);
                "rebuild_away_aimed"
            }
            other => unreachable!("{other:?} is handled by its own function"),
        };
        self.count(name);
        self.say(format!("{name}: {identity}"));
    }

    fn note_open_attempts(&mut self) {
        let open = self.world.states().values().flat_map(|s| &s.dispatches).any(|d| d.status == Status::InFlight);
        if open {
            self.count("ended_with_open_attempts");
        }
    }

    /// Starts every worker that should be there and isn't.
    pub fn restart_the_stopped(&mut self) {
        for identity in self.wanted.clone() {
            if !self.world.workers.contains_key(identity) {
                self.world.start(identity);
                self.say(format!("{identity} starts"));
            }
        }
    }

    /// All faults end, everything late lands, everyone is there and nothing is paused.
    pub fn heal(&mut self) {
        self.say("heal");
        self.twins.clear();
        self.world.aimed.clear();
        self.world.cluster.expire_transactions();
        self.world.cluster.land_markers();
        self.restart_the_stopped();
        self.resume_everything();
    }

    /// A person ends every pause.
    pub fn resume_everything(&mut self) {
        for target in TARGETS {
            self.world.pause(target, false).expect("nothing is aimed");
        }
    }

    /// Every request leaves and is answered well, and every confirmation that is owed comes; false if there was none.
    pub fn deliver_everything(&mut self) -> bool {
        let parcels = self.world.on_the_wire();
        let any = !parcels.is_empty() || !self.owed.is_empty();
        for (number, key) in parcels {
            if self.world.leave(number) {
                let answer = calm_answer(key.split('/').nth(1).unwrap_or_default());
                self.conclude(number, &key, answer);
            }
        }
        for owed in std::mem::take(&mut self.owed) {
            let ack = self.world.ack(&owed.file_id, &owed.target, CALM_ACK);
            self.world.acknowledge(&ack);
        }
        any
    }

    /// Compacts every topic that is compacted, tombstones and markers included.
    pub fn compact_everything(&mut self) {
        let partitions = self.world.verify_options(false).home_partitions;
        for topic in Topic::RESTORED {
            for partition in 0..partitions {
                self.world.cluster.compact(TopicPartition { topic, partition }, true).expect("it exists");
            }
        }
        let controls = TopicPartition { topic: Topic::Controls, partition: 0 };
        self.world.cluster.compact(controls, false).expect("it exists");
    }
}
