//! The machine's tables, printed by running the machine: what `consign machine` shows and the documentation contains.

use std::fmt::Write as _;

use super::specimen::{cause, in_status, intervention, outcome, planned};
use super::{DueTimer, File, Judged};
use crate::record::{
    Action, Judgement, OnExhausted, OnOverdue, OnUnknown, OutcomeKind, PlannedDispatch, Reporter, Status, TargetName,
    Timer, TimerKind,
};

/// One cell: a dispatch in a status meets an event under a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The status before.
    pub status: Status,
    /// The event, in words.
    pub event: String,
    /// The policy that matters here, or `-`.
    pub policy: String,
    /// What the machine made of the event: a judgement, with its code if it was not applied, or `repeat`.
    pub judgement: String,
    /// The status after, with why it is HELD or who settled it.
    pub becomes: String,
}

/// Which attempt a report names.
const ABOUT: [(&str, Option<i32>); 2] = [("of the newest attempt", Some(1)), ("without an attempt", None)];

/// What is reported, by whom, and whether it is a refusal.
const REPORTS: [(&str, OutcomeKind, Reporter, bool); 8] = [
    ("transport ACCEPTED", OutcomeKind::Accepted, Reporter::Transport, false),
    ("transport RETRYABLE", OutcomeKind::Retryable, Reporter::Transport, false),
    ("transport RETRYABLE, refused", OutcomeKind::Retryable, Reporter::Transport, true),
    ("transport UNKNOWN", OutcomeKind::Unknown, Reporter::Transport, false),
    ("acks SUCCEEDED", OutcomeKind::Succeeded, Reporter::Acks, false),
    ("acks DUPLICATE", OutcomeKind::Duplicate, Reporter::Acks, false),
    ("acks REJECTED", OutcomeKind::Rejected, Reporter::Acks, false),
    ("acks RETRYABLE", OutcomeKind::Retryable, Reporter::Acks, false),
];

/// Every cell of the dispatch's table.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for status in Status::ALL.iter().copied() {
        for (name, kind, reporter, refusal) in REPORTS {
            for (about, attempt) in ABOUT {
                for (policy, plan) in policies_for(kind) {
                    let event = format!("{name} {about}");
                    rows.push(row(status, event, policy, plan, |file| {
                        let mut report = outcome(file, "a", attempt, kind, reporter);
                        report.refusal = refusal;
                        file.report(0, &report, super::specimen::START.plus_millis(1_500), &cause(file.version))
                    }));
                }
            }
        }
        rows.extend(timer_rows(status));
        for action in [Action::Retry, Action::Confirm, Action::Fail, Action::Cancel] {
            let target = (action != Action::Cancel).then_some("a");
            rows.push(row(status, format!("operator {action}"), "-", planned("f", "a"), |file| {
                file.ask(target, action)
            }));
        }
        rows.push(row(status, "operator retry of an older version".into(), "-", planned("f", "a"), |file| {
            let mut asked = intervention(file, Some("a"), Action::Retry);
            asked.seen_version = asked.seen_version.map(|v| v - 1);
            file.intervene(Some(0), &asked, super::specimen::START, &cause(file.version))
        }));
    }
    rows
}

fn timer_rows(status: Status) -> Vec<Row> {
    let timer = |what, escalation| move |file: &mut File| read_next(file, what, escalation);
    let mut rows = Vec::new();
    for (policy, plan) in policies_for(OutcomeKind::Unknown) {
        let event = "attempt_deadline".to_owned();
        rows.push(row(status, event, policy, plan, timer(TimerKind::AttemptDeadline, None)));
    }
    for on_overdue in OnOverdue::ALL.iter().copied() {
        let mut plan = planned("f", "a");
        plan.on_overdue = on_overdue;
        plan.on_unknown = OnUnknown::Retry;
        let policy = format!("on_overdue: {on_overdue}");
        let event = "confirmation_deadline".to_owned();
        rows.push(row(status, event, &policy, plan, timer(TimerKind::ConfirmationDeadline, None)));
    }
    rows.push(row(status, "file_deadline".into(), "-", planned("f", "a"), timer(TimerKind::FileDeadline, None)));
    rows.push(row(status, "escalation".into(), "-", planned("f", "a"), timer(TimerKind::Escalation, Some(1))));
    rows
}

