//! A worker's connection: one member of the group and one transactional producer under a stable identity.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{
    ASK_AGAIN, FETCH, REQUEST, ends_seen_by, partition_list, plain_consumer, position_list, record, settings, triage,
};
use super::contact::Contact;
use super::producer::{Transactions, Written};
use super::progress::Progress;
use super::reader::KafkaReader;
use super::rebalance::{Rebalances, settle};
use super::targets::TopicChecks;
use super::{KafkaOptions, Probe};
use crate::log::{
    Append, AssignmentChange, Batch, Ends, Isolation, Log, LogError, Position, Reader, Record, TargetRecord,
    TopicCheck, TopicPartition,
};
use crate::record::Topic;

/// How long the end of a consumer may take before it is left to itself.
const LEAVE: Duration = Duration::from_secs(10);
/// How long taking over the transactional id may take.
const TAKE_OVER: Duration = Duration::from_secs(30);

/// [`Log`] on Kafka.
pub(super) struct KafkaLog {
    options: Arc<KafkaOptions>,
    probe: Arc<Probe>,
    identity: String,
    /// `None` only once the log is closed, or while a rebuild has failed.
    clients: Option<Clients>,
    /// Assigned partitions, each with the offset of the next record to deliver, or `None` while it mustn't deliver.
    assigned: BTreeMap<TopicPartition, Option<i64>>,
    /// What a poll had collected before it failed.
    kept: Batch,
    contact: Contact,
    progress: Progress,
    topics: TopicChecks,
}

/// The two clients of one life of a worker.
struct Clients {
    transactions: Transactions,
    /// Taken when it is dropped.
    consumer: Option<BaseConsumer<Rebalances>>,
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
            contact: Contact::new(),
            progress: Progress::new(),
            topics: TopicChecks::default(),
        };
        this.rebuild()?;
        Ok(this)
    }

    fn connect(&self) -> Result<Clients, LogError> {
        // First the producer: a transaction that an earlier life left open ends before anything is read.
        let transactions = self.begin_producer()?;
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
        Ok(Clients { transactions, consumer: Some(consumer) })
    }

    fn begin_producer(&self) -> Result<Transactions, LogError> {
        let id = format!("{}{}", self.options.names.prefix(), self.identity);
        Transactions::begin_under(&self.options, &id, TAKE_OVER)
    }

    /// Puts a producer of a later epoch in the place of one that is spent.
    fn renew_producer_if_due(&mut self) -> Result<(), LogError> {
        if self.clients()?.transactions.is_spent() {
            let transactions = self.begin_producer()?;
            if let Some(clients) = &mut self.clients {
                clients.transactions = transactions;
            }
        }
        Ok(())
    }

    fn clients(&self) -> Result<&Clients, LogError> {
        self.clients.as_ref().ok_or_else(|| LogError::Away("this connection is closed; rebuild it".into()))
    }

    fn take_in_changes(&mut self) {
        let Some(clients) = &self.clients else { return };
        for change in clients.consumer().context().take() {
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

    fn poll_once(&mut self, wait: Duration) -> Result<(), LogError> {
        let clients = self.clients()?;
        let polled = match clients.consumer().poll(wait) {
            None => Ok(None),
            Some(Ok(message)) => Ok(record(&self.options.names, &message)),
            Some(Err(error)) if is_out_of_range(&error) => Err(self.out_of_range()),
            Some(Err(error)) => clients.judge(&error).map_or(Ok(None), |e| Err(self.excuse(e))),
        };
        // Whatever changed did so before the record was read.
        self.take_in_changes();
        if let Some(record) = polled? {
            self.take_in(record);
        }
        Ok(())
    }

    /// What is kept for a poll's caller, having asked whether the brokers are there. `Stuck` where they are and the consumer
    /// has lost them.
    fn hand_out(&mut self) -> Result<Batch, LogError> {
        if !self.kept.records.is_empty() {
            self.contact.heard();
            self.progress.came();
        }
        if let Some(clients) = &self.clients
            && self.contact.keep(clients.consumer(), self.options.names.shared(Topic::Manifests), &self.probe)
        {
            return Err(LogError::Stuck("the consumer has no answers, and others have".to_owned()));
        }
        if self.stands_still()? {
            return Err(LogError::Stuck("the consumer is left without what others read".to_owned()));
        }
        Ok(std::mem::take(&mut self.kept))
    }

    /// Whether there is something to read that doesn't come.
    fn stands_still(&mut self) -> Result<bool, LogError> {
        if self.progress.is_due() {
            let started = self.assigned.iter().filter(|(_, next)| next.is_some()).map(|(at, _)| *at);
            let started: Vec<TopicPartition> = started.collect();
            let positions = started.iter().zip(self.positions(&started)?);
            let positions = positions.filter_map(|(at, position)| Some((*at, position?))).collect();
            self.progress.look(positions, &self.options, &self.probe);
        }
        Ok(self.progress.is_lost())
    }

    /// A join whose answer an outage swallowed is repeated, and the broker takes the repetition for another process under
    /// this identity. One rebuild for each outage shows which it was: a real rival fences again.
    fn excuse(&self, error: LogError) -> LogError {
        match error {
            LogError::InstanceFenced(text) if self.contact.excuses() => LogError::Displaced(text),
            other => other,
        }
    }

    /// Which partitions can't go on: librdkafka says only that one can't.
    fn out_of_range(&self) -> LogError {
        let started: Vec<Position> = self.assigned.iter().filter_map(|(at, next)| Some((*at, (*next)?))).collect();
        let partitions: Vec<TopicPartition> = started.iter().map(|(at, _)| *at).collect();
        let ends = match self.probe.ends(&partitions) {
            Ok(ends) => ends,
            Err(error) => return error,
        };
        let outside = |((_, next), ends): &(&Position, Ends)| *next < ends.low || *next > ends.high;
        let found: Vec<Position> = started.iter().zip(ends).filter(outside).map(|(position, _)| *position).collect();
        if found.is_empty() {
            LogError::Away("a position was out of range".into())
        } else {
            LogError::OutOfRange(found)
        }
    }

    /// Takes a record in, unless its partition isn't started, or not there.
    fn take_in(&mut self, record: Record) {
        if let Some(Some(next)) = self.assigned.get_mut(&record.at)
            && record.offset >= *next
        {
            *next = record.offset + 1;
            self.kept.records.push(record);
        }
    }

    /// Has librdkafka fetch the started partitions, each from its next offset, and no others.
    ///
    /// Seeking and pausing would spare the refetch, but a seek that meets an offset look-up under way can be undone by
    /// its reply, and what lies between is never delivered.
    fn fetch_started(&self) -> Result<(), LogError> {
        let started: Vec<Position> = self.assigned.iter().filter_map(|(at, next)| Some((*at, (*next)?))).collect();
        let list = position_list(&self.options.names, &started)?;
        let consumer = self.clients()?.consumer();
        consumer.assign(&list).and_then(|()| settle(consumer)).map_err(|e| LogError::Away(e.to_string()))
    }
}

fn is_out_of_range(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(Code::AutoOffsetReset | Code::OffsetOutOfRange))
}

