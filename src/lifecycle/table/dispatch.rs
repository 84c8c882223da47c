//! A dispatch in each place meets each event under each policy that matters.

use super::super::specimen::{START, cause, in_status, in_status_with, intervention, outcome, planned};
use super::super::{DueTimer, File, Judged};
use super::grid::Table;
use super::{change_of, words_of};
use crate::record::{
    Action, OnExhausted, OnOverdue, OnUnknown, OutcomeKind, PlannedDispatch, Reporter, Status, TargetName, Timer,
    TimerKind,
};

/// Where a dispatch may stand; an operator's verdict is told apart from the target's.
const PLACES: [(&str, Status, Option<Action>); 11] = [
    ("PENDING", Status::Pending, None),
    ("PENDING (granted)", Status::Held, Some(Action::Retry)),
    ("IN_FLIGHT", Status::InFlight, None),
    ("AWAITING", Status::Awaiting, None),
    ("BACKING_OFF", Status::BackingOff, None),
    ("HELD", Status::Held, None),
    ("SUCCEEDED", Status::Succeeded, None),
    ("SUCCEEDED (by operator)", Status::Held, Some(Action::Confirm)),
    ("FAILED", Status::Failed, None),
    ("FAILED (by operator)", Status::Held, Some(Action::Fail)),
    ("CANCELLED", Status::Cancelled, None),
];

const REPORTS: [(&str, &str, OutcomeKind, Reporter, bool); 11] = [
    ("transport", "ACCEPTED", OutcomeKind::Accepted, Reporter::Transport, false),
    ("transport", "REJECTED", OutcomeKind::Rejected, Reporter::Transport, false),
    ("transport", "RETRYABLE", OutcomeKind::Retryable, Reporter::Transport, false),
    ("transport", "RETRYABLE (refusal)", OutcomeKind::Retryable, Reporter::Transport, true),
    ("transport", "UNKNOWN", OutcomeKind::Unknown, Reporter::Transport, false),
    ("acks", "ACCEPTED", OutcomeKind::Accepted, Reporter::Acks, false),
    ("acks", "SUCCEEDED", OutcomeKind::Succeeded, Reporter::Acks, false),
    ("acks", "DUPLICATE", OutcomeKind::Duplicate, Reporter::Acks, false),
    ("acks", "REJECTED", OutcomeKind::Rejected, Reporter::Acks, false),
    ("acks", "RETRYABLE", OutcomeKind::Retryable, Reporter::Acks, false),
    ("acks", "UNKNOWN", OutcomeKind::Unknown, Reporter::Acks, false),
];

/// Which attempt a report names, of how many.
const ABOUT: [(&str, i32, Option<i32>); 3] = [("newest", 1, Some(1)), ("older", 2, Some(1)), ("none", 1, None)];

/// What a dispatch's place and an event lead to.
pub(super) fn dispatch() -> Table {
    let mut table = Table {
        name: "dispatch",
        title: "what becomes of a dispatch, confirmed by acks, when an event is read",
        inputs: &["stands", "from", "event", "attempt", "policy"],
        outputs: &["judgement", "becomes"],
        by_first_column: true,
        cells: Vec::new(),
    };
    for (place, status, by_hand) in PLACES {
        for (from, event, kind, reporter, refusal) in REPORTS {
            for (about, attempts, named) in ABOUT {
                for policy in policies_for(kind, refusal, status == Status::InFlight) {
                    let before = specimen(&policy, status, by_hand, attempts);
                    let mut file = before.clone();
                    let mut report = outcome(&file, "a", named, kind, reporter);
                    // Not the words that brought the specimen here: that would be an exact repeat.
                    (report.refusal, report.code) = (refusal, "table".into());
                    report.reported_at = START.plus_millis(1_500);
                    let judged = file.report(0, &report, START.plus_millis(1_500), &cause(file.version));
                    table.add([place, from, event, about, policy.name], results(&judged, &before, &file));
                }
            }
        }
        add_timers(&mut table, place, status, by_hand);
        add_attempts(&mut table, place, status, by_hand);
    }
    table
}

fn results(judged: &Judged, before: &File, after: &File) -> [String; 2] {
    [words_of(judged), change_of(before, after)]
}

/// A policy, and whether the file's deadline has been read back.
struct Policy {
    name: &'static str,
    plan: PlannedDispatch,
    overdue: bool,
}

impl Policy {
    fn new(name: &'static str, adapt: impl FnOnce(&mut PlannedDispatch)) -> Self {
        let mut plan = planned("f", "a");
        plan.retry.attempts = 3;
        adapt(&mut plan);
        Self { name, plan, overdue: false }
    }

    fn overdue(name: &'static str, adapt: impl FnOnce(&mut PlannedDispatch)) -> Self {
        Self { overdue: true, ..Self::new(name, adapt) }
    }
}

fn spent(plan: &mut PlannedDispatch, on_exhausted: OnExhausted) {
    (plan.on_unknown, plan.retry.attempts, plan.on_exhausted) = (OnUnknown::Retry, 1, on_exhausted);
}

