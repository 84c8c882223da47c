//! `CloudEvents` 1.0 around a body: the attributes follow from the file and the document, so that every attempt sends the
//! same event, and a receiver knows it again by its `source` and `id`.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::Url;
use serde_json::{Map, Value as Json};

use super::render::Rendered;
use super::request::{Parts, RESERVED, Scalar};
use crate::record::{Arrival, Failure, TransportKind, dispatch_key};
use crate::routing::{Envelope, Format, canonical_json};

/// The media type of a structured event.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";
/// Longest value of an attribute, in bytes.
const MAX_VALUE: usize = 4096;
/// What the HTTP binding escapes in a header, beside all that is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The context attributes of one event.
pub(super) struct Event {
    attributes: BTreeMap<String, Json>,
    /// The media type of its data.
    content_type: String,
}

/// The event of a dispatch. Its id is the dispatch's key, its time that at which the producer announced the file.
pub(super) fn event(
    parts: &Parts<'_>,
    envelope: &Envelope,
    arrival: &Arrival,
    content_type: &str,
) -> Result<Event, Failure> {
    let manifest = &arrival.manifest;
    let mut attributes: BTreeMap<String, Json> = [
        ("specversion", "1.0".to_owned()),
        ("id", dispatch_key(&arrival.file_id, parts.target())),
        ("source", format!("consign:{}", utf8_percent_encode(&manifest.produced_by, RESERVED))),
        ("type", manifest.file_type.clone()),
        ("time", manifest.produced_at.to_string()),
        ("subject", arrival.file_id.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), Json::from(value)))
    .collect();
    for (name, template) in &envelope.attributes {
        let what = format!("the attribute `{name}`");
        match parts.scalar(&what, template)? {
            Some(value) => {
                let value = checked(name, value).map_err(|why| parts.failed(&what, why))?;
                attributes.insert(name.clone(), value);
            }
            None if ["source", "type"].contains(&name.as_str()) => {
                return Err(parts.failed(&what, "it is omitted, and every event has it"));
            }
            None => {
                attributes.remove(name);
            }
        }
    }
    Ok(Event { attributes, content_type: content_type.to_owned() })
}

/// An attribute as the specification's types allow it: a text, an integer of 32 bits, or a boolean.
fn checked(name: &str, value: Scalar) -> Result<Json, &'static str> {
    let text = match value {
        Scalar::Bool(value) => return Ok(Json::from(value)),
        Scalar::Number(number) => {
            let int = number.as_i64().and_then(|int| i32::try_from(int).ok());
            return int.map(Json::from).ok_or("it is no integer of 32 bits");
        }
        Scalar::Text(text) => text,
    };
    let is_nonchar = |c: char| matches!(u32::from(c), 0xFDD0..=0xFDEF) || u32::from(c) & 0xFFFE == 0xFFFE;
    if text.is_empty() || text.len() > MAX_VALUE {
        Err("it is empty, or longer than 4096 bytes")
    } else if text.chars().any(|c| c.is_control() || is_nonchar(c)) {
        Err("it has a control character or one that is none")
    } else if name == "source" && text.chars().any(|c| c.is_whitespace() || "\"<>\\^`{|}".contains(c)) {
        Err("it is no reference to a resource")
    } else if name == "dataschema" && Url::parse(&text).is_err() {
        Err("it is no absolute URI")
    } else {
        Ok(Json::from(text))
    }
}

impl Event {
    /// The attributes as headers, the data's type aside, which is the message's own. Over HTTP they are escaped.
    pub(super) fn headers(self, transport: TransportKind) -> BTreeMap<String, String> {
        let header = |(name, value): (String, Json)| {
            let text = match value {
                Json::String(text) => text,
                other => other.to_string(),
            };
            match transport {
                TransportKind::Kafka => (format!("ce_{name}"), text),
                _ => (format!("ce-{name}"), utf8_percent_encode(&text, ESCAPED).to_string()),
            }
        };
        self.attributes.into_iter().map(header).collect()
    }

    /// The event with its data as one JSON message. What isn't JSON stands in it as text.
    pub(super) fn message(self, rendered: &Rendered) -> String {
        let mut message: Map<String, Json> = self.attributes.into_iter().collect();
        let data = if rendered.format == Format::Json && is_json(&self.content_type) {
            rendered.json.clone()
        } else {
            let bytes = rendered.bytes.as_ref().map(|bytes| bytes.as_ref().to_vec()).unwrap_or_default();
            Json::from(String::from_utf8_lossy(&bytes).into_owned())
        };
        message.insert("datacontenttype".to_owned(), Json::from(self.content_type));
        message.insert("data".to_owned(), data);
        canonical_json(&Json::Object(message))
    }
}

/// Whether a media type says JSON.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}
