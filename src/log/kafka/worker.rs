//! A worker's connection: one member of the group and one transactional producer under a stable identity.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{
    FETCH, REQUEST, ends_seen_by, partition_list, plain_consumer, position_list, record, settings, triage,
};
use super::producer::Transactions;
use super::reader::KafkaReader;
use super::rebalance::Rebalances;
use super::{KafkaOptions, Probe};
use crate::log::{Append, AssignmentChange, Batch, Ends, Isolation, Log, LogError, Position, Reader, TopicPartition};
use crate::record::Topic;

/// How long taking over the transactional id may take.
const TAKE_OVER: Duration = Duration::from_secs(30);
/// The wait between two tries to seek in a partition whose assignment is still being carried out.
const SEEK_AGAIN: Duration = Duration::from_millis(5);

/// [`Log`] on Kafka.
pub(super) struct KafkaLog {
    options: Arc<KafkaOptions>,
    probe: Arc<Probe>,
    identity: String,
    /// `None` only once the log is closed, or while a rebuild has failed.
    clients: Option<Clients>,
    /// Assigned partitions, each with the offset from which it delivers, or `None` while it mustn't.
    assigned: BTreeMap<TopicPartition, Option<i64>>,
    /// What a poll had collected before it failed.
    kept: Batch,
}

/// The two clients of one life of a worker. The producer is dropped first.
struct Clients {
    transactions: Transactions,
    consumer: BaseConsumer<Rebalances>,
}

impl KafkaLog {
    pub(super) fn open(options: Arc<KafkaOptions>, probe: Arc<Probe>, identity: &str) -> Result<Self, LogError> {
        let mut this = Self {
            options,
            probe,
            identity: identity.to_owned(),
            clients: None,
            assigned: BTreeMap::new(),
            kept: Batch::default(),
        };
        this.rebuild()?;
        Ok(this)
    }

    fn connect(&self) -> Result<Clients, LogError> {
        // First the producer: a transaction that an earlier life left open ends before anything is read.
        let id = format!("{}{}", self.options.names.prefix(), self.identity);
        let transactions = Transactions::begin_under(&self.options, &id, TAKE_OVER)?;
        let session = self.options.session_timeout.as_millis().to_string();
        let heartbeat = (self.options.session_timeout.as_millis() / 3).clamp(1, 3000).to_string();
        let fixed = [
            ("group.id", self.options.group.as_str()),
            ("group.instance.id", &self.identity),
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "range"),
            ("session.timeout.ms", &session),
            ("heartbeat.interval.ms", &heartbeat),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "error"),
        ];
        let consumer: BaseConsumer<Rebalances> = settings(&self.options, &FETCH, &fixed)
            .create_with_context(Rebalances::new(self.options.names.clone()))
            .map_err(|e| triage(&e))?;
        let inputs: Vec<String> = Topic::INPUTS.iter().map(|t| self.options.names.name(*t)).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        consumer.subscribe(&inputs).map_err(|e| triage(&e))?;
        Ok(Clients { transactions, consumer })
    }

    fn clients(&self) -> Result<&Clients, LogError> {
        self.clients.as_ref().ok_or_else(|| LogError::Away("this connection is closed; rebuild it".into()))
    }

    fn take_in_changes(&mut self) {
        let Some(clients) = &self.clients else { return };
        for change in clients.consumer.context().take() {
            match &change {
                AssignmentChange::Assigned(partitions) => {
                    self.assigned.extend(partitions.iter().map(|at| (*at, None)));
                }
                AssignmentChange::Revoked(partitions) => {
                    self.assigned.retain(|at, _| !partitions.contains(at));
                    self.kept.records.retain(|r| !partitions.contains(&r.at));
                }
            }
            self.kept.changes.push(change);
        }
    }

    /// One step of a poll: whether there may be more to collect at once.
    fn poll_once(&mut self, wait: Duration) -> Result<bool, LogError> {
        let clients = self.clients()?;
        let polled = match clients.consumer.poll(wait) {
            None => None,
            Some(Ok(message)) => {
                record(&self.options.names, &message).filter(|r| self.delivers(&r.at, r.offset)).map(Ok)
            }
            Some(Err(error)) => clients.judge(&error).map(Err),
        };
        self.take_in_changes();
        match polled {
            // A revocation may have come in the same step, before the record.
            Some(Ok(record)) if self.delivers(&record.at, record.offset) => self.kept.records.push(record),
            Some(Ok(_)) | None => {}
            Some(Err(error)) => return Err(error),
        }
        Ok(true)
    }

    fn delivers(&self, at: &TopicPartition, offset: i64) -> bool {
        matches!(self.assigned.get(at), Some(Some(from)) if offset >= *from)
    }

    /// Moves an assigned partition, also one whose assignment librdkafka is still carrying out.
    fn seek(&self, positions: &[Position]) -> Result<(), LogError> {
        let consumer = &self.clients()?.consumer;
        let deadline = Instant::now() + REQUEST;
        let mut left = position_list(&self.options.names, positions)?;
        loop {
            let sought = consumer.seek_partitions(left, REQUEST).map_err(|e| triage(&e))?;
            left = TopicPartitionList::new();
            for element in sought.elements() {
                match element.error() {
                    Ok(()) => {}
                    Err(KafkaError::OffsetFetch(Code::State | Code::PreviousInProgress | Code::UnknownPartition))
                        if Instant::now() < deadline =>
                    {
                        left.add_partition_offset(element.topic(), element.partition(), element.offset())
                            .map_err(|e| triage(&e))?;
                    }
                    Err(e) => return Err(LogError::Away(format!("{}/{}: {e}", element.topic(), element.partition()))),
                }
            }
            if left.count() == 0 {
                return Ok(());
            }
            std::thread::sleep(SEEK_AGAIN);
        }
    }
}

