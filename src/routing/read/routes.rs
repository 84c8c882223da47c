//! `routes`: which files a target receives, and as what.

use std::collections::{BTreeMap, BTreeSet};

use super::Loader;
use super::fields::{self, Fields};
use super::payloads::Payloads;
use super::targets::Targets;
use crate::record::{TargetName, TransportKind};
use crate::routing::code;
use crate::routing::diagnostic::suggestion;
use crate::routing::document::{Choice, Format, Mode, Route, Target};
use crate::routing::node::{At, Kind, Node};

impl Loader<'_> {
    pub(super) fn routes(&mut self, sections: Fields<'_>, payloads: &Payloads, targets: &Targets) -> Vec<Route> {
        let Some(node) = sections.get("routes") else { return Vec::new() };
        let target_names: Vec<&str> =
            sections.get("targets").into_iter().flat_map(Node::entries).map(|entry| entry.key.as_str()).collect();
        let mut routes = Vec::new();
        let mut places: BTreeMap<TargetName, At> = BTreeMap::new();
        for item in fields::list(node, &mut self.report) {
            let Some(route) = self.route(item, &target_names, (payloads, targets)) else { continue };
            if let Some(first) = places.get(&route.to) {
                let text = format!("`{}` has a route already, on line {}", route.to, first.line);
                let hint = "one route: join the conditions with ||, and let the payload be a list of choices";
                self.report.error_with_hint(code::SECOND_ROUTE, item.at, text, hint);
                continue;
            }
            places.insert(route.to.clone(), item.at);
            routes.push(route);
        }
        self.check_after(&routes, &places);
        routes
    }

    fn route(&mut self, node: &Node, target_names: &[&str], (payloads, targets): Defined<'_>) -> Option<Route> {
        let fields = Fields::read(node, &["to", "when", "after", "payload"], &[], &mut self.report)?;
        let to = fields.required("to", &mut self.report).and_then(|node| self.target_name(node, target_names));
        let when = fields.get("when").and_then(|node| self.condition(node));
        let after = fields.get("after").map(|node| self.after(node, target_names)).unwrap_or_default();
        let target = to.as_ref().and_then(|to| targets.get(to)).and_then(Option::as_ref);
        let choices = match (target, fields.get("payload")) {
            (Some(target), Some(payload)) if !target.has_body() => {
                let text = format!("`{}` carries no body: this route has no `payload`", target.http.method);
                self.report.error(code::REQUEST, payload.at, text);
                None
            }
            (Some(target), None) if !target.has_body() => Some(Vec::new()),
            _ => fields.required("payload", &mut self.report).map(|node| self.choices(node, payloads)),
        };
        let route = Route { to: to?, when, after, choices: choices? };
        if let Some(target) = target {
            self.check_choices(node, &route, target, payloads);
        }
        Some(route)
    }

    fn after(&mut self, node: &Node, target_names: &[&str]) -> Vec<TargetName> {
        let items = fields::list(node, &mut self.report);
        let mut after: Vec<TargetName> = Vec::new();
        for item in items {
            let Some(name) = self.target_name(item, target_names) else { continue };
            if after.contains(&name) {
                self.report.error(code::ILLEGAL_VALUE, item.at, format!("`{name}` is there twice"));
            } else {
                after.push(name);
            }
        }
        after
    }

    /// The name of a target that is defined.
    fn target_name(&mut self, node: &Node, target_names: &[&str]) -> Option<TargetName> {
        let name = fields::text(node, &mut self.report)?;
        if target_names.contains(&name) {
            return TargetName::parse(name).ok();
        }
        let hint = suggestion(name, target_names.iter().copied()).unwrap_or_default();
        self.report.error_with_hint(code::UNDEFINED_NAME, node.at, format!("there is no target `{name}`"), hint);
        None
    }

    fn choices(&mut self, node: &Node, payloads: &Payloads) -> Vec<Choice> {
        if !matches!(node.kind, Kind::List(_)) {
            let payload = self.payload_name(node, payloads);
            return payload.map(|payload| Choice { when: None, payload }).into_iter().collect();
        }
        let mut choices: Vec<Choice> = Vec::new();
        let items = fields::list(node, &mut self.report);
        if items.is_empty() {
            self.report.error(code::ILLEGAL_VALUE, node.at, "the list of payloads is empty");
        }
        for item in items {
            let Some(fields) = Fields::read(item, &["when", "use"], &[], &mut self.report) else { continue };
            if choices.last().is_some_and(|choice| choice.when.is_none()) {
                let text = "this choice is never reached: the one before it has no `when`";
                self.report.error(code::ILLEGAL_VALUE, item.at, text);
            }
            let condition = fields.get("when");
            let when = condition.and_then(|node| self.condition(node));
            let payload = fields.required("use", &mut self.report).and_then(|node| self.payload_name(node, payloads));
            if let Some(payload) = payload.filter(|_| when.is_some() == condition.is_some()) {
                choices.push(Choice { when, payload });
            }
        }
        choices
    }

    fn payload_name(&mut self, node: &Node, payloads: &Payloads) -> Option<String> {
        let name = fields::text(node, &mut self.report)?;
        if !payloads.contains_key(name) {
            let hint = suggestion(name, payloads.keys().map(String::as_str)).unwrap_or_default();
            let text = format!("there is no payload `{name}`");
            self.report.error_with_hint(code::UNDEFINED_NAME, node.at, text, hint);
            return None;
        }
        Some(name.to_owned())
    }

    /// Checks that the target can send every payload that it may get.
    fn check_choices(&mut self, node: &Node, route: &Route, target: &Target, payloads: &Payloads) {
        let at = node.field("payload").map_or(node.at, |node| node.at);
        for choice in &route.choices {
            let payload = payloads.get(&choice.payload).and_then(Option::as_ref);
            let is_file = payload.is_some_and(|payload| payload.format == Format::File);
            let why_not = match (target.http.transport, &target.envelope) {
                (TransportKind::Webhook, _) => "its requests are signed, and what is streamed can't be",
                (TransportKind::Kafka, _) => "a record holds no file",
                (_, Some(envelope)) if envelope.mode == Mode::Structured => {
                    "its envelope holds the body: make it binary"
                }
                _ => continue,
            };
            if is_file {
                let text = format!("`{}` can't send the file itself (`{}`): {why_not}", route.to, choice.payload);
                self.report.error(code::REQUEST, at, text);
            }
        }
    }

    /// Checks that what a route waits for has a route, and that no target waits for itself.
    fn check_after(&mut self, routes: &[Route], places: &BTreeMap<TargetName, At>) {
        let after_by_target: AfterByTarget<'_> = routes.iter().map(|route| (&route.to, &route.after[..])).collect();
        for route in routes {
            let at = places.get(&route.to).copied().unwrap_or(At::START);
            for name in &route.after {
                if !places.contains_key(name) {
                    let text = format!("`{}` waits for `{name}`, which has no route", route.to);
                    self.report.error(code::UNDEFINED_NAME, at, text);
                }
            }
            if waits_for_itself(&route.to, &after_by_target) {
                self.report.error(code::CYCLE, at, format!("`{}` waits for itself", route.to));
            }
        }
    }
}

/// What a route may name.
type Defined<'d> = (&'d Payloads, &'d Targets);

type AfterByTarget<'r> = BTreeMap<&'r TargetName, &'r [TargetName]>;

fn waits_for_itself(start: &TargetName, after_by_target: &AfterByTarget<'_>) -> bool {
    let mut seen: BTreeSet<&TargetName> = BTreeSet::new();
    let mut open = vec![start];
    while let Some(name) = open.pop() {
        for waited_for in after_by_target.get(name).copied().unwrap_or_default() {
            if waited_for == start {
                return true;
            }
            if seen.insert(waited_for) {
                open.push(waited_for);
            }
        }
    }
    false
}
