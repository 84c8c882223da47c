//! What holds for a target's dispatches.

use super::{Changes, Place, Question, duration};
use crate::record::{Confirmation, ConfirmedBy, OnOverdue};
use crate::routing::document::Policy;
use crate::routing::rate::Rate;

use Question::{Acknowledgement, Idempotency, Retry, StateMachine};

pub(super) fn compare(changes: &mut Changes, place: &Place, old: &Policy, new: &Policy) {
    confirmed_by(changes, place, &old.confirmed_by, &new.confirmed_by);
    changes.value(place, &[Acknowledgement], "receipt", (&old.receipt, &new.receipt), ToString::to_string);
    let pair = (&old.on_unknown, &new.on_unknown);
    changes.value(place, &[StateMachine, Idempotency, Retry], "on_unknown", pair, ToString::to_string);
    let resends = [old.on_overdue, new.on_overdue].contains(&OnOverdue::Retry);
    let questions: &[Question] =
        if resends { &[StateMachine, Acknowledgement, Retry] } else { &[StateMachine, Acknowledgement] };
    changes.value(place, questions, "on_overdue", (&old.on_overdue, &new.on_overdue), ToString::to_string);
    let pair = (&old.on_exhausted, &new.on_exhausted);
    changes.value(place, &[StateMachine], "on_exhausted", pair, ToString::to_string);
    changes.value(place, &[StateMachine], "on_failed", (&old.on_failed, &new.on_failed), ToString::to_string);
    retry(changes, place, old, new);
    let escalation = |of: fn(&Policy) -> i64| (of(old), of(new));
    for (key, (old, new)) in
        [("first", escalation(|p| p.escalation.first_ms)), ("max", escalation(|p| p.escalation.max_ms))]
    {
        changes.value(place, &[StateMachine], &format!("escalation {key}"), (&old, &new), |millis| duration(*millis));
    }
    let pair = (&old.operator_confirm, &new.operator_confirm);
    changes.value(place, &[StateMachine, Acknowledgement], "operator_confirm", pair, ToString::to_string);
    changes.value(place, &[], "concurrency", (&old.concurrency, &new.concurrency), ToString::to_string);
    let rate = |rate: &Option<Rate>| rate.map_or_else(|| "none".to_owned(), |rate| rate.to_string());
    changes.value(place, &[], "rate", (&old.rate, &new.rate), rate);
}

fn retry(changes: &mut Changes, place: &Place, old: &Policy, new: &Policy) {
    let (a, b) = (&old.retry, &new.retry);
    let counts = [
        ("retry attempts", a.attempts, b.attempts),
        ("retry operator_attempts", a.operator_attempts, b.operator_attempts),
        ("retry refusals", a.refusals, b.refusals),
        ("retry jitter", a.jitter_percent, b.jitter_percent),
    ];
    for (key, old, new) in counts {
        changes.value(place, &[Retry], key, (&old, &new), ToString::to_string);
    }
    changes.value(place, &[Retry], "retry schedule", (&a.schedule_ms, &b.schedule_ms), |schedule| {
        let all: Vec<String> = schedule.iter().copied().map(duration).collect();
        format!("[{}]", all.join(", "))
    });
    let limit = |millis: &Option<i64>| millis.map_or_else(|| "never".to_owned(), duration);
    changes.value(place, &[Retry], "retry give_up_after", (&a.give_up_after_ms, &b.give_up_after_ms), limit);
    let (x, y) = (&old.timeouts, &new.timeouts);
    let durations = [
        ("retry retry_after_max", a.retry_after_max_ms, b.retry_after_max_ms),
        ("timeouts send_within", x.send_within_ms, y.send_within_ms),
        ("timeouts request", x.request_ms, y.request_ms),
        ("timeouts max_clock_skew", x.max_clock_skew_ms, y.max_clock_skew_ms),
    ];
    for (key, old, new) in durations {
        changes.value(place, &[Retry], key, (&old, &new), |millis| duration(*millis));
    }
}

fn confirmed_by(changes: &mut Changes, place: &Place, old: &ConfirmedBy, new: &ConfirmedBy) {
    let awaits = |by: Confirmation| matches!(by, Confirmation::Acks | Confirmation::Callback);
    let other_way: &[Question] =
        if awaits(old.by) == awaits(new.by) { &[Acknowledgement] } else { &[StateMachine, Acknowledgement] };
    changes.value(place, other_way, "confirmed_by", (&old.by, &new.by), ToString::to_string);
    let time = |millis: &Option<i64>| millis.map_or_else(|| "none".to_owned(), duration);
    changes.value(place, &[Acknowledgement], "confirmation within", (&old.within_ms, &new.within_ms), time);
    changes.value(place, &[Acknowledgement], "confirmation limit", (&old.limit_ms, &new.limit_ms), time);
    let rule = |rule: &Option<String>| rule.as_ref().map_or_else(|| "none".to_owned(), |rule| format!("`{rule}`"));
    changes.value(place, &[Acknowledgement], "rule succeeded", (&old.succeeded, &new.succeeded), rule);
    changes.value(place, &[Idempotency, Acknowledgement], "rule duplicate", (&old.duplicate, &new.duplicate), rule);
    changes.value(place, &[Acknowledgement, Retry], "rule rejected", (&old.rejected, &new.rejected), rule);
    changes.value(place, &[Retry], "rule retryable", (&old.retryable, &new.retryable), rule);
    let list = |statuses: &Vec<i32>| format!("{statuses:?}");
    let statuses = (&old.rejected_status, &new.rejected_status);
    changes.value(place, &[Acknowledgement, Retry], "rejected_status", statuses, list);
    changes.value(place, &[Retry], "not_processed", (&old.not_processed, &new.not_processed), list);
    changes.value(place, &[Acknowledgement], "token required", (&old.token, &new.token), ToString::to_string);
    changes.value(place, &[Acknowledgement], "verify_with", (&old.verify_with, &new.verify_with), rule);
}
