//! What a person types at 3 a.m. about a file that is HELD, and what they read.

use std::process::Stdio;

use crate::binary::{Dev, command};

/// The commands that `status` offers for a HELD dispatch, as arguments, with a text in place of TEXT.
fn offered(status: &str) -> Vec<Vec<String>> {
    let calls = status.lines().filter_map(|line| line.split_once(':')?.1.trim().strip_prefix("consign "));
    calls.map(|call| call.split(' ').map(|word| word.replace("TEXT", "tested")).collect()).collect()
}

#[test]
fn what_status_offers_for_a_held_dispatch_works_as_typed() {
    let dev = Dev::start(&[]);
    for (file_id, action, ends) in
        [("payment-1", "confirm", "COMPLETED"), ("payment-2", "retry", "HELD"), ("payment-3", "fail", "FAILED")]
    {
        dev.held(file_id);
        let status = dev.run(&["status", file_id]);
        assert!(status.out.contains(&format!("ask team-legacy: do you have {file_id}/legacy?")), "{status:?}");
        let offered = offered(&status.out);
        assert_eq!(offered.len(), 3, "{status:?}");
        let call = offered.into_iter().find(|call| call.contains(&action.to_owned())).expect("it offers every action");
        let words: Vec<&str> = call.iter().map(String::as_str).chain(["--wait", "60s"]).collect();
        let ran = dev.run(&words);
        assert_eq!(ran.code, Some(0), "{words:?}: {ran:?}");
        assert!(ran.out.contains("legacy: HELD") && ran.out.contains("\napplied\n"), "{ran:?}");
        if ends == "HELD" {
            // It answers 502 again.
            dev.held(file_id);
            continue;
        }
        let status = dev.run(&["status", file_id]);
        assert!(status.out.starts_with(&format!("{file_id}: {ends}")), "{status:?}");
        assert!(status.out.contains("settled by operator"), "{status:?}");
    }
}

#[test]
fn a_refusal_says_why_and_the_way_on() {
    let dev = Dev::start(&[]);
    dev.held("payment-1");
    let old = ["intervene", "payment-1", "legacy", "confirm", "--reason", "r", "--seen-version", "1", "--wait", "60s"];
    let ran = dev.run(&old);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let says =
        "refused: it changed after you looked (stale_version). Nothing changed\n  to do: look again, then decide again";
    assert!(ran.out.contains(says), "{}", ran.out);
    let ran = dev.run(&["intervene", "payment-1", "cancel", "--reason", "by mistake", "--wait", "60s"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = dev.run(&["resubmit", "payment-1", "--reason", "r", "--wait", "60s"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("may have the file already (nothing_to_resend)"), "{}", ran.out);
    assert!(ran.out.contains("consign resubmit payment-1 --resend-unknown --reason TEXT"), "{}", ran.out);
    let ran = dev.run(&["resubmit", "payment-1", "--resend-unknown", "--reason", "r", "--wait", "60s"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("consign status payment-1~1 --watch"), "{}", ran.out);
}

#[test]
fn what_is_held_is_listed_oldest_first() {
    let dev = Dev::start(&[]);
    for file_id in ["payment-c", "payment-a", "payment-b"] {
        dev.held(file_id);
    }
    dev.submit("note-1", "note", "60s");
    let ran = dev.run(&["ls", "--held"]);
    let files: Vec<&str> = ran.out.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(files, ["FILE", "payment-c", "payment-a", "payment-b", "what"], "{}", ran.out);
    assert!(ran.out.contains("legacy HELD (fate_unknown)"), "{}", ran.out);
}

#[test]
fn a_watch_ends_with_the_file() {
    let dev = Dev::start(&[]);
    dev.held("payment-1");
    let watch = command(&["status", "payment-1", "--watch"])
        .env("CONSIGN_URL", dev.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let ran = dev.run(&["intervene", "payment-1", "legacy", "confirm", "--reason", "r", "--wait", "60s"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let watched = watch.wait_with_output().unwrap();
    assert_eq!(watched.status.code(), Some(0));
    let text = String::from_utf8(watched.stdout).unwrap();
    assert!(text.contains("payment-1: COMPLETED"), "{text}");
}

#[test]
fn the_history_says_who_decided_with_which_proof_and_what_everything_led_to() {
    let dev = Dev::start(&[]);
    dev.held("payment-1");
    let confirm = ["intervene", "payment-1", "legacy", "confirm", "--reason", "found in their ledger"];
    let ran = dev.run(&[&confirm[..], &["--evidence", "entry 4711", "--wait", "60s"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let history = dev.run(&["history", "payment-1"]).out;
    let line = |part: &str| history.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{history}"));
    assert!(line("UNKNOWN http_502").ends_with(" -> HELD (fate_unknown)"), "{history}");
    let decided = line("asked for confirm");
    assert!(decided.contains("found in their ledger; proof: entry 4711 -> SUCCEEDED"), "{history}");
    assert!(decided.ends_with(" -> the file is COMPLETED"), "{history}");
    let status = dev.run(&["status", "payment-1"]).out;
    assert!(
        status.contains("a person decided: who, why and with which proof is in consign history payment-1"),
        "{status}"
    );
}

#[test]
fn a_resubmitted_file_names_its_successor_and_a_paused_target_who_paused_it() {
    let dev = Dev::start(&[]);
    dev.held("payment-1");
    let fail = ["intervene", "payment-1", "legacy", "fail", "--reason", "account closed", "--wait", "60s"];
    assert_eq!(dev.run(&fail).code, Some(0));
    assert!(dev.run(&["status", "payment-1"]).out.contains("consign resubmit payment-1 --reason TEXT"));
    let pause = ["targets", "pause", "legacy", "--reason", "their move"];
    assert_eq!(dev.run(&pause).code, Some(0));
    let resubmit = ["resubmit", "payment-1", "--reason", "it is open again", "--resend-unknown", "--wait", "60s"];
    let ran = dev.run(&resubmit);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let status = dev.run(&["status", "payment-1"]).out;
    assert!(status.contains("  taken up by payment-1~1: ") && !status.contains("consign resubmit"), "{status}");
    // Whether its first request left before the pause was obeyed is open; a file that comes later surely waits.
    dev.held_back("payment-2");
    let status = dev.run(&["status", "payment-2"]).out;
    assert!(
        status.contains("no attempt at legacy before a person resumes it: PAUSED by local (their move)"),
        "{status}"
    );
    let list = dev.run(&["ls", "--target", "legacy"]).out;
    assert!(list.contains("legacy PENDING (PAUSED)"), "{list}");
    let explained = dev.run(&["explain", "payment-2"]).out;
    assert!(explained.contains("consign targets resume legacy --reason TEXT"), "{explained}");
}
