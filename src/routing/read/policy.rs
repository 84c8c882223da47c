//! What holds for a target's dispatches: its own word, else that of `target_defaults`, else the built-in default.

use std::str::FromStr;

use super::Loader;
use super::fields::{self, Fields};
use crate::record::{
    Confirmation, ConfirmedBy, Escalation, OnExhausted, OnFailed, OnOverdue, OnUnknown, Retry, Timeouts,
};
use crate::routing::code;
use crate::routing::document::{Policy, Receipt};
use crate::routing::node::{Kind, Node};

/// The keys that a target and `target_defaults` share.
pub(super) const POLICY_KEYS: [&str; 11] = [
    "receipt",
    "on_unknown",
    "on_overdue",
    "on_exhausted",
    "on_failed",
    "retry",
    "timeouts",
    "escalation",
    "operator_confirm",
    "concurrency",
    "rate",
];

const RETRY_KEYS: [&str; 8] = [
    "attempts",
    "operator_attempts",
    "refusals",
    "schedule",
    "exponential",
    "jitter",
    "give_up_after",
    "retry_after_max",
];
const EXPONENTIAL_KEYS: [&str; 3] = ["first", "factor", "max"];
const TIMEOUT_KEYS: [&str; 3] = ["send_within", "request", "max_clock_skew"];
const ESCALATION_KEYS: [&str; 2] = ["first", "max"];

/// The default back-offs: 1 s to 1 h.
const SCHEDULE_MS: [i64; 7] = [1_000, 5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000];
/// Most entries of a schedule.
const MAX_SCHEDULE: usize = 64;
const HOUR_MS: i64 = 3_600_000;

/// A mapping of the target and the same one of the defaults.
#[derive(Clone, Copy)]
struct Layers<'n> {
    own: Option<Fields<'n>>,
    defaults: Option<Fields<'n>>,
}

impl<'n> Layers<'n> {
    fn get(&self, key: &str) -> Option<&'n Node> {
        [self.own, self.defaults].into_iter().flatten().find_map(|fields| fields.get(key))
    }
}

