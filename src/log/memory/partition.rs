//! One partition: records and markers by offset, and which transactions are open there.

use std::collections::{BTreeMap, BTreeSet};

use super::transactions::TransactionNumber;
use crate::log::{Ends, Headers, Isolation, Record, TopicPartition};
use crate::record::Timestamp;

/// What a record holds, without its place.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Headers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open(TransactionNumber),
    Committed,
    Aborted,
}

#[derive(Debug)]
enum Entry {
    Record {
        content: Content,
        fate: Fate,
    },
    /// The end of a transaction here: an offset that no reader is handed.
    Marker,
}

/// A partition of a topic.
#[derive(Debug, Default)]
pub(super) struct Partition {
    low: i64,
    high: i64,
    entries: BTreeMap<i64, Entry>,
    first_offset_by_open_transaction: BTreeMap<TransactionNumber, i64>,
}

impl Partition {
    /// The first offset that an open transaction holds back, or the end.
    pub(super) fn last_stable(&self) -> i64 {
        self.first_offset_by_open_transaction.values().copied().min().unwrap_or(self.high)
    }

    pub(super) fn ends(&self, isolation: Isolation) -> Ends {
        let high = match isolation {
            Isolation::ReadCommitted => self.last_stable(),
            Isolation::ReadUncommitted => self.high,
        };
        Ends { low: self.low, high }
    }

    /// Appends a record, as part of a transaction or outside any; gives its offset.
    pub(super) fn append(&mut self, content: Content, transaction: Option<TransactionNumber>) -> i64 {
        let offset = self.high;
        if let Some(transaction) = transaction {
            self.first_offset_by_open_transaction.entry(transaction).or_insert(offset);
        }
        let fate = transaction.map_or(Fate::Committed, Fate::Open);
        self.push(Entry::Record { content, fate });
        offset
    }

    /// Appends the marker of a transaction's end and settles its records.
    pub(super) fn land_marker(&mut self, transaction: TransactionNumber, committed: bool) {
        let first = self.first_offset_by_open_transaction.remove(&transaction);
        let first = first.expect("a marker lands where its transaction has written");
        let settled = if committed { Fate::Committed } else { Fate::Aborted };
        for entry in self.entries.range_mut(first..).map(|(_, entry)| entry) {
            if let Entry::Record { fate, .. } = entry
                && *fate == Fate::Open(transaction)
            {
                *fate = settled;
            }
        }
        self.push(Entry::Marker);
    }

    fn push(&mut self, entry: Entry) {
        self.entries.insert(self.high, entry);
        self.high += 1;
    }

    /// Adds to `into` what is visible from `from` on, until `into` holds `max`. Gives the position to go on from: the
    /// next visible record's offset, or the end that this isolation sees.
    pub(super) fn read(
        &self,
        at: TopicPartition,
        from: i64,
        max: usize,
        isolation: Isolation,
        into: &mut Vec<Record>,
    ) -> i64 {
        let end = self.ends(isolation).high;
        if from >= end {
            return from;
        }
        for (&offset, entry) in self.entries.range(from..end) {
            let Entry::Record { content, fate } = entry else { continue };
            if isolation == Isolation::ReadCommitted && *fate != Fate::Committed {
                continue;
            }
            if into.len() >= max {
                return offset;
            }
            let Content { timestamp, key, value, headers } = content.clone();
            into.push(Record { at, offset, timestamp, key, value, headers });
        }
        end
    }

    /// Removes below the last stable offset what compaction removes: aborted records, all but the newest value of each
    /// key and, where `tombstones` is set, tombstones and markers. The offsets of the rest stay.
    pub(super) fn compact(&mut self, tombstones: bool) {
        let stable = self.last_stable();
        let mut newest_by_key: BTreeMap<&[u8], i64> = BTreeMap::new();
        for (&offset, entry) in self.entries.range(..stable) {
            if let Entry::Record { content: Content { key: Some(key), .. }, fate: Fate::Committed } = entry {
                newest_by_key.insert(key, offset);
            }
        }
        let newest: BTreeSet<i64> = newest_by_key.into_values().collect();
        self.entries.retain(|offset, entry| match entry {
            _ if *offset >= stable => true,
            Entry::Marker => !tombstones,
            Entry::Record { content, fate: Fate::Committed } => {
                let kept = content.key.is_none() || newest.contains(offset);
                kept && !(tombstones && content.value.is_none())
            }
            Entry::Record { .. } => false,
        });
    }

    /// Removes all offsets below `offset`, up to the last stable one.
    pub(super) fn delete_before(&mut self, offset: i64) {
        self.low = offset.clamp(self.low, self.last_stable());
        self.entries = self.entries.split_off(&self.low);
    }
}
