//! The best and the worst that can become of a file, whatever its targets answer.

use std::collections::{BTreeMap, BTreeSet};

use super::course::{End, follow};
use super::script::Script;
use crate::lifecycle::{Dispatch, File, backoff_ms};
use crate::record::{
    Confirmation, HeldBecause, OnExhausted, OnOverdue, OnUnknown, Status, TargetName, Timestamp, dispatch_key,
};

/// How many requests a target may see of a file, those that it has seen included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MostRequests {
    /// While nobody intervenes.
    pub by_itself: i32,
    /// Whatever people grant and resume.
    pub with_people: i32,
}

/// A person may have to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonNeeded {
    /// The target.
    pub target: TargetName,
    /// Why.
    pub because: HeldBecause,
    /// Not before this.
    pub earliest: Timestamp,
}

/// How a file can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// When it is COMPLETED at the earliest; `None` where that takes a person, or can't be any more.
    pub earliest_completion: Option<Timestamp>,
    /// From then on it has ended, or moves only by a person.
    pub latest: Timestamp,
    /// The most requests, by target.
    pub most_requests: BTreeMap<TargetName, MostRequests>,
    /// Why and from when on a person may be needed, by target; where nobody is, the file ends by itself.
    pub person: Vec<PersonNeeded>,
}

/// The bounds of a file from `now` on, under targets of which these are paused.
pub fn bounds(file: &File, now: Timestamp, paused: &BTreeSet<TargetName>) -> Bounds {
    let best = follow(file.clone(), now, paused.clone(), &Script::best());
    let earliest_completion = if let End::Completed(at) = best.end { Some(at) } else { None };
    let mut ends: BTreeMap<&TargetName, Timestamp> = BTreeMap::new();
    let mut latest = file.settled_at.unwrap_or(now);
    let mut person = Vec::new();
    let open = |dispatch: &&Dispatch| !file.is_terminal() && !dispatch.is_settled();
    for dispatch in in_order(file) {
        let begins = dispatch.terms.after.iter().filter_map(|target| ends.get(target)).copied().max();
        let begins = begins.unwrap_or(now).max(now);
        let ends_at = if open(&dispatch) { latest_end(file, dispatch, begins, now) } else { now };
        ends.insert(dispatch.target(), ends_at);
        if open(&dispatch) {
            latest = latest.max(ends_at);
            needs(file, dispatch, now, &mut person);
        }
    }
    let most_requests = file.dispatches.iter().map(|d| (d.target().clone(), most_requests(file, d))).collect();
    Bounds { earliest_completion, latest, most_requests, person }
}

/// The bounds of a file that is still `fetching`, from `now` on, if what it finds leads to the plan of `planned`: the same file
/// planned at once.
pub fn bounds_with_fetch(fetching: &File, planned: &File, now: Timestamp) -> Bounds {
    let nobody = BTreeSet::new();
    let fetch = bounds(fetching, now, &nobody);
    // A file that is overdue before it is planned fails then.
    let planned_by = fetch.latest.min(planned.deadline);
    let (first, last) = (bounds(planned, now, &nobody), bounds(planned, planned_by, &nobody));
    let most_requests = fetch.most_requests.into_iter().chain(first.most_requests).collect();
    Bounds { latest: last.latest.max(fetch.latest), most_requests, ..first }
}

/// The dispatches, each after those that it waits for.
fn in_order(file: &File) -> Vec<&Dispatch> {
    let mut placed: BTreeSet<&TargetName> = BTreeSet::new();
    let mut order = Vec::with_capacity(file.dispatches.len());
    while order.len() < file.dispatches.len() {
        let before = order.len();
        for dispatch in &file.dispatches {
            let waits = |target| file.index_of(target).is_some() && !placed.contains(target);
            if !placed.contains(dispatch.target()) && !dispatch.terms.after.iter().any(waits) {
                placed.insert(dispatch.target());
                order.push(dispatch);
            }
        }
        assert!(order.len() > before, "{}: its plan has no circle", file.id());
    }
    order
}

/// The longest that one attempt lasts, in milliseconds.
fn attempt_ms(dispatch: &Dispatch) -> i64 {
    let timeouts = &dispatch.terms.timeouts;
    timeouts.send_within_ms + timeouts.request_ms + timeouts.max_clock_skew_ms
}

