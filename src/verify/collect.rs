//! The records by file and by place, and what the order of one file's states shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Checker;
use crate::engine::reason;
use crate::log::{Record, TopicPartition};
use crate::record::{
    Arrival, Bytes, Control, DispatchAttempt, FileHistory, FileId, FileManifest, FileState, HistoryEvent, Intervention,
    Origin, Outcome, PlannedDispatch, State, Timestamp, Topic, Wire, file_id_of_key, header, home_partition,
};
use crate::routing::{self, Sources, sha256_digest};

/// A decoded record with its place.
#[derive(Debug, Clone)]
pub(super) struct Kept<T> {
    pub value: Arc<T>,
    pub place: Place,
    pub timestamp: Timestamp,
}

/// A partition and an offset.
pub(super) type Place = (TopicPartition, i64);

/// The records of one file on the engine's topics: the newest value of each key.
#[derive(Debug, Default)]
pub(super) struct FileRecords {
    pub arrival: Option<Kept<Arrival>>,
    pub plans: BTreeMap<String, Kept<PlannedDispatch>>,
    pub attempts: BTreeMap<(String, i32), Kept<DispatchAttempt>>,
    pub history: BTreeMap<i64, Kept<FileHistory>>,
    /// In the order of the topic: since the last tombstone, or the newest alone.
    pub states: Vec<Kept<FileState>>,
    /// A tombstone of it was seen.
    pub forgotten: bool,
    /// The bytes that were reported for it.
    pub contents: Vec<Bytes>,
    /// When the file settled that had the id before, if its last state was seen.
    pub settled_before: Option<Timestamp>,
}

impl FileRecords {
    pub fn is_empty(&self) -> bool {
        self.arrival.is_none()
            && self.plans.is_empty()
            && self.attempts.is_empty()
            && self.history.is_empty()
            && self.states.is_empty()
    }

    /// The events of its history, in order.
    pub fn events(&self) -> impl Iterator<Item = (&HistoryEvent, Place)> {
        self.history.values().flat_map(|h| h.value.events.iter().map(move |e| (e, h.place)))
    }

    /// The attempts of one dispatch, by number.
    pub fn attempts_of(&self, target: &str) -> Vec<&Kept<DispatchAttempt>> {
        self.attempts.range((target.to_owned(), i32::MIN)..=(target.to_owned(), i32::MAX)).map(|(_, a)| a).collect()
    }
}

/// An input record: what it says, or why it can't be read.
#[derive(Debug)]
pub(super) struct Input<T> {
    pub timestamp: Timestamp,
    /// Digest of the value; of nothing for a tombstone.
    pub bytes: String,
    pub origin: Option<Origin>,
    pub value: Result<T, String>,
}

/// A dead letter.
#[derive(Debug)]
pub(super) struct Dead {
    pub place: Place,
    pub reason: String,
    pub bytes: String,
}

/// What stands on the inputs and on dead-letters, by place.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub manifests: BTreeMap<(i32, i64), Input<FileManifest>>,
    pub interventions: BTreeMap<(i32, i64), Input<()>>,
    pub outcomes: BTreeMap<(i32, i64), Input<Outcome>>,
    pub acks: BTreeMap<(i32, i64), Input<Outcome>>,
    /// By the place of the record that died.
    pub dead: BTreeMap<(Topic, i32, i64), Vec<Dead>>,
    /// Offsets of a dispatch's reports and timers on outcomes, by key.
    pub outcomes_by_key: BTreeMap<String, Vec<(i32, i64)>>,
    /// Acks of a dispatch, by key.
    pub acks_by_key: BTreeMap<String, Vec<(i32, i64)>>,
    /// Where an ack was re-homed to, by the ack's place.
    pub rehomed: BTreeMap<(i32, i64), Vec<(i32, i64)>>,
}

/// The digest of a value's bytes.
fn digest_of(value: Option<&[u8]>) -> String {
    sha256_digest(value.unwrap_or_default())
}

fn rank(state: State) -> u8 {
    match state {
        State::Received => 0,
        State::Validated => 1,
        State::Distributing => 2,
        State::Completed | State::Failed => 3,
    }
}

impl Checker {
    /// Takes in one record as it was read; those of each partition in offset order.
    pub fn take(&mut self, record: &Record) {
        self.newest = self.newest.max(record.timestamp);
        match record.at.topic {
            Topic::Manifests | Topic::Interventions | Topic::Outcomes | Topic::Acks => self.take_input(record),
            Topic::Controls => self.take_control(record),
            Topic::DeadLetters => self.take_dead_letter(record),
            Topic::Arrivals | Topic::Plans | Topic::Attempts | Topic::History | Topic::FileState => {
                if record.value.is_some() {
                    self.take_value(record);
                } else {
                    self.take_tombstone(record);
                }
            }
        }
    }

