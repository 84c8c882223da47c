//! Which partitions are this worker's, and how a home partition comes to work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::home::{BEFORE_ALL, Home};
use super::keeping::Keeping;
use super::observed::Observed;
use super::restore::{Restore, RestoreError, Restored};
use super::worker::{Place, Worker};
use super::{Unwell, forgets_after_ms};
use crate::log::{AssignmentChange, Ends, Isolation, LogError, Position, TopicPartition};
use crate::record::{FileId, Timestamp, Topic};
use crate::store::{Busy, Identity, PartitionStore, Reason, Stores, Unusable};

/// How long another worker may take to let go of a store, in milliseconds.
const STORE_BUSY_MS: i64 = 30_000;

/// How long the committed offsets are waited for at first.
const FIRST_PATIENCE: Duration = Duration::from_millis(250);

/// Homes of a worker that are restored at a time if they have much to read: each holds what its reader fetches ahead, and
/// more of them are no sooner done.
const LARGE_AT_ONCE: usize = 2;

/// Records that are still to be read by the restores under way, from which on another waits.
const MUCH_TO_READ: i64 = 20_000;

/// How long those under way may bring nothing before another begins beside them, in milliseconds: they may wait for what
/// only they need.
const RESTORES_STAND_MS: i64 = 500;

/// Roughly what a record takes in memory that was read by a restore.
const RECORD_BYTES: usize = 4 * 1024;

/// How often this is doubled while no answer comes, at most: it may be the log that is slow.
const MOST_DOUBLINGS: u32 = 4;

impl Worker {
    pub(super) fn reassign(&mut self, change: AssignmentChange, now: Timestamp) {
        match change {
            AssignmentChange::Assigned(partitions) => self.assigned.extend(partitions),
            AssignmentChange::Revoked(partitions) => {
                for partition in partitions {
                    self.assigned.remove(&partition);
                    self.positions.remove(&partition);
                    self.uncommitted.remove(&partition);
                    self.stalled.remove(&partition);
                    self.broken.remove(&partition);
                    if Topic::HOME_INPUTS.contains(&partition.topic) {
                        self.leave(partition.partition, now);
                    }
                }
            }
        }
    }

    /// Lets go of a home, with its store as it stands on the log.
    pub(super) fn leave(&mut self, partition: i32, now: Timestamp) {
        self.stores_lost.remove(&partition);
        self.stores_busy.remove(&partition);
        let Some(Place::Running(mut home)) = self.places.remove(&partition) else { return };
        if !home.keeping.is_proven() {
            home.into_store().abandon();
        } else if let Err(error) = home.close(now) {
            // What isn't written is read from the log again, by whoever owns the partition next.
            let (reason, text) = (error.reason, error.text);
            (self.observe)(&Observed::StoreFailed { partition, reason, text });
            home.into_store().abandon();
        }
    }

    /// Begins the restore of homes that are whole, and the delivery of inputs that have no home.
    pub(super) fn start_what_is_assigned(&mut self) -> Result<(), LogError> {
        let home_partitions = self.home_partitions();
        let assigned: Vec<TopicPartition> = self
            .assigned
            .iter()
            .filter(|tp| !self.positions.contains_key(tp) && !self.broken.contains_key(tp))
            .copied()
            .collect();
        for tp in assigned {
            let is_home = Topic::HOME_INPUTS.contains(&tp.topic) && tp.partition < home_partitions;
            if !is_home {
                match self.start_homeless(tp) {
                    // Another worker's commit may still be landing there; what is whole goes on.
                    Err(LogError::Away(text)) => {
                        self.unwell.push(Unwell::new("CG206", format!("{tp} can't begin yet: {text}")));
                    }
                    started => started?,
                }
            } else if !self.places.contains_key(&tp.partition) {
                let whole = Topic::HOME_INPUTS
                    .iter()
                    .all(|topic| self.assigned.contains(&TopicPartition { topic: *topic, partition: tp.partition }));
                if whole {
                    self.places.insert(tp.partition, Place::Assigned);
                } else {
                    let text = format!("{tp} is assigned without the other inputs of its home");
                    self.unwell.push(Unwell::new("CG210", text));
                }
            }
        }
        Ok(())
    }

