//! The bodies of a plan's requests.

use std::collections::BTreeMap;

use reqwest::Url;
use serde_json::Value as Json;

use super::choose::Chosen;
use super::{Inputs, failure};
use crate::record::{Bytes, Failure, TransportKind};
use crate::routing::{Content, Document, Evaluator, Format, canonical_json, code};

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
    let text = match format(payload, inputs.routing) {
        Format::Json => canonical_json(&json),
        Format::Form => form(&json).map_err(|why| failure(code::PAYLOAD, format!("the payload `{payload}`: {why}")))?,
    };
    let limit = inputs.limits.body_bytes;
    if text.len() > limit {
        let text = format!("the payload `{payload}` has {} bytes, more than {limit}", text.len());
        return Err(failure(code::PLAN_SIZE, text));
    }
    Ok(Bytes::from(text.into_bytes()))
}

/// How a payload becomes bytes.
pub(super) fn format(payload: &str, routing: &Document) -> Format {
    routing.payload(payload).map(|payload| payload.format).unwrap_or_default()
}

/// An object of texts, numbers and booleans, or of lists of them, as a form: keys in order, the items of a list one by one
/// under its key.
fn form(json: &Json) -> Result<String, String> {
    let Json::Object(fields) = json else { return Err("a form is an object".to_owned()) };
    let sorted: BTreeMap<&String, &Json> = fields.iter().collect();
    let mut url = Url::parse("form:").expect("a legal URL");
    {
        let mut pairs = url.query_pairs_mut();
        for (key, field) in sorted {
            let values = if let Json::Array(items) = field { items.as_slice() } else { std::slice::from_ref(field) };
            for value in values {
                match value {
                    Json::String(text) => pairs.append_pair(key, text),
                    Json::Number(_) | Json::Bool(_) => pairs.append_pair(key, &value.to_string()),
                    _ => return Err(format!("a form has no place for what stands at `/{key}`")),
                };
            }
        }
    }
    Ok(url.query().unwrap_or_default().to_owned())
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
