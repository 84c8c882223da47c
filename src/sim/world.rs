//! The world: a log, a clock, workers, targets' answers, and what people and producers do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::faults::Aimed;
use super::registry::SimRegistry;
use super::wire::{Answer, WatchedLog, Wire, WireTransport, blank, report_of};
use crate::engine::{Observed, Stop, Unwell, Worker, WorkerOptions};
use crate::log::memory::{MemoryCluster, MemoryOptions};
use crate::log::{Append, Cluster, Headers, LogError, Reader, Record, TopicPartition};
use crate::record::{
    Action, ActiveRouting, Codec, Control, Controls, FileId, FileManifest, FileState, Intervention, Outcome,
    OutcomeKind, Status, TargetName, Timestamp, Topic, TopicNames, dispatch_key, file_key, home_partition,
};
use crate::routing::{self, Sources, sha256_digest};
use crate::store::{Shelves, Stores};
use crate::transport::AckTokens;
use crate::verify::{self, Due, Request};

/// When every world begins.
pub const START: Timestamp = Timestamp(1_767_225_600_000);

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// Home partitions.
    pub home_partitions: i32,
    /// Partitions of the input topics and of the engine's, where there are more of them than homes.
    pub more_partitions: BTreeMap<Topic, i32>,
    /// Partitions of acks.
    pub acks_partitions: i32,
    /// The routing document.
    pub document: String,
    /// See [`WorkerOptions::max_batch`].
    pub max_batch: usize,
    /// See [`WorkerOptions::max_batch_bytes`].
    pub max_batch_bytes: usize,
    /// See [`WorkerOptions::max_clock_skew_ms`].
    pub max_clock_skew_ms: Option<i64>,
    /// How long a settled file is remembered, in milliseconds.
    pub retention_ms: i64,
    /// Whether stores outlive their processes; then a crash may harm them.
    pub stores_survive: bool,
    /// See [`WorkerOptions::memory_budget`].
    pub memory_budget: usize,
}

impl WorldOptions {
    /// Two home partitions and this routing document.
    pub fn new(document: &str) -> Self {
        Self {
            home_partitions: 2,
            more_partitions: BTreeMap::new(),
            acks_partitions: 2,
            document: document.to_owned(),
            max_batch: 500,
            max_clock_skew_ms: None,
            max_batch_bytes: 4 * 1024 * 1024,
            retention_ms: 6 * 3_600_000,
            stores_survive: false,
            memory_budget: 256 * 1024 * 1024,
        }
    }
}

/// A manifest of a type, as small as can be.
pub fn manifest(file_id: &str, file_type: &str) -> FileManifest {
    FileManifest {
        file_id: FileId::trusted(file_id),
        schema_version: 1,
        file_type: file_type.into(),
        name: format!("{file_id}.json"),
        location: None,
        size: None,
        checksum: None,
        media_type: None,
        attributes: BTreeMap::new(),
        data: None,
        produced_by: "shop".into(),
        produced_at: START,
        deadline: None,
    }
}

/// How far a world has come.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Progress {
    pub observed: usize,
    taken: u64,
    unwell: Vec<Unwell>,
}

/// A simulated world.
pub struct World {
    /// The log.
    pub cluster: MemoryCluster,
    /// The schema registry.
    pub registry: SimRegistry,
    /// Faults in store for the log.
    pub aimed: Aimed,
    /// Encodes what producers, targets and people append.
    pub codec: Arc<Codec>,
    /// Signs and checks ack tokens.
    pub tokens: Arc<AckTokens>,
    /// The workers at work, by identity.
    pub workers: BTreeMap<String, Worker>,
    /// Why workers ended.
    pub stops: Vec<(String, Stop)>,
    options: WorldOptions,
    names: TopicNames,
    now: Arc<AtomicI64>,
    skews: BTreeMap<String, i64>,
    pub(super) wire: Wire,
    observed: Arc<Mutex<Vec<Observed>>>,
    follower: Box<dyn Reader>,
    states: BTreeMap<FileId, FileState>,
    interventions: u64,
    /// The disks, by the identity of the worker whose they are.
    shelves: BTreeMap<String, Shelves>,
    /// What crashes did to stores.
    pub(super) harm: BTreeMap<&'static str, u64>,
}

