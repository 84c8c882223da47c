//! The JSON Schema of the document: committed, and it accepts what loads and refuses what is misspelt.

use std::fs;

use consign::routing::{Sources, document_json, json_schema, load};
use jsonschema::Validator;
use serde_json::Value as Json;

use super::support;

fn validator() -> Validator {
    jsonschema::validator_for(&json_schema()).unwrap()
}

fn accepts(validator: &Validator, document: &str) -> bool {
    let json = document_json(document).unwrap_or_else(|| panic!("no YAML:\n{document}"));
    let faults: Vec<String> = validator.iter_errors(&json).map(|e| format!("{}: {e}", e.instance_path())).collect();
    if !faults.is_empty() {
        eprintln!("{faults:?}\n{document}");
    }
    faults.is_empty()
}

/// To write it: `CONSIGN_WRITE_GENERATED=1 cargo test --release --test planning schema`.
#[test]
fn the_committed_schema_is_the_one_that_is_printed() {
    let path = support::repository().join("docs/api/routing.schema.json");
    let printed = format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap());
    if std::env::var_os("CONSIGN_WRITE_GENERATED").is_some() {
        fs::write(&path, &printed).unwrap();
    }
    assert_eq!(printed, fs::read_to_string(path).unwrap());
}

#[test]
fn whatever_loads_is_accepted() {
    let validator = validator();
    assert!(accepts(&validator, &support::shipped_sources().document));
    let base = fs::read_to_string(support::repository().join("tests/planning/diffs/base.yaml")).unwrap();
    assert!(accepts(&validator, &base));
    let page = fs::read_to_string(support::repository().join("docs/routing.md")).unwrap();
    let examples: Vec<&str> =
        page.split("```yaml routing\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        assert!(accepts(&validator, example));
    }
    // Every way to change the base that still loads.
    let changes: [(&str, &str); 9] = [
        ("on_unknown: retry", "on_unknown: ~"),
        ("{acks: {within: 1h, limit: 2h}}", "{acks: 1h 30m}"),
        ("{acks: {within: 1h, limit: 2h}}", "{acks: {within: 1h, token: true}}"),
        ("confirmed_by: {acks: {within: 1h, limit: 2h}}", "confirmed_by: transport"),
        ("headers: {x-source: consign}", "auth: {bearer: token}"),
        ("headers: {x-source: consign}", "auth: {basic: {user: u, password: p}}, tls: {ca: c}"),
        ("{to: ledger, payload: plain}", "{to: ledger, after: [], payload: [{use: plain}]}"),
        ("{body: {id: \"=file.id\"}}", "{body: \"=data\", format: form}"),
        (
            "target_defaults:",
            "target_defaults:\n  retry: {schedule: [1s], jitter: 0}\n  escalation: {first: 1m, max: 2m}",
        ),
    ];
    for (from, to) in changes {
        let document = base.replacen(from, to, 1);
        assert_ne!(document, base, "{from}");
        let files =
            [("data.json", "{}"), ("account.json", "{}"), ("accounts.csv", "account,tier\n"), ("spare.csv", "k,v\n")];
        let files = files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let sources = Sources { name: "routing.yaml".to_owned(), document: document.clone(), files };
        load(&sources).unwrap_or_else(|errors| panic!("{}", support::lines(&errors)));
        assert!(accepts(&validator, &document), "{to}");
    }
}

#[test]
fn what_is_misspelt_is_refused() {
    let validator = validator();
    let base = fs::read_to_string(support::repository().join("tests/planning/diffs/base.yaml")).unwrap();
    for (from, to) in [
        ("file_types:", "filetypes:"),
        ("deadline: 2d", "dead_line: 2d"),
        ("deadline: 2d", "deadline: soon"),
        ("owner: team-ledger", "owners: team-ledger"),
        ("on_unknown: retry", "on_unknown: maybe"),
        ("on_unknown: retry", "concurrency: 0"),
        ("on_unknown: retry", "rate: 0/s"),
        ("on_unknown: retry", "rate: 10001/m"),
        ("on_unknown: retry", "retry: {attempts: many}"),
        ("https://billing.example/in", "ftp://billing.example/in"),
        ("rejected_status: [460]", "rejected_status: [200]"),
        ("{acks: {within: 1h, limit: 2h}}", "{acks: {limit: 2h}}"),
        ("{acks: {within: 1h, limit: 2h}}", "{transport: false}"),
        ("remove: [/tier]", "remove: [tier]"),
        ("schema: data.json", "schema: ../\"data.json\""),
    ] {
        let document = base.replacen(from, to, 1);
        assert_ne!(document, base, "{from}");
        let json: Option<Json> = document_json(&document);
        assert!(json.is_none_or(|json| !validator.is_valid(&json)), "{to}");
    }
}
