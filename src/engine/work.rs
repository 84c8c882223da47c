//! The middle of a turn: fold, commit, act; and what follows when the log says no.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::batch::{Batch, Draft, Order, Written};
use super::clock::is_time;
use super::forgetting::Tombstoned;
use super::home::TimerMark;
use super::intake::Unfit;
use super::observed::Observed;
use super::records::delivered;
use super::worker::{FAILURES_BEFORE_PAUSE, PAUSE_SCAN_MS, Place, Stalled, Worker};
use super::{Stop, Unwell};
use crate::log::{AbortCause, Append, LogError, Position, Record, TargetRecord, TopicPartition};
use crate::record::{Control, FileId, PlannedDispatch, TargetName, Timestamp, Topic};
use crate::store::StoreError;
use crate::transport::Dispatch;

/// How long an input waits before the registry is asked again, in milliseconds.
const STALL_MS: i64 = 1_000;

/// How often positions of idle inputs are committed that moved past markers, in milliseconds.
const IDLE_COMMIT_MS: i64 = 600_000;

/// How long a broken invariant over what is due in a home is remembered, in milliseconds.
const FAILURE_MEMORY_MS: i64 = 60_000;

/// A producer fenced twice within this time has a rival that won't go away, in milliseconds.
const FENCED_TWICE_MS: i64 = 60_000;

/// What a batch decided, free of the worker that it was decided over.
struct Decided {
    drafts: BTreeMap<FileId, Draft>,
    appends: Vec<Append>,
    positions: BTreeMap<TopicPartition, i64>,
    orders: Vec<Order>,
    written: Vec<Written>,
    unasked: BTreeMap<String, BTreeSet<TargetName>>,
    appended: Vec<(i32, FileId, TimerMark)>,
    parked: Vec<(i32, FileId, TimerMark)>,
    roused: Vec<(i32, FileId)>,
    tombstoned: Vec<(i32, FileId, Tombstoned)>,
    cleared: Vec<(i32, usize)>,
    observed: Vec<Observed>,
    controls: Vec<Control>,
    stalled: BTreeMap<TopicPartition, (&'static str, String)>,
    /// Some of the records are left for the next batch.
    cut_short: bool,
    plans: BTreeMap<(FileId, TargetName), (i32, Arc<PlannedDispatch>)>,
    /// A home whose store failed.
    store_failed: Option<(i32, StoreError)>,
    /// Some of what is due is.
    more_is_due: bool,
}

/// What is being decided, for when an invariant breaks: a record, or what is due in a home without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deciding {
    Record(TopicPartition, i64),
    Home(i32),
}

impl Worker {
    /// Folds records and what is due, commits, acts.
    pub(super) fn work(&mut self, records: &[Record], now: Timestamp) -> Result<(), LogError> {
        self.more_is_due = false;
        if let Some(all) = self.controls.home_partitions() {
            self.capacity.share(self.running().len(), usize::try_from(all).unwrap_or(0));
        }
        self.commit_first_positions()?;
        self.advance_gate(now)?;
        let mut current = None;
        let decided = catch_unwind(AssertUnwindSafe(|| self.decide(records, now, &mut current)));
        let Ok(mut decided) = decided else {
            self.count_failure(current, now);
            return Err(self.abort(AbortCause::Invariant, "an invariant broke while a record was folded"));
        };
        if let Some(failed) = decided.store_failed.take() {
            self.stores_failed(vec![failed]);
            return Err(self.abort(AbortCause::Store, "a store failed while a batch was decided"));
        }
        self.add_positions(&mut decided, records, now)?;
        if !decided.appends.is_empty() || !decided.positions.is_empty() {
            let positions: Vec<Position> = decided.positions.iter().map(|(tp, at)| (*tp, *at)).collect();
            assert!(!positions.is_empty(), "every transaction commits the position of an owned partition");
            let appends = std::mem::take(&mut decided.appends);
            let written: Vec<TargetRecord> = decided.written.iter().map(|written| written.record.clone()).collect();
            let records = appends.len() + written.len();
            let next = match self.transact(appends, written, &positions) {
                Err(error) => return Err(self.drop_decided(decided, error, now)),
                Ok(next) => next,
            };
            self.note_committed(&next, now);
            (self.observe)(&Observed::Committed { records });
        }
        self.act(decided, now)
    }

