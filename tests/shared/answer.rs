//! What a command prints with `--output json`, against its committed schema. `tests/house` counts who calls this: every
//! schema is checked against what some command really printed.

use serde_json::Value;

/// Checks one printed value against the schema under `docs/api/output`; gives the value.
#[track_caller]
pub fn check(schema: &str, text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let path = format!("{}/docs/api/output/{schema}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
    value
}
