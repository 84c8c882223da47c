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
    let mut bytes = 0;
    for payload in chosen.iter().filter_map(|choice| choice.payload) {
        if !rendered.contains_key(payload) {
            let one = one(payload, inputs, environment)?;
            bytes += one.bytes.as_ref().map_or(0, |bytes| bytes.as_ref().len());
            super::check_plan_size(inputs, bytes)?;
            rendered.insert(payload, one);
        }
    }
    Ok(rendered)
}

fn one(payload: &str, inputs: Inputs<'_>, environment: &Evaluator) -> Result<Rendered, Failure> {
    let definition = inputs.routing.payload(payload).expect("loading resolves every payload");
    let format = definition.format;
    if format == Format::File {
        return Ok(Rendered { format, bytes: None });
    }
    let json = environment.payload(|| render(payload, inputs.routing, environment))?;
    if let Some(schema) = &definition.schema {
        schema.check(&json).map_err(|why| failure(code::PAYLOAD_SCHEMA, format!("the payload `{payload}` {why}")))?;
    }
    let limit = inputs.limits.body_bytes;
    let unfit = |why| failure(code::PAYLOAD, format!("the payload `{payload}`: {why}"));
    let too_large = |bytes: usize| {
        failure(code::PLAN_SIZE, format!("the payload `{payload}` has {bytes} bytes, more than {limit}"))
    };
    let bytes = match (format, &definition.avro) {
        (Format::Form, _) => {
            let bytes = text_bytes(&json);
            if bytes > limit {
                return Err(too_large(bytes));
            }
            form(&json).map_err(unfit)?.into_bytes()
        }
        (_, Some(avro)) => {
            let unfit = |why| failure(code::PAYLOAD_SCHEMA, format!("the payload `{payload}` {why}"));
            avro.encode(&json).map_err(unfit)?
        }
        _ => canonical_json(&json).into_bytes(),
    };
    if bytes.len() > limit {
        return Err(too_large(bytes.len()));
    }
    Ok(Rendered { format, bytes: Some(Bytes::from(bytes)) })
}

/// The bytes of all texts: no form is shorter, and one may be three times as long.
fn text_bytes(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(text_bytes).sum(),
        Json::Object(fields) => fields.values().map(text_bytes).sum(),
        _ => 0,
    }
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
