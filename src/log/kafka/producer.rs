//! A transactional producer driven from one thread, and the triage of what can go wrong with a transaction.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig};

use super::KafkaOptions;
use super::aside::Aside;
use super::client::{
    check_size, is_refusal, log_error, log_line, owned_headers, permission, producer_settings, triage,
};
use super::gathering::Gathering;
use super::sending::send_queued;
use crate::log::{AbortCause, Append, LogError, Position, TargetRecord, TopicPartition};
use crate::record::TopicNames;

/// How long one attempt at a transactional request may take; it is repeated while the transaction may live.
const STEP: Duration = Duration::from_secs(5);
/// How long records of a transaction wait for others while it is filled; then all are sent at once. Small batches would fill the
/// five requests that a partition may have under way, and the client spins while it waits for their answers.
const GATHERED_MS: &str = "20";
/// How long after its time a call that must have returned is waited for.
const GRACE: Duration = Duration::from_secs(1);
/// How long records may be under way before the topics of targets among them are looked for, and again.
const LOOK_FOR_TOPICS: Duration = Duration::from_secs(1);
/// Transactions with more records say nothing of what the first delivery waited for: it is looked for behind the last record.
const SMALL: usize = 256;
/// How long an abort is given that can't end because deliveries are unread.
const UNREAD: Duration = Duration::from_millis(20);
/// The shortest wait between two looks at the deliveries.
const TICK: Duration = Duration::from_millis(1);
/// A look that doesn't wait: rdkafka spins through the last millisecond of any other.
const LOOK: Duration = Duration::ZERO;

/// Positions of the group, and its metadata of this moment.
pub(super) type Offsets<'o> = (&'o TopicPartitionList, &'o dyn Fn() -> Option<ConsumerGroupMetadata>);

/// Records of targets, and who knows whether a topic of theirs is missing.
#[derive(Clone, Copy)]
pub(super) struct Written<'r> {
    pub records: &'r [TargetRecord],
    pub is_missing: &'r dyn Fn(&str) -> bool,
}

impl Written<'_> {
    pub(super) const NONE: Self = Self { records: &[], is_missing: &|_| false };

    fn missing(&self) -> Option<String> {
        let topics: BTreeSet<&String> = self.records.iter().map(|record| &record.topic).collect();
        topics.into_iter().find(|topic| (self.is_missing)(topic)).cloned()
    }
}

/// Keeps, since it was asked, the first delivery that failed, and where each partition goes on.
#[derive(Default)]
struct Deliveries {
    since: Mutex<Delivered>,
}

#[derive(Default)]
struct Delivered {
    first_failure: Option<KafkaError>,
    first_at: Option<Instant>,
    /// What librdkafka said of a partition that this producer may not write to: its error names none.
    forbidden: Option<String>,
    /// The topic of a target that was found missing.
    missing: Option<String>,
    /// Topics of which a delivery failed, and whether one did for a cause of its own and not because all were given up.
    failed_topics: BTreeMap<String, bool>,
    next_by_topic: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl Delivered {
    fn failed(&mut self, topic: &str, error: &KafkaError) {
        let was_given_up = matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight));
        *self.failed_topics.entry(topic.to_owned()).or_default() |= !was_given_up;
        self.first_failure.get_or_insert_with(|| error.clone());
    }
}

impl Deliveries {
    fn lock(&self) -> MutexGuard<'_, Delivered> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == "ADDPARTS" && line.contains("authorization failed") {
            // Behind the names of a thread and of the broker.
            let begin = line.find("Failed").unwrap_or(0);
            self.lock().forbidden = Some(line[begin..].to_owned());
        }
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut since = self.lock();
        match result {
            Err((error, message)) => since.failed(message.topic(), error),
            Ok(message) if message.offset() < 0 => {}
            Ok(message) => {
                since.first_at.get_or_insert_with(Instant::now);
                if !since.next_by_topic.contains_key(message.topic()) {
                    since.next_by_topic.insert(message.topic().to_owned(), BTreeMap::new());
                }
                let next_by_partition = since.next_by_topic.get_mut(message.topic()).expect("just inserted");
                let next = next_by_partition.entry(message.partition()).or_default();
                *next = (*next).max(message.offset() + 1);
            }
        }
    }
}

