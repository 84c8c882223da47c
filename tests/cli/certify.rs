//! `consign certify`: passes receivers that are right, and finds each planted fault.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::binary::{Ran, check, closed_address, command, consign, run};
use crate::faulty::{Fault, KEY, serve};

/// What opens the loopback interface.
const OPEN: [&str; 3] = ["--allow-http", "--allow-cidr", "127.0.0.0/8"];

/// Certifies a URL; gives how it ended and the report, checked against its schema.
fn certify(url: &str, folder: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let ran = certify_as(url, folder, arguments);
    assert!(!ran.out.is_empty(), "{ran:?}");
    (ran.code, check("certify", &ran.out))
}

fn certify_as(url: &str, folder: &Path, arguments: &[&str]) -> Ran {
    let key = folder.join("hook.key");
    std::fs::write(&key, KEY).unwrap();
    let own = ["certify", url, "--sign-with", key.to_str().unwrap(), "--output", "json", "--linger", "300ms"];
    run(&mut command(&[&own, &OPEN[..], arguments].concat()))
}

/// The names of the checks with a verdict.
fn with<'r>(report: &'r Value, verdict: &str) -> BTreeSet<&'r str> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == verdict);
    checks.map(|check| check["name"].as_str().unwrap()).collect()
}

fn counting(folder: &Path) -> String {
    format!("grep -c -x -F \"$CONSIGN_KEY\" {}/effects", folder.display())
}

/// Which checks must find a fault in a receiver that confirms by its response. Those that count effects are given a count.
const BY_RESPONSE: [(Fault, &[&str]); 15] = [
    (Fault::None, &[]),
    (Fault::EffectOnRepeat, &["repeat_effect", "concurrent_effect"]),
    (Fault::EffectUnderConcurrency, &["concurrent_effect"]),
    (Fault::AcceptsBadSignature, &["bad_signature", "refused_effect", "stale_timestamp"]),
    (Fault::AcceptsUnsigned, &["unsigned", "refused_effect"]),
    (Fault::AcceptsStale, &["stale_timestamp"]),
    (Fault::RefusesRotated, &["rotation_first"]),
    (Fault::RefusesRotatedLast, &["rotation_last"]),
    (Fault::SpoilsKey, &["repeat", "concurrent", "concurrent_repeat", "key_not_spoiled"]),
    (Fault::BreaksOnLargeBody, &["large_body"]),
    (Fault::RefusesRepeat, &["repeat", "concurrent", "concurrent_repeat"]),
    (Fault::OtherEntryForRepeat, &["repeat_answer", "repeat_effect", "concurrent_answer", "concurrent_effect"]),
    (Fault::BreaksUnderConcurrency, &["concurrent"]),
    (Fault::AnswersAsNoRuleSays, &["delivery"]),
    (Fault::RefusesWith500, &["unsigned", "bad_signature", "stale_timestamp"]),
];

#[test]
fn each_fault_of_a_receiver_that_answers_is_found() {
    for (fault, expected) in BY_RESPONSE {
        let folder = tempfile::tempdir().unwrap();
        let counting = counting(folder.path());
        let url = serve(fault, folder.path());
        let rule = "body.result == 'ok'";
        let (code, report) = certify(&url, folder.path(), &["--succeeded", rule, "--effects", &counting]);
        let failed = with(&report, "failed");
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        assert!(expected.is_subset(&failed), "{fault:?}: {expected:?} are not all in {report:#}");
        assert_eq!(failed.is_empty(), expected.is_empty(), "{fault:?}: {report:#}");
        assert_eq!(code, Some(i32::from(!expected.is_empty())), "{fault:?}");
        assert_eq!(report["certified"], expected.is_empty());
        if fault == Fault::None {
            assert_eq!(with(&report, "unseen"), BTreeSet::new(), "{report:#}");
        }
    }
}

/// Which checks must find a fault in a receiver that confirms by callback.
const BY_CALLBACK: [(Fault, &[&str]); 7] = [
    (Fault::None, &[]),
    (Fault::NeverConfirms, &["confirmation"]),
    (Fault::ConfirmsAndRefuses, &["confirmation_once"]),
    (Fault::RefusesWhatItTook, &["confirmation"]),
    (Fault::NewReference, &["confirmation_reference"]),
    (Fault::WrongDigest, &["confirmation_digest"]),
    (Fault::WrongToken, &["confirmation", "report"]),
];