    /// Nothing of it happened, as far as this worker knows. What a topic of targets is to blame for isn't tried again at
    /// once.
    fn drop_decided(&mut self, decided: Decided, error: LogError, now: Timestamp) -> LogError {
        if let LogError::TargetTopic { topic, text } = &error {
            let targets: BTreeSet<TargetName> =
                decided.written.iter().filter(|w| w.record.topic == *topic).map(|w| w.target.clone()).collect();
            drop(decided);
            self.topic_refuses(topic, text, targets, now);
        }
        error
    }

    /// One transaction on the log; one that doesn't happen is counted by its cause.
    pub(super) fn transact(
        &mut self,
        appends: Vec<Append>,
        records: Vec<TargetRecord>,
        positions: &[Position],
    ) -> Result<Vec<Position>, LogError> {
        let done = self.log.transact_with(appends, records, positions);
        if let Some(cause) = done.as_ref().err().and_then(LogError::abort_cause) {
            (self.observe)(&Observed::Aborted { cause });
        }
        done
    }

    /// What was decided is dropped before the log hears of it.
    fn abort(&mut self, cause: AbortCause, text: &str) -> LogError {
        (self.observe)(&Observed::Aborted { cause });
        LogError::aborted(cause, text)
    }

    fn decide(&self, records: &[Record], now: Timestamp, current: &mut Option<Deciding>) -> Decided {
        let mut batch = Batch::new(self, now);
        let mut stalled: BTreeMap<TopicPartition, (&'static str, String)> = BTreeMap::new();
        let mut cut_short = false;
        for home in self.running() {
            *current = Some(Deciding::Home(home));
            batch.clear_leftovers(home);
        }
        for record in records {
            if stalled.contains_key(&record.at) {
                continue;
            }
            if batch.is_full() {
                cut_short = true;
                break;
            }
            *current = Some(Deciding::Record(record.at, record.offset));
            let folded = match record.at.topic {
                Topic::Manifests => batch.manifest(record),
                Topic::Interventions => batch.intervention(record),
                Topic::Outcomes => batch.outcome(record),
                Topic::Acks => batch.ack(record),
                other => unreachable!("{} is no input", other.base_name()),
            };
            match folded {
                Ok(()) => {}
                Err(Unfit::Dead(reason, detail)) => batch.dead_letter(record, reason, &detail),
                Err(Unfit::Wait(code, text)) => {
                    stalled.insert(record.at, (code, text));
                    continue;
                }
            }
            batch.positions.insert(record.at, record.offset + 1);
        }
        let max = self.options.max_batch;
        for home in self.homes_in_turn() {
            *current = Some(Deciding::Home(home));
            batch.wake(home, max);
            // What has waited longest goes first; what this batch made due takes what capacity is left.
            batch.authorize_waiting(home, max);
            if self.is_time_to_scan_pauses(now) {
                batch.escalate_paused(home);
            }
        }
        batch.authorize_drafts(max, current);
        batch.finish(current);
        Decided {
            drafts: batch.drafts,
            appends: batch.appends,
            positions: batch.positions,
            orders: batch.orders,
            written: batch.written,
            unasked: batch.unasked,
            appended: batch.appended,
            parked: batch.parked,
            roused: batch.roused,
            tombstoned: batch.tombstoned,
            cleared: batch.cleared,
            observed: batch.observed,
            controls: batch.controls,
            more_is_due: batch.is_cut,
            plans: batch.plans,
            store_failed: batch.store_failed,
            stalled,
            cut_short,
        }
    }

    /// The homes at work, each first in its turn: capacity that is short goes to all of them.
    pub(super) fn homes_in_turn(&self) -> Vec<i32> {
        let mut homes = self.running();
        let first = self.turns.checked_rem(homes.len()).unwrap_or(0);
        homes.rotate_left(first);
        homes
    }

    pub(super) fn is_time_to_scan_pauses(&self, now: Timestamp) -> bool {
        is_time(self.next_pause_scan, PAUSE_SCAN_MS, now)
    }

    fn is_time_for_idle_commit(&self, now: Timestamp) -> bool {
        is_time(self.next_idle_commit, IDLE_COMMIT_MS, now)
    }

    /// Commits the positions of inputs that never had one, by themselves: were they part of a transaction with records
    /// and that were aborted, a home would hold records without offsets, as if its offsets had been lost.
    pub(super) fn commit_first_positions(&mut self) -> Result<(), LogError> {
        let first: Vec<Position> =
            self.uncommitted.iter().filter_map(|tp| Some((*tp, *self.positions.get(tp)?))).collect();
        if !first.is_empty() {
            self.transact(Vec::new(), Vec::new(), &first)?;
            self.uncommitted.retain(|tp| !first.iter().any(|(committed, _)| committed == tp));
            (self.observe)(&Observed::Committed { records: 0 });
        }
        Ok(())
    }

    /// Adds the positions that no record brought: those of idle inputs that moved past markers, and one of the home that
    /// a batch of timers alone is about. Acks go at once, because deadlines may wait for them; the others go along, or
    /// now and then: once the records before a marker are deleted, a position before it would look like a loss.
    fn add_positions(&mut self, decided: &mut Decided, records: &[Record], now: Timestamp) -> Result<(), LogError> {
        let commits = !decided.appends.is_empty() || !decided.positions.is_empty() || self.is_time_for_idle_commit(now);
        let idle: Vec<TopicPartition> = self
            .positions
            .keys()
            .filter(|tp| tp.topic == Topic::Acks || (commits && self.running_home(tp.partition).is_some()))
            .filter(|tp| !self.stalled.contains_key(tp) && !self.broken.contains_key(tp))
            .filter(|tp| !decided.stalled.contains_key(tp) && !records.iter().any(|r| r.at == **tp))
            .copied()
            .collect();
        for (tp, at) in idle.iter().zip(self.log.positions(&idle)?) {
            if let Some(at) = at.filter(|at| *at > self.positions[tp]) {
                decided.positions.entry(*tp).or_insert(at);
            }
        }
        if decided.positions.is_empty() && !decided.appends.is_empty() {
            let home = *self.running().first().expect("only a running home has timers");
            let tp = TopicPartition { topic: Topic::Outcomes, partition: home };
            decided.positions.insert(tp, self.positions[&tp]);
        }
        Ok(())
    }

    /// The commit stands: the homes take in what was decided, requests leave, and the shell is told.
    fn act(&mut self, decided: Decided, now: Timestamp) -> Result<(), LogError> {
        self.positions.extend(decided.positions);
        // What an invariant broke over counts until it is passed: the records around it commit all the while.
        let positions = &self.positions;
        self.failures.retain(|deciding, (_, last)| match deciding {
            Deciding::Record(tp, offset) => positions.get(tp).is_some_and(|at| at <= offset),
            Deciding::Home(_) => now.millis_since(*last) < FAILURE_MEMORY_MS,
        });
        self.turns = self.turns.wrapping_add(1);
        self.more_is_due = decided.more_is_due;
        self.rewind |= decided.cut_short;
        for control in decided.controls {
            self.controls.apply(&control.name.clone(), Some(control));
        }
        if self.is_time_for_idle_commit(now) {
            self.next_idle_commit = now.plus_millis(IDLE_COMMIT_MS);
        }
        if self.is_time_to_scan_pauses(now) {
            self.next_pause_scan = now.plus_millis(PAUSE_SCAN_MS);
        }
        for (home, plan) in decided.plans.into_values() {
            self.running_home_mut(home).keeping.note_plan(plan);
        }
        for draft in decided.drafts.into_values() {
            let seq = draft.history_seq();
            self.running_home_mut(draft.home).put(draft.file, seq, now);
        }
        for (home, id, mark) in decided.appended {
            self.running_home_mut(home).mark_appended(&id, vec![mark], now);
        }
        for (home, id, mark) in decided.parked {
            self.running_home_mut(home).park(&id, vec![mark], now);
        }
        for (home, id) in decided.roused {
            self.running_home_mut(home).rouse(&id, now);
        }
        for (home, id, done) in decided.tombstoned {
            let home = self.running_home_mut(home);
            match done {
                Tombstoned::UpTo(keys) => home.note_tombstoned(&id, keys),
                Tombstoned::Whole => home.remove(&id),
            }
        }
        for (home, count) in decided.cleared {
            self.running_home_mut(home).note_cleared(count);
        }
        for Order { home, plan, attempt, fetch, permit } in decided.orders {
            self.transport.send(Dispatch { plan, attempt, home, fetch, permit });
        }
        delivered(decided.written, now);
        self.ask_topics(decided.unasked, now);
        for observed in &decided.observed {
            (self.observe)(observed);
        }
        for (tp, (code, text)) in decided.stalled {
            let text = format!("{tp} waits: {text}");
            self.unwell.push(Unwell::new(code, text.as_str()));
            self.stalled.insert(tp, Stalled { until: now.plus_millis(STALL_MS), code, text });
            self.log.pause(&[tp])?;
        }
        Ok(())
    }

    /// Tries the inputs again that waited for the registry.
    pub(super) fn resume_stalled(&mut self, now: Timestamp) -> Result<(), LogError> {
        let again: Vec<TopicPartition> =
            self.stalled.iter().filter(|(_, s)| is_time(s.until, STALL_MS, now)).map(|(tp, _)| *tp).collect();
        for tp in again {
            self.log.start(&[(tp, self.positions[&tp])])?;
            self.stalled.remove(&tp);
        }
        let waiting = self.stalled.values().map(|s| Unwell::new(s.code, s.text.as_str()));
        self.unwell.extend(waiting);
        Ok(())
    }

    /// Whether a record is the work of this worker: of a started partition, and not read before.
    pub(super) fn is_wanted(&self, record: &Record) -> bool {
        let is_next = self.positions.get(&record.at).is_some_and(|at| record.offset >= *at);
        let is_homeless = record.at.topic == Topic::Acks || record.at.partition >= self.home_partitions();
        is_next
            && !self.stalled.contains_key(&record.at)
            && !self.broken.contains_key(&record.at)
            && (is_homeless || self.running_home(record.at.partition).is_some())
    }

    fn advance_gate(&mut self, now: Timestamp) -> Result<(), LogError> {
        let Some(first) = self.homes().filter_map(|(_, home)| home.first_parked()).min() else {
            self.gate.rest();
            return Ok(());
        };
        let advanced = match self.gate.advance(self.log.as_mut(), first, now) {
            // The ends of acks can't be had: deadlines wait for that, the rest doesn't.
            Err(LogError::Away(_)) => false,
            advanced => advanced?,
        };
        if advanced {
            let read_until = self.gate.read_until();
            for home in self.running() {
                self.running_home_mut(home).unpark(read_until, now);
            }
        }
        Ok(())
    }

    /// Counts a broken invariant against what was being decided; after a few its partition is left alone.
    fn count_failure(&mut self, deciding: Option<Deciding>, now: Timestamp) {
        let Some(deciding) = deciding else { return };
        let (failures, last) = self.failures.entry(deciding).or_insert((0, now));
        (*failures, *last) = (*failures + 1, now);
        if *failures < FAILURES_BEFORE_PAUSE {
            return;
        }
        let (at, home) = match deciding {
            Deciding::Record(tp, offset) => {
                let is_home = Topic::HOME_INPUTS.contains(&tp.topic) && tp.partition < self.home_partitions();
                let at = format!("an invariant breaks at {tp}, offset {offset}; the log has the message");
                (at, if is_home { Ok(tp.partition) } else { Err(tp) })
            }
            Deciding::Home(home) => ("an invariant breaks by what is due; the log has the message".into(), Ok(home)),
        };
        match home {
            Ok(home) => drop(self.places.insert(home, Place::Refused("CG213", at))),
            Err(tp) => drop(self.broken.insert(tp, Unwell::new("CG213", at))),
        }
    }

    /// Does what a failure of the log asks for.
    pub(super) fn recover(&mut self, error: LogError, now: Timestamp) -> Result<(), Stop> {
        let identity = self.options.identity.clone();
        if !matches!(error, LogError::TargetTopic { .. }) {
            self.unwell.push(Unwell::new("CG214", error.to_string()));
        }
        match error {
            LogError::Away(_) | LogError::Aborted(_) | LogError::TargetTopic { .. } => {
                self.rewind = true;
                Ok(())
            }
            LogError::Undecided(_) | LogError::Displaced(_) | LogError::Stuck(_) => self.begin_anew(),
            LogError::ProducerFenced(text) => {
                if self.fenced_at.is_some_and(|at| now.millis_since(at) < FENCED_TWICE_MS) {
                    return Err(Stop::ProducerFenced { identity, text });
                }
                self.fenced_at = Some(now);
                self.begin_anew()
            }
            LogError::InstanceFenced(text) => Err(Stop::InstanceFenced { identity, text }),
            LogError::OutOfRange(positions) => {
                self.stop_out_of_range(&positions);
                Ok(())
            }
            LogError::Fatal(text) | LogError::TooLong(text) => Err(Stop::LogRefused(text)),
        }
    }

    /// Reads every input again from where its last commit left it.
    pub(super) fn rewind_if_needed(&mut self) -> Result<(), LogError> {
        if self.rewind {
            let positions: Vec<Position> = self
                .positions
                .iter()
                .filter(|(tp, _)| !self.stalled.contains_key(tp) && !self.broken.contains_key(tp))
                .map(|(tp, at)| (*tp, *at))
                .collect();
            self.log.start(&positions)?;
            self.rewind = false;
        }
        Ok(())
    }

    /// Forgets everything and begins anew from what the log holds.
    fn begin_anew(&mut self) -> Result<(), Stop> {
        self.places.clear();
        self.assigned.clear();
        self.positions.clear();
        self.uncommitted.clear();
        self.stalled.clear();
        self.broken.clear();
        self.controls_reader = None;
        self.controls_pending.clear();
        self.gate = super::gate::AcksGate::default();
        self.more_is_due = false;
        self.rewind = false;
        self.rebuild_is_due = true;
        self.rebuild_if_due()
    }

    /// Rebuilds the connection, again and again while the log is away.
    pub(super) fn rebuild_if_due(&mut self) -> Result<(), Stop> {
        if !self.rebuild_is_due {
            return Ok(());
        }
        match self.log.rebuild() {
            Ok(()) => self.rebuild_is_due = false,
            Err(LogError::InstanceFenced(text)) => {
                return Err(Stop::InstanceFenced { identity: self.options.identity.clone(), text });
            }
            Err(LogError::Fatal(text)) => {
                return Err(Stop::LogRefused(format!("the connection can't be rebuilt: {text}")));
            }
            Err(error) => self.unwell.push(Unwell::new("CG214", format!("the connection is being rebuilt: {error}"))),
        }
        Ok(())
    }
}
