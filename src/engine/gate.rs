//! The gate in front of deadlines that acks may still beat.
//!
//! A deadline of a dispatch that acks confirm may be appended only once every ack that was appended before it fell due
//! has been re-homed. So the ends of all acks partitions are taken after it fell due, read uncommitted; when the group's
//! committed offsets have passed them, everything that fell due before that moment may go.

use super::Unwell;
use crate::log::{Isolation, Log, LogError, TopicPartition};
use crate::record::{Timestamp, Topic};

/// How often the committed offsets are looked at while something waits, in milliseconds.
const LOOK_EVERY_MS: i64 = 50;

/// How long acks may stay unread before the worker says that deadlines wait for them, in milliseconds.
const BEHIND_MS: i64 = 10_000;

#[derive(Debug, Default)]
pub(super) struct AcksGate {
    read_until: Option<Timestamp>,
    waiting_for: Option<(Timestamp, Vec<(TopicPartition, i64)>)>,
    next_look: Option<Timestamp>,
    /// Partitions of acks that have not been read for long, and since when.
    behind: Option<(Timestamp, Vec<TopicPartition>)>,
}

impl AcksGate {
    /// Acks appended before this have been re-homed.
    pub fn read_until(&self) -> Timestamp {
        self.read_until.unwrap_or(Timestamp(i64::MIN))
    }

    /// Deadlines that have waited long, because no worker of the group reads some acks.
    pub fn unwell(&self) -> Option<Unwell> {
        let (since, partitions) = self.behind.as_ref()?;
        let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        let text = format!("deadlines that acks may beat wait since {since}: nobody reads {}", names.join(", "));
        Some(Unwell::new("CG215", text))
    }

    /// Moves on while something parked since `first_due` waits; true when [`AcksGate::read_until`] has risen.
    pub fn advance(&mut self, log: &mut dyn Log, first_due: Timestamp, now: Timestamp) -> Result<bool, LogError> {
        if first_due <= self.read_until() {
            return Ok(true);
        }
        if self.next_look.is_some_and(|at| now < at) {
            return Ok(false);
        }
        self.next_look = Some(now.plus_millis(LOOK_EVERY_MS));
        if self.waiting_for.is_none() {
            let partitions: Vec<TopicPartition> = (0..log.partitions(Topic::Acks)?)
                .map(|partition| TopicPartition { topic: Topic::Acks, partition })
                .collect();
            let ends = log.ends(&partitions, Isolation::ReadUncommitted)?;
            let unread = partitions.into_iter().zip(ends).filter(|(_, e)| e.high > e.low).map(|(tp, e)| (tp, e.high));
            self.waiting_for = Some((now, unread.collect()));
        }
        let (taken_at, ends) = self.waiting_for.as_ref().expect("just set");
        let partitions: Vec<TopicPartition> = ends.iter().map(|(tp, _)| *tp).collect();
        let committed = log.committed(&partitions)?;
        let unread = ends.iter().zip(committed).filter(|((_, end), at)| at.is_none_or(|at| at < *end));
        let unread: Vec<TopicPartition> = unread.map(|((tp, _), _)| *tp).collect();
        if !unread.is_empty() {
            self.behind = (now.millis_since(*taken_at) >= BEHIND_MS).then_some((*taken_at, unread));
            return Ok(false);
        }
        self.behind = None;
        self.read_until = Some(*taken_at);
        self.waiting_for = None;
        self.next_look = None;
        Ok(true)
    }
}