impl Drop for Clients {
    /// Ends the consumer on a thread of its own: librdkafka may drop the answer to a last rebalance on the floor, and
    /// then the consumer's end never comes. Its place in the group has ended by then, and nothing else hangs on it.
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        consumer.context().closing();
        let (ended, end) = mpsc::channel();
        let leave = move || {
            drop(consumer);
            // Nobody listens any more once the wait is over.
            let _ = ended.send(());
        };
        match std::thread::Builder::new().name("consign-leave".into()).spawn(leave) {
            Ok(_) => {
                if end.recv_timeout(LEAVE).is_err() {
                    tracing::warn!("a consumer doesn't end; it is left behind");
                }
            }
            Err(e) => tracing::warn!("no thread to end a consumer on: {e}"),
        }
    }
}

impl Clients {
    fn consumer(&self) -> &BaseConsumer<Rebalances> {
        self.consumer.as_ref().expect("only dropping takes it")
    }

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
        let (code, text) = self.consumer().client().fatal_error()?;
        Some(match code {
            Code::FencedInstanceId | Code::UnreleasedInstanceId => LogError::InstanceFenced(text),
            _ => LogError::Fatal(text),
        })
    }
}

impl Log for KafkaLog {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Batch, LogError> {
        let deadline = Instant::now() + wait;
        let gathering = self.clients()?.transactions.next_at();
        loop {
            let idle = self.kept.records.is_empty() && self.kept.changes.is_empty();
            let before = self.kept.records.len();
            let left = if idle { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            self.poll_once(left)?;
            let over = !idle && self.kept.records.len() == before || Instant::now() >= deadline;
            if self.kept.records.len() >= max {
                return self.hand_out();
            }
            if over {
                let early = gathering.map(|next| next.saturating_duration_since(Instant::now())).unwrap_or_default();
                if self.kept.records.is_empty() || early.is_zero() {
                    return self.hand_out();
                }
                std::thread::sleep(early);
            }
        }
    }

