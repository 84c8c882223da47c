//! `targets` and `target_defaults`.

use std::collections::BTreeMap;

use super::Loader;
use super::fields::Fields;
use super::policy::POLICY_KEYS;
use super::request::WayOut;
use crate::record::{Confirmation, TargetName, TransportKind};
use crate::routing::code;
use crate::routing::document::{Receipt, Target};
use crate::routing::node::Entry;

/// Targets by name; `None` for one that can't be used, which has been said.
pub(super) type Targets = BTreeMap<TargetName, Option<Target>>;

/// Keys of a target that a later version takes.
const LATER: [&str; 1] = ["content"];
/// What carries requests.
const TRANSPORTS: [&str; 3] = ["http", "webhook", "kafka"];
const MAX_OWNER: usize = 128;

impl Loader<'_> {
    pub(super) fn targets(&mut self, sections: Fields<'_>) -> Targets {
        let legal: Vec<&str> = POLICY_KEYS.into_iter().chain(["owner", "confirmed_by", "envelope"]).collect();
        let defaults =
            sections.get("target_defaults").and_then(|node| Fields::read(node, &legal, &LATER, &mut self.report));
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
        let legal: Vec<&str> = ["owner", "description", "http", "webhook", "kafka", "envelope", "confirmed_by"]
            .into_iter()
            .chain(POLICY_KEYS)
            .collect();
        let fields = Fields::read(&entry.value, &legal, &LATER, &mut self.report)?;
        fields.text("description", &mut self.report);
        let owner = self.owner(entry, fields, defaults);
        let way_out = self.way_out(entry, fields);
        let envelope = self.envelope(fields, defaults);
        let confirmed_by = self.confirmed_by(fields, defaults)?;
        let policy = self.policy(fields, defaults, confirmed_by);
        let (http, parts) = way_out?;
        if http.transport == TransportKind::Kafka && policy.confirmed_by.by == Confirmation::Response {
            let hint = "callback, acks, or transport: the topic has the record";
            let text = "a topic gives no response that could confirm";
            self.report.error_with_hint(code::CONFIRMED_BY, entry.at, text, hint);
        }
        if http.in_transaction && policy.rate.is_some() {
            let text = "records of one transaction leave together: they can't be paced";
            self.report.error_with_hint(code::REQUEST, entry.at, text, "no `rate`, or in_transaction: false");
        }
        let target = Target { owner: owner?, http, policy, parts, envelope };
        self.check_envelope(entry, &target);
        if target.policy.receipt == Receipt::Digest && !target.has_body() {
            let text = format!("`{}` carries no body that a receipt could be of", target.http.method);
            self.report.error_with_hint(code::REQUEST, entry.at, text, "receipt: none");
        }
        Some(target)
    }

    /// An event has a body, and its attributes are nobody else's headers.
    fn check_envelope(&mut self, entry: &Entry, target: &Target) {
        if target.envelope.is_none() {
            return;
        }
        let at = entry.value.field("envelope").map_or(entry.at, |node| node.at);
        if !target.has_body() {
            let text = format!("`{}` carries no body that an envelope could stand around", target.http.method);
            self.report.error_with_hint(code::REQUEST, at, text, "envelope: none");
        }
        let mut names = target.http.headers.keys().chain(target.parts.headers.keys());
        if let Some(name) = names.find(|name| name.starts_with("ce-") || name.starts_with("ce_")) {
            let text = format!("the header `{name}` is the envelope's to set");
            self.report.error(code::REQUEST, at, text);
        }
    }

    /// What carries the target's requests: exactly one of the transports.
    fn way_out(&mut self, entry: &Entry, fields: Fields<'_>) -> Option<WayOut> {
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

    fn owner(&mut self, entry: &Entry, fields: Fields<'_>, defaults: Option<Fields<'_>>) -> Option<String> {
        let Some(node) = [Some(fields), defaults].into_iter().flatten().find_map(|fields| fields.get("owner")) else {
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
