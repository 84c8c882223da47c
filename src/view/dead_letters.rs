//! Dead letters, read from their topic when they are asked for. The cost: the whole topic is read (30 days of what
//! nobody could use), one letter: its partition up to its offset.

use std::collections::VecDeque;

use super::{ScanError, View, scan_to_goal};
use crate::log::{Record, TopicPartition};
use crate::record::{Timestamp, Topic};

/// A dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The original record as it stands on `dead-letters`; a list leaves its value out.
    pub record: Record,
    /// Size of the original value in bytes; `None` for a tombstone.
    pub value_size: Option<usize>,
}

impl From<Record> for DeadLetter {
    fn from(record: Record) -> Self {
        Self { value_size: record.value.as_ref().map(Vec::len), record }
    }
}

impl DeadLetter {
    /// Its partition on `dead-letters`.
    pub fn partition(&self) -> i32 {
        self.record.at.partition
    }

    /// Its offset there.
    pub fn offset(&self) -> i64 {
        self.record.offset
    }

    /// When it was put there.
    pub fn at(&self) -> Timestamp {
        self.record.timestamp
    }

    /// A header as text, invalid UTF-8 replaced.
    pub fn header(&self, name: &str) -> Option<String> {
        self.record.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

impl View {
    /// The newest dead letters without their values, newest first, `limit` at most.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, ScanError> {
        self.scan(move |cluster, _| {
            let partitions: Vec<_> = (0..cluster.partitions(Topic::DeadLetters)?).map(on_partition).collect();
            let mut newest = Vec::new();
            for at in partitions {
                let mut newest_here = VecDeque::new();
                scan_to_goal(cluster.reader(&[at])?.as_mut(), |record| {
                    let mut letter = DeadLetter::from(record);
                    letter.record.value = None;
                    newest_here.push_back(letter);
                    if newest_here.len() > limit {
                        newest_here.pop_front();
                    }
                    Ok(true)
                })?;
                newest.extend(newest_here);
            }
            newest.sort_by_key(|l: &DeadLetter| std::cmp::Reverse((l.at(), l.partition(), l.offset())));
            newest.truncate(limit);
            Ok(newest)
        })
        .await
    }

    /// One dead letter.
    pub async fn dead_letter(&self, partition: i32, offset: i64) -> Result<Option<DeadLetter>, ScanError> {
        self.scan(move |cluster, _| {
            if !(0..cluster.partitions(Topic::DeadLetters)?).contains(&partition) {
                return Ok(None);
            }
            let mut found = None;
            scan_to_goal(cluster.reader(&[on_partition(partition)])?.as_mut(), |record| {
                let passed = record.offset >= offset;
                if record.offset == offset {
                    found = Some(DeadLetter::from(record));
                }
                Ok(!passed)
            })?;
            Ok(found)
        })
        .await
    }
}

fn on_partition(partition: i32) -> TopicPartition {
    TopicPartition { topic: Topic::DeadLetters, partition }
}
