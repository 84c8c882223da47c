//! Requests that are put together for each file: every part stays what it is, whatever the file says.

use consign::record::{FileManifest, PlannedDispatch, Request};
use consign::routing::code;
use reqwest::Url;
use serde_json::{Value as Json, json};

use super::support::{arrival, body_text, document, manifest, plan_of};

/// A document with one target.
fn target(target: &str, payload: &str) -> consign::routing::Document {
    document(&format!(
        "
file_types: {{any: {{}}}}
payloads: {{p: {{body: \"=data.body\"}}, form: {{format: form, body: {{a: \"=data.body\"}}}}, original: {{format: file}}}}
targets: {{a: {{owner: o, {target}}}}}
routes: [{{to: a{payload}}}]
"
    ))
}

const RESPONSE: &str = "confirmed_by: {response: status == 200}";

fn planned(out: &str, data: &Json) -> Result<PlannedDispatch, (String, String)> {
    let document = target(out, ", payload: p");
    let data = json!({"body": "x", "v": data}).to_string();
    let plan = plan_of(&arrival(manifest("any", &data, &[])), &document);
    plan.map(|mut plan| plan.remove(0)).map_err(|failure| (failure.code, failure.text))
}

fn request(out: &str, data: &Json) -> Result<Request, (String, String)> {
    planned(out, data).map(|dispatch| dispatch.request)
}

/// Values that try to be more than they are. Lone surrogates don't get this far: they are no JSON.
const HOSTILE: [&str; 16] = [
    "../../admin",
    "..",
    ".",
    "a/b",
    "a\\b",
    "?x=1",
    "#top",
    "a&b=c",
    "a=b",
    "%2e%2e",
    "%2F",
    "a b+c",
    "x\r\nx-evil: 1",
    "nul\0",
    "ü\u{202e}\u{feff}",
    ";@:!$'()*,[]{}|^`\"<>",
];

#[test]
fn a_segment_stays_a_segment() {
    let out = format!("http: {{url: 'https://a.example/v1/?k=1', path: [files, '=data.v', 7]}}, {RESPONSE}");
    for value in HOSTILE {
        match request(&out, &json!(value)) {
            Ok(request) => {
                let url = Url::parse(&request.destination).unwrap();
                assert_eq!(url.as_str(), request.destination, "{value:?}");
                assert_eq!((url.host_str(), url.query()), (Some("a.example"), Some("k=1")), "{value:?}");
                let segments: Vec<&str> = url.path_segments().unwrap().collect();
                let [_, _, segment, "7"] = segments.as_slice() else { panic!("{value:?}: {segments:?}") };
                assert_eq!(percent_encoding::percent_decode_str(segment).decode_utf8().unwrap(), value);
            }
            Err((code, text)) => {
                assert_eq!(code, code::REQUEST_PART);
                assert!(["..", "."].contains(&value) || value.chars().any(char::is_control), "{value:?}: {text}");
            }
        }
    }
    let (code, text) = request(&out, &json!("")).unwrap_err();
    assert_eq!((code.as_str(), text.contains("segment 2")), (code::REQUEST_PART, true), "{text}");
    assert_eq!(request(&out, &json!({"a": 1})).unwrap_err().0, code::REQUEST_PART);
    assert_eq!(request(&out, &json!("x".repeat(9_000))).unwrap_err().0, code::REQUEST_PART);
    // What fails to be computed fails as every expression does.
    let missing = request(&out.replace("data.v", "data.gone"), &json!(1)).unwrap_err();
    assert_eq!(missing.0, code::EVALUATION, "{missing:?}");
}

#[test]
fn a_parameter_stays_a_parameter() {
    let out = format!("http: {{url: 'https://a.example/v1?k=1', query: {{'a b': '=data.v', z: 2}}}}, {RESPONSE}");
    for value in HOSTILE {
        let destination = request(&out, &json!(value)).unwrap().destination;
        let url = Url::parse(&destination).unwrap();
        assert_eq!(url.as_str(), destination, "{value:?}");
        let pairs: Vec<(String, String)> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let expected = [("k", "1"), ("a b", value), ("z", "2")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((url.path(), url.fragment()), ("/v1", None));
    }
    let many = request(&out, &json!(["x", 1, true])).unwrap().destination;
    assert_eq!(many, "https://a.example/v1?k=1&a%20b=x&a%20b=1&a%20b=true&z=2");
    let none = out.replace("'=data.v'", "'=omit()'");
    assert_eq!(request(&none, &json!(1)).unwrap().destination, "https://a.example/v1?k=1&z=2");
    assert_eq!(request(&out, &json!([["x"]])).unwrap_err().0, code::REQUEST_PART);
}

#[test]
fn a_header_stays_a_header() {
    let out = format!("http: {{url: 'https://a.example', headers: {{X-Value: '=data.v', x-fixed: f}}}}, {RESPONSE}");
    for value in HOSTILE {
        let is_legal = value.bytes().all(|b| (b' '..=b'~').contains(&b));
        match request(&out, &json!(value)) {
            Ok(request) => assert!(is_legal && request.headers["x-value"] == value, "{value:?}"),
            Err((code, text)) => {
                assert!(!is_legal && code == code::REQUEST_PART && !text.contains(value), "{value:?}: {text}");
            }
        }
    }
    for illegal in [" x", "x\t", &"x".repeat(4_097)] {
        assert_eq!(request(&out, &json!(illegal)).unwrap_err().0, code::REQUEST_PART);
    }
    let headers = request(&out.replace("data.v", "omit()"), &json!(1)).unwrap().headers;
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-fixed"]);
}

#[test]
fn a_record_has_its_key_and_its_headers() {
    let out = "kafka: {topic: t, key: '=data.v', headers: {x-value: '=data.v'}}, confirmed_by: {acks: 1h}";
    for value in HOSTILE {
        let result = request(out, &json!(value));
        let is_legal = !value.chars().any(char::is_control);
        assert_eq!(result.is_ok(), is_legal, "{value:?}: {result:?}");
        let Ok(request) = result else { continue };
        assert_eq!((request.key.as_deref(), request.headers["x-value"].as_str()), (Some(value), value));
        assert_eq!((request.method, request.destination.as_str()), (None, "t"));
    }
    for (key, shown) in [(json!(7), "7"), (json!(1.5), "1.5"), (json!(true), "true")] {
        assert_eq!(request(out, &key).unwrap().key.as_deref(), Some(shown));
    }
    for key in [json!(""), json!(null), json!([1]), json!("x".repeat(1_025))] {
        assert_eq!(request(out, &key).unwrap_err().0, code::REQUEST_PART, "{key}");
    }
    let omitted = request(&out.replace("key: '=data.v'", "key: '=omit()'"), &json!("x")).unwrap_err();
    assert!(omitted.1.contains("omitted"), "{omitted:?}");
}

#[test]
fn every_method_goes_with_or_without_a_body() {
    for (method, has_body) in [
        ("POST", true),
        ("PUT", true),
        ("PATCH", true),
        ("GET", false),
        ("HEAD", false),
        ("DELETE", false),
        ("OPTIONS", false),
    ] {
        let payload = if has_body { ", payload: p" } else { "" };
        let out = format!("http: {{url: 'https://a.example', method: {method}}}, {RESPONSE}");
        let plan = plan_of(&arrival(manifest("any", r#"{"body": 1}"#, &[])), &target(&out, payload)).unwrap();
        let request = &plan[0].request;
        assert_eq!(request.method.as_deref(), Some(method));
        assert_eq!((request.body.is_some(), request.content_type.is_empty()), (has_body, !has_body), "{method}");
    }
}

fn event(transport: &str, envelope: &str, payload: &str) -> Result<PlannedDispatch, (String, String)> {
    let (out, confirmed_by) = match transport {
        "kafka" => ("kafka: {topic: t}", "confirmed_by: {acks: 1h}"),
        "webhook" => ("webhook: {url: 'https://a.example', sign_with: k}", RESPONSE),
        _ => ("http: {url: 'https://a.example'}", RESPONSE),
    };
    let document = target(&format!("{out}, envelope: {envelope}, {confirmed_by}"), &format!(", payload: {payload}"));
    let data =
        json!({"body": "Zürich", "v": "x", "empty": "", "control": "a\nb", "big": 3_000_000_000_i64}).to_string();
    let manifest = FileManifest { produced_by: "erp ü/1".into(), ..manifest("any", &data, &[]) };
    let plan = plan_of(&arrival(manifest), &document);
    plan.map(|mut plan| plan.remove(0)).map_err(|failure| (failure.code, failure.text))
}

#[test]
fn an_event_in_one_message_holds_its_attributes_and_its_data() {
    for transport in ["http", "webhook", "kafka"] {
        let dispatch = event(transport, "cloudevents", "p").unwrap();
        assert_eq!(dispatch.request.content_type, "application/cloudevents+json; charset=UTF-8");
        assert!(dispatch.request.headers.is_empty());
        let message: Json = serde_json::from_str(&body_text(&dispatch)).unwrap();
        let expected = json!({
            "specversion": "1.0",
            "id": "f-1/a",
            "source": "consign:erp%20%C3%BC%2F1",
            "type": "any",
            "time": "2026-01-01T00:00:00.000Z",
            "subject": "f-1",
            "datacontenttype": "application/json",
            "data": "Zürich",
        });
        assert_eq!(message, expected);
    }
    // What isn't JSON is text.
    let form: Json = serde_json::from_str(&body_text(&event("http", "cloudevents", "form").unwrap())).unwrap();
    assert_eq!(form["data"], "a=Z%C3%BCrich");
    assert_eq!(form["datacontenttype"], "application/x-www-form-urlencoded");
}

#[test]
fn an_event_in_headers_leaves_the_body_as_it_is() {
    let envelope =
        "{cloudevents: binary, attributes: {type: 'x % \"ü', source: /erp, subject: '=omit()', n: 7, b: true}}";
    for transport in ["http", "webhook"] {
        let dispatch = event(transport, envelope, "p").unwrap();
        assert_eq!(
            (body_text(&dispatch).as_str(), dispatch.request.content_type.as_str()),
            ("\"Zürich\"", "application/json")
        );
        let headers: Vec<(&str, &str)> =
            dispatch.request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("ce-b", "true"),
            ("ce-id", "f-1/a"),
            ("ce-n", "7"),
            ("ce-source", "/erp"),
            ("ce-specversion", "1.0"),
            ("ce-time", "2026-01-01T00:00:00.000Z"),
            ("ce-type", "x%20%25%20%22%C3%BC"),
        ];
        assert_eq!(headers, expected);
    }
    let record = event("kafka", envelope, "p").unwrap().request;
    assert_eq!(record.headers["ce_type"], "x % \"ü");
    assert!(record.headers.keys().all(|name| name.starts_with("ce_")));
}

#[test]
fn an_attribute_that_no_event_may_have_fails_validation() {
    for attributes in [
        "type: '=omit()'",
        "source: '=omit()'",
        "source: 'a b'",
        "source: '=data.empty'",
        "subject: '=data.control'",
        "n: '=data.big'",
        "n: 1.5",
        "dataschema: relative",
    ] {
        let (code, text) =
            event("http", &format!("{{cloudevents: binary, attributes: {{{attributes}}}}}"), "p").unwrap_err();
        assert_eq!(code, code::REQUEST_PART, "{attributes}: {text}");
    }
}

#[test]
fn a_record_is_never_empty() {
    let document = document(
        "
file_types: {any: {}}
payloads: {p: {format: form, body: {a: '=omit()'}}}
targets: {a: {owner: o, kafka: {topic: t}, envelope: {cloudevents: binary}, confirmed_by: {acks: 1h}}}
routes: [{to: a, payload: p}]
",
    );
    let failure = plan_of(&arrival(manifest("any", "{}", &[])), &document).unwrap_err();
    assert!(failure.code == code::PAYLOAD && failure.text.contains("deletion"), "{failure:?}");
}

type Spoil = fn(&mut FileManifest);

#[test]
fn the_file_itself_is_planned_by_place_size_and_digest() {
    let document =
        target(&format!("http: {{url: 'https://a.example', method: PUT}}, {RESPONSE}"), ", payload: original");
    let whole = FileManifest {
        location: Some("file:///in/f-1.pdf".into()),
        size: Some(3),
        checksum: Some(format!("sha256:{}", "0a".repeat(32))),
        media_type: Some("application/pdf".into()),
        ..manifest("any", "{}", &[])
    };
    let plan = plan_of(&arrival(whole.clone()), &document).unwrap();
    let request = &plan[0].request;
    let file = request.body_of_file.as_ref().unwrap();
    assert_eq!((file.location.as_str(), file.size), ("file:///in/f-1.pdf", 3));
    assert_eq!(Some(&file.digest), whole.checksum.as_ref());
    assert_eq!(plan[0].confirmed_by.receipt, None);
    assert_eq!((request.body.is_none(), request.content_type.as_str()), (true, "application/pdf"));
    let missing: [(&str, Spoil); 3] =
        [("location", |m| m.location = None), ("size", |m| m.size = None), ("checksum", |m| m.checksum = None)];
    for (field, spoil) in missing {
        let mut manifest = whole.clone();
        spoil(&mut manifest);
        let failure = plan_of(&arrival(manifest), &document).unwrap_err();
        assert!(failure.code == code::FILE_BODY && failure.text.contains(field), "{failure:?}");
    }
    let odd = FileManifest { media_type: Some("ü".into()), ..whole };
    assert_eq!(plan_of(&arrival(odd), &document).unwrap_err().code, code::REQUEST_PART);
}

#[test]
fn a_receipt_is_of_the_bytes_that_are_sent() {
    let body = request(&format!("http: {{url: 'https://a.example'}}, {RESPONSE}"), &json!(1)).unwrap().body.unwrap();
    // SHA-256 of `"x"`, with its quotes.
    let digest = "sha256:ba2df4903a2c14e86dc3bcca58911b44ac1d2514b7227bf6eb08cfb978f55a1b";
    assert_eq!(body.as_ref(), b"\"x\"");
    let plan = planned(&format!("receipt: digest, http: {{url: 'https://a.example'}}, {RESPONSE}"), &json!(1)).unwrap();
    assert_eq!(plan.confirmed_by.receipt.as_deref(), Some(digest));
    let out = format!("receipt: digest, http: {{url: 'https://a.example', method: PUT}}, {RESPONSE}");
    let document = target(&out, ", payload: original");
    let checksum = Some(format!("sha256:{}", "0a".repeat(32)));
    let location = Some("file:///in/f-1.pdf".into());
    let whole = FileManifest { location, size: Some(3), checksum: checksum.clone(), ..manifest("any", "{}", &[]) };
    assert_eq!(plan_of(&arrival(whole), &document).unwrap()[0].confirmed_by.receipt, checksum);
}
