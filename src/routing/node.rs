//! YAML as a tree in which every node and every key knows its place.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value as Json};

use super::code;
use super::diagnostic::Report;

/// A place in a text: line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl At {
    /// The beginning of a text.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

impl From<Marker> for At {
    fn from(marker: Marker) -> Self {
        Self { line: marker.line().max(1), column: marker.col() + 1 }
    }
}

/// A YAML value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) kind: Kind,
}

/// What a YAML value is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping and its value, in the order of the text.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: At,
    pub(super) value: Node,
}

impl Node {
    /// What a value is called in messages.
    pub(super) const fn what(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) => "an integer",
            Kind::Float(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// The text, if this is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub(super) fn field(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The entries of a mapping; of anything else, none.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The same value as JSON, without places.
    pub(super) fn to_json(&self) -> Json {
        match &self.kind {
            Kind::Null => Json::Null,
            Kind::Bool(value) => Json::Bool(*value),
            Kind::Int(value) => Json::from(*value),
            Kind::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Kind::Text(text) => Json::String(text.clone()),
            Kind::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => Json::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// How deeply values may nest.
const MAX_DEPTH: usize = 64;

/// Reads a text that holds one YAML document. What is wrong with it goes to the report; `None` if nothing can be read.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let mut builder = Builder { open: Vec::new(), root: None, report };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, At::from(span.start))?,
            Err(error) => {
                builder.report.error(code::SYNTAX, At::from(*error.marker()), error.info().to_owned());
                return None;
            }
        }
    }
    if builder.root.is_none() {
        builder.report.error(code::SYNTAX, At::START, "the document is empty");
    }
    builder.root
}

/// A list or a mapping whose end hasn't been read.
struct Open {
    at: At,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The line of every key so far.
        lines: BTreeMap<String, usize>,
        /// The key whose value comes next.
        key: Option<(String, At)>,
    },
}

/// Builds the tree from the parser's events, without recursion.
struct Builder<'r> {
    open: Vec<Open>,
    root: Option<Node>,
    report: &'r mut Report,
}

impl Builder<'_> {
    /// Takes in one event; `None` ends the reading.
    fn take(&mut self, event: Event<'_>, at: At) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_anchor(anchor, at);
                let kind = self.scalar(text, style, tag.as_ref(), at);
                self.place(Node { at, kind });
            }
            Event::SequenceStart(anchor, tag) => self.open(anchor, tag.as_ref(), at, Inside::List(Vec::new()))?,
            Event::MappingStart(anchor, tag) => {
                self.open(
                    anchor,
                    tag.as_ref(),
                    at,
                    Inside::Map { entries: Vec::new(), lines: BTreeMap::new(), key: None },
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { at, inside } = self.open.pop()?;
                let kind = match inside {
                    Inside::List(items) => Kind::List(items),
                    Inside::Map { entries, .. } => Kind::Map(entries),
                };
                self.place(Node { at, kind });
            }
            Event::Alias(_) => {
                self.report.error(code::NOT_IN_THIS_VERSION, at, "aliases (`*name`) are not in this version");
                self.place(Node { at, kind: Kind::Null });
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                self.report.error(code::SYNTAX, at, "a second YAML document begins here; there may be one");
                return None;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn open(&mut self, anchor: usize, tag: Option<&Cow<'_, Tag>>, at: At, inside: Inside) -> Option<()> {
        self.refuse_anchor(anchor, at);
        if tag.is_some() {
            self.report.error(code::SYNTAX, at, "tags have no meaning here");
        }
        if self.open.len() == MAX_DEPTH {
            self.report.error(code::SYNTAX, at, format!("values nest more than {MAX_DEPTH} deep"));
            return None;
        }
        self.open.push(Open { at, inside });
        Some(())
    }

    fn refuse_anchor(&mut self, anchor: usize, at: At) {
        if anchor > 0 {
            self.report.error(code::NOT_IN_THIS_VERSION, at, "anchors (`&name`) are not in this version");
        }
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Cow<'_, Tag>>, at: At) -> Kind {
        if tag.is_some() {
            self.report.error(code::SYNTAX, at, "tags have no meaning here");
        }
        match Scalar::parse_from_cow_and_metadata(text, style, None) {
            None | Some(Scalar::Null) => Kind::Null,
            Some(Scalar::Boolean(value)) => Kind::Bool(value),
            Some(Scalar::Integer(value)) => Kind::Int(value),
            Some(Scalar::FloatingPoint(value)) if value.is_finite() => Kind::Float(value.into_inner()),
            Some(Scalar::FloatingPoint(_)) => {
                self.report.error(code::SYNTAX, at, "this number is not finite");
                Kind::Null
            }
            Some(Scalar::String(text)) => Kind::Text(text.into_owned()),
        }
    }

    /// Puts a finished value where it belongs: the next key, the value of the last key, an item, or the root.
    fn place(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.root = Some(node),
            Some(Inside::List(items)) => items.push(node),
            Some(Inside::Map { entries, lines, key }) => match key.take() {
                None => *key = Some((key_text(&node, self.report), node.at)),
                Some((key, at)) => match lines.get(&key) {
                    None => {
                        lines.insert(key.clone(), at.line);
                        entries.push(Entry { key, at, value: node });
                    }
                    Some(first) => {
                        let text = format!("`{key}` is there twice; it first stands on line {first}");
                        self.report.error(code::DUPLICATE_KEY, at, text);
                    }
                },
            },
        }
    }
}