    fn take_input(&mut self, record: &Record) {
        let place = (record.at.partition, record.offset);
        let key = record.key.as_deref().map(|k| String::from_utf8_lossy(k).into_owned()).unwrap_or_default();
        match record.at.topic {
            Topic::Manifests => {
                let input = self.input(record);
                self.inputs.manifests.insert(place, input);
            }
            Topic::Interventions => {
                let Input { timestamp, bytes, origin, value } = self.input::<Intervention>(record);
                let value = value.map(drop);
                self.inputs.interventions.insert(place, Input { timestamp, bytes, origin, value });
            }
            Topic::Acks => {
                let input = self.input::<Outcome>(record);
                self.inputs.acks_by_key.entry(key).or_default().push(place);
                self.inputs.acks.insert(place, input);
            }
            _ => {
                let mut input = self.input::<Outcome>(record);
                if let Ok(outcome) = &mut input.value {
                    outcome.evidence = None;
                    if let Some(content) = outcome.content.take() {
                        let file = self.files.entry(outcome.file_id.to_string()).or_default();
                        file.contents.push(content);
                    }
                    if let Some(origin) = outcome.origin.as_ref().filter(|o| self.is_on(o, Topic::Acks)) {
                        let ack = (origin.partition, origin.offset);
                        self.inputs.rehomed.entry(ack).or_default().push(place);
                    }
                    self.inputs.outcomes_by_key.entry(key).or_default().push(place);
                }
                self.inputs.outcomes.insert(place, input);
            }
        }
        self.report.add(format!("inputs.{}", record.at.topic.base_name()));
    }

    fn input<T: Wire>(&self, record: &Record) -> Input<T> {
        let value = match record.value.as_deref() {
            None => Err("a tombstone".to_owned()),
            Some(bytes) => self.codec.decode(bytes).map_err(|e| e.to_string()),
        };
        Input {
            timestamp: record.timestamp,
            bytes: digest_of(record.value.as_deref()),
            origin: crate::engine::origin_of(record),
            value,
        }
    }

    pub(super) fn is_on(&self, origin: &Origin, topic: Topic) -> bool {
        origin.topic == self.options.names.name(topic)
    }

    fn take_control(&mut self, record: &Record) {
        let Some(control) = record.value.as_deref().and_then(|v| self.codec.decode::<Control>(v).ok()) else { return };
        if let Some(bundle) = &control.routing {
            let loaded = routing::load(&Sources::from(bundle)).ok();
            let document = loaded.map(|l| Arc::new(l.document)).filter(|d| d.digest() == bundle.digest);
            Arc::make_mut(&mut self.documents).insert(bundle.digest.clone(), document);
        }
        if let Some(pause) = &control.pause {
            self.report.add(if pause.paused { "pauses" } else { "resumes" });
        }
    }

    fn take_dead_letter(&mut self, record: &Record) {
        let place = (record.at, record.offset);
        let text = |name: &str| std::str::from_utf8(record.header(name)?).ok().map(str::to_owned);
        let source = || {
            let topic = self.options.names.topic(&text("consign-topic")?)?;
            let partition = text("consign-partition")?.parse().ok()?;
            Some((topic, partition, text("consign-offset")?.parse().ok()?))
        };
        let (Some(source), Some(reason)) = (source(), text("consign-reason")) else {
            self.report.broken("I15", None, Some(place), "a dead letter doesn't say where it came from and why");
            return;
        };
        self.report.add("dead_letters");
        self.report.add(format!("dead_letters.{reason}"));
        // One that is cut says what it was before.
        let full = text(header::FULL_SHA256).filter(|_| reason == reason::TOO_LONG);
        let bytes = full.unwrap_or_else(|| digest_of(record.value.as_deref()));
        self.inputs.dead.entry(source).or_default().push(Dead { place, reason, bytes });
    }

