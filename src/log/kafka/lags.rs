//! How far the group is behind, asked of the brokers in three questions.

use std::sync::PoisonError;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;

use super::KafkaCluster;
use super::client::{REQUEST, partition_list, triage};
use super::missing::says_missing;
use super::worker::{group_observer, stable_offsets};
use crate::log::{Cluster as _, Lag, LogError, TopicPartition};
use crate::record::{Topic, TopicNames};

impl KafkaCluster {
    /// See [`crate::log::Cluster::lags`].
    pub(super) fn measure_lags(&self) -> Result<Vec<Lag>, LogError> {
        let mut partitions = Vec::new();
        for topic in Topic::INPUTS {
            partitions.extend((0..self.partitions(topic)?).map(|partition| TopicPartition { topic, partition }));
        }
        let names = &self.options.names;
        let mut kept = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        // One that isn't answered may have lost its brokers: the next time takes another.
        let observer = match kept.take() {
            Some(observer) => observer,
            None => group_observer(&self.options)?,
        };
        let committed = stable_offsets(&observer, &partition_list(names, &partitions), REQUEST)?;
        let stable = newest(&observer, names, &partitions)?;
        *kept = Some(observer);
        let ends = self.probe.asked(|consumer| newest(consumer, names, &partitions))?;
        let mut lags = Vec::new();
        for (((at, committed), stable), end) in partitions.into_iter().zip(committed).zip(stable).zip(ends) {
            let from = match committed {
                Some(offset) => offset,
                None => self.ends(&[at])?[0].low,
            };
            let (input, last_stable_offset) = ((stable - from).max(0), (end - stable).max(0));
            lags.push(Lag { at, input, last_stable_offset });
        }
        Ok(lags)
    }
}

/// The ends of partitions as far as this consumer's isolation lets it see, all in one question.
pub(super) fn newest<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    names: &TopicNames,
    partitions: &[TopicPartition],
) -> Result<Vec<i64>, LogError> {
    let mut list = partition_list(names, partitions);
    // The end stands for "the latest" where a time is asked for.
    list.set_all_offsets(Offset::End).map_err(|e| triage(&e))?;
    // These partitions are there: a client that doesn't know one of them has lost its brokers.
    let judge = |e: KafkaError| if says_missing(&e) { LogError::Away(e.to_string()) } else { triage(&e) };
    let found = consumer.offsets_for_times(list, REQUEST).map_err(judge)?;
    partitions
        .iter()
        .map(|at| {
            let element = found.find_partition(&names.name(at.topic), at.partition);
            let element = element.ok_or_else(|| LogError::Away(format!("{at}: no answer about its end")))?;
            element.error().map_err(judge)?;
            match element.offset() {
                Offset::Offset(offset) => Ok(offset),
                other => Err(LogError::Away(format!("{at}: its end is {other:?}"))),
            }
        })
        .collect()
}
