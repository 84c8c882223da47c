//! The exact request of a dispatch: where it goes, its headers, its key and its body, every part escaped by its position.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use super::choose::Chosen;
use super::render::Rendered;
use super::{Inputs, envelope, failure};
use crate::record::{Bytes, Failure, FileBody, Request, TargetName, TransportKind};
use crate::routing::{Evaluator, Format, Mode, Template, code, is_header_value, is_record_header};

/// Longest URL with what is put behind it, in bytes.
const MAX_URL: usize = 8 * 1024;
/// Longest key of a record, in bytes.
const MAX_KEY: usize = 1024;
/// What needs no escape in a path segment or a query: the unreserved characters of RFC 3986.
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The request for a chosen target.
pub(super) fn request(
    inputs: Inputs<'_>,
    chosen: &Chosen<'_>,
    rendered: Option<&Rendered>,
    environment: &Evaluator,
) -> Result<Request, Failure> {
    let http = &chosen.definition.http;
    let parts = Parts { chosen, environment };
    let is_kafka = http.transport == TransportKind::Kafka;
    let key = if is_kafka { Some(parts.key(inputs.arrival.file_id.as_str())?) } else { None };
    let mut content_type = content_type(inputs, chosen, rendered);
    let mut headers = parts.headers()?;
    let mut body = rendered.and_then(|rendered| rendered.bytes.clone());
    if let (Some(envelope), Some(rendered)) = (&chosen.definition.envelope, rendered) {
        let event = envelope::event(&parts, envelope, inputs.arrival, &content_type)?;
        match envelope.mode {
            Mode::Binary => headers.extend(event.headers(http.transport)),
            Mode::Structured => {
                body = Some(Bytes::from(event.message(rendered).into_bytes()));
                envelope::CONTENT_TYPE.clone_into(&mut content_type);
            }
        }
    }
    check_body(inputs, chosen, body.as_ref())?;
    if !is_header_value(&content_type) {
        return Err(parts.failed("the content-type", "it is no text that a header may have"));
    }
    Ok(Request {
        destination: parts.destination()?,
        method: (!is_kafka).then(|| http.method.clone()),
        headers,
        key,
        content_type,
        body,
        body_of_file: rendered
            .filter(|rendered| rendered.format == Format::File)
            .map(|_| of_file(inputs))
            .transpose()?,
        auth: http.auth.clone(),
        tls: http.tls.clone(),
        sign_with: http.sign_with.clone(),
        cluster: http.cluster.clone(),
        in_transaction: http.in_transaction.then_some(true),
    })
}

/// The media type of the data: a form's own, else what the target says, else what the payload is. Empty where there is none.
fn content_type(inputs: Inputs<'_>, chosen: &Chosen<'_>, rendered: Option<&Rendered>) -> String {
    let said = chosen.definition.http.content_type.clone();
    let or = |default: &str| said.unwrap_or_else(|| default.to_owned());
    match rendered.map(|rendered| rendered.format) {
        None => String::new(),
        Some(Format::Form) => "application/x-www-form-urlencoded".to_owned(),
        Some(Format::Json) => or("application/json"),
        Some(Format::Avro) => or("application/avro"),
        Some(Format::File) => or(inputs.arrival.manifest.media_type.as_deref().unwrap_or("application/octet-stream")),
    }
}

fn check_body(inputs: Inputs<'_>, chosen: &Chosen<'_>, body: Option<&Bytes>) -> Result<(), Failure> {
    let Some(body) = body else { return Ok(()) };
    let (size, limit) = (body.as_ref().len(), inputs.limits.body_bytes);
    if size > limit {
        let text = format!("the body for `{}` has {size} bytes with its envelope, more than {limit}", chosen.target);
        return Err(failure(code::PLAN_SIZE, text));
    }
    if size == 0 && chosen.definition.http.transport == TransportKind::Kafka {
        let text = format!("the record for `{}` would be empty, which readers may take for a deletion", chosen.target);
        return Err(failure(code::PAYLOAD, text));
    }
    Ok(())
}

/// Where the file's bytes are, and what they must be.
fn of_file(inputs: Inputs<'_>) -> Result<FileBody, Failure> {
    let manifest = &inputs.arrival.manifest;
    let missing =
        |field: &str| failure(code::FILE_BODY, format!("the file itself is the body, and `{field}` is missing"));
    Ok(FileBody {
        location: manifest.location.clone().ok_or_else(|| missing("location"))?,
        size: manifest.size.ok_or_else(|| missing("size"))?,
        digest: manifest.checksum.clone().ok_or_else(|| missing("checksum"))?,
    })
}

/// A part that is one value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Text(String),
    Number(serde_json::Number),
    Bool(bool),
}

impl Scalar {
    /// As text, in any position.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
        }
    }
}

/// What is put together for one file and one target.
pub(super) struct Parts<'a> {
    chosen: &'a Chosen<'a>,
    environment: &'a Evaluator,
}

