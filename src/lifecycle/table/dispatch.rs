//! A dispatch in each place meets each event under each policy that matters.

use super::super::specimen::{START, cause, in_status_with, intervention, outcome, planned};
use super::super::{DueTimer, File, Judged};
use super::grid::Table;
use super::{change_of, words_of};
use crate::record::{
    Action, Confirmation, OnExhausted, OnOverdue, OnUnknown, OutcomeKind, PlannedDispatch, Reporter, Status,
    TargetName, Timer, TimerKind,
};

/// Where a dispatch may stand, and how it comes there: the status, what an operator asked for then, and whether the attempt
/// that a retry grants has been authorized. An operator's verdict is told apart from the target's.
type Place = (&'static str, Status, Option<Action>, bool);

const PLACES: [Place; 12] = [
    ("PENDING", Status::Pending, None, false),
    ("PENDING (granted)", Status::Held, Some(Action::Retry), false),
    ("IN_FLIGHT", Status::InFlight, None, false),
    ("IN_FLIGHT (granted)", Status::Held, Some(Action::Retry), true),
    ("AWAITING", Status::Awaiting, None, false),
    ("BACKING_OFF", Status::BackingOff, None, false),
    ("HELD", Status::Held, None, false),
    ("SUCCEEDED", Status::Succeeded, None, false),
    ("SUCCEEDED (by operator)", Status::Held, Some(Action::Confirm), false),
    ("FAILED", Status::Failed, None, false),
    ("FAILED (by operator)", Status::Held, Some(Action::Fail), false),
    ("CANCELLED", Status::Cancelled, None, false),
];

/// What may be reported; a refusal is one of our credentials.
const REPORTS: [(&str, OutcomeKind, bool); 7] = [
    ("ACCEPTED", OutcomeKind::Accepted, false),
    ("SUCCEEDED", OutcomeKind::Succeeded, false),
    ("DUPLICATE", OutcomeKind::Duplicate, false),
    ("REJECTED", OutcomeKind::Rejected, false),
    ("RETRYABLE", OutcomeKind::Retryable, false),
    ("RETRYABLE (refusal)", OutcomeKind::Retryable, true),
    ("UNKNOWN", OutcomeKind::Unknown, false),
];

/// Which attempt a report names, of how many before an operator's.
const ABOUT: [(&str, i32); 3] = [("newest", 1), ("older", 2), ("none", 1)];

/// Whether a dispatch that is confirmed so can be in that status: without a confirmation to follow there is no AWAITING.
fn can_be(status: Status, by: Confirmation) -> bool {
    status != Status::Awaiting || matches!(by, Confirmation::Acks | Confirmation::Callback)
}

/// Who may speak of a dispatch: its transport, whoever confirms it where that isn't the transport, and another.
fn reporters(by: Confirmation) -> Vec<(&'static str, Reporter)> {
    let (transport, another) = (("transport", Reporter::Transport), "another");
    match by {
        Confirmation::Acks => vec![transport, ("confirmer", Reporter::Acks), (another, Reporter::Callback)],
        Confirmation::Callback => vec![transport, ("confirmer", Reporter::Callback), (another, Reporter::Acks)],
        Confirmation::Response | Confirmation::Transport => vec![transport, (another, Reporter::Acks)],
    }
}

/// What a dispatch's place and an event lead to.
pub(super) fn dispatch() -> Table {
    let mut table = Table {
        name: "dispatch",
        title: "what becomes of a dispatch when an event is read; the confirmer is who reports on acks or calls back",
        inputs: &["stands", "confirmed by", "from", "event", "attempt", "policy"],
        outputs: &["judgement", "becomes"],
        by_first_column: true,
        cells: Vec::new(),
    };
    for place in PLACES {
        for by in Confirmation::ALL.iter().copied().filter(|by| can_be(place.1, *by)) {
            for (from, reporter) in reporters(by) {
                for report in REPORTS {
                    for about in ABOUT {
                        add_report(&mut table, place, by, (from, reporter), report, about);
                    }
                }
            }
            add_timers(&mut table, place, by);
            add_attempts(&mut table, place, by);
        }
    }
    table
}

fn add_report(
    table: &mut Table,
    place: Place,
    by: Confirmation,
    (from, reporter): (&str, Reporter),
    (event, kind, refusal): (&str, OutcomeKind, bool),
    (about, attempts): (&str, i32),
) {
    // The plan's policies come into it where the attempt that they are about may end.
    let policies = if about == "newest" && from != "another" {
        let has_open_attempt = place.1 == Status::InFlight || place.3;
        policies_for(kind, refusal, has_open_attempt)
    } else {
        vec![Policy::new("-", |_| {})]
    };
    for policy in policies {
        let before = specimen(&policy, place, by, attempts);
        let mut file = before.clone();
        let named = match about {
            "newest" => Some(before.dispatches[0].attempts.max(1)),
            "older" => Some(1),
            _ => None,
        };
        let mut report = outcome(&file, "a", named, kind, reporter);
        // Not the words that brought the specimen here: that would be an exact repeat.
        (report.refusal, report.code) = (refusal, "table".into());
        (report.reported_at, report.retry_after_ms) = (START.plus_millis(1_500), policy.retry_after_ms);
        let judged = file.report(0, &report, START.plus_millis(1_500), &cause(file.version));
        table.add([place.0, by.as_str(), from, event, about, policy.name], results(&judged, &before, &file));
    }
}

fn results(judged: &Judged, before: &File, after: &File) -> [String; 2] {
    [words_of(judged), change_of(before, after)]
}

/// A policy, whether the file's deadline has been read back, and for how long the target asks to be left alone.
struct Policy {
    name: &'static str,
    plan: PlannedDispatch,
    overdue: bool,
    retry_after_ms: Option<i64>,
}

impl Policy {
    fn new(name: &'static str, adapt: impl FnOnce(&mut PlannedDispatch)) -> Self {
        let mut plan = planned("f", "a");
        plan.retry.attempts = 3;
        adapt(&mut plan);
        Self { name, plan, overdue: false, retry_after_ms: None }
    }

    fn overdue(name: &'static str, adapt: impl FnOnce(&mut PlannedDispatch)) -> Self {
        Self { overdue: true, ..Self::new(name, adapt) }
    }

    fn asks(self, retry_after_ms: i64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..self }
    }
}