/// How a transaction is aborted.
type End = fn(&Transactions) -> Result<(), KafkaError>;

/// A producer under a transactional id. Its creation fences whoever had the id before and ends that one's transaction.
pub(super) struct Transactions {
    producer: Arc<BaseProducer<Deliveries>>,
    names: TopicNames,
    timeout: Duration,
    /// Whatever took less was not repeated.
    may_be_repeated: Duration,
    /// Whether the next transaction takes another producer.
    spent: Cell<bool>,
    aside: Aside,
    /// Whether a call never returned.
    stuck: Cell<bool>,
    gathering: Cell<Gathering>,
}

impl Transactions {
    /// Creates the producer and takes the id over. `Away` when the coordinator doesn't answer within `wait`.
    pub(super) fn begin_under(options: &KafkaOptions, id: &str, wait: Duration) -> Result<Self, LogError> {
        let timeout = options.transaction_timeout.as_millis().to_string();
        let repeated_after = options.repeated_after.as_millis().to_string();
        let fixed = [
            ("transactional.id", id),
            ("transaction.timeout.ms", &timeout),
            ("message.timeout.ms", &timeout),
            ("retry.backoff.ms", &repeated_after),
            ("linger.ms", GATHERED_MS),
        ];
        let producer: BaseProducer<Deliveries> =
            producer_settings(options, &fixed).create_with_context(Deliveries::default()).map_err(|e| triage(&e))?;
        let this = Self {
            producer: Arc::new(producer),
            names: options.names.clone(),
            timeout: options.transaction_timeout,
            may_be_repeated: options.repeated_after * 4 / 5,
            spent: Cell::new(false),
            aside: Aside::default(),
            stuck: Cell::new(false),
            gathering: Cell::new(Gathering::new()),
        };
        let deadline = Instant::now() + wait;
        this.repeat(deadline, |left| this.producer.init_transactions(left)).map_err(|e| match this.judge(&e) {
            Verdict::Fenced(text) => LogError::ProducerFenced(text),
            Verdict::Refused(text) => LogError::Fatal(text),
            Verdict::Abort(text) | Verdict::Silent(text) => LogError::Away(text),
        })?;
        // What the producers before this one sent has an older epoch.
        this.spent.set(false);
        Ok(this)
    }

