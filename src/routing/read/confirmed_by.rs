//! `confirmed_by`: by what a target's success is confirmed.

use super::Loader;
use super::fields::{self, Fields};
use crate::record::{Confirmation, ConfirmedBy};
use crate::routing::code;
use crate::routing::expression::Scope;
use crate::routing::node::{At, Kind, Node};

const WAYS: [&str; 4] = ["response", "acks", "callback", "transport"];

impl Loader<'_> {
    /// What a target says, else what `target_defaults` says; one of them must say something.
    pub(super) fn confirmed_by(&mut self, target: Fields<'_>, defaults: Option<Fields<'_>>) -> Option<ConfirmedBy> {
        let layers = [Some(target), defaults].into_iter().flatten();
        let Some(node) = layers.into_iter().find_map(|fields| fields.get("confirmed_by")) else {
            let hint = "such as confirmed_by: {response: \"status == 200\"}";
            let text = "the target doesn't say by what its success is confirmed (`confirmed_by`)";
            self.report.error_with_hint(code::CONFIRMED_BY, target.at(), text, hint);
            return None;
        };
        let confirmed_by = match &node.kind {
            Kind::Text(word) if word == "transport" => Some(ConfirmedBy::by(Confirmation::Transport)),
            Kind::Text(word) => {
                let text = format!("`{word}` confirms nothing");
                let hint = "a mapping with `response`, `callback` or `acks`, or the word `transport`";
                self.report.error_with_hint(code::CONFIRMED_BY, node.at, text, hint);
                None
            }
            _ => self.confirmation(node),
        }?;
        if confirmed_by.by == Confirmation::Transport {
            let text = "delivery alone counts as success: whether the target processed the file is never known";
            self.report.warning(code::CONFIRMED_BY_TRANSPORT, node.at, text);
        }
        Some(confirmed_by)
    }

    fn confirmation(&mut self, node: &Node) -> Option<ConfirmedBy> {
        let legal =
            ["response", "acks", "callback", "transport", "rejected", "retryable", "rejected_status", "not_processed"];
        let fields = Fields::read(node, &legal, &[], &mut self.report)?;
        let ways: Vec<&str> = WAYS.into_iter().filter(|way| fields.get(way).is_some()).collect();
        let [way] = ways.as_slice() else {
            let text = if ways.is_empty() {
                "it isn't said what confirms success".to_owned()
            } else {
                format!("there is one confirmation, not {}", ways.join(" and "))
            };
            self.report.error_with_hint(
                code::CONFIRMED_BY,
                node.at,
                text,
                "one of response, callback, acks, transport",
            );
            return None;
        };
        let value = fields.get(way)?;
        let mut confirmed_by = match *way {
            "response" => self.by_response(value)?,
            "acks" => self.later(value, Confirmation::Acks)?,
            // Nobody reports by callback without the token.
            "callback" => ConfirmedBy { token: true, ..self.later(value, Confirmation::Callback)? },
            _ => {
                if fields::boolean(value, &mut self.report) == Some(false) {
                    self.report.error(code::CONFIRMED_BY, value.at, "`transport: false` confirms nothing");
                }
                ConfirmedBy::by(Confirmation::Transport)
            }
        };
        for (key, place) in [("rejected", 0), ("retryable", 1)] {
            let Some(rule) = fields.get(key) else { continue };
            if matches!(confirmed_by.by, Confirmation::Acks | Confirmation::Callback) {
                let rule = self.rule(rule);
                *(if place == 0 { &mut confirmed_by.rejected } else { &mut confirmed_by.retryable }) = rule;
            } else {
                let hint = format!("with `response`, write response: {{succeeded: …, {key}: …}}");
                let text = format!("`{key}` stands here only beside `acks` and `callback`");
                self.report.error_with_hint(code::CONFIRMED_BY, rule.at, text, hint);
            }
        }
        self.statuses(fields, &mut confirmed_by);
        Some(confirmed_by)
    }

    fn by_response(&mut self, node: &Node) -> Option<ConfirmedBy> {
        if node.as_text().is_some() {
            return Some(ConfirmedBy { succeeded: self.rule(node), ..ConfirmedBy::by(Confirmation::Response) });
        }
        let legal = ["succeeded", "duplicate", "rejected", "retryable"];
        let fields = Fields::read(node, &legal, &[], &mut self.report)?;
        let mut rule = |key| fields.get(key).and_then(|node| self.rule(node));
        let [succeeded, duplicate, rejected, retryable] = legal.map(&mut rule);
        fields.required("succeeded", &mut self.report)?;
        Some(ConfirmedBy { succeeded, duplicate, rejected, retryable, ..ConfirmedBy::by(Confirmation::Response) })
    }

    /// A confirmation that follows the response: how long it may take.
    fn later(&mut self, node: &Node, way: Confirmation) -> Option<ConfirmedBy> {
        let later = |within, limit, token| ConfirmedBy {
            within_ms: Some(within),
            limit_ms: Some(limit),
            token,
            ..ConfirmedBy::by(way)
        };
        if node.as_text().is_some() {
            let within = fields::duration_ms(node, 1, &mut self.report)?;
            return Some(later(within, within, false));
        }
        let legal: &[&str] = match way {
            Confirmation::Acks => &["within", "limit", "token"],
            _ => &["within", "limit", "verify_with"],
        };
        let fields = Fields::read(node, legal, &[], &mut self.report)?;
        let verify_with = fields.get("verify_with").and_then(|node| self.secret(node));
        let token = fields.get("token").and_then(|node| fields::boolean(node, &mut self.report)).unwrap_or(false);
        let within = fields::duration_ms(fields.required("within", &mut self.report)?, 1, &mut self.report)?;
        let limit = match fields.get("limit") {
            Some(node) => fields::duration_ms(node, 1, &mut self.report)?,
            None => within,
        };
        if limit < within {
            self.report.error(code::CONFIRMED_BY, node.at, "`limit` is shorter than `within`");
        }
        Some(ConfirmedBy { verify_with, ..later(within, limit, token) })
    }

    fn rule(&mut self, node: &Node) -> Option<String> {
        let source = fields::text(node, &mut self.report)?;
        self.expression(node.at, source, Scope::Response).map(|_| source.to_owned())
    }

    fn statuses(&mut self, fields: Fields<'_>, confirmed_by: &mut ConfirmedBy) {
        confirmed_by.rejected_status = self.status_list(fields, "rejected_status");
        confirmed_by.not_processed = self.status_list(fields, "not_processed");
        let both = confirmed_by.rejected_status.iter().find(|status| confirmed_by.not_processed.contains(status));
        if let Some(status) = both {
            let text = format!("{status} can't be both a definite no and a promise that nothing was processed");
            self.report.error(code::CONFIRMED_BY, fields.at(), text);
        }
    }

    fn status_list(&mut self, fields: Fields<'_>, key: &str) -> Vec<i32> {
        let Some(node) = fields.get(key) else { return Vec::new() };
        let items = fields::list(node, &mut self.report);
        let mut statuses: Vec<i32> =
            items.iter().filter_map(|item| fields::integer(item, 300..=599, &mut self.report)).collect();
        statuses.sort_unstable();
        if let Some(twice) = statuses.windows(2).find(|pair| pair[0] == pair[1]) {
            self.twice(node.at, twice[0]);
        }
        statuses.dedup();
        statuses
    }

    fn twice(&mut self, at: At, status: i32) {
        self.report.error(code::ILLEGAL_VALUE, at, format!("{status} is there twice"));
    }
}
