//! Bringing a report to the log, for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use crate::log::{Append, Appender, LogError};
use crate::record::{Codec, Outcome, Topic, dispatch_key};

const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);

/// Appends outcomes with an idempotent producer.
#[derive(Clone)]
pub(crate) struct Reports {
    pub(crate) appender: Arc<dyn Appender>,
    pub(crate) codec: Arc<Codec>,
}

impl Reports {
    /// Appends a report under its dispatch's key and repeats that, with a growing pause, until the log has it.
    ///
    /// A reply that was lost may leave the report in the log twice: folding it a second time changes nothing.
    pub(crate) async fn deliver(&self, topic: Topic, partition: Option<i32>, outcome: Outcome) {
        let key = dispatch_key(&outcome.file_id, &outcome.target);
        let mut back_off = FIRST_BACK_OFF;
        let outcome = Arc::new(outcome);
        loop {
            match self.once(topic, partition, &key, &outcome).await {
                Ok(()) => return,
                Err(why) => {
                    let retry_in_ms = u64::try_from(back_off.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(
                        file_id = %outcome.file_id,
                        target = %outcome.target,
                        attempt = outcome.attempt,
                        outcome = %outcome.kind,
                        retry_in_ms,
                        "the report is not in the log yet: {why}"
                    );
                }
            }
            tokio::time::sleep(back_off).await;
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
    }

    async fn once(
        &self,
        topic: Topic,
        partition: Option<i32>,
        key: &str,
        outcome: &Arc<Outcome>,
    ) -> Result<(), LogError> {
        let value = match self.codec.encode_if_known(topic, &**outcome) {
            Some(value) => value,
            None => self.encode_aside(topic, outcome).await?,
        };
        let key = key.as_bytes().to_vec();
        self.appender.append(Append { topic, partition, key, value: Some(value), headers: Vec::new() }).await?;
        Ok(())
    }

    /// The codec has to ask the registry, and blocks while it does.
    async fn encode_aside(&self, topic: Topic, outcome: &Arc<Outcome>) -> Result<Vec<u8>, LogError> {
        let (codec, copy) = (Arc::clone(&self.codec), Arc::clone(outcome));
        tokio::task::spawn_blocking(move || codec.encode_for(topic, &*copy))
            .await
            .map_err(|e| LogError::Away(e.to_string()))?
            .map_err(|e| LogError::Away(e.to_string()))
    }
}
