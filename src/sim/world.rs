//! The world: a log, a clock, workers, targets' answers, and what people and producers do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::faults::Aimed;
use super::process::{Frozen, Process};
use super::registry::SimRegistry;
use super::sabotage::{Sabotage, Saboteur};
use super::watched::WatchedLog;
use super::wire::{Wire, WireTransport};
use crate::engine::{Observed, Stop, Unwell, Worker, WorkerOptions, forgets_after_ms};
use crate::log::memory::{MemoryCluster, MemoryOptions};
use crate::log::{Cluster, Reader, Record};
use crate::record::{
    Codec, Control, FileId, FileManifest, FileState, Status, Timestamp, Topic, TopicNames, home_partition,
};
use crate::store::Shelves;
use crate::transport::AckTokens;
use crate::verify::{self, Due};

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
    /// A fault that is planted in what the workers see and do, to show that the checker finds it.
    pub sabotage: Option<Sabotage>,
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
            sabotage: None,
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
    pub(super) options: WorldOptions,
    pub(super) names: TopicNames,
    pub(super) now: Arc<AtomicI64>,
    pub(super) wire: Wire,
    pub(super) observed: Arc<Mutex<Vec<Observed>>>,
    follower: Box<dyn Reader>,
    states: BTreeMap<FileId, FileState>,
    pub(super) interventions: u64,
    /// How far the clock of each worker's machine is ahead, in milliseconds.
    pub(super) skews: BTreeMap<String, Arc<AtomicI64>>,
    /// The furthest that a clock was off.
    pub(super) largest_skew_ms: i64,
    /// The number of the newest process of each identity.
    pub(super) processes: BTreeMap<String, u64>,
    pub(super) started: u64,
    /// Processes that stand still in the middle of a step.
    pub(super) frozen: Vec<Frozen>,
    /// Processes whose identity another one took.
    pub(super) others: Vec<Process>,
    /// Whether committed offsets were lost and repaired, so that inputs were read again.
    pub(super) inputs_were_reread: bool,
    pub(super) saboteur: Option<Saboteur>,
    /// The disks, by the identity of the worker whose they are.
    pub(super) shelves: BTreeMap<String, Shelves>,
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
        let codec = Arc::new(Codec::new(Arc::new(registry.steady())));
        codec.prepare().expect("the registry is there");
        let follower = cluster.follow(&[Topic::FileState]).expect("reads go well");
        let keys = vec![("k1".to_owned(), b"a secret of some length".to_vec())];
        let saboteur = options.sabotage.map(|which| Saboteur::new(which, cluster.clone()));
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
            wire: Wire::default(),
            observed: Arc::default(),
            follower,
            states: BTreeMap::new(),
            interventions: 0,
            skews: BTreeMap::new(),
            largest_skew_ms: 0,
            processes: BTreeMap::new(),
            started: 0,
            frozen: Vec::new(),
            others: Vec::new(),
            inputs_were_reread: false,
            saboteur,
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

    /// How long after its settlement a file is forgotten, in milliseconds.
    pub fn forgets_after_ms(&self) -> i64 {
        forgets_after_ms(self.options.retention_ms)
    }

    /// Moves the clock; the workers learn of it when they are stepped.
    pub fn advance(&self, millis: i64) {
        self.now.fetch_add(millis, Ordering::SeqCst);
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
            max_poll: self.options.max_batch,
            max_batch: self.options.max_batch,
            max_clock_skew_ms: self.options.max_clock_skew_ms,
            max_batch_bytes: self.options.max_batch_bytes,
            stores: self.stores_of(identity),
            memory_budget: self.options.memory_budget,
            ..WorkerOptions::new(identity, names)
        };
        self.started += 1;
        let process = self.started;
        self.processes.insert(identity.to_owned(), process);
        let log = WatchedLog {
            inner: self.cluster.worker(identity).expect("the identity is no reserved one"),
            wire: self.wire.clone(),
            aimed: self.aimed.clone(),
            identity: identity.to_owned(),
            saboteur: self.saboteur.clone(),
            codec: Arc::clone(&self.codec),
        };
        let transport = WireTransport {
            wire: self.wire.clone(),
            aimed: self.aimed.clone(),
            worker: identity.to_owned(),
            process,
            saboteur: self.saboteur.clone(),
        };
        let registry = self.saboteur.as_ref().map_or_else(|| self.registry.clone(), |s| s.registry(&self.registry));
        let codec = Arc::new(Codec::new(Arc::new(registry)));
        let observed = Arc::clone(&self.observed);
        let observe = move |o: &Observed| observed.lock().unwrap_or_else(PoisonError::into_inner).push(o.clone());
        let tokens = Arc::clone(&self.tokens);
        let worker = Worker::new(options, Box::new(log), Box::new(transport), codec, tokens, Box::new(observe));
        self.workers.insert(identity.to_owned(), worker)
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

    /// How many things were observed so far.
    pub(super) fn observed_so_far(&self) -> usize {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).len()
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
            // A clock that is measured decides nothing where it is off by more; two of them differ by twice that.
            max_clock_skew_ms: self
                .options
                .max_clock_skew_ms
                .map_or(self.largest_skew_ms, |max| self.largest_skew_ms.min(2 * max)),
            default_deadline_ms,
            retention_ms: self.options.retention_ms,
            due: if quiet { Due::Everything } else { Due::NOTHING },
            // While markers are still to land, offsets may be visible later than the records of their transaction.
            committed: if quiet { self.cluster.committed_positions() } else { BTreeMap::new() },
            every_state: true,
            inputs_were_reread: self.inputs_were_reread,
        }
    }

    /// Lets the checker judge the log and the journals.
    pub fn check(&self, quiet: bool) -> verify::Report {
        let records = self.dump();
        let mut received = self.journal();
        received.extend(self.received_in_transactions());
        let mut report = verify::check(Arc::clone(&self.codec), self.verify_options(quiet), &records, received);
        if quiet {
            self.check_records(&mut report);
        }
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
