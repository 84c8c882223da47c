//! Between memory and the stores: before a batch what it is about is fetched, after it what changed is kept.

use std::collections::BTreeMap;

use super::observed::Observed;
use super::worker::{Place, Worker};
use crate::log::{Position, Record, TopicPartition};
use crate::record::{FileId, TargetName, Timestamp, Topic, file_id_of_key};
use crate::store::{StoreError, Unusable};

impl Worker {
    /// Fetches the files that these records are about, and what is due. A partition whose store fails begins again from
    /// the log; its records are left out.
    pub(super) fn fetch(&mut self, records: &mut Vec<Record>, now: Timestamp) {
        if self.judge_ages(now) {
            records.retain(|record| self.is_wanted(record));
        }
        let paused: Vec<TargetName> = if self.is_time_to_scan_pauses(now) {
            self.controls.paused().into_iter().map(|(target, _)| target.clone()).collect()
        } else {
            Vec::new()
        };
        let homes = self.homes_in_turn();
        let (controls, capacity) = (&self.controls, &self.capacity);
        let max = self.options.max_batch;
        // What capacity is left goes to the homes in their turn, as it will be taken: a file is fetched for one that it gets.
        let mut left: BTreeMap<TargetName, usize> = BTreeMap::new();
        let mut take = |target: &TargetName, waiting: usize| {
            let room = || if controls.is_paused(target) { 0 } else { capacity.room(target, now).min(max) };
            let left = left.entry(target.clone()).or_insert_with(room);
            let taken = waiting.min(*left);
            *left -= taken;
            taken
        };
        let mut failed = Vec::new();
        for partition in homes {
            let Some(Place::Running(home)) = self.places.get_mut(&partition) else { continue };
            let mut fetch = || -> Result<(), StoreError> {
                home.prepare(now, max, &mut take)?;
                paused.iter().try_for_each(|target| home.prepare_paused(target, now, max))?;
                let of_home = |at: TopicPartition| Topic::HOME_INPUTS.contains(&at.topic) && at.partition == partition;
                records.iter().filter(|r| of_home(r.at)).filter_map(file_of).try_for_each(|id| home.fetch(&id, now))
            };
            if let Err(error) = fetch() {
                failed.push((partition, error));
            }
        }
        if !failed.is_empty() {
            self.stores_failed(failed);
            records.retain(|record| self.is_wanted(record));
        }
    }

    /// Lets go of files beyond the budget, and begins to write what changed.
    pub(super) fn keep(&mut self, now: Timestamp) {
        let budget = self.budget_of_a_home();
        let mut failed = Vec::new();
        for (partition, place) in &mut self.places {
            let Place::Running(home) = place else { continue };
            let at_once = home.is_crowded(budget);
            if let Err(error) = home.keep(now, at_once) {
                failed.push((*partition, error));
            }
            home.trim(budget);
        }
        self.stores_failed(failed);
    }

    /// A commit stands: every home of this worker is still its own, and knows of these records.
    pub(super) fn note_committed(&mut self, next: &[Position], now: Timestamp) {
        for (partition, place) in &mut self.places {
            let Place::Running(home) = place else { continue };
            let of_home = |(tp, _): &&Position| tp.partition == *partition && Topic::RESTORED.contains(&tp.topic);
            home.keeping.note_committed(next.iter().filter(of_home).map(|(tp, at)| (tp.topic, *at)), now);
        }
    }

    pub(super) fn stores_failed(&mut self, failed: Vec<(i32, StoreError)>) {
        for (partition, StoreError { reason, text }) in failed {
            (self.observe)(&Observed::StoreFailed { partition, reason, text: text.clone() });
            self.lose_store(partition, Unusable::new(reason, text));
        }
    }
}

/// The file that an input is about, by its key: whoever says otherwise in the value is refused.
fn file_of(record: &Record) -> Option<FileId> {
    let key = std::str::from_utf8(record.key.as_deref()?).ok()?;
    Some(FileId::trusted(file_id_of_key(key)))
}
