//! What the commands answer that are for those who build receivers: `receiver`, `certify`.

use serde_json::{Value, json};

use super::{Definitions, add, object, or_null};

/// An object of which `what` says which it is.
fn line(what: &str, fields: &[(&str, Value)]) -> Value {
    let mut all = vec![("what", json!({"const": what}))];
    all.extend(fields.iter().cloned());
    object(&all)
}

/// Adds their definitions.
pub(super) fn define(definitions: &mut Definitions) {
    let text = json!({"type": "string"});
    let integer = json!({"type": "integer"});
    let digest = json!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"});
    let request = line(
        "request",
        &[
            ("at", integer.clone()),
            ("target", text.clone()),
            ("idempotency_key", text.clone()),
            ("attempt", or_null(&integer)),
            ("method", text.clone()),
            ("path", text.clone()),
            ("headers", json!({"type": "object", "additionalProperties": text})),
            ("body_digest", digest.clone()),
            ("body_bytes", integer.clone()),
            ("signature", json!({"enum": ["unchecked", "valid", "stale", "invalid", "absent"]})),
            ("digest", json!({"enum": ["absent", "valid", "invalid"]})),
            ("repeat", json!({"enum": ["first", "duplicate", "conflict", "unknown"]})),
            ("earlier", integer.clone()),
        ],
    );
    let taken = line(
        "taken",
        &[
            ("at", integer.clone()),
            ("target", text.clone()),
            ("idempotency_key", text.clone()),
            ("body_digest", digest),
        ],
    );
    let report = line(
        "report",
        &[
            ("at", integer.clone()),
            ("idempotency_key", text.clone()),
            ("outcome", text.clone()),
            ("status", or_null(&integer)),
            ("why", or_null(&text)),
        ],
    );
    let ack = line("ack", &[("at", integer.clone()), ("idempotency_key", text.clone()), ("outcome", text.clone())]);
    let check = object(&[
        ("name", text.clone()),
        ("verdict", json!({"enum": ["passed", "failed", "unseen", "left_out"]})),
        ("text", text.clone()),
    ]);
    let certified = object(&[
        ("target", text.clone()),
        ("url", text.clone()),
        ("confirmed_by", json!({"enum": ["response", "callback", "acks", "transport"]})),
        ("certified", json!({"type": "boolean"})),
        ("requests", integer),
        ("checks", json!({"type": "array", "items": check})),
        ("cannot_see", json!({"type": "array", "items": text})),
    ]);
    add(definitions, "Certified", certified);
    let listening = line("listening", &[("url", text)]);
    add(definitions, "ReceiverLine", json!({"anyOf": [listening, request, taken, report, ack]}));
}
