//! The exit codes: one table, in the code, in `--help` and in the book; and every code of it for real.

use std::collections::BTreeSet;

use consign::cli::exit::Exit;

use crate::binary::{Dev, closed_address, consign};

#[test]
fn every_code_is_given_for_real() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = folder.path().join("faulty.yaml");
    std::fs::write(&faulty, "routes: 7\n").unwrap();
    let dev = Dev::start(&[]);
    dev.held("payment-1");
    let nobody = format!("http://{}", closed_address());
    let cases = [
        (Exit::Ok, consign(&["machine"])),
        (Exit::No, consign(&["routing", "check", faulty.to_str().unwrap()])),
        (Exit::Usage, consign(&["sttus", "x"])),
        (Exit::Unreachable, consign(&["status", "x", "--url", &nobody])),
        (Exit::NotFound, dev.run(&["status", "nothing-1"])),
        (Exit::Unfinished, dev.run(&["status", "payment-1"])),
    ];
    let mut given = BTreeSet::new();
    for (exit, ran) in cases {
        assert_eq!(ran.code, Some(i32::from(exit.code())), "{ran:?}");
        given.insert(exit.code());
    }
    // Nothing that a user can do breaks consign: tests/embedded breaks a worker from inside.
    let table: BTreeSet<u8> =
        Exit::ALL.iter().map(|(e, _)| *e).filter(|e| *e != Exit::Broken).map(Exit::code).collect();
    assert_eq!(given, table, "a code of the table that nothing gives here");
}

#[test]
fn help_and_the_book_have_the_table() {
    let help = consign(&["--help"]).out;
    // A terminal's width may wrap it.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/exit-codes.md");
    let page = std::fs::read_to_string(path).unwrap();
    let is_row =
        |line: &&str| line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let rows: Vec<&str> = page.lines().filter(is_row).collect();
    assert_eq!(rows.len(), Exit::ALL.len(), "{path}");
    for ((exit, meaning), row) in Exit::ALL.iter().zip(rows) {
        assert!(help.contains(&format!("{} {meaning}", exit.code())), "{help}");
        assert!(
            row.starts_with(&format!("| {} | {meaning} | ", exit.code())),
            "{row} is not what the code says: {meaning}"
        );
    }
}
