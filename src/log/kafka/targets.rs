//! Whether topics that records of targets go to are there and may be written to, looked for beside the worker's loop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::producer::{Transactions, Written};
use super::{KafkaOptions, Probe};
use crate::log::{LogError, TargetRecord, TopicCheck};

/// How long an answer is given to whoever asks.
const FRESH: Duration = Duration::from_secs(5);
/// How long the trial of one topic may take at each of its steps.
const PATIENCE: Duration = Duration::from_secs(10);
/// The header of the record that is tried, and aborted.
const TRIAL: &str = "consign-trial";

/// What one worker knows of such topics. One is looked at at a time.
#[derive(Default)]
pub(super) struct TopicChecks {
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    is_busy: bool,
    answers: BTreeMap<String, (TopicCheck, Instant)>,
}

impl TopicChecks {
    /// What is known of a topic. If it is nothing, or too old, it is looked for from here on.
    pub(super) fn check(
        &self,
        topic: &str,
        (options, probe, identity): (&Arc<KafkaOptions>, &Arc<Probe>, &str),
    ) -> TopicCheck {
        let mut known = lock(&self.known);
        known.answers.retain(|_, (_, at)| at.elapsed() < FRESH);
        if let Some((answer, _)) = known.answers.get(topic) {
            return answer.clone();
        }
        if known.is_busy {
            return TopicCheck::Asking;
        }
        let (shared, topic) = (Arc::clone(&self.known), topic.to_owned());
        let (mut options, probe) = (KafkaOptions::clone(options), Arc::clone(probe));
        options.transaction_timeout = PATIENCE;
        let id = format!("{}{identity}-trial", options.names.prefix());
        let look = move || {
            let answer = look(&options, &probe, &id, &topic);
            let mut known = lock(&shared);
            known.is_busy = false;
            if let Some(answer) = answer {
                known.answers.insert(topic, (answer, Instant::now()));
            }
        };
        match std::thread::Builder::new().name("consign-topic".into()).spawn(look) {
            Ok(_) => known.is_busy = true,
            Err(e) => tracing::warn!("no thread to look for a topic on: {e}"),
        }
        TopicCheck::Asking
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks for a topic and tries it; none where the brokers gave no answer.
fn look(options: &KafkaOptions, probe: &Probe, id: &str, topic: &str) -> Option<TopicCheck> {
    // Before anything is written: a broker may make a topic for whoever writes to it.
    match probe.partition_counts(&[topic]) {
        Ok(counts) if counts.get(topic).is_some_and(|count| *count > 0) => {}
        Ok(_) => return Some(TopicCheck::Refuses("the topic is missing".to_owned())),
        Err(LogError::Fatal(text)) => return Some(TopicCheck::Refuses(text)),
        Err(_) => return None,
    }
    let record = TargetRecord {
        topic: topic.to_owned(),
        key: TRIAL.into(),
        value: Vec::new(),
        headers: vec![(TRIAL.to_owned(), Vec::new())],
    };
    let is_missing = |topic: &str| probe.partition_counts(&[topic]).is_ok_and(|counts| counts.is_empty());
    let trial = Written { records: &[record], is_missing: &is_missing };
    let tried = Transactions::begin_under(options, id, PATIENCE).and_then(|producer| producer.try_out(trial));
    match tried {
        Ok(()) => Some(TopicCheck::Takes),
        Err(LogError::TargetTopic { text, .. } | LogError::Fatal(text)) => Some(TopicCheck::Refuses(text)),
        Err(_) => None,
    }
}
