//! `targets` and `target_defaults`.

use std::collections::BTreeMap;

use super::Loader;
use super::fields::Fields;
use super::policy::POLICY_KEYS;
use crate::record::{Confirmation, TargetName, TransportKind};
use crate::routing::code;
use crate::routing::document::{Http, Target};
use crate::routing::node::Entry;
use crate::routing::template::Template;

/// Targets by name; `None` for one that can't be used, which has been said.
pub(super) type Targets = BTreeMap<TargetName, Option<Target>>;

/// Keys of a target that a later version takes.
const LATER: [&str; 2] = ["envelope", "content"];
/// What carries requests.
const TRANSPORTS: [&str; 3] = ["http", "webhook", "kafka"];
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
        let legal: Vec<&str> = ["owner", "description", "http", "webhook", "kafka", "confirmed_by"]
            .into_iter()
            .chain(POLICY_KEYS)
            .collect();
        let fields = Fields::read(&entry.value, &legal, &LATER, &mut self.report)?;
        fields.text("description", &mut self.report);
        let owner = self.owner(entry, fields);
        let http = self.way_out(entry, fields);
        let confirmed_by = self.confirmed_by(fields)?;
        let policy = self.policy(fields, defaults, confirmed_by);
        let http = http?;
        if http.transport == TransportKind::Kafka && policy.confirmed_by.by == Confirmation::Response {
            let hint = "callback, acks, or transport: the topic has the record";
            let text = "a topic gives no response that could confirm";
            self.report.error_with_hint(code::CONFIRMED_BY, entry.at, text, hint);
        }
        let key = fields.get("kafka").and_then(|node| node.field("key")).map(|node| Template::read(node, self));
        Some(Target { owner: owner?, http, policy, key })
    }

    /// What carries the target's requests: exactly one of the transports.
    fn way_out(&mut self, entry: &Entry, fields: Fields<'_>) -> Option<Http> {
        let ways: Vec<&str> = TRANSPORTS.into_iter().filter(|way| fields.get(way).is_some()).collect();
        let [way] = ways.as_slice() else {
            let name = &entry.key;
            if !ways.is_empty() {
                let text = format!("`{name}` has {}: a target is reached in one way", ways.join(" and "));
                self.report.error(code::REQUEST, entry.at, text);
            } else if !LATER.iter().any(|key| entry.value.field(key).is_some()) {
                let text = format!("`{name}` has none of {}: it can't be reached", TRANSPORTS.join(", "));
                self.report.error(code::MISSING_KEY, entry.at, text);
            }
            return None;
        };
        let node = fields.get(way)?;
        match *way {
            "http" => self.http(node),
            "webhook" => self.webhook(node),
            _ => self.kafka(node),
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
