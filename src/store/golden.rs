//! The form of what is stored, byte for byte: whoever changes it must raise [`FORMAT`], or a store that another version left
//! is read as what it isn't.
//!
//! `golden/<form>.txt` is what this version leaves for a fixed set of files. With `CONSIGN_WRITE_GENERATED=1` a form that
//! has no such file yet gets one; one that is there is never written over.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::value::{FORMAT, encode, unpack, unseal};
use super::{Changes, Covers, Identity, Put, Shelves, Stores};
use crate::lifecycle::File;
use crate::lifecycle::specimen::{START, in_status, planned};
use crate::record::{
    AuthKind, Authorization, Confirmation, HeldBecause, Judgement, OnExhausted, OnFailed, OnOverdue, OnUnknown,
    OutcomeKind, PlannedDispatch, Reporter, SettledBy, State, Status, TokenCheck, Topic, TransportKind,
};

/// Puts `over` into `base`: what both have is replaced, element by element.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            over.into_iter().for_each(|(name, value)| merge(base.entry(name).or_insert(Value::Null), value));
        }
        (Value::Array(base), Value::Array(over)) if base.len() == over.len() => {
            base.iter_mut().zip(over).for_each(|(base, over)| merge(base, over));
        }
        (base, over) => *base = over,
    }
}

/// Where a value holds nothing.
fn gaps(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(at.to_owned()),
        Value::Array(items) if items.is_empty() => found.push(at.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| gaps(item, &format!("{at}/{n}"), found));
        }
        Value::Object(fields) if fields.is_empty() => found.push(at.to_owned()),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| gaps(field, &format!("{at}/{name}"), found)),
        _ => {}
    }
}

/// A planned dispatch that has something in every field.
fn full_plan() -> PlannedDispatch {
    let auth = json!({
        "kind": "oauth2", "secret": "s1", "user": "u1", "token_url": "https://t.example", "scope": "all",
        "audience": "them",
    });
    let request = json!({
        "headers": {"x-a": "1"}, "key": "k", "body": "YWJj",
        "body_of_file": {"location": "s3://in/f-1", "digest": "sha256:bb", "size": 12},
        "auth": auth, "tls": {"certificate": "c2", "key": "k2", "ca": "a2"}, "sign_with": ["w1", "w2"], "cluster": "east", "in_transaction": true,
    });
    let mut value = serde_json::to_value(planned("f-1", "a")).expect("a plan is JSON");
    let over = json!({
        "content_digest": "sha256:cc", "request": request, "after": ["b"], "confirmed_by": confirmed_by(),
        "retry": {"give_up_after_ms": 93},
    });
    merge(&mut value, over);
    serde_json::from_value(value).expect("a plan is JSON")
}

fn confirmed_by() -> Value {
    json!({
        "succeeded": "s", "duplicate": "d", "rejected": "r", "retryable": "t", "rejected_status": [409],
        "not_processed": [503, 429], "verify_with": "v",
        "receipt": "sha256:rr",
    })
}

/// A file that has something in every field, each time another.
fn full() -> File {
    let mut value = serde_json::to_value(in_status(&planned("f-1", "a"), Status::Awaiting)).expect("a file is JSON");
    let manifest = json!({
        "location": "s3://in/f-1", "size": 1_234_567, "checksum": "sha256:aa", "media_type": "text/csv",
        "attributes": {"region": "north"}, "data": "{\"a\":1}", "deadline": START.0 + 91,
    });
    let arrival = json!({
        "manifest": manifest,
        "origin": {"topic": "consign.manifests", "partition": 7, "offset": 70, "timestamp": START.0 + 92},
        "supersedes": "f-0", "only_targets": ["a", "b"],
        "fetch": {
            "max_size": 99, "keep": true, "attempts": 3, "schedule_ms": [1_000, 2_000], "jitter_percent": 20,
            "request_ms": 9_000, "max_clock_skew_ms": 5_000, "file_deadline": START.0 + 99,
        },
    });
    let terms = json!({
        "after": ["b"], "confirmed_by": confirmed_by(), "retry": {"give_up_after_ms": 93}, "written_to": "theirs",
    });
    let dispatch = json!({
        "terms": terms, "receipt": "sha256:rr", "grant": "i-2", "retry_at": START.0 + 94,
        "held_because": "fate_unknown", "escalate_at": START.0 + 95, "escalations": 3, "escalated_at": START.0 + 96,
        "settled_by": "operator", "doubtful": [1, 2], "late_success": true,
        "heard": [["late", {
            "kind": "SUCCEEDED", "reporter": "callback", "attempt": 1, "code": "said", "reference": "ref",
            "received_digest": "sha256:dd", "token": "absent",
        }]],
    });
    merge(
        &mut value,
        json!({
            "arrival": arrival, "plan": {"content": "sha256:cc"}, "state": "FAILED", "overdue": true, "reason": {"code": "CG1", "text": "so"},
            "settled_at": START.0 + 97, "dispatches": [dispatch], "successor": "f-1~1", "interventions": {"i-1": true},
        }),
    );
    value["fetch"] = value["dispatches"][0].clone();
    let file: File = serde_json::from_value(value).expect("a file is JSON");
    file.indexed()
}

