//! The transaction coordinator: producer epochs, and transactions whose ends are decided here first and reach each
//! partition by a marker of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::{Fault, FaultPoint};
use super::state::State;
use crate::log::{AbortCause, Append, LogError, Position, TargetRecord, TopicPartition};

/// Numbers transactions in the order of their beginnings.
pub(super) type TransactionNumber = u64;

/// Where the end of a transaction must become known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkerTarget {
    /// A partition that the transaction has written to.
    Partition(TopicPartition),
    /// The group's committed offsets.
    GroupOffsets,
}

/// A marker of a decided transaction that has not landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PendingMarker {
    /// The transaction's number, rising with each that begins.
    pub transaction: u64,
    /// Whether it commits or aborts.
    pub committed: bool,
    /// Where it goes.
    pub target: MarkerTarget,
}

#[derive(Debug)]
struct Running {
    transactional_id: String,
    /// `None` while it is open.
    committed: Option<bool>,
    targets: BTreeSet<MarkerTarget>,
    positions: BTreeMap<TopicPartition, i64>,
    records: Vec<TargetRecord>,
}

/// The transactions that are open or whose markers have not all landed, and the newest epoch of each producer.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    begun: TransactionNumber,
    epoch_by_transactional_id: BTreeMap<String, u64>,
    running: BTreeMap<TransactionNumber, Running>,
}

/// A producer: what it shows the coordinator.
#[derive(Debug, Clone)]
pub(super) struct Producer {
    pub(super) transactional_id: String,
    pub(super) epoch: u64,
}

impl Transactions {
    /// A number for what happens after all that has begun.
    pub(super) fn next_number(&mut self) -> TransactionNumber {
        self.begun += 1;
        self.begun
    }

    /// Whether a transaction that is open or is still landing carries a position of this partition.
    pub(super) fn holds_position(&self, at: TopicPartition) -> bool {
        self.running
            .values()
            .any(|running| running.targets.contains(&MarkerTarget::GroupOffsets) && running.positions.contains_key(&at))
    }

    /// The markers that have not landed, in the order of transactions.
    pub(super) fn pending_markers(&self) -> Vec<PendingMarker> {
        let of_transaction = |(&transaction, running): (&TransactionNumber, &Running)| {
            let targets = running.targets.iter().copied().collect::<Vec<_>>();
            let committed = running.committed;
            targets
                .into_iter()
                .filter_map(move |target| Some(PendingMarker { transaction, committed: committed?, target }))
        };
        self.running.iter().flat_map(of_transaction).collect()
    }

    fn numbers(&self, which: impl Fn(&Running) -> bool) -> Vec<TransactionNumber> {
        self.running.iter().filter(|(_, running)| which(running)).map(|(number, _)| *number).collect()
    }

    fn bump_epoch(&mut self, transactional_id: &str) -> u64 {
        let epoch = self.epoch_by_transactional_id.entry(transactional_id.to_owned()).or_default();
        *epoch += 1;
        *epoch
    }

    fn is_fenced(&self, producer: &Producer) -> bool {
        self.epoch_by_transactional_id.get(&producer.transactional_id) != Some(&producer.epoch)
    }
}

impl State {
    /// Begins a producer: fences the one before under this transactional id, aborts what it left open and lands what it
    /// left to land.
    pub(super) fn begin_producer(&mut self, transactional_id: &str) -> Producer {
        self.finish_transactions_of(transactional_id);
        let epoch = self.transactions.bump_epoch(transactional_id);
        Producer { transactional_id: transactional_id.to_owned(), epoch }
    }

    /// Aborts every open transaction and fences its producer, as the coordinator does after their time-out.
    pub(super) fn expire_transactions(&mut self) {
        for number in self.transactions.numbers(|running| running.committed.is_none()) {
            let transactional_id = self.transactions.running[&number].transactional_id.clone();
            self.transactions.bump_epoch(&transactional_id);
            self.end_transaction(number, false, false);
        }
    }

