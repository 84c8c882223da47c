//! Rules over a response: what a target's answer means.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{Evaluator, Expression, Scope};

/// A target's answer, as rules see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// HTTP status; `status` in rules.
    pub status: u16,
    /// Headers; `headers` in rules, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body; in rules `text` (invalid UTF-8 replaced) and `body` (parsed JSON, null if it is none).
    pub body: Vec<u8>,
}

/// A rule over a response, checked once and asked any number of times.
#[derive(Clone)]
pub struct Rule(Expression);

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({:?})", self.0.source())
    }
}

impl Rule {
    /// Checks a rule. The error says what is wrong with it.
    pub fn compile(rule: &str) -> Result<Self, String> {
        Expression::compile(rule, Scope::Response, &BTreeMap::new()).map(Self)
    }

    /// Whether the rule holds for a response. A rule that fails on it (it reads a field of a body that isn't JSON, say)
    /// says so: it does not hold.
    pub fn holds(&self, response: &Response) -> Result<bool, String> {
        let headers: Map<String, Json> = response
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), Json::String(value.clone())))
            .collect();
        let variables = [
            ("status", Json::from(response.status)),
            ("headers", Json::Object(headers)),
            ("body", serde_json::from_slice(&response.body).unwrap_or(Json::Null)),
            ("text", Json::String(String::from_utf8_lossy(&response.body).into_owned())),
        ];
        Evaluator::new(variables, &Arc::new(BTreeMap::new()))?.holds(&self.0)
    }
}

/// Whether a rule, as it stands in a plan, holds for a response; the error says why it can't be told. The rule is checked
/// at each call: keep a [`Rule`] to ask it often.
pub fn response_rule(rule: &str, response: &Response) -> Result<bool, String> {
    Rule::compile(rule)?.holds(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(body: &str) -> Response {
        let headers = BTreeMap::from([("X-Request".to_owned(), "7".to_owned())]);
        Response { status: 200, headers, body: body.into() }
    }

    #[test]
    fn a_rule_sees_status_headers_body_and_text() {
        let response = ok(r#"{"result":"ok","count":2}"#);
        for rule in [
            "status == 200 && body.result == 'ok'",
            "headers['x-request'] == '7'",
            "body.count + 1 == 3",
            "text.contains('result')",
            "status in [200, 201]",
        ] {
            assert_eq!(response_rule(rule, &response), Ok(true), "{rule}");
        }
        assert_eq!(response_rule("status == 409", &response), Ok(false));
    }

    #[test]
    fn a_body_that_is_no_json_is_null() {
        assert_eq!(response_rule("body == null && text == 'oops'", &ok("oops")), Ok(true));
        assert!(response_rule("body.result == 'ok'", &ok("oops")).is_err());
        assert_eq!(response_rule("body != null && body.result == 'ok'", &ok("oops")), Ok(false));
    }

    #[test]
    fn a_rule_sees_nothing_of_the_file() {
        for rule in ["data.x == 1", "attempt == 1", "omit()", "lookup('t', 'k').c == 'x'", "status"] {
            assert!(response_rule(rule, &ok("{}")).is_err(), "{rule}");
        }
    }
}