fn spent(plan: &mut PlannedDispatch, on_exhausted: OnExhausted) {
    (plan.on_unknown, plan.retry.attempts, plan.on_exhausted) = (OnUnknown::Retry, 1, on_exhausted);
}

/// The next attempt would be due a second after an outcome, and no outcome here comes in the first second.
fn given_up(plan: &mut PlannedDispatch, on_exhausted: OnExhausted) {
    (plan.on_unknown, plan.retry.give_up_after_ms, plan.on_exhausted) = (OnUnknown::Retry, Some(2_000), on_exhausted);
}

fn honours(plan: &mut PlannedDispatch, on_exhausted: OnExhausted) {
    (plan.on_unknown, plan.retry.retry_after_max_ms, plan.on_exhausted) = (OnUnknown::Retry, 5_000, on_exhausted);
}

/// Attempts are left; what is spent is the time that the plan gives to retries.
fn time_policies() -> Vec<Policy> {
    vec![
        Policy::new("give_up_after passed, on_exhausted: hold", |p| given_up(p, OnExhausted::Hold)),
        Policy::new("give_up_after passed, on_exhausted: fail", |p| given_up(p, OnExhausted::Fail)),
    ]
}

/// Attempts and time are left; the target asks to be left alone.
fn asking_policies() -> Vec<Policy> {
    vec![
        Policy::new("asked up to retry_after_max", |p| honours(p, OnExhausted::Hold)).asks(5_000),
        Policy::new("asked beyond retry_after_max, on_exhausted: hold", |p| honours(p, OnExhausted::Hold)).asks(5_001),
        Policy::new("asked beyond retry_after_max, on_exhausted: fail", |p| honours(p, OnExhausted::Fail)).asks(5_001),
    ]
}

