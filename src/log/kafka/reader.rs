//! Readers outside any group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{FETCH, FETCH_IN_TIME, Tracing, plain_consumer_with, record, triage};
use super::contact::Contact;
use super::progress::Progress;
use super::{KafkaOptions, Probe};
use crate::log::{LogError, Position, Reader, Record, TopicPartition};
use crate::record::{Timestamp, TopicNames};

/// How long nothing may come before the reader asks whether what it waits for was deleted meanwhile.
const IDLE: Duration = Duration::from_secs(2);

/// How long another client may take to read what doesn't come here.
const TRIAL: Duration = Duration::from_secs(3);

/// Records that may be read of others while the partition that is furthest behind has none ready.
const AHEAD_AT_MOST: usize = 20_000;

/// Records that are read of a partition before the times are looked at again.
const RUN: usize = 64;

/// A read-committed reader of some partitions: from their beginning and then on, or from positions to the goal.
pub(super) struct KafkaReader {
    options: Arc<KafkaOptions>,
    consumer: Arc<BaseConsumer<Tracing>>,
    in_time: bool,
    /// A queue for each partition where they are read in the order of time, else none.
    queues: Vec<Queue>,
    /// Records read since the partition furthest behind had one.
    ahead: usize,
    probe: Arc<Probe>,
    names: TopicNames,
    goals: BTreeMap<TopicPartition, Goal>,
    last_record: Instant,
    contact: Contact,
    progress: Progress,
}

/// The records of one partition.
struct Queue {
    at: TopicPartition,
    records: PartitionQueue<Tracing>,
    /// The time of the last one.
    time: Timestamp,
}

struct Goal {
    /// Where the reader began.
    low: i64,
    /// The end when the reader was created.
    end: i64,
    position: i64,
}

impl Goal {
    fn new(begin: i64, end: i64) -> Self {
        Self { low: begin, end, position: begin }
    }
}

impl KafkaReader {
    pub(super) fn open(
        options: &Arc<KafkaOptions>,
        probe: &Arc<Probe>,
        partitions: &[TopicPartition],
    ) -> Result<Self, LogError> {
        let ends = probe.ends(partitions)?;
        let begin = partitions.iter().zip(&ends).map(|(at, ends)| (*at, Goal::new(ends.low, ends.high)));
        Self::open_towards(options, probe, begin.collect(), false)
    }

    /// From these positions on, in the order of time as far as that goes: what was written together is read together, and
    /// who puts it together again has little of it in hand at any time.
    pub(super) fn open_at(
        options: &Arc<KafkaOptions>,
        probe: &Arc<Probe>,
        positions: &[Position],
    ) -> Result<Self, LogError> {
        let partitions: Vec<TopicPartition> = positions.iter().map(|(at, _)| *at).collect();
        let ends = probe.ends(&partitions)?;
        let begin = positions.iter().zip(&ends).map(|((at, position), ends)| (*at, Goal::new(*position, ends.high)));
        Self::open_towards(options, probe, begin.collect(), true)
    }

    fn open_towards(
        options: &Arc<KafkaOptions>,
        probe: &Arc<Probe>,
        goals: BTreeMap<TopicPartition, Goal>,
        in_time: bool,
    ) -> Result<Self, LogError> {
        let (consumer, queues) = connect(options, &goals, in_time)?;
        Ok(Self {
            options: Arc::clone(options),
            consumer,
            in_time,
            queues,
            ahead: 0,
            probe: Arc::clone(probe),
            names: options.names.clone(),
            goals,
            last_record: Instant::now(),
            contact: Contact::new(),
            progress: Progress::new(),
        })
    }

