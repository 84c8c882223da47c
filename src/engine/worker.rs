//! One worker: a loop of poll, fold, commit, act, driven from one thread by [`Worker::step`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::clock::ClockCheck;
use super::gate::AcksGate;
use super::home::Home;
use super::observed::Observed;
use super::restore::Restore;
use super::work::Deciding;
use super::{Stop, Unwell, WorkerOptions};
use crate::log::{Log, LogError, Reader, Record, TopicPartition};
use crate::record::{Codec, Control, Controls, DecodeError, Timestamp, Topic};
use crate::routing::{self, Document, Rate, Sources};
use crate::store::Unusable;
use crate::transport::{AckTokens, Capacity, Transport};

/// Times that one record may break an invariant before its partition is left alone.
pub(super) const FAILURES_BEFORE_PAUSE: u32 = 3;

/// How often what waits under a pause is looked at, in milliseconds.
pub(super) const PAUSE_SCAN_MS: i64 = 1_000;

/// How long a poll waits at most before `controls` is read to its end.
const NOT_READY_WAIT: Duration = Duration::from_millis(10);

/// Polls of `controls` in one turn, at most.
const CONTROLS_POLLS: usize = 64;

/// How long a restore waits at most for its next records.
const RESTORE_WAIT: Duration = Duration::from_millis(20);

/// Where a home partition stands with this worker.
pub(super) enum Place {
    /// Assigned; the restore begins at the next step.
    Assigned,
    /// Being restored.
    Restoring(Box<Restore>),
    /// At work.
    Running(Box<Home>),
    /// Left alone until a person has looked.
    Refused(&'static str, String),
}

/// An input that waits.
pub(super) struct Stalled {
    /// When to try again.
    pub until: Timestamp,
    /// Under which code.
    pub code: &'static str,
    /// What for.
    pub text: String,
}

/// One worker of the engine.
pub struct Worker {
    pub(super) options: WorkerOptions,
    pub(super) codec: Arc<Codec>,
    pub(super) tokens: Arc<AckTokens>,
    pub(super) capacity: Capacity,
    pub(super) controls: Controls,
    pub(super) routing: Option<Arc<Document>>,
    /// Why the document in force can't be loaded: meanwhile nothing is planned.
    pub(super) routing_refused: Option<String>,
    /// Controls whose newest record can't be read, by name.
    pub(super) controls_unreadable: BTreeMap<String, String>,
    pub(super) log: Box<dyn Log>,
    pub(super) transport: Box<dyn Transport>,
    pub(super) observe: Box<dyn FnMut(&Observed) + Send>,
    pub(super) controls_reader: Option<Box<dyn Reader>>,
    /// Controls that were read and wait for the registry, the first and those after it.
    pub(super) controls_pending: VecDeque<Record>,
    pub(super) assigned: BTreeSet<TopicPartition>,
    pub(super) places: BTreeMap<i32, Place>,
    /// Where each started input goes on: the offset after its last committed record.
    pub(super) positions: BTreeMap<TopicPartition, i64>,
    /// Positions that no transaction has committed yet.
    pub(super) uncommitted: BTreeSet<TopicPartition>,
    /// Inputs whose next record waits, for the registry as a rule.
    pub(super) stalled: BTreeMap<TopicPartition, Stalled>,
    /// Inputs without a home that can't go on, left alone until a person has looked.
    pub(super) broken: BTreeMap<TopicPartition, Unwell>,
    /// How often an invariant broke, and when last, by what was being decided.
    pub(super) failures: BTreeMap<Deciding, (u32, Timestamp)>,
    pub(super) gate: AcksGate,
    pub(super) clock: ClockCheck,
    pub(super) fenced_at: Option<Timestamp>,
    pub(super) next_pause_scan: Timestamp,
    pub(super) next_idle_commit: Timestamp,
    /// Turns of work: the home that is served first changes with it.
    pub(super) turns: usize,
    /// Whether the last batch was full before all that was due was in it.
    pub(super) more_is_due: bool,
    /// Stores that can't be used, until their partitions begin without them.
    pub(super) stores_lost: BTreeMap<i32, Unusable>,
    /// Records that the last step of the restores brought.
    pub(super) restored_lately: u64,
    /// When a restore last began or brought a record.
    pub(super) restored_at: Timestamp,
    /// Stores that another worker has open, since when.
    pub(super) stores_busy: BTreeMap<i32, Timestamp>,
    /// Reads of committed offsets at the beginning of inputs that gave no answer, one after the other.
    pub(super) unanswered: u32,
    pub(super) unwell: Vec<Unwell>,
    /// Whether the inputs must be read again from their last commit.
    pub(super) rewind: bool,
    /// Whether the connection must be rebuilt before anything else.
    pub(super) rebuild_is_due: bool,
    /// Topics that take records of targets in this worker's transactions, as far as is known.
    pub(super) topics_taking: BTreeSet<String>,
}

impl Worker {
    /// Nothing is read before the first step. `observe` is told what each commit did, after it.
    pub fn new(
        options: WorkerOptions,
        log: Box<dyn Log>,
        transport: Box<dyn Transport>,
        codec: Arc<Codec>,
        tokens: Arc<AckTokens>,
        observe: Box<dyn FnMut(&Observed) + Send>,
    ) -> Self {
        let clock = ClockCheck::new(&options.identity, options.max_clock_skew_ms);
        Self {
            options,
            clock,
            codec,
            tokens,
            capacity: Capacity::default(),
            controls: Controls::default(),
            routing: None,
            routing_refused: None,
            controls_unreadable: BTreeMap::new(),
            log,
            transport,
            observe,
            controls_reader: None,
            controls_pending: VecDeque::new(),
            assigned: BTreeSet::new(),
            places: BTreeMap::new(),
            positions: BTreeMap::new(),
            uncommitted: BTreeSet::new(),
            stalled: BTreeMap::new(),
            broken: BTreeMap::new(),
            failures: BTreeMap::new(),
            gate: AcksGate::default(),
            fenced_at: None,
            next_pause_scan: Timestamp(0),
            next_idle_commit: Timestamp(0),
            turns: 0,
            more_is_due: false,
            stores_lost: BTreeMap::new(),
            restored_lately: 0,
            restored_at: Timestamp(0),
            stores_busy: BTreeMap::new(),
            unanswered: 0,
            unwell: Vec::new(),
            rewind: false,
            rebuild_is_due: false,
            topics_taking: BTreeSet::new(),
        }
    }

