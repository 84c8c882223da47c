//! Whether the brokers still answer. librdkafka finds its way back by itself and says nothing of it to who polls: so a
//! client that has heard nothing for a while asks for something small.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

/// After how long without an answer one is asked for.
const ASK_AFTER: Duration = Duration::from_secs(2);
/// How long that answer may take.
const ANSWER: Duration = Duration::from_secs(3);

/// When a client last had an answer.
pub(super) struct Contact {
    last: Instant,
}

impl Contact {
    /// Begins with an answer: a client is made once its cluster was found.
    pub(super) fn new() -> Self {
        Self { last: Instant::now() }
    }

    /// Something was answered just now.
    pub(super) fn heard(&mut self) {
        self.last = Instant::now();
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
