//! The JSON Schemas of what the client commands print, and the `OpenAPI` document. Both stand under `docs/api`; a test
//! fails when they differ from what this file makes of the records' Avro schemas and of the gateway's routes.

use serde_json::{Map, Value, json};

use crate::cli::exit::Exit;
use crate::gateway::problem::Code;
use crate::gateway::{ROUTES, Role};
use crate::record::Topic;

mod administration;
mod foreseen;
mod receiving;

type Definitions = Map<String, Value>;

/// Every schema by command: (`status`, its schema), ...
pub fn schemas() -> Vec<(&'static str, Value)> {
    let mut definitions = definitions();
    administration::define(&mut definitions);
    foreseen::define(&mut definitions);
    receiving::define(&mut definitions);
    [
        ("submit", "Submitted"),
        ("status", "FileState"),
        ("history", "HistoryOfFile"),
        ("ls", "FilePage"),
        ("intervene", "Judged"),
        ("resubmit", "Judged"),
        ("dead-letters-ls", "DeadLetters"),
        ("dead-letters-show", "DeadLetterAnswer"),
        ("dead-letters-reinject", "Reinjected"),
        ("targets-ls", "Targets"),
        ("targets-change", "TargetChanges"),
        ("failure", "CommandFailure"),
        ("topics-apply", "TopicsApplied"),
        ("topics-check", "TopicsChecked"),
        ("topics-acls", "TopicsAcls"),
        ("schemas-register", "SchemasRegistered"),
        ("schemas-check", "SchemasChecked"),
        ("routing-check", "RoutingChecked"),
        ("routing-apply", "RoutingApplied"),
        ("routing-diff", "RoutingDiff"),
        ("routing-schema", "RoutingSchema"),
        ("plan", "Foreseen"),
        ("simulate", "Simulated"),
        ("explain", "Explanation"),
        ("offsets-repair", "OffsetsRepaired"),
        ("verify", "Verified"),
        ("machine", "Machine"),
        ("demo", "Demo"),
        ("dev", "Serving"),
        ("run", "Serving"),
        ("receiver", "ReceiverLine"),
        ("certify", "Certified"),
        ("watch", "Watched"),
        ("completions", "Completions"),
    ]
    .into_iter()
    .map(|(command, root)| {
        let mut needed = Definitions::new();
        collect(&reference(root), &definitions, &mut needed);
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": root,
            "$ref": format!("#/$defs/{root}"),
            "$defs": needed,
        });
        (command, schema)
    })
    .collect()
}

/// The `OpenAPI` document of the gateway.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for (method, path, role) in ROUTES {
        let item = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        item[method.to_ascii_lowercase()] = operation(method, path, *role);
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "consign",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Submit files, look at them, intervene. Times are milliseconds since 1970-01-01T00:00:00Z. \
                Every answer under /v1 carries Consign-View-Age-Ms and Consign-View-Caught-Up.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    });
    moved_to_components(document)
}

/// What a route takes and gives.
struct Operation {
    summary: &'static str,
    body: Option<&'static str>,
    answers: &'static [(u16, Option<&'static str>)],
    query: &'static [&'static str],
}

