//! The machine against its decision tables, which were written from the contract.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use consign::lifecycle::table::{Table, render, render_markdown};
use consign::predict::tables;
use consign::record::{Action, Confirmation, OutcomeKind, State, Status, TimerKind};

fn path_of(table: &Table) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine").join(format!("{}.table", table.name))
}

#[test]
fn every_cell_is_as_the_table_files_say() {
    let mut report = Vec::new();
    for table in tables() {
        let path = path_of(&table);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let differences = table.differences(&text);
        if !differences.is_empty() {
            report.push(format!(
                "{} differs in {}:\n  {}",
                path.display(),
                differences.len(),
                differences.join("\n  ")
            ));
        }
    }
    assert!(report.is_empty(), "\n{}\n", report.join("\n\n"));
}

/// The first word of what stands in some columns of a table's cells: a status without what is said about it.
fn found(name: &str, columns: [usize; 3]) -> BTreeSet<[String; 3]> {
    let table = tables().into_iter().find(|table| table.name == name).expect("it is there");
    let word = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    table.cells.iter().map(|cell| columns.map(|column| word(&cell.inputs[column]))).collect()
}

/// What the rows of [`found`] lack of these.
fn lacking(found: &BTreeSet<[String; 3]>, wanted: impl Iterator<Item = [&'static str; 3]>) -> Vec<[&'static str; 3]> {
    wanted.filter(|row| !found.contains(&row.map(str::to_owned))).collect()
}

#[test]
fn every_event_comes_to_every_status_however_it_is_confirmed() {
    let events = found("dispatch", [0, 1, 3]);
    let reports = OutcomeKind::ALL.iter().filter(|kind| **kind != OutcomeKind::Timer).map(|kind| kind.as_str());
    let timers = TimerKind::ALL.iter().map(|timer| timer.as_str());
    let all: Vec<&str> = reports.chain(timers).chain(["attempt"]).collect();
    let mut places = Vec::new();
    for status in Status::ALL.iter().copied() {
        for by in Confirmation::ALL.iter().copied() {
            // No confirmation follows there, and the table of IN_FLIGHT says that ACCEPTED is refused.
            let unreachable =
                status == Status::Awaiting && matches!(by, Confirmation::Response | Confirmation::Transport);
            assert_eq!(
                unreachable,
                !events.iter().any(|[s, b, _]| (s.as_str(), b.as_str()) == (status.as_str(), by.as_str()))
            );
            if !unreachable {
                places.push((status.as_str(), by.as_str()));
            }
        }
    }
    let wanted = places.iter().flat_map(|(status, by)| all.iter().map(move |event| [*status, *by, *event]));
    assert_eq!(lacking(&events, wanted), Vec::<[&str; 3]>::new());
}

#[test]
fn every_intervention_comes_to_every_status_and_every_state() {
    let actions = || Action::ALL.iter().map(|action| action.as_str());
    let at_dispatch = found("intervention-at-dispatch", [0, 1, 2]);
    let wanted = Status::ALL.iter().flat_map(|status| actions().map(move |action| [status.as_str(), action, "none"]));
    assert_eq!(lacking(&at_dispatch, wanted), Vec::<[&str; 3]>::new());
    let at_file = found("intervention-at-file", [0, 1, 2]);
    let wanted = State::ALL.iter().flat_map(|state| actions().map(move |action| [state.as_str(), action, "none"]));
    assert_eq!(lacking(&at_file, wanted), Vec::<[&str; 3]>::new());
}

#[test]
fn every_status_code_is_in_the_table_of_kinds_once() {
    let table = tables().into_iter().find(|table| table.name == "kinds").expect("it is there");
    let names: BTreeSet<&str> = table.cells.iter().map(|cell| cell.inputs[0].as_str()).collect();
    for status in 100..600_u16 {
        let hundred = status / 100;
        let alone = names.contains(status.to_string().as_str());
        let range = format!("{hundred}00-{hundred}99");
        let rest = format!("any other {hundred}xx");
        assert!(alone || names.contains(range.as_str()) || names.contains(rest.as_str()), "{status}");
    }
}

#[test]
fn every_code_that_the_book_gives_an_outcome_is_in_the_table_of_kinds() {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/receivers.md");
    let book = std::fs::read_to_string(book).expect("the book is there");
    let listed =
        book.split("An outcome's `code` says what happened:").nth(1).and_then(|rest| rest.split("\n\n").next());
    let is_code = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let codes: BTreeSet<&str> = listed.expect("it lists them").split('`').skip(1).step_by(2).filter(is_code).collect();
    assert!(codes.len() > 20, "{codes:?}");
    let table = tables().into_iter().find(|table| table.name == "kinds").expect("it is there");
    let with_code = table.cells.iter().filter_map(|cell| cell.inputs[0].split_once(": "));
    let judged: BTreeSet<String> = with_code.map(|(_, code)| code.to_owned()).collect();
    let missing: Vec<&&str> = codes.iter().filter(|code| !judged.contains(**code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_table_file_is_one_of_the_machines() {
    let known: Vec<PathBuf> = tables().iter().map(path_of).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine");
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "table") {
            assert!(known.contains(&path), "{} is no table of the machine", path.display());
        }
    }
}

#[test]
fn what_is_printed_says_what_the_machine_does() {
    let tables = tables();
    let text = render(&tables);
    for (table, printed) in tables.iter().zip(text.split("\n\n")) {
        assert!(printed.starts_with(&format!("# {}: ", table.name)));
        assert_eq!(table.differences(printed), Vec::<String>::new(), "{}", table.name);
    }
}

#[test]
fn a_difference_names_the_cell_and_both_sides() {
    let table = tables().into_iter().find(|t| t.name == "attempt").expect("it is there");
    let text = "a | b | c\nnone | - | believed\none | none / 1 | believed\none | 1 / 2 | refused: unknown_attempt\nsix | - | x\n";
    let expected = [
        "line 5 names no cell: six | - | x",
        "none | none\n    line 2 says:      believed\n    the machine says: refused: never_sent",
        "none | 0\n    line 2 says:      believed\n    the machine says: refused: never_sent",
        "none | 1\n    line 2 says:      believed\n    the machine says: refused: never_sent",
        "none | 2\n    line 2 says:      believed\n    the machine says: refused: never_sent",
        "one | 0\n    no line, the machine says: refused: unknown_attempt",
        "one | 1\n    named by lines 3, 4",
    ];
    assert_eq!(table.differences(text), expected);
}

#[test]
fn the_page_of_the_machine_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/machine.md");
    let expected = render_markdown(&tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(page.parent().expect("docs")).expect("docs can be made");
        std::fs::write(&page, &expected).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        found == expected,
        "docs/machine.md has drifted; UPDATE_DOCS=1 cargo test --release --test machine writes it"
    );
}
