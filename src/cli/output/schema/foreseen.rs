//! What the commands answer that look ahead: `routing diff`, `plan`, `simulate`, `explain`.

use serde_json::{Value, json};

use super::{Definitions, add, list_of, object, or_null, reference};

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn any_of(schemas: &[Value]) -> Value {
    json!({"anyOf": schemas})
}

/// Adds the definitions of what needs no gateway.
pub(super) fn define(definitions: &mut Definitions) {
    let text = json!({"type": "string"});
    let integer = json!({"type": "integer"});
    let boolean = json!({"type": "boolean"});
    add(definitions, "RoutingSchema", json!({"type": "object", "required": ["$schema", "properties", "$defs"]}));
    define_diff(definitions, &text, &integer, &boolean);
    define_plan(definitions, &text);
    define_course(definitions, &text, &integer);
}

fn define_diff(definitions: &mut Definitions, text: &Value, integer: &Value, boolean: &Value) {
    let questions = ["routing", "state_machine", "idempotency", "acknowledgement", "retry_semantics"];
    let answers: Vec<(&str, Value)> = questions.iter().map(|question| (*question, boolean.clone())).collect();
    let change =
        object(&[("place", text.clone()), ("text", text.clone()), ("questions", list(&json!({"enum": questions})))]);
    let file = object(&[
        ("file_id", text.clone()),
        ("validation", or_null(text)),
        ("gained", list(text)),
        ("lost", list(text)),
        ("changed", list(text)),
    ]);
    let unproven = object(&[("file_id", text.clone()), ("why", text.clone())]);
    let history = object(&[("files", integer.clone()), ("changed", list(&file)), ("not_provable", list(&unproven))]);
    let diff = object(&[
        ("old", text.clone()),
        ("new", text.clone()),
        ("breaking", boolean.clone()),
        ("answers", object(&answers)),
        ("changes", list(&change)),
        ("history", or_null(&history)),
    ]);
    add(definitions, "RoutingDiff", diff);
}

fn define_plan(definitions: &mut Definitions, text: &Value) {
    let dispatch =
        object(&[("target", text.clone()), ("why", or_null(text)), ("record", reference("PlannedDispatch"))]);
    let not_chosen = object(&[("target", text.clone()), ("why", text.clone())]);
    let plan = object(&[
        ("file_id", text.clone()),
        ("plan_digest", or_null(text)),
        ("dispatches", list(&dispatch)),
        ("not_chosen", list(&not_chosen)),
        ("failure", or_null(&reference("Failure"))),
    ]);
    let verdict = object(&[
        ("file_id", text.clone()),
        ("verdict", json!({"enum": ["equal", "different", "not provable"]})),
        ("why", or_null(text)),
    ]);
    add(definitions, "Foreseen", any_of(&[plan, verdict]));
}

fn define_course(definitions: &mut Definitions, text: &Value, integer: &Value) {
    let change = object(&[
        ("target", text.clone()),
        ("status", reference("Status")),
        ("held_because", or_null(&reference("HeldBecause"))),
    ]);
    let timers = ["planned", "attempt_deadline", "confirmation_deadline", "file_deadline", "escalation"];
    let happening = any_of(&[
        object(&[("what", json!({"enum": timers}))]),
        object(&[("what", json!({"const": "attempt"})), ("attempt", integer.clone())]),
        object(&[
            ("what", json!({"const": "report"})),
            ("kind", reference("OutcomeKind")),
            ("code", text.clone()),
            ("attempt", integer.clone()),
            ("judgement", reference("Judgement")),
        ]),
    ]);
    let step = object(&[
        ("at", integer.clone()),
        ("target", or_null(text)),
        ("happening", happening),
        ("changes", list(&change)),
        ("state", or_null(&reference("State"))),
    ]);
    let end = object(&[
        ("what", json!({"enum": ["COMPLETED", "FAILED", "person", "unfinished"]})),
        ("at", integer.clone()),
        ("failure", or_null(&reference("Failure"))),
        ("waits_for_a_person", list(text)),
    ]);
    let course = object(&[
        ("file_id", text.clone()),
        ("began", integer.clone()),
        ("steps", list(&step)),
        ("attempts", list_of("DispatchAttempt")),
        ("requests", json!({"type": "object", "additionalProperties": integer})),
        ("paused", list(text)),
        ("end", end),
        ("file", reference("FileState")),
    ]);
    let most = object(&[("by_itself", integer.clone()), ("with_people", integer.clone())]);
    let person =
        object(&[("target", text.clone()), ("because", reference("HeldBecause")), ("earliest", integer.clone())]);
    let bounds = object(&[
        ("file_id", text.clone()),
        ("began", integer.clone()),
        ("earliest_completion", or_null(integer)),
        ("latest", integer.clone()),
        ("most_requests", json!({"type": "object", "additionalProperties": most})),
        ("person", list(&person)),
    ]);
    let invalid = object(&[("file_id", text.clone()), ("failure", reference("Failure"))]);
    add(definitions, "Simulated", any_of(&[course, bounds, invalid]));
}

/// Adds the definition of an explanation, which the gateway gives too.
pub(super) fn define_explanation(definitions: &mut Definitions, text: &Value, integer: &Value, boolean: &Value) {
    let leads_to = object(&[
        ("status", or_null(&reference("Status"))),
        ("held_because", or_null(&reference("HeldBecause"))),
        ("state", reference("State")),
        ("next", or_null(&reference("NextEvent"))),
        ("others", list(text)),
    ]);
    let would = object(&[
        ("what", text.clone()),
        ("judgement", reference("Judgement")),
        ("code", or_null(text)),
        ("leads_to", or_null(&leads_to)),
    ]);
    add(definitions, "Would", would);
    let dispatch = object(&[
        ("target", text.clone()),
        ("status", reference("Status")),
        ("since", integer.clone()),
        ("held_because", or_null(&reference("HeldBecause"))),
        ("paused", boolean.clone()),
        ("waits_for", list(text)),
        ("attempts", integer.clone()),
        ("budget", reference("Budget")),
        ("last_outcome", or_null(&reference("LastOutcome"))),
        ("accountable", or_null(&reference("Accountable"))),
        ("next", or_null(&reference("NextEvent"))),
        ("outcomes", list_of("Would")),
        ("interventions", list_of("Would")),
    ]);
    let deadline = object(&[("at", integer.clone()), ("passed", boolean.clone()), ("can_be_met", boolean.clone())]);
    let explanation = object(&[
        ("file_id", text.clone()),
        ("version", integer.clone()),
        ("at", integer.clone()),
        ("state", reference("State")),
        ("accountable", or_null(&reference("Accountable"))),
        ("next", or_null(&reference("NextEvent"))),
        ("earliest_completion", or_null(integer)),
        ("latest", or_null(integer)),
        ("deadline", or_null(&deadline)),
        ("dispatches", list(&dispatch)),
        ("interventions", list_of("Would")),
    ]);
    add(definitions, "Explanation", explanation);
}
