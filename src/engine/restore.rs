//! A home partition from its compacted topics: read to their ends, then folded.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::{File, Folded, fold};
use crate::log::{LogError, Position, Reader, Record};
use crate::record::{
    Arrival, Codec, DecodeError, DispatchAttempt, FileHistory, FileState, PlannedDispatch, Timestamp, Topic,
    file_id_of_key,
};

/// A restore under way.
pub(super) struct Restore {
    /// Where the inputs go on afterwards, read stably before the ends of the engine's topics were taken.
    pub positions: Vec<Position>,
    reader: Box<dyn Reader>,
    by_file: BTreeMap<String, Records>,
    /// A record that couldn't be decoded because the registry is away, and those after it.
    pending: Vec<Record>,
    pub records: u64,
    pub begun_at: Timestamp,
}

#[derive(Default)]
struct Records {
    folded: Folded,
    /// Attempts are keyed by target and number on the topic; the fold wants them by version.
    attempts: BTreeMap<(String, i32), Arc<DispatchAttempt>>,
    plan: BTreeMap<String, Arc<PlannedDispatch>>,
    state: Option<FileState>,
}

/// Why a home can't be restored.
pub(super) enum RestoreError {
    /// The log or the registry is away: the same step may be repeated.
    Wait(String),
    /// The log failed in a way that is not this partition's.
    Log(LogError),
    /// The topics hold what this engine can't have written or can't read: a person must look.
    Refused(&'static str, String),
}

impl From<LogError> for RestoreError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Away(text) => Self::Wait(text),
            other => Self::Log(other),
        }
    }
}

impl Restore {
    pub fn new(positions: Vec<Position>, reader: Box<dyn Reader>, begun_at: Timestamp) -> Self {
        Self { positions, reader, by_file: BTreeMap::new(), pending: Vec::new(), records: 0, begun_at }
    }

    /// Reads on, waiting for records at most so long; true once everything up to the goal is there.
    pub fn step(&mut self, codec: &Codec, max: usize, wait: Duration) -> Result<bool, RestoreError> {
        if self.pending.is_empty() {
            self.pending = self.reader.poll(max, wait)?;
            self.pending.reverse();
        }
        while let Some(record) = self.pending.last() {
            let place = || format!("{} at offset {}", record.at, record.offset);
            unbroken(place, || take_in(&mut self.by_file, codec, record))?;
            self.pending.pop();
            self.records += 1;
        }
        Ok(self.reader.at_goal())
    }

    /// Records read and records to the goal.
    pub fn progress(&self) -> (i64, i64) {
        self.reader.progress()
    }

    /// Folds every file; gives each with the number of its newest history record.
    pub fn finish(self, default_deadline_ms: i64) -> Result<Vec<(File, i64)>, RestoreError> {
        self.by_file
            .into_iter()
            .filter(|(_, records)| !records.is_empty())
            .map(|(id, records)| unbroken(|| id.clone(), || records.fold(&id, default_deadline_ms)))
            .collect()
    }
}

/// A broken invariant refuses the partition that it breaks in, and no other.
fn unbroken<T>(place: impl Fn() -> String, work: impl FnOnce() -> Result<T, RestoreError>) -> Result<T, RestoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let text = format!("an invariant breaks by {} in a restore; the log has the message", place());
        Err(RestoreError::Refused("CG213", text))
    })
}

fn take_in(by_file: &mut BTreeMap<String, Records>, codec: &Codec, record: &Record) -> Result<(), RestoreError> {
    let unreadable = |text: String| {
        let place = format!("{} at offset {}", record.at, record.offset);
        RestoreError::Refused("CG204", format!("{place}: {text}"))
    };
    let key = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok());
    let key = key.ok_or_else(|| unreadable("the key is no text".into()))?;
    let decoding = |error: DecodeError| match error {
        DecodeError::RegistryAway(text) => RestoreError::Wait(text),
        DecodeError::Poison(text) => unreadable(text),
    };
    let records = by_file.entry(file_id_of_key(key).to_owned()).or_default();
    let mut parts = key.splitn(3, '/').skip(1);
    let (second, third) = (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default());
    let value = record.value.as_deref();
    match record.at.topic {
        Topic::Arrivals => {
            records.folded.arrival =
                value.map(|v| codec.decode::<Arrival>(v)).transpose().map_err(decoding)?.map(Arc::new);
        }
        Topic::FileState => records.state = value.map(|v| codec.decode(v)).transpose().map_err(decoding)?,
        Topic::Plans => match value {
            Some(value) => drop(records.plan.insert(second, Arc::new(codec.decode(value).map_err(decoding)?))),
            None => drop(records.plan.remove(&second)),
        },
        Topic::Attempts => {
            let number = third.parse().map_err(|_| unreadable("the key names no attempt".into()))?;
            match value {
                Some(value) => {
                    let attempt: DispatchAttempt = codec.decode(value).map_err(decoding)?;
                    records.attempts.insert((second, number), Arc::new(attempt));
                }
                None => drop(records.attempts.remove(&(second, number))),
            }
        }
        Topic::History => {
            let seq: i64 = second.parse().map_err(|_| unreadable("the key names no history record".into()))?;
            match value {
                Some(value) => {
                    let history: FileHistory = codec.decode(value).map_err(decoding)?;
                    records.folded.history.insert(seq, history);
                }
                None => drop(records.folded.history.remove(&seq)),
            }
        }
        other => unreachable!("{} is not restored from", other.base_name()),
    }
    Ok(())
}

impl Records {
    fn is_empty(&self) -> bool {
        self.folded.arrival.is_none()
            && self.state.is_none()
            && self.plan.is_empty()
            && self.attempts.is_empty()
            && self.folded.history.is_empty()
    }

    fn fold(mut self, id: &str, default_deadline_ms: i64) -> Result<(File, i64), RestoreError> {
        let refused = |text: String| RestoreError::Refused("CG205", text);
        self.folded.plan = self.plan.into_values().map(|p| (p.ordinal, p)).collect();
        self.folded.attempts = self.attempts.into_values().map(|a| (a.version, a)).collect();
        let history_seq = self.folded.history.keys().next_back().copied().unwrap_or(0);
        let file = fold(&self.folded, default_deadline_ms).map_err(|e| refused(format!("{id}: {e}")))?;
        let state = self.state.ok_or_else(|| refused(format!("{id}: there is no file-state")))?;
        let newest = if file.is_terminal() { state.version <= file.version } else { state.version == file.version };
        if state.state != file.state || !newest {
            return Err(refused(format!(
                "{id}: file-state says {} at version {}, its records say {} at {}",
                state.state, state.version, file.state, file.version
            )));
        }
        Ok((file, history_seq))
    }
}
