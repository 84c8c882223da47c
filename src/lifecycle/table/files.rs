//! What becomes of the file.

use super::super::specimen::{START, cause, outcome, plan_of, planned, validated};
use super::super::{File, Judged};
use super::grid::Table;
use super::people::states;
use super::words_of;
use crate::record::{Action, Failure, OnFailed, OutcomeKind, PlannedDispatch, Reporter, State, TargetName, TimerKind};

/// The state that an event led to.
pub(super) fn state_of(before: State, after: &File) -> String {
    if before == after.state { "same".to_owned() } else { after.state.to_string() }
}

fn hear(file: &mut File, target: &str, kind: OutcomeKind) {
    let report = outcome(file, target, Some(1), kind, Reporter::Acks);
    let index = file.index_of(&report.target).expect("planned");
    file.report(index, &report, START.plus_millis(1_000), &cause(file.version));
}

/// Where the other dispatch stands when the first one settles, and how it comes there.
type Other = (&'static str, fn(&mut File));

const OTHERS: [Other; 9] = [
    ("PENDING", |_| {}),
    ("PENDING, after the first", |_| {}),
    ("IN_FLIGHT", |f| f.attempt_now(1, START)),
    ("AWAITING", |f| {
        f.attempt_now(1, START);
        hear(f, "b", OutcomeKind::Accepted);
    }),
    ("BACKING_OFF", |f| {
        f.attempt_now(1, START);
        hear(f, "b", OutcomeKind::Retryable);
    }),
    ("HELD", |f| {
        f.attempt_now(1, START);
        hear(f, "b", OutcomeKind::Unknown);
    }),
    ("HELD, never sent", |f| {
        let due = f.timers().into_iter().find(|t| t.timer.what == TimerKind::FileDeadline).expect("it has one");
        f.read_back(&due, 0);
    }),
    ("SUCCEEDED", |f| {
        f.attempt_now(1, START);
        hear(f, "b", OutcomeKind::Succeeded);
    }),
    ("FAILED", |f| {
        f.attempt_now(1, START);
        hear(f, "b", OutcomeKind::Rejected);
    }),
];

/// What the settlement of one dispatch means for another and for the file.
pub(super) fn settlement() -> Table {
    let mut table = Table {
        name: "settlement",
        title: "what the settlement of the first of two dispatches means for the other and for the file",
        inputs: &["the other", "the first", "its on_failed"],
        outputs: &["the other becomes", "the file becomes"],
        by_first_column: false,
        cells: Vec::new(),
    };
    for (place, bring) in OTHERS {
        for kind in [OutcomeKind::Succeeded, OutcomeKind::Rejected] {
            for on_failed in OnFailed::ALL.iter().copied() {
                let with = |target| PlannedDispatch { on_failed, ..planned("f", target) };
                let mut second = planned("f", "b");
                if place.ends_with("after the first") {
                    second.after = vec![TargetName::trusted("a")];
                }
                let mut file = validated(vec![with("a"), second]);
                file.attempt_now(0, START);
                bring(&mut file);
                let before = file.dispatches[1].status;
                let state = file.state;
                hear(&mut file, "a", kind);
                let after = file.dispatches[1].status;
                let other = if before == after { "same".to_owned() } else { after.to_string() };
                let first = file.dispatches[0].status.as_str();
                table.add([place, first, on_failed.as_str()], [other, state_of(state, &file)]);
            }
        }
    }
    table
}

/// What becomes of the file as a whole.
pub(super) fn file() -> Table {
    let mut table = Table {
        name: "file",
        title: "what becomes of a file with one dispatch",
        inputs: &["state", "event"],
        outputs: &["judgement", "becomes"],
        by_first_column: false,
        cells: Vec::new(),
    };
    for (name, before) in states() {
        let mut add = |event: &str, judge: &dyn Fn(&mut File) -> String| {
            let mut file = before.clone();
            let judgement = judge(&mut file);
            table.add([name, event], [judgement, state_of(before.state, &file)]);
        };
        if before.state == State::Received {
            add("plan committed", &|file| {
                file.planned(&plan_of(vec![planned("f", "a")]));
                "applied".to_owned()
            });
            add("no plan possible", &|file| {
                file.invalid(Failure { code: "schema".into(), text: String::new() }, START, &cause(1));
                "applied".to_owned()
            });
        }
        if before.state == State::Validated {
            add("attempt authorized", &|file| {
                file.attempt_now(0, START);
                "applied".to_owned()
            });
        }
        add("operator cancel", &|file| words_of(&file.ask(None, Action::Cancel)));
        add("operator resubmit", &|file| words_of(&file.ask(None, Action::Resubmit)));
        add("file_deadline", &|file| words_of(&deadline(file)));
    }
    table
}

fn deadline(file: &mut File) -> Judged {
    let timer =
        crate::record::Timer { what: TimerKind::FileDeadline, due: file.deadline, attempt: None, escalation: None };
    file.timer(None, &timer, file.deadline, &cause(file.version))
}
