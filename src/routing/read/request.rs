//! `http`, `webhook` and `kafka`: where a target's requests go.

use std::collections::BTreeMap;

use reqwest::Url;

use super::Loader;
use super::fields::{self, Fields};
use crate::record::TransportKind;
use crate::routing::code;
use crate::routing::document::{Http, Parts};
use crate::routing::node::{At, Node};
use crate::routing::template::Template;

/// Where a target's requests go, and what of them is put together for each file.
pub(super) type WayOut = (Http, Parts);

const KAFKA_KEYS: [&str; 5] = ["topic", "cluster", "key", "headers", "in_transaction"];
const METHODS: [&str; 7] = ["POST", "PUT", "PATCH", "GET", "HEAD", "DELETE", "OPTIONS"];
const MAX_URL: usize = 2048;
const MAX_TOPIC: usize = 249;
const MAX_HEADERS: usize = 32;
const MAX_HEADER_VALUE: usize = 4096;

/// Headers that the transport sets, or that belong to one connection.
const OWN_HEADERS: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const OWN_PREFIXES: [&str; 2] = ["consign-", "webhook-"];
/// Headers whose value would be a secret in a record.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

impl Loader<'_> {
    /// Reads a target's `http`.
    pub(super) fn http(&mut self, node: &Node) -> Option<WayOut> {
        let legal = ["url", "path", "query", "method", "headers", "auth", "tls"];
        let fields = Fields::read(node, &legal, &[], &mut self.report)?;
        let method = self.method(fields);
        self.over_http(fields, method)
    }

    /// Reads a target's `webhook`: HTTP whose requests are signed.
    pub(super) fn webhook(&mut self, node: &Node) -> Option<WayOut> {
        let legal = ["url", "path", "query", "headers", "auth", "tls", "sign_with"];
        let fields = Fields::read(node, &legal, &[], &mut self.report)?;
        let sign_with = fields.required("sign_with", &mut self.report).map(|node| self.sign_with(node));
        let (http, parts) = self.over_http(fields, METHODS[0].to_owned())?;
        Some((Http { transport: TransportKind::Webhook, sign_with: Some(sign_with?), ..http }, parts))
    }

    fn over_http(&mut self, fields: Fields<'_>, method: String) -> Option<WayOut> {
        let (mut headers, computed) = self.headers(fields, is_header_value);
        let parts = Parts { key: None, path: self.path(fields), query: self.query(fields), headers: computed };
        let content_type = headers.remove("content-type");
        let url = fields.required("url", &mut self.report).and_then(|node| self.url(node))?;
        let auth = fields.get("auth").and_then(|node| self.auth(node));
        let tls = fields.get("tls").and_then(|node| self.tls(node));
        let transport = TransportKind::Http;
        let http = Http {
            transport,
            url,
            method,
            content_type,
            headers,
            auth,
            tls,
            sign_with: None,
            cluster: None,
            in_transaction: false,
        };
        Some((http, parts))
    }

    /// Reads a target's `kafka`.
    pub(super) fn kafka(&mut self, node: &Node) -> Option<WayOut> {
        let fields = Fields::read(node, &KAFKA_KEYS, &[], &mut self.report)?;
        let (mut headers, computed) = self.headers(fields, is_record_header);
        let key = fields.get("key").map(|node| Template::read(node, self));
        let content_type = headers.remove("content-type");
        let cluster = fields.get("cluster").and_then(|node| Some((node.at, fields::text(node, &mut self.report)?)));
        if let Some((at, name)) = cluster {
            self.is_name(name, at);
        }
        let in_transaction = fields.get("in_transaction");
        let is_in_transaction =
            in_transaction.and_then(|node| fields::boolean(node, &mut self.report)).unwrap_or(false);
        if let Some((at, name)) = cluster.filter(|_| is_in_transaction) {
            let text = format!("a transaction of consign's cluster can't reach the cluster `{name}`");
            self.report.error_with_hint(code::REQUEST, at, text, "in_transaction: false");
        }
        let topic = fields.required("topic", &mut self.report)?;
        let name = fields::text(topic, &mut self.report)?;
        let is_legal = (1..=MAX_TOPIC).contains(&name.len())
            && ![".", ".."].contains(&name)
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !is_legal {
            let text = format!("`{name}` is no topic: 1 to {MAX_TOPIC} characters of [A-Za-z0-9._-]");
            self.report.error(code::REQUEST, topic.at, text);
        }
        let http = Http {
            transport: TransportKind::Kafka,
            url: name.to_owned(),
            method: String::new(),
            content_type,
            headers,
            auth: None,
            tls: None,
            sign_with: None,
            cluster: cluster.map(|(_, name)| name.to_owned()),
            in_transaction: is_in_transaction,
        };
        Some((http, Parts { key, headers: computed, ..Parts::default() }))
    }

    fn method(&mut self, fields: Fields<'_>) -> String {
        let Some(method) = fields.text("method", &mut self.report) else { return METHODS[0].to_owned() };
        if !METHODS.contains(&method) {
            let at = fields.get("method").map_or(fields.at(), |node| node.at);
            let text = format!("`{method}` is none of {}", METHODS.join(", "));
            self.report.error(code::REQUEST, at, text);
        }
        method.to_owned()
    }

    fn url(&mut self, node: &Node) -> Option<String> {
        let text = fields::text(node, &mut self.report)?;
        if text.starts_with('=') {
            let hint = "`path` and `query` are put together for each file; the host is the same for all of them";
            self.report.error_with_hint(code::REQUEST, node.at, "a URL is written out, not computed", hint);
            return None;
        }
        self.literal_url(node.at, text)
    }

    /// A URL that is written out, normalised.
    pub(super) fn literal_url(&mut self, at: At, text: &str) -> Option<String> {
        let fault = match Url::parse(text) {
            Err(error) => Some(format!("it can't be read: {error}")),
            Ok(url) if !["http", "https"].contains(&url.scheme()) => Some("its scheme isn't http or https".to_owned()),
            // Parsers of URLs take more spellings than people and editors do.
            Ok(_) if !text.starts_with("http://") && !text.starts_with("https://") => {
                Some("it begins with neither http:// nor https://".to_owned())
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                Some("it holds a secret, which would stand in every record".to_owned())
            }
            Ok(url) if url.fragment().is_some() => Some("a fragment (`#…`) is never sent".to_owned()),
            Ok(url) if url.as_str().len() > MAX_URL => Some(format!("it is longer than {MAX_URL} bytes")),
            Ok(url) => return Some(url.into()),
        };
        if let Some(fault) = fault {
            self.report.error(code::REQUEST, at, format!("this URL can't be used: {fault}"));
        }
        None
    }

    /// Reads `headers`: those that are written out, and those that are expressions.
    fn headers(&mut self, fields: Fields<'_>, is_value: fn(&str) -> bool) -> (Written, BTreeMap<String, Template>) {
        let (mut headers, mut computed) = (BTreeMap::new(), BTreeMap::new());
        let Some(node) = fields.get("headers") else { return (headers, computed) };
        if node.entries().is_empty() || node.entries().len() > MAX_HEADERS {
            let text = format!("`headers` is a mapping of 1 to {MAX_HEADERS} names to texts");
            self.report.error(code::REQUEST, node.at, text);
        }
        for entry in node.entries() {
            let name = entry.key.to_ascii_lowercase();
            let Some(value) = fields::text(&entry.value, &mut self.report) else { continue };
            if let Some(why) = refusal(&name) {
                self.report.error(code::REQUEST, entry.at, format!("the header `{}` {why}", entry.key));
            } else if headers.contains_key(&name) || computed.contains_key(&name) {
                let text = format!("the header `{}` is there twice", entry.key);
                self.report.error(code::REQUEST, entry.at, text);
            } else if value.starts_with('=') && name == "content-type" {
                self.report.error(code::REQUEST, entry.value.at, "a content-type is written out, not computed");
            } else if value.starts_with('=') {
                computed.insert(name, Template::read(&entry.value, self));
            } else if is_value(value) {
                headers.insert(name, value.to_owned());
            } else {
                let text = format!(
                    "the value of `{}` has a line break, another control character or a character outside ASCII, or \
                     more than {MAX_HEADER_VALUE} bytes",
                    entry.key
                );
                self.report.error(code::REQUEST, entry.value.at, text);
            }
        }
        (headers, computed)
    }
}

/// Headers that are written out, by lower-case name.
type Written = BTreeMap<String, String>;

/// Why a target may not set a header of this lower-case name.
fn refusal(name: &str) -> Option<&'static str> {
    let is_token =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if !is_token {
        Some("is no header name")
    } else if SECRET_HEADERS.contains(&name) {
        Some("would put a secret into every record: `auth` names one")
    } else if OWN_HEADERS.contains(&name) || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        Some("is set by the transport alone")
    } else {
        None
    }
}

/// Whether a header of a request may have this value: visible ASCII, blanks and tabs between.
pub(crate) fn is_header_value(value: &str) -> bool {
    is_record_header(value) && value.is_ascii()
}

/// Whether a header of a record may have this value: any text without control characters.
pub(crate) fn is_record_header(value: &str) -> bool {
    value.len() <= MAX_HEADER_VALUE && value.trim() == value && value.chars().all(|c| c == '\t' || !c.is_control())
}