fn awaits(dispatch: &Dispatch) -> bool {
    matches!(dispatch.terms.confirmed_by.by, Confirmation::Acks | Confirmation::Callback)
}

/// When a dispatch has settled or moves only by a person: its budget spent as slowly as can be, and never later than its
/// last attempt from before the file's deadline.
fn latest_end(file: &File, dispatch: &Dispatch, begins: Timestamp, now: Timestamp) -> Timestamp {
    if dispatch.status == Status::Held {
        return now;
    }
    let open_until = dispatch.attempt.filter(|_| dispatch.has_open_attempt()).map_or(now, |a| a.deadline);
    let by_deadline = if file.overdue { open_until } else { file.deadline.plus_millis(attempt_ms(dispatch)).max(now) };
    if dispatch.grant.is_some() {
        // What a person granted leaves even when the file is overdue.
        return by_deadline.max(now.plus_millis(attempt_ms(dispatch)));
    }
    let key = dispatch_key(file.id(), dispatch.target());
    let retry = &dispatch.terms.retry;
    let confirmation = &dispatch.terms.confirmed_by;
    let awaited_ms = if awaits(dispatch) { confirmation.limit_ms.or(confirmation.within_ms).unwrap_or(0) } else { 0 };
    let cycle_ms = attempt_ms(dispatch).saturating_add(awaited_ms);
    let left = retry.attempts.saturating_sub(dispatch.spent.attempts).max(0);
    let mut spent_at = begins.max(open_until).max(dispatch.retry_at.unwrap_or(begins)).plus_millis(awaited_ms);
    for n in 0..=left {
        let backoff = backoff_ms(&key, retry, dispatch.attempts + n);
        let step = cycle_ms.saturating_add(backoff.max(retry.retry_after_max_ms));
        spent_at = Timestamp(spent_at.0.saturating_add(step));
        if spent_at >= by_deadline {
            break;
        }
    }
    spent_at.min(by_deadline)
}

fn most_requests(file: &File, dispatch: &Dispatch) -> MostRequests {
    let retry = &dispatch.terms.retry;
    if dispatch.is_settled() || file.is_terminal() {
        return MostRequests { by_itself: dispatch.attempts, with_people: dispatch.attempts };
    }
    let automatic = retry.attempts - dispatch.spent.attempts;
    let mut by_itself = dispatch.attempts;
    if dispatch.grant.is_some() {
        by_itself += 1;
    }
    if dispatch.status != Status::Held && !file.overdue {
        // A refusal costs none of these, and pauses the target: the one attempt more is a person's resume away.
        by_itself += automatic.max(0);
    }
    let with_people = retry.attempts + retry.operator_attempts + retry.refusals;
    MostRequests { by_itself: by_itself.min(with_people), with_people }
}

fn needs(file: &File, dispatch: &Dispatch, now: Timestamp, person: &mut Vec<PersonNeeded>) {
    let terms = &dispatch.terms;
    let target = dispatch.target();
    let mut add = |because, earliest: Timestamp| {
        person.push(PersonNeeded { target: target.clone(), because, earliest: earliest.max(now) });
    };
    if let Some(because) = dispatch.held_because {
        return add(because, dispatch.since);
    }
    let sent = match dispatch.status {
        Status::BackingOff => dispatch.retry_at.unwrap_or(now),
        _ => now,
    };
    // What is there with its attempt or not at all has no unknown fate, and nobody is asked who refuses.
    let leaves_later = terms.written_to.is_none();
    if terms.on_unknown == OnUnknown::Hold && leaves_later {
        add(HeldBecause::FateUnknown, sent);
    }
    if terms.on_exhausted == OnExhausted::Hold {
        // A target that asks for a longer wait than the plan honours spends the budget at once.
        add(HeldBecause::BudgetSpent, sent);
    }
    if awaits(dispatch) && terms.on_overdue == OnOverdue::Hold {
        let within = terms.confirmed_by.within_ms.unwrap_or(0);
        add(HeldBecause::ConfirmationOverdue, dispatch.confirm_by.unwrap_or(sent.plus_millis(within)));
    }
    if leaves_later {
        add(HeldBecause::Refused, sent);
    }
    add(HeldBecause::FileOverdue, file.deadline);
}
