//! The checker of the contract's invariants, I1 to I15, as far as the topics and the receivers' journals show them.
//!
//! A [`Checker`] is pushed every record of every topic, each topic's partitions in offset order and read committed, and
//! what the receivers journalled; [`Checker::finish`] says what is broken and counts what it saw, so that a run which
//! showed nothing can be told from a run which broke nothing. Topics may be compacted: what is gone is not held against
//! the log, and what can't be proved any more is counted under `not_provable`.
//!
//! - `collect`: the records by file, and what one record alone shows (I2).
//! - `inputs`: what became of the inputs (I1, I15).
//! - `states`: a file-state by itself (I3, I12).
//! - `plans`: the frozen plan (I4, I10).
//! - `attempts`: numbers, budgets, order (I6, I8, I9).
//! - `requests`: what the targets received (I5, I7, I8, I9).
//! - `replay`: the fold of a file's records (I11, I13).
//! - `deadlines`: times against reports (I14).
//! - `successors`: what a successor is for (R6).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod attempts;
mod collect;
mod deadlines;
mod inputs;
mod plans;
mod receipts;
mod replay;
mod requests;
mod states;
mod successors;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::log::{Record, TopicPartition};
use crate::record::{Codec, FileId, Timestamp, TopicNames};
use crate::routing::Document;

use collect::{FileRecords, Inputs};

/// What the checker must know beside the records.
#[derive(Debug, Clone)]
pub struct Options {
    /// The topics' names.
    pub names: TopicNames,
    /// The number of home partitions.
    pub home_partitions: i32,
    /// How far two clocks may be apart, in milliseconds.
    pub max_clock_skew_ms: i64,
    /// Deadline of a file that never had a plan, from its arrival, in milliseconds, as the engine has it.
    pub default_deadline_ms: i64,
    /// A manifest is the same file for so long after it settled, and expires at that age, in milliseconds.
    pub retention_ms: i64,
    /// Which inputs must show their effects.
    pub due: Due,
    /// The group's committed offsets, read after everything else: no effect may come from an input beyond them. Empty
    /// where they aren't known.
    pub committed: BTreeMap<TopicPartition, i64>,
    /// Whether every file-state on the topic is folded again, and not the newest of each file alone.
    pub every_state: bool,
    /// Whether inputs were read again because committed offsets were lost and repaired: then what only passes an input on,
    /// to its home or to dead-letters, may have done so once for each time.
    pub inputs_were_reread: bool,
}

/// Which inputs must show their effects on the other topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// All: the engine has read everything and nothing is on the wire.
    Everything,
    /// Those below these offsets: what the group had committed before the other topics' ends were taken. The engine may
    /// be at work.
    Below(BTreeMap<TopicPartition, i64>),
}

impl Due {
    /// Nothing has to be there yet.
    pub const NOTHING: Self = Self::Below(BTreeMap::new());

    /// Whether the effects of that input must be there.
    pub fn covers(&self, at: TopicPartition, offset: i64) -> bool {
        match self {
            Self::Everything => true,
            Self::Below(ends) => ends.get(&at).is_some_and(|end| offset < *end),
        }
    }
}

/// A request as a receiver journalled it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `file_id/target`, from its header.
    pub idempotency_key: String,
    /// The attempt, from its header.
    pub attempt: i32,
    /// `sha256:` and hex over its body.
    pub body_sha256: String,
    /// When it came in, by the receiver's clock.
    pub received_at: Timestamp,
}

/// Something that the contract says never happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `I1` to `I15`; `K2`: the committed offsets are those of the inputs whose effects are there; `R6`: no successor is for a
    /// target that a predecessor has reached.
    pub invariant: &'static str,
    /// The file.
    pub file_id: Option<FileId>,
    /// What is wrong, in words.
    pub text: String,
    /// The record that shows it.
    pub at: Option<(TopicPartition, i64)>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.invariant)?;
        if let Some(file_id) = &self.file_id {
            write!(f, " {file_id}")?;
        }
        write!(f, ": {}", self.text)?;
        match self.at {
            Some((at, offset)) => write!(f, " ({at}, offset {offset})"),
            None => Ok(()),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Everything that is broken.
    pub violations: Vec<Violation>,
    /// How often each thing was seen: `files`, `files.COMPLETED`, `dispatches.HELD`, `attempts`, `retries`, `held`,
    /// `dead_letters.<reason>`, `plans.equal`, … A name that is not there was seen never.
    pub counts: BTreeMap<String, u64>,
}

