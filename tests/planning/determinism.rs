//! The same inputs give the same bytes in every process: CEL keeps maps in an order that differs from process to process,
//! and nothing of that may reach a plan.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::support;

const PROCESSES: usize = 50;
/// Set for the children: where their plans go.
const PLANS_TO: &str = "CONSIGN_TEST_PLANS_TO";
const THIS_TEST: &str = "determinism::plans_are_equal_in_fifty_processes";

/// Expressions that go through maps in every way that the language has.
const MAPS: &str = "
file_types: {any: {}}
payloads:
  all:
    body:
      whole: '=data'
      keys: '=data.m.map(k, k)'
      pairs: '=attributes.map(k, k + attributes[k])'
      some: \"=data.m.filter(k, k > 'c')\"
      literal: \"={'z': 1, 'y': data, 'x': attributes}\"
      first: '=data.m.map(k, data.m[k])[0]'
targets: {a: {owner: o, http: {url: 'http://a.invalid'}, confirmed_by: {response: status == 200}}}
routes: [{to: a, payload: all}]
";

fn plans() -> String {
    let mut text = super::examples::plans_as_text();
    let data = r#"{"m": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": {"y": 1, "x": 2}}, "n": [{"q": 1, "p": 2}]}"#;
    let manifest = support::manifest("any", data, &[("one", "1"), ("two", "2"), ("three", "3"), ("four", "4")]);
    let plan = support::plan_of(&support::arrival(manifest.clone()), &support::document(MAPS)).unwrap();
    writeln!(text, "{}\n{}", support::body_text(&plan[0]), serde_json::to_string(&plan).unwrap()).unwrap();
    let failing = MAPS.replace("'=data'", "'=data + attributes'");
    let failure = support::plan_of(&support::arrival(manifest), &support::document(&failing)).unwrap_err();
    writeln!(text, "{failure:?}").unwrap();
    text
}

#[test]
fn plans_are_equal_in_fifty_processes() {
    if let Some(path) = env::var_os(PLANS_TO) {
        fs::write(path, plans()).unwrap();
        return;
    }
    let expected = plans();
    let folder = tempfile::tempdir().unwrap();
    for process in 0..PROCESSES {
        let path = folder.path().join(process.to_string());
        let output = Command::new(env::current_exe().unwrap())
            .args([THIS_TEST, "--exact", "--test-threads=1"])
            .env(PLANS_TO, &path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let plans = fs::read_to_string(path).expect("the child ran this test and wrote its plans");
        assert_eq!(plans, expected, "process {process}");
    }
}