    /// Asks whether the brokers are there, and goes on with another client where they are and this one has lost them.
    fn keep_contact(&mut self) -> Result<(), LogError> {
        let Some(at) = self.goals.keys().next() else { return Ok(()) };
        if self.contact.keep(&self.consumer, self.names.shared(at.topic), &self.probe) || self.stands_still()? {
            tracing::warn!("a reader is left without what others read; it begins anew where it was");
            match connect(&self.options, &self.goals, self.in_time) {
                Ok(anew) => {
                    (self.consumer, self.queues) = anew;
                    (self.ahead, self.contact, self.progress) = (0, Contact::new(), Progress::new());
                }
                // It is tried again.
                Err(LogError::Away(text)) => tracing::debug!("reader: {text}"),
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Whether there is something to read that doesn't come.
    fn stands_still(&mut self) -> Result<bool, LogError> {
        if self.progress.is_due() {
            self.note_positions()?;
            let is_read = |goal: &Goal| !self.in_time || goal.position < goal.end;
            let positions = self.goals.iter().filter(|(_, goal)| is_read(goal)).map(|(at, goal)| (*at, goal.position));
            self.progress.look(positions.collect(), &self.options, &self.probe);
        }
        Ok(self.progress.is_lost())
    }

    /// The consumer's position, not the last record's offset, tells how far it is: markers and aborted records have
    /// offsets too, and are never delivered.
    fn note_positions(&mut self) -> Result<(), LogError> {
        for element in self.consumer.position().map_err(|e| triage(&e))?.elements() {
            let Some(topic) = self.names.topic(element.topic()) else { continue };
            let at = TopicPartition { topic, partition: element.partition() };
            if let (Some(goal), Offset::Offset(position)) = (self.goals.get_mut(&at), element.offset()) {
                goal.position = goal.position.max(position);
            }
        }
        Ok(())
    }

    /// Reads on, `max` records at most, waiting so long for the first; whether there was anything.
    fn read_on(&mut self, records: &mut Vec<Record>, max: usize, wait: Duration) -> Result<bool, LogError> {
        if self.queues.is_empty() {
            let polled = self.consumer.poll(wait);
            return polled
                .map_or(Ok(false), |polled| take_in(&self.names, &mut self.goals, polled, records).map(|_| true));
        }
        // Errors come here, and what was fetched before the queues were there.
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            take_in(&self.names, &mut self.goals, polled, records)?;
        }
        let goals = &self.goals;
        let is_open = |queue: &Queue| goals.get(&queue.at).is_some_and(|goal| goal.position < goal.end);
        let mut open: Vec<&mut Queue> = self.queues.iter_mut().filter(|queue| is_open(queue)).collect();
        open.sort_unstable_by_key(|queue| queue.time);
        let others = if self.ahead < AHEAD_AT_MOST { open.len() } else { 1 };
        let at_once = (0..others).map(|place| (place, Duration::ZERO));
        for (place, mut wait) in at_once.chain([(0, wait)]) {
            let Some(queue) = open.get_mut(place) else { break };
            let before = records.len();
            while records.len() < (before + RUN).min(max)
                && let Some(polled) = queue.records.poll(wait)
            {
                let time = take_in(&self.names, &mut self.goals, polled, records)?;
                queue.time = time.unwrap_or(queue.time);
                wait = Duration::ZERO;
            }
            if records.len() > before {
                self.ahead = if place == 0 { 0 } else { self.ahead + records.len() - before };
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Retention may delete what is still to be read, and then no position ever gets there.
    fn skip_deleted(&mut self) -> Result<(), LogError> {
        let open: Vec<TopicPartition> =
            self.goals.iter().filter(|(_, g)| g.position < g.end).map(|(at, _)| *at).collect();
        let ends = self.probe.ends(&open)?;
        for (at, ends) in open.iter().zip(ends) {
            if let Some(goal) = self.goals.get_mut(at) {
                goal.position = goal.position.max(ends.low);
            }
        }
        Ok(())
    }
}

/// A consumer that delivers from these positions on, with a queue for each partition where they are read in the order of time.
fn connect(
    options: &KafkaOptions,
    goals: &BTreeMap<TopicPartition, Goal>,
    in_time: bool,
) -> Result<(Arc<BaseConsumer<Tracing>>, Vec<Queue>), LogError> {
    // Only what is deleted while it is being read can be out of range, and then the rest is to be read.
    let defaults = if in_time { &FETCH_IN_TIME } else { &FETCH };
    let consumer = Arc::new(plain_consumer_with(options, defaults, "read_committed", "earliest")?);
    let mut list = TopicPartitionList::with_capacity(goals.len());
    for (at, goal) in goals {
        list.add_partition_offset(&options.names.name(at.topic), at.partition, Offset::Offset(goal.position))
            .map_err(|e| triage(&e))?;
    }
    // With the topics known the first fetch leaves at once, and not after the next refresh of metadata.
    if let Some(at) = goals.keys().next() {
        consumer.fetch_metadata(Some(&options.names.name(at.topic)), super::client::REQUEST).map_err(|e| triage(&e))?;
    }
    consumer.assign(&list).map_err(|e| triage(&e))?;
    let mut queues = Vec::new();
    for at in goals.keys().filter(|_| in_time) {
        let queue = consumer.split_partition_queue(&options.names.name(at.topic), at.partition);
        let records = queue.ok_or_else(|| LogError::Away(format!("{at} has no queue")))?;
        queues.push(Queue { at: *at, records, time: Timestamp(i64::MIN) });
    }
    Ok((consumer, queues))
}

/// Whether a client of its own reads a record from this position on.
pub(super) fn is_read_at(
    (at, position): Position,
    options: &Arc<KafkaOptions>,
    probe: &Arc<Probe>,
) -> Result<bool, LogError> {
    let goals = BTreeMap::from([(at, Goal::new(position, i64::MAX))]);
    let mut reader = KafkaReader::open_towards(options, probe, goals, false)?;
    let deadline = Instant::now() + TRIAL;
    let mut records = Vec::new();
    while records.is_empty() && Instant::now() < deadline {
        reader.read_on(&mut records, 1, deadline.saturating_duration_since(Instant::now()))?;
    }
    Ok(!records.is_empty())
}

/// Takes in what a poll brought; gives the time of the record.
fn take_in(
    names: &TopicNames,
    goals: &mut BTreeMap<TopicPartition, Goal>,
    polled: KafkaResult<BorrowedMessage<'_>>,
    records: &mut Vec<Record>,
) -> Result<Option<Timestamp>, LogError> {
    let message = polled.map_err(|e| triage(&e))?;
    let Some(record) = record(names, &message) else { return Ok(None) };
    let time = record.timestamp;
    if let Some(goal) = goals.get_mut(&record.at) {
        goal.position = goal.position.max(record.offset + 1);
    }
    records.push(record);
    Ok(Some(time))
}

impl Reader for KafkaReader {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        let deadline = Instant::now() + wait;
        let mut records = Vec::new();
        while records.len() < max {
            let left = deadline.saturating_duration_since(Instant::now());
            // Short steps while the goal is ahead: markers at the end of a partition move the position silently.
            let step = match (records.is_empty(), self.at_goal()) {
                (true, true) => left,
                (true, false) => left.min(Duration::from_millis(5)),
                (false, _) => Duration::ZERO,
            };
            match self.read_on(&mut records, max, step) {
                Ok(true) => {}
                Err(LogError::Away(text)) => tracing::debug!("reader: {text}"),
                // What was collected is handed out first; the error comes again.
                Err(other) if records.is_empty() => return Err(other),
                Err(_) => break,
                Ok(false) if !records.is_empty() => break,
                Ok(false) => {
                    if !self.at_goal() {
                        self.note_positions()?;
                        if self.at_goal() {
                            break;
                        }
                    }
                    if Instant::now() >= deadline {
                        break;
                    }
                }
            }
        }
        if !records.is_empty() {
            self.last_record = Instant::now();
            self.contact.heard();
            self.progress.came();
        }
        if !self.at_goal() {
            self.note_positions()?;
            if self.last_record.elapsed() > IDLE {
                self.skip_deleted()?;
                self.last_record = Instant::now();
            }
        }
        self.keep_contact()?;
        Ok(records)
    }

    fn silence(&self) -> Duration {
        self.contact.silence()
    }

    fn at_goal(&self) -> bool {
        self.goals.values().all(|g| g.position >= g.end)
    }

    fn progress(&self) -> (i64, i64) {
        self.goals.values().fold((0, 0), |(read, all), g| (read + g.position.min(g.end) - g.low, all + g.end - g.low))
    }
}