impl Clients {
    /// What an error that a poll brought means, if anything.
    fn judge(&self, error: &KafkaError) -> Option<LogError> {
        if let Some(fatal) = self.fatal() {
            return Some(fatal);
        }
        match triage(error) {
            // librdkafka finds its way back by itself, and a poll without records says as much.
            LogError::Away(text) => {
                tracing::debug!("poll: {text}");
                None
            }
            other => Some(other),
        }
    }

    fn fatal(&self) -> Option<LogError> {
        let (code, text) = self.consumer.client().fatal_error()?;
        Some(match code {
            Code::FencedInstanceId | Code::UnreleasedInstanceId => LogError::InstanceFenced(text),
            _ => LogError::Fatal(text),
        })
    }
}

impl Log for KafkaLog {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Batch, LogError> {
        let deadline = Instant::now() + wait;
        loop {
            let idle = self.kept.records.is_empty() && self.kept.changes.is_empty();
            let before = self.kept.records.len();
            let left = if idle { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            self.poll_once(left)?;
            let over = !idle && self.kept.records.len() == before || Instant::now() >= deadline;
            if over || self.kept.records.len() >= max {
                return Ok(std::mem::take(&mut self.kept));
            }
        }
    }

    fn start(&mut self, positions: &[Position]) -> Result<(), LogError> {
        if positions.is_empty() {
            return Ok(());
        }
        for (at, _) in positions {
            assert!(self.assigned.contains_key(at), "{at} is started but not assigned");
        }
        self.kept.records.retain(|r| !positions.iter().any(|(at, _)| *at == r.at));
        self.seek(positions)?;
        self.clients()?
            .consumer
            .resume(&position_list(&self.options.names, positions)?)
            .map_err(|e| LogError::Away(e.to_string()))?;
        self.assigned.extend(positions.iter().map(|(at, offset)| (*at, Some(*offset))));
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        let held: Vec<TopicPartition> =
            partitions.iter().filter(|at| self.assigned.contains_key(at)).copied().collect();
        if held.is_empty() {
            return Ok(());
        }
        self.kept.records.retain(|r| !held.contains(&r.at));
        self.assigned.extend(held.iter().map(|at| (*at, None)));
        self.clients()?
            .consumer
            .pause(&partition_list(&self.options.names, &held))
            .map_err(|e| LogError::Away(e.to_string()))
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let list = partition_list(&self.options.names, partitions);
        stable_offsets(&self.clients()?.consumer, list)
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let list = self.clients()?.consumer.position().map_err(|e| triage(&e))?;
        let position_of = |at: &TopicPartition| {
            let from = (*self.assigned.get(at)?)?;
            // A record that was collected and not handed out yet is still to come.
            if let Some(kept) = self.kept.records.iter().find(|r| r.at == *at) {
                return Some(kept.offset);
            }
            match list.find_partition(&self.options.names.name(at.topic), at.partition)?.offset() {
                Offset::Offset(position) => Some(position.max(from)),
                _ => Some(from),
            }
        };
        Ok(partitions.iter().map(position_of).collect())
    }

    fn partitions(&mut self, topic: Topic) -> Result<i32, LogError> {
        self.probe.partition_count(topic)
    }

    fn ends(&mut self, partitions: &[TopicPartition], isolation: Isolation) -> Result<Vec<Ends>, LogError> {
        match isolation {
            Isolation::ReadCommitted => ends_seen_by(&self.clients()?.consumer, &self.options.names, partitions),
            Isolation::ReadUncommitted => self.probe.ends(partitions),
        }
    }

    fn reader(&mut self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(KafkaReader::open(&self.options, &self.probe, partitions)?))
    }

    fn transact(&mut self, appends: Vec<Append>, positions: &[Position]) -> Result<(), LogError> {
        assert!(!positions.is_empty(), "a transaction without positions would not fence");
        let list = position_list(&self.options.names, positions)?;
        let clients = self.clients()?;
        let group = || clients.consumer.group_metadata();
        clients.transactions.transact(&appends, Some((&list, &group))).map_err(|error| {
            // The consumer knows better than the producer who it is that has the identity.
            clients.fatal().unwrap_or(error)
        })
    }

    fn rebuild(&mut self) -> Result<(), LogError> {
        self.close();
        self.clients = Some(self.connect()?);
        Ok(())
    }

    fn close(&mut self) {
        self.clients = None;
        self.assigned.clear();
        self.kept = Batch::default();
    }
}

/// Committed offsets after every transaction that is still being committed: the consumer is read-committed, and then
/// librdkafka asks for stable offsets only.
pub(super) fn stable_offsets<C: rdkafka::consumer::ConsumerContext>(
    consumer: &BaseConsumer<C>,
    list: TopicPartitionList,
) -> Result<Vec<Option<i64>>, LogError> {
    if list.count() == 0 {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + REQUEST;
    let found = loop {
        match consumer.committed_offsets(list.clone(), deadline.saturating_duration_since(Instant::now())) {
            Ok(found) => break found,
            // A transaction of this group hasn't ended yet.
            Err(KafkaError::MetadataFetch(Code::UnstableOffsetCommit)) if Instant::now() < deadline => {
                std::thread::sleep(SEEK_AGAIN);
            }
            Err(e) => return Err(triage(&e)),
        }
    };
    found
        .elements()
        .iter()
        .map(|element| {
            element.error().map_err(|e| triage(&e))?;
            Ok(match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            })
        })
        .collect()
}

/// A read-committed consumer that asks for the group's offsets without being a member.
pub(super) fn group_observer(options: &KafkaOptions) -> Result<BaseConsumer<super::client::Tracing>, LogError> {
    plain_consumer(options, "read_committed", "error")
}