fn describe(method: &str, path: &str) -> Operation {
    let (summary, body, answers, query): (_, _, &[(u16, Option<&str>)], &[&str]) = match (method, path) {
        ("POST", "/v1/files") => (
            "Submit a file and wait for its end: 200 with the terminal state, 202 with the state so far.",
            Some("Submission"),
            &[(200, Some("FileState")), (202, Some("FileSoFar"))],
            &["wait"],
        ),
        ("GET", "/v1/files") => (
            "Files, oldest first.",
            None,
            &[(200, Some("FilePage"))],
            &["held", "overdue", "owner", "target", "state", "limit", "after"],
        ),
        ("GET", "/v1/files/{file_id}") => (
            "The state of a file; with `wait`, once it has that `version`.",
            None,
            &[(200, Some("FileState"))],
            &["wait", "version"],
        ),
        ("GET", "/v1/files/{file_id}/history") => (
            "Everything recorded about a file. Reads its home partition: not for dashboards.",
            None,
            &[(200, Some("HistoryOfFile"))],
            &[],
        ),
        ("GET", "/v1/files/{file_id}/explain") => (
            "What is next and when, who must act, and what each outcome and each intervention would lead to. Reads the file's \
             home partition: not for dashboards.",
            None,
            &[(200, Some("Explanation"))],
            &[],
        ),
        (_, "/v1/files/{file_id}/interventions") => (
            "Cancel or resubmit a file: 200 once judged, 202 if not yet.",
            Some("RequestedAction"),
            &[(200, Some("Judged")), (202, Some("Judged"))],
            &["wait"],
        ),
        (_, "/v1/files/{file_id}/dispatches/{target}/interventions") => (
            "Retry, confirm or fail a dispatch: 200 once judged, 202 if not yet.",
            Some("RequestedAction"),
            &[(200, Some("Judged")), (202, Some("Judged"))],
            &["wait"],
        ),
        (_, "/v1/targets") => ("Every target: its pauses and what is open.", None, &[(200, Some("Targets"))], &[]),
        (_, "/v1/targets/{target}/pause") => {
            ("Send nothing to a target until it is resumed.", Some("Reason"), &[(200, Some("TargetChange"))], &[])
        }
        (_, "/v1/targets/{target}/resume") => (
            "End every pause of a target, the engine's and people's.",
            Some("Reason"),
            &[(200, Some("TargetChange"))],
            &[],
        ),
        (_, "/v1/dead-letters") => ("The newest dead letters.", None, &[(200, Some("DeadLetters"))], &["limit"]),
        (_, "/v1/dead-letters/{partition}/{offset}") => {
            ("One dead letter with its bytes.", None, &[(200, Some("DeadLetterAnswer"))], &[])
        }
        (_, "/v1/dead-letters/{partition}/{offset}/reinject") => {
            ("Put a dead letter's bytes back on their topic.", Some("Reason"), &[(200, Some("Reinjected"))], &[])
        }
        (_, "/v1/callbacks/{file_id}/{target}") => (
            "A target reports on a dispatch, with the token that came with the request as bearer: 202 if not yet judged.",
            Some("Report"),
            &[(200, Some("Recorded")), (202, Some("Recorded"))],
            &["attempt", "receipt"],
        ),
        (_, "/metrics") => ("Metrics in the Prometheus text format.", None, &[(200, None)], &[]),
        (_, "/healthz") => ("The process answers.", None, &[(200, None)], &[]),
        (_, "/readyz") => {
            ("Whether the process can do its work.", None, &[(200, Some("Ready")), (503, Some("Ready"))], &[])
        }
        (method, path) => panic!("{method} {path} is not described"),
    };
    Operation { summary, body, answers, query }
}

fn operation(method: &str, path: &str, role: Option<Role>) -> Value {
    let described = describe(method, path);
    let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters
        .extend(described.query.iter().map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}})));
    let mut responses = Map::new();
    for (status, answer) in described.answers {
        let mut response = json!({"description": if *status == 202 { "Not finished yet." } else { "The answer." }});
        if let Some(answer) = answer {
            response["content"] = json!({"application/json": {"schema": reference(answer)}});
        }
        responses.insert(status.to_string(), response);
    }
    let problem = json!({"application/problem+json": {"schema": reference("Problem")}});
    responses.insert("default".into(), json!({"description": "A problem with a stable code.", "content": problem}));
    let mut operation = json!({"summary": described.summary, "parameters": parameters, "responses": responses});
    if let Some(body) = described.body {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": reference(body)}}});
    }
    if let Some(role) = role {
        operation["security"] = json!([{"token": []}]);
        operation["x-consign-role"] = serde_json::to_value(role).expect("a role is a word");
    }
    operation
}