/// The policies under which a kind of report may lead to different places. Only an open attempt outlives the file's
/// deadline without being HELD.
fn policies_for(kind: OutcomeKind, refusal: bool, has_open_attempt: bool) -> Vec<Policy> {
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
    match kind {
        OutcomeKind::Accepted => {}
        // Its policies of time are among those.
        OutcomeKind::Unknown => policies.extend(asking_policies()),
        _ => policies.extend(time_policies().into_iter().chain(asking_policies())),
    }
    if has_open_attempt {
        policies.push(Policy::overdue("file overdue", |p| p.on_unknown = OnUnknown::Retry));
    }
    policies
}

fn unknown_policies() -> Vec<Policy> {
    let mut policies = vec![
        Policy::new("on_unknown: hold", |p| p.on_unknown = OnUnknown::Hold),
        Policy::new("on_unknown: retry, budget left", |p| p.on_unknown = OnUnknown::Retry),
        Policy::new("on_unknown: retry, budget spent, on_exhausted: hold", |p| spent(p, OnExhausted::Hold)),
        Policy::new("on_unknown: retry, budget spent, on_exhausted: fail", |p| spent(p, OnExhausted::Fail)),
    ];
    policies.extend(time_policies());
    policies
}

fn overdue_policies() -> Vec<Policy> {
    let with = |name, adapt: fn(&mut PlannedDispatch, OnExhausted), on_exhausted| {
        Policy::new(name, |p| {
            (p.on_overdue, p.on_unknown) = (OnOverdue::Retry, OnUnknown::Retry);
            adapt(p, on_exhausted);
        })
    };
    let (hold, fail) = (OnExhausted::Hold, OnExhausted::Fail);
    vec![
        Policy::new("on_overdue: hold", |p| p.on_overdue = OnOverdue::Hold),
        Policy::new("on_overdue: fail", |p| p.on_overdue = OnOverdue::Fail),
        Policy::new("on_overdue: retry, on_unknown: hold", |p| p.on_overdue = OnOverdue::Retry),
        with("on_overdue: retry, budget left", |_, _| {}, hold),
        with("on_overdue: retry, budget spent, on_exhausted: hold", spent, hold),
        with("on_overdue: retry, budget spent, on_exhausted: fail", spent, fail),
        with("on_overdue: retry, give_up_after passed, on_exhausted: hold", given_up, hold),
        with("on_overdue: retry, give_up_after passed, on_exhausted: fail", given_up, fail),
    ]
}

/// A file in a place. Its operators may still grant one attempt there, unless that is how it came there.
fn specimen(policy: &Policy, (_, status, by_hand, is_sent): Place, by: Confirmation, attempts: i32) -> File {
    let mut plan = policy.plan.clone();
    plan.confirmed_by.by = by;
    let mut file = in_status_with(&plan, status, attempts);
    if let Some(action) = by_hand {
        let asked = intervention(&file, Some("a"), action);
        file.intervene(Some(0), &asked, START.plus_millis(1_200), &cause(7));
    }
    if is_sent {
        file.attempt_now(0, START.plus_millis(1_300));
    }
    if policy.overdue {
        read_next(&mut file, TimerKind::FileDeadline);
    }
    file
}

fn add_timers(table: &mut Table, place: Place, by: Confirmation) {
    let mut add = |what: TimerKind, policies: Vec<Policy>| {
        for policy in policies {
            let before = specimen(&policy, place, by, 1);
            let mut file = before.clone();
            let judged = read_next(&mut file, what);
            let inputs = [place.0, by.as_str(), "timer", what.as_str(), "-", policy.name];
            table.add(inputs, results(&judged, &before, &file));
        }
    };
    let mut attempt_deadline = unknown_policies();
    if place.1 == Status::InFlight || place.3 {
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

fn add_attempts(table: &mut Table, place: Place, by: Confirmation) {
    let before = specimen(&Policy::new("-", |_| {}), place, by, 1);
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
        table.add([place.0, by.as_str(), "engine", "attempt", "-", policy], results);
    }
}