    /// One transaction from its beginning to its end, under the fault that is chosen for it. `may_commit` is the group's
    /// word on the positions.
    pub(super) fn transact(
        &mut self,
        producer: &Producer,
        (appends, records): (Vec<Append>, Vec<TargetRecord>),
        positions: &[Position],
        may_commit: Result<(), String>,
    ) -> Result<Vec<Position>, LogError> {
        let places = appends.iter().map(|append| self.place(append)).collect::<Result<Vec<_>, _>>()?;
        let transactional_id = producer.transactional_id.as_str();
        let fault = self.fault(FaultPoint::Transact { transactional_id, appends: &appends, positions });
        if fault == Fault::Away {
            return Err(LogError::Away("the transaction could not begin, as its fault says".to_owned()));
        }
        if self.transactions.is_fenced(producer) {
            return Err(LogError::ProducerFenced(transactional_id.to_owned()));
        }
        // A client can't begin a transaction before the markers of its last one have landed: it waits for them.
        self.finish_transactions_of(transactional_id);
        let refused = self.targets.refused(&records).map(|record| record.topic.clone());
        let (number, next) = self.write_transaction(transactional_id, (appends, records), &places, positions)?;
        if let Some(topic) = refused {
            self.end_transaction(number, false, false);
            return Err(LogError::TargetTopic { topic, text: "as its fault says".to_owned() });
        }
        if let Err(why) = may_commit {
            self.end_transaction(number, false, false);
            return Err(LogError::aborted(AbortCause::Rebalance, why));
        }
        match fault {
            Fault::Abort { late_markers } => {
                self.end_transaction(number, false, late_markers);
                Err(LogError::aborted(AbortCause::Log, "as its fault says"))
            }
            Fault::Displaced => {
                self.end_transaction(number, false, false);
                Err(LogError::Displaced(transactional_id.to_owned()))
            }
            Fault::LeftOpen => Err(LogError::Undecided(format!("transaction {number} of {transactional_id}"))),
            Fault::Commit { reply_lost, late_markers } => {
                self.end_transaction(number, true, late_markers);
                let undecided = || LogError::Undecided(format!("transaction {number} of {transactional_id}"));
                if reply_lost { Err(undecided()) } else { Ok(next) }
            }
            Fault::Away => unreachable!("answered before anything was written"),
        }
    }

    fn write_transaction(
        &mut self,
        transactional_id: &str,
        (appends, records): (Vec<Append>, Vec<TargetRecord>),
        places: &[TopicPartition],
        positions: &[Position],
    ) -> Result<(TransactionNumber, Vec<Position>), LogError> {
        let number = self.transactions.next_number();
        let mut targets: BTreeSet<MarkerTarget> = places.iter().copied().map(MarkerTarget::Partition).collect();
        let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for (append, at) in appends.into_iter().zip(places) {
            let content = self.content(append);
            let offset = self.partition_mut(*at)?.append(content, Some(number));
            next.insert(*at, offset + 1);
        }
        if !positions.is_empty() {
            targets.insert(MarkerTarget::GroupOffsets);
        }
        let running = Running {
            transactional_id: transactional_id.to_owned(),
            committed: None,
            targets,
            positions: positions.iter().copied().collect(),
            records,
        };
        self.transactions.running.insert(number, running);
        Ok((number, next.into_iter().collect()))
    }

    /// Decides a transaction's end and, unless its markers are late, lands them.
    fn end_transaction(&mut self, number: TransactionNumber, committed: bool, late_markers: bool) {
        let running = self.transactions.running.get_mut(&number).expect("an open transaction is running");
        running.committed = Some(committed);
        let records = std::mem::take(&mut running.records);
        if committed {
            self.targets.commit(records, (self.options.clock)());
        }
        if !late_markers {
            self.land_markers_of(number);
        }
    }

    fn finish_transactions_of(&mut self, transactional_id: &str) {
        for number in self.transactions.numbers(|running| running.transactional_id == transactional_id) {
            if self.transactions.running[&number].committed.is_none() {
                self.end_transaction(number, false, false);
            } else {
                self.land_markers_of(number);
            }
        }
    }

    fn land_markers_of(&mut self, number: TransactionNumber) {
        let markers = self.transactions.pending_markers();
        for marker in markers.into_iter().filter(|marker| marker.transaction == number) {
            self.land_marker(marker);
        }
    }

    /// Lands one marker; false if it is not among those that are pending.
    pub(super) fn land_marker(&mut self, marker: PendingMarker) -> bool {
        let Some(running) = self.transactions.running.get_mut(&marker.transaction) else { return false };
        if running.committed != Some(marker.committed) || !running.targets.remove(&marker.target) {
            return false;
        }
        match marker.target {
            MarkerTarget::Partition(at) => {
                let partition = self.partitions.get_mut(&at).expect("it has been written to");
                partition.land_marker(marker.transaction, marker.committed);
            }
            MarkerTarget::GroupOffsets if marker.committed => self.group.commit(marker.transaction, &running.positions),
            MarkerTarget::GroupOffsets => {}
        }
        if running.targets.is_empty() {
            self.transactions.running.remove(&marker.transaction);
        }
        true
    }
}