    fn start(&mut self, positions: &[Position]) -> Result<(), LogError> {
        if positions.is_empty() {
            return Ok(());
        }
        for (at, offset) in positions {
            // One whose revocation is kept for the next poll is another worker's already.
            if let Some(next) = self.assigned.get_mut(at) {
                *next = Some(*offset);
            }
        }
        self.kept.records.retain(|r| !positions.iter().any(|(at, _)| *at == r.at));
        self.fetch_started()
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        let mut changed = false;
        for at in partitions {
            changed |= self.assigned.get_mut(at).is_some_and(|next| next.take().is_some());
        }
        self.kept.records.retain(|r| !partitions.contains(&r.at));
        if changed { self.fetch_started() } else { Ok(()) }
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.committed_within(partitions, REQUEST)
    }

    fn committed_within(
        &mut self,
        partitions: &[TopicPartition],
        patience: Duration,
    ) -> Result<Vec<Option<i64>>, LogError> {
        let list = partition_list(&self.options.names, partitions);
        stable_offsets(self.clients()?.consumer(), &list, patience).map_err(|e| self.excuse(e))
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let list = self.clients()?.consumer().position().map_err(|e| triage(&e))?;
        let position_of = |at: &TopicPartition| {
            let next = (*self.assigned.get(at)?)?;
            // A record that was collected and not handed out yet is still to come.
            if let Some(kept) = self.kept.records.iter().find(|r| r.at == *at) {
                return Some(kept.offset);
            }
            match list.find_partition(&self.options.names.name(at.topic), at.partition)?.offset() {
                Offset::Offset(position) => Some(position.max(next)),
                _ => Some(next),
            }
        };
        Ok(partitions.iter().map(position_of).collect())
    }

    fn partitions(&mut self, topic: Topic) -> Result<i32, LogError> {
        self.probe.partition_count(topic)
    }

    fn ends(&mut self, partitions: &[TopicPartition], isolation: Isolation) -> Result<Vec<Ends>, LogError> {
        match isolation {
            Isolation::ReadCommitted => {
                ends_seen_by(self.clients()?.consumer(), &self.options.names, &self.probe.missing, partitions)
            }
            Isolation::ReadUncommitted => self.probe.ends(partitions),
        }
    }

    fn reader(&mut self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(KafkaReader::open(&self.options, &self.probe, partitions)?))
    }

    fn reader_from(&mut self, positions: &[Position]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(KafkaReader::open_at(&self.options, &self.probe, positions)?))
    }

    fn check_topic(&mut self, topic: &str) -> TopicCheck {
        self.topics.check(topic, (&self.options, &self.probe, &self.identity))
    }

    fn transact_with(
        &mut self,
        appends: Vec<Append>,
        records: Vec<TargetRecord>,
        positions: &[Position],
    ) -> Result<Vec<Position>, LogError> {
        if positions.is_empty() {
            return Err(LogError::Fatal("a transaction without positions fences nobody".to_owned()));
        }
        let list = position_list(&self.options.names, positions)?;
        self.renew_producer_if_due()?;
        let clients = self.clients()?;
        let group = || clients.consumer().group_metadata();
        let is_missing = |topic: &str| self.probe.partition_counts(&[topic]).is_ok_and(|counts| counts.is_empty());
        let written = Written { records: &records, is_missing: &is_missing };
        clients.transactions.transact(&appends, written, Some((&list, &group))).map_err(|error| {
            // The consumer knows better than the producer who it is that has the identity.
            self.excuse(clients.fatal().unwrap_or(error))
        })
    }

    fn silence(&self) -> Duration {
        self.contact.silence()
    }

    fn rebuild(&mut self) -> Result<(), LogError> {
        self.close();
        self.clients = Some(self.connect()?);
        self.contact.heard();
        self.progress.came();
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
    list: &TopicPartitionList,
    patience: Duration,
) -> Result<Vec<Option<i64>>, LogError> {
    if list.count() == 0 {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + patience;
    let found = loop {
        match consumer.committed_offsets(list.clone(), deadline.saturating_duration_since(Instant::now())) {
            Ok(found) => break found,
            // A transaction of this group hasn't ended yet.
            Err(KafkaError::MetadataFetch(Code::UnstableOffsetCommit)) if Instant::now() < deadline => {
                std::thread::sleep(ASK_AGAIN);
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
