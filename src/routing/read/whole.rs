//! What only the document as a whole shows: what is never used, and retries that go on too long.

use std::collections::BTreeMap;

use super::Loader;
use super::fields::Fields;
use super::payloads::Payloads;
use super::targets::Targets;
use crate::record::Retry;
use crate::routing::code;
use crate::routing::document::{Content, DEFAULT_DEADLINE_MS, FileType, Payload, Route};
use crate::routing::expression::Expression;
use crate::routing::node::{At, Entry, Kind, Node};

impl Loader<'_> {
    pub(super) fn check_whole(
        &mut self,
        sections: Fields<'_>,
        file_types: &BTreeMap<String, FileType>,
        payloads: &Payloads,
        targets: &Targets,
        routes: &[Route],
    ) {
        let entries = |section: &str| sections.get(section).map(Node::entries).unwrap_or_default();
        self.warn_of_unused_payloads(entries("payloads"), payloads, routes);
        for entry in entries("targets") {
            if !routes.iter().any(|route| route.to.as_str() == entry.key) {
                let text = format!("no route leads to the target `{}`", entry.key);
                self.report.warning(code::UNUSED, entry.at, text);
            }
            let target = targets.get(entry.key.as_str()).and_then(Option::as_ref);
            if let Some(target) = target {
                self.warn_of_late_retries(entry, &target.policy.retry, file_types);
            }
        }
        self.warn_of_idle_routes(sections, file_types, routes);
        for entry in entries("tables") {
            let is_used =
                ['\'', '"'].iter().any(|quote| self.expressions.contains(&format!("{quote}{}{quote}", entry.key)));
            if !is_used {
                self.report.warning(code::UNUSED, entry.at, format!("no expression reads the table `{}`", entry.key));
            }
        }
    }

    /// Routes whose condition holds for no file type, and those that name a type which isn't there.
    fn warn_of_idle_routes(&mut self, sections: Fields<'_>, file_types: &BTreeMap<String, FileType>, routes: &[Route]) {
        let Some(Node { kind: Kind::List(items), .. }) = sections.get("routes") else { return };
        for route in routes {
            let Some(types) = route.when.as_ref().and_then(Expression::file_types) else { continue };
            let of_route = |item: &&Node| item.field("to").and_then(Node::as_text) == Some(route.to.as_str());
            let at = items.iter().find(of_route).and_then(|item| item.field("when")).map_or(At::START, |node| node.at);
            let unknown: Vec<&String> = types.iter().filter(|name| !file_types.contains_key(*name)).collect();
            if unknown.len() == types.len() {
                let text = format!("the route to `{}` can never match: it is for no file type that there is", route.to);
                self.report.warning(code::NEVER_MATCHES, at, text);
            } else if let Some(name) = unknown.first() {
                let text = format!("the route to `{}` names the file type `{name}`, which there isn't", route.to);
                self.report.warning(code::NEVER_MATCHES, at, text);
            }
        }
    }

    fn warn_of_unused_payloads(&mut self, entries: &[Entry], payloads: &Payloads, routes: &[Route]) {
        for entry in entries {
            let is_chosen = routes.iter().flat_map(|route| &route.choices).any(|choice| choice.payload == entry.key);
            let is_base = payloads.values().flatten().any(
                |payload| matches!(payload, Payload { content: Content::From { from, .. }, .. } if *from == entry.key),
            );
            if !is_chosen && !is_base {
                self.report.warning(code::UNUSED, entry.at, format!("no route uses the payload `{}`", entry.key));
            }
        }
    }

    fn warn_of_late_retries(&mut self, entry: &Entry, retry: &Retry, file_types: &BTreeMap<String, FileType>) {
        let shortest = file_types
            .iter()
            .map(|(name, file_type)| (file_type.deadline_ms.unwrap_or(DEFAULT_DEADLINE_MS), name))
            .min();
        let Some((deadline_ms, file_type)) = shortest else { return };
        let last_ms = retry.give_up_after_ms.map_or(back_offs_ms(retry), |give_up| give_up.min(back_offs_ms(retry)));
        if last_ms > deadline_ms {
            let text = format!(
                "the retries of `{}` may go on for {}, longer than a file of type `{file_type}` has ({})",
                entry.key,
                humantime::format_duration(std::time::Duration::from_millis(last_ms.unsigned_abs())),
                humantime::format_duration(std::time::Duration::from_millis(deadline_ms.unsigned_abs())),
            );
            self.report.warning(code::OUTLASTS_DEADLINE, entry.at, text);
        }
    }
}

/// All back-offs of a dispatch together, jitter at its largest.
fn back_offs_ms(retry: &Retry) -> i64 {
    let last = retry.schedule_ms.last().copied().unwrap_or(0);
    let count = usize::try_from(retry.attempts - 1).unwrap_or(0);
    let back_offs = retry.schedule_ms.iter().copied().chain(std::iter::repeat(last)).take(count);
    let sum = back_offs.fold(0_i64, i64::saturating_add);
    sum.saturating_add(sum.saturating_mul(i64::from(retry.jitter_percent)) / 100)
}
