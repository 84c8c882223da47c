//! What becomes of the fetch of a file's bytes, and of the file.

use std::sync::Arc;

use super::super::specimen::{START, arrival, cause, outcome};
use super::super::{Dispatch, File, Judged};
use super::files::state_of;
use super::grid::Table;
use super::words_of;
use crate::record::{Action, Arrival, FILE_TARGET, Fetch, OutcomeKind, Reporter, TimerKind};

/// A RECEIVED file whose bytes are to be fetched, with two attempts.
pub(in super::super) fn fetching() -> File {
    let fetch = Fetch {
        max_size: 1_000,
        keep: true,
        attempts: 2,
        schedule_ms: vec![1_000],
        jitter_percent: 0,
        request_ms: 10_000,
        max_clock_skew_ms: 5_000,
        file_deadline: START.plus_millis(3_600_000),
    };
    let arrival = Arrival { fetch: Some(fetch), ..Arrival::clone(&arrival("f")) };
    File::arrived(Arc::new(arrival), START.plus_millis(3_600_000))
}

fn hear(file: &mut File, kind: OutcomeKind, reporter: Reporter) -> Judged {
    let attempt = Some(file.dispatches[0].attempts.max(1));
    let report = outcome(file, FILE_TARGET, attempt, kind, reporter);
    file.report(0, &report, START.plus_millis(1_000), &cause(file.version))
}

fn falls_due(file: &mut File, what: TimerKind) -> Judged {
    match file.timers().into_iter().find(|due| due.timer.what == what) {
        Some(due) => file.read_back(&due, 0),
        None => Judged::Repeat,
    }
}

fn places() -> Vec<(&'static str, File)> {
    let pending = fetching();
    let mut first = pending.clone();
    first.attempt_now(0, START);
    let mut overdue = first.clone();
    falls_due(&mut overdue, TimerKind::FileDeadline);
    let mut backing_off = first.clone();
    hear(&mut backing_off, OutcomeKind::Retryable, Reporter::Transport);
    let mut last = backing_off.clone();
    last.attempt_now(0, START.plus_millis(2_000));
    vec![
        ("PENDING", pending),
        ("IN_FLIGHT", first),
        ("IN_FLIGHT, the last attempt", last),
        ("IN_FLIGHT, file overdue", overdue),
        ("BACKING_OFF", backing_off),
    ]
}

/// Where the fetch stands, in words, with who settled it.
fn fetch_of(file: &File) -> String {
    let words = |d: &Dispatch| match d.settled_by {
        Some(by) => format!("{} (by {by})", d.status),
        None => d.status.to_string(),
    };
    file.fetch.as_deref().or(file.dispatches.first()).map(words).unwrap_or_default()
}

/// What every event makes of the fetch of a file's bytes.
pub(super) fn fetch() -> Table {
    let mut table = Table {
        name: "fetch",
        title: "what becomes of the fetch of a file's bytes, before there is a plan, and of the file",
        inputs: &["the fetch", "event"],
        outputs: &["judgement", "the fetch becomes", "the file becomes"],
        by_first_column: false,
        cells: Vec::new(),
    };
    for (place, before) in places() {
        let mut add = |event: &str, judge: &dyn Fn(&mut File) -> Judged| {
            let mut file = before.clone();
            let judged = words_of(&judge(&mut file));
            let (old, new) = (fetch_of(&before), fetch_of(&file));
            let becomes = if old == new { "same".to_owned() } else { new };
            table.add([place, event], [judged, becomes, state_of(before.state, &file)]);
        };
        for kind in [OutcomeKind::Succeeded, OutcomeKind::Rejected, OutcomeKind::Retryable, OutcomeKind::Unknown] {
            add(kind.as_str(), &|file| hear(file, kind, Reporter::Transport));
        }
        add("SUCCEEDED by ack", &|file| hear(file, OutcomeKind::Succeeded, Reporter::Acks));
        add("SUCCEEDED by callback", &|file| hear(file, OutcomeKind::Succeeded, Reporter::Callback));
        add("attempt_deadline", &|file| falls_due(file, TimerKind::AttemptDeadline));
        add("file_deadline", &|file| falls_due(file, TimerKind::FileDeadline));
        for action in [Action::Retry, Action::Confirm, Action::Fail] {
            add(&format!("operator {action}"), &|file| file.ask(Some(FILE_TARGET), action));
        }
        add("operator cancel", &|file| file.ask(None, Action::Cancel));
    }
    table
}