    /// Acks and partitions beyond the homes: everything on them is only sent home, so reading too much is harmless.
    /// Reading too little isn't: an ack that was deleted unread may have been the one that a deadline waits for.
    fn start_homeless(&mut self, tp: TopicPartition) -> Result<(), LogError> {
        let ends = self.log.ends(&[tp], Isolation::ReadUncommitted)?[0];
        let committed = self.committed_soon(&[tp])?[0];
        let at = committed.unwrap_or(ends.low);
        if let Some(text) = misplaced(tp, at, ends) {
            self.broken.insert(tp, Unwell::new("CG212", text));
            return Ok(());
        }
        self.log.start(&[(tp, at)])?;
        self.positions.insert(tp, at);
        if committed.is_none() {
            self.uncommitted.insert(tp);
        }
        Ok(())
    }

    /// The committed offsets, waited for so long that the homes at work go on meanwhile: a transaction of another worker,
    /// one that was killed even, may hold these for as long as it is open.
    fn committed_soon(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let answered =
            self.log.committed_within(partitions, FIRST_PATIENCE * (1 << self.unanswered.min(MOST_DOUBLINGS)));
        self.unanswered = if matches!(answered, Err(LogError::Away(_))) { self.unanswered + 1 } else { 0 };
        answered
    }

    /// Stops what can't go on where it was; everything else goes on.
    pub(super) fn stop_out_of_range(&mut self, positions: &[Position]) {
        let mut stopped = Vec::new();
        for (tp, at) in positions {
            let text = format!("{tp} has nothing at {at}, where it was to go on: unread records were deleted");
            if Topic::HOME_INPUTS.contains(&tp.topic) && tp.partition < self.home_partitions() {
                self.places.insert(tp.partition, Place::Refused("CG212", text));
                let inputs = Topic::HOME_INPUTS.map(|topic| TopicPartition { topic, partition: tp.partition });
                stopped.extend(inputs);
            } else {
                self.broken.insert(*tp, Unwell::new("CG212", text));
                stopped.push(*tp);
            }
        }
        for tp in &stopped {
            self.positions.remove(tp);
            self.stalled.remove(tp);
        }
        // What fails here comes again with the next poll.
        if let Err(error) = self.log.pause(&stopped) {
            self.unwell.push(Unwell::new("CG214", error.to_string()));
        }
        self.rewind = true;
    }

    pub(super) fn restore_step(&mut self, now: Timestamp, wait: Duration) -> Result<(), LogError> {
        self.begin_restores(now)?;
        let codec = Arc::clone(&self.codec);
        let (mut at_goal, mut lost) = (Vec::new(), Vec::new());
        // One that has nothing to read must not keep the others from theirs.
        let mut restoring = self.places.values().filter(|place| matches!(place, Place::Restoring(_)));
        let is_alone = restoring.next().is_some() && restoring.next().is_none();
        let may_wait = is_alone || self.restored_lately == 0;
        self.restored_lately = 0;
        // What was read is in memory until its home is whole: large homes come one after the other.
        let mut held = 0;
        for (partition, place) in &mut self.places {
            let Place::Restoring(restore) = place else { continue };
            if held > self.options.memory_budget {
                continue;
            }
            let (read, wait) =
                (restore.records, if may_wait && self.restored_lately == 0 { wait } else { Duration::ZERO });
            let stepped = restore.step(&codec, self.options.max_batch, wait, now);
            self.restored_lately += restore.records - read;
            if restore.records > read {
                self.restored_at = now;
                held += usize::try_from(restore.records).unwrap_or(usize::MAX).saturating_mul(RECORD_BYTES);
            }
            match stepped {
                Ok(false) => {}
                Ok(true) => at_goal.push(*partition),
                Err(RestoreError::Refused(code, text)) => *place = Place::Refused(code, text),
                Err(RestoreError::Log(error)) => return Err(error),
                Err(RestoreError::Wait(code, text)) => self.unwell.push(Unwell::new(code, text)),
                Err(RestoreError::Store(unusable)) => lost.push((*partition, unusable)),
            }
        }
        for (partition, unusable) in lost {
            self.lose_store(partition, unusable);
        }
        at_goal.into_iter().try_for_each(|partition| self.finish_restore(partition, now))
    }