/// Turns `#/$defs/` into the `OpenAPI` document's `#/components/schemas/`.
fn moved_to_components(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("#/$defs/", "#/components/schemas/")),
        Value::Array(items) => Value::Array(items.into_iter().map(moved_to_components).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, moved_to_components(value))).collect())
        }
        other => other,
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn or_null(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn list_of(name: &str) -> Value {
    json!({"type": "array", "items": reference(name)})
}

/// An object of exactly these fields, all of them there.
fn object(fields: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> = fields.iter().map(|(name, s)| ((*name).to_owned(), s.clone())).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// The records and everything that the gateway and the client commands make of them.
fn definitions() -> Definitions {
    let mut definitions = Definitions::new();
    for topic in [Topic::FileState, Topic::History, Topic::Arrivals, Topic::Plans, Topic::Attempts] {
        let text = topic.schema().expect("these topics have schemas");
        let avro: Value = serde_json::from_str(text).expect("a compiled-in schema is JSON");
        of_avro(&avro, &mut definitions);
    }
    let mut define = |name: &str, schema: Value| add(&mut definitions, name, schema);
    let text = json!({"type": "string"});
    let integer = json!({"type": "integer"});
    let boolean = json!({"type": "boolean"});
    define("Problem", problem());
    define("CommandFailure", failure(&text));
    define("Reason", object(&[("reason", text.clone())]));
    define("Ready", object(&[("ready", boolean.clone()), ("reasons", json!({"type": "array", "items": text}))]));
    define("FilePage", object(&[("files", list_of("FileState")), ("next", or_null(&text))]));
    define("NotYet", object(&[("file_id", text.clone()), ("state", json!({"type": "null"}))]));
    define("FileSoFar", json!({"anyOf": [reference("FileState"), reference("NotYet")]}));
    let submitted = [
        ("path", text.clone()),
        ("file_id", or_null(&text)),
        ("file", or_null(&reference("FileState"))),
        ("failure", or_null(&reference("CommandFailure"))),
    ];
    define("Submitted", object(&[("files", json!({"type": "array", "items": object(&submitted)}))]));
    define("HistoryOfFile", object(&[("file_id", text.clone()), ("entries", list_of("HistoryEntry"))]));
    define("HistoryEntry", history_entry());
    define("Submission", submission());
    define("RequestedAction", requested_action());
    let judged = [
        ("intervention_id", text.clone()),
        ("judgement", or_null(&reference("Judgement"))),
        ("code", or_null(&text)),
        ("event", or_null(&reference("HistoryEvent"))),
        ("successor", or_null(&text)),
        ("file", reference("FileState")),
    ];
    define("Judged", object(&judged));
    define("Report", callback_report(&text, &integer));
    define("Recorded", object(&[("status", or_null(&reference("Status")))]));
    foreseen::define_explanation(&mut definitions, &text, &integer, &boolean);
    define_targets(&mut definitions, &text, &integer, &boolean);
    define_dead_letters(&mut definitions, &text, &integer);
    definitions
}

/// One name, one thing: a record of the same name would be lost.
fn add(definitions: &mut Definitions, name: &str, schema: Value) {
    let before = definitions.insert(name.to_owned(), schema);
    assert!(before.is_none(), "{name} is defined twice");
}

fn callback_report(text: &Value, integer: &Value) -> Value {
    let outcomes = ["ACCEPTED", "IN_PROGRESS", "SUCCEEDED", "DUPLICATE", "REJECTED", "RETRY_LATER"];
    let mut schema = object(&[
        ("outcome", json!({"enum": outcomes})),
        ("idempotency_key", or_null(text)),
        ("attempt", or_null(integer)),
        ("received_digest", or_null(text)),
        ("received_size", or_null(integer)),
        ("reference", or_null(text)),
        ("reason", or_null(text)),
    ]);
    schema["required"] = json!(["outcome"]);
    schema
}

fn define_targets(definitions: &mut Definitions, text: &Value, integer: &Value, boolean: &Value) {
    let pause = [
        ("by", json!({"enum": ["engine", "operator"]})),
        ("actor", text.clone()),
        ("reason", text.clone()),
        ("code", or_null(text)),
        ("since", integer.clone()),
    ];
    let target = [
        ("target", text.clone()),
        ("owner", or_null(text)),
        ("paused", boolean.clone()),
        ("pauses", json!({"type": "array", "items": object(&pause)})),
        (
            "dispatches",
            json!({"type": "object", "propertyNames": reference("Status"), "additionalProperties": integer}),
        ),
        ("oldest_open", or_null(integer)),
    ];
    add(definitions, "Target", object(&target));
    add(definitions, "Targets", object(&[("routing_digest", or_null(text)), ("targets", list_of("Target"))]));
    add(definitions, "TargetChange", object(&[("changed", boolean.clone()), ("target", reference("Target"))]));
    add(definitions, "TargetChanges", object(&[("changes", list_of("TargetChange"))]));
}

fn define_dead_letters(definitions: &mut Definitions, text: &Value, integer: &Value) {
    let summary = [
        ("partition", integer.clone()),
        ("offset", integer.clone()),
        ("at", integer.clone()),
        ("key", or_null(text)),
        ("reason", or_null(text)),
        ("detail", or_null(text)),
        ("topic", or_null(text)),
        ("from_partition", or_null(integer)),
        ("from_offset", or_null(integer)),
        ("value_size", or_null(integer)),
    ];
    add(definitions, "DeadLetter", object(&summary));
    add(definitions, "DeadLetters", object(&[("dead_letters", list_of("DeadLetter"))]));
    let pair = json!({"type": "array", "items": text, "minItems": 2, "maxItems": 2});
    let opened = [
        ("dead_letter", reference("DeadLetter")),
        ("headers", json!({"type": "array", "items": pair})),
        ("value_base64", or_null(text)),
        ("value_text", or_null(text)),
    ];
    add(definitions, "DeadLetterAnswer", object(&opened));
    let put_back = [("topic", text.clone()), ("partition", or_null(integer)), ("dead_letter", reference("DeadLetter"))];
    add(definitions, "Reinjected", object(&put_back));
}

fn failure(text: &Value) -> Value {
    let codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.code()).filter(|code| *code != 0).collect();
    object(&[
        ("exit", json!({"enum": codes})),
        ("code", or_null(text)),
        ("message", text.clone()),
        ("hint", or_null(text)),
    ])
}

fn problem() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    object(&[
        ("type", json!({"type": "string"})),
        ("title", json!({"type": "string"})),
        ("status", json!({"type": "integer"})),
        ("detail", json!({"type": "string"})),
        ("code", json!({"enum": codes})),
    ])
}

