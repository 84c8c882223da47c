//! Bodies and query parameters, with problems that say what is wrong.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::{Code, Problem};

/// Longest body, in bytes.
pub(super) const MAX_BODY: usize = 2 * 1024 * 1024;
/// Longest wait that a request may ask for.
pub(super) const MAX_WAIT: Duration = Duration::from_mins(1);
/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(15);
/// Longest text that a person may write as a reason, in bytes.
const MAX_REASON: usize = 2_000;
/// Longest evidence, in bytes.
const MAX_EVIDENCE: usize = 16 * 1024;

/// A JSON body. It must be declared as JSON: a browser sends that to another origin only after asking, and is refused.
pub(super) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let declared = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let essence = declared.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(Code::CG306, format!("the content type is `{declared}`")));
        }
        let bytes = tokio::time::timeout(BODY_PATIENCE, Bytes::from_request(request, state))
            .await
            .map_err(|_| Problem::new(Code::CG309, "the body did not arrive in time"))?
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::CG305, format!("the limit is {MAX_BODY} bytes")),
                _ => Problem::new(Code::CG301, rejection.body_text()),
            })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|e| Problem::new(Code::CG301, e.to_string()))
    }
}

/// Query parameters; unknown ones are refused by the type.
pub(super) struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(params)| Self(params))
            .map_err(|rejection| Problem::new(Code::CG304, rejection.body_text()))
    }
}

/// `?wait=30s`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait: Option<String>,
}

impl Wait {
    /// The time to wait, or `default` where none is given.
    pub(super) fn or(&self, default: Duration) -> Result<Duration, Problem> {
        self.wait.as_deref().map_or(Ok(default), duration)
    }
}

/// A time to wait such as `30s` or `1m`, `MAX_WAIT` at most.
pub(super) fn duration(text: &str) -> Result<Duration, Problem> {
    let illegal = |why: String| Problem::new(Code::CG304, format!("wait={text}: {why}"));
    let wait = humantime::parse_duration(text).map_err(|e| illegal(e.to_string()))?;
    if wait > MAX_WAIT {
        return Err(illegal(format!("the longest wait is {} s; ask again after it", MAX_WAIT.as_secs())));
    }
    Ok(wait)
}

/// A reason: not blank, not endless.
pub(super) fn reason(text: &str) -> Result<String, Problem> {
    match text.trim() {
        "" => Err(Problem::new(Code::CG303, "reason is empty: say why, it is recorded for good")),
        long if long.len() > MAX_REASON => {
            Err(Problem::new(Code::CG303, format!("reason is longer than {MAX_REASON} bytes")))
        }
        reason => Ok(reason.to_owned()),
    }
}

/// Evidence: not endless.
pub(super) fn evidence(text: Option<String>) -> Result<Option<String>, Problem> {
    match text {
        Some(long) if long.len() > MAX_EVIDENCE => {
            Err(Problem::new(Code::CG303, format!("evidence is longer than {MAX_EVIDENCE} bytes")))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_short_duration() {
        assert_eq!(duration("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(duration("1m").unwrap(), MAX_WAIT);
        for wrong in ["", "30", "-1s", "61s", "1h", "soon"] {
            assert_eq!(duration(wrong).unwrap_err().code, Code::CG304, "{wrong}");
        }
    }

    #[test]
    fn a_reason_says_something() {
        assert_eq!(reason(" seen in their log ").unwrap(), "seen in their log");
        for wrong in ["", "  ", &"x".repeat(2001)] {
            assert_eq!(reason(wrong).unwrap_err().code, Code::CG303);
        }
    }
}
