//! Faults that are planted on purpose where a worker meets its ports, to show that the checker finds each.
//!
//! They stand in what the simulated world puts around the ports: no switch of the product can turn one on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::points::Killed;
use super::registry::SimRegistry;
use super::wire::Wire;
use crate::log::memory::MemoryCluster;
use crate::log::{AbortCause, Append, Batch, Log, LogError, Position, Reader, Record, TargetRecord, TopicPartition};
use crate::record::registry::LocalRegistry;
use crate::record::{Bytes, Codec, OnUnknown, Timestamp, Topic};
use crate::routing::sha256_digest;
use crate::transport::Dispatch;
use crate::verify::Request;

mod records;

macro_rules! sabotages {
    ($($(#[$doc:meta])* $name:ident => [$($caught_by:literal),+],)+) => {
        /// A planted fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Sabotage { $($(#[$doc])* $name,)+ }

        impl Sabotage {
            /// Every planted fault.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The invariants of which one at least must be found broken.
            pub const fn caught_by(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($caught_by),+],)+ }
            }
        }
    };
}

sabotages! {
    /// A request leaves before the commit of its attempt.
    SendBeforeCommit => ["I5"],
    /// A second attempt is written under the number of the first.
    AttemptNumberReused => ["I6"],
    /// An attempt's number is left out.
    AttemptNumberSkipped => ["I6"],
    /// One of a plan's targets is never written.
    TargetDropped => ["I4"],
    /// A plan record is written again, with another destination.
    PlanRewritten => ["I4"],
    /// A plan depends on something beside its inputs.
    PlanNotDeterministic => ["I10"],
    /// A file is COMPLETED while a dispatch is open.
    CompletedEarly => ["I3"],
    /// Another file-state follows a terminal one.
    TerminalOverwritten => ["I2"],
    /// A file-state is written twice under one version.
    VersionRepeated => ["I2"],
    /// The positions are committed before the records, and the process ends between.
    OffsetsBeforeRecords => ["I1", "I14", "I15"],
    /// The positions stay behind the records that were made of them.
    OffsetsAfterRecords => ["I1", "I15"],
    /// A restore ends where a read-committed reader has nothing more to read.
    RestoreToLastStable => ["I1", "I2", "I4", "I6", "I11"],
    /// A commit that happened is taken for one that didn't.
    CommitTakenForAborted => ["I1", "I2", "I4", "I6", "I11", "I15"],
    /// A fenced producer's records are written all the same.
    StaleEpoch => ["I1", "I2", "I4", "I6", "I11", "I15"],
    /// A schema id that nobody knows is taken for the topic's.
    IdTrustedBlindly => ["I15"],
    /// Attempts go to another partition than their file's.
    WrongPartitioner => ["I2"],
    /// What waits to be read looks as if it had just been announced.
    AgeMistaken => ["I1"],
    /// Timers are never appended.
    TimerLost => ["I12"],
    /// A timer takes effect before reports that stand before it in the log.
    TimerAheadOfReports => ["I14"],
    /// A deadline is appended before its time.
    TimerEarly => ["I14"],
    /// A request to a `hold` target is sent twice.
    HoldSentTwice => ["I8"],
    /// A report of an unknown fate is read as one of a known no.
    UnknownTakenForRetryable => ["I8", "I11"],
    /// A report's wrong digest is read as that of what was sent.
    ReceiptForged => ["I11"],
    /// The end of a request doesn't give its permit back.
    PermitsLeaked => ["L1"],
    /// A retry carries other bytes than the first request.
    OtherBody => ["I7"],
    /// A request goes to a target that isn't planned.
    UnplannedTarget => ["I9"],
    /// An attempt is authorized after its dispatch has settled.
    AttemptAfterSettlement => ["I9"],
    /// An attempt is authorized while its dispatch is HELD.
    AttemptWhileHeld => ["I13"],
    /// An intervention's actor isn't recorded.
    AnonymousIntervention => ["I13"],
    /// An ack isn't brought home.
    AckLost => ["I14"],
    /// What can't be read is passed over.
    DeadLetterLost => ["I1", "I15"],
    /// A dead letter holds other bytes than the record that died.
    DeadLetterChanged => ["I15"],
    /// A manifest is passed over.
    ManifestLost => ["I1"],
    /// A manifest is forwarded twice.
    ForwardedTwice => ["I1"],
    /// A time in a file-state is the clock's and not a record's.
    TimeOfNoRecord => ["I11"],
    /// Nobody is accountable for a file.
    NobodyAccountable => ["I12"],
    /// A history record isn't written.
    HistoryLost => ["I11"],
    /// File-state is not written with the event that changed it.
    StateLost => ["I11"],
}

