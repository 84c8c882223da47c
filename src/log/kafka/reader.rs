//! Readers outside any group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Tracing, plain_consumer, record, triage};
use super::contact::Contact;
use super::{KafkaOptions, Probe};
use crate::log::{LogError, Position, Reader, Record, TopicPartition};
use crate::record::TopicNames;

/// How long nothing may come before the reader asks whether what it waits for was deleted meanwhile.
const IDLE: Duration = Duration::from_secs(2);

/// A read-committed reader of some partitions, from their beginning and then on.
pub(super) struct KafkaReader {
    consumer: BaseConsumer<Tracing>,
    probe: Arc<Probe>,
    names: TopicNames,
    goals: BTreeMap<TopicPartition, Goal>,
    last_record: Instant,
    contact: Contact,
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
        options: &KafkaOptions,
        probe: &Arc<Probe>,
        partitions: &[TopicPartition],
    ) -> Result<Self, LogError> {
        let ends = probe.ends(partitions)?;
        let begin = partitions.iter().zip(&ends).map(|(at, ends)| (*at, Goal::new(ends.low, ends.high)));
        Self::open_towards(options, probe, begin.collect())
    }

    /// From these positions on.
    pub(super) fn open_at(
        options: &KafkaOptions,
        probe: &Arc<Probe>,
        positions: &[Position],
    ) -> Result<Self, LogError> {
        let partitions: Vec<TopicPartition> = positions.iter().map(|(at, _)| *at).collect();
        let ends = probe.ends(&partitions)?;
        let begin = positions.iter().zip(&ends).map(|((at, position), ends)| (*at, Goal::new(*position, ends.high)));
        Self::open_towards(options, probe, begin.collect())
    }

    fn open_towards(
        options: &KafkaOptions,
        probe: &Arc<Probe>,
        goals: BTreeMap<TopicPartition, Goal>,
    ) -> Result<Self, LogError> {
        // Only what is deleted while it is being read can be out of range, and then the rest is to be read.
        let consumer = plain_consumer(options, "read_committed", "earliest")?;
        let mut list = TopicPartitionList::with_capacity(goals.len());
        for (at, goal) in &goals {
            list.add_partition_offset(&options.names.name(at.topic), at.partition, Offset::Offset(goal.position))
                .map_err(|e| triage(&e))?;
        }
        // With the topics known the first fetch leaves at once, and not after the next refresh of metadata.
        if let Some(at) = goals.keys().next() {
            consumer
                .fetch_metadata(Some(&options.names.name(at.topic)), super::client::REQUEST)
                .map_err(|e| triage(&e))?;
        }
        consumer.assign(&list).map_err(|e| triage(&e))?;
        Ok(Self {
            consumer,
            probe: Arc::clone(probe),
            names: options.names.clone(),
            goals,
            last_record: Instant::now(),
            contact: Contact::new(),
        })
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
            match self.consumer.poll(step) {
                Some(Ok(message)) => records.extend(record(&self.names, &message)),
                Some(Err(error)) => match triage(&error) {
                    LogError::Away(text) => tracing::debug!("reader: {text}"),
                    // What was collected is handed out first; the error comes again.
                    other if records.is_empty() => return Err(other),
                    _ => break,
                },
                None if !records.is_empty() => break,
                None => {
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
        }
        if !self.at_goal() {
            self.note_positions()?;
            if self.last_record.elapsed() > IDLE {
                self.skip_deleted()?;
                self.last_record = Instant::now();
            }
        }
        if let Some(at) = self.goals.keys().next().filter(|_| !wait.is_zero()) {
            self.contact.keep(&self.consumer, &self.names.name(at.topic));
        }
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
