//! `payloads`: bodies, written out or derived from each other.

use std::collections::BTreeMap;

use super::fields::{self, Fields};
use super::{Entry, Loader};
use crate::routing::code;
use crate::routing::diagnostic::suggestion;
use crate::routing::document::{Content, Format, Payload};
use crate::routing::node::Node;
use crate::routing::template::{Pointer, Template};

/// Payloads by name; `None` for one that can't be used, which has been said.
pub(super) type Payloads = BTreeMap<String, Option<Payload>>;

impl Loader<'_> {
    pub(super) fn payloads(&mut self, sections: Fields<'_>) -> Payloads {
        let entries = self.named(sections, "payloads");
        let mut payloads = Payloads::new();
        for entry in &entries {
            let payload = self.payload(&entry.value);
            payloads.insert(entry.key.clone(), payload);
        }
        self.check_derivation(&entries, &mut payloads);
        payloads
    }

    fn payload(&mut self, node: &Node) -> Option<Payload> {
        let legal = ["body", "from", "remove", "set", "format", "schema", "description"];
        let fields = Fields::read(node, &legal, &[], &mut self.report)?;
        fields.text("description", &mut self.report);
        let schema = self.schema(fields);
        let format = self.format(fields);
        let content = match (fields.get("body"), fields.get("from")) {
            _ if format == Format::File => {
                for key in ["body", "from", "remove", "set", "schema"] {
                    if let Some(extra) = fields.get(key) {
                        let text = format!("`{key}` doesn't go with `format: file`: the body is the file itself");
                        self.report.error(code::ILLEGAL_VALUE, extra.at, text);
                    }
                }
                Content::File
            }
            (Some(body), None) => {
                for key in ["remove", "set"] {
                    if let Some(extra) = fields.get(key) {
                        self.report.error(code::ILLEGAL_VALUE, extra.at, format!("`{key}` goes with `from`"));
                    }
                }
                Content::Body(Template::read(body, self))
            }
            (None, Some(from)) => Content::From {
                from: fields::text(from, &mut self.report)?.to_owned(),
                remove: self.removals(fields),
                set: self.settings(fields),
            },
            (Some(_), Some(from)) => {
                self.report.error(code::ILLEGAL_VALUE, from.at, "a payload has either `body` or `from`");
                return None;
            }
            (None, None) => {
                self.report.error(code::MISSING_KEY, node.at, "a payload has either `body` or `from`");
                return None;
            }
        };
        Some(Payload { content, format, schema })
    }

    fn format(&mut self, fields: Fields<'_>) -> Format {
        match fields.text("format", &mut self.report) {
            None | Some("json") => Format::Json,
            Some("form") => Format::Form,
            Some("file") => Format::File,
            Some(word) => {
                let at = fields.get("format").map_or(fields.at(), |node| node.at);
                self.report.error(code::ILLEGAL_VALUE, at, format!("`{word}` is none of json, form and file"));
                Format::Json
            }
        }
    }

    fn removals(&mut self, fields: Fields<'_>) -> Vec<Pointer> {
        let Some(node) = fields.get("remove") else { return Vec::new() };
        let items = fields::list(node, &mut self.report);
        let mut pointers = Vec::new();
        for item in items {
            let pointer = fields::text(item, &mut self.report).map(Pointer::parse);
            match pointer {
                Some(Ok(pointer)) => pointers.push(pointer),
                Some(Err(why)) => self.report.error(code::ILLEGAL_VALUE, item.at, why),
                None => {}
            }
        }
        pointers
    }

    fn settings(&mut self, fields: Fields<'_>) -> Vec<(Pointer, Template)> {
        let Some(node) = fields.get("set") else { return Vec::new() };
        if node.entries().is_empty() {
            self.report.error(code::ILLEGAL_VALUE, node.at, "`set` is a mapping of JSON Pointers to values");
        }
        let mut settings = Vec::new();
        for entry in node.entries() {
            match Pointer::parse(&entry.key) {
                Ok(pointer) => settings.push((pointer, Template::read(&entry.value, self))),
                Err(why) => self.report.error(code::ILLEGAL_VALUE, entry.at, why),
            }
        }
        // The order of keys in the text says nothing, so that it must not decide which of two comes first.
        settings.sort_by(|a, b| a.0.cmp(&b.0));
        settings
    }

    /// Checks that `from` names a payload, that no payload derives from itself, and that what is removed can be there.
    fn check_derivation(&mut self, entries: &[&Entry], payloads: &mut Payloads) {
        for entry in entries {
            let Some(from) = entry.value.field("from") else { continue };
            let Some(base) = from.as_text() else { continue };
            if !payloads.contains_key(base) {
                let hint = suggestion(base, payloads.keys().map(String::as_str)).unwrap_or_default();
                let text = format!("there is no payload `{base}`");
                self.report.error_with_hint(code::UNDEFINED_NAME, from.at, text, hint);
                payloads.insert(entry.key.clone(), None);
            } else if matches!(payloads.get(base), Some(Some(Payload { content: Content::File, .. }))) {
                let text = format!("`{base}` is the file itself, of which nothing can be derived");
                self.report.error(code::ILLEGAL_VALUE, from.at, text);
                payloads.insert(entry.key.clone(), None);
            } else if derives_from_itself(&entry.key, payloads) {
                let text = format!("`{}` derives from itself", entry.key);
                self.report.error(code::CYCLE, from.at, text);
            }
        }
        for entry in entries {
            let Some(Some(Payload { content: Content::From { from, remove, .. }, .. })) = payloads.get(&entry.key)
            else {
                continue;
            };
            for pointer in remove {
                if !can_have(from, pointer.tokens(), payloads, payloads.len()) {
                    let at = entry.value.field("remove").map_or(entry.at, |node| node.at);
                    let text = format!("`{from}` has nothing at `{pointer}` that could be removed");
                    self.report.error(code::ILLEGAL_VALUE, at, text);
                }
            }
        }
    }
}

fn derives_from_itself(name: &str, payloads: &Payloads) -> bool {
    let mut current = name;
    for _ in 0..payloads.len() {
        match payloads.get(current) {
            Some(Some(Payload { content: Content::From { from, .. }, .. })) if from == name => return true,
            Some(Some(Payload { content: Content::From { from, .. }, .. })) => current = from,
            _ => return false,
        }
    }
    false
}

/// Whether a payload can have a value at a place; false only where that is certain.
fn can_have(name: &str, tokens: &[String], payloads: &Payloads, steps: usize) -> bool {
    match payloads.get(name).and_then(Option::as_ref).map(|payload| &payload.content) {
        Some(Content::Body(template)) => template.can_have(tokens),
        Some(Content::From { from, set, .. }) if steps > 0 => {
            let is_set = set.iter().any(|(pointer, _)| {
                let shared = pointer.tokens().len().min(tokens.len());
                pointer.tokens()[..shared] == tokens[..shared]
            });
            is_set || can_have(from, tokens, payloads, steps - 1)
        }
        _ => true,
    }
}
