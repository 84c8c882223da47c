//! Records on local disk, grouped by file: what is read from the topics in the order of their partitions comes out file
//! by file, so that memory holds one file at a time.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::log::{Headers, Record, TopicPartition};
use crate::record::{Timestamp, Topic};

/// Memory for blocks that were read, in bytes; that for writes comes on top.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// The scratch store can't be used: the disk is full or fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the scratch store fails: {0}")]
pub struct ScratchError(String);

impl From<fjall::Error> for ScratchError {
    fn from(error: fjall::Error) -> Self {
        Self(error.to_string())
    }
}

/// Records by group, topic, partition and offset. What is on disk is removed with it.
pub(super) struct Scratch {
    /// Declared before the database, which must outlive it.
    records: Keyspace,
    _database: Database,
}

impl Scratch {
    /// An empty store in this directory, which must not hold one.
    pub fn create(dir: &Path) -> Result<Self, ScratchError> {
        let database = Database::builder(dir)
            .temporary(true)
            // Nothing needs to outlive this process.
            .manual_journal_persist(true)
            .cache_size(CACHE_BYTES)
            .open()?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        Ok(Self { records, _database: database })
    }

    /// Keeps a record in a group. No group's name holds a zero byte.
    pub fn put(&self, group: &[u8], record: &Record) -> Result<(), ScratchError> {
        let mut key = group.to_vec();
        key.push(0);
        key.push(rank_of(record.at.topic));
        key.extend(record.at.partition.to_be_bytes());
        key.extend(record.offset.to_be_bytes());
        Ok(self.records.insert(key, encode(record))?)
    }

    /// Hands out every record with its group: groups one after the other, and in each the records of a partition in
    /// offset order.
    pub fn each(&self) -> impl Iterator<Item = Result<(Vec<u8>, Record), ScratchError>> + '_ {
        self.records.iter().map(|entry| {
            let (key, value) = entry.into_inner()?;
            let broken = || ScratchError("it gives back other bytes than were put there".to_owned());
            let end = key.iter().position(|b| *b == 0).ok_or_else(broken)?;
            let record = decode(&key[end + 1..], &value).ok_or_else(broken)?;
            Ok((key[..end].to_vec(), record))
        })
    }
}

fn rank_of(topic: Topic) -> u8 {
    let rank = Topic::ALL.iter().position(|t| *t == topic).expect("every topic is among all");
    u8::try_from(rank).expect("there are a few topics")
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_be_bytes());
    out.extend(bytes);
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    put_bytes(out, bytes.unwrap_or_default());
}

/// The part of a record that its key doesn't say.
fn encode(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + record.value.as_ref().map_or(0, Vec::len));
    out.extend(record.timestamp.0.to_be_bytes());
    put_optional(&mut out, record.key.as_deref());
    put_optional(&mut out, record.value.as_deref());
    for (name, value) in &record.headers {
        put_bytes(&mut out, name.as_bytes());
        put_bytes(&mut out, value);
    }
    out
}

/// What is left of some bytes.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u64::from_be_bytes(self.array()?);
        self.take(usize::try_from(length).ok()?)
    }

    /// What `put_optional` wrote: whether it is there, and the bytes.
    fn optional(&mut self) -> Option<(bool, Vec<u8>)> {
        let is_there = self.take(1)?[0] == 1;
        Some((is_there, self.bytes()?.to_vec()))
    }
}

fn decode(place: &[u8], value: &[u8]) -> Option<Record> {
    let (mut place, mut rest) = (Rest(place), Rest(value));
    let topic = *Topic::ALL.get(usize::from(place.take(1)?[0]))?;
    let partition = i32::from_be_bytes(place.array()?);
    let offset = i64::from_be_bytes(place.array()?);
    let timestamp = Timestamp(i64::from_be_bytes(rest.array()?));
    let [key, value] = [rest.optional()?, rest.optional()?].map(|(is_there, bytes)| is_there.then_some(bytes));
    let mut headers = Headers::new();
    while !rest.0.is_empty() {
        let name = String::from_utf8(rest.bytes()?.to_vec()).ok()?;
        headers.push((name, rest.bytes()?.to_vec()));
    }
    Some(Record { at: TopicPartition { topic, partition }, offset, timestamp, key, value, headers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(topic: Topic, offset: i64, value: Option<&[u8]>) -> Record {
        Record {
            at: TopicPartition { topic, partition: 3 },
            offset,
            timestamp: Timestamp(17),
            key: Some(b"k\0k".to_vec()),
            value: value.map(<[u8]>::to_vec),
            headers: vec![("a".into(), vec![0, 1]), (String::new(), Vec::new())],
        }
    }

    #[test]
    fn records_come_out_by_group_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(&dir.path().join("s")).unwrap();
        let put = [
            ("b", record(Topic::Plans, 300, Some(b""))),
            ("a", record(Topic::Outcomes, 2, None)),
            ("ab", record(Topic::Outcomes, 1, Some(b"x"))),
            ("a", record(Topic::Outcomes, 256, Some(&vec![0; 100_000]))),
            ("a", record(Topic::Manifests, 9, Some(b"y"))),
        ];
        for (group, record) in &put {
            scratch.put(group.as_bytes(), record).unwrap();
        }
        let all: Vec<(Vec<u8>, Record)> = scratch.each().map(Result::unwrap).collect();
        let expected = [4, 1, 3, 2, 0].map(|n: usize| (put[n].0.as_bytes().to_vec(), put[n].1.clone()));
        assert_eq!(all, expected);
    }

    #[test]
    fn nothing_stays_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("s");
        let scratch = Scratch::create(&place).unwrap();
        scratch.put(b"a", &record(Topic::Plans, 1, None)).unwrap();
        drop(scratch);
        assert!(!place.exists());
    }
}
