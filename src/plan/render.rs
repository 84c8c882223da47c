//! The bodies of a plan's requests.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::choose::Chosen;
use super::{Inputs, failure};
use crate::record::{Bytes, Failure, TransportKind};
use crate::routing::{Content, Document, Evaluator, canonical_json, code};

/// The body for each chosen target. A payload that several targets get is rendered once.
pub(super) fn bodies(
    inputs: Inputs<'_>,
    chosen: &[Chosen<'_>],
    environment: &Evaluator,
) -> Result<Vec<Bytes>, Failure> {
    let mut rendered: BTreeMap<&str, Bytes> = BTreeMap::new();
    let mut bodies = Vec::with_capacity(chosen.len());
    for choice in chosen {
        let body = match rendered.get(choice.payload) {
            Some(body) => body.clone(),
            None => body(choice.payload, inputs, environment)?,
        };
        rendered.insert(choice.payload, body.clone());
        bodies.push(body);
    }
    Ok(bodies)
}

/// Longest key of a record, in bytes.
const MAX_KEY: usize = 1024;

/// The key of a Kafka target's record: what its expression gives, else the `file_id`.
pub(super) fn key(chosen: &Chosen<'_>, file_id: &str, environment: &Evaluator) -> Result<Option<String>, Failure> {
    if chosen.definition.http.transport != TransportKind::Kafka {
        return Ok(None);
    }
    let Some(template) = &chosen.definition.key else { return Ok(Some(file_id.to_owned())) };
    let failed = |why: String| failure(code::EVALUATION, format!("the key for `{}`: {why}", chosen.target));
    let key = match template.render(environment).map_err(failed)? {
        Some(Json::String(text)) => text,
        Some(Json::Number(number)) => number.to_string(),
        _ => return Err(failed("it is neither a text nor a number".into())),
    };
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(failed(format!("it has {} bytes, not 1 to {MAX_KEY}", key.len())));
    }
    Ok(Some(key))
}

fn body(payload: &str, inputs: Inputs<'_>, environment: &Evaluator) -> Result<Bytes, Failure> {
    let json = render(payload, inputs.routing, environment)?;
    let schema = inputs.routing.payload(payload).and_then(|payload| payload.schema.as_ref());
    if let Some(schema) = schema {
        schema.check(&json).map_err(|why| failure(code::PAYLOAD_SCHEMA, format!("the payload `{payload}` {why}")))?;
    }
    let text = canonical_json(&json);
    let limit = inputs.limits.body_bytes;
    if text.len() > limit {
        let text = format!("the payload `{payload}` has {} bytes, more than {limit}", text.len());
        return Err(failure(code::PLAN_SIZE, text));
    }
    Ok(Bytes::from(text.into_bytes()))
}

/// A payload's JSON. One that derives from another is that other one, less what `remove` names, with what `set` names; the
/// other's schema isn't asked.
fn render(name: &str, routing: &Document, environment: &Evaluator) -> Result<Json, Failure> {
    let failed = |why| failure(code::EVALUATION, format!("the payload `{name}`: {why}"));
    let payload = routing.payload(name).expect("loading resolves every payload");
    match &payload.content {
        Content::Body(template) => template
            .render(environment)
            .map_err(failed)?
            .ok_or_else(|| failure(code::PAYLOAD, format!("the payload `{name}` has no body: all of it is omitted"))),
        Content::From { from, remove, set } => {
            let mut json = render(from, routing, environment)?;
            for pointer in remove {
                pointer.remove(&mut json);
            }
            for (pointer, template) in set {
                match template.render(environment).map_err(failed)? {
                    None => pointer.remove(&mut json),
                    Some(value) => pointer
                        .set(&mut json, value)
                        .map_err(|why| failure(code::PAYLOAD, format!("the payload `{name}`: {why}")))?,
                }
            }
            Ok(json)
        }
    }
}