    /// One turn of the loop: waits up to `wait` for input, then decides, commits and acts. `now` is read by the caller
    /// after the last turn; inputs that arrive during the wait are judged at `clock()`.
    pub fn step(&mut self, wait: Duration, clock: &dyn Fn() -> Timestamp) -> Result<(), Stop> {
        self.unwell.clear();
        self.rebuild_if_due()?;
        if self.rebuild_is_due {
            return Ok(());
        }
        match self.turn(wait, clock) {
            Ok(()) => Ok(()),
            Err(error) => self.recover(error, clock()),
        }
    }

    /// What keeps this worker from its work; empty when nothing does.
    pub fn unwell(&self) -> Vec<Unwell> {
        let mut reasons = self.unwell.clone();
        reasons.extend(self.broken.values().cloned());
        reasons.extend(self.clock.unwell());
        reasons.extend(self.routing_refused.iter().map(|text| Unwell::new("CG209", text.as_str())));
        reasons.extend(self.controls_unreadable.values().map(|text| Unwell::new("CG204", text.as_str())));
        reasons.extend(self.gate.unwell());
        for (partition, place) in &self.places {
            match place {
                Place::Running(_) => {}
                Place::Assigned => reasons.push(Unwell::new("CG206", format!("partition {partition} waits"))),
                Place::Restoring(restore) => {
                    let (read, to_goal) = restore.progress();
                    let text = format!("partition {partition} is being restored: {read} of {to_goal} records");
                    reasons.push(Unwell::new("CG206", text));
                }
                Place::Refused(code, text) => reasons.push(Unwell::new(code, format!("partition {partition}: {text}"))),
            }
        }
        reasons
    }

    /// The home partitions at work.
    pub fn running(&self) -> Vec<i32> {
        self.places.iter().filter(|(_, p)| matches!(p, Place::Running(_))).map(|(p, _)| *p).collect()
    }

    /// How long the log has given no answer.
    pub fn silence(&self) -> Duration {
        self.log.silence()
    }

    /// Lets go of the homes, once their stores have what the last commits changed. Not after a panic: what is in memory
    /// then may be half of a change.
    pub fn leave_homes(&mut self, now: Timestamp) {
        for partition in self.running() {
            self.leave(partition, now);
        }
    }

    /// Leaves the group. The transport is the caller's to stop.
    pub fn close(&mut self) {
        self.log.close();
    }

    pub(super) fn running_home(&self, partition: i32) -> Option<&Home> {
        match self.places.get(&partition) {
            Some(Place::Running(home)) => Some(home),
            _ => None,
        }
    }

    pub(super) fn home_partitions(&self) -> i32 {
        self.controls.home_partitions().expect("nothing is folded before `controls` is read")
    }

    pub(super) fn acks_read_until(&self) -> Timestamp {
        self.gate.read_until()
    }

    pub(super) fn running_home_mut(&mut self, partition: i32) -> &mut Home {
        match self.places.get_mut(&partition) {
            Some(Place::Running(home)) => home,
            _ => unreachable!("nothing is decided over a home that isn't running"),
        }
    }