/// A key as text: `200:` and `true:` are keys like any other.
fn key_text(node: &Node, report: &mut Report) -> String {
    match &node.kind {
        Kind::Text(text) => text.clone(),
        Kind::Int(value) => value.to_string(),
        Kind::Bool(value) => value.to_string(),
        Kind::Null | Kind::Float(_) | Kind::List(_) | Kind::Map(_) => {
            report.error(code::SYNTAX, node.at, format!("a key must be a text, not {}", node.what()));
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Diagnostic;

    fn read(text: &str) -> (Option<Node>, Vec<Diagnostic>) {
        let mut report = Report::new("routing.yaml");
        let node = parse(text, &mut report);
        (node, report.into_parts().0)
    }

    #[test]
    fn values_and_keys_know_their_place() {
        let (node, errors) = read("a: 1\nb:\n  - x\n  - {c: yes, d: 1.5}\n");
        assert_eq!(errors, []);
        let node = node.unwrap();
        assert_eq!(node.to_json(), serde_json::json!({"a": 1, "b": ["x", {"c": "yes", "d": 1.5}]}));
        let b = &node.entries()[1];
        assert_eq!((b.at, b.key.as_str()), (At { line: 2, column: 1 }, "b"));
        let Kind::List(items) = &b.value.kind else { panic!("{b:?}") };
        assert_eq!(items[1].entries()[1].at, At { line: 4, column: 14 });
    }

    #[test]
    fn every_duplicate_key_is_reported() {
        let (_, errors) = read("a: 1\na: 2\nb: {c: 1, c: 2}\n");
        let places: Vec<_> = errors.iter().map(|e| (e.code, e.line, e.column)).collect();
        assert_eq!(places, [(code::DUPLICATE_KEY, 2, 1), (code::DUPLICATE_KEY, 3, 11)]);
    }

    #[test]
    fn what_yaml_allows_and_we_do_not_is_refused() {
        for (text, code) in [
            ("", code::SYNTAX),
            ("a: [", code::SYNTAX),
            ("a: !x 1", code::SYNTAX),
            ("a: .inf", code::SYNTAX),
            ("a: 1\n---\nb: 1", code::SYNTAX),
            ("? [1]\n: 2", code::SYNTAX),
            ("a: &x 1", code::NOT_IN_THIS_VERSION),
            ("a: &x {b: 1}\nc: *x", code::NOT_IN_THIS_VERSION),
        ] {
            let (_, errors) = read(text);
            assert_eq!(errors.first().map(|e| e.code), Some(code), "{text}: {errors:?}");
        }
    }

    #[test]
    fn deep_nesting_ends_the_reading() {
        for text in ["[".repeat(10_000), "- ".repeat(10_000)] {
            let (_, errors) = read(&text);
            assert!(errors.iter().any(|e| e.code == code::SYNTAX), "{errors:?}");
        }
    }
}
