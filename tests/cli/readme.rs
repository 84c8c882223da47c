//! The README's tour, run as it is typed. Only the port is another, which the default may not be free for.

use std::process::Command;

use crate::binary::{Dev, run};

/// The blocks of shell of the chapter "A minute's tour".
fn tour() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let chapter = readme.split("\n## ").find(|chapter| chapter.starts_with("A minute's tour\n")).expect("a chapter");
    chapter.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_tour_works_as_it_is_typed() {
    let blocks = tour();
    assert_eq!(blocks[0], "alias consign=target/release/consign\nconsign dev\n");
    let dev = Dev::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("target/release")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_consign"), folder.path().join("target/release/consign")).unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &blocks[1..].concat()]).current_dir(folder.path()).env("CONSIGN_URL", dev.url());
    let ran = run(&mut shell);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let says = [
        "note-1: COMPLETED",
        "accepted from local",
        "payment-1: DISTRIBUTING",
        "legacy: HELD",
        "applied",
        "payment-1: COMPLETED",
        "settled by operator",
    ];
    let mut rest = ran.out.as_str();
    for words in says {
        let at = rest.find(words).unwrap_or_else(|| panic!("`{words}` doesn't follow: {ran:?}"));
        rest = &rest[at + words.len()..];
    }
}
