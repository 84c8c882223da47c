//! The check of a running cluster: its topics are read into a scratch store on disk, and the checker of
//! [`crate::verify`] judges them file by file, so that memory doesn't grow with the number of records.
//!
//! The engine may be at work meanwhile. What the log shows is therefore read in an order in which nothing can be missing
//! that must be there: the group's committed offsets; then file-state to its end; then everything else to ends taken after
//! that; then the committed offsets again. Effects of inputs below the first offsets must be there, and none may come
//! from inputs beyond the last.

mod scratch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use scratch::ScratchError;

use crate::log::{Cluster, LogError, Position, Record, TopicPartition, scan};
use crate::record::{
    Codec, Control, Controls, DecodeError, FileManifest, Intervention, Outcome, Timestamp, Topic, TopicNames,
    file_id_of_key, header,
};
use crate::verify::{Checker, Due, Options, Report, Request};
use scratch::Scratch;

/// How long nothing may come before the audit gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The group of records that are no record of any file.
const NO_FILE: &str = "~";

/// What an audit must know.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// The topics' names.
    pub names: TopicNames,
    /// How far two clocks may be apart, in milliseconds.
    pub max_clock_skew_ms: i64,
    /// Deadline of a file that never had a plan, from its arrival, in milliseconds, as the engine has it.
    pub default_deadline_ms: i64,
    /// How long a settled file is remembered, in milliseconds.
    pub retention_ms: i64,
    /// Where the scratch store goes; the directory is made and removed.
    pub scratch: PathBuf,
}

/// Why an audit has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The registry, which alone knows a record's schema, is away.
    #[error("the schema registry is away: {0}")]
    RegistryAway(String),
    /// The scratch store failed.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// No `controls` record says how many home partitions there are.
    #[error("`controls` doesn't say how many home partitions there are; `consign topics apply` writes that")]
    Homeless,
}

/// How far an audit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many records of so many have been read; an estimate on compacted topics.
    Reading {
        /// Read so far.
        read: i64,
        /// To be read.
        of: i64,
    },
    /// So many files have been checked.
    Checking {
        /// Files so far.
        files: u64,
        /// Differences so far.
        differences: usize,
    },
}

/// Gives the group's committed offsets of some partitions.
pub type Committed<'a> = dyn Fn(&[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> + 'a;

/// What an audit asks of its cluster and tells its caller.
pub struct Audit<'a> {
    /// The log.
    pub cluster: &'a dyn Cluster,
    /// The group's committed offsets of these partitions, read stably.
    pub committed: &'a Committed<'a>,
    /// Knows the schemas.
    pub codec: Arc<Codec>,
    /// Told now and then how far it is.
    pub progress: &'a mut dyn FnMut(Step),
}

