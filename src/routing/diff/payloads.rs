//! What a payload consists of, down to the one that it derives from.

use std::collections::BTreeMap;

use super::{Changes, Place, Question, paired};
use crate::routing::document::{Content, Document, Payload};
use crate::routing::expression::{Expression, shown};
use crate::routing::template::{Pointer, Template};

/// Most fields that a change names.
const MAX_NAMED: usize = 8;

/// What a derivation takes away, and what it puts in.
type Derivation<'d> = (&'d [Pointer], &'d [(Pointer, Template)]);

/// A payload with all that it derives from: the body, then what each derivation takes away and puts in.
pub(super) struct Layers<'d> {
    payload: &'d Payload,
    /// None where it is the file itself.
    body: Option<&'d Template>,
    changes: Vec<Derivation<'d>>,
}

impl<'d> Layers<'d> {
    /// The payload of this name, which loading has resolved.
    pub(super) fn of(document: &'d Document, name: &str) -> Self {
        let payload = document.payload(name).expect("loading resolves every payload");
        match &payload.content {
            Content::File => Self { payload, body: None, changes: Vec::new() },
            Content::Body(body) => Self { payload, body: Some(body), changes: Vec::new() },
            Content::From { from, remove, set } => {
                let mut layers = Self::of(document, from);
                layers.changes.push((remove, set));
                Self { payload, ..layers }
            }
        }
    }

    /// Every expression of it.
    pub(super) fn expressions(&self, all: &mut Vec<&'d Expression>) {
        self.body.iter().for_each(|body| body.expressions(all));
        for (_, set) in &self.changes {
            set.iter().for_each(|(_, template)| template.expressions(all));
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.body == other.body && self.changes == other.changes
    }

    fn schema(&self) -> Option<&serde_json::Value> {
        self.payload.schema.as_ref().map(|schema| schema.json())
    }

    /// The fields that it writes out, by place, as they stand in the document.
    fn fields(&self) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        if let Some(body) = self.body {
            flatten(body, String::new(), &mut fields);
        }
        for (remove, set) in &self.changes {
            for pointer in *remove {
                take_away(&mut fields, &pointer.to_string());
            }
            for (pointer, template) in *set {
                take_away(&mut fields, &pointer.to_string());
                flatten(template, pointer.to_string(), &mut fields);
            }
        }
        fields
    }
}

fn take_away(fields: &mut BTreeMap<String, String>, place: &str) {
    let below = format!("{place}/");
    fields.retain(|field, _| field != place && !field.starts_with(&below));
}

fn flatten(template: &Template, place: String, fields: &mut BTreeMap<String, String>) {
    match template {
        Template::Map(map) if !map.is_empty() => {
            for (key, field) in map {
                flatten(field, format!("{place}/{}", key.replace('~', "~0").replace('/', "~1")), fields);
            }
        }
        Template::List(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                flatten(item, format!("{place}/{i}"), fields);
            }
        }
        Template::Map(_) => drop(fields.insert(place, "{}".to_owned())),
        Template::List(_) => drop(fields.insert(place, "[]".to_owned())),
        Template::Leaf(expression) => drop(fields.insert(place, format!("`={}`", shown(expression.source())))),
        Template::Value(json) => drop(fields.insert(place, shown(&json.to_string()))),
    }
}

pub(super) fn compare(
    changes: &mut Changes,
    place: &Place,
    what: &str,
    names: (&String, &String),
    (old, new): &(Layers<'_>, Layers<'_>),
) {
    let routing = &[Question::Routing];
    match (old.schema(), new.schema()) {
        (old, new) if old == new => {}
        (None, _) => changes.add(place, routing, format!("{what} has a schema and had none")),
        (_, None) => changes.add(place, routing, format!("{what} has no schema any more")),
        _ => changes.add(place, routing, format!("{what}: its schema is another")),
    }
    let formats = (&old.payload.format, &new.payload.format);
    changes.value(place, routing, &format!("{what} format"), formats, |format| format.as_str().to_owned());
    if old.is_same(new) {
        changes.value(place, &[], &format!("{what} is called"), names, Clone::clone);
        return;
    }
    let fields = fields(&old.fields(), &new.fields());
    if fields.is_empty() {
        // The same fields in the end, but computed on another way: which may fail for other files.
        changes.add(place, routing, format!("{what} is derived otherwise"));
    }
    let more = fields.len().saturating_sub(MAX_NAMED);
    for text in fields.into_iter().take(MAX_NAMED) {
        changes.add(place, routing, format!("{what} {text}"));
    }
    if more > 0 {
        changes.add(place, routing, format!("{what}: {more} more fields"));
    }
}

fn fields(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let name = |place: &str| if place.is_empty() { "as a whole".to_owned() } else { place.to_owned() };
    paired(old, new)
        .filter_map(|(place, old, new)| match (old, new) {
            (None, Some(new)) => Some(format!("{} is new: {new}", name(place))),
            (Some(old), None) => Some(format!("{} is gone: {old}", name(place))),
            (Some(old), Some(new)) if old != new => Some(format!("{}: {old} → {new}", name(place))),
            _ => None,
        })
        .collect()
}