    /// Begins to restore homes: all whose records are few, and of the others no more at a time than there is use for.
    fn begin_restores(&mut self, now: Timestamp) -> Result<(), LogError> {
        let under_way = self.places.values().filter_map(|place| match place {
            Place::Restoring(restore) => Some(restore.left()),
            _ => None,
        });
        let (mut count, mut left) = under_way.fold((0, 0), |(count, left), more| (count + 1, left + more));
        let waiting: Vec<i32> =
            self.places.iter().filter(|(_, p)| matches!(p, Place::Assigned)).map(|(p, _)| *p).collect();
        for partition in waiting {
            let stand = !(0..RESTORES_STAND_MS).contains(&now.millis_since(self.restored_at));
            if count >= LARGE_AT_ONCE && left >= MUCH_TO_READ && !stand {
                break;
            }
            let place = match self.begin_restore(partition, now) {
                Ok(restore) => {
                    (count, left, self.restored_at) = (count + 1, left + restore.left(), now);
                    Place::Restoring(Box::new(restore))
                }
                Err(RestoreError::Refused(code, text)) => Place::Refused(code, text),
                Err(RestoreError::Log(error)) => return Err(error),
                Err(RestoreError::Wait(code, text)) => {
                    self.unwell.push(Unwell::new(code, text));
                    Place::Assigned
                }
                Err(RestoreError::Store(unusable)) => {
                    self.stores_lost.insert(partition, unusable);
                    Place::Assigned
                }
            };
            self.places.insert(partition, place);
        }
        Ok(())
    }

    /// Reads the committed offsets stably, and only then the ends of the engine's topics: whatever those offsets say is
    /// done lies before these ends.
    fn begin_restore(&mut self, partition: i32, now: Timestamp) -> Result<Restore, RestoreError> {
        let inputs: Vec<TopicPartition> =
            Topic::HOME_INPUTS.iter().map(|topic| TopicPartition { topic: *topic, partition }).collect();
        let restored: Vec<TopicPartition> =
            Topic::RESTORED.iter().map(|topic| TopicPartition { topic: *topic, partition }).collect();
        let committed = self.committed_soon(&inputs)?;
        let input_ends = self.log.ends(&inputs, Isolation::ReadUncommitted)?;
        let engine_ends = self.log.ends(&restored, Isolation::ReadUncommitted)?;
        let positions = starting_positions(&inputs, &committed, &input_ends, &engine_ends)?;
        let store = self.open_store(partition, now)?;
        let from = begin_at(&store, &restored, &engine_ends).map_err(RestoreError::Store)?;
        let reader = self.log.reader_from(&from)?;
        for (tp, committed) in inputs.iter().zip(&committed) {
            if committed.is_none() {
                self.uncommitted.insert(*tp);
            }
        }
        let goal = restored.iter().zip(&engine_ends).map(|(tp, ends)| (tp.topic, ends.high)).collect();
        Ok(Restore::new(positions, reader, store, goal, self.options.default_deadline_ms, now))
    }

