//! Manifests that mean harm: each ends in a validation failure with a code, or in a plan within its limits, and the work that
//! it may cause is counted.

use consign::plan::{Limits, MAX_DATA, MAX_VALUES, check_manifest};
use consign::record::FileManifest;
use consign::routing::{
    Document, MAX_ITEMS, MAX_ITEMS_OF_A_FILE, MAX_SEARCHED_BYTES_OF_A_FILE, MAX_SUM_BYTES, MAX_SUM_BYTES_OF_A_FILE,
    Sources, load,
};

use super::support;

fn document(leaf: &str) -> Document {
    support::document(&format!(
        "
file_types: {{any: {{}}}}
payloads: {{p: {{body: {{v: \"={leaf}\"}}}}}}
targets: {{a: {{owner: o, http: {{url: 'http://a.invalid'}}, confirmed_by: {{response: status == 200}}}}}}
routes: [{{to: a, payload: p}}]
"
    ))
}

/// The code and the text of why a file with this data fails; empty where it doesn't.
fn failure(leaf: &str, data: &str) -> (String, String) {
    match support::plan_of(&support::arrival(support::manifest("any", data, &[])), &document(leaf)) {
        Ok(plan) => {
            let bytes: usize = plan.iter().map(|dispatch| support::body_text(dispatch).len()).sum();
            assert!(bytes <= Limits::default().body_bytes);
            (String::new(), String::new())
        }
        Err(failure) => {
            assert!(failure.text.len() < 4_096, "a failure's text is short");
            (failure.code, failure.text)
        }
    }
}

#[test]
fn what_is_no_json_fails_validation() {
    for data in [
        "",
        "{",
        "NaN",
        "[Infinity]",
        "1e400",
        "-1e400",
        r#"{"a": "\ud800"}"#,
        r#"{"a": "\udc00\ud800"}"#,
        "\u{0}",
        "{\"a\": \"\u{0}\"}",
        "\"\u{1}\"",
        "01",
        "{'a': 1}",
        "[1] [2]",
        "\u{feff}{}",
        r#"{"a": 1, "a": 1}"#,
        r#"[{"b": {"a": 1, "\u0061": 2}}]"#,
        &format!("[{}1]", "1,".repeat(MAX_VALUES)),
    ] {
        assert_eq!(failure("data == null", data).0, "CG122", "{data:?}");
    }
    for depth in [129, 10_000, 500_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(failure("data == null", &nested).0, "CG122", "{depth} deep");
        }
    }
}

#[test]
fn a_manifest_longer_than_it_may_be_is_refused_before_it_is_read() {
    for length in [MAX_DATA + 1, 10 * 1024 * 1024] {
        let manifest: FileManifest = support::manifest("any", &"[".repeat(length), &[]);
        let refused = check_manifest(&manifest).unwrap_err();
        assert_eq!(refused.code, "CG120");
        assert!(refused.text.len() < 200);
    }
}

/// The largest texts and lists that a manifest may hold.
fn long_text() -> String {
    format!("\"{}\"", "x".repeat(MAX_DATA - 2))
}

fn long_list() -> String {
    format!("[{}1]", "1,".repeat(MAX_VALUES - 2))
}

#[test]
fn bodies_are_bounded() {
    assert_eq!(failure("data", &long_text()).0, "CG127");
    assert_eq!(failure("data", &long_list()).0, "CG127");
    assert_eq!(failure("size(data)", &long_text()).0, "");
}

#[test]
fn what_an_expression_may_go_through_is_counted() {
    let items = format!("more than {MAX_ITEMS} items");
    for leaf in ["data.all(x, x > 0)", "data.map(x, x)", "data.filter(x, x > 5)", "data.exists(x, x == 2)"] {
        let (code, text) = failure(leaf, &long_list());
        assert!(code == "CG125" && text.contains(&items), "{leaf}: {text}");
    }
    // The count is of one evaluation as a whole: two comprehensions share it.
    let list = format!("[{}1]", "1,".repeat(MAX_ITEMS * 2 / 3));
    assert_eq!(failure("data.all(x, x == 1)", &list).0, "");
    assert_eq!(failure("data.all(x, x == 1) && data.all(x, x == 1)", &list).0, "CG125");
    let sum = format!("more than {MAX_SUM_BYTES} bytes");
    let doubling = format!("size({})", ["data"; 8].join(" + "));
    let (code, text) = failure(&doubling, &long_text());
    assert!(code == "CG125" && text.contains(&sum), "{text}");
    let long_list = format!("size({})", ["data"; 16].join(" + "));
    assert_eq!(failure(&long_list, &self::long_list()).0, "CG125");
    let searched = format!("[{}'a'].exists(x, data.contains(x))", "'a',".repeat(200));
    assert_eq!(failure(&searched, &long_text()).0, "CG125");
    let members = format!("[{}2].exists(x, x in data)", "2,".repeat(100));
    assert_eq!(failure(&members, &self::long_list()).0, "CG125");
}

/// A document with many routes, each of which costs as much as one evaluation may.
fn wide(routes: usize, when: &str) -> Document {
    let names: Vec<String> = (0..routes).map(|n| format!("t{n}")).collect();
    let all = |line: &dyn Fn(&str) -> String| names.iter().map(|name| line(name)).collect::<String>();
    let target = "http: {url: 'http://a.invalid'}, confirmed_by: {response: status == 200}";
    support::document(&format!(
        "file_types: {{any: {{}}}}\npayloads: {{p: {{body: {{v: 1}}}}}}\ntargets:\n{}routes:\n{}",
        all(&|name| format!("  {name}: {{owner: o, {target}}}\n")),
        all(&|name| format!("  - {{to: {name}, when: \"{when}\", payload: p}}\n")),
    ))
}

#[test]
fn what_all_expressions_of_a_file_cost_together_is_counted() {
    let list = |items: usize| format!("[{}1]", "1,".repeat(items - 1));
    let searching = "!data.contains('y') && !data.contains('z')";
    let cases = [
        ("data.all(x, x == 1)", list(MAX_ITEMS), MAX_ITEMS_OF_A_FILE / MAX_ITEMS, "items"),
        ("size(data + data) > 0", format!("\"{}\"", "x".repeat(1 << 19)), MAX_SUM_BYTES_OF_A_FILE >> 20, "bytes from"),
        (searching, format!("\"{}\"", "x".repeat(1 << 19)), MAX_SEARCHED_BYTES_OF_A_FILE >> 20, "bytes searched"),
    ];
    for (when, data, enough, what) in cases {
        let plan =
            |routes| support::plan_of(&support::arrival(support::manifest("any", &data, &[])), &wide(routes, when));
        assert_eq!(plan(enough).unwrap().len(), enough, "{when}");
        let Err(failure) = plan(enough + 1) else { panic!("`{when}` is not bounded") };
        assert_eq!(failure.code, "CG125");
        assert!(failure.text.contains(what) && failure.text.ends_with("of one file together"), "{}", failure.text);
    }
}

#[test]
fn what_is_rendered_for_a_file_is_bounded_before_all_of_it_is_there() {
    let body = "x".repeat(200 * 1024);
    let payloads =
        (0..200).map(|n| format!("  p{n}: {{body: {{n: {n}, v: \"=data\"}}}}\n")).collect::<Vec<_>>().concat();
    let target = "http: {url: 'http://a.invalid'}, confirmed_by: {response: status == 200}";
    let targets = (0..200).map(|n| format!("  t{n}: {{owner: o, {target}}}\n")).collect::<Vec<_>>().concat();
    let routes = (0..200).map(|n| format!("  - {{to: t{n}, payload: p{n}}}\n")).collect::<Vec<_>>().concat();
    let document = support::document(&format!(
        "file_types: {{any: {{}}}}\npayloads:\n{payloads}targets:\n{targets}routes:\n{routes}"
    ));
    let failure = support::plan_of(&support::arrival(support::manifest("any", &format!("\"{body}\""), &[])), &document)
        .unwrap_err();
    assert!(failure.code == "CG127" && failure.text.contains("the plan is larger"), "{failure:?}");
}

#[test]
fn a_failure_names_places_and_never_values() {
    let secret = r#"{"token": "sesame", "list": ["sesame"], "map": {"sesame": 1}}"#;
    for leaf in
        ["data.token + 1", "data.list[9]", "data.map.nothing", "data[data.token]", "int(data.token)", "-data.token"]
    {
        let (code, text) = failure(leaf, secret);
        assert!(code == "CG125" && !text.contains("sesame"), "{leaf}: {text}");
    }
}

#[test]
fn tables_that_mean_harm_are_refused_with_their_line() {
    let with = |table: &str| {
        let document = "
file_types: {any: {}}
tables: {t: t.csv}
payloads: {p: {body: {v: \"=lookup('t', 'a').k\"}}}
targets: {a: {owner: o, http: {url: 'http://a.invalid'}, confirmed_by: {response: status == 200}}}
routes: [{to: a, payload: p}]
";
        let files = [("t.csv".to_owned(), table.to_owned())].into();
        load(&Sources { name: "routing.yaml".to_owned(), document: document.to_owned(), files })
    };
    assert!(with("k,v\na,1\n").is_ok());
    for (table, code) in [
        (format!("{}\n", vec!["k"; 100_000].join(",")), "CG109"),
        ("k,v\n\"a,1\n".repeat(3), "CG109"),
        (format!("k,v\n{}", "a,1\n".repeat(50_000)), "CG109"),
        (format!("k,v\na,{}\n", "x".repeat(5 * 1024 * 1024)), "CG117"),
    ] {
        let errors = with(&table).unwrap_err();
        assert!(errors.iter().any(|error| error.code == code), "{:?}", errors.first());
    }
}
