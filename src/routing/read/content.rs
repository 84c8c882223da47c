//! `content` of a file type.

use super::Loader;
use super::fields::{self, Fields};
use crate::routing::code;
use crate::routing::content::{
    ContentRule, DEFAULT_MAX_CONTENT, DataFormat, MAX_CONTENT, MAX_READ_CONTENT, unreadable,
};
use crate::routing::document::{FileType, Payload, Route, Target};
use crate::routing::node::{At, Kind, Node};

/// Most attempts of a fetch.
const MAX_ATTEMPTS: i32 = 100;
const DEFAULT_ATTEMPTS: i32 = 6;
const DEFAULT_SCHEDULE_MS: [i64; 5] = [1_000, 5_000, 30_000, 120_000, 600_000];
const DEFAULT_WITHIN_MS: i64 = 60_000;

impl Loader<'_> {
    pub(super) fn content_rule(&mut self, file_type: Fields<'_>) -> Option<ContentRule> {
        let node = file_type.get("content")?;
        let legal = ["format", "max_size", "attempts", "schedule", "within"];
        let fields = Fields::read(node, &legal, &[], &mut self.report)?;
        let format = fields.get("format").and_then(|node| self.data_format(node));
        let most = if format.is_some() { MAX_READ_CONTENT } else { MAX_CONTENT };
        let max_size = fields.get("max_size").and_then(|node| fields::integer(node, 1..=most, &mut self.report));
        let attempts =
            fields.get("attempts").and_then(|node| fields::integer(node, 1..=MAX_ATTEMPTS, &mut self.report));
        let schedule_ms = fields.get("schedule").map(|node| {
            let items = fields::list(node, &mut self.report);
            items.iter().filter_map(|item| fields::duration_ms(item, 0, &mut self.report)).collect::<Vec<_>>()
        });
        let within = fields.get("within").and_then(|node| fields::duration_ms(node, 1, &mut self.report));
        Some(ContentRule {
            format,
            max_size: max_size.unwrap_or(if format.is_some() { MAX_READ_CONTENT } else { DEFAULT_MAX_CONTENT }),
            attempts: attempts.unwrap_or(DEFAULT_ATTEMPTS),
            schedule_ms: schedule_ms.filter(|s| !s.is_empty()).unwrap_or_else(|| DEFAULT_SCHEDULE_MS.to_vec()),
            within_ms: within.unwrap_or(DEFAULT_WITHIN_MS),
        })
    }

    fn data_format(&mut self, node: &Node) -> Option<DataFormat> {
        let word = fields::text(node, &mut self.report)?;
        let found = DataFormat::ALL.into_iter().find(|format| format.as_str() == word);
        if found.is_none() {
            let text = format!("`{word}` is none of json, ndjson and csv");
            self.report.error(code::ILLEGAL_VALUE, node.at, text);
        }
        found
    }

    /// `content` is read only where every file that is asked has one.
    pub(super) fn check_content(
        &mut self,
        sections: Fields<'_>,
        file_types: &std::collections::BTreeMap<String, FileType>,
        payloads: &super::payloads::Payloads,
        targets: &super::targets::Targets,
        routes: &[Route],
    ) {
        let usable: std::collections::BTreeMap<&str, &Payload> =
            payloads.iter().filter_map(|(name, payload)| Some((name.as_str(), payload.as_ref()?))).collect();
        let targets: std::collections::BTreeMap<&str, &Target> =
            targets.iter().filter_map(|(name, target)| Some((name.as_str(), target.as_ref()?))).collect();
        let has_format = file_types.iter().map(|(name, file_type)| {
            let has = file_type.content.as_ref().is_some_and(|rule| rule.format.is_some());
            (name.as_str(), has)
        });
        let has_format = has_format.collect();
        for (route, without) in unreadable(routes, &usable, &targets, &has_format) {
            let of_route = |item: &&Node| item.field("to").and_then(Node::as_text) == Some(route.to.as_str());
            let at = match sections.get("routes").map(|node| &node.kind) {
                Some(Kind::List(items)) => items.iter().find(of_route).map_or(At::START, |item| item.at),
                _ => At::START,
            };
            let text = format!(
                "the route to `{}` reads `content`, which files of type {} don't have",
                route.to,
                without.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            );
            let hint = "give the type `content: {format: …}`, or begin the route's `when` with the types that have it";
            self.report.error_with_hint(code::NO_CONTENT, at, text, hint);
        }
    }
}
