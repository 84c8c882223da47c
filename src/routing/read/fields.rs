//! Reading the keys of a mapping: unknown ones are errors, and so are values of the wrong kind.

use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::routing::code;
use crate::routing::diagnostic::{Report, suggestion};
use crate::routing::node::{At, Kind, Node};

/// Longest duration that a document may name: ten years, in milliseconds.
const MAX_DURATION_MS: i64 = 10 * 365 * 24 * 3_600_000;

/// The keys of one mapping whose names have been checked.
#[derive(Clone, Copy)]
pub(super) struct Fields<'n> {
    node: &'n Node,
}

impl<'n> Fields<'n> {
    /// Checks that a node is a mapping with no other keys than the legal ones. Keys of `later` are named as what a later
    /// version will take.
    pub(super) fn read(node: &'n Node, legal: &[&str], later: &[&str], report: &mut Report) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            let hint = format!("its keys are {}", legal.join(", "));
            let text = format!("a mapping stands here, not {}", node.what());
            report.error_with_hint(code::ILLEGAL_VALUE, node.at, text, hint);
            return None;
        };
        for entry in entries {
            let key = entry.key.as_str();
            if later.contains(&key) {
                report.error(code::NOT_IN_THIS_VERSION, entry.at, format!("`{key}` is not in this version"));
            } else if !legal.contains(&key) {
                let hint = suggestion(key, legal.iter().copied()).unwrap_or_default();
                report.error_with_hint(code::UNKNOWN_KEY, entry.at, format!("`{key}` is no key here"), hint);
            }
        }
        Some(Self { node })
    }

    /// Where the mapping begins.
    pub(super) const fn at(self) -> At {
        self.node.at
    }

    /// The value of a key. A key without a value is as good as absent.
    pub(super) fn get(self, key: &str) -> Option<&'n Node> {
        self.node.field(key).filter(|node| !matches!(node.kind, Kind::Null))
    }

    /// The value of a key that must be there.
    pub(super) fn required(self, key: &str, report: &mut Report) -> Option<&'n Node> {
        let value = self.get(key);
        if value.is_none() {
            report.error(code::MISSING_KEY, self.node.at, format!("`{key}` is missing"));
        }
        value
    }

    /// The text of a key.
    pub(super) fn text(self, key: &str, report: &mut Report) -> Option<&'n str> {
        self.get(key).and_then(|node| text(node, report))
    }
}

/// A text.
pub(super) fn text<'n>(node: &'n Node, report: &mut Report) -> Option<&'n str> {
    let text = node.as_text();
    if text.is_none() {
        report.error(code::ILLEGAL_VALUE, node.at, format!("a text stands here, not {}", node.what()));
    }
    text
}

/// The items of a list.
pub(super) fn list<'n>(node: &'n Node, report: &mut Report) -> &'n [Node] {
    if let Kind::List(items) = &node.kind {
        return items;
    }
    report.error(code::ILLEGAL_VALUE, node.at, format!("a list stands here, not {}", node.what()));
    &[]
}

/// A boolean.
pub(super) fn boolean(node: &Node, report: &mut Report) -> Option<bool> {
    if let Kind::Bool(value) = node.kind {
        return Some(value);
    }
    report.error(code::ILLEGAL_VALUE, node.at, format!("`true` or `false` stands here, not {}", node.what()));
    None
}

/// An integer of a range.
pub(super) fn integer<T>(node: &Node, range: RangeInclusive<T>, report: &mut Report) -> Option<T>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    let value = match node.kind {
        Kind::Int(value) => T::try_from(value).ok().filter(|value| range.contains(value)),
        _ => None,
    };
    if value.is_none() {
        let text = format!("an integer from {} to {} stands here", range.start(), range.end());
        report.error(code::ILLEGAL_VALUE, node.at, text);
    }
    value
}

/// One word of a few.
pub(super) fn word<T: FromStr<Err = String>>(node: &Node, report: &mut Report) -> Option<T> {
    match text(node, report)?.parse() {
        Ok(word) => Some(word),
        Err(why) => {
            report.error(code::ILLEGAL_VALUE, node.at, why);
            None
        }
    }
}

/// A duration such as `30s` or `1h 30m`, in milliseconds; at least `least_ms`.
pub(super) fn duration_ms(node: &Node, least_ms: i64, report: &mut Report) -> Option<i64> {
    let parsed = node
        .as_text()
        .and_then(|text| humantime::parse_duration(text).ok())
        .and_then(|duration| i64::try_from(duration.as_millis()).ok());
    let Some(millis) = parsed else {
        let text = format!("a duration stands here, not {}", node.as_text().unwrap_or(node.what()));
        report.error_with_hint(code::ILLEGAL_VALUE, node.at, text, "such as 500ms, 30s, 10m, 2h, 7d");
        return None;
    };
    if (least_ms..=MAX_DURATION_MS).contains(&millis) {
        return Some(millis);
    }
    report.error(code::ILLEGAL_VALUE, node.at, format!("the duration must be from {least_ms}ms to ten years"));
    None
}
