//! Every way in which a file fails validation, and what limits a plan.

use consign::plan::Limits;
use consign::record::{Failure, FileManifest, PlannedDispatch};
use consign::routing::{Document, code};

use super::support::{arrival, body_text, document, manifest, plan_of, plan_within, successor};

const DOCUMENT: &str = "
file_types: {any: {}, dated: {deadline: 1h}}
tables: {t: t.csv}
payloads:
  p: {body: {id: '=data.id', row: \"=lookup('t', 'a').tier\"}}
  q: {body: '=has(data.gone) ? omit() : data'}
  r: {from: q, set: {/list/5: 1}}
targets:
  a: &A
  b: &A
  c: &A
routes:
  - {to: a, when: data.a, payload: p}
  - {to: b, when: data.b, after: [a], payload: [{when: data.q, use: q}, {when: data.r, use: r}]}
  - {to: c, when: has(data.c) && data.c, after: [a, b], payload: p}
";
const TARGET: &str = "{owner: o, http: {url: 'http://a.invalid'}, confirmed_by: {response: status == 200}}";

fn routing() -> Document {
    document(&DOCUMENT.replace("&A", TARGET))
}

fn file(data: &str) -> FileManifest {
    manifest("any", data, &[])
}

fn failure(data: &str) -> Failure {
    plan_of(&arrival(file(data)), &routing()).unwrap_err()
}

fn targets(plan: &[PlannedDispatch]) -> Vec<&str> {
    plan.iter().map(|dispatch| dispatch.target.as_str()).collect()
}

#[test]
fn every_failure_has_its_code() {
    for (data, code, text) in [
        ("{", code::DATA, "`data` is no JSON: line 1"),
        (r#"{"a": false, "b": false}"#, code::NO_ROUTE, "no route matches"),
        (r#"{"a": 1}"#, code::EVALUATION, "the route to `a`: `data.a` gives an int, not a boolean"),
        (r#"{"b": true}"#, code::EVALUATION, "there is no `a`"),
        (r#"{"a": true, "b": false}"#, code::EVALUATION, "the payload `p`: `data.id`: there is no `id`"),
        (r#"{"a": false, "b": true, "q": false, "r": false}"#, code::PAYLOAD, "none of its payloads does"),
        (r#"{"a": false, "b": true, "q": true, "gone": 1}"#, code::PAYLOAD, "all of it is omitted"),
        (r#"{"a": false, "b": true, "q": false, "r": true, "list": []}"#, code::PAYLOAD, "`set /list/5`"),
    ] {
        let failure = failure(data);
        assert!(failure.code == code && failure.text.contains(text), "{data}: {failure:?}");
    }
    let unknown = plan_of(&arrival(manifest("other", "{}", &[])), &routing()).unwrap_err();
    assert_eq!(
        (unknown.code.as_str(), unknown.text.as_str()),
        (code::FILE_TYPE, "there is no file type `other`; there are: any, dated",)
    );
}

#[test]
fn data_and_payloads_are_held_against_their_schemas() {
    let shipped = consign::routing::load(&super::support::shipped_sources()).unwrap().document;
    let plan = |schema_version, data: Option<&str>, currency: &str| {
        let mut file = manifest("invoice", "", &[("currency", currency)]);
        file.schema_version = schema_version;
        file.data = data.map(str::to_owned);
        plan_of(&arrival(file), &shipped)
    };
    let failure = plan(2, Some(r#"{"account_id": "A-100", "amount": "secret"}"#), "EUR").unwrap_err();
    assert_eq!(failure.code, code::DATA_SCHEMA);
    assert!(failure.text.contains("at /amount") && failure.text.contains("/properties/amount/type"), "{failure:?}");
    assert!(!failure.text.contains("secret"), "{failure:?}");
    assert_eq!(plan(2, None, "EUR").unwrap_err().code, code::DATA);
    let failure = plan(2, Some(r#"{"account_id": "A-100", "amount": 1}"#), "euros").unwrap_err();
    assert_eq!(failure.code, code::PAYLOAD_SCHEMA);
    assert!(failure.text.contains("the payload `account_v2` at /currency"), "{failure:?}");
    let plan = plan(1, Some(r#"{"account_id": "A-100", "amount": 1}"#), "euros").unwrap();
    assert_eq!(body_text(&plan[0]), r#"{"account_id":"A-100","amount":1}"#);
}

#[test]
fn a_plan_waits_only_for_targets_that_it_has() {
    let routing = routing();
    let all = r#"{"a": true, "b": true, "c": true, "q": true, "id": 1}"#;
    let plan = plan_of(&arrival(file(all)), &routing).unwrap();
    assert_eq!(targets(&plan), ["a", "b", "c"]);
    assert_eq!(plan[2].after, [plan[0].target.clone(), plan[1].target.clone()]);
    let without_a = r#"{"a": false, "b": true, "c": true, "q": true, "id": 1}"#;
    let plan = plan_of(&arrival(file(without_a)), &routing).unwrap();
    assert_eq!(targets(&plan), ["b", "c"]);
    assert_eq!(plan[0].after, []);
    assert_eq!(plan[1].after, [plan[0].target.clone()]);
}

#[test]
fn a_successor_goes_only_where_it_is_limited_to() {
    let routing = routing();
    let all = r#"{"a": true, "b": true, "c": true, "q": true, "id": 1}"#;
    let plan = plan_of(&successor(file(all), &["c"]), &routing).unwrap();
    assert_eq!(targets(&plan), ["c"]);
    assert_eq!(plan[0].after, []);
    assert_eq!(plan[0].idempotency_key, "f-1~1/c");
    assert_eq!(plan[0].expected_targets.as_ref().map(Vec::len), Some(1));
    let without_c = r#"{"a": true, "b": true, "q": true, "id": 1}"#;
    let lost = plan_of(&successor(file(without_c), &["a", "c"]), &routing).unwrap_err();
    assert_eq!(lost.code, code::LOST_TARGET);
    assert!(lost.text.contains("`c`"), "{lost:?}");
}

#[test]
fn the_deadline_is_the_files_or_the_types_or_seven_days() {
    let routing = routing();
    let data = r#"{"a": true, "b": false, "id": 1}"#;
    let deadline = |file: FileManifest| plan_of(&arrival(file), &routing).unwrap()[0].file_deadline;
    let received = super::support::RECEIVED_AT;
    assert_eq!(deadline(file(data)), received.plus_millis(7 * 24 * 3_600_000));
    assert_eq!(deadline(manifest("dated", data, &[])), received.plus_millis(3_600_000));
    let own = received.plus_millis(5);
    assert_eq!(deadline(FileManifest { deadline: Some(own), ..manifest("dated", data, &[]) }), own);
}

#[test]
fn what_is_too_large_fails_and_does_not_pass() {
    let routing = routing();
    let large = format!(r#"{{"a": false, "b": true, "q": true, "x": "{}"}}"#, "x".repeat(256 * 1024));
    let body = plan_of(&arrival(file(&large)), &routing).unwrap_err();
    assert!(body.code == code::PLAN_SIZE && body.text.contains("the payload `q` has"), "{body:?}");

    let small = arrival(file(r#"{"a": true, "b": false, "id": 1}"#));
    let default = Limits::default();
    let plan = plan_within(&small, &routing, Limits { plan_bytes: 500, ..default }).unwrap_err();
    assert!(plan.code == code::PLAN_SIZE && plan.text.contains("the plan is larger"), "{plan:?}");
    let state = plan_within(&small, &routing, Limits { file_state_bytes: 2_000, ..default }).unwrap_err();
    assert!(state.code == code::PLAN_SIZE && state.text.contains("1 targets"), "{state:?}");
}

#[test]
fn expressions_are_bounded_in_what_they_cost() {
    let evaluate = |expression: &str, data: &str| {
        let text = format!(
            "
file_types: {{any: {{}}}}
payloads: {{p: {{body: {{v: \"={expression}\"}}}}}}
targets: {{a: {TARGET}}}
routes: [{{to: a, payload: p}}]
"
        );
        let plan = plan_of(&arrival(file(data)), &document(&text));
        plan.map(|plan| body_text(&plan[0])).map_err(|failure| failure.text)
    };
    let list = |count: usize| format!(r#"{{"l": [{}]}}"#, vec!["1"; count].join(","));
    assert_eq!(evaluate("data.l.all(x, x == 1)", &list(10_000)), Ok(r#"{"v":true}"#.to_owned()));
    let error = evaluate("data.l.all(x, x == 1)", &list(10_001)).unwrap_err();
    assert!(error.ends_with("more than 10000 items in comprehensions"), "{error}");

    let text = format!(r#"{{"s": "{}", "l": [{}]}}"#, "x".repeat(10_000), vec!["1"; 1_000].join(","));
    let error = evaluate("size(data.l.map(x, data.s + data.s))", &text).unwrap_err();
    assert!(error.ends_with("more than 4194304 bytes from `+`"), "{error}");

    let error = evaluate("data.l.all(x, x in data.l)", &list(3_000)).unwrap_err();
    assert!(error.ends_with("more than 33554432 bytes searched"), "{error}");
    let text = format!(r#"{{"s": "{}", "l": [{}]}}"#, "x".repeat(100_000), vec!["\"y\""; 1_000].join(","));
    let error = evaluate("data.l.exists(x, data.s.contains(x))", &text).unwrap_err();
    assert!(error.ends_with("more than 33554432 bytes searched"), "{error}");
}

#[test]
fn an_expression_that_nests_deeply_is_refused_and_overflows_nothing() {
    for source in ["1".to_owned() + &"+1".repeat(2_000), "(".repeat(2_000) + "1", "[".repeat(2_000)] {
        assert!(consign::routing::Rule::compile(&source).is_err(), "{}", &source[..10]);
    }
    let wide = format!("status in [{}]", vec!["200"; 300].join(","));
    assert!(consign::routing::Rule::compile(&wide).is_ok());
}

#[test]
fn a_document_and_its_rules_are_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Document>();
    is_shared::<consign::routing::Rule>();
    // The deepest legal expression, on a thread with a small stack.
    let deepest = format!("status{} > 0", " + 1".repeat(58));
    let evaluate = move || consign::routing::response_rule(&deepest, &consign::routing::Response::default());
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(evaluate).unwrap();
    assert_eq!(thread.join().unwrap(), Ok(true));
}

/// A document whose one payload is sent as a form.
fn form_document(body: &str) -> consign::routing::Document {
    document(&format!(
        "
file_types: {{any: {{}}}}
payloads: {{p: {{format: form, body: {body}}}, q: {{from: p, set: {{/b: 2}}}}}}
targets:
  a: {{owner: o, http: {{url: 'http://a.invalid', headers: {{content-type: text/plain}}}}, confirmed_by: {{response: status == 200}}}}
  b: {{owner: o, http: {{url: 'http://b.invalid'}}, confirmed_by: {{response: status == 200}}}}
routes: [{{to: a, payload: p}}, {{to: b, payload: q}}]
"
    ))
}

#[test]
fn a_form_is_escaped_by_position_and_in_order() {
    let document =
        form_document("{z: '=data.text', 'a b': [1, 2.5, true], c: '=has(data.no) ? data.no : omit()', d: x}");
    let data = r#"{"text": "Zürich & Söhne = 100% + \u0000 ?#"}"#;
    let plan = plan_of(&arrival(manifest("any", data, &[])), &document).unwrap();
    let request = &plan[0].request;
    assert_eq!(request.content_type, "application/x-www-form-urlencoded");
    assert_eq!(
        body_text(&plan[0]),
        "a+b=1&a+b=2.5&a+b=true&d=x&z=Z%C3%BCrich+%26+S%C3%B6hne+%3D+100%25+%2B+%00+%3F%23"
    );
    // A payload that derives from a form says for itself what it is sent as.
    assert_eq!(plan[1].request.content_type, "application/json");
    assert!(body_text(&plan[1]).starts_with("{\"a b\":[1,2.5,true],\"b\":2"));
}

#[test]
fn what_has_no_place_in_a_form_fails_validation() {
    for body in ["'=data'", "{a: {b: 1}}", "{a: '=null'}", "{a: [[1]]}", "[1]"] {
        let document = form_document(body);
        let failure = plan_of(&arrival(manifest("any", "[1]", &[])), &document).unwrap_err();
        assert_eq!(failure.code, "CG129", "{body}: {}", failure.text);
    }
}

#[test]
fn a_file_goes_to_a_thousand_targets_and_no_further_than_its_state_bears() {
    let wide = |targets: usize| {
        let names: Vec<String> = (0..targets).map(|n| format!("target-{n:04}")).collect();
        let all = |line: &dyn Fn(&str) -> String| names.iter().map(|name| line(name)).collect::<String>();
        let targets = all(&|name| {
            format!(
                "  {name}: {{owner: team-{name}, http: {{url: 'http://{name}.invalid'}}, confirmed_by: {{response: status == 200}}}}\n"
            )
        });
        let routes = all(&|name| format!("  - {{to: {name}, payload: p}}\n"));
        let document = document(&format!(
            "file_types: {{any: {{}}}}\npayloads: {{p: {{body: {{id: '=file.id'}}}}}}\ntargets:\n{targets}routes:\n{routes}"
        ));
        plan_of(&arrival(manifest("any", "{}", &[])), &document)
    };
    let plan = wide(1_000).unwrap();
    assert_eq!((plan.len(), plan[999].ordinal, plan[999].of), (1_000, 999, 1_000));
    assert!(plan.iter().skip(1).all(|dispatch| dispatch.expected_targets.is_none()));
    assert_eq!(wide(3_000).unwrap_err().code, code::PLAN_SIZE);
}
