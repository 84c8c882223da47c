//! The shipped document loads without a warning, and every example has exactly the plan that is written down.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use consign::plan::{check_manifest, plan_digest};
use consign::record::{FileManifest, State, Status};
use consign::routing::{Document, load};
use serde_json::Value as Json;

use super::support::{self, Example, examples, shipped_sources};

fn shipped() -> Document {
    load(&shipped_sources()).unwrap_or_else(|errors| panic!("{}", support::lines(&errors))).document
}

#[test]
fn the_shipped_document_loads_without_a_warning() {
    let loaded = load(&shipped_sources()).unwrap();
    assert_eq!(support::lines(&loaded.warnings), "");
}

/// The plans as text: what `plans.txt` holds.
pub fn plans_as_text() -> String {
    let routing = shipped();
    let mut text = format!("routing {}\n", routing.digest());
    for example in examples() {
        let arrival = support::arrival(example.manifest);
        writeln!(text, "\n{} ({})", example.name, arrival.manifest_digest).unwrap();
        match support::plan_of(&arrival, &routing) {
            Ok(plan) => {
                writeln!(text, "  plan {}", plan[0].plan_digest).unwrap();
                for dispatch in &plan {
                    writeln!(text, "  {} {}", dispatch.idempotency_key, support::body_text(dispatch)).unwrap();
                }
            }
            Err(failure) => writeln!(text, "  {} {}", failure.code, failure.text).unwrap(),
        }
    }
    text
}

/// To take in a change of the shipped document: `UPDATE_PLANS=1 cargo test --release --test planning`. A change without one
/// means that the planner gives other bytes for the same inputs: raise `PLANNER_VERSION`.
#[test]
fn every_example_has_the_plan_that_is_written_down() {
    let path = support::repository().join("tests/planning/plans.txt");
    let plans = plans_as_text();
    if std::env::var_os("UPDATE_PLANS").is_some() {
        fs::write(&path, &plans).unwrap();
    }
    assert_eq!(plans, fs::read_to_string(path).unwrap());
}

/// Holds an expectation against a plan: its targets, or the reason why there is none.
fn check_expectation(example: &Example, expect: &Json, manifest: &FileManifest, only: Option<&[&str]>) {
    let name = &example.name;
    assert!(State::ALL.iter().any(|state| expect["state"] == state.as_str()), "{name}");
    let expected: BTreeSet<&str> = expect["dispatches"].as_object().unwrap().keys().map(String::as_str).collect();
    for dispatch in expect["dispatches"].as_object().unwrap().values() {
        assert!(Status::ALL.iter().any(|status| dispatch["status"] == status.as_str()), "{name}");
        assert!(dispatch["requests"].is_u64(), "{name}");
    }
    let arrival = match only {
        Some(only) => support::successor(manifest.clone(), only),
        None => support::arrival(manifest.clone()),
    };
    match support::plan_of(&arrival, &shipped()) {
        Ok(plan) => {
            let planned: BTreeSet<&str> = plan.iter().map(|dispatch| dispatch.target.as_str()).collect();
            assert_eq!(planned, expected, "{name}");
            assert!(expect.get("reason").is_none(), "{name}");
        }
        Err(failure) => assert_eq!(Json::from(failure.code), expect["reason"], "{name}: {}", failure.text),
    }
}

#[test]
fn every_example_expects_what_its_plan_can_give() {
    let mut file_ids = BTreeSet::new();
    for example in examples() {
        let Example { name, manifest, json } = &example;
        assert_eq!(check_manifest(manifest), Ok(()), "{name}");
        assert!(file_ids.insert(manifest.file_id.clone()), "{name}: the file_id is taken");
        assert!(json["about"].as_str().unwrap().ends_with('.'), "{name}");
        check_expectation(&example, &json["expect"], manifest, None);
        let Some(then) = json.get("then") else { continue };
        let targets: Vec<&str> = then["expect"]["dispatches"].as_object().unwrap().keys().map(String::as_str).collect();
        if then.get("resubmit").is_some() {
            assert_eq!(then["successor"], manifest.file_id.successor().as_str(), "{name}");
            check_expectation(&example, &then["expect"], manifest, Some(&targets));
        } else {
            assert!(targets.contains(&then["intervene"]["target"].as_str().unwrap()), "{name}");
            check_expectation(&example, &then["expect"], manifest, None);
        }
    }
}

#[test]
fn a_plan_carries_what_the_document_says() {
    let example = examples().into_iter().find(|example| example.name == "12-after").unwrap();
    let routing = shipped();
    let plan = support::plan_of(&support::arrival(example.manifest), &routing).unwrap();
    let [ledger, warehouse] = plan.as_slice() else { panic!("{plan:?}") };
    assert_eq!(ledger.expected_targets.as_deref(), Some(&[ledger.target.clone(), warehouse.target.clone()][..]));
    assert_eq!((ledger.ordinal, ledger.of, warehouse.ordinal, warehouse.of), (0, 2, 1, 2));
    assert_eq!(warehouse.expected_targets, None);
    assert_eq!(warehouse.after, std::slice::from_ref(&ledger.target));
    assert_eq!(ledger.idempotency_key, "shipment-4/ledger");
    assert_eq!(ledger.request.destination, "http://receivers.invalid/ledger");
    assert_eq!(ledger.confirmed_by.within_ms, Some(10_000));
    assert_eq!(ledger.retry.schedule_ms, [200, 400, 800]);
    assert_eq!(ledger.retry.attempts, 8);
    assert_eq!(ledger.file_deadline, support::RECEIVED_AT.plus_millis(24 * 3_600_000));
    assert_eq!(ledger.routing_digest, routing.digest());
    assert_eq!(ledger.plan_digest, plan_digest(&plan));
}

#[test]
fn a_plan_made_later_has_the_same_digest() {
    let routing = shipped();
    let arrival = support::arrival(examples().remove(0).manifest);
    let plan = support::plan_of(&arrival, &routing).unwrap();
    let again = consign::plan::plan(consign::plan::Inputs {
        arrival: &arrival,
        fetched: None,
        routing: &routing,
        version: 99,
        cause: &consign::record::Cause { offset: 99, ..support::cause() },
        planned_at: consign::record::Timestamp(0),
        limits: consign::plan::Limits::default(),
    });
    assert_eq!(plan[0].plan_digest, again.unwrap()[0].plan_digest);
}
