//! `targets` and `target_defaults`.

use std::collections::BTreeMap;

use super::Loader;
use super::fields::Fields;
use super::policy::POLICY_KEYS;
use crate::record::TargetName;
use crate::routing::code;
use crate::routing::document::{Http, Target};
use crate::routing::node::Entry;

/// Targets by name; `None` for one that can't be used, which has been said.
pub(super) type Targets = BTreeMap<TargetName, Option<Target>>;

/// Keys of a target that a later version takes.
const LATER: [&str; 3] = ["kafka", "envelope", "content"];
const MAX_OWNER: usize = 128;

impl Loader<'_> {
    pub(super) fn targets(&mut self, sections: Fields<'_>) -> Targets {
        let defaults =
            sections.get("target_defaults").and_then(|node| Fields::read(node, &POLICY_KEYS, &LATER, &mut self.report));
        let mut targets = Targets::new();
        let Some(section) = sections.get("targets") else { return targets };
        if section.entries().is_empty() {
            self.report.error(code::ILLEGAL_VALUE, section.at, "`targets` is a mapping of names");
        }
        for entry in section.entries() {
            match TargetName::parse(&entry.key) {
                Ok(name) => {
                    let target = self.target(entry, defaults);
                    targets.insert(name, target);
                }
                Err(why) => self.report.error(code::ILLEGAL_NAME, entry.at, why.to_string()),
            }
        }
        targets
    }

    fn target(&mut self, entry: &Entry, defaults: Option<Fields<'_>>) -> Option<Target> {
        let legal: Vec<&str> =
            ["owner", "description", "http", "webhook", "confirmed_by"].into_iter().chain(POLICY_KEYS).collect();
        let fields = Fields::read(&entry.value, &legal, &LATER, &mut self.report)?;
        fields.text("description", &mut self.report);
        let owner = self.owner(entry, fields);
        let http = self.way_out(entry, fields);
        let confirmed_by = self.confirmed_by(fields)?;
        let policy = self.policy(fields, defaults, confirmed_by);
        Some(Target { owner: owner?, http: http?, policy })
    }

    /// What carries the target's requests: exactly one of the transports.
    fn way_out(&mut self, entry: &Entry, fields: Fields<'_>) -> Option<Http> {
        match (fields.get("http"), fields.get("webhook")) {
            (Some(node), None) => self.http(node),
            (None, Some(node)) => self.webhook(node),
            (Some(_), Some(node)) => {
                let text = format!("`{}` has `http` and `webhook`: a target is reached in one way", entry.key);
                self.report.error(code::REQUEST, node.at, text);
                None
            }
            (None, None) => {
                if !LATER.iter().any(|key| entry.value.field(key).is_some()) {
                    let text = format!("`{}` has neither `http` nor `webhook`: it can't be reached", entry.key);
                    self.report.error(code::MISSING_KEY, entry.at, text);
                }
                None
            }
        }
    }

    fn owner(&mut self, entry: &Entry, fields: Fields<'_>) -> Option<String> {
        let Some(node) = fields.get("owner") else {
            let text = format!("`{}` has no `owner`: nobody would be accountable for it", entry.key);
            self.report.error(code::MISSING_KEY, entry.at, text);
            return None;
        };
        let owner = super::fields::text(node, &mut self.report)?;
        if owner.trim() != owner || owner.is_empty() || owner.len() > MAX_OWNER || owner.chars().any(char::is_control) {
            let text = format!("an owner is a text of 1 to {MAX_OWNER} bytes without control characters");
            self.report.error(code::ILLEGAL_NAME, node.at, text);
        }
        Some(owner.to_owned())
    }
}
