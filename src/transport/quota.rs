//! What a target says of its quota: the `RateLimit` field of the IETF's draft-ietf-httpapi-ratelimit-headers-10.
//!
//! ```text
//! RateLimit-Policy: "burst";q=100;w=60
//! RateLimit: "burst";r=0;t=30
//! ```

use std::collections::BTreeMap;

use sfv::{BareItem, List, ListEntry, Parameters, Parser};

/// Longest field that is read, in bytes.
const MAX_FIELD: usize = 4 * 1024;

/// How long, in milliseconds, an answer says that nothing is left of the target's quota of requests; `None` if something is, or it
/// says nothing. Fields that aren't as the draft has them are as good as absent.
pub(super) fn exhausted_for_ms(headers: &BTreeMap<String, String>) -> Option<i64> {
    let policies = list(headers, "ratelimit-policy");
    let counts_requests = |policy: &str| {
        let unit = policies.iter().find(|(name, _)| name == policy).and_then(|(_, parameters)| text(parameters, "qu"));
        unit.is_none_or(|unit| unit == "requests")
    };
    let limits = list(headers, "ratelimit");
    let exhausted = limits.iter().filter(|(policy, of)| counts_requests(policy) && number(of, "r") == Some(0));
    exhausted.filter_map(|(_, of)| number(of, "t")?.checked_mul(1_000)).filter(|ms| *ms > 0).max()
}

/// The named items of a field that is a list of them.
fn list(headers: &BTreeMap<String, String>, name: &str) -> Vec<(String, Parameters)> {
    let field = headers.get(name).filter(|field| field.len() <= MAX_FIELD);
    let Some(Ok(list)) = field.map(|field| Parser::new(field).parse::<List>()) else { return Vec::new() };
    let named = |entry| match entry {
        ListEntry::Item(item) => Some((word(&item.bare_item)?.to_owned(), item.params)),
        ListEntry::InnerList(_) => None,
    };
    list.into_iter().filter_map(named).collect()
}

fn word(item: &BareItem) -> Option<&str> {
    match item {
        BareItem::String(text) => Some(text.as_str()),
        BareItem::Token(token) => Some(token.as_str()),
        _ => None,
    }
}

fn text<'p>(parameters: &'p Parameters, name: &str) -> Option<&'p str> {
    parameters.iter().find(|(key, _)| key.as_str() == name).and_then(|(_, value)| word(value))
}

fn number(parameters: &Parameters, name: &str) -> Option<i64> {
    let found = parameters.iter().find(|(key, _)| key.as_str() == name);
    found.and_then(|(_, value)| value.as_integer()).map(i64::from).filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_what_a_target_says_of_its_quota() {
        let rows = [
            // The draft's own.
            (r#""default";r=50;t=30"#, "", None),
            (r#""default";r=0;t=30"#, "", Some(30_000)),
            (r#""default";r=999;pk=:dHJpYWwxMjEzMjM=:"#, r#""default";q=1000"#, None),
            // Of several the longest: each must have something left.
            (
                r#""burst";r=0;t=5, "daily";r=0;t=3600"#,
                r#""burst";q=100;w=60, "daily";q=1000;w=86400"#,
                Some(3_600_000),
            ),
            (r#""burst";r=0;t=5, "daily";r=7;t=3600"#, "", Some(5_000)),
            ("burst;r=0;t=5", "", Some(5_000)),
            // Of other units a request isn't one.
            (r#""bytes";r=0;t=60"#, r#""bytes";q=1000000;w=60;qu="content-bytes""#, None),
            (
                r#""bytes";r=0;t=60, "all";r=0;t=2"#,
                r#""bytes";q=9;qu="content-bytes", "all";q=9;qu="requests""#,
                Some(2_000),
            ),
            // It doesn't say until when, or nothing of it makes sense.
            (r#""default";r=0"#, "", None),
            (r#""default";t=30"#, "", None),
            (r#""default";r=0;t=0"#, "", None),
            (r#""default";r=0;t=-5"#, "", None),
            (r#""default";r=0;t=1.5"#, "", None),
            (r#""default";r=0;t=999999999999999"#, "", Some(999_999_999_999_999_000)),
            (r#""default";r=0;t=9999999999999999"#, "", None),
            (r#"("default");r=0;t=30"#, "", None),
            ("7;r=0;t=30", "", None),
            ("limit=100, remaining=0, reset=30", "", None),
            (r#""default;r=0;t=30"#, "", None),
            ("", "", None),
            // A policy that can't be read is none.
            (r#""default";r=0;t=30"#, "\"default", Some(30_000)),
        ];
        for (limit, policy, expected) in rows {
            let fields = [("ratelimit", limit), ("ratelimit-policy", policy)];
            let headers = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
            assert_eq!(exhausted_for_ms(&headers), expected, "{limit} | {policy}");
        }
        assert_eq!(exhausted_for_ms(&BTreeMap::new()), None);
        let long = format!(r#""{}";r=0;t=30"#, "a".repeat(MAX_FIELD));
        assert_eq!(exhausted_for_ms(&BTreeMap::from([("ratelimit".to_owned(), long)])), None);
    }
}
