//! What a document says of the bytes of a type's files: whether they are fetched and checked before planning, and whether
//! expressions read them as `content`.

use std::collections::{BTreeMap, BTreeSet};

use super::Document;
use super::document::{Content, Payload, Route, Target};
use super::expression::Expression;

/// Largest content that expressions may read, in bytes: it stands in a record.
pub const MAX_READ_CONTENT: i64 = 256 * 1024;
/// Largest file that may be fetched, in bytes.
pub const MAX_CONTENT: i64 = 1 << 40;
/// Largest file that is fetched where the document doesn't say, in bytes.
pub(super) const DEFAULT_MAX_CONTENT: i64 = 1 << 30;

/// How the bytes of a type's files become `content`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataFormat {
    /// One JSON value.
    Json,
    /// A list: one JSON value a line.
    Ndjson,
    /// A list of objects: one for each row, under the names of the first row.
    Csv,
}

impl DataFormat {
    pub(super) const ALL: [Self; 3] = [Self::Json, Self::Ndjson, Self::Csv];

    /// Its name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}

/// How the bytes of a type's files are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRule {
    /// How expressions read them; `None` where they are only checked.
    pub format: Option<DataFormat>,
    /// Most bytes.
    pub max_size: i64,
    /// Attempts, the first included.
    pub attempts: i32,
    /// Back-offs in milliseconds.
    pub schedule_ms: Vec<i64>,
    /// How long one attempt may take, in milliseconds.
    pub within_ms: i64,
}

impl Document {
    /// How the bytes of a type's files are fetched; `None` where they aren't.
    pub fn content_rule(&self, file_type: &str) -> Option<&ContentRule> {
        self.file_types.get(file_type)?.content.as_ref()
    }
}

/// The routes that read `content`, each with the types that it may be asked for and that have none.
pub(super) fn unreadable<'r>(
    routes: &'r [Route],
    payloads: &BTreeMap<&str, &Payload>,
    targets: &BTreeMap<&str, &Target>,
    has_format: &BTreeMap<&str, bool>,
) -> Vec<(&'r Route, BTreeSet<String>)> {
    // Where the form of a condition doesn't tell its types, it may be asked for all.
    let of = |when: Option<&Expression>| {
        let named = when.and_then(Expression::file_types);
        let is_named = |name: &str| named.as_ref().is_none_or(|names| names.contains(name));
        let names = has_format.iter().filter(|(name, has)| !**has && is_named(name));
        names.map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<String>>()
    };
    let reads = |when: Option<&Expression>| when.is_some_and(Expression::reads_content);
    let mut found = Vec::new();
    for route in routes {
        let of_route = of(route.when.as_ref());
        let mut of_target = Vec::new();
        targets.get(route.to.as_str()).iter().for_each(|target| target.expressions(&mut of_target));
        let always = reads(route.when.as_ref()) || of_target.into_iter().any(Expression::reads_content);
        let mut without = if always { of_route.clone() } else { BTreeSet::new() };
        for choice in &route.choices {
            let when = choice.when.as_ref();
            if reads(when) || payload_reads_content(&choice.payload, payloads, payloads.len()) {
                without.extend(of(when).intersection(&of_route).cloned());
            }
        }
        if !without.is_empty() {
            found.push((route, without));
        }
    }
    found
}

fn payload_reads_content(name: &str, payloads: &BTreeMap<&str, &Payload>, steps: usize) -> bool {
    let Some(payload) = payloads.get(name) else { return false };
    let mut expressions = Vec::new();
    let from = match &payload.content {
        Content::File => None,
        Content::Body(template) => {
            template.expressions(&mut expressions);
            None
        }
        Content::From { from, set, .. } => {
            set.iter().for_each(|(_, template)| template.expressions(&mut expressions));
            Some(from)
        }
    };
    expressions.into_iter().any(Expression::reads_content)
        || from.is_some_and(|from| steps > 0 && payload_reads_content(from, payloads, steps - 1))
}