impl Report {
    /// How often something was seen.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Takes in what another check found.
    pub fn merge(&mut self, other: Self) {
        self.violations.extend(other.violations);
        for (name, count) in other.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }

    pub(super) fn add(&mut self, name: impl Into<String>) {
        *self.counts.entry(name.into()).or_default() += 1;
    }

    pub(super) fn broken(
        &mut self,
        invariant: &'static str,
        file_id: Option<&FileId>,
        at: Option<(TopicPartition, i64)>,
        text: impl Into<String>,
    ) {
        self.violations.push(Violation { invariant, file_id: file_id.cloned(), text: text.into(), at });
    }
}

/// The routing documents on `controls`, by digest; `None` for one that this version can't load.
type Documents = BTreeMap<String, Option<Arc<Document>>>;

/// Takes in records and requests, and says at the end what they break.
pub struct Checker {
    codec: Arc<Codec>,
    options: Arc<Options>,
    files: BTreeMap<String, FileRecords>,
    inputs: Inputs,
    documents: Arc<Documents>,
    requests: BTreeMap<String, Vec<Request>>,
    newest: Timestamp,
    report: Report,
}

impl Checker {
    /// A checker that has seen nothing. `codec` must know the schemas that the records were written with.
    pub fn new(codec: Arc<Codec>, options: Options) -> Self {
        Self {
            codec,
            options: Arc::new(options),
            files: BTreeMap::new(),
            inputs: Inputs::default(),
            documents: Arc::default(),
            requests: BTreeMap::new(),
            newest: Timestamp(i64::MIN),
            report: Report::default(),
        }
    }

    /// A checker that has seen nothing but the routing documents that this one has, and knows how late it is. All
    /// records of one file go to the same checker; files may go to one each, so that memory holds one file at a time.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self {
            codec: Arc::clone(&self.codec),
            options: Arc::clone(&self.options),
            files: BTreeMap::new(),
            inputs: Inputs::default(),
            documents: Arc::clone(&self.documents),
            requests: BTreeMap::new(),
            newest: self.newest,
            report: Report::default(),
        }
    }

    /// Notes how late it is on the log, without the record.
    pub fn note_time(&mut self, timestamp: Timestamp) {
        self.newest = self.newest.max(timestamp);
    }

    /// Takes in one request of a receiver's journal.
    pub fn request(&mut self, request: Request) {
        self.report.add("requests");
        self.requests.entry(request.idempotency_key.clone()).or_default().push(request);
    }

    /// Judges everything that was taken in.
    pub fn finish(mut self) -> Report {
        self.check_inputs();
        let files = std::mem::take(&mut self.files);
        for (id, file) in &files {
            let id = FileId::trusted(id);
            self.check_file(&id, file);
        }
        self.check_successors(&files);
        self.check_requests(&files);
        self.report
    }

    fn check_file(&mut self, id: &FileId, file: &FileRecords) {
        if file.is_empty() {
            self.report.add("files.forgotten");
            return;
        }
        if file.forgotten && file.arrival.is_none() && file.states.is_empty() {
            // The rest goes with the next transactions.
            self.report.add("files.being_forgotten");
            return;
        }
        self.report.add("files");
        if let Some(state) = file.states.last() {
            self.report.add(format!("files.{}", state.value.state));
        }
        self.check_states(id, file);
        self.check_memory(id, file);
        self.check_plan(id, file);
        self.check_attempts(id, file);
        self.replay(id, file);
        self.check_deadlines(id, file);
        self.check_offsets(id, file);
        self.check_receipts(id, file);
    }
}

/// The records of all topics and the receivers' journals, checked in one go.
pub fn check<'a>(
    codec: Arc<Codec>,
    options: Options,
    records: impl IntoIterator<Item = &'a Record>,
    requests: impl IntoIterator<Item = Request>,
) -> Report {
    let mut checker = Checker::new(codec, options);
    for record in records {
        checker.take(record);
    }
    for request in requests {
        checker.request(request);
    }
    checker.finish()
}
