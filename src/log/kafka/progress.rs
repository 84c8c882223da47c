//! Whether what is there to be read comes. A client that has lost its brokers and found them again may be answered and fetch
//! nothing all the same (docs/decisions/0089-clients-that-are-lost.md).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::lags::newest;
use super::reader::is_read_at;
use super::{KafkaOptions, Probe};
use crate::log::{Position, TopicPartition};

/// How long nothing must have come before it is asked whether there is something.
const LOOK_AFTER: Duration = Duration::from_secs(10);
/// The longest wait between two looks while there is something that nobody can read, like the end of a transaction.
const AT_MOST: Duration = Duration::from_mins(5);

/// What a client has been waiting for. Looking takes seconds where something is amiss, so it is done beside the client's own work.
pub(super) struct Progress {
    next_look: Instant,
    pause: Duration,
    /// Where it stood at the last look.
    stood: BTreeMap<TopicPartition, i64>,
    /// A look that is under way; nothing came since it began.
    look: Option<Receiver<Seen>>,
}

/// What a look has shown.
enum Seen {
    /// There is nothing to read, or it couldn't be asked.
    Nothing,
    /// There is something that another client can't read either.
    Unreadable,
    /// Another client reads a record where this one stands.
    Record,
}

impl Progress {
    pub(super) fn new() -> Self {
        let next_look = Instant::now() + LOOK_AFTER;
        Self { next_look, pause: LOOK_AFTER, stood: BTreeMap::new(), look: None }
    }

    /// Something came.
    pub(super) fn came(&mut self) {
        *self = Self::new();
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self) -> bool {
        self.look.is_none() && Instant::now() >= self.next_look
    }

    /// Begins to look whether a record is there to be read where the client stands, which another client reads.
    pub(super) fn look(&mut self, positions: Vec<Position>, options: &Arc<KafkaOptions>, probe: &Arc<Probe>) {
        let stood = std::mem::replace(&mut self.stood, positions.iter().copied().collect());
        let (tell, seen) = mpsc::channel();
        let (options, probe) = (Arc::clone(options), Arc::clone(probe));
        let look = move || {
            // Whoever asked may have had something since.
            let _ = tell.send(look(&positions, &stood, &options, &probe));
        };
        match std::thread::Builder::new().name("consign-look".into()).spawn(look) {
            Ok(_) => self.look = Some(seen),
            Err(e) => tracing::warn!("no thread to look for records on: {e}"),
        }
    }

    /// Whether a look has shown that the client is lost: it stands where it stood at the look before, and another client reads a
    /// record there.
    pub(super) fn is_lost(&mut self) -> bool {
        let Some(look) = &self.look else { return false };
        let seen = match look.try_recv() {
            Ok(seen) => seen,
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => Seen::Nothing,
        };
        self.look = None;
        if matches!(seen, Seen::Unreadable) {
            self.pause = (self.pause * 2).min(AT_MOST);
        }
        self.next_look = Instant::now() + self.pause;
        matches!(seen, Seen::Record)
    }
}

fn look(
    positions: &[Position],
    stood: &BTreeMap<TopicPartition, i64>,
    options: &Arc<KafkaOptions>,
    probe: &Arc<Probe>,
) -> Seen {
    let partitions: Vec<TopicPartition> = positions.iter().map(|(at, _)| *at).collect();
    let Ok(ends) = probe.asked(|consumer| newest(consumer, &options.names, &partitions)) else { return Seen::Nothing };
    let Some(standing) = standing(positions, stood, &ends) else { return Seen::Nothing };
    match is_read_at(standing, options, probe) {
        Ok(true) => Seen::Record,
        Ok(false) => Seen::Unreadable,
        Err(_) => Seen::Nothing,
    }
}

/// The first place where something is there to be read since the last look, as far as ends can tell.
fn standing(positions: &[Position], stood: &BTreeMap<TopicPartition, i64>, ends: &[i64]) -> Option<Position> {
    let stands = |((at, position), end): &(&Position, &i64)| stood.get(at) == Some(position) && *end > position;
    positions.iter().zip(ends).find(stands).map(|(position, _)| *position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Topic;

    #[test]
    fn who_stands_before_something_twice_is_looked_at() {
        let at = |partition| TopicPartition { topic: Topic::Acks, partition };
        let (zero, one) = (at(0), at(1));
        let first = [(zero, 5), (one, 7)];
        assert_eq!(standing(&first, &BTreeMap::new(), &[5, 9]), None, "that is the first look");
        assert_eq!(standing(&[(zero, 5), (one, 8)], &first.into(), &[6, 9]), Some((zero, 5)), "the other one moved");
        assert_eq!(standing(&[(zero, 6), (one, 7)], &first.into(), &[6, 9]), Some((one, 7)));
        assert_eq!(standing(&first, &first.into(), &[5, 7]), None, "nothing is there");
    }
}