    /// Whether the next transaction takes a producer of a later epoch. A repeated request's first copy may still be on its way,
    /// and a late EndTxn ends whatever transaction this producer has open then, half written as it is. Or this client has
    /// delivered nothing for as long as a transaction may take: it may have lost its brokers for good.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.get()
    }

    /// When the next transaction begins best, if there was one: until then more may be gathered for it.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.gathering.get().next()
    }

    fn learn(&self, lesson: impl FnOnce(&mut Gathering)) {
        let mut gathering = self.gathering.get();
        lesson(&mut gathering);
        self.gathering.set(gathering);
    }

    /// One transaction. `offsets`, where given, are sent with the group metadata of this moment. Gives where each
    /// partition that was appended to goes on.
    ///
    /// Errors say what became of it: `Aborted` and `Fatal` leave nothing behind, `Undecided` and `ProducerFenced` may.
    pub(super) fn transact(
        &self,
        appends: &[Append],
        written: Written<'_>,
        offsets: Option<Offsets<'_>>,
    ) -> Result<Vec<Position>, LogError> {
        appends.iter().try_for_each(check_size)?;
        let deadline = Instant::now() + self.timeout;
        self.begin()?;
        self.fill(appends, written, offsets, deadline).or_else(|error| {
            if self.stuck.get() {
                return Err(LogError::Stuck("it never answered where the group's positions go".to_owned()));
            }
            self.abort(written, &error, Self::end_unasked)
        })?;
        let committed = self.repeat(deadline, |left| self.producer.commit_transaction(left));
        committed.or_else(|error| match self.judge(&error) {
            Verdict::Silent(text) => Err(LogError::Undecided(text)),
            _ => self.abort(written, &error, Self::end_aborted),
        })?;
        self.learn(|gathering| gathering.ended(Instant::now()));
        Ok(self.take_delivered())
    }

    /// Whether a topic of targets takes records of a transaction: one is written and the transaction aborted, so that nobody
    /// who reads committed sees it. [`LogError::TargetTopic`] where it doesn't.
    pub(super) fn try_out(&self, trial: Written<'_>) -> Result<(), LogError> {
        let deadline = Instant::now() + self.timeout;
        self.begin()?;
        self.fill(&[], trial, None, deadline).or_else(|error| self.abort(trial, &error, Self::end_unasked))?;
        // What it would be aborted for is past: the next producer under this id ends it as well.
        let _ = self.repeat(deadline, |left| self.producer.abort_transaction(left));
        Ok(())
    }

    fn begin(&self) -> Result<(), LogError> {
        self.producer.begin_transaction().map_err(|e| match self.judge(&e) {
            Verdict::Fenced(text) => LogError::ProducerFenced(text),
            Verdict::Refused(text) => LogError::Fatal(text),
            // Nothing was begun, so nothing can be left behind.
            Verdict::Abort(text) | Verdict::Silent(text) => LogError::aborted(AbortCause::Log, text),
        })
    }

    fn fill(
        &self,
        appends: &[Append],
        written: Written<'_>,
        offsets: Option<Offsets<'_>>,
        deadline: Instant,
    ) -> Result<(), KafkaError> {
        self.take_failure();
        let began = Instant::now();
        for append in appends {
            let mut record = BaseRecord::<[u8], [u8]>::to(self.names.shared(append.topic)).key(&append.key);
            record.partition = append.partition;
            record.payload = append.value.as_deref();
            record.headers = owned_headers(&append.headers);
            self.produce(record, deadline)?;
        }
        for TargetRecord { topic, key, value, headers } in written.records {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).key(key).payload(value);
            record.headers = owned_headers(headers);
            self.produce(record, deadline).inspect_err(|error| self.producer.context().lock().failed(topic, error))?;
        }
        self.drain(written, deadline)?;
        let first_at = self.producer.context().lock().first_at;
        if let Some(first_at) = first_at.filter(|_| appends.len() <= SMALL) {
            self.learn(|gathering| gathering.first_came(began, first_at.saturating_duration_since(began)));
        }
        if let Some((list, group)) = offsets {
            // The generation may have changed without a callback: what was cached at the assignment may be stale.
            let of = Arc::new((list.clone(), group().ok_or(KafkaError::Canceled)?));
            self.repeat(deadline, |left| self.send_offsets(Arc::clone(&of), left, deadline))?;
        }
        Ok(())
    }

    /// librdkafka doesn't keep the time-out of this call: it waits for the group's coordinator for ever if the cluster took that
    /// broker out while it was looked for.
    fn send_offsets(
        &self,
        of: Arc<(TopicPartitionList, ConsumerGroupMetadata)>,
        left: Duration,
        deadline: Instant,
    ) -> Result<(), KafkaError> {
        let producer = Arc::clone(&self.producer);
        let send = move || producer.send_offsets_to_transaction(&of.0, &of.1, left);
        let sent = self.aside.call(send, deadline.saturating_duration_since(Instant::now()) + GRACE);
        sent.unwrap_or_else(|| {
            self.stuck.set(true);
            Err(KafkaError::Canceled)
        })
    }

    fn produce(&self, mut record: BaseRecord<'_, [u8], [u8]>, deadline: Instant) -> Result<(), KafkaError> {
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) if Instant::now() < deadline => {
                    record = back;
                    self.rest();
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Takes in the deliveries that have come, or waits a moment for some.
    fn rest(&self) {
        let before = self.producer.in_flight_count();
        self.producer.poll(LOOK);
        if self.producer.in_flight_count() == before {
            send_queued(self.producer.client(), TICK);
        }
    }

    /// Waits until every record is delivered or has failed. Committing with records under way would wait in steps of
    /// 100 ms instead. One topic that is missing keeps librdkafka from sending anything until the deadline: so it is looked
    /// for while nothing moves.
    fn drain(&self, written: Written<'_>, deadline: Instant) -> Result<(), KafkaError> {
        let mut next_look = Instant::now() + LOOK_FOR_TOPICS;
        while self.producer.in_flight_count() > 0 {
            self.rest();
            if !written.records.is_empty() && Instant::now() >= next_look {
                if let Some(topic) = written.missing() {
                    self.producer.context().lock().missing = Some(topic);
                    return Err(KafkaError::MessageProduction(Code::UnknownTopic));
                }
                next_look = Instant::now() + LOOK_FOR_TOPICS;
            }
            // Whatever else is under way is given up with it.
            if self.target_topic().is_some() {
                break;
            }
            if Instant::now() >= deadline {
                return Err(KafkaError::MessageProduction(Code::MessageTimedOut));
            }
        }
        let failure = self.producer.context().lock().first_failure.take();
        failure.map_or(Ok(()), Err)
    }

    /// Makes sure that nothing of the transaction becomes visible, and says so; or says that this isn't sure.
    fn abort(&self, written: Written<'_>, cause: &KafkaError, end: End) -> Result<(), LogError> {
        let forbidden = self.forbidden();
        let cause = forbidden.as_ref().unwrap_or(cause);
        let verdict = self.judge(cause);
        if let Verdict::Fenced(text) = verdict {
            return Err(LogError::ProducerFenced(text));
        }
        if cause.rdkafka_error_code() == Some(Code::MessageTimedOut) {
            self.spent.set(true);
        }
        let aborted = end(self);
        let to_blame = self.target_topic().or_else(|| self.missing_topic(written));
        self.take_failure();
        if let Some(topic) = to_blame {
            // It never committed; what is left of it ends with this producer.
            self.spent.set(self.spent.get() || aborted.is_err());
            let (Verdict::Refused(text) | Verdict::Abort(text) | Verdict::Silent(text) | Verdict::Fenced(text)) =
                verdict;
            return Err(LogError::TargetTopic { topic, text });
        }
        match (aborted.map_err(|e| self.judge(&e)), verdict) {
            (Ok(()), Verdict::Refused(text)) => Err(LogError::Fatal(text)),
            // It wasn't begun on every partition, and so never committed; the broker may know of none of it.
            (Err(_), Verdict::Refused(text)) if forbidden.is_some() => Err(LogError::Fatal(text)),
            (Ok(()), Verdict::Abort(text) | Verdict::Silent(text) | Verdict::Fenced(text)) => {
                Err(LogError::aborted(cause_of(cause), text))
            }
            (Err(Verdict::Fenced(text)), _) => Err(LogError::ProducerFenced(text)),
            (Err(Verdict::Refused(text) | Verdict::Abort(text) | Verdict::Silent(text)), _) => {
                Err(LogError::Undecided(format!("{cause}; then, aborting: {text}")))
            }
        }
    }

    /// Aborts the transaction under way, and reads what became of its records. What wasn't sent is given up by librdkafka as
    /// part of it: after a purge of our own the next record of the partition would leave a hole in its sequence numbers,
    /// and the broker would refuse it.
    fn end_aborted(&self) -> Result<(), KafkaError> {
        let aborted = self.repeat(Instant::now() + self.timeout, |left| {
            // With deliveries unread it waits for someone to poll.
            let left = if self.producer.in_flight_count() > 0 { left.min(UNREAD) } else { left };
            self.producer.abort_transaction(left)
        });
        if aborted.is_err() {
            self.producer.purge(PurgeConfig::default().queue().inflight());
            while self.producer.in_flight_count() > 0 {
                self.rest();
            }
        }
        aborted
    }

    /// Aborts the transaction under way, of which no commit was asked for: nothing of it can become visible, whatever the reply.
    /// While the markers of the last transaction are written, the coordinator refuses partitions of the next one, and so
    /// knows of none that could be aborted; librdkafka asks for that all the same, and takes the reply for its own end. All that
    /// it takes is another producer.
    fn end_unasked(&self) -> Result<(), KafkaError> {
        self.end_aborted().or_else(|error| match self.producer.client().fatal_error() {
            Some((Code::InvalidTransactionalState, _)) => {
                self.spent.set(true);
                Ok(())
            }
            _ => Err(error),
        })
    }

    /// The missing permission that the transaction failed for, if that is why: its records only say that they were given up.
    /// A transaction that must be aborted tells its error to whoever would begin another one.
    fn forbidden(&self) -> Option<KafkaError> {
        let error = self.producer.begin_transaction().err()?;
        error.rdkafka_error_code().filter(|code| !permission(*code).is_empty()).map(|_| error)
    }

    /// Repeats a transactional request while its error says that it may be, until the deadline. The last error stands.
    fn repeat(&self, deadline: Instant, call: impl Fn(Duration) -> Result<(), KafkaError>) -> Result<(), KafkaError> {
        let begun = Instant::now();
        let last = loop {
            let left = deadline.saturating_duration_since(Instant::now()).min(STEP).max(TICK);
            match call(left) {
                Err(KafkaError::Transaction(e)) if e.is_retriable() && Instant::now() < deadline => self.rest(),
                result => break result,
            }
        };
        if begun.elapsed() >= self.may_be_repeated {
            self.spent.set(true);
        }
        last
    }

    /// The topic of targets to which it is due that the transaction under way fails, if it is: no record of another's failed
    /// for a cause of its own.
    fn target_topic(&self) -> Option<String> {
        let since = self.producer.context().lock();
        if since.missing.is_some() {
            return since.missing.clone();
        }
        let is_foreign = |topic: &&str| self.names.topic(topic).is_none();
        if let Some(forbidden) = &since.forbidden {
            return forbidden.split('"').nth(1).filter(is_foreign).map(str::to_owned);
        }
        let by_itself = since.failed_topics.values().any(|by_itself| *by_itself);
        let mut failed =
            since.failed_topics.iter().filter(|(_, own)| **own == by_itself).map(|(topic, _)| topic.as_str());
        let first = failed.next()?;
        (is_foreign(&first) && failed.all(|topic| is_foreign(&topic))).then(|| first.to_owned())
    }

    /// The topic of targets that is missing, where all records were given up and none says why.
    fn missing_topic(&self, written: Written<'_>) -> Option<String> {
        let is_given_up = {
            let since = self.producer.context().lock();
            since.forbidden.is_none()
                && !since.failed_topics.is_empty()
                && !since.failed_topics.values().any(|own| *own)
        };
        if is_given_up { written.missing() } else { None }
    }

    fn take_failure(&self) {
        drop(std::mem::take(&mut *self.producer.context().lock()));
    }

    fn take_delivered(&self) -> Vec<Position> {
        let delivered = std::mem::take(&mut *self.producer.context().lock());
        let by_topic = delivered.next_by_topic.iter().filter_map(|(name, next)| Some((self.names.topic(name)?, next)));
        by_topic
            .flat_map(|(topic, next)| next.iter().map(move |(p, at)| (TopicPartition { topic, partition: *p }, *at)))
            .collect()
    }

    fn judge(&self, error: &KafkaError) -> Verdict {
        let code = error.rdkafka_error_code();
        let text = match error {
            KafkaError::Transaction(e) => e.string(),
            other => other.to_string(),
        };
        if let Some((code, text)) = self.producer.client().fatal_error() {
            return if is_refusal(code) { Verdict::Refused(text) } else { Verdict::Fenced(text) };
        }
        match (error, code) {
            (_, Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)) => Verdict::Fenced(text),
            (_, Some(code)) if is_refusal(code) => {
                let forbidden = self.producer.context().lock().forbidden.clone();
                let text = forbidden.filter(|_| !permission(code).is_empty()).unwrap_or(text);
                Verdict::Refused(format!("{text}{}", permission(code)))
            }
            (KafkaError::Transaction(e), _) if e.txn_requires_abort() => Verdict::Abort(text),
            (KafkaError::Transaction(_), _) => Verdict::Silent(text),
            _ => Verdict::Abort(text),
        }
    }
}

/// Whether the group, or the log itself, keeps a transaction from its commit.
fn cause_of(error: &KafkaError) -> AbortCause {
    match (error, error.rdkafka_error_code()) {
        // There was no group to ask: the consumer is between two assignments.
        (KafkaError::Canceled, _)
        | (
            _,
            Some(
                Code::IllegalGeneration
                | Code::RebalanceInProgress
                | Code::UnknownMemberId
                | Code::FencedMemberEpoch
                | Code::StaleMemberEpoch,
            ),
        ) => AbortCause::Rebalance,
        _ => AbortCause::Log,
    }
}

/// What an error of a transactional call says.
enum Verdict {
    /// This producer is dead: another one has its id, or its transaction outlived its time at the broker.
    Fenced(String),
    /// The same again would fail again.
    Refused(String),
    /// The transaction must be aborted.
    Abort(String),
    /// No reply, so nothing is known.
    Silent(String),
}