    /// Opens the store of a partition, or an empty one in its place.
    fn open_store(&mut self, partition: i32, now: Timestamp) -> Result<PartitionStore, RestoreError> {
        let identity = Identity {
            cluster_id: self.options.cluster_id.clone(),
            prefix: self.options.names.prefix().to_owned(),
            home_partitions: self.home_partitions(),
            founded_at: self.controls.founded_at().expect("nothing is restored before `controls` is read"),
            partition,
        };
        let opened = match self.stores_lost.get(&partition).cloned() {
            Some(unusable) => self.options.stores.begin_anew(&identity, unusable),
            None => self.options.stores.open(&identity, now),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(Busy) => {
                let since = *self.stores_busy.entry(partition).or_insert(now);
                if now.millis_since(since) < STORE_BUSY_MS {
                    let text = format!("the store of {partition} is open elsewhere and is waited for");
                    return Err(RestoreError::Wait("CG221", text));
                }
                Stores::in_memory(&identity, Unusable::new(Reason::Failed, "it is open elsewhere and stays so"))
            }
        };
        self.stores_busy.remove(&partition);
        // A disk that fails is left alone until the partition is assigned anew.
        self.stores_lost.retain(|lost, unusable| *lost != partition || unusable.reason == Reason::Failed);
        if let Some(why) = opened.why_empty {
            (self.observe)(&Observed::StoreEmpty { partition, reason: why.reason, text: why.text });
        }
        Ok(opened.store)
    }

    /// Judges how old the stores are that were opened before this clock was known to be right; true if one can't be used.
    pub(super) fn judge_ages(&mut self, now: Timestamp) -> bool {
        let mut lost = Vec::new();
        for (partition, place) in &mut self.places {
            if let Place::Running(home) = place
                && let Err(unusable) = home.keeping.prove(now)
            {
                lost.push((*partition, unusable));
            }
        }
        let is_any = !lost.is_empty();
        lost.into_iter().for_each(|(partition, unusable)| self.lose_store(partition, unusable));
        is_any
    }

    /// Leaves the store of a partition, whose work begins again without it.
    pub(super) fn lose_store(&mut self, partition: i32, unusable: Unusable) {
        if let Some(Place::Running(home)) = self.places.insert(partition, Place::Assigned) {
            home.into_store().abandon();
        }
        let inputs = Topic::HOME_INPUTS.map(|topic| TopicPartition { topic, partition });
        for tp in &inputs {
            self.positions.remove(tp);
            self.stalled.remove(tp);
        }
        if let Err(error) = self.log.pause(&inputs) {
            // Then they are delivered for nothing until the restore has ended.
            self.unwell.push(Unwell::new("CG214", error.to_string()));
        }
        self.stores_lost.insert(partition, unusable);
    }

    fn finish_restore(&mut self, partition: i32, now: Timestamp) -> Result<(), LogError> {
        let Some(Place::Restoring(restore)) = self.places.remove(&partition) else {
            unreachable!("only a home that is being restored finishes")
        };
        let positions = restore.positions.clone();
        let (records, took_ms) = (restore.records, now.millis_since(restore.begun_at));
        let home = restore.finish().and_then(|restored| self.home_of(restored));
        match home {
            Ok(home) => {
                self.log.start(&positions)?;
                self.positions.extend(positions);
                self.places.insert(partition, Place::Running(Box::new(home)));
                (self.observe)(&Observed::Restored { partition, records, took_ms });
            }
            Err(RestoreError::Refused(code, text)) => drop(self.places.insert(partition, Place::Refused(code, text))),
            Err(RestoreError::Log(error)) => return Err(error),
            Err(RestoreError::Store(unusable)) => self.lose_store(partition, unusable),
            Err(RestoreError::Wait(_, text)) => unreachable!("folding waits for nothing: {text}"),
        }
        Ok(())
    }