    fn take_value(&mut self, record: &Record) {
        let place = (record.at, record.offset);
        let Some(key) = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok()).map(str::to_owned) else {
            return self.report.broken("I11", None, Some(place), "the key is no text");
        };
        let id = FileId::trusted(file_id_of_key(&key));
        if record.at.partition != home_partition(id.as_str(), self.options.home_partitions) {
            self.report.broken("I2", Some(&id), Some(place), "it stands off the file's home partition");
        }
        let mut parts = key.splitn(3, '/').skip(1);
        let (second, third) = (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default());
        let taken = match record.at.topic {
            Topic::Arrivals => self.decoded::<Arrival>(record, &id).map(|arrival| {
                self.take_once(
                    "I4",
                    "the arrival",
                    record,
                    &id,
                    |file| file.arrival.replace(arrival.clone()),
                    &arrival,
                );
            }),
            Topic::Plans => self.decoded::<PlannedDispatch>(record, &id).map(|plan| {
                let insert = |file: &mut FileRecords| file.plans.insert(second, plan.clone());
                self.take_once("I4", "the plan record", record, &id, insert, &plan);
            }),
            Topic::Attempts => self.decoded::<DispatchAttempt>(record, &id).map(|attempt| {
                let number = third.parse().unwrap_or(attempt.value.attempt);
                if (second.as_str(), number) != (attempt.value.target.as_str(), attempt.value.attempt) {
                    self.report.broken("I6", Some(&id), Some(place), format!("its key is {key}"));
                }
                let insert = |file: &mut FileRecords| file.attempts.insert((second, number), attempt.clone());
                self.take_once("I6", "the attempt", record, &id, insert, &attempt);
            }),
            Topic::History => self.decoded::<FileHistory>(record, &id).map(|history| {
                let insert = |file: &mut FileRecords| file.history.insert(history.value.seq, history.clone());
                self.take_once("I11", "the history record", record, &id, insert, &history);
            }),
            _ => self.decoded::<FileState>(record, &id).map(|state| self.take_state(&id, state)),
        };
        debug_assert!(taken.is_some() || !self.report.violations.is_empty(), "what isn't taken is reported");
    }

    /// Takes in a record whose key has one value for ever; a second one must be the same.
    fn take_once<T: PartialEq>(
        &mut self,
        invariant: &'static str,
        what: &str,
        record: &Record,
        id: &FileId,
        insert: impl FnOnce(&mut FileRecords) -> Option<Kept<T>>,
        newest: &Kept<T>,
    ) {
        let file = self.files.entry(id.to_string()).or_default();
        if insert(file).is_some_and(|older| older.value != newest.value) {
            let text = format!("{what} was written twice, and differently");
            self.report.broken(invariant, Some(id), Some((record.at, record.offset)), text);
        }
    }

    fn decoded<T: Wire>(&mut self, record: &Record, id: &FileId) -> Option<Kept<T>> {
        let place = (record.at, record.offset);
        match self.codec.decode(record.value.as_deref().unwrap_or_default()) {
            Ok(value) => Some(Kept { value: Arc::new(value), place, timestamp: record.timestamp }),
            Err(e) => {
                self.report.broken("I11", Some(id), Some(place), format!("it can't be read: {e}"));
                None
            }
        }
    }

    fn take_state(&mut self, id: &FileId, state: Kept<FileState>) {
        self.report.add("file_states");
        let every_state = self.options.every_state;
        let file = self.files.entry(id.to_string()).or_default();
        let mut wrong = Vec::new();
        if let Some(before) = file.states.last() {
            let (old, new) = (&before.value, &state.value);
            if new.version <= old.version {
                wrong.push(format!("version {} follows version {}", new.version, old.version));
            }
            if rank(new.state) < rank(old.state) {
                wrong.push(format!("{} follows {}", new.state, old.state));
            }
            if rank(old.state) == 3 {
                wrong.push(format!("version {} follows {}", new.version, old.state));
            }
        }
        let place = state.place;
        if every_state {
            file.states.push(state);
        } else {
            file.states = vec![state];
        }
        for text in wrong {
            self.report.broken("I2", Some(id), Some(place), text);
        }
    }

    fn take_tombstone(&mut self, record: &Record) {
        let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let id = FileId::trusted(file_id_of_key(&key));
        self.report.add("tombstones");
        let file = self.files.entry(id.to_string()).or_default();
        file.forgotten = true;
        let mut parts = key.splitn(3, '/').skip(1);
        let (second, third) = (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default());
        match record.at.topic {
            Topic::Arrivals => file.arrival = None,
            Topic::Plans => drop(file.plans.remove(&second)),
            Topic::Attempts => drop(third.parse().ok().and_then(|n| file.attempts.remove(&(second, n)))),
            Topic::History => drop(second.parse().ok().and_then(|seq: i64| file.history.remove(&seq))),
            _ => {
                let open = file.states.last().is_some_and(|s| rank(s.value.state) < 3);
                file.settled_before = file.states.last().and_then(|s| s.value.settled_at).or(file.settled_before);
                file.states.clear();
                if open {
                    let place = Some((record.at, record.offset));
                    self.report.broken("I2", Some(&id), place, "a file that hasn't settled is tombstoned");
                }
            }
        }
    }
}