impl World {
    /// A world with an empty log but for `controls`: the home partitions are fixed and the document is in force.
    ///
    /// # Panics
    /// If the routing document doesn't load.
    pub fn new(options: WorldOptions) -> Self {
        let now = Arc::new(AtomicI64::new(START.0));
        let clock = Arc::clone(&now);
        let mut log = MemoryOptions::new(
            options.home_partitions,
            options.acks_partitions,
            Arc::new(move || Timestamp(clock.load(Ordering::SeqCst))),
        );
        log.other_partitions.clone_from(&options.more_partitions);
        let cluster = MemoryCluster::new(log);
        let aimed = Aimed::default();
        cluster.faults(aimed.faults());
        let registry = SimRegistry::default();
        let codec = Arc::new(Codec::new(Arc::new(registry.clone())));
        codec.prepare().expect("the registry is there");
        let follower = cluster.follow(&[Topic::FileState]).expect("reads go well");
        let keys = vec![("k1".to_owned(), b"a secret of some length".to_vec())];
        let mut world = Self {
            cluster,
            registry,
            aimed,
            codec,
            tokens: Arc::new(AckTokens::new(keys).expect("a legal key")),
            workers: BTreeMap::new(),
            stops: Vec::new(),
            names: TopicNames::new("consign."),
            now,
            skews: BTreeMap::new(),
            wire: Wire::default(),
            observed: Arc::default(),
            follower,
            states: BTreeMap::new(),
            interventions: 0,
            shelves: BTreeMap::new(),
            harm: BTreeMap::new(),
            options,
        };
        let homing = Control::homing(world.options.home_partitions, ("consign", "a world begins", START));
        world.change_controls(&[homing]).expect("nothing is aimed");
        let document = world.options.document.clone();
        world.apply_routing(&document).expect("nothing is aimed");
        world
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    /// Moves the clock; the workers learn of it when they are stepped.
    pub fn advance(&self, millis: i64) {
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    /// From here on this worker's clock is ahead of the log's by so much; behind, where it is negative.
    pub fn skew(&mut self, identity: &str, millis: i64) {
        self.skews.insert(identity.to_owned(), millis);
    }

    /// The partition of a file.
    pub fn home_of(&self, file_id: &str) -> i32 {
        home_partition(file_id, self.options.home_partitions)
    }

    /// Starts a worker under an identity; one that has it goes on, to find itself fenced, as the value that is given
    /// back.
    pub fn start(&mut self, identity: &str) -> Option<Worker> {
        let names = self.names.clone();
        let options = WorkerOptions {
            retention_ms: self.options.retention_ms,
            max_batch: self.options.max_batch,
            max_clock_skew_ms: self.options.max_clock_skew_ms,
            max_batch_bytes: self.options.max_batch_bytes,
            stores: self.stores_of(identity),
            memory_budget: self.options.memory_budget,
            ..WorkerOptions::new(identity, names)
        };
        let inner = self.cluster.worker(identity).expect("the identity is no reserved one");
        let log =
            WatchedLog { inner, wire: self.wire.clone(), aimed: self.aimed.clone(), identity: identity.to_owned() };
        let transport = WireTransport { wire: self.wire.clone(), worker: identity.to_owned() };
        let codec = Arc::new(Codec::new(Arc::new(self.registry.clone())));
        let observed = Arc::clone(&self.observed);
        let observe = move |o: &Observed| observed.lock().unwrap_or_else(PoisonError::into_inner).push(o.clone());
        let tokens = Arc::clone(&self.tokens);
        let worker = Worker::new(options, Box::new(log), Box::new(transport), codec, tokens, Box::new(observe));
        self.workers.insert(identity.to_owned(), worker)
    }

    /// The disk of a worker. A process that begins beside one with the same identity is on another machine.
    fn stores_of(&mut self, identity: &str) -> Stores {
        if !self.options.stores_survive {
            return Stores::Memory;
        }
        if self.workers.contains_key(identity) {
            self.shelves.insert(identity.to_owned(), Shelves::default());
        }
        Stores::Shelves(self.shelves.entry(identity.to_owned()).or_default().clone())
    }

    /// What a crash does to the stores of a worker: often nothing, else they lose their last writes, or all, or a bit.
    fn harm_stores(&mut self, identity: &str) {
        let Some(shelves) = self.shelves.get(identity) else { return };
        for partition in shelves.partitions() {
            let crashes: u64 = self.harm.values().sum();
            let draw = usize::try_from(crashes % 8).expect("small");
            let harm = match draw {
                1 => {
                    shelves.lose(partition);
                    "lost"
                }
                2 | 5 if shelves.take_back(partition, draw) > 0 => "taken_back",
                3 if shelves.corrupt(partition, draw * 31 + usize::try_from(crashes).unwrap_or(0)) => "corrupted",
                _ => "kept",
            };
            *self.harm.entry(harm).or_default() += 1;
        }
    }

    /// Kills a worker with everything that is on its wire.
    pub fn crash(&mut self, identity: &str) {
        self.workers.remove(identity);
        self.harm_stores(identity);
        self.wire.lock().parcels.retain(|_, parcel| parcel.worker != identity);
    }

    /// One turn of one worker. One that must end is taken out, with what is on its wire.
    pub fn step(&mut self, identity: &str) {
        let now = Arc::clone(&self.now);
        let Some(worker) = self.workers.get_mut(identity) else { return };
        let skew = self.skews.get(identity).copied().unwrap_or(0);
        if let Err(stop) = worker.step(Duration::ZERO, &|| Timestamp(now.load(Ordering::SeqCst) + skew)) {
            self.stops.push((identity.to_owned(), stop));
            self.crash(identity);
        }
    }

    /// Steps every worker until nothing moves any more while the clock stands.
    ///
    /// # Panics
    /// If that doesn't end.
    pub fn run(&mut self) {
        let mut idle = 0;
        for _ in 0..10_000 {
            let before = self.progress();
            let identities: Vec<String> = self.workers.keys().cloned().collect();
            for identity in &identities {
                self.step(identity);
            }
            idle = if self.progress() == before { idle + 1 } else { 0 };
            if idle >= self.patience() {
                return;
            }
        }
        panic!("the workers don't come to rest: {:?}", self.unwell());
    }

    /// Runs, and moves the clock in small steps until so much time has passed.
    pub fn run_for(&mut self, millis: i64) {
        let end = self.now().plus_millis(millis);
        self.run();
        while self.now() < end {
            self.advance(end.millis_since(self.now()).min(100));
            self.run();
        }
    }

    /// Changes with everything that the workers do.
    pub(super) fn progress(&self) -> Progress {
        let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner).len();
        // How far a restore has come stands in its text.
        Progress { observed, taken: self.wire.lock().taken, unwell: self.unwell() }
    }

    /// Turns without progress after which the workers are at rest: many while one of them is only beginning.
    pub(super) fn patience(&self) -> usize {
        let begins = |u: &Unwell| matches!(u.code, "CG206" | "CG207" | "CG214");
        if self.unwell().iter().any(begins) { 60 } else { 6 }
    }

    /// What keeps the workers from their work.
    pub fn unwell(&self) -> Vec<Unwell> {
        self.workers.values().flat_map(Worker::unwell).collect()
    }

    /// What the workers' commits and restores did, in order.
    pub fn observed(&self) -> Vec<Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The newest state of every file.
    pub fn states(&mut self) -> &BTreeMap<FileId, FileState> {
        while let Ok(records) = self.follower.poll(1_000, Duration::ZERO) {
            if records.is_empty() {
                break;
            }
            for record in records {
                let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
                let id = FileId::trusted(&key);
                match record.value.as_deref().map(|v| self.codec.decode::<FileState>(v)) {
                    Some(Ok(state)) => drop(self.states.insert(id, state)),
                    Some(Err(e)) => panic!("{id}: a file-state can't be read: {e}"),
                    None => drop(self.states.remove(&id)),
                }
            }
        }
        &self.states
    }

    /// The newest state of a file.
    ///
    /// # Panics
    /// If there is none.
    pub fn state(&mut self, file_id: &str) -> FileState {
        self.states().get(file_id).cloned().unwrap_or_else(|| panic!("there is no file-state of {file_id}"))
    }

    /// Where a dispatch stands.
    pub fn status(&mut self, file_id: &str, target: &str) -> Status {
        let state = self.state(file_id);
        let dispatch = state.dispatches.iter().find(|d| d.target.as_str() == target);
        dispatch.unwrap_or_else(|| panic!("{file_id} has no target {target}")).status
    }

    // ── producers, targets ────────────────────────────────────────────────────────────────────────────────────────

    /// A producer announces a file.
    pub fn submit(&self, manifest: &FileManifest) {
        let id = manifest.file_id.as_str();
        self.append(Topic::Manifests, self.home_of(id), id, Some(self.encode(Topic::Manifests, manifest)));
    }

    /// The bytes of a value on a topic.
    pub fn encode<T: crate::record::Wire>(&self, topic: Topic, value: &T) -> Vec<u8> {
        self.codec.encode_for(topic, value).expect("the write ids are known")
    }

    /// Appends anything.
    pub fn append(&self, topic: Topic, partition: i32, key: &str, value: Option<Vec<u8>>) -> (TopicPartition, i64) {
        let key = key.as_bytes().to_vec();
        let append = Append { topic, partition: Some(partition), key, value, headers: Headers::new() };
        self.cluster.append_now(append).expect("no fault is aimed at appends")
    }

    /// The requests that wait to leave or to be answered, oldest first.
    pub fn on_the_wire(&self) -> Vec<(u64, String)> {
        let key = |p: &super::Parcel| format!("{}/{}", p.attempt.idempotency_key, p.attempt.attempt);
        self.wire.lock().parcels.iter().map(|(number, parcel)| (*number, key(parcel))).collect()
    }

    /// Lets a request leave, unless the time to send it by has passed: then it is reported as never sent. True if the
    /// target received it.
    pub fn leave(&self, number: u64) -> bool {
        let now = self.now();
        let mut wire = self.wire.lock();
        let state = &mut *wire;
        let Some(parcel) = state.parcels.get_mut(&number) else { return false };
        if parcel.left_at.is_some() {
            return true;
        }
        if now > parcel.attempt.send_before {
            drop(wire);
            self.report(number, Answer::Retryable(None));
            return false;
        }
        parcel.left_at = Some(now);
        let body = parcel.plan.request.body.as_ref().map(|b| b.as_ref().to_vec()).unwrap_or_default();
        state.journal.push(Request {
            idempotency_key: parcel.attempt.idempotency_key.clone(),
            attempt: parcel.attempt.attempt,
            body_sha256: sha256_digest(&body),
            received_at: now,
        });
        true
    }

    /// Ends a request with a report of what came back, or with none. Gives the report.
    pub(super) fn report(&self, number: u64, answer: Answer) -> Option<(i32, Outcome)> {
        let parcel = self.wire.lock().parcels.remove(&number)?;
        let (attempt, home) = parcel.end();
        let outcome = report_of(&attempt, answer, self.now());
        self.append_outcome(home, &outcome);
        Some((home, outcome))
    }

    /// Appends a report as a transport or the gateway does.
    pub fn append_outcome(&self, home: i32, outcome: &Outcome) {
        let key = dispatch_key(&outcome.file_id, &outcome.target);
        self.append(Topic::Outcomes, home, &key, Some(self.encode(Topic::Outcomes, outcome)));
    }

    /// Lets the oldest request of a dispatch leave and answers it; false if there is none.
    pub fn answer(&self, idempotency_key: &str, answer: Answer) -> bool {
        let found = {
            let wire = self.wire.lock();
            wire.parcels.iter().find(|(_, p)| p.attempt.idempotency_key == idempotency_key).map(|(n, _)| *n)
        };
        let Some(number) = found else { return false };
        if self.leave(number) {
            self.report(number, answer);
        }
        true
    }

    /// The most bytes of keys and values that one transaction appended.
    pub fn largest_transaction(&self) -> usize {
        self.wire.lock().largest_transaction
    }

    /// What the targets received, in order.
    pub fn journal(&self) -> Vec<Request> {
        self.wire.lock().journal.clone()
    }

    /// How many requests of a dispatch its target received.
    pub fn requests(&self, idempotency_key: &str) -> usize {
        self.wire.lock().journal.iter().filter(|r| r.idempotency_key == idempotency_key).count()
    }

    /// An ack of a dispatch with its valid token, not yet on the log.
    pub fn ack(&self, file_id: &str, target: &str, kind: OutcomeKind) -> Outcome {
        let (file_id, target) = (FileId::trusted(file_id), TargetName::trusted(target));
        let token = self.tokens.issue(&dispatch_key(&file_id, &target));
        Outcome { ack_token: Some(token), ..blank(&file_id, &target, kind, self.now()) }
    }

    /// The record of an ack on the acks topic.
    pub fn ack_append(&self, ack: &Outcome) -> Append {
        Append {
            topic: Topic::Acks,
            partition: None,
            key: dispatch_key(&ack.file_id, &ack.target).into_bytes(),
            value: Some(self.encode(Topic::Acks, ack)),
            headers: Headers::new(),
        }
    }

    /// A target acknowledges.
    pub fn acknowledge(&self, ack: &Outcome) {
        self.cluster.append_now(self.ack_append(ack)).expect("no fault is aimed at appends");
    }

    // ── people ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// An intervention on what the newest file-state shows, not yet on the log.
    pub fn asked(&mut self, file_id: &str, target: Option<&str>, action: Action) -> Intervention {
        self.interventions += 1;
        let intervention_id = format!("i-{}", self.interventions);
        let state = self.state(file_id);
        let dispatch = target.and_then(|t| state.dispatches.iter().find(|d| d.target.as_str() == t));
        Intervention {
            intervention_id,
            file_id: FileId::trusted(file_id),
            target: target.map(TargetName::trusted),
            action,
            actor: "ann".into(),
            reason: "the target was asked".into(),
            evidence: None,
            seen_version: Some(dispatch.map_or(state.version, |d| d.version)),
            requested_at: self.now(),
            resend_unknown: false,
            successor: None,
        }
    }

    /// Puts an intervention on the log.
    pub fn ask(&self, asked: &Intervention) {
        let key = asked.target.as_ref().map_or_else(|| file_key(&asked.file_id), |t| dispatch_key(&asked.file_id, t));
        let home = self.home_of(asked.file_id.as_str());
        self.append(Topic::Interventions, home, &key, Some(self.encode(Topic::Interventions, asked)));
    }

    /// A person intervenes on what the newest file-state shows.
    pub fn intervene(&mut self, file_id: &str, target: Option<&str>, action: Action) {
        let asked = self.asked(file_id, target, action);
        self.ask(&asked);
    }

    /// A person pauses a target, or ends every pause of it.
    pub fn pause(&mut self, target: &str, paused: bool) -> Result<(), LogError> {
        let target = TargetName::trusted(target);
        let said = ("ann", "maintenance", self.now());
        let change = Control::pausing(&target, paused, self.controls().resumed_at(&target), said);
        self.change_controls(&[change])
    }

    /// What the group obeys.
    fn controls(&self) -> Controls {
        let mut controls = Controls::default();
        for record in self.cluster.dump(Topic::Controls) {
            let name = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
            let control = record.value.as_deref().map(|v| self.codec.decode::<Control>(v)).transpose();
            controls.apply(&name, control.unwrap_or_default());
        }
        controls
    }

    /// Brings a routing document into force.
    ///
    /// # Panics
    /// If it doesn't load.
    pub fn apply_routing(&mut self, document: &str) -> Result<(), LogError> {
        let sources = Sources { name: "routing.yaml".into(), document: document.into(), files: BTreeMap::new() };
        let loaded = routing::load(&sources).unwrap_or_else(|e| panic!("the document doesn't load: {e:?}"));
        let digest = loaded.document.digest().to_owned();
        let said = ("ann", "it changed", self.now());
        let keeping = Control::keeping(sources.to_bundle(&digest), said);
        let active = ActiveRouting { routing_digest: digest, breaking_accepted: None, answers: Vec::new() };
        self.change_controls(&[keeping, Control::activating(active, said)])
    }

    fn change_controls(&mut self, controls: &[Control]) -> Result<(), LogError> {
        let appends: Vec<Append> = controls
            .iter()
            .map(|control| Append {
                topic: Topic::Controls,
                partition: Some(0),
                key: control.name.clone().into_bytes(),
                value: Some(self.encode(Topic::Controls, control)),
                headers: Headers::new(),
            })
            .collect();
        self.cluster.change_controls(&mut |_| appends.clone())
    }

    // ── what is left ──────────────────────────────────────────────────────────────────────────────────────────────

    /// Every record of every topic, as a read-committed reader sees it.
    pub fn dump(&self) -> Vec<Record> {
        Topic::ALL.into_iter().flat_map(|topic| self.cluster.dump(topic)).collect()
    }

    /// Dead letters: reason and record.
    pub fn dead_letters(&self) -> Vec<(String, Record)> {
        let reason = |r: &Record| String::from_utf8_lossy(r.header("consign-reason").unwrap_or_default()).into_owned();
        self.cluster.dump(Topic::DeadLetters).into_iter().map(|record| (reason(&record), record)).collect()
    }

    /// What the checker must know of this world.
    pub fn verify_options(&self, quiet: bool) -> verify::Options {
        let default_deadline_ms = WorkerOptions::new("", self.names.clone()).default_deadline_ms;
        verify::Options {
            names: self.names.clone(),
            home_partitions: self.options.home_partitions,
            max_clock_skew_ms: 0,
            default_deadline_ms,
            retention_ms: self.options.retention_ms,
            due: if quiet { Due::Everything } else { Due::NOTHING },
            // While markers are still to land, offsets may be visible later than the records of their transaction.
            committed: if quiet { self.cluster.committed_positions() } else { BTreeMap::new() },
            every_state: true,
        }
    }

    /// Lets the checker judge the log and the journals.
    pub fn check(&self, quiet: bool) -> verify::Report {
        let records = self.dump();
        let mut report = verify::check(Arc::clone(&self.codec), self.verify_options(quiet), &records, self.journal());
        for key in &self.wire.lock().premature {
            report.violations.push(verify::Violation {
                invariant: "I5",
                file_id: None,
                text: format!("{key} was handed to the transport before its commit was confirmed"),
                at: None,
            });
        }
        report
    }
}
