//! The machine against its decision tables, which were written from the contract.

use std::path::{Path, PathBuf};

use consign::lifecycle::table::{Table, render, render_markdown, tables};

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
    let text = render();
    for (table, printed) in tables().iter().zip(text.split("\n\n")) {
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
    let expected = render_markdown();
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
