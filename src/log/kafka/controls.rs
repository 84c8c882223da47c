//! People's changes to `controls`: compare-and-set under one transactional id.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::producer::{Transactions, Written};
use super::reader::KafkaReader;
use super::{KafkaOptions, Probe};
use crate::log::{ControlsChange, LogError, Record, TopicPartition, scan};
use crate::record::Topic;

/// What the prefix and this make is the transactional id.
pub(super) const IDENTITY: &str = "controls";
/// The header that tells one party's records from another's with the same content.
const MARK: &str = "consign-change";
/// How long one party tries to get its turn while others change controls too.
const PATIENCE: Duration = Duration::from_mins(1);

/// See [`crate::log::Cluster::change_controls`].
///
/// Whoever takes the transactional id over fences everyone who is at it. Between taking it over and committing nobody
/// else can have committed, so what was read is what the commit replaces. The one who was fenced begins anew.
pub(super) fn change(
    options: &Arc<KafkaOptions>,
    probe: &Arc<Probe>,
    change: &mut ControlsChange<'_>,
) -> Result<(), LogError> {
    let id = format!("{}{IDENTITY}", options.names.prefix());
    let deadline = Instant::now() + PATIENCE;
    let mut uncertain: Option<String> = None;
    for turn in 1.. {
        let fenced = match change_once(options, probe, &id, &mut uncertain, change) {
            Err(LogError::ProducerFenced(text)) => text,
            other => return other,
        };
        if Instant::now() >= deadline {
            return Err(LogError::Away(format!("others keep changing controls: {fenced}")));
        }
        // Two that fence each other must not go on in step.
        let jitter = RandomState::new().hash_one(turn) % (50 * u64::from(turn.min(20u32)));
        std::thread::sleep(Duration::from_millis(jitter));
    }
    unreachable!("the loop ends by its deadline")
}

fn change_once(
    options: &Arc<KafkaOptions>,
    probe: &Arc<Probe>,
    id: &str,
    uncertain: &mut Option<String>,
    change: &mut ControlsChange<'_>,
) -> Result<(), LogError> {
    let transactions = Transactions::begin_under(options, id, Duration::from_secs(30))?;
    let newest = read_to_end(options, probe)?;
    if uncertain.take().is_some_and(|mark| newest.iter().any(|r| is_marked(r, &mark))) {
        return Ok(());
    }
    let mut appends = change(&newest);
    if appends.is_empty() {
        return Ok(());
    }
    let mark = Uuid::new_v4().to_string();
    for append in &mut appends {
        append.headers.push((MARK.to_owned(), mark.clone().into_bytes()));
    }
    let result = transactions.transact(&appends, Written::NONE, None).map(drop);
    if let Err(LogError::ProducerFenced(_)) = &result {
        // The reply to a commit may have been lost before the id was.
        *uncertain = Some(mark);
    }
    result
}

fn is_marked(record: &Record, mark: &str) -> bool {
    record.header(MARK) == Some(mark.as_bytes())
}

/// The newest value of every key, in the order in which they were written; tombstoned keys are left out.
pub(super) fn read_to_end(options: &Arc<KafkaOptions>, probe: &Arc<Probe>) -> Result<Vec<Record>, LogError> {
    let at = TopicPartition { topic: Topic::Controls, partition: 0 };
    let mut reader = KafkaReader::open(options, probe, &[at])?;
    let mut newest: BTreeMap<Vec<u8>, Record> = BTreeMap::new();
    scan(&mut reader, PATIENCE, |records, _| {
        newest.extend(records.into_iter().map(|record| (record.key.clone().unwrap_or_default(), record)));
        Ok::<_, LogError>(ControlFlow::Continue(()))
    })?;
    let mut newest: Vec<Record> = newest.into_values().filter(|r| r.value.is_some()).collect();
    newest.sort_by_key(|r| r.offset);
    Ok(newest)
}