/// Reads back the timer of that kind that the file waits for, or one that it doesn't wait for.
fn read_next(file: &mut File, what: TimerKind, escalation: Option<i32>) -> Judged {
    let target = (what != TimerKind::FileDeadline).then(|| TargetName::trusted("a"));
    let due = file.timers().into_iter().find(|t| t.timer.what == what).unwrap_or_else(|| DueTimer {
        target,
        timer: Timer { what, due: file.deadline, attempt: Some(1), escalation },
        after_acks: false,
    });
    file.read_back(&due, 1)
}

/// The policies under which a kind of outcome leads to different statuses.
fn policies_for(kind: OutcomeKind) -> Vec<(&'static str, PlannedDispatch)> {
    let with = |on_unknown, on_exhausted, attempts| {
        let mut plan = planned("f", "a");
        (plan.on_unknown, plan.on_exhausted, plan.retry.attempts) = (on_unknown, on_exhausted, attempts);
        plan
    };
    let spent = [
        ("budget spent, on_exhausted: hold", with(OnUnknown::Retry, OnExhausted::Hold, 1)),
        ("budget spent, on_exhausted: fail", with(OnUnknown::Retry, OnExhausted::Fail, 1)),
    ];
    match kind {
        OutcomeKind::Unknown => [
            ("on_unknown: hold", with(OnUnknown::Hold, OnExhausted::Hold, 2)),
            ("on_unknown: retry", with(OnUnknown::Retry, OnExhausted::Hold, 2)),
        ]
        .into_iter()
        .chain(spent)
        .collect(),
        OutcomeKind::Retryable => {
            std::iter::once(("budget left", with(OnUnknown::Hold, OnExhausted::Hold, 2))).chain(spent).collect()
        }
        _ => vec![("-", planned("f", "a"))],
    }
}

fn row(
    status: Status,
    event: String,
    policy: &str,
    plan: PlannedDispatch,
    judge: impl FnOnce(&mut File) -> Judged,
) -> Row {
    // A budget of one attempt would hold a specimen that has to back off first.
    let attempts = plan.retry.attempts;
    let mut roomy = plan.clone();
    roomy.retry.attempts = attempts.max(2);
    let mut file = in_status(roomy, status);
    file.dispatches[0].plan = std::sync::Arc::new(plan);
    let judged = judge(&mut file);
    Row { status, event, policy: policy.to_owned(), judgement: words_of(&judged), becomes: place_of(&file) }
}

fn words_of(judged: &Judged) -> String {
    match judged {
        Judged::Repeat => "repeat".to_owned(),
        Judged::Recorded(recorded) => match (recorded.judgement, recorded.code) {
            (Judgement::Applied, _) => recorded.judgement.to_string(),
            (judgement, code) => format!("{judgement}: {}", code.unwrap_or("-")),
        },
    }
}

fn place_of(file: &File) -> String {
    let dispatch = &file.dispatches[0];
    match (dispatch.held_because, dispatch.settled_by) {
        (Some(because), _) => format!("{} ({because})", dispatch.status),
        (_, Some(by)) => format!("{} (by {by})", dispatch.status),
        _ => dispatch.status.to_string(),
    }
}

/// The table as text: one line for each cell, columns apart by ` | `.
pub fn render() -> String {
    let mut text = String::new();
    for row in rows() {
        let _ = writeln!(
            text,
            "{:<11} | {:<48} | {:<32} | {:<30} | {}",
            row.status.as_str(),
            row.event,
            row.policy,
            row.judgement,
            row.becomes
        );
    }
    text
}
