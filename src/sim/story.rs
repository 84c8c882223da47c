//! How a run is told: its digest, and every record in the order in which it became visible.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::START;
use super::world::World;
use crate::engine::Observed;
use crate::log::{Cluster, Reader, Record};
use crate::record::{
    Arrival, Control, DispatchAttempt, FileHistory, FileManifest, FileState, Intervention, Outcome, PlannedDispatch,
    Topic,
};

/// A digest over what was done and over every record that is left.
pub(super) fn digest_of_log(world: &World, trace: &[String]) -> String {
    let mut digest = Sha256::new();
    for line in trace.iter().filter(|line| !line.contains(MARK)) {
        digest.update(line.as_bytes());
        digest.update(b"\n");
    }
    for record in world.dump() {
        digest.update(record.at.to_string().as_bytes());
        digest.update(record.offset.to_be_bytes());
        digest.update(record.timestamp.0.to_be_bytes());
        for part in [&record.key, &record.value] {
            let length = part.as_ref().map_or(u64::MAX, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            digest.update(length.to_be_bytes());
            digest.update(part.as_deref().unwrap_or_default());
        }
    }
    digest.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Begins a line about a record.
const MARK: &str = "· ";

/// Tells of records as they become visible.
pub(super) struct Story {
    reader: Box<dyn Reader>,
    /// Requests told of so far.
    requests: usize,
    /// Things told of so far that workers did beside their records.
    observed: usize,
    /// By whom each was seen to be written last; a worker is named by its attempts alone.
    worker_by_file: BTreeMap<String, String>,
}

impl Story {
    pub fn new(world: &World) -> Self {
        let reader = world.cluster.follow(&Topic::ALL).expect("reads go well");
        Self { reader, requests: 0, observed: 0, worker_by_file: BTreeMap::new() }
    }

    /// Adds a line for each record and request since the last time.
    pub fn go_on(&mut self, world: &World, trace: &mut Vec<String>) {
        let journal = world.journal();
        for request in &journal[self.requests..] {
            let at = request.received_at.millis_since(START);
            trace
                .push(format!("{at:>9} {MARK}target receives {} attempt {}", request.idempotency_key, request.attempt));
        }
        self.requests = journal.len();
        let observed = world.observed();
        for done in &observed[self.observed..] {
            let is_told = matches!(
                done,
                Observed::Restored { .. }
                    | Observed::StoreEmpty { .. }
                    | Observed::StoreFailed { .. }
                    | Observed::Aborted { .. }
            );
            if is_told {
                trace.push(format!("{:>9} {MARK}{done:?}", world.now().millis_since(START)));
            }
        }
        self.observed = observed.len();
        while let Ok(records) = self.reader.poll(1_000, Duration::ZERO) {
            if records.is_empty() {
                return;
            }
            for record in records {
                let line = self.line_of(world, &record);
                trace.push(line);
            }
        }
    }

    fn line_of(&mut self, world: &World, record: &Record) -> String {
        let at = record.timestamp.millis_since(START);
        let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let says = match record.value.as_deref() {
            None => "tombstone".to_owned(),
            Some(value) => self.says(world, record.at.topic, value).unwrap_or_else(|| "not readable".to_owned()),
        };
        format!("{at:>9} {MARK}{} offset {} {key}: {says}", record.at, record.offset)
    }

    fn says(&mut self, world: &World, topic: Topic, value: &[u8]) -> Option<String> {
        let codec = &world.codec;
        Some(match topic {
            Topic::Manifests => format!("manifest of type {}", codec.decode::<FileManifest>(value).ok()?.file_type),
            Topic::Interventions => {
                let asked: Intervention = codec.decode(value).ok()?;
                format!("{} by {} ({}), saw {:?}", asked.action, asked.actor, asked.intervention_id, asked.seen_version)
            }
            Topic::Acks | Topic::Outcomes => summary(&codec.decode::<Outcome>(value).ok()?),
            Topic::Arrivals => format!("accepted, caused by {}", codec.decode::<Arrival>(value).ok()?.cause.offset),
            Topic::Plans => format!("planned at version {}", codec.decode::<PlannedDispatch>(value).ok()?.version),
            Topic::Attempts => {
                let attempt: DispatchAttempt = codec.decode(value).ok()?;
                self.worker_by_file.insert(attempt.file_id.to_string(), attempt.worker.clone());
                let deadline = attempt.deadline.millis_since(START);
                let (number, version, worker) = (attempt.attempt, attempt.version, attempt.worker);
                format!("attempt {number} at version {version} by {worker}, deadline {deadline}")
            }
            Topic::History => {
                let history: FileHistory = codec.decode(value).ok()?;
                let events: Vec<String> = history
                    .events
                    .iter()
                    .map(|e| {
                        let what = e.outcome.as_ref().map(summary);
                        let asked = e.intervention.as_ref().map(|i| format!("{} {}", i.action, i.intervention_id));
                        let what = what.or(asked).or(e.failure.as_ref().map(|f| f.code.clone())).unwrap_or_default();
                        let code = e.code.as_deref().unwrap_or_default();
                        format!("v{} {} {code} [{what}] from {}", e.version, e.judgement, e.cause.offset)
                    })
                    .collect();
                events.join("; ")
            }
            Topic::FileState => {
                let state: FileState = codec.decode(value).ok()?;
                let dispatches: Vec<String> =
                    state.dispatches.iter().map(|d| format!("{} {} {}", d.target, d.status, d.attempts)).collect();
                format!("{} v{} {}", state.state, state.version, dispatches.join(", "))
            }
            Topic::Controls => {
                let control: Control = codec.decode(value).ok()?;
                format!(
                    "{} by {}",
                    control.pause.map_or("set", |p| if p.paused { "paused" } else { "resumed" }),
                    control.actor
                )
            }
            Topic::DeadLetters => return None,
        })
    }
}

fn summary(outcome: &Outcome) -> String {
    let attempt = outcome.attempt.map_or_else(|| "no attempt".to_owned(), |n| format!("attempt {n}"));
    let timer = outcome.timer.as_ref().map(|t| format!(" {} due {}", t.what, t.due.millis_since(START)));
    format!("{} {attempt} by {} {}{}", outcome.kind, outcome.reporter, outcome.code, timer.unwrap_or_default())
}