impl Parts<'_> {
    /// The target.
    pub(super) fn target(&self) -> &TargetName {
        self.chosen.target
    }

    /// A part that can't be put together; never with the value that it would have.
    pub(super) fn failed(&self, what: &str, why: &str) -> Failure {
        failure(code::REQUEST_PART, format!("{what} for `{}`: {why}", self.chosen.target))
    }

    /// The JSON of a part; `None` where it is omitted.
    fn json(&self, what: &str, template: &Template) -> Result<Option<Json>, Failure> {
        let failed = |why| failure(code::EVALUATION, format!("{what} for `{}`: {why}", self.chosen.target));
        template.render(self.environment).map_err(failed)
    }

    fn one(&self, what: &str, json: Json) -> Result<Scalar, Failure> {
        match json {
            Json::String(text) => Ok(Scalar::Text(text)),
            Json::Number(number) => Ok(Scalar::Number(number)),
            Json::Bool(value) => Ok(Scalar::Bool(value)),
            _ => Err(self.failed(what, "it is neither a text nor a number nor a boolean")),
        }
    }

    /// The value of a part; `None` where it is omitted.
    pub(super) fn scalar(&self, what: &str, template: &Template) -> Result<Option<Scalar>, Failure> {
        self.json(what, template)?.map(|json| self.one(what, json)).transpose()
    }

    /// The key of a Kafka target's record: what its expression gives, else the `file_id`.
    fn key(&self, file_id: &str) -> Result<String, Failure> {
        let Some(template) = &self.chosen.definition.parts.key else { return Ok(file_id.to_owned()) };
        let key = self.scalar("the key", template)?;
        let key = key.ok_or_else(|| self.failed("the key", "it is omitted"))?.into_text();
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(self.failed("the key", &format!("it has {} bytes, not 1 to {MAX_KEY}", key.len())));
        }
        Ok(key)
    }

    /// All headers but the transport's own. An omitted one isn't there.
    fn headers(&self) -> Result<BTreeMap<String, String>, Failure> {
        let http = &self.chosen.definition.http;
        let mut headers = http.headers.clone();
        for (name, template) in &self.chosen.definition.parts.headers {
            let what = format!("the header `{name}`");
            let Some(value) = self.scalar(&what, template)? else { continue };
            let value = value.into_text();
            let (is_legal, legal) = match http.transport {
                TransportKind::Kafka => (is_record_header(&value), "a text without control characters"),
                _ => (is_header_value(&value), "visible ASCII with blanks between"),
            };
            if !is_legal {
                return Err(self.failed(&what, &format!("it is not {legal}, or longer than a header may be")));
            }
            headers.insert(name.clone(), value);
        }
        Ok(headers)
    }

    /// The topic, or the URL with its path and its query. Each segment and each parameter stays one: whatever would end it
    /// is escaped.
    fn destination(&self) -> Result<String, Failure> {
        let (url, parts) = (&self.chosen.definition.http.url, &self.chosen.definition.parts);
        if parts.path.is_empty() && parts.query.is_empty() {
            return Ok(url.clone());
        }
        let (base, query) = url.split_once('?').map_or((url.as_str(), None), |(base, query)| (base, Some(query)));
        let mut built = base.to_owned();
        if !parts.path.is_empty() && built.ends_with('/') {
            built.pop();
        }
        for (i, segment) in parts.path.iter().enumerate() {
            let what = format!("segment {} of the path", i + 1);
            let Some(segment) = self.scalar(&what, segment)? else { continue };
            let segment = segment.into_text();
            if ["", ".", ".."].contains(&segment.as_str()) {
                return Err(self.failed(&what, "it is empty, `.` or `..`"));
            }
            if segment.len() > MAX_URL {
                return Err(self.failed("the URL", &format!("it is longer than {MAX_URL} bytes")));
            }
            if segment.chars().any(char::is_control) {
                return Err(self.failed(&what, "it has a control character"));
            }
            built.push('/');
            built.extend(utf8_percent_encode(&segment, RESERVED));
        }
        let too_long = || self.failed("the URL", &format!("it is longer than {MAX_URL} bytes"));
        let mut bytes = built.len();
        let mut pairs: Vec<String> = query.filter(|query| !query.is_empty()).map(str::to_owned).into_iter().collect();
        for (name, template) in &parts.query {
            let what = format!("the parameter `{name}`");
            let values = match self.json(&what, template)? {
                None => Vec::new(),
                Some(Json::Array(items)) => items,
                Some(one) => vec![one],
            };
            for value in values {
                let value = self.one(&what, value)?.into_text();
                let escape = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
                bytes += name.len() + value.len();
                // Before all of it is escaped: no byte takes less room then.
                if bytes > MAX_URL {
                    return Err(too_long());
                }
                pairs.push(format!("{}={}", escape(name), escape(&value)));
            }
        }
        if !pairs.is_empty() {
            built.push('?');
            built.push_str(&pairs.join("&"));
        }
        if built.len() > MAX_URL {
            return Err(too_long());
        }
        Ok(built)
    }
}