/// How often a planted fault strikes that would otherwise bring everything down.
const STRIKES: u64 = 4;

#[derive(Debug, Default)]
struct State {
    struck: u64,
    chances: u64,
    plans: BTreeMap<String, Append>,
    positions: BTreeMap<TopicPartition, i64>,
}

/// What plants one fault. Clones share it.
#[derive(Clone)]
pub(super) struct Saboteur {
    which: Sabotage,
    codec: Arc<Codec>,
    cluster: MemoryCluster,
    state: Arc<Mutex<State>>,
}

impl Saboteur {
    pub fn new(which: Sabotage, cluster: MemoryCluster) -> Self {
        Self { which, codec: Arc::new(Codec::new(Arc::new(LocalRegistry))), cluster, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this chance is taken: the first few are.
    fn strikes(&self) -> bool {
        let mut state = self.lock();
        state.struck += 1;
        state.struck <= STRIKES
    }

    /// Whether this chance is taken: every so many of them is.
    fn strikes_every(&self, period: u64) -> bool {
        let mut state = self.lock();
        state.chances += 1;
        state.chances.is_multiple_of(period)
    }

    pub fn leaks_permits(&self) -> bool {
        self.which == Sabotage::PermitsLeaked
    }

    /// How often a request reaches its target.
    pub fn copies(&self, on_unknown: OnUnknown) -> usize {
        let twice = self.which == Sabotage::HoldSentTwice && on_unknown == OnUnknown::Hold && self.strikes();
        if twice { 2 } else { 1 }
    }

    /// The registry that workers ask.
    pub fn registry(&self, registry: &SimRegistry) -> SimRegistry {
        let registry = registry.clone();
        if self.which == Sabotage::IdTrustedBlindly { registry.trusting() } else { registry }
    }

    /// What a worker is handed of a poll.
    pub fn polled(&self, mut batch: Batch) -> Batch {
        match self.which {
            Sabotage::ManifestLost => {
                batch.records.retain(|r| r.at.topic != Topic::Manifests || r.value.is_none() || !self.strikes_every(9));
            }
            Sabotage::AgeMistaken => {
                let manifests = batch.records.iter_mut().filter(|r| r.at.topic == Topic::Manifests);
                manifests.for_each(|r| r.timestamp = Timestamp(i64::MAX));
            }
            Sabotage::TimerAheadOfReports => {
                let is_timer = |r: &Record| r.at.topic == Topic::Outcomes && self.is_timer(r.value.as_deref());
                batch.records.sort_by_key(|r| !is_timer(r));
            }
            Sabotage::UnknownTakenForRetryable => {
                let outcomes = batch.records.iter_mut().filter(|r| r.at.topic == Topic::Outcomes);
                outcomes.filter_map(|r| r.value.as_mut()).for_each(|value| self.forgive(value));
            }
            Sabotage::ReceiptForged => {
                let outcomes = batch.records.iter_mut().filter(|r| r.at.topic == Topic::Outcomes);
                outcomes.filter_map(|r| r.value.as_mut()).for_each(|value| self.vouch(value));
            }
            _ => {}
        }
        batch
    }

    /// The reader that a restore gets.
    pub fn reader(&self, partitions: &[TopicPartition], reader: Box<dyn Reader>) -> Box<dyn Reader> {
        let of_controls = partitions.iter().any(|at| at.topic == Topic::Controls);
        if self.which == Sabotage::RestoreToLastStable && !of_controls {
            Box::new(Hasty { reader, is_done: false })
        } else {
            reader
        }
    }

    /// What a transport is handed.
    pub fn send(&self, mut dispatch: Dispatch) -> Dispatch {
        match self.which {
            Sabotage::OtherBody if dispatch.attempt.attempt > 1 => {
                let plan = Arc::make_mut(&mut dispatch.plan);
                plan.request.body = Some(Bytes::from(b"other bytes".to_vec()));
            }
            Sabotage::UnplannedTarget if self.strikes() => {
                let attempt = Arc::make_mut(&mut dispatch.attempt);
                attempt.idempotency_key = format!("{}/nowhere", attempt.file_id);
            }
            _ => {}
        }
        dispatch
    }

    /// One transaction of a worker.
    pub fn transact(
        &self,
        log: &mut dyn Log,
        wire: &Wire,
        (mut appends, records): (Vec<Append>, Vec<TargetRecord>),
        positions: &[Position],
    ) -> Result<Vec<Position>, LogError> {
        self.change(&mut appends);
        match self.which {
            Sabotage::SendBeforeCommit => {
                self.send_at_once(wire, &appends);
                log.transact_with(appends, records, positions)
            }
            Sabotage::OffsetsBeforeRecords if !appends.is_empty() && self.strikes_every(40) => {
                log.transact(Vec::new(), positions)?;
                std::panic::resume_unwind(Box::new(Killed))
            }
            Sabotage::OffsetsAfterRecords => {
                let behind = {
                    let mut state = self.lock();
                    let old = positions.iter().map(|(at, new)| (*at, state.positions.get(at).copied().unwrap_or(*new)));
                    let old: Vec<Position> = old.collect();
                    state.positions.extend(positions.iter().copied());
                    old
                };
                log.transact_with(appends, records, &behind)
            }
            Sabotage::CommitTakenForAborted if !appends.is_empty() && self.strikes_every(30) => {
                log.transact_with(appends, records, positions)?;
                Err(LogError::aborted(AbortCause::Log, "it was committed"))
            }
            Sabotage::StaleEpoch => {
                let copies = appends.clone();
                let done = log.transact_with(appends, records, positions);
                if matches!(done, Err(LogError::ProducerFenced(_) | LogError::InstanceFenced(_) | LogError::Aborted(_)))
                {
                    for copy in copies {
                        self.cluster.append_now(copy)?;
                    }
                }
                done
            }
            _ => log.transact_with(appends, records, positions),
        }
    }

    fn send_at_once(&self, wire: &Wire, appends: &[Append]) {
        let received_at = self.cluster_time();
        let mut wire = wire.lock();
        for attempt in appends.iter().filter(|a| a.topic == Topic::Attempts) {
            let Some((idempotency_key, number, body)) = self.request_of(attempt) else { continue };
            wire.journal.push(Request {
                idempotency_key,
                attempt: number,
                body_sha256: sha256_digest(&body),
                received_at,
            });
        }
    }
}

/// A reader that is done as soon as nothing more is visible.
struct Hasty {
    reader: Box<dyn Reader>,
    is_done: bool,
}

impl Reader for Hasty {
    fn poll(&mut self, max: usize, wait: std::time::Duration) -> Result<Vec<Record>, LogError> {
        let records = self.reader.poll(max, wait)?;
        self.is_done = records.is_empty();
        Ok(records)
    }

    fn at_goal(&self) -> bool {
        self.is_done
    }

    fn progress(&self) -> (i64, i64) {
        self.reader.progress()
    }
}