impl Audit<'_> {
    /// Reads and checks everything. `requests` are what receivers journalled, where there is a journal.
    pub fn run(&mut self, options: &AuditOptions, requests: Vec<Request>) -> Result<Report, AuditError> {
        let before = self.committed_offsets()?;
        let controls = self.read_all(&[Topic::Controls])?;
        let home_partitions = self.home_partitions(&controls)?.ok_or(AuditError::Homeless)?;
        let scratch = Scratch::create(&options.scratch)?;
        let mut sorting = Sorting { codec: Arc::clone(&self.codec), scratch: &scratch, newest: Timestamp(i64::MIN) };
        self.sort(&[Topic::FileState], &mut sorting)?;
        let mut dead = DeadLetters::new(&options.names, self.read_all(&[Topic::DeadLetters])?);
        self.sort_with(&everything_else(), &mut sorting, &mut dead)?;
        let checking = Options {
            names: options.names.clone(),
            home_partitions,
            max_clock_skew_ms: options.max_clock_skew_ms,
            default_deadline_ms: options.default_deadline_ms,
            retention_ms: options.retention_ms,
            due: Due::Below(before),
            committed: self.committed_offsets()?,
            every_state: true,
            inputs_were_reread: false,
        };
        let mut base = Checker::new(Arc::clone(&self.codec), checking);
        base.note_time(sorting.newest);
        controls.iter().for_each(|record| base.take(record));
        dead.left().for_each(|record| base.take(&record));
        self.check(base, &scratch, requests)
    }

    /// Judges group by group.
    fn check(&mut self, base: Checker, scratch: &Scratch, requests: Vec<Request>) -> Result<Report, AuditError> {
        let mut journal: BTreeMap<Vec<u8>, Vec<Request>> = BTreeMap::new();
        for request in requests {
            journal.entry(file_id_of_key(&request.idempotency_key).as_bytes().to_vec()).or_default().push(request);
        }
        let mut report = Report::default();
        let mut current: Option<(Vec<u8>, Checker)> = None;
        let (mut files, mut told) = (0, Instant::now());
        for entry in scratch.each() {
            let (group, record) = entry?;
            if current.as_ref().is_none_or(|(name, _)| *name != group) {
                if let Some((_, done)) = current.take() {
                    report.merge(done.finish());
                    files += 1;
                }
                let mut checker = base.anew();
                journal.remove(&group).into_iter().flatten().for_each(|request| checker.request(request));
                current = Some((group, checker));
            }
            if let Some((_, checker)) = &mut current {
                checker.take(&record);
            }
            if told.elapsed() > Duration::from_secs(1) {
                (self.progress)(Step::Checking { files, differences: report.violations.len() });
                told = Instant::now();
            }
        }
        // Those of files that the log doesn't know.
        let mut rest = base.anew();
        journal.into_values().flatten().for_each(|request| rest.request(request));
        for done in current.map(|(_, checker)| checker).into_iter().chain([rest, base]) {
            report.merge(done.finish());
        }
        Ok(report)
    }

    fn committed_offsets(&self) -> Result<BTreeMap<TopicPartition, i64>, AuditError> {
        let partitions = self.partitions(&Topic::INPUTS)?;
        let committed = (self.committed)(&partitions)?;
        Ok(partitions.into_iter().zip(committed).filter_map(|(tp, at)| Some((tp, at?))).collect())
    }

    fn partitions(&self, topics: &[Topic]) -> Result<Vec<TopicPartition>, AuditError> {
        let mut partitions = Vec::new();
        for topic in topics {
            let count = self.cluster.partitions(*topic)?;
            partitions.extend((0..count).map(|partition| TopicPartition { topic: *topic, partition }));
        }
        Ok(partitions)
    }

    fn home_partitions(&self, records: &[Record]) -> Result<Option<i32>, AuditError> {
        let mut controls = Controls::default();
        for record in records {
            let name = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            match record.value.as_deref().map(|v| self.codec.decode::<Control>(v)).transpose() {
                Ok(control) => controls.apply(&name, control),
                Err(DecodeError::RegistryAway(text)) => return Err(AuditError::RegistryAway(text)),
                Err(DecodeError::Poison(_)) => {}
            }
        }
        Ok(controls.home_partitions())
    }

    /// Hands every record of these topics on, up to their ends as they are at this moment.
    fn each(
        &mut self,
        topics: &[Topic],
        take: &mut dyn FnMut(Record) -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        let partitions = self.partitions(topics)?;
        let mut reader = self.cluster.reader(&partitions)?;
        let mut told = Instant::now();
        scan(reader.as_mut(), PATIENCE, |records, (read, of)| {
            records.into_iter().try_for_each(&mut *take)?;
            if told.elapsed() > Duration::from_secs(1) {
                (self.progress)(Step::Reading { read, of });
                told = Instant::now();
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn read_all(&mut self, topics: &[Topic]) -> Result<Vec<Record>, AuditError> {
        let mut all = Vec::new();
        self.each(topics, &mut |record| {
            all.push(record);
            Ok(())
        })?;
        Ok(all)
    }

    fn sort(&mut self, topics: &[Topic], sorting: &mut Sorting<'_>) -> Result<(), AuditError> {
        self.each(topics, &mut |record| sorting.put(&record).map(drop))
    }

    /// As [`Audit::sort`]; each record that died goes with its dead letters.
    fn sort_with(
        &mut self,
        topics: &[Topic],
        sorting: &mut Sorting<'_>,
        dead: &mut DeadLetters,
    ) -> Result<(), AuditError> {
        self.each(topics, &mut |record| {
            let group = sorting.put(&record)?;
            for letter in dead.take((record.at, record.offset)) {
                sorting.scratch.put(&group, &letter)?;
            }
            Ok(())
        })
    }
}

fn everything_else() -> Vec<Topic> {
    let apart = [Topic::Controls, Topic::FileState, Topic::DeadLetters];
    Topic::ALL.into_iter().filter(|topic| !apart.contains(topic)).collect()
}

/// Puts records where those of their file are.
struct Sorting<'a> {
    codec: Arc<Codec>,
    scratch: &'a Scratch,
    newest: Timestamp,
}

impl Sorting<'_> {
    /// Gives the group.
    fn put(&mut self, record: &Record) -> Result<Vec<u8>, AuditError> {
        self.newest = self.newest.max(record.timestamp);
        let group = self.group_of(record)?;
        self.scratch.put(&group, record)?;
        Ok(group)
    }

    /// The file that a record speaks of. On the inputs that is what its value says: its key may be wrong.
    fn group_of(&self, record: &Record) -> Result<Vec<u8>, AuditError> {
        let value = record.value.as_deref();
        let told = match (record.at.topic, value) {
            (Topic::Manifests, Some(value)) => self.codec.decode::<FileManifest>(value).map(|m| m.file_id),
            (Topic::Interventions, Some(value)) => self.codec.decode::<Intervention>(value).map(|i| i.file_id),
            (Topic::Outcomes | Topic::Acks, Some(value)) => self.codec.decode::<Outcome>(value).map(|o| o.file_id),
            _ => {
                let key = record.key.as_deref().unwrap_or_default();
                let key = String::from_utf8_lossy(key);
                return Ok(group(file_id_of_key(&key)));
            }
        };
        match told {
            Ok(file_id) => Ok(group(file_id.as_str())),
            Err(DecodeError::Poison(_)) => Ok(group(NO_FILE)),
            Err(DecodeError::RegistryAway(text)) => Err(AuditError::RegistryAway(text)),
        }
    }
}

/// A group's name: what strangers wrote may hold anything.
fn group(file_id: &str) -> Vec<u8> {
    file_id.bytes().map(|b| if b == 0 { b' ' } else { b }).collect()
}

/// Dead letters that wait for the record that died.
struct DeadLetters {
    by_source: BTreeMap<Position, Vec<Record>>,
    /// Those whose headers don't say where it was.
    sourceless: Vec<Record>,
}

impl DeadLetters {
    fn new(names: &TopicNames, records: Vec<Record>) -> Self {
        let mut dead = Self { by_source: BTreeMap::new(), sourceless: Vec::new() };
        for record in records {
            match source_of(names, &record) {
                Some(source) => dead.by_source.entry(source).or_default().push(record),
                None => dead.sourceless.push(record),
            }
        }
        dead
    }

    /// Those of one record.
    fn take(&mut self, source: Position) -> Vec<Record> {
        self.by_source.remove(&source).unwrap_or_default()
    }

    /// Those whose record is no longer on its topic.
    fn left(self) -> impl Iterator<Item = Record> {
        self.sourceless.into_iter().chain(self.by_source.into_values().flatten())
    }
}

fn source_of(names: &TopicNames, record: &Record) -> Option<Position> {
    let text = |name| std::str::from_utf8(record.header(name)?).ok();
    let at =
        TopicPartition { topic: names.topic(text(header::TOPIC)?)?, partition: text(header::PARTITION)?.parse().ok()? };
    Some((at, text(header::OFFSET)?.parse().ok()?))
}
