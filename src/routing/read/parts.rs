//! `path`, `query` and `envelope`: what of a target's requests is put together for each file.

use std::collections::BTreeMap;

use super::Loader;
use super::fields::{self, Fields};
use crate::routing::code;
use crate::routing::document::{Envelope, Mode};
use crate::routing::node::{Kind, Node};
use crate::routing::template::Template;

/// Most segments of `path`, parameters of `query` and attributes of an envelope.
const MAX_PARTS: usize = 32;
/// Longest name of a parameter, in bytes.
const MAX_PARAMETER: usize = 128;
/// Longest name of an event's attribute, as the specification recommends.
const MAX_ATTRIBUTE: usize = 20;
/// Attributes of an event that follow from the file, and names that its formats take.
const OWN_ATTRIBUTES: [&str; 6] = ["id", "time", "specversion", "datacontenttype", "data", "data_base64"];
/// Attributes that an event must have.
const REQUIRED_ATTRIBUTES: [&str; 2] = ["source", "type"];

impl Loader<'_> {
    /// Reads `path`: segments that are put behind the URL's own path.
    pub(super) fn path(&mut self, fields: Fields<'_>) -> Vec<Template> {
        let Some(node) = fields.get("path") else { return Vec::new() };
        let items = fields::list(node, &mut self.report);
        if matches!(node.kind, Kind::List(_)) && !(1..=MAX_PARTS).contains(&items.len()) {
            self.report.error(code::REQUEST, node.at, format!("`path` is a list of 1 to {MAX_PARTS} segments"));
        }
        for item in items.iter().filter(|item| matches!(item.as_text(), Some("" | "." | ".."))) {
            self.report.error(code::REQUEST, item.at, "a segment is neither empty nor `.` nor `..`");
        }
        items.iter().map(|item| self.part(item, false)).collect()
    }

    /// Reads `query`: parameters that are put behind the URL's own query.
    pub(super) fn query(&mut self, fields: Fields<'_>) -> BTreeMap<String, Template> {
        let Some(node) = fields.get("query") else { return BTreeMap::new() };
        if !(1..=MAX_PARTS).contains(&node.entries().len()) {
            let text = format!("`query` is a mapping of 1 to {MAX_PARTS} parameters");
            self.report.error(code::REQUEST, node.at, text);
        }
        let mut query = BTreeMap::new();
        for entry in node.entries() {
            if !(1..=MAX_PARAMETER).contains(&entry.key.len()) {
                let text = format!("a parameter's name has 1 to {MAX_PARAMETER} bytes");
                self.report.error(code::REQUEST, entry.at, text);
            }
            query.insert(entry.key.clone(), self.part(&entry.value, true));
        }
        query
    }

    /// A text, number or boolean, or an expression; perhaps a list of them.
    fn part(&mut self, node: &Node, may_be_list: bool) -> Template {
        let is_one = |node: &Node| !matches!(node.kind, Kind::Map(_) | Kind::List(_) | Kind::Null);
        let is_legal = match &node.kind {
            Kind::List(items) => may_be_list && items.iter().all(is_one),
            _ => is_one(node),
        };
        if !is_legal {
            let text = format!("a text, a number or a boolean stands here, not {}", node.what());
            self.report.error(code::REQUEST, node.at, text);
        }
        Template::read(node, self)
    }

    /// Reads `envelope`; the target's word comes before that of `target_defaults`.
    pub(super) fn envelope(&mut self, target: Fields<'_>, defaults: Option<Fields<'_>>) -> Option<Envelope> {
        let node = [Some(target), defaults].into_iter().flatten().find_map(|fields| fields.get("envelope"))?;
        match node.as_text() {
            Some("none") => None,
            Some("cloudevents") => Some(Envelope { mode: Mode::Structured, attributes: BTreeMap::new() }),
            Some(word) => {
                let hint = "a mapping with the key `cloudevents` says more";
                let text = format!("`{word}` is none of none and cloudevents");
                self.report.error_with_hint(code::ILLEGAL_VALUE, node.at, text, hint);
                None
            }
            None => {
                let fields = Fields::read(node, &["cloudevents", "attributes"], &[], &mut self.report)?;
                let mode = fields.required("cloudevents", &mut self.report)?;
                let attributes = self.attributes(fields);
                let mode = match fields::text(mode, &mut self.report)? {
                    "structured" => Mode::Structured,
                    "binary" => Mode::Binary,
                    word => {
                        let text = format!("`{word}` is none of structured and binary");
                        self.report.error(code::ILLEGAL_VALUE, mode.at, text);
                        return None;
                    }
                };
                Some(Envelope { mode, attributes })
            }
        }
    }

    fn attributes(&mut self, fields: Fields<'_>) -> BTreeMap<String, Template> {
        let Some(node) = fields.get("attributes") else { return BTreeMap::new() };
        if !(1..=MAX_PARTS).contains(&node.entries().len()) {
            let text = format!("`attributes` is a mapping of 1 to {MAX_PARTS} names");
            self.report.error(code::ILLEGAL_VALUE, node.at, text);
        }
        let mut attributes = BTreeMap::new();
        for entry in node.entries() {
            let name = entry.key.as_str();
            let is_name = (1..=MAX_ATTRIBUTE).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            if OWN_ATTRIBUTES.contains(&name) {
                let text = format!("the attribute `{name}` follows from the file");
                self.report.error(code::ILLEGAL_NAME, entry.at, text);
            } else if !is_name {
                let text = format!("an attribute's name is 1 to {MAX_ATTRIBUTE} characters of [a-z0-9]");
                self.report.error(code::ILLEGAL_NAME, entry.at, text);
            } else if REQUIRED_ATTRIBUTES.contains(&name) && entry.value.as_text() == Some("") {
                let text = format!("an event's `{name}` is not empty");
                self.report.error(code::ILLEGAL_VALUE, entry.value.at, text);
            }
            attributes.insert(name.to_owned(), self.part(&entry.value, false));
        }
        attributes
    }
}
