//! A file's history for a reader: what came, who said so with which proof, and what it led to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{clean, table};
use crate::lifecycle::{File, fold_each};
use crate::node::explained::folded;
use crate::record::{HistoryEvent, Judgement, Status, TargetName};
use crate::routing::DEFAULT_DEADLINE_MS;
use crate::view::{Entry, HistoryEntry};

/// Characters of a target's answer that a line shows.
const ANSWER: usize = 200;

/// A file's history, a line for each entry: what came, and what it led to.
pub fn history(entries: &[HistoryEntry]) -> String {
    let mut led_to = led_to(entries);
    let rows: Vec<[String; 4]> = entries
        .iter()
        .enumerate()
        .map(|(i, entry)| {
            let target = entry.target.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            let mut text = happened(&entry.entry);
            // Several entries may have one version; where it led stands on the last.
            if entries.get(i + 1).is_none_or(|next| next.version != entry.version) {
                for (whose, change) in led_to.remove(&entry.version).unwrap_or_default() {
                    let whose = whose.filter(|target| Some(target) != entry.target.as_ref());
                    let whose = whose.map(|target| format!("{target} ")).unwrap_or_default();
                    let _ = write!(text, " -> {whose}{change}");
                }
            }
            [format!("v{}", entry.version), entry.at.to_string(), target, text]
        })
        .collect();
    table(&rows)
}

/// For each version the dispatches and the file that it moved on, `None` for the file. What the entry itself says (a plan
/// is PENDING, an attempt IN_FLIGHT) is left out. Empty where the entries aren't a file's whole history.
fn led_to(entries: &[HistoryEntry]) -> BTreeMap<i64, Vec<(Option<TargetName>, String)>> {
    let mut changes = BTreeMap::new();
    let mut before: Option<File> = None;
    let folded = fold_each(&folded(entries), DEFAULT_DEADLINE_MS, &mut |file| {
        let dispatches = file.dispatches.iter().filter_map(|dispatch| {
            let known = before.as_ref().and_then(|f| f.dispatches.iter().find(|d| d.target() == dispatch.target()));
            let moved = known.is_none_or(|d| (d.status, d.held_because) != (dispatch.status, dispatch.held_because));
            let said = match (dispatch.status, dispatch.held_because) {
                (Status::Pending | Status::InFlight, _) => return None,
                (Status::Held, Some(because)) => format!("HELD ({because})"),
                (status, _) => status.to_string(),
            };
            moved.then(|| (Some(dispatch.target().clone()), said))
        });
        let mut moved: Vec<_> = dispatches.collect();
        if before.as_ref().is_some_and(|before| before.state != file.state) {
            moved.push((None, format!("the file is {}", file.state)));
        }
        changes.insert(file.version, moved);
        before = Some(file.clone());
    });
    if folded.is_ok() { changes } else { BTreeMap::new() }
}

fn happened(entry: &Entry) -> String {
    match entry {
        Entry::Arrival(arrival) => {
            let from = &arrival.cause;
            let predecessor = arrival.supersedes.as_ref().map(|s| format!(", takes up {s}")).unwrap_or_default();
            format!(
                "accepted from {} ({} {}/{}){predecessor}",
                clean(&arrival.manifest.produced_by),
                from.topic,
                from.partition,
                from.offset
            )
        }
        Entry::Plan(plan) => {
            let after: Vec<&str> = plan.after.iter().map(TargetName::as_str).collect();
            let after = if after.is_empty() { String::new() } else { format!(", after {}", after.join(" and ")) };
            format!(
                "planned, {} of {}: {} by {}{after}",
                plan.ordinal + 1,
                plan.of,
                clean(&plan.request.destination),
                plan.transport
            )
        }
        Entry::Attempt(attempt) => format!(
            "attempt {} authorized by {} ({} left), deadline {}",
            attempt.attempt, attempt.authorized_by, attempt.attempts_left, attempt.deadline
        ),
        Entry::Event(event) => judged_event(event),
    }
}

fn judged_event(event: &HistoryEvent) -> String {
    let mut text = String::new();
    if let Some(outcome) = &event.outcome {
        if let Some(timer) = &outcome.timer {
            let _ = write!(text, "{} fell due at {}", timer.what, timer.due);
        } else {
            let code = if outcome.code.is_empty() { String::new() } else { format!(" {}", clean(&outcome.code)) };
            let attempt = outcome.attempt.map(|n| format!(" on attempt {n}")).unwrap_or_default();
            let _ = write!(text, "{}{code}{attempt} from {}", outcome.kind, outcome.reporter);
            if let Some(detail) = &outcome.detail {
                let _ = write!(text, ": {}", clean(detail));
            }
            let answer = outcome.evidence.as_ref().and_then(|evidence| evidence.body.as_deref());
            if let Some(answer) = answer.filter(|answer| !answer.trim().is_empty()) {
                let _ = write!(text, "; it answered: {}", cut(answer.trim()));
            }
        }
    }
    if let Some(asked) = &event.intervention {
        let _ = write!(text, "{} asked for {}: {}", clean(&asked.actor), asked.action, clean(&asked.reason));
        if let Some(evidence) = &asked.evidence {
            let _ = write!(text, "; proof: {}", clean(evidence));
        }
    }
    if let Some(failure) = &event.failure {
        let _ = write!(text, "failed: {} ({})", clean(&failure.text), clean(&failure.code));
    }
    let code = event.code.as_deref().map(|c| format!(" ({})", clean(c))).unwrap_or_default();
    match event.judgement {
        Judgement::Applied => text,
        other => format!("{text} -> {other}{code}"),
    }
}

/// The first part of an answer on one line; the JSON of the history has it whole.
fn cut(answer: &str) -> String {
    let mut text: String = clean(answer).chars().take(ANSWER).collect();
    if answer.chars().count() > ANSWER {
        text.push_str(" …");
    }
    text
}