    fn turn(&mut self, wait: Duration, clock: &dyn Fn() -> Timestamp) -> Result<(), LogError> {
        self.rewind_if_needed()?;
        let ready = self.read_controls()?;
        let patience = if ready { self.patience(wait, clock()) } else { wait.min(NOT_READY_WAIT) };
        let batch = self.log.poll(self.options.max_poll, patience)?;
        let now = clock();
        for change in batch.changes {
            self.reassign(change, now);
        }
        if !ready {
            // What was read meanwhile is read again.
            self.rewind |= !batch.records.is_empty();
            self.unwell.push(Unwell::new("CG207", "`controls` isn't read to its end, or names no routing document"));
            return Ok(());
        }
        // Before homes come to work: what was polled of their inputs until then is handed out again.
        let mut records: Vec<Record> = batch.records.into_iter().filter(|r| self.is_wanted(r)).collect();
        self.start_what_is_assigned()?;
        self.restore_step(now, wait.min(RESTORE_WAIT))?;
        self.resume_stalled(now)?;
        self.check_clock(clock)?;
        if !self.clock.is_trusted() {
            // What was read meanwhile is read again.
            self.rewind |= !records.is_empty();
            return Ok(());
        }
        self.observe_breakers();
        self.fetch(&mut records, now);
        self.work(&records, now)?;
        self.keep(now);
        Ok(())
    }

    fn observe_breakers(&mut self) {
        for (target, is_open) in self.capacity.breakers_changed() {
            (self.observe)(&Observed::Breaker { target, is_open });
        }
    }

    pub(super) fn read_controls(&mut self) -> Result<bool, LogError> {
        if let Err(e) = self.codec.prepare() {
            self.unwell.push(Unwell::new("CG208", e.to_string()));
            return Ok(false);
        }
        let reader = match &mut self.controls_reader {
            Some(reader) => reader,
            none => none.insert(self.log.reader(&[TopicPartition { topic: Topic::Controls, partition: 0 }])?),
        };
        // All that is there: a refusal that is folded before a resume that stands on the log would pause the target anew.
        for _ in 0..CONTROLS_POLLS {
            let records = reader.poll(self.options.max_batch, Duration::ZERO)?;
            if records.is_empty() {
                break;
            }
            self.controls_pending.extend(records);
        }
        let at_goal = reader.at_goal();
        while let Some(record) = self.controls_pending.pop_front() {
            if let Err(text) = self.apply_control(&record) {
                self.controls_pending.push_front(record);
                self.unwell.push(Unwell::new("CG208", text));
                return Ok(false);
            }
        }
        Ok(at_goal && self.controls.home_partitions().is_some() && self.routing.is_some())
    }

    /// Obeys one control from here on. The error says what it waits for.
    fn apply_control(&mut self, record: &Record) -> Result<(), String> {
        let Some(name) = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok()).map(str::to_owned) else {
            return Ok(());
        };
        if let Some(measured) = self.clock.read_back(record) {
            (self.observe)(&measured);
            return Ok(());
        }
        let control = match record.value.as_deref().map(|v| self.codec.decode::<Control>(v)).transpose() {
            Ok(control) => control,
            Err(DecodeError::RegistryAway(e)) => return Err(format!("{} waits: {e}", record.at)),
            Err(DecodeError::Poison(e)) => {
                self.controls_unreadable.insert(name, format!("{} at offset {}: {e}", record.at, record.offset));
                return Ok(());
            }
        };
        self.controls_unreadable.remove(&name);
        self.controls.apply(&name, control);
        self.switch_routing();
        Ok(())
    }

    /// Takes the routing document that is in force, for files that arrive from now on.
    fn switch_routing(&mut self) {
        let Some(active) = self.controls.active() else { return };
        if self.routing.as_ref().is_some_and(|d| d.digest() == active.routing_digest) {
            self.routing_refused = None;
            return;
        }
        let Some(bundle) = self.controls.routing(&active.routing_digest) else {
            self.routing_refused = Some(format!("the routing document {} isn't there", active.routing_digest));
            return;
        };
        let Ok(loaded) = routing::load(&Sources::from(bundle)) else {
            let text = format!("the routing document {} can't be loaded by this version", active.routing_digest);
            self.routing_refused = Some(text);
            return;
        };
        self.routing_refused = None;
        let targets = loaded.document.targets();
        for target in &targets {
            self.capacity.limit(&target.name, target.concurrency, target.rate.map(Rate::period));
        }
        let digest = active.routing_digest.clone();
        let targets = targets.into_iter().map(|target| target.name).collect();
        (self.observe)(&Observed::Routing { digest, targets });
        self.routing = Some(Arc::new(loaded.document));
    }

    /// How long the poll may wait: not past the next thing that is due.
    fn patience(&self, wait: Duration, now: Timestamp) -> Duration {
        let busy = self.places.values().any(|p| matches!(p, Place::Assigned | Place::Restoring(_)));
        if busy || self.more_is_due {
            return Duration::ZERO;
        }
        if !self.clock.is_trusted() {
            // Nothing is decided, whatever is due.
            return wait;
        }
        let next = self.homes().filter_map(|(_, home)| home.next_wake()).min();
        let until = next.map_or(wait, |at| Duration::from_millis(u64::try_from(at.millis_since(now)).unwrap_or(0)));
        wait.min(until)
    }

    pub(super) fn homes(&self) -> impl Iterator<Item = (i32, &Home)> {
        self.places.iter().filter_map(|(p, place)| match place {
            Place::Running(home) => Some((*p, home.as_ref())),
            _ => None,
        })
    }
}