#[test]
fn each_fault_of_a_receiver_that_reports_is_found() {
    for (fault, expected) in BY_CALLBACK {
        let folder = tempfile::tempdir().unwrap();
        let url = serve(fault, folder.path());
        // Only where nothing is right is all of this time needed.
        let wait = if expected.contains(&"confirmation") { "1s" } else { "60s" };
        let (code, report) = certify(&url, folder.path(), &["--callback", "--wait", wait]);
        assert_eq!(with(&report, "failed"), expected.iter().copied().collect(), "{fault:?}: {report:#}");
        assert_eq!(code, Some(i32::from(!expected.is_empty())), "{fault:?}");
    }
}

#[test]
fn what_nobody_counts_is_unseen_and_not_passed() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(Fault::EffectOnRepeat, folder.path());
    let (code, report) = certify(&url, folder.path(), &[]);
    assert_eq!(code, Some(0));
    let unseen = ["concurrent_effect", "refused_effect", "repeat_effect"];
    assert_eq!(with(&report, "unseen"), unseen.into_iter().collect());
    assert!(report["cannot_see"].to_string().contains("--effects"), "{report:#}");
}

#[test]
fn a_target_of_the_routing_document_is_asked_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let url = serve(Fault::None, folder.path());
    let target = |name: &str, url: &str| {
        format!(
            "  {name}: {{owner: me, webhook: {{url: '{url}', sign_with: hook.key}}, confirmed_by: {{callback: 1h}}}}\n"
        )
    };
    let document = format!(
        "file_types: {{letter: {{}}}}\npayloads: {{all: {{body: {{id: '=file.id'}}}}}}\ntargets:\n{}{}  \
         log: {{owner: me, kafka: {{topic: t}}, confirmed_by: transport}}\n\
         routes: [{{to: post, payload: all}}, {{to: other, when: \"file.name == 'other'\", payload: all}}, {{to: log, payload: all}}]\n",
        target("post", &url),
        target("other", &url)
    );
    std::fs::write(path("routing.yaml"), document).unwrap();
    let manifest = r#"{"file_id": "l-1", "schema_version": 1, "file_type": "letter", "name": "a letter"}"#;
    std::fs::write(path("letter.json"), manifest).unwrap();
    std::fs::write(path("hook.key"), KEY).unwrap();
    let config = format!(
        "[egress]\nallow_http = true\nallow_cidrs = [\"127.0.0.0/8\"]\n[secrets]\ndirectory = \"{}\"\n",
        folder.path().display()
    );
    std::fs::write(path("consign.toml"), config).unwrap();
    std::fs::write(path("closed.toml"), format!("[secrets]\ndirectory = \"{}\"\n", folder.path().display())).unwrap();
    let of = |target: &str, config: &str| {
        let (letter, routing, config) = (path("letter.json"), path("routing.yaml"), path(config));
        let arguments = ["certify", target, "--manifest", &letter, "--routing", &routing, "--config", &config];
        run(&mut command(&[&arguments[..], &["--output", "json", "--linger", "100ms"]].concat()))
    };
    let ran = of("post", "consign.toml");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report = check("certify", &ran.out);
    assert_eq!((report["target"].as_str(), report["confirmed_by"].as_str()), (Some("post"), Some("callback")));
    assert!(with(&report, "passed").contains("rotation_first"), "{report:#}");
    for (target, config, code, says) in [
        ("nobody", "consign.toml", 4, "no target `nobody`"),
        ("other", "consign.toml", 2, "doesn't go to `other`, but to post, log"),
        ("log", "consign.toml", 2, "is a topic"),
        // The guard is that of production.
        ("post", "closed.toml", 3, "egress_refused"),
    ] {
        let ran = of(target, config);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(check("failure", &ran.err)["message"].as_str().unwrap().contains(says), "{ran:?}");
    }
}

#[test]
fn what_cannot_be_certified_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = format!("http://{}/in", closed_address());
    let ran = certify_as(&nobody, folder.path(), &[]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("connect_refused"), "{ran:?}");
    let url = serve(Fault::None, folder.path());
    let ran = certify_as(&url, folder.path(), &["--effects", "echo many"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("`many`"), "{ran:?}");
    let ran = consign(&["certify", &url]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("plain HTTP is not open"), "{ran:?}");
    let ran = consign(&["certify", "billing"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let key = folder.path().join("hook.key");
    let text = consign(&[&["certify", &url, "--sign-with", key.to_str().unwrap()], &OPEN[..]].concat());
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.out.contains("\ncertified: ") && text.out.contains("can't be seen: "), "{}", text.out);
}
