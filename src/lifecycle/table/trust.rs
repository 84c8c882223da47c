//! Which reports are believed at all.

use super::super::File;
use super::super::specimen::{START, cause, in_status, outcome, planned};
use super::grid::Table;
use super::words_of;
use crate::record::{Confirmation, Outcome, OutcomeKind, PlannedDispatch, Reporter, Status, TokenCheck};

const KINDS: [OutcomeKind; 6] = [
    OutcomeKind::Accepted,
    OutcomeKind::Succeeded,
    OutcomeKind::Duplicate,
    OutcomeKind::Rejected,
    OutcomeKind::Retryable,
    OutcomeKind::Unknown,
];

/// How a report is judged before it is asked what it says: `believed` or the refusal.
fn verdict(file: &File, report: &Outcome) -> [String; 1] {
    let judged = words_of(&file.clone().report(0, report, START.plus_millis(1_500), &cause(5)));
    [if judged.starts_with("refused") { judged } else { "believed".to_owned() }]
}

fn in_flight(adapt: impl FnOnce(&mut PlannedDispatch)) -> File {
    let mut plan = planned("f", "a");
    adapt(&mut plan);
    in_status(&plan, Status::InFlight)
}

/// Who may say what about a dispatch, by what its success is confirmed by.
pub(super) fn confirmation() -> Table {
    let mut table = Table {
        name: "confirmation",
        title: "whose reports are believed, by the target's confirmed_by",
        inputs: &["confirmed_by", "reporter", "kind"],
        outputs: &["verdict"],
        by_first_column: false,
        cells: Vec::new(),
    };
    for by in Confirmation::ALL.iter().copied() {
        let file = in_flight(|p| p.confirmed_by.by = by);
        for reporter in Reporter::ALL.iter().copied() {
            for kind in KINDS {
                let report = outcome(&file, "a", Some(1), kind, reporter);
                table.add([by.as_str(), reporter.as_str(), kind.as_str()], verdict(&file, &report));
            }
        }
    }
    table
}

/// Which token a report from outside needs.
pub(super) fn token() -> Table {
    let mut table = Table {
        name: "token",
        title: "reports by their ack token; a transport needs none",
        inputs: &["token demanded", "reporter", "token"],
        outputs: &["verdict"],
        by_first_column: false,
        cells: Vec::new(),
    };
    let tokens = [
        ("not checked", None),
        ("absent", Some(TokenCheck::Absent)),
        ("wrong", Some(TokenCheck::Wrong)),
        ("ok", Some(TokenCheck::Ok)),
    ];
    for (demanded, demands) in [("yes", true), ("no", false)] {
        for reporter in [Reporter::Transport, Reporter::Callback, Reporter::Acks] {
            let by = if reporter == Reporter::Callback { Confirmation::Callback } else { Confirmation::Acks };
            let file = in_flight(|p| (p.confirmed_by.token, p.confirmed_by.by) = (demands, by));
            for (name, token) in tokens {
                let mut report = outcome(&file, "a", Some(1), OutcomeKind::Rejected, reporter);
                report.token = token;
                table.add([demanded, reporter.as_str(), name], verdict(&file, &report));
            }
        }
    }
    table
}

/// Which receipt a report of success needs.
pub(super) fn receipt() -> Table {
    let mut table = Table {
        name: "receipt",
        title: "reports by the digest of what arrived; who says no needs none",
        inputs: &["receipt demanded", "reporter", "kind", "received_digest"],
        outputs: &["verdict"],
        by_first_column: false,
        cells: Vec::new(),
    };
    let (right, other) = ("sha256:right", "sha256:other");
    let received = [("absent", None), ("another", Some(other)), ("right", Some(right))];
    for (demanded, receipt) in [("yes", Some(right.to_owned())), ("no", None)] {
        for (reporter, by) in [
            (Reporter::Transport, Confirmation::Response),
            (Reporter::Callback, Confirmation::Callback),
            (Reporter::Acks, Confirmation::Acks),
        ] {
            let file = in_flight(|p| (p.confirmed_by.receipt, p.confirmed_by.by) = (receipt.clone(), by));
            for kind in [OutcomeKind::Succeeded, OutcomeKind::Duplicate, OutcomeKind::Rejected] {
                for (name, digest) in received {
                    let mut report = outcome(&file, "a", Some(1), kind, reporter);
                    report.received_digest = digest.map(str::to_owned);
                    table.add([demanded, reporter.as_str(), kind.as_str(), name], verdict(&file, &report));
                }
            }
        }
    }
    table
}

/// Which attempts a report may name.
pub(super) fn attempt() -> Table {
    let mut table = Table {
        name: "attempt",
        title: "reports by the attempt that they name",
        inputs: &["authorized so far", "attempt named"],
        outputs: &["verdict"],
        by_first_column: false,
        cells: Vec::new(),
    };
    for (so_far, status) in [("none", Status::Pending), ("one", Status::InFlight)] {
        let file = in_status(&planned("f", "a"), status);
        for (named, attempt) in [("none", None), ("0", Some(0)), ("1", Some(1)), ("2", Some(2))] {
            let report = outcome(&file, "a", attempt, OutcomeKind::Rejected, Reporter::Acks);
            table.add([so_far, named], verdict(&file, &report));
        }
    }
    table
}
