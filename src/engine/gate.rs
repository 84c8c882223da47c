//! The gate in front of deadlines that acks may still beat.
//!
//! A deadline of a dispatch that acks confirm may be appended only once every ack that was appended before it fell due
//! has been re-homed. So the ends of all acks partitions are taken after it fell due, read uncommitted; when the group's
//! committed offsets have passed them, everything that fell due before that moment may go.

use std::time::Duration;

use super::Unwell;
use super::clock::is_time;
use crate::log::{Isolation, Log, LogError, TopicPartition};
use crate::record::{Timestamp, Topic};

/// How often the committed offsets are looked at while something waits, in milliseconds.
const LOOK_EVERY_MS: i64 = 50;

/// How long a turn waits for the committed offsets at first: a transaction of another worker may hold them for as long as it
/// is open, and the turn has other work.
const FIRST_PATIENCE_MS: i64 = 100;

/// How often this is doubled while no answer comes, at most: it may be the log that is slow.
const MOST_DOUBLINGS: u32 = 4;

/// After a wait without an answer the next one comes so many times later: the rest of the time is for the other work.
const PAUSE_FOR_EACH_WAIT: i64 = 5;

/// How long acks may stay unread before the worker says that deadlines wait for them, in milliseconds.
const BEHIND_MS: i64 = 10_000;

#[derive(Debug, Default)]
pub(super) struct AcksGate {
    read_until: Option<Timestamp>,
    waiting_for: Option<(Timestamp, Vec<(TopicPartition, i64)>)>,
    /// When to look next, and the interval that led there.
    next_look: Option<(Timestamp, i64)>,
    /// Looks that gave no answer, one after the other.
    unanswered: u32,
    /// Partitions of acks that have not been read for long, as far as is known, and since when.
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
        let why = if self.unanswered > 0 { "it can't be learned who reads" } else { "nobody reads" };
        let text = format!("deadlines that acks may beat wait since {since}: {why} {}", names.join(", "));
        Some(Unwell::new("CG215", text))
    }

    /// Moves on while something parked since `first_due` waits; true when [`AcksGate::read_until`] has risen.
    pub fn advance(&mut self, log: &mut dyn Log, first_due: Timestamp, now: Timestamp) -> Result<bool, LogError> {
        if first_due <= self.read_until() {
            return Ok(true);
        }
        if self.next_look.is_some_and(|(at, every_ms)| !is_time(at, every_ms, now)) {
            return Ok(false);
        }
        self.look_again_in(LOOK_EVERY_MS, now);
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
        let patience_ms = FIRST_PATIENCE_MS << self.unanswered.min(MOST_DOUBLINGS);
        let patience = Duration::from_millis(patience_ms.unsigned_abs());
        let committed = match log.committed_within(&partitions, patience) {
            Err(LogError::Away(_)) => {
                // Another worker's commit may still be landing: deadlines wait for that, the rest doesn't.
                self.unanswered += 1;
                self.behind = (now.millis_since(*taken_at) >= BEHIND_MS).then_some((*taken_at, partitions));
                self.look_again_in(PAUSE_FOR_EACH_WAIT * patience_ms, now);
                return Ok(false);
            }
            answered => answered?,
        };
        self.unanswered = 0;
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

    /// Nothing waits any more: whatever acks are unread, no deadline hangs on them.
    pub fn rest(&mut self) {
        (self.behind, self.waiting_for) = (None, None);
    }

    fn look_again_in(&mut self, every_ms: i64, now: Timestamp) {
        self.next_look = Some((now.plus_millis(every_ms), every_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Ends;
    use crate::log::double::{Double, Doubled};

    /// A log whose committed offsets another transaction holds: it notes how long it was waited for each time.
    #[derive(Default)]
    struct Held {
        waits: Vec<Duration>,
        is_held: bool,
    }

    impl Double for Held {
        fn other(&mut self) -> &mut dyn Log {
            unreachable!("a turn has no time for more")
        }

        fn committed_within(
            &mut self,
            partitions: &[TopicPartition],
            patience: Duration,
        ) -> Result<Vec<Option<i64>>, LogError> {
            self.waits.push(patience);
            if self.is_held { Err(LogError::Away("held".into())) } else { Ok(vec![Some(7); partitions.len()]) }
        }

        fn partitions(&mut self, _: Topic) -> Result<i32, LogError> {
            Ok(1)
        }

        fn ends(&mut self, partitions: &[TopicPartition], _: Isolation) -> Result<Vec<Ends>, LogError> {
            Ok(vec![Ends { low: 0, high: 7 }; partitions.len()])
        }
    }

    #[test]
    fn offsets_that_a_transaction_holds_take_a_small_share_of_the_time() {
        let (mut gate, mut log) = (AcksGate::default(), Doubled(Held { is_held: true, ..Held::default() }));
        let mut now = Timestamp(1_000_000);
        let end = now.plus_millis(120_000);
        while now < end {
            let waits = log.0.waits.len();
            assert_eq!(gate.advance(&mut log, Timestamp(1_000_000), now), Ok(false));
            let waited: Duration = log.0.waits[waits..].iter().sum();
            assert!(waited <= Duration::from_secs(2), "one turn waits {waited:?}");
            now = now.plus_millis(20 + i64::try_from(waited.as_millis()).unwrap());
        }
        let waited: Duration = log.0.waits.iter().sum();
        assert!(waited <= Duration::from_secs(30), "of two minutes {waited:?}");
        assert!(log.0.waits.len() >= 10, "and is asked for again: {} times", log.0.waits.len());
        assert!(gate.unwell().is_some_and(|u| u.code == "CG215" && u.text.contains("it can't be learned")));
        log.0.is_held = false;
        assert_eq!(gate.advance(&mut log, Timestamp(1_000_000), now.plus_millis(8_000)), Ok(true));
        assert_eq!(gate.unwell(), None);
    }
}
