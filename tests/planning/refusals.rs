//! Every refusal and every warning of the routing document: the code, the line, and words that a person would look for.

use std::collections::BTreeMap;

use consign::record::{Escalation, OnExhausted, OnFailed, OnOverdue, OnUnknown, Retry, Timeouts};
use consign::routing::{Diagnostic, MAX_DOCUMENT_BYTES, Sources, code, load};

use super::support;

/// A document without fault, to which each test does one wrong.
const BASE: &str = "\
file_types:
  invoice: {schema: invoice.json, deadline: 2d}
tables:
  accounts: accounts.csv
payloads:
  one: {body: {id: \"=data.id\", tier: \"=lookup('accounts', data.id).tier\"}, schema: one.json}
  two: {from: one, remove: [/tier], set: {/channel: partner}}
target_defaults: {concurrency: 8}
targets:
  a: {owner: team-a, http: {url: \"https://a.example/in\"}, confirmed_by: {response: \"status == 200\"}}
  b: {owner: team-b, http: {url: \"https://b.example/in\"}, confirmed_by: {acks: 1h}}
routes:
  - {to: a, when: \"file.type == 'invoice'\", payload: one}
  - {to: b, after: [a], payload: [{when: \"has(attributes.x)\", use: one}, {use: two}]}
";

fn sources(document: &str) -> Sources {
    let files = [
        ("invoice.json", r#"{"type": "object"}"#),
        ("one.json", r#"{"required": ["id"]}"#),
        ("accounts.csv", "id,tier\na,gold\n"),
        ("twice.csv", "id,tier\na,gold\na,silver\n"),
        ("broken.json", "{"),
        ("one.avsc", r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "string"}]}"#),
        ("map.avsc", r#"{"type": "map", "values": "int"}"#),
        ("remote.json", r#"{"$ref": "https://schemas.example/x.json"}"#),
    ];
    let files: BTreeMap<String, String> =
        files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    Sources { name: "routing.yaml".to_owned(), document: document.to_owned(), files }
}

fn errors(document: &str) -> Vec<Diagnostic> {
    load(&sources(document)).err().unwrap_or_default()
}

fn edited(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from}");
    BASE.replacen(from, to, 1)
}

#[test]
fn the_base_is_without_fault() {
    let loaded = load(&sources(BASE)).unwrap_or_else(|errors| panic!("{}", support::lines(&errors)));
    assert_eq!(support::lines(&loaded.warnings), "");
}

/// What is edited, into what, the code, the line, and words of the message.
type Case = (&'static str, &'static str, &'static str, usize, &'static str);

const STRUCTURE: &[Case] = &[
    ("routes:\n", "routes: [\n", code::SYNTAX, 13, ""),
    ("deadline: 2d", "deadline: 2d, deadline: 3d", code::DUPLICATE_KEY, 2, "`deadline` is there twice"),
    ("deadline: 2d", "dead_line: 2d", code::UNKNOWN_KEY, 2, "nearest legal one is `deadline`"),
    ("target_defaults:", "defaults:", code::UNKNOWN_KEY, 8, "nearest legal one is `target_defaults`"),
    ("owner: team-a, ", "", code::MISSING_KEY, 10, "`a` has no `owner`"),
    ("http: {url: \"https://a.example/in\"}, ", "", code::MISSING_KEY, 10, "none of http, webhook, kafka"),
    ("url: \"https://a.example/in\"", "method: PUT", code::MISSING_KEY, 10, "`url` is missing"),
    ("to: a, ", "", code::MISSING_KEY, 13, "`to` is missing"),
    (", payload: one}", "}", code::MISSING_KEY, 13, "`payload` is missing"),
    ("from: one, ", "", code::MISSING_KEY, 7, "either `body` or `from`"),
    ("schema: one.json}", "format: xml}", code::ILLEGAL_VALUE, 6, "none of json, form, avro and file"),
    ("deadline: 2d", "deadline: soon", code::ILLEGAL_VALUE, 2, "a duration stands here"),
    ("deadline: 2d", "deadline: 0s", code::ILLEGAL_VALUE, 2, "from 1ms"),
    ("deadline: 2d", "deadline: 20y", code::ILLEGAL_VALUE, 2, "ten years"),
    ("concurrency: 8", "concurrency: 0", code::ILLEGAL_VALUE, 8, "from 1 to 10000"),
    ("concurrency: 8", "rate: 50", code::ILLEGAL_VALUE, 8, "a text stands here"),
    ("concurrency: 8", "rate: 0/s", code::ILLEGAL_VALUE, 8, "`0/s` is no rate such as 50/s"),
    ("concurrency: 8", "rate: 10001/s", code::ILLEGAL_VALUE, 8, "from 1 to 10000 requests"),
    ("concurrency: 8", "rate: 5/d", code::ILLEGAL_VALUE, 8, "is no rate"),
    ("concurrency: 8", "on_unknown: maybe", code::ILLEGAL_VALUE, 8, "`maybe` is none of hold, retry"),
    ("concurrency: 8", "receipt: signed", code::ILLEGAL_VALUE, 8, "`signed` is none of none, digest"),
    (
        "confirmed_by: {response: \"status == 200\"}",
        "confirmed_by: transport, receipt: digest",
        code::CONFIRMED_BY,
        10,
        "asks for a word of the target",
    ),
    ("concurrency: 8", "operator_confirm: often", code::ILLEGAL_VALUE, 8, "`true` or `false`"),
    ("concurrency: 8", "retry: {schedule: []}", code::ILLEGAL_VALUE, 8, "1 to 64 durations"),
    ("concurrency: 8", "retry: {attempts: 0}", code::ILLEGAL_VALUE, 8, "from 1"),
    ("concurrency: 8", "retry: {jitter: 101}", code::ILLEGAL_VALUE, 8, "from 0 to 100"),
    ("concurrency: 8", "retry: often", code::ILLEGAL_VALUE, 8, "a mapping stands here, not a text"),
    ("concurrency: 8", "escalation: {first: 2h, max: 1h}", code::ILLEGAL_VALUE, 8, "`max` is shorter"),
    ("concurrency: 8", "timeouts: {request: 0s}", code::ILLEGAL_VALUE, 8, "from 1ms"),
    ("concurrency: 8", "http: {}", code::UNKNOWN_KEY, 8, "`http` is no key here"),
    (
        "concurrency: 8",
        "retry: {schedule: [1s], exponential: {first: 1s, max: 1m}}",
        code::ILLEGAL_VALUE,
        8,
        "not both",
    ),
    ("concurrency: 8", "retry: {exponential: {first: 1s}}", code::MISSING_KEY, 8, "`max` is missing"),
    ("concurrency: 8", "retry: {exponential: {first: 1m, max: 1s}}", code::ILLEGAL_VALUE, 8, "`max` is shorter"),
    ("concurrency: 8", "retry: {exponential: {first: 1s, max: 1m, factor: 1}}", code::ILLEGAL_VALUE, 8, "1.1 to 10"),
    (
        "concurrency: 8",
        "retry: {exponential: {first: 1s, max: 1h, factor: 1.1}}",
        code::ILLEGAL_VALUE,
        8,
        "more than 64",
    ),
    ("remove: [/tier]", "remove: [tier]", code::ILLEGAL_VALUE, 7, "no JSON Pointer"),
    ("remove: [/tier]", "remove: [/teir]", code::ILLEGAL_VALUE, 7, "nothing at `/teir`"),
    ("set: {/channel: partner}", "set: {channel: partner}", code::ILLEGAL_VALUE, 7, "no JSON Pointer"),
    ("from: one", "from: one, body: {}", code::ILLEGAL_VALUE, 7, "either `body` or `from`"),
    ("schema: one.json", "set: {/x: 1}", code::ILLEGAL_VALUE, 6, "`set` goes with `from`"),
    ("{use: two}", "{use: two}, {use: one}", code::ILLEGAL_VALUE, 14, "never reached"),
    ("payload: one}", "payload: []}", code::ILLEGAL_VALUE, 13, "the list of payloads is empty"),
    ("after: [a]", "after: a", code::ILLEGAL_VALUE, 14, "a list stands here"),
    ("after: [a]", "after: [a, a]", code::ILLEGAL_VALUE, 14, "`a` is there twice"),
];

const NAMES: &[Case] = &[
    ("  a: {", "  A_1: {", code::ILLEGAL_NAME, 10, "target name `A_1`"),
    ("  invoice:", "  \"in voice\":", code::ILLEGAL_NAME, 2, "the name `in voice`"),
    ("owner: team-a", "owner: \"\"", code::ILLEGAL_NAME, 10, "an owner is"),
    ("accounts: accounts.csv", "accounts: ../accounts.csv", code::ILLEGAL_NAME, 4, "no file beside the document"),
    ("accounts: accounts.csv", "accounts: gone.csv", code::UNDEFINED_NAME, 4, "there is no file `gone.csv`"),
    ("schema: invoice.json", "schema: gone.json", code::UNDEFINED_NAME, 2, "there is no file `gone.json`"),
    ("{to: a,", "{to: aa,", code::UNDEFINED_NAME, 13, "there is no target `aa`"),
    ("after: [a]", "after: [aa]", code::UNDEFINED_NAME, 14, "there is no target `aa`"),
    ("payload: one", "payload: oen", code::UNDEFINED_NAME, 13, "the nearest legal one is `one`"),
    ("{use: two}", "{use: tow}", code::UNDEFINED_NAME, 14, "there is no payload `tow`"),
    ("from: one", "from: oen", code::UNDEFINED_NAME, 7, "there is no payload `oen`"),
    ("schema: invoice.json", "schema: broken.json", code::SCHEMA, 2, "no JSON"),
    ("schema: invoice.json", "schema: remote.json", code::SCHEMA, 2, "nothing is fetched"),
    ("accounts: accounts.csv", "accounts: twice.csv", code::TABLE, 3, "the key `a` is there twice"),
    ("{to: b, after: [a]", "{to: a, after: []", code::SECOND_ROUTE, 14, "has a route already, on line 13"),
    ("{to: a, ", "{to: a, after: [b], ", code::CYCLE, 13, "`a` waits for itself"),
    ("after: [a]", "after: [b]", code::CYCLE, 14, "`b` waits for itself"),
    ("from: one", "from: two", code::CYCLE, 7, "`two` derives from itself"),
];

const EXPRESSIONS: &[Case] = &[
    ("\"=data.id\"", "\"=dtaa.id\"", code::EXPRESSION, 6, "`dtaa` is not declared"),
    ("file.type == 'invoice'", "=file.type == 'x'", code::EXPRESSION, 13, "without `=`"),
    ("file.type == 'invoice'", "omit()", code::EXPRESSION, 13, "no function `omit` here"),
    ("file.type == 'invoice'", "", code::EXPRESSION, 13, "is empty"),
    ("has(attributes.x)", "has(attribute.x)", code::EXPRESSION, 14, "`attribute` is not declared"),
    ("status == 200", "status == 200 && data.x", code::EXPRESSION, 10, "`data` is not declared"),
    ("status == 200", "status ==", code::EXPRESSION, 10, "can't be read"),
];

const TARGETS: &[Case] = &[
    ("http: {", "webhook: {", code::MISSING_KEY, 10, "`sign_with` is missing"),
    ("http: {", "webhook: {sign_with: [], ", code::REQUEST, 10, "names 1 to 4 secrets"),
    ("http: {", "webhook: {sign_with: k, method: PUT, ", code::UNKNOWN_KEY, 10, "`method` is no key here"),
    ("http: {", "webhook: {url: x, sign_with: k}, http: {", code::REQUEST, 10, "in one way"),
    ("http: {", "webhook: {sign_with: whsec_a/b==, ", code::ILLEGAL_NAME, 10, "the name of a secret is"),
    ("http: {", "http: {auth: {}, ", code::REQUEST, 10, "one of basic, bearer and oauth2"),
    ("http: {", "http: {auth: {bearer: a, basic: {}}, ", code::REQUEST, 10, "one of basic, bearer and oauth2"),
    ("http: {", "http: {auth: {bearer: a b}, ", code::ILLEGAL_NAME, 10, "the name of a secret is"),
    ("http: {", "http: {auth: {basic: {user: u}}, ", code::MISSING_KEY, 10, "`password` is missing"),
    ("http: {", "http: {auth: {basic: {user: 'u:v', password: p}}, ", code::REQUEST, 10, "no colon"),
    ("http: {", "http: {auth: {oauth2: {client_id: c, client_secret: s}}, ", code::MISSING_KEY, 10, "`token_url` is"),
    (
        "http: {",
        "http: {auth: {oauth2: {token_url: x, client_id: c, client_secret: s}}, ",
        code::REQUEST,
        10,
        "can't be read",
    ),
    ("http: {", "http: {tls: {key: k}, ", code::REQUEST, 10, "go together"),
    ("http: {", "http: {tls: {}, ", code::REQUEST, 10, "`tls` has"),
    ("http: {url: \"https://a.example/in\"}", "kafka: {topic: x}", code::CONFIRMED_BY, 10, "a topic gives no response"),
    ("http: {url: \"https://b.example/in\"}", "kafka: {topic: a b}", code::REQUEST, 11, "is no topic"),
    ("http: {url: \"https://b.example/in\"}", "kafka: {topic: x, cluster: a/b}", code::ILLEGAL_NAME, 11, "a/b"),
    (
        "http: {url: \"https://b.example/in\"}",
        "kafka: {topic: x, cluster: other, in_transaction: true}",
        code::REQUEST,
        11,
        "can't reach the cluster `other`",
    ),
    (
        "http: {url: \"https://b.example/in\"}",
        "rate: 5/s, kafka: {topic: x, in_transaction: true}",
        code::REQUEST,
        11,
        "can't be paced",
    ),
    (
        "http: {url: \"https://b.example/in\"}",
        "kafka: {topic: x, in_transaction: soon}",
        code::ILLEGAL_VALUE,
        11,
        "`true` or `false` stands",
    ),
    ("http: {url: \"https://b.example/in\"}", "kafka: {key: x}", code::MISSING_KEY, 11, "`topic` is missing"),
    ("http: {url: \"https://b.example/in\"}", "kafka: {topic: x, key: =nope}", code::EXPRESSION, 11, "nope"),
    ("owner: team-a", "owner: x, content: file", code::NOT_IN_THIS_VERSION, 10, "`content` is not in"),
    ("{acks: 1h}", "{callback: soon}", code::ILLEGAL_VALUE, 11, "a duration stands here"),
    ("{acks: 1h}", "{callback: {within: 2h, token: false}}", code::UNKNOWN_KEY, 11, "`token` is no key here"),
    ("\"https://a.example/in\"", "\"=data.url\"", code::REQUEST, 10, "written out, not computed"),
    (", confirmed_by: {acks: 1h}", "", code::CONFIRMED_BY, 11, "doesn't say by what its success is confirmed"),
    ("{acks: 1h}", "{}", code::CONFIRMED_BY, 11, "isn't said what confirms"),
    ("{acks: 1h}", "hope", code::CONFIRMED_BY, 11, "`hope` confirms nothing"),
    ("{acks: 1h}", "{transport: false}", code::CONFIRMED_BY, 11, "confirms nothing"),
    ("{acks: 1h}", "{acks: 1h, response: 'true'}", code::CONFIRMED_BY, 11, "response and acks"),
    ("{acks: 1h}", "{acks: {within: 2h, limit: 1h}}", code::CONFIRMED_BY, 11, "`limit` is shorter"),
    ("{acks: 1h}", "{acks: {limit: 1h}}", code::MISSING_KEY, 11, "`within` is missing"),
    ("{acks: 1h}", "{acks: 1h, not_processed: [200]}", code::ILLEGAL_VALUE, 11, "from 300 to 599"),
    ("{acks: 1h}", "{acks: 1h, not_processed: [503, 503]}", code::ILLEGAL_VALUE, 11, "503 is there twice"),
    (
        "{acks: 1h}",
        "{acks: 1h, not_processed: [503], rejected_status: [503]}",
        code::CONFIRMED_BY,
        11,
        "503 can't be both",
    ),
    (
        "{response: \"status == 200\"}",
        "{response: {rejected: 'true'}}",
        code::MISSING_KEY,
        10,
        "`succeeded` is missing",
    ),
    (
        "{response: \"status == 200\"}",
        "{response: 'true', rejected: 'true'}",
        code::CONFIRMED_BY,
        10,
        "only beside `acks`",
    ),
    ("concurrency: 8", "on_overdue: retry", code::UNSAFE_POLICY, 8, "`on_unknown: hold` forbids"),
    ("https://a.example/in", "a.example/in", code::REQUEST, 10, "can't be read"),
    ("https://a.example/in", "ftp://a.example/in", code::REQUEST, 10, "isn't http or https"),
    ("https://a.example/in", "HTTPS://a.example/in", code::REQUEST, 10, "begins with neither"),
    ("https://a.example/in", " https://a.example/in", code::REQUEST, 10, "begins with neither"),
    ("https://a.example/in", "https://u:p@a.example/in", code::REQUEST, 10, "holds a secret"),
    ("https://a.example/in", "https://a.example/in#x", code::REQUEST, 10, "fragment"),
    ("example/in\"}", "example/in\", method: CONNECT}", code::REQUEST, 10, "`CONNECT` is none of POST"),
    ("example/in\"}", "example/in\", method: GET}", code::REQUEST, 13, "`GET` carries no body"),
    ("example/in\"}", "example/in\", headers: {Host: x}}", code::REQUEST, 10, "set by the transport alone"),
    ("example/in\"}", "example/in\", headers: {content-length: '1'}}", code::REQUEST, 10, "set by the transport alone"),
    (
        "example/in\"}",
        "example/in\", headers: {Transfer-Encoding: x}}",
        code::REQUEST,
        10,
        "set by the transport alone",
    ),
    ("example/in\"}", "example/in\", headers: {connection: x}}", code::REQUEST, 10, "set by the transport alone"),
    ("example/in\"}", "example/in\", headers: {Idempotency-Key: x}}", code::REQUEST, 10, "set by the transport alone"),
    ("example/in\"}", "example/in\", headers: {consign-attempt: x}}", code::REQUEST, 10, "set by the transport alone"),
    ("example/in\"}", "example/in\", headers: {webhook-id: x}}", code::REQUEST, 10, "set by the transport alone"),
    ("example/in\"}", "example/in\", headers: {Authorization: x}}", code::REQUEST, 10, "a secret"),
    ("example/in\"}", "example/in\", headers: {\"a b\": x}}", code::REQUEST, 10, "no header name"),
    ("example/in\"}", "example/in\", headers: {x-a: \"1\\r\\nx-b: 2\"}}", code::REQUEST, 10, "line break"),
    ("example/in\"}", "example/in\", headers: {x-a: x, X-A: y}}", code::REQUEST, 10, "is there twice"),
    ("example/in\"}", "example/in\", headers: {x-a: =dta.x}}", code::EXPRESSION, 10, "`dta` is not declared"),
    ("example/in\"}", "example/in\", headers: {x-a: =attempt}}", code::EXPRESSION, 10, "`attempt` is not declared"),
    ("example/in\"}", "example/in\", headers: {x-a: =status}}", code::EXPRESSION, 10, "`status` is not declared"),
    (
        "example/in\"}",
        "example/in\", headers: {content-type: =data.x}}",
        code::REQUEST,
        10,
        "content-type is written out",
    ),
    ("example/in\"}", "example/in\", headers: {x-a: ü}}", code::REQUEST, 10, "outside ASCII"),
];

const PARTS: &[Case] = &[
    ("example/in\"}", "example/in\", path: a}", code::ILLEGAL_VALUE, 10, "a list stands here"),
    ("example/in\"}", "example/in\", path: []}", code::REQUEST, 10, "1 to 32 segments"),
    ("example/in\"}", "example/in\", path: [a, '..']}", code::REQUEST, 10, "neither empty nor"),
    ("example/in\"}", "example/in\", path: ['']}", code::REQUEST, 10, "neither empty nor"),
    ("example/in\"}", "example/in\", path: [{a: b}]}", code::REQUEST, 10, "not a mapping"),
    ("example/in\"}", "example/in\", path: [[a]]}", code::REQUEST, 10, "not a list"),
    ("example/in\"}", "example/in\", path: [=attempt]}", code::EXPRESSION, 10, "`attempt` is not declared"),
    ("example/in\"}", "example/in\", query: x}", code::REQUEST, 10, "1 to 32 parameters"),
    ("example/in\"}", "example/in\", query: {'': x}}", code::REQUEST, 10, "a parameter's name"),
    ("example/in\"}", "example/in\", query: {a: {b: c}}}", code::REQUEST, 10, "not a mapping"),
    ("example/in\"}", "example/in\", query: {a: [[b]]}}", code::REQUEST, 10, "not a list"),
    ("example/in\"}", "example/in\", query: {a: ~}}", code::REQUEST, 10, "not nothing"),
    ("owner: team-a", "owner: x, envelope: soap", code::ILLEGAL_VALUE, 10, "none of none and cloudevents"),
    ("owner: team-a", "owner: x, envelope: {attributes: {a: b}}", code::MISSING_KEY, 10, "`cloudevents` is missing"),
    ("owner: team-a", "owner: x, envelope: {cloudevents: batch}", code::ILLEGAL_VALUE, 10, "structured and binary"),
    ("owner: team-a", "owner: x, envelope: {cloudevents: binary, id: x}", code::UNKNOWN_KEY, 10, "`id` is no key"),
    (
        "owner: team-a",
        "owner: x, envelope: {cloudevents: binary, attributes: {id: x}}",
        code::ILLEGAL_NAME,
        10,
        "follows from the file",
    ),
    (
        "owner: team-a",
        "owner: x, envelope: {cloudevents: binary, attributes: {data-ref: x}}",
        code::ILLEGAL_NAME,
        10,
        "[a-z0-9]",
    ),
    (
        "owner: team-a",
        "owner: x, envelope: {cloudevents: binary, attributes: {type: ''}}",
        code::ILLEGAL_VALUE,
        10,
        "not empty",
    ),
    (
        "owner: team-a",
        "owner: x, envelope: {cloudevents: binary, attributes: {}}",
        code::ILLEGAL_VALUE,
        10,
        "a mapping of 1 to 32",
    ),
    (
        "http: {url: \"https://a.example/in\"}",
        "envelope: cloudevents, http: {url: \"https://a.example/in\", headers: {ce-id: x}}",
        code::REQUEST,
        10,
        "the envelope's to set",
    ),
    ("schema: one.json}", "format: avro}", code::MISSING_KEY, 6, "needs `avro`"),
    (
        "schema: one.json}",
        "avro: {schema: one.avsc, subject: s, version: 1, id: 7}}",
        code::ILLEGAL_VALUE,
        6,
        "`avro` goes with",
    ),
    (
        "schema: one.json}",
        "format: avro, avro: {schema: one.avsc, subject: s, version: 1}}",
        code::MISSING_KEY,
        6,
        "`id` is missing",
    ),
    (
        "schema: one.json}",
        "format: avro, avro: {schema: one.avsc, subject: s, version: 0, id: 7}}",
        code::ILLEGAL_VALUE,
        6,
        "an integer from 1",
    ),
    (
        "schema: one.json}",
        "format: avro, avro: {schema: one.avsc, subject: '', version: 1, id: 7}}",
        code::ILLEGAL_NAME,
        6,
        "a subject has",
    ),
    (
        "schema: one.json}",
        "format: avro, avro: {schema: map.avsc, subject: s, version: 1, id: 7}}",
        code::SCHEMA,
        6,
        "has no order",
    ),
    (
        "schema: one.json}",
        "format: avro, avro: {schema: gone.avsc, subject: s, version: 1, id: 7}}",
        code::UNDEFINED_NAME,
        6,
        "no file `gone.avsc`",
    ),
    ("concurrency: 8", "envelope: soap", code::ILLEGAL_VALUE, 8, "none of none and cloudevents"),
    ("two: {from: one, ", "two: {format: file, ", code::ILLEGAL_VALUE, 7, "`remove` doesn't go with"),
    (
        "{from: one, remove: [/tier], set: {/channel: partner}}",
        "{format: file}\n  three: {from: two}",
        code::ILLEGAL_VALUE,
        8,
        "nothing can be derived",
    ),
];

/// What is edited, into what, at two places; the code, the line, and words of the message.
type Edits = (&'static [(&'static str, &'static str)], &'static str, usize, &'static str);

const ROUTES: &[Edits] = &[
    (
        &[("example/in\"}", "example/in\", method: DELETE}, envelope: cloudevents"), (", payload: one}", "}")],
        code::REQUEST,
        10,
        "`DELETE` carries no body that an envelope",
    ),
    (
        &[(FROM_ONE, "{format: file}"), ("http: {url: \"https://b.example/in\"}", "kafka: {topic: t}")],
        code::REQUEST,
        14,
        "a record holds no file",
    ),
    (
        &[(FROM_ONE, "{format: file}"), ("http: {url: \"https://b", "webhook: {sign_with: k, url: \"https://b")],
        code::REQUEST,
        14,
        "signed",
    ),
    (
        &[(FROM_ONE, "{format: file}"), ("owner: team-b", "owner: team-b, envelope: cloudevents")],
        code::REQUEST,
        14,
        "make it binary",
    ),
];
const FROM_ONE: &str = "{from: one, remove: [/tier], set: {/channel: partner}}";

#[test]
fn a_route_leads_only_where_its_payload_can_go() {
    for (edits, code, line, text) in ROUTES {
        let document = edits.iter().fold(BASE.to_owned(), |document, (from, to)| {
            assert!(document.contains(from), "{from}");
            document.replacen(from, to, 1)
        });
        let errors = errors(&document);
        let found = errors.iter().any(|e| e.code == *code && e.line == *line && e.to_string().contains(text));
        assert!(found, "{text}: {}", support::lines(&errors));
    }
    let streamed = edited(FROM_ONE, "{format: file}");
    assert_eq!(support::lines(&errors(&streamed)), "");
    let bodyless = edited("example/in\"}", "example/in\", method: DELETE}").replacen(", payload: one}", "}", 1);
    assert_eq!(support::lines(&errors(&bodyless)), "");
}

#[test]
fn every_fault_is_refused_with_its_code_and_its_line() {
    for (from, to, code, line, text) in [STRUCTURE, NAMES, EXPRESSIONS, TARGETS, PARTS].concat() {
        let errors = errors(&edited(from, to));
        let found = errors.iter().any(|e| e.code == code && e.line == line && e.to_string().contains(text));
        assert!(found, "{from} -> {to} should give {code} on line {line}:\n{}", support::lines(&errors));
        // What is wrong is said once, and causes no other message but that something is unused or missing now.
        assert!(errors.len() <= 3, "{from} -> {to}:\n{}", support::lines(&errors));
    }
}

#[test]
fn every_code_at_load_has_a_case() {
    let cases = [STRUCTURE, NAMES, EXPRESSIONS, TARGETS].concat();
    for code in code::ALL.iter().filter(|code| **code < code::MANIFEST && **code != code::DOCUMENT_SIZE) {
        assert!(cases.iter().any(|case| case.2 == *code), "{code}");
    }
}

#[test]
fn all_errors_come_at_once_and_in_order() {
    let document = BASE
        .replace("deadline: 2d", "deadline: soon")
        .replace("owner: team-a, ", "")
        .replace("{to: b,", "{to: bb,")
        .replace("=data.id", "=dat.id");
    let lines: Vec<usize> = errors(&document).iter().map(|error| error.line).collect();
    assert_eq!(lines, [2, 6, 10, 14]);
    let first = errors(&document).remove(0).to_string();
    assert!(first.starts_with("routing.yaml:2:45: CG105 "), "{first}");
}

#[test]
fn a_document_of_more_than_4_mib_is_refused() {
    let mut sources = sources(BASE);
    sources.files.insert("large.csv".to_owned(), "x".repeat(MAX_DOCUMENT_BYTES));
    let errors = load(&sources).unwrap_err();
    assert_eq!(errors.iter().map(|e| e.code).collect::<Vec<_>>(), [code::DOCUMENT_SIZE]);
}

#[test]
fn what_is_risky_is_warned_about() {
    let warnings = |document: &str| load(&sources(document)).unwrap().warnings;
    for (from, to, code, line, text) in [
        ("{acks: 1h}", "transport", code::CONFIRMED_BY_TRANSPORT, 11, "delivery alone"),
        ("{acks: 1h}", "{transport: true, rejected_status: [409]}", code::CONFIRMED_BY_TRANSPORT, 11, "delivery alone"),
        ("{use: two}", "{use: one}", code::UNUSED, 7, "no route uses the payload `two`"),
        ("{to: b, after: [a], payload:", "{to: a, payload:", code::UNUSED, 11, "no route leads to the target `b`"),
        (
            ", tier: \"=lookup('accounts', data.id).tier\"",
            ", tier: x",
            code::UNUSED,
            4,
            "no expression reads the table",
        ),
        ("file.type == 'invoice'", "file.type == 'invoise'", code::NEVER_MATCHES, 13, "`a` can never match"),
        ("file.type == 'invoice'", "file.type in ['invoice', 'x']", code::NEVER_MATCHES, 13, "the file type `x`"),
        ("file.type == 'invoice'", "data.x == 1 && false", code::NEVER_MATCHES, 13, "`a` can never match"),
        ("deadline: 2d", "deadline: 10m", code::OUTLASTS_DEADLINE, 10, "longer than a file of type `invoice`"),
    ] {
        let mut document = edited(from, to);
        if to.starts_with("{to: a") {
            document = document.replace("  - {to: a, when: \"file.type == 'invoice'\", payload: one}\n", "");
        }
        let warnings = warnings(&document);
        let found = warnings.iter().any(|w| w.code == code && w.line == line && w.text.contains(text));
        assert!(found, "{from} -> {to}:\n{}", support::lines(&warnings));
    }
}

#[test]
fn the_digest_is_of_what_is_said_and_not_of_how() {
    let digest = |sources: &Sources| load(sources).unwrap().document.digest().to_owned();
    let base = digest(&sources(BASE));
    let reordered = BASE.replace(
        "{schema: invoice.json, deadline: 2d}",
        "# a comment\n    {deadline: \"2d\",\n     schema: 'invoice.json'}",
    );
    assert_eq!(digest(&sources(&reordered)), base);
    let mut spaced = sources(BASE);
    spaced.files.insert("invoice.json".to_owned(), "{ \"type\":\n\"object\" }".to_owned());
    assert_eq!(digest(&spaced), base);
    assert_eq!(digest(&Sources { name: "other.yaml".to_owned(), ..sources(BASE) }), base);

    let mut other_table = sources(BASE);
    other_table.files.insert("accounts.csv".to_owned(), "id,tier\na,silver\n".to_owned());
    let mut other_schema = sources(BASE);
    other_schema.files.insert("one.json".to_owned(), "{}".to_owned());
    let other_document = sources(&edited("concurrency: 8", "concurrency: 9"));
    for other in [other_table, other_schema, other_document] {
        assert_ne!(digest(&other), base);
    }
}

#[test]
fn targets_inherit_key_by_key() {
    let document = BASE
        .replace("{concurrency: 8}", "{concurrency: 8, on_unknown: retry, retry: {attempts: 5, jitter: 0}}")
        .replace("owner: team-a,", "owner: team-a, concurrency: 2, retry: {jitter: 7},");
    let document = load(&sources(&document)).unwrap().document;
    let (a, b) = (document.target("a").unwrap(), document.target("b").unwrap());
    assert_eq!((a.policy.concurrency, b.policy.concurrency), (2, 8));
    assert_eq!((a.policy.retry.attempts, a.policy.retry.jitter_percent), (5, 7));
    assert_eq!((b.policy.retry.attempts, b.policy.retry.jitter_percent), (5, 0));
    assert_eq!(b.policy.retry.schedule_ms[..3], [1_000, 5_000, 30_000]);
    assert_eq!(b.policy.confirmed_by.limit_ms, Some(3_600_000));
    assert_eq!(document.targets()[0].owner, "team-a");
}

#[test]
fn back_offs_that_grow_are_the_list_that_they_stand_for() {
    let schedule = |retry: &str| {
        let document = load(&sources(&edited("concurrency: 8", retry))).unwrap().document;
        document.target("a").unwrap().policy.retry.schedule_ms.clone()
    };
    let doubling = schedule("retry: {exponential: {first: 500ms, max: 5s}}");
    assert_eq!(doubling, [500, 1_000, 2_000, 4_000, 5_000]);
    assert_eq!(schedule("retry: {exponential: {first: 3ms, factor: 1.5, max: 10ms}}"), [3, 4, 6, 9, 10]);
    assert_eq!(schedule("retry: {exponential: {first: 1s, max: 1s}}"), [1_000]);
    // The target's word of either kind comes first.
    let own = edited("concurrency: 8", "retry: {exponential: {first: 1s, max: 1h}}");
    let own = own.replace("owner: team-a,", "owner: team-a, retry: {schedule: [7s]},");
    let document = load(&sources(&own)).unwrap().document;
    assert_eq!(document.target("a").unwrap().policy.retry.schedule_ms, [7_000]);
}

#[test]
fn owner_and_confirmation_may_be_said_for_all_targets() {
    let document =
        edited("concurrency: 8", "owner: team-all, confirmed_by: {response: status == 201}, envelope: cloudevents");
    let document = document.replace("owner: team-a, ", "").replace(", confirmed_by: {response: \"status == 200\"}", "");
    let document = load(&sources(&document)).unwrap_or_else(|errors| panic!("{}", support::lines(&errors))).document;
    let (a, b) = (document.target("a").unwrap(), document.target("b").unwrap());
    assert_eq!((a.owner.as_str(), b.owner.as_str()), ("team-all", "team-b"));
    assert_eq!(a.policy.confirmed_by.succeeded.as_deref(), Some("status == 201"));
    assert_eq!(b.policy.confirmed_by.within_ms, Some(3_600_000));
}

#[test]
fn what_a_target_does_not_say_has_the_documented_default() {
    let document = load(&sources(&edited("target_defaults: {concurrency: 8}\n", ""))).unwrap().document;
    let policy = &document.target("a").unwrap().policy;
    assert_eq!((policy.on_unknown, policy.on_overdue), (OnUnknown::Hold, OnOverdue::Hold));
    assert_eq!((policy.on_exhausted, policy.on_failed), (OnExhausted::Hold, OnFailed::Settle));
    let retry = Retry {
        attempts: 8,
        operator_attempts: 3,
        refusals: 3,
        schedule_ms: vec![1_000, 5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000],
        jitter_percent: 20,
        give_up_after_ms: None,
        retry_after_max_ms: 3_600_000,
    };
    assert_eq!(policy.retry, retry);
    let timeouts = Timeouts { send_within_ms: 30_000, request_ms: 30_000, max_clock_skew_ms: 5_000 };
    assert_eq!(policy.timeouts, timeouts);
    assert_eq!(policy.escalation, Escalation { first_ms: 3_600_000, max_ms: 86_400_000 });
    assert!(policy.operator_confirm);
    assert_eq!(policy.concurrency, 32);
}