#[test]
fn the_specimen_has_something_in_every_field() {
    let mut found = Vec::new();
    gaps(&serde_json::to_value(full()).expect("a file is JSON"), "", &mut found);
    gaps(&serde_json::to_value(full_plan()).expect("a plan is JSON"), "", &mut found);
    assert!(found.is_empty(), "fill these in `full` or `full_plan`, and raise FORMAT: {found:?}");
}

/// What a store holds after some writes, and every enum that may stand in it: a line for each key.
fn stored() -> String {
    let identity = Identity {
        cluster_id: "cluster-1".into(),
        prefix: "consign.".into(),
        home_partitions: 12,
        founded_at: START,
        partition: 5,
    };
    let shelves = Shelves::default();
    let mut store = Stores::Shelves(shelves.clone()).open(&identity, START).expect("free").store;
    let every: BTreeMap<&str, File> = Status::ALL
        .iter()
        .map(|status| (status.as_str(), in_status(&planned(&format!("f-{status}"), "a"), *status)))
        .collect();
    let (full, plan) = (full(), full_plan());
    let mut put: Vec<Put<'_>> = every
        .values()
        .map(|file| Put {
            file,
            history_seq: file.version,
            plans: if file.is_terminal() { Vec::new() } else { vec![&plan] },
            has_plans: true,
        })
        .collect();
    put.push(Put { file: &full, history_seq: 300, plans: Vec::new(), has_plans: true });
    let positions = Topic::RESTORED.into_iter().zip(1_000..).collect();
    let covers = Some(Covers { positions, until: START.plus_millis(98) });
    store.apply(Changes { put, covers, ..Changes::default() }).expect("the disk is well");
    let mut lines = String::new();
    for (key, value) in shelves.dump(5) {
        // How well a value was compressed is no matter of its form.
        let is_packed = key.first().is_some_and(|place| matches!(place, b'o' | b's' | b'p'));
        let shown = if is_packed { [&value[..1], &unpack(unseal(&value).unwrap()).unwrap()].concat() } else { value };
        writeln!(lines, "{} = {}", key.escape_ascii(), hex(&shown)).expect("a string takes everything");
    }
    let enums = (
        (State::ALL, Status::ALL, HeldBecause::ALL, SettledBy::ALL, OutcomeKind::ALL, Reporter::ALL, Judgement::ALL),
        (OnUnknown::ALL, OnOverdue::ALL, OnExhausted::ALL, OnFailed::ALL, TransportKind::ALL, Confirmation::ALL),
        (Authorization::ALL, AuthKind::ALL, Topic::ALL, TokenCheck::ALL),
    );
    writeln!(lines, "{enums:?}\n{}", hex(&encode(&enums))).expect("a string takes everything");
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn what_is_stored_has_the_form_that_its_number_names() {
    let path = format!("{}/src/store/golden/{FORMAT}.txt", env!("CARGO_MANIFEST_DIR"));
    let stored = stored();
    match std::fs::read_to_string(&path) {
        Ok(golden) => {
            let (golden, stored): (Vec<&str>, Vec<&str>) = (golden.lines().collect(), stored.lines().collect());
            let differs = golden.iter().zip(&stored).find(|(golden, stored)| golden != stored);
            assert!(
                golden == stored,
                "what is stored has another form than {FORMAT}: raise FORMAT in src/store/value.rs, then run this with \
                 CONSIGN_WRITE_GENERATED=1. First difference: {differs:?}"
            );
        }
        Err(_) if std::env::var_os("CONSIGN_WRITE_GENERATED").is_some() => {
            std::fs::write(&path, stored).expect("it can be written");
        }
        Err(e) => panic!("{path}: {e}; CONSIGN_WRITE_GENERATED=1 writes it"),
    }
}