fn history_entry() -> Value {
    let kinds = [
        ("arrival", "Arrival"),
        ("plan", "PlannedDispatch"),
        ("attempt", "DispatchAttempt"),
        ("event", "HistoryEvent"),
    ];
    let entries: Vec<Value> = kinds
        .into_iter()
        .map(|(what, record)| {
            object(&[
                ("version", json!({"type": "integer"})),
                ("at", json!({"type": "integer"})),
                ("cause", reference("Cause")),
                ("target", or_null(&json!({"type": "string"}))),
                ("what", json!({"const": what})),
                ("record", reference(record)),
            ])
        })
        .collect();
    json!({"oneOf": entries})
}

/// `FileManifest`, of which the gateway fills in what is not there.
fn submission() -> Value {
    let avro: Value =
        serde_json::from_str(Topic::Manifests.schema().expect("manifests have a schema")).expect("it is JSON");
    let mut definitions = Definitions::new();
    of_avro(&avro, &mut definitions);
    let mut schema = definitions.remove("FileManifest").expect("the record of the topic");
    schema["required"] = json!(["file_id", "schema_version", "file_type", "name"]);
    schema["properties"]["data"] =
        json!({"description": "JSON that routing and payloads may read; a string is taken as the JSON text itself."});
    schema
}

fn requested_action() -> Value {
    let text = json!({"type": "string"});
    let mut schema = object(&[
        ("action", json!({"enum": ["cancel", "resubmit", "retry", "confirm", "fail"]})),
        ("reason", text.clone()),
        ("evidence", or_null(&text)),
        ("seen_version", or_null(&json!({"type": "integer"}))),
        ("intervention_id", or_null(&text)),
        ("resend_unknown", json!({"type": "boolean"})),
    ]);
    schema["required"] = json!(["action", "reason"]);
    schema
}

