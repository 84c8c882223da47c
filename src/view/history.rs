//! The history of one file, read from the log when it is asked for.
//!
//! The cost: four topics' home partition of the file is read from its beginning, whatever the file; that is bounded by
//! retention and compaction, not by the file. One question at a time for a person, not for a dashboard.

use serde::{Deserialize, Serialize};

use super::{ScanError, View, decoded, scan_to_goal};
use crate::log::{Cluster, Record, TopicPartition};
use crate::record::{
    Arrival, Cause, Codec, DispatchAttempt, FileHistory, FileId, HistoryEvent, PlannedDispatch, TargetName, Timestamp,
    Topic, file_id_of_key, home_partition,
};

/// One thing that happened to a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The file's version at which it happened.
    pub version: i64,
    /// When, in milliseconds since 1970.
    pub at: Timestamp,
    /// The record that caused it.
    pub cause: Cause,
    /// The dispatch it is about; null for the file itself.
    pub target: Option<TargetName>,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What happened: the record that says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", content = "record", rename_all = "snake_case")]
pub enum Entry {
    /// The manifest was accepted.
    Arrival(Box<Arrival>),
    /// A dispatch was planned.
    Plan(Box<PlannedDispatch>),
    /// An attempt was authorized.
    Attempt(Box<DispatchAttempt>),
    /// A report, a timer, an intervention or a failure was judged.
    Event(Box<HistoryEvent>),
}

impl HistoryEntry {
    /// Entries of one version stand in this order: a plan before the attempts that it allows, both after the event
    /// that caused them.
    fn order(&self) -> (i64, u8, i32) {
        match &self.entry {
            Entry::Arrival(_) => (self.version, 0, 0),
            Entry::Event(_) => (self.version, 1, 0),
            Entry::Plan(plan) => (self.version, 2, plan.ordinal),
            Entry::Attempt(attempt) => (self.version, 3, attempt.attempt),
        }
    }
}

impl From<Arrival> for HistoryEntry {
    fn from(arrival: Arrival) -> Self {
        Self {
            version: arrival.version,
            at: arrival.received_at,
            cause: arrival.cause.clone(),
            target: None,
            entry: Entry::Arrival(Box::new(arrival)),
        }
    }
}

impl From<PlannedDispatch> for HistoryEntry {
    fn from(plan: PlannedDispatch) -> Self {
        Self {
            version: plan.version,
            at: plan.planned_at,
            cause: plan.cause.clone(),
            target: Some(plan.target.clone()),
            entry: Entry::Plan(Box::new(plan)),
        }
    }
}

impl From<DispatchAttempt> for HistoryEntry {
    fn from(attempt: DispatchAttempt) -> Self {
        Self {
            version: attempt.version,
            at: attempt.authorized_at,
            cause: attempt.cause.clone(),
            target: Some(attempt.target.clone()),
            entry: Entry::Attempt(Box::new(attempt)),
        }
    }
}

impl From<HistoryEvent> for HistoryEntry {
    fn from(event: HistoryEvent) -> Self {
        Self {
            version: event.version,
            at: event.at,
            cause: event.cause.clone(),
            target: event.target.clone(),
            entry: Entry::Event(Box::new(event)),
        }
    }
}

impl View {
    /// Everything recorded about a file, in version order; empty for a file that the log doesn't know.
    ///
    /// Reads the home partition of arrivals, plans, attempts and history from the beginning.
    pub async fn history(&self, file_id: &FileId) -> Result<Vec<HistoryEntry>, ScanError> {
        self.entries(file_id, &[Topic::Arrivals, Topic::Plans, Topic::Attempts, Topic::History]).await
    }

    /// The manifest of a file as it was accepted. Reads the home partition of arrivals from the beginning.
    pub async fn arrival(&self, file_id: &FileId) -> Result<Option<Arrival>, ScanError> {
        let entries = self.entries(file_id, &[Topic::Arrivals]).await?;
        Ok(entries.into_iter().find_map(|e| match e.entry {
            Entry::Arrival(arrival) => Some(*arrival),
            _ => None,
        }))
    }

    /// What the engine made of an intervention, if it has judged it. Reads the home partition of history.
    pub async fn judged(&self, file_id: &FileId, intervention_id: &str) -> Result<Option<HistoryEvent>, ScanError> {
        let entries = self.entries(file_id, &[Topic::History]).await?;
        Ok(entries.into_iter().find_map(|e| match e.entry {
            Entry::Event(event)
                if event.intervention.as_ref().is_some_and(|i| i.intervention_id == intervention_id) =>
            {
                Some(*event)
            }
            _ => None,
        }))
    }

    async fn entries(&self, file_id: &FileId, topics: &[Topic]) -> Result<Vec<HistoryEntry>, ScanError> {
        let partition = home_partition(file_id.as_str(), self.home_partitions().ok_or(ScanError::Homeless)?);
        let at: Vec<_> = topics.iter().map(|topic| TopicPartition { topic: *topic, partition }).collect();
        let file_id = file_id.clone();
        self.scan(move |cluster, codec| read_entries(cluster, codec, &at, &file_id)).await
    }
}

fn read_entries(
    cluster: &dyn Cluster,
    codec: &Codec,
    at: &[TopicPartition],
    file_id: &FileId,
) -> Result<Vec<HistoryEntry>, ScanError> {
    // By key, as compaction would leave it: the newest record of a key stands, a tombstone takes it away.
    let mut by_key = std::collections::BTreeMap::new();
    scan_to_goal(cluster.reader(at)?.as_mut(), |record| {
        let key = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok());
        if let Some(key) = key.filter(|k| file_id_of_key(k) == file_id.as_str()) {
            let place = (record.at.topic, key.to_owned());
            match entries_of(codec, &record)? {
                Some(entries) => by_key.insert(place, entries),
                None => by_key.remove(&place),
            };
        }
        Ok(true)
    })?;
    let mut entries: Vec<HistoryEntry> = by_key.into_values().flatten().collect();
    entries.sort_by_key(HistoryEntry::order);
    Ok(entries)
}

/// What a record tells; `None` for a tombstone. What can't be decoded tells nothing.
fn entries_of(codec: &Codec, record: &Record) -> Result<Option<Vec<HistoryEntry>>, ScanError> {
    let Some(value) = &record.value else { return Ok(None) };
    Ok(Some(match record.at.topic {
        Topic::Arrivals => decoded::<Arrival>(codec, value)?.map(HistoryEntry::from).into_iter().collect(),
        Topic::Plans => decoded::<PlannedDispatch>(codec, value)?.map(HistoryEntry::from).into_iter().collect(),
        Topic::Attempts => decoded::<DispatchAttempt>(codec, value)?.map(HistoryEntry::from).into_iter().collect(),
        Topic::History => decoded::<FileHistory>(codec, value)?
            .map(|history| history.events.into_iter().map(HistoryEntry::from).collect())
            .unwrap_or_default(),
        _ => Vec::new(),
    }))
}
