//! Commands as they are mistyped at 3 a.m.: each says what happened, where and what to do, and ends with its code.

use crate::binary::{Dev, Ran, closed_address, consign, consign_with_input};

/// Checks the exit code, and that standard error says each of these.
#[track_caller]
fn says(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    for word in words {
        assert!(ran.err.contains(word), "`{word}` is not in: {}", ran.err);
    }
}

#[test]
fn servers_that_are_not_there_are_named_at_once_with_the_cause() {
    let closed = closed_address();
    let url = format!("http://{closed}");
    for command in [&["topics", "check"][..], &["topics", "apply"], &["offsets", "repair"]] {
        let ran = consign(&[command, &["--kafka", &closed, "--registry", &url]].concat());
        says(&ran, 3, &["CG403", &closed, "Connection refused", "to do:", "--kafka", "docs/errors/CG403.md"]);
    }
    let ran = consign(&["topics", "check", "--kafka", "no-such-host.invalid:9092"]);
    says(&ran, 3, &["CG403", "no-such-host.invalid:9092: "]);
    for command in [&["schemas", "check"][..], &["schemas", "register"]] {
        let ran = consign(&[command, &["--registry", &url]].concat());
        says(&ran, 3, &["CG404", &closed, "Connection refused", "--registry"]);
    }
    for command in [&["status", "x"][..], &["ls"], &["targets", "ls"], &["history", "x"]] {
        let ran = consign(&[command, &["--url", &url]].concat());
        says(&ran, 3, &["CG405", &closed, "Connection refused", "--url"]);
    }
    let ran = consign(&["demo", "--kafka", &closed, "--registry", &url]);
    says(&ran, 3, &["CG403", &closed]);
}

#[test]
fn what_listens_but_is_no_gateway_is_said() {
    let dev = Dev::start(&[]);
    let receivers = dev.serving["receivers"].as_str().unwrap();
    says(&consign(&["ls", "--url", receivers]), 3, &["CG405", receivers, "not as a consign gateway does"]);
    let ran = consign(&["schemas", "check", "--registry", dev.url()]);
    says(&ran, 3, &["CG404", dev.url(), "404"]);
}

#[test]
fn a_typo_names_what_was_meant() {
    says(&consign(&["sttus", "x"]), 2, &["sttus", "'status'"]);
    says(&consign(&["ls", "--heldd"]), 2, &["--heldd", "'--held'"]);
    says(
        &consign(&["intervene", "f", "t", "rety", "--reason", "r", "--url", "http://127.0.0.1:1"]),
        2,
        &["rety", "retry, confirm, fail"],
    );
    says(&consign(&["intervene", "f", "t", "retry"]), 2, &["--reason"]);
    says(&consign(&["status"]), 2, &["FILE_ID"]);
    says(&consign(&["submit", "a.json", "--wait", "soon"]), 2, &["soon", "--wait"]);
    says(&consign(&["machine", "--log-level", "a=b=c"]), 2, &["CG400", "a=b=c"]);
    says(&consign(&["status", "x", "--url", "gateway"]), 2, &["--url gateway", "http://"]);
}

#[test]
fn what_is_not_there_is_said() {
    let dev = Dev::start(&[]);
    says(&dev.run(&["status", "inv-17"]), 4, &["CG320", "inv-17", "retention", "consign ls"]);
    says(&dev.run(&["history", "inv-17"]), 4, &["CG320", "inv-17"]);
    says(&dev.run(&["intervene", "inv-17", "cancel", "--reason", "r"]), 4, &["CG320"]);
    says(&dev.run(&["targets", "pause", "biling", "--reason", "r"]), 4, &["CG323", "biling", "consign targets ls"]);
    says(&dev.run(&["status", "a b"]), 4, &["CG320", "a b"]);
    says(&dev.run(&["ls", "--state", "DONE"]), 2, &["CG304", "DONE"]);
    assert_eq!(dev.run(&["ls"]).out, "no file matches\n");
    dev.held("payment-1");
    let ran = dev.run(&["intervene", "payment-1", "billing", "retry", "--reason", "r"]);
    says(&ran, 4, &["CG321", "billing", "its targets: legacy"]);
    let ran = dev.submit("payment-1", "note", "1s");
    says(&ran, 1, &["CG330", "payment-1", "file_id of its own"]);
}

#[test]
fn files_that_are_no_manifest_are_said_with_their_place() {
    let nobody = format!("http://{}", closed_address());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (file, words) in [
        (path("toml", b"[a]\nb = 1\n"), &["it is no manifest", "line 1"][..]),
        (path("list", b"[1]"), &["it is no manifest"]),
        (path("short", br#"{"file_id": "a"}"#), &["missing field"]),
        (
            path("typo", br#"{"file_id": "a", "schema_version": 1, "file_type": "t", "name": "n", "nmae": "m"}"#),
            &["nmae"],
        ),
        (path("bytes", b"\xff\xfe"), &["it can't be read", "UTF-8"]),
        (path("empty", b"\n"), &["it is empty"]),
        (folder.path().to_str().unwrap().to_owned(), &["it can't be read", "directory"]),
        ("/nowhere.json".to_owned(), &["it can't be read", "No such file"]),
    ] {
        let ran = consign(&["submit", &file, "--url", &nobody]);
        says(&ran, 2, &[&["CG409", &file, "to do:"], words].concat());
    }
    let ran = consign_with_input(&["submit", "-", "--url", &nobody], "");
    says(&ran, 2, &["CG409", "-: it is empty"]);
    let ran = consign_with_input(&["submit", "-", "--url", &nobody], "not json");
    says(&ran, 2, &["CG409", "line 1 column"]);
}

#[test]
fn routing_documents_that_cannot_be_read_are_said() {
    for path in ["/nowhere.yaml", "/"] {
        says(&consign(&["routing", "check", path]), 2, &["CG409", path]);
        says(&consign(&["routing", "apply", path, "--kafka", "127.0.0.1:1"]), 2, &["CG409", path]);
    }
    // A faulty one is refused before any server is asked.
    let ran = consign(&["routing", "apply", "Cargo.toml", "--kafka", "127.0.0.1:1"]);
    says(&ran, 2, &["CG402", "Cargo.toml has 1 fault and", "Cargo.toml:2:1: CG101", "consign routing check"]);
}

#[test]
fn a_submit_that_waits_also_waits_for_the_gateway_to_come() {
    // The port is chosen first, so that the command is there before its gateway.
    let address = closed_address();
    let (_, port) = address.rsplit_once(':').unwrap();
    let url = format!("http://{address}");
    let manifest = r#"{"file_id": "note-1", "schema_version": 1, "file_type": "note", "name": "n"}"#;
    let ran = std::thread::scope(|scope| {
        let early = scope.spawn(|| consign_with_input(&["submit", "-", "--wait", "60s", "--url", &url], manifest));
        // Long enough for a first refusal on most machines; on none does the result depend on it.
        std::thread::sleep(std::time::Duration::from_millis(200));
        let _dev = Dev::start(&["--port", port]);
        early.join().unwrap()
    });
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
