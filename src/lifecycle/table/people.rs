//! What becomes of interventions.

use super::super::specimen::{START, arrival, cause, in_status, intervention, planned};
use super::super::{File, Judged, SharedTerms, Terms};
use super::grid::Table;
use super::{change_of, words_of};
use crate::record::{Action, Failure, Intervention, Status};

const ACTIONS: [Action; 6] =
    [Action::Retry, Action::Confirm, Action::Fail, Action::Cancel, Action::Resubmit, Action::StartSuccessor];

/// What may be wrong with an intervention or forbid it.
type Flaw = (&'static str, fn(&mut File, &mut Intervention));

const FLAWS: [Flaw; 8] = [
    ("none", |_, _| {}),
    ("no id", |_, asked| asked.intervention_id = String::new()),
    ("no actor", |_, asked| asked.actor = String::new()),
    ("no reason", |_, asked| asked.reason = String::new()),
    ("no version", |_, asked| asked.seen_version = None),
    ("older version", |_, asked| asked.seen_version = asked.seen_version.map(|v| v - 1)),
    ("later version", |_, asked| asked.seen_version = asked.seen_version.map(|v| v + 1)),
    ("id used before", |file, asked| {
        let used = Intervention { actor: String::new(), ..asked.clone() };
        let index = asked.target.as_ref().and_then(|target| file.index_of(target));
        file.intervene(index, &used, START, &cause(8));
    }),
];

/// Flaws that only a dispatch's plan or budget can have.
const AT_DISPATCH: [Flaw; 2] = [
    ("operator budget spent", |file, _| file.dispatches[0].spent.operator_attempts = 1),
    ("confirm forbidden", |file, _| {
        let terms = (*file.dispatches[0].terms).clone();
        file.dispatches[0].terms = SharedTerms::new(Terms { operator_confirm: false, ..terms });
    }),
];

/// What an intervention at a dispatch leads to.
pub(super) fn dispatch() -> Table {
    let mut table = Table {
        name: "intervention-at-dispatch",
        title: "interventions at a dispatch, by where it stands and what is wrong with them",
        inputs: &["stands", "action", "flaw"],
        outputs: &["judgement", "becomes"],
        by_first_column: false,
        cells: Vec::new(),
    };
    for status in Status::ALL.iter().copied() {
        for action in ACTIONS {
            for (name, flaw) in FLAWS.iter().chain(&AT_DISPATCH) {
                let mut before = in_status(&planned("f", "a"), status);
                let mut asked = intervention(&before, Some("a"), action);
                flaw(&mut before, &mut asked);
                let mut file = before.clone();
                let judged = file.intervene(Some(0), &asked, START.plus_millis(2_000), &cause(9));
                let results = [words_of(&judged), change_of(&before, &file)];
                table.add([status.as_str(), action.as_str(), name], results);
            }
        }
    }
    table
}

/// What an intervention at a file leads to.
pub(super) fn file() -> Table {
    let mut table = Table {
        name: "intervention-at-file",
        title: "interventions at a file, by its state and what is wrong with them",
        inputs: &["state", "action", "flaw"],
        outputs: &["judgement", "becomes"],
        by_first_column: false,
        cells: Vec::new(),
    };
    for (name, state) in states() {
        for action in ACTIONS {
            for (flaw_name, flaw) in FLAWS {
                let mut file = state.clone();
                let mut asked = intervention(&file, None, action);
                flaw(&mut file, &mut asked);
                let before = file.state;
                let judged = file.intervene(None, &asked, START.plus_millis(2_000), &cause(9));
                table.add(
                    [name, action.as_str(), flaw_name],
                    [words_of(&judged), super::files::state_of(before, &file)],
                );
            }
        }
    }
    table
}

/// A file in each state, FAILED by what can be done about it.
pub(super) fn states() -> Vec<(&'static str, File)> {
    let received = File::arrived(arrival("f"), START.plus_millis(100_000));
    let mut invalid = received.clone();
    invalid.invalid(Failure { code: "schema".into(), text: "no amount".into() }, START, &cause(1));
    let of = |status| in_status(&planned("f", "a"), status);
    let mut in_doubt = of(Status::Held);
    let failed: Judged = in_doubt.ask(Some("a"), Action::Fail);
    assert_eq!(failed, Judged::applied(), "the specimen is FAILED");
    let mut resubmitted = of(Status::Failed);
    resubmitted.ask(None, Action::Resubmit);
    vec![
        ("RECEIVED", received),
        ("VALIDATED", of(Status::Pending)),
        ("DISTRIBUTING", of(Status::InFlight)),
        ("COMPLETED", of(Status::Succeeded)),
        ("FAILED", of(Status::Failed)),
        ("FAILED without a plan", invalid),
        ("FAILED, all in doubt", in_doubt),
        ("FAILED, resubmitted", resubmitted),
    ]
}