/// The JSON Schema of how serde writes what an Avro schema describes; named types go to `definitions`.
fn of_avro(avro: &Value, definitions: &mut Definitions) -> Value {
    match avro {
        Value::String(name) => match name.as_str() {
            "null" | "boolean" | "string" => json!({"type": name}),
            "int" | "long" => json!({"type": "integer"}),
            "float" | "double" => json!({"type": "number"}),
            "bytes" => json!({"type": "string", "contentEncoding": "base64"}),
            named => reference(named.rsplit('.').next().unwrap_or(named)),
        },
        Value::Array(branches) => {
            let branches: Vec<Value> = branches.iter().map(|branch| of_avro(branch, definitions)).collect();
            json!({"anyOf": branches})
        }
        Value::Object(schema) => match schema["type"].as_str() {
            Some("record") => of_record(schema, definitions),
            Some("enum") => {
                let name = schema["name"].as_str().unwrap_or_default();
                definitions.insert(name.to_owned(), json!({"enum": schema["symbols"], "description": schema["doc"]}));
                reference(name)
            }
            Some("array") => json!({"type": "array", "items": of_avro(&schema["items"], definitions)}),
            Some("map") => json!({"type": "object", "additionalProperties": of_avro(&schema["values"], definitions)}),
            _ => of_avro(&schema["type"], definitions),
        },
        other => panic!("{other} is no Avro schema"),
    }
}

fn of_record(record: &Map<String, Value>, definitions: &mut Definitions) -> Value {
    let name = record["name"].as_str().unwrap_or_default();
    let fields = record["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let described: Vec<(&str, Value)> = fields
        .iter()
        .map(|field| {
            let mut schema = of_avro(&field["type"], definitions);
            schema["description"] = field["doc"].clone();
            (field["name"].as_str().unwrap_or_default(), schema)
        })
        .collect();
    let mut schema = object(&described);
    schema["description"] = record["doc"].clone();
    definitions.insert(name.to_owned(), schema);
    reference(name)
}

/// Copies the definitions that a schema refers to, and those that they refer to.
fn collect(schema: &Value, from: &Definitions, into: &mut Definitions) {
    match schema {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"))
                && !into.contains_key(name)
            {
                let definition = from.get(name).unwrap_or_else(|| panic!("{name} is not defined")).clone();
                into.insert(name.to_owned(), definition.clone());
                collect(&definition, from, into);
            }
            fields.values().for_each(|value| collect(value, from, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, from, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::assert_generated;

    fn pretty(value: &Value) -> String {
        format!("{value:#}\n")
    }

    #[test]
    fn the_committed_schemas_are_those_of_the_code() {
        for (command, schema) in schemas() {
            assert_generated(&format!("docs/api/output/{command}.schema.json"), &pretty(&schema));
        }
    }

    #[test]
    fn the_committed_openapi_document_is_that_of_the_code() {
        assert_generated("docs/api/openapi.json", &pretty(&openapi()));
    }

    #[test]
    fn every_reference_of_the_openapi_document_resolves() {
        fn check(value: &Value, schemas: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                        let name = target.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{target}"));
                        assert!(schemas.get(name).is_some(), "{target} leads nowhere");
                    }
                    fields.values().for_each(|value| check(value, schemas));
                }
                Value::Array(items) => items.iter().for_each(|item| check(item, schemas)),
                _ => {}
            }
        }
        let document = openapi();
        check(&document, &document["components"]["schemas"]);
    }
}
