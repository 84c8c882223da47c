//! The table of expressions: `expressions.txt`.

use std::fmt::Write as _;
use std::fs;

use consign::routing::{Sources, load};
use serde_json::Value as Json;

use super::support;

const DATA: &str = r#"{
  "i": 7, "neg": -3, "f": 2.5, "whole": 10.0, "big": 9223372036854775807, "huge": 18446744073709551615,
  "s": "héllo", "t": true, "n": null,
  "l": [3, 1, 2], "m": {"b": 2, "a": 1}, "lines": [{"sku": "x", "count": 2}, {"sku": "y", "count": 0}]
}"#;

/// A document whose one payload is the expression.
fn document(expression: &str) -> Sources {
    let leaf = serde_json::to_string(&format!("={expression}")).unwrap();
    let document = format!(
        "
file_types: {{any: {{}}}}
tables: {{t: t.csv}}
payloads: {{p: {{body: {{v: {leaf}}}}}}}
targets: {{a: {{owner: o, http: {{url: 'http://a.invalid'}}, confirmed_by: {{response: status == 200}}}}}}
routes: [{{to: a, payload: p}}]
"
    );
    let files = [("t.csv".to_owned(), "k,tier,note\na,gold,x\n7,silver,\n".to_owned())];
    Sources { name: "routing.yaml".to_owned(), document, files: files.into() }
}

/// What becomes of an expression, as the table writes it.
fn outcome(expression: &str) -> String {
    let routing = match load(&document(expression)) {
        Ok(loaded) => loaded.document,
        Err(errors) => return format!("refused: {}", errors[0].text.trim_start_matches(&format!("`{expression}`: "))),
    };
    let manifest = support::manifest("any", DATA, &[("region", "eu"), ("currency", "USD")]);
    match support::plan_of(&support::arrival(manifest), &routing) {
        Err(failure) => {
            let text = failure.text.trim_start_matches(&format!("the payload `p`: `{expression}`: "));
            format!("fails: {text}")
        }
        Ok(plan) => {
            let body: Json = serde_json::from_str(&support::body_text(&plan[0])).unwrap();
            match body.get("v") {
                None => "omitted".to_owned(),
                Some(value) => format!("{} {value}", type_of(value)),
            }
        }
    }
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "double",
        Json::Number(_) => "int",
        Json::String(_) => "string",
        Json::Array(_) => "list",
        Json::Object(_) => "map",
    }
}

/// To take in what new expressions give, written with `=> ?`: `UPDATE_EXPRESSIONS=1 cargo test --release --test planning`.
#[test]
fn every_expression_gives_what_the_table_says() {
    let path = support::repository().join("tests/planning/expressions.txt");
    let table = fs::read_to_string(path).unwrap();
    let mut count = 0;
    let mut wrong = String::new();
    let mut written = String::new();
    for line in table.lines() {
        if line.is_empty() || line.starts_with('#') {
            writeln!(written, "{line}").unwrap();
            continue;
        }
        let (expression, expected) = line.split_once(" => ").expect(line);
        let expression = expression.trim();
        let actual = outcome(expression);
        if actual != expected.trim() {
            writeln!(wrong, "{expression} => {actual}").unwrap();
        }
        writeln!(written, "{expression} => {actual}").unwrap();
        count += 1;
    }
    if std::env::var_os("UPDATE_EXPRESSIONS").is_some() {
        fs::write(support::repository().join("tests/planning/expressions.txt"), written).unwrap();
        return;
    }
    assert!(wrong.is_empty(), "these give something else:\n{wrong}");
    assert!(count >= 200, "{count} expressions");
}
