//! The JSON Schema of a routing document, for editors. What it accepts may still be refused: names, expressions and what only the
//! whole shows are for loading to say. What loads, it accepts.

use serde_json::{Map, Value as Json, json};

/// The schema: draft 2020-12.
pub fn json_schema() -> Json {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "consign routing document",
        "description": "Which file goes to which targets, as what, and what holds for it there: docs/routing.md",
        "type": "object",
        "properties": {
            "file_types": named(&reference("file_type"), "What a file may be."),
            "tables": named(&reference("file"), "CSV files for lookup('name', key); the first column is the key."),
            "payloads": named(&reference("payload"), "Request bodies."),
            "target_defaults": object(defaults(), &[]),
            "targets": named(&reference("target"), "Who receives."),
            "routes": {"type": "array", "items": reference("route"), "description": "One route for each target."},
        },
        "required": ["file_types", "targets", "routes"],
        "additionalProperties": false,
        "$defs": definitions(),
    })
}

fn reference(name: &str) -> Json {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn or_null(schema: &Json) -> Json {
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// A mapping of names. A key without a value is as good as absent.
fn named(value: &Json, description: &str) -> Json {
    json!({"type": ["object", "null"], "additionalProperties": value, "description": description})
}

/// A mapping of these keys, each of which may be without a value where it isn't required.
fn object(fields: Vec<(&str, Json)>, required: &[&str]) -> Json {
    let properties: Map<String, Json> = fields
        .into_iter()
        .map(|(key, schema)| (key.to_owned(), if required.contains(&key) { schema } else { or_null(&schema) }))
        .collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn one_of(words: &[&str]) -> Json {
    json!({"enum": words})
}

fn integer(least: i64, most: i64) -> Json {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

fn list(items: &Json) -> Json {
    json!({"type": "array", "items": items})
}

fn text() -> Json {
    json!({"type": "string"})
}

fn definitions() -> Json {
    let duration = json!({"type": "string", "pattern": "[0-9]", "description": "such as 500ms, 30s, 10m, 2h, 7d"});
    let file = json!({"type": "string", "pattern": "^[A-Za-z0-9._/-]+$", "description": "a file beside the document"});
    let expression = json!({"type": "string", "description": "a CEL expression, without ="});
    let secret =
        json!({"type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*$", "description": "a secret's name"});
    let content = object(
        vec![
            ("format", one_of(&["json", "ndjson", "csv"])),
            ("max_size", json!({"type": "integer", "minimum": 1, "maximum": super::MAX_CONTENT})),
            ("attempts", json!({"type": "integer", "minimum": 1, "maximum": 100})),
            ("schedule", list(&reference("duration"))),
            ("within", reference("duration")),
        ],
        &[],
    );
    let file_type = object(
        vec![
            ("schema", reference("file")),
            ("deadline", reference("duration")),
            ("content", content),
            ("description", text()),
        ],
        &[],
    );
    let number = || integer(1, i64::from(i32::MAX));
    let registered = object(
        vec![("schema", reference("file")), ("subject", text()), ("version", number()), ("id", number())],
        &["schema", "subject", "version", "id"],
    );
    let payload = object(
        vec![
            ("body", json!(true)),
            ("from", text()),
            ("remove", list(&json!({"type": "string", "pattern": "^/"}))),
            ("set", json!({"type": "object", "propertyNames": {"pattern": "^/"}})),
            ("format", one_of(&["json", "form", "avro", "file"])),
            ("schema", reference("file")),
            ("avro", registered),
            ("description", text()),
        ],
        &[],
    );
    let choice = object(vec![("when", reference("expression")), ("use", text())], &["use"]);
    let route = object(
        vec![
            ("to", text()),
            ("when", reference("expression")),
            ("after", list(&text())),
            (
                "payload",
                json!({
                    "anyOf": [text(), {"type": "array", "items": choice, "minItems": 1}],
                    "description": "not for a target whose requests carry no body",
                }),
            ),
        ],
        &["to"],
    );
    json!({
        "duration": duration,
        "file": file,
        "expression": expression,
        "secret": secret,
        "file_type": file_type,
        "payload": payload,
        "route": route,
        "target": target(),
        "http": object(http(true), &["url"]),
        "webhook": webhook(),
        "kafka": kafka(),
        "envelope": envelope(),
        "confirmed_by": confirmed_by(),
        "exponential": object(
            vec![
                ("first", reference("duration")),
                ("factor", json!({"type": "number", "minimum": 1.1, "maximum": 10})),
                ("max", reference("duration")),
            ],
            &["first", "max"],
        ),
        "auth": auth(),
        "tls": object(vec![("certificate", reference("secret")), ("key", reference("secret")), ("ca", reference("secret"))], &[]),
    })
}

fn target() -> Json {
    let mut fields = vec![
        ("owner", text()),
        ("description", text()),
        ("http", reference("http")),
        ("webhook", reference("webhook")),
        ("kafka", reference("kafka")),
        ("envelope", reference("envelope")),
        ("confirmed_by", reference("confirmed_by")),
    ];
    fields.extend(policy());
    object(fields, &[])
}

fn http(with_method: bool) -> Vec<(&'static str, Json)> {
    let mut fields = vec![
        ("url", json!({"type": "string", "pattern": "^https?:"})),
        ("headers", json!({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 32})),
        ("path", json!({"type": "array", "items": scalar(), "minItems": 1, "maxItems": 32})),
        (
            "query",
            json!({
                "type": "object",
                "additionalProperties": {"anyOf": [scalar(), list(&scalar())]},
                "minProperties": 1,
                "maxProperties": 32,
            }),
        ),
        ("auth", reference("auth")),
        ("tls", reference("tls")),
    ];
    if with_method {
        fields.push(("method", one_of(&["POST", "PUT", "PATCH", "GET", "HEAD", "DELETE", "OPTIONS"])));
    }
    fields
}

/// A text (an expression where it begins with `=`), a number or a boolean.
fn scalar() -> Json {
    json!({"type": ["string", "number", "boolean"]})
}

/// What `target_defaults` may say.
fn defaults() -> Vec<(&'static str, Json)> {
    let more = [("owner", text()), ("confirmed_by", reference("confirmed_by")), ("envelope", reference("envelope"))];
    policy().into_iter().chain(more).collect()
}

fn envelope() -> Json {
    let attributes = json!({
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9]{1,20}$"},
        "additionalProperties": scalar(),
        "minProperties": 1,
        "maxProperties": 32,
    });
    let event =
        object(vec![("cloudevents", one_of(&["structured", "binary"])), ("attributes", attributes)], &["cloudevents"]);
    json!({"anyOf": [one_of(&["none", "cloudevents"]), event]})
}

fn webhook() -> Json {
    let mut fields = http(false);
    fields.push(("sign_with", json!({"anyOf": [reference("secret"), list(&reference("secret"))]})));
    object(fields, &["url", "sign_with"])
}

fn kafka() -> Json {
    let fields = vec![
        ("topic", json!({"type": "string", "pattern": "^[A-Za-z0-9._-]{1,249}$"})),
        ("cluster", text()),
        ("in_transaction", json!({"type": "boolean"})),
        ("key", json!(true)),
        ("headers", json!({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 32})),
    ];
    object(fields, &["topic"])
}

fn auth() -> Json {
    let secret = || reference("secret");
    let basic = object(vec![("user", text()), ("password", secret())], &["user", "password"]);
    let oauth2 = object(
        vec![
            ("token_url", text()),
            ("client_id", text()),
            ("client_secret", secret()),
            ("scope", text()),
            ("audience", text()),
        ],
        &["token_url", "client_id", "client_secret"],
    );
    object(vec![("bearer", secret()), ("basic", basic), ("oauth2", oauth2)], &[])
}

fn confirmed_by() -> Json {
    let rule = || reference("expression");
    let rules = object(
        vec![("succeeded", rule()), ("duplicate", rule()), ("rejected", rule()), ("retryable", rule())],
        &["succeeded"],
    );
    let timed = object(
        vec![
            ("within", reference("duration")),
            ("limit", reference("duration")),
            ("token", json!({"type": "boolean"})),
        ],
        &["within"],
    );
    let timed = json!({"anyOf": [reference("duration"), timed]});
    let called_back = object(
        vec![("within", reference("duration")), ("limit", reference("duration")), ("verify_with", reference("secret"))],
        &["within"],
    );
    let statuses = list(&integer(300, 599));
    let full = object(
        vec![
            ("response", json!({"anyOf": [rule(), rules]})),
            ("acks", timed),
            ("callback", json!({"anyOf": [reference("duration"), called_back]})),
            ("transport", json!({"const": true})),
            ("rejected", rule()),
            ("retryable", rule()),
            ("rejected_status", statuses.clone()),
            ("not_processed", statuses),
        ],
        &[],
    );
    json!({"anyOf": [{"const": "transport"}, full]})
}

fn policy() -> Vec<(&'static str, Json)> {
    let duration = || reference("duration");
    let retry = vec![
        ("attempts", integer(1, 1_000)),
        ("operator_attempts", integer(0, 1_000)),
        ("refusals", integer(1, 1_000)),
        ("schedule", json!({"type": "array", "items": duration(), "minItems": 1, "maxItems": 64})),
        ("exponential", reference("exponential")),
        ("jitter", integer(0, 100)),
        ("give_up_after", duration()),
        ("retry_after_max", duration()),
    ];
    let timeouts = vec![("send_within", duration()), ("request", duration()), ("max_clock_skew", duration())];
    vec![
        ("receipt", one_of(&["none", "digest"])),
        ("on_unknown", one_of(&["hold", "retry"])),
        ("on_overdue", one_of(&["hold", "retry", "fail"])),
        ("on_exhausted", one_of(&["hold", "fail"])),
        ("on_failed", one_of(&["settle", "cancel"])),
        ("retry", object(retry, &[])),
        ("timeouts", object(timeouts, &[])),
        ("escalation", object(vec![("first", duration()), ("max", duration())], &[])),
        ("operator_confirm", json!({"type": "boolean"})),
        ("concurrency", integer(1, 10_000)),
        ("rate", json!({"type": "string", "pattern": "^([1-9][0-9]{0,3}|10000)/[smh]$"})),
    ]
}
