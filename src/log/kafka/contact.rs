//! Whether the brokers still answer. librdkafka finds its way back by itself and says nothing of it to who polls: so a
//! client that has heard nothing for a while asks for something small.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

/// After how long without an answer one is asked for.
const ASK_AFTER: Duration = Duration::from_secs(2);
/// How long that answer may take.
const ANSWER: Duration = Duration::from_secs(3);
/// A silence that may have made the client join its group again.
const OUTAGE: Duration = Duration::from_secs(3);
/// For how long what happens may be the outage's doing.
const AFTERMATH: Duration = Duration::from_mins(1);

/// When a client last had an answer.
pub(super) struct Contact {
    last: Instant,
    outage_ended: Option<Instant>,
}

impl Contact {
    /// Begins with an answer: a client is made once its cluster was found.
    pub(super) fn new() -> Self {
        Self { last: Instant::now(), outage_ended: None }
    }

    /// Something was answered just now.
    pub(super) fn heard(&mut self) {
        let now = Instant::now();
        if self.silence() > OUTAGE {
            self.outage_ended = Some(now);
        }
        self.last = now;
    }

    /// Whether an outage is on, or ended not long ago.
    pub(super) fn was_out_lately(&self) -> bool {
        self.silence() > OUTAGE || self.outage_ended.is_some_and(|at| at.elapsed() < AFTERMATH)
    }

    /// How long nothing was.
    pub(super) fn silence(&self) -> Duration {
        self.last.elapsed()
    }

    /// Asks about a topic, if it is time to.
    pub(super) fn keep<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>, topic: &str) {
        if self.silence() < ASK_AFTER {
            return;
        }
        match consumer.fetch_metadata(Some(topic), ANSWER) {
            Ok(_) => self.heard(),
            Err(e) => tracing::debug!("no answer from the brokers: {e}"),
        }
    }
}