    /// The home as its store and the log have it, with a permit for every open attempt.
    fn home_of(&self, restored: Restored) -> Result<Home, RestoreError> {
        let Restored { store, opened, covers, changed, forgotten, leftovers } = restored;
        let newer: BTreeSet<FileId> =
            changed.iter().map(|(file, ..)| file.id()).chain(forgotten.iter().map(|(id, _)| id)).cloned().collect();
        let budget = self.budget_of_a_home();
        let mut home = Home::new(forgets_after_ms(self.options.retention_ms), Keeping::new(store, covers, opened)?);
        home.take_in_stored(&newer, budget, &|target| self.capacity.acquire_over(target))?;
        home.take_in_leftovers(leftovers);
        for (id, settled_at) in forgotten {
            home.keeping.note_forgotten(&id, settled_at);
        }
        for (file, history_seq, plans) in changed {
            let id = file.id().clone();
            let open: Vec<_> =
                file.dispatches.iter().filter(|d| d.has_open_attempt()).map(|d| d.target().clone()).collect();
            if !file.is_terminal() {
                plans.into_iter().for_each(|plan| home.keeping.note_plan(plan));
            }
            home.put(file, history_seq, BEFORE_ALL);
            for target in open {
                let permit = self.capacity.acquire_over(&target);
                home.keep_permit(&id, target, permit);
            }
        }
        Ok(home)
    }

    /// What the files of one home may take in memory, in bytes.
    pub(super) fn budget_of_a_home(&self) -> usize {
        let homes = self.places.values().filter(|place| !matches!(place, Place::Refused(..))).count();
        self.options.memory_budget / homes.max(1)
    }
}

/// Where the engine's topics are read from: where the store leaves off, or their beginnings.
fn begin_at(
    store: &PartitionStore,
    restored: &[TopicPartition],
    engine_ends: &[Ends],
) -> Result<Vec<Position>, Unusable> {
    let known = store.covers().map(|covers| &covers.positions);
    let begin = |(tp, ends): (&TopicPartition, &Ends)| {
        let Some(known) = known else { return Ok((*tp, ends.low)) };
        let at = known.get(&tp.topic).copied().unwrap_or(0);
        if at > ends.high {
            let text = format!("it knows {tp} up to {at}, which ends at {}", ends.high);
            return Err(Unusable::new(Reason::BeyondLog, text));
        }
        if at < ends.low {
            let text = format!("it knows {tp} up to {at}, which begins at {}", ends.low);
            return Err(Unusable::new(Reason::TooOld, text));
        }
        Ok((*tp, at))
    };
    restored.iter().zip(engine_ends).map(begin).collect()
}

/// Where the inputs of a home go on.
///
/// A home without committed offsets is new only if the engine has written nothing there: otherwise its offsets were lost,
/// and beginning anywhere would repeat or skip.
fn starting_positions(
    inputs: &[TopicPartition],
    committed: &[Option<i64>],
    input_ends: &[Ends],
    engine_ends: &[Ends],
) -> Result<Vec<Position>, RestoreError> {
    let engine_wrote = engine_ends.iter().any(|ends| ends.high > 0);
    let missing: Vec<String> =
        inputs.iter().zip(committed).filter(|(_, c)| c.is_none()).map(|(tp, _)| tp.to_string()).collect();
    if !missing.is_empty() && (engine_wrote || missing.len() < inputs.len()) {
        let text = format!(
            "the group has no committed offset for {}, but the engine has worked here; see `consign offsets repair`",
            missing.join(", ")
        );
        return Err(RestoreError::Refused("CG211", text));
    }
    let mut positions = Vec::new();
    for ((tp, committed), ends) in inputs.iter().zip(committed).zip(input_ends) {
        let at = committed.unwrap_or(ends.low);
        if let Some(text) = misplaced(*tp, at, *ends) {
            return Err(RestoreError::Refused("CG212", text));
        }
        positions.push((*tp, at));
    }
    Ok(positions)
}

/// Why nothing can go on from here, if so.
fn misplaced(tp: TopicPartition, at: i64, ends: Ends) -> Option<String> {
    if at < ends.low {
        return Some(format!(
            "{tp} begins at {}, after the committed offset {at}: unread records were deleted",
            ends.low
        ));
    }
    let text = || {
        format!("{tp} ends at {}, before the committed offset {at}: it is not the partition that was read", ends.high)
    };
    (at > ends.high).then(text)
}
