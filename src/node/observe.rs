//! What the engine did, as metrics and log lines.

use std::time::Duration;

use crate::engine::{DUPLICATES, Observed, reason};
use crate::metrics::{Metrics, Words};
use crate::record::{Judgement, State, Status, TargetName};
use crate::store::Reason;

/// Codes of reports that came without proof of who sent them.
const TOKEN_CODES: [&str; 2] = ["wrong_token", "token_missing"];

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// Shows at zero what a worker may count, before it does: what is first seen at one doesn't rise.
pub(super) fn begin(metrics: &Metrics) {
    let rebuilds = Reason::ALL.map(Reason::as_str);
    metrics.begin(&Words { dead_letters: &reason::ALL, duplicates: &DUPLICATES, store_rebuilds: &rebuilds });
}

/// Counts and logs one thing that a worker did.
pub(super) fn observe(metrics: &Metrics, worker: &str, observed: &Observed) {
    count(metrics, worker, observed);
    log(observed);
}

fn count(metrics: &Metrics, worker: &str, observed: &Observed) {
    match observed {
        Observed::Committed { .. } => metrics.transaction_committed(),
        Observed::Aborted { cause } => metrics.transaction_aborted(*cause),
        Observed::Restored { records, took_ms, .. } => metrics.restored(*records, millis(*took_ms)),
        Observed::StoreEmpty { reason, .. } => metrics.store_rebuilt(reason.as_str()),
        Observed::FileState { state, took_ms, .. } => {
            if let (State::Completed | State::Failed, Some(took_ms)) = (state, took_ms) {
                metrics.file_settled(*state, millis(*took_ms));
            }
        }
        Observed::Attempt { target, .. } => metrics.attempt_authorized(target),
        Observed::Report { target, kind, reporter, judgement, took_ms, .. } => {
            metrics.outcome(target, *kind, *reporter);
            if let Some(took_ms) = took_ms {
                metrics.attempt_ended(target, millis(*took_ms));
            }
            if *judgement != Judgement::Applied {
                metrics.report_late(target, *judgement);
            }
        }
        Observed::Intervention { action, judgement, .. } => metrics.intervention(*action, *judgement),
        Observed::Escalated { target, .. } => metrics.escalated(target),
        Observed::Duplicate { what, .. } => metrics.duplicate(what),
        Observed::DeadLetter { reason, .. } => metrics.dead_lettered(reason),
        Observed::Forwarded { from, .. } => metrics.forwarded(from.topic),
        Observed::Routing { targets, .. } => targets.iter().for_each(|target| metrics.know_target(target)),
        Observed::Dispatch { target, .. } => metrics.know_target(target),
        Observed::Breaker { target, is_open } => metrics.breaker(target, *is_open),
        Observed::ClockMeasured { offset_ms, .. } => metrics.clock_offset(worker, *offset_ms),
        Observed::StoreFailed { .. }
        | Observed::Forgotten { .. }
        | Observed::Paused { .. }
        | Observed::TopicRefused { .. } => {}
    }
}

fn log(observed: &Observed) {
    match observed {
        Observed::FileState { file_id, state, code, .. } => {
            tracing::info!(%file_id, %state, code, "file");
        }
        Observed::Dispatch { file_id, target, status: Status::Held, held_because } => {
            let because = held_because.map_or("", crate::record::HeldBecause::as_str);
            tracing::warn!(%file_id, %target, status = "HELD", held_because = because, "a person must decide");
        }
        Observed::Dispatch { file_id, target, status, .. } => {
            tracing::debug!(%file_id, %target, %status, "dispatch");
        }
        Observed::Attempt { file_id, target, attempt } => {
            tracing::debug!(%file_id, %target, attempt, "attempt authorized");
        }
        Observed::Report { file_id, target, attempt, kind, outcome_code, reporter, judgement, code, .. } => {
            // Somebody must find out what is true, or who it is that reports.
            let is_alarming = *judgement == Judgement::Contradiction || code.is_some_and(|c| TOKEN_CODES.contains(&c));
            if is_alarming {
                tracing::warn!(%file_id, %target, attempt, outcome = %kind, outcome_code, %reporter, %judgement, code, "report");
            } else {
                tracing::info!(%file_id, %target, attempt, outcome = %kind, outcome_code, %reporter, %judgement, code, "report");
            }
        }
        Observed::Intervention { file_id, target, action, actor, judgement, code } => {
            let target = target.as_ref().map(TargetName::as_str);
            tracing::info!(%file_id, target, %action, actor, %judgement, code, "intervention");
        }
        Observed::Escalated { file_id, target } => {
            tracing::warn!(%file_id, %target, "escalated: the operator is accountable");
        }
        Observed::Paused { target, code } => {
            tracing::warn!(%target, code, "target paused: it refused; `consign targets resume` ends it");
        }
        Observed::DeadLetter { from, offset, key, reason, detail } => {
            let (topic, partition) = (from.topic.base_name(), from.partition);
            let file_id = key.split('/').next();
            tracing::warn!(topic, partition, offset, key, file_id, reason, detail, "dead letter");
        }
        Observed::Duplicate { what, file_id } => tracing::debug!(%file_id, what, "duplicate"),
        Observed::Forwarded { from, offset, file_id } => {
            let (topic, partition) = (from.topic.base_name(), from.partition);
            tracing::debug!(%file_id, topic, partition, offset, "forwarded home");
        }
        Observed::Routing { digest, targets } => {
            tracing::info!(digest, targets = targets.len(), "routing document in force");
        }
        Observed::Breaker { target, is_open: true } => {
            let text = "the breaker opened: dispatches wait, one request at a time asks how the target is";
            tracing::warn!(%target, "{text}");
        }
        Observed::Breaker { target, .. } => tracing::info!(%target, "the breaker closed"),
        Observed::TopicRefused { target, topic, text } => {
            tracing::warn!(%target, topic, code = "CG222", "records of the target can't be written: {text}");
        }
        Observed::Aborted { cause } => tracing::warn!(%cause, "transaction aborted"),
        Observed::Restored { partition, records, took_ms } => {
            tracing::info!(partition, records, took_ms, "home partition restored");
        }
        Observed::ClockMeasured { offset_ms, within_ms } => tracing::debug!(offset_ms, within_ms, "clock measured"),
        Observed::StoreEmpty { partition, reason: Reason::Empty, text } => {
            tracing::info!(partition, "the partition is read from the beginning: {text}");
        }
        Observed::StoreEmpty { partition, reason: Reason::Failed, text } => {
            tracing::error!(partition, code = "CG221", "the partition goes on in memory: {text}");
        }
        Observed::StoreEmpty { partition, reason, text } => {
            tracing::warn!(partition, code = "CG220", reason = reason.as_str(), "the store is rebuilt: {text}");
        }
        Observed::StoreFailed { partition, reason, text } => {
            tracing::warn!(partition, reason = reason.as_str(), "the store failed: {text}");
        }
        Observed::Forgotten { file_id } => tracing::debug!(%file_id, "retention ended"),
        Observed::Committed { .. } => {}
    }
}
