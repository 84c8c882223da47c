//! A file explained from what the log has of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::lifecycle::{Folded, Planned, fold};
use crate::predict;
use crate::record::{Controls, FileHistory, HistoryEvent, TargetName, Timestamp};
use crate::routing::DEFAULT_DEADLINE_MS;
use crate::view::{Entry, HistoryEntry};

/// Folds everything recorded about a file, and explains it as JSON.
pub fn explain(entries: &[HistoryEntry], controls: &Controls, now: Timestamp) -> Result<serde_json::Value, String> {
    let file = fold(&folded(entries), DEFAULT_DEADLINE_MS).map_err(|e| e.to_string())?;
    let paused: BTreeSet<TargetName> = controls.paused().into_iter().map(|(target, _)| target.clone()).collect();
    serde_json::to_value(predict::explain(&file, now, &paused)).map_err(|e| e.to_string())
}

/// A file's entries as the machine folds them.
pub fn folded(entries: &[HistoryEntry]) -> Folded {
    let mut folded = Folded::default();
    let mut events: Vec<HistoryEvent> = Vec::new();
    for entry in entries {
        match &entry.entry {
            Entry::Arrival(arrival) => folded.arrival = Some(Arc::new(arrival.as_ref().clone())),
            Entry::Plan(plan) => drop(folded.plan.insert(plan.ordinal, Arc::new(Planned::of(plan)))),
            Entry::Attempt(attempt) => {
                folded.attempts.insert(attempt.version, Arc::new(attempt.as_ref().clone()));
            }
            Entry::Event(event) => events.push(event.as_ref().clone()),
        }
    }
    if let (Some(arrival), Some(last)) = (&folded.arrival, events.last().cloned()) {
        // One record holds them all here; how the engine cut them says nothing.
        let (file_id, HistoryEvent { version, cause, .. }) = (arrival.file_id.clone(), last);
        folded.history = BTreeMap::from([(1, FileHistory { file_id, seq: 1, version, cause, events })]);
    }
    folded
}
