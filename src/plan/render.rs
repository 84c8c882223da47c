//! The bodies of a plan's requests.

use std::collections::BTreeMap;

use reqwest::Url;
use serde_json::Value as Json;

use super::choose::Chosen;
use super::{Inputs, failure};
use crate::record::{Bytes, Failure};
use crate::routing::{Content, Document, Evaluator, Format, canonical_json, code};

/// A payload for one file.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    pub(super) format: Format,
    /// What it says; null where it is the file itself.
    pub(super) json: Json,
    /// Its bytes; none where it is the file itself.
    pub(super) bytes: Option<Bytes>,
}

/// The payload for each chosen target that gets one. A payload that several targets get is rendered once.
pub(super) fn payloads<'d>(
    inputs: Inputs<'_>,
    chosen: &[Chosen<'d>],
    environment: &Evaluator,
) -> Result<BTreeMap<&'d str, Rendered>, Failure> {
    let mut rendered: BTreeMap<&str, Rendered> = BTreeMap::new();
    for payload in chosen.iter().filter_map(|choice| choice.payload) {
        if !rendered.contains_key(payload) {
            rendered.insert(payload, one(payload, inputs, environment)?);
        }
    }
    Ok(rendered)
}

fn one(payload: &str, inputs: Inputs<'_>, environment: &Evaluator) -> Result<Rendered, Failure> {
    let definition = inputs.routing.payload(payload).expect("loading resolves every payload");
    let format = definition.format;
    if format == Format::File {
        return Ok(Rendered { format, json: Json::Null, bytes: None });
    }
    let json = render(payload, inputs.routing, environment)?;
    if let Some(schema) = &definition.schema {
        schema.check(&json).map_err(|why| failure(code::PAYLOAD_SCHEMA, format!("the payload `{payload}` {why}")))?;
    }
    let text = match format {
        Format::Form => form(&json).map_err(|why| failure(code::PAYLOAD, format!("the payload `{payload}`: {why}")))?,
        _ => canonical_json(&json),
    };
    let limit = inputs.limits.body_bytes;
    if text.len() > limit {
        let text = format!("the payload `{payload}` has {} bytes, more than {limit}", text.len());
        return Err(failure(code::PLAN_SIZE, text));
    }
    Ok(Rendered { format, json, bytes: Some(Bytes::from(text.into_bytes())) })
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
        Content::File => Ok(Json::Null),
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