/// The policies under which a kind of report may lead to different places. Only an open attempt outlives the file's
/// deadline without being HELD.
fn policies_for(kind: OutcomeKind, refusal: bool, in_flight: bool) -> Vec<Policy> {
    let mut policies = match kind {
        OutcomeKind::Accepted => vec![
            Policy::new("below the limit", |p| p.confirmed_by.within_ms = Some(4_000)),
            Policy::new("moved by less than a tenth", |_| {}),
            Policy::new("limit reached", |p| p.confirmed_by.limit_ms = p.confirmed_by.within_ms),
        ],
        OutcomeKind::Retryable if refusal => {
            vec![Policy::new("refusals left", |_| {}), Policy::new("last refusal", |p| p.retry.refusals = 1)]
        }
        OutcomeKind::Retryable => vec![
            Policy::new("budget left", |_| {}),
            Policy::new("budget spent, on_exhausted: hold", |p| spent(p, OnExhausted::Hold)),
            Policy::new("budget spent, on_exhausted: fail", |p| spent(p, OnExhausted::Fail)),
        ],
        OutcomeKind::Unknown => unknown_policies(),
        _ => return vec![Policy::new("-", |_| {})],
    };
    if in_flight {
        policies.push(Policy::overdue("file overdue", |p| p.on_unknown = OnUnknown::Retry));
    }
    policies
}

fn unknown_policies() -> Vec<Policy> {
    vec![
        Policy::new("on_unknown: hold", |p| p.on_unknown = OnUnknown::Hold),
        Policy::new("on_unknown: retry, budget left", |p| p.on_unknown = OnUnknown::Retry),
        Policy::new("on_unknown: retry, budget spent, on_exhausted: hold", |p| spent(p, OnExhausted::Hold)),
        Policy::new("on_unknown: retry, budget spent, on_exhausted: fail", |p| spent(p, OnExhausted::Fail)),
    ]
}

fn overdue_policies() -> Vec<Policy> {
    let retry = |p: &mut PlannedDispatch| (p.on_overdue, p.on_unknown) = (OnOverdue::Retry, OnUnknown::Retry);
    vec![
        Policy::new("on_overdue: hold", |p| p.on_overdue = OnOverdue::Hold),
        Policy::new("on_overdue: fail", |p| p.on_overdue = OnOverdue::Fail),
        Policy::new("on_overdue: retry, on_unknown: hold", |p| p.on_overdue = OnOverdue::Retry),
        Policy::new("on_overdue: retry, budget left", retry),
        Policy::new("on_overdue: retry, budget spent, on_exhausted: hold", |p| {
            retry(p);
            spent(p, OnExhausted::Hold);
        }),
        Policy::new("on_overdue: retry, budget spent, on_exhausted: fail", |p| {
            retry(p);
            spent(p, OnExhausted::Fail);
        }),
    ]
}

/// A file in a place. Its operators may still grant one attempt there.
fn specimen(policy: &Policy, status: Status, by_hand: Option<Action>, attempts: i32) -> File {
    let mut file = if attempts == 1 {
        in_status(policy.plan.clone(), status)
    } else {
        in_status_with(policy.plan.clone(), status, attempts)
    };
    if let Some(action) = by_hand {
        let asked = intervention(&file, Some("a"), action);
        file.intervene(Some(0), &asked, START.plus_millis(1_200), &cause(7));
    }
    if policy.overdue {
        read_next(&mut file, TimerKind::FileDeadline);
    }
    file
}

fn add_timers(table: &mut Table, place: &str, status: Status, by_hand: Option<Action>) {
    let mut add = |what: TimerKind, policies: Vec<Policy>| {
        for policy in policies {
            let before = specimen(&policy, status, by_hand, 1);
            let mut file = before.clone();
            let judged = read_next(&mut file, what);
            table.add([place, "timer", what.as_str(), "-", policy.name], results(&judged, &before, &file));
        }
    };
    let mut attempt_deadline = unknown_policies();
    if status == Status::InFlight {
        attempt_deadline.push(Policy::overdue("file overdue", |p| p.on_unknown = OnUnknown::Retry));
    }
    add(TimerKind::AttemptDeadline, attempt_deadline);
    add(TimerKind::ConfirmationDeadline, overdue_policies());
    add(TimerKind::FileDeadline, vec![Policy::new("-", |_| {})]);
    add(TimerKind::Escalation, vec![Policy::new("-", |_| {})]);
}

/// Reads back the timer of that kind that the file waits for, or one that it doesn't wait for. An escalation may come to
/// what waits under a pause, too.
fn read_next(file: &mut File, what: TimerKind) -> Judged {
    let not_waited_for = DueTimer {
        target: (what != TimerKind::FileDeadline).then(|| TargetName::trusted("a")),
        timer: Timer { what, due: file.deadline, attempt: Some(1), escalation: Some(1) },
        after_acks: false,
    };
    let due = file.timers().into_iter().find(|t| t.timer.what == what).unwrap_or(not_waited_for);
    file.read_back(&due, 1)
}

fn add_attempts(table: &mut Table, place: &str, status: Status, by_hand: Option<Action>) {
    let before = specimen(&Policy::new("-", |_| {}), status, by_hand, 1);
    let due = before.dispatches[0].retry_at.unwrap_or(START);
    for (policy, now) in [("due", due), ("due, past the file's deadline", before.deadline)] {
        let mut file = before.clone();
        let judgement = if file.may_authorize(0, now) {
            file.attempt_now(0, now);
            "authorized"
        } else {
            "not authorized"
        };
        let results = [judgement.to_owned(), change_of(&before, &file)];
        table.add([place, "engine", "attempt", "-", policy], results);
    }
}