impl Loader<'_> {
    /// The policy of a target.
    pub(super) fn policy(
        &mut self,
        target: Fields<'_>,
        defaults: Option<Fields<'_>>,
        confirmed_by: ConfirmedBy,
    ) -> Policy {
        let layers = Layers { own: Some(target), defaults };
        let policy = Policy {
            confirmed_by,
            receipt: self.word(layers, "receipt", Receipt::None),
            on_unknown: self.word(layers, "on_unknown", OnUnknown::Hold),
            on_overdue: self.word(layers, "on_overdue", OnOverdue::Hold),
            on_exhausted: self.word(layers, "on_exhausted", OnExhausted::Hold),
            on_failed: self.word(layers, "on_failed", OnFailed::Settle),
            retry: self.retry(layers),
            timeouts: self.timeouts(layers),
            escalation: self.escalation(layers),
            operator_confirm: self.boolean(layers, "operator_confirm", true),
            concurrency: self.integer(layers, "concurrency", (32, 1, 10_000)),
            rate: layers.get("rate").and_then(|node| fields::word(node, &mut self.report)),
        };
        if policy.on_overdue == OnOverdue::Retry && policy.on_unknown == OnUnknown::Hold {
            let at = layers.get("on_overdue").map_or(target.at(), |node| node.at);
            let text = "`on_overdue: retry` would send again what the target may have processed, \
                        which `on_unknown: hold` forbids";
            self.report.error(code::UNSAFE_POLICY, at, text);
        }
        if policy.receipt == Receipt::Digest && policy.confirmed_by.by == Confirmation::Transport {
            let at = layers.get("receipt").map_or(target.at(), |node| node.at);
            let text = "`receipt: digest` asks for a word of the target, and `confirmed_by: transport` for none";
            self.report.error(code::CONFIRMED_BY, at, text);
        }
        policy
    }

    fn retry(&mut self, layers: Layers<'_>) -> Retry {
        let layers = self.section(layers, "retry", &RETRY_KEYS);
        let retry_after_max_ms = self.duration(layers, "retry_after_max", HOUR_MS, 0);
        let give_up_after_ms =
            layers.get("give_up_after").and_then(|node| fields::duration_ms(node, 1, &mut self.report));
        Retry {
            attempts: self.integer(layers, "attempts", (8, 1, 1_000)),
            operator_attempts: self.integer(layers, "operator_attempts", (3, 0, 1_000)),
            refusals: self.integer(layers, "refusals", (3, 1, 1_000)),
            schedule_ms: self.schedule(layers),
            jitter_percent: self.integer(layers, "jitter", (20, 0, 100)),
            give_up_after_ms,
            retry_after_max_ms,
        }
    }

    /// The back-offs: as they are written out, or as they grow. The target's word of either kind comes before that of the
    /// defaults.
    fn schedule(&mut self, layers: Layers<'_>) -> Vec<i64> {
        for fields in [layers.own, layers.defaults].into_iter().flatten() {
            match (fields.get("schedule"), fields.get("exponential")) {
                (Some(_), Some(node)) => {
                    let text = "back-offs are a `schedule` or `exponential`, not both";
                    self.report.error(code::ILLEGAL_VALUE, node.at, text);
                }
                (Some(node), None) => return self.written_out(node),
                (None, Some(node)) => return self.growing(node).unwrap_or_else(|| SCHEDULE_MS.to_vec()),
                (None, None) => {}
            }
        }
        SCHEDULE_MS.to_vec()
    }

    fn written_out(&mut self, node: &Node) -> Vec<i64> {
        let items = fields::list(node, &mut self.report);
        if !(1..=MAX_SCHEDULE).contains(&items.len()) {
            let text = format!("a schedule has 1 to {MAX_SCHEDULE} durations");
            self.report.error(code::ILLEGAL_VALUE, node.at, text);
        }
        items.iter().filter_map(|item| fields::duration_ms(item, 1, &mut self.report)).collect()
    }

    /// `first`, then `factor` times as much each time, up to `max`: the same list that could have been written out.
    fn growing(&mut self, node: &Node) -> Option<Vec<i64>> {
        let fields = Fields::read(node, &EXPONENTIAL_KEYS, &[], &mut self.report)?;
        let first = fields.required("first", &mut self.report);
        let first = first.and_then(|node| fields::duration_ms(node, 1, &mut self.report));
        let max = fields.required("max", &mut self.report);
        let max = max.and_then(|node| fields::duration_ms(node, 1, &mut self.report));
        let factor = fields.get("factor").map_or(Some(2_000), |node| self.thousandths(node));
        let (first, max, factor) = (first?, max?, factor?);
        if max < first {
            self.report.error(code::ILLEGAL_VALUE, node.at, "`max` is shorter than `first`");
            return None;
        }
        let mut schedule = vec![first];
        while let Some(last) = schedule.last().copied().filter(|last| *last < max) {
            if schedule.len() == MAX_SCHEDULE {
                let text = format!("`max` is reached after more than {MAX_SCHEDULE} back-offs");
                self.report.error(code::ILLEGAL_VALUE, node.at, text);
                return None;
            }
            schedule.push((last.saturating_mul(factor) / 1_000).max(last + 1).min(max));
        }
        Some(schedule)
    }

    /// A factor of 1.1 to 10, in thousandths.
    fn thousandths(&mut self, node: &Node) -> Option<i64> {
        #[allow(clippy::cast_possible_truncation)]
        let thousandths = match node.kind {
            Kind::Int(factor) => factor.checked_mul(1_000),
            Kind::Float(factor) if (1.0..=10.0).contains(&factor) => Some((factor * 1_000.0).round() as i64),
            _ => None,
        };
        let legal = thousandths.filter(|thousandths| (1_100..=10_000).contains(thousandths));
        if legal.is_none() {
            self.report.error(code::ILLEGAL_VALUE, node.at, "a factor is a number from 1.1 to 10");
        }
        legal
    }

    fn timeouts(&mut self, layers: Layers<'_>) -> Timeouts {
        let layers = self.section(layers, "timeouts", &TIMEOUT_KEYS);
        Timeouts {
            send_within_ms: self.duration(layers, "send_within", 30_000, 1),
            request_ms: self.duration(layers, "request", 30_000, 1),
            max_clock_skew_ms: self.duration(layers, "max_clock_skew", 5_000, 0),
        }
    }

    fn escalation(&mut self, layers: Layers<'_>) -> Escalation {
        let place = layers.get("escalation").map(|node| node.at);
        let layers = self.section(layers, "escalation", &ESCALATION_KEYS);
        let escalation = Escalation {
            first_ms: self.duration(layers, "first", HOUR_MS, 1),
            max_ms: self.duration(layers, "max", 24 * HOUR_MS, 1),
        };
        if let Some(at) = place.filter(|_| escalation.max_ms < escalation.first_ms) {
            self.report.error(code::ILLEGAL_VALUE, at, "`max` is shorter than `first`");
        }
        escalation
    }

    /// A mapping below the policy: key by key the target's, else the defaults'.
    fn section<'n>(&mut self, layers: Layers<'n>, key: &str, legal: &[&str]) -> Layers<'n> {
        let mut read = |fields: Option<Fields<'n>>| {
            fields?.get(key).and_then(|node| Fields::read(node, legal, &[], &mut self.report))
        };
        Layers { own: read(layers.own), defaults: read(layers.defaults) }
    }

    fn word<T: FromStr<Err = String>>(&mut self, layers: Layers<'_>, key: &str, default: T) -> T {
        layers.get(key).and_then(|node| fields::word(node, &mut self.report)).unwrap_or(default)
    }

    fn boolean(&mut self, layers: Layers<'_>, key: &str, default: bool) -> bool {
        layers.get(key).and_then(|node| fields::boolean(node, &mut self.report)).unwrap_or(default)
    }

    fn duration(&mut self, layers: Layers<'_>, key: &str, default_ms: i64, least_ms: i64) -> i64 {
        let node = layers.get(key);
        node.and_then(|node| fields::duration_ms(node, least_ms, &mut self.report)).unwrap_or(default_ms)
    }

    fn integer<T>(&mut self, layers: Layers<'_>, key: &str, (default, least, most): (T, T, T)) -> T
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        let node = layers.get(key);
        node.and_then(|node| fields::integer(node, least..=most, &mut self.report)).unwrap_or(default)
    }
}
