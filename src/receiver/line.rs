//! What receivers say as they go: a line for each request, each file that is taken and each report.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::journal::Received;
use crate::record::Timestamp;

/// Most bytes of a path or of a header's value on a line.
const MAX_VALUE: usize = 1024;
/// Keys that are remembered; the oldest go first.
const MAX_KEYS: usize = 500_000;

/// The headers that stand on a line. Credentials, tokens and signatures don't.
const OF_INTEREST: [&str; 14] = [
    "ce-id",
    "ce-source",
    "ce-type",
    "consign-attempt",
    "consign-attempts-left",
    "consign-callback-url",
    "content-digest",
    "content-length",
    "content-type",
    "idempotency-key",
    "traceparent",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
];

/// What a request's signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// There is no key to check it by.
    Unchecked,
    /// It is by one of the keys, over these bytes, and fresh.
    Valid,
    /// It is right, but more than five minutes away from now.
    Stale,
    /// It is by none of the keys, or over other bytes.
    Invalid,
    /// One of its three headers is missing.
    Absent,
}

/// What a request's `Content-Digest` is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestCheck {
    /// There is none with `sha-256`.
    Absent,
    /// It is that of the body.
    Valid,
    /// It is that of something else.
    Invalid,
}

/// What came before with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// Nothing.
    First,
    /// The same body.
    Duplicate,
    /// Another body.
    Conflict,
    /// It isn't looked at: the request is refused, or has no key.
    Unknown,
}

/// One line of what receivers say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Line {
    /// They listen.
    Listening {
        /// Where; the first segment of a path below it names the target.
        url: String,
    },
    /// A request came. It says so before it is answered.
    Request(Box<RequestLine>),
    /// A file was taken: the one effect of its key.
    Taken {
        /// When, by the wall clock.
        at: Timestamp,
        /// The target.
        target: String,
        /// The key.
        idempotency_key: String,
        /// `sha256:` and the digest of the body in hex.
        body_digest: String,
    },
    /// A report by callback was answered, or couldn't be made.
    Report {
        /// When, by the wall clock.
        at: Timestamp,
        /// The key of the request that it is about.
        idempotency_key: String,
        /// What it said.
        outcome: String,
        /// The status that it was answered; null if it wasn't.
        status: Option<u16>,
        /// Why it wasn't answered.
        why: Option<String>,
    },
    /// A report stands on the acks topic.
    Ack {
        /// When, by the wall clock.
        at: Timestamp,
        /// The key of the request that it is about.
        idempotency_key: String,
        /// Its kind.
        outcome: String,
    },
}

/// A request, as a line says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestLine {
    /// When its head had been read, by the wall clock.
    pub at: Timestamp,
    /// The target: the first segment of the path.
    pub target: String,
    /// The Idempotency-Key header, or an empty text.
    pub idempotency_key: String,
    /// The Consign-Attempt header.
    pub attempt: Option<i32>,
    /// HTTP method.
    pub method: String,
    /// Path and query, at most 1 KiB.
    pub path: String,
    /// The headers of interest by lower-case name, at most 1 KiB of each; neither credentials nor tokens.
    pub headers: BTreeMap<String, String>,
    /// `sha256:` and the digest of the body in hex.
    pub body_digest: String,
    /// Its bytes.
    pub body_bytes: usize,
    /// What the signature is worth.
    pub signature: Signature,
    /// What the `Content-Digest` is worth.
    pub digest: DigestCheck,
    /// What came before with the same key.
    pub repeat: Repeat,
    /// How many requests with the key came before.
    pub earlier: usize,
}

impl Line {
    pub(super) fn request(received: &Received, checks: (Signature, DigestCheck), seen: (Repeat, usize)) -> Self {
        let of_interest = received.headers.iter().filter(|(name, _)| OF_INTEREST.contains(&name.as_str()));
        Self::Request(Box::new(RequestLine {
            at: received.received_at,
            target: cut(&received.target),
            idempotency_key: cut(&received.idempotency_key),
            attempt: received.attempt,
            method: received.method.clone(),
            path: cut(&received.path),
            headers: of_interest.map(|(name, value)| (name.clone(), cut(value))).collect(),
            body_digest: format!("sha256:{}", received.body_sha256),
            body_bytes: received.body.0.len(),
            signature: checks.0,
            digest: checks.1,
            repeat: seen.0,
            earlier: seen.1,
        }))
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_VALUE)].to_owned()
}

/// The word that serializes a value without fields.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

impl fmt::Display for Line {
    /// For people; what is from outside has its control characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { url } => write!(f, "consign receiver: {url} (any target, such as {url}/billing)"),
            Self::Request(line) => {
                let RequestLine { at, method, path, idempotency_key, body_bytes, .. } = &**line;
                write!(f, "{at} {method} {path} {idempotency_key}")?;
                if let Some(attempt) = line.attempt {
                    write!(f, " attempt {attempt}")?;
                }
                let digest: String = line.body_digest.chars().take(19).collect();
                write!(f, ", {body_bytes} bytes, {digest}…, {}", word(line.repeat))?;
                if line.signature != Signature::Unchecked {
                    write!(f, ", signature {}", word(line.signature))?;
                }
                if line.digest != DigestCheck::Absent {
                    write!(f, ", digest {}", word(line.digest))?;
                }
                Ok(())
            }
            Self::Taken { at, idempotency_key, .. } => write!(f, "{at} taken {idempotency_key}"),
            Self::Report { at, idempotency_key, outcome, status: Some(status), .. } => {
                write!(f, "{at} reported {outcome} of {idempotency_key}: {status}")
            }
            Self::Report { at, idempotency_key, outcome, why, .. } => {
                let why = why.as_deref().unwrap_or("no answer");
                write!(f, "{at} could not report {outcome} of {idempotency_key}: {why}")
            }
            Self::Ack { at, idempotency_key, outcome } => write!(f, "{at} acked {outcome} of {idempotency_key}"),
        }
    }
}

/// Compares the `Content-Digest` (RFC 9530) with the body.
pub(super) fn check_digest(headers: &HeaderMap, body: &[u8]) -> DigestCheck {
    let values = headers.get_all("content-digest").iter().filter_map(|value| value.to_str().ok());
    let mut members = values.flat_map(|value| value.split(',')).map(str::trim);
    let Some(encoded) = members.find_map(|member| member.strip_prefix("sha-256=")) else { return DigestCheck::Absent };
    let encoded = encoded.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    match encoded.and_then(|encoded| STANDARD.decode(encoded).ok()) {
        Some(digest) if digest[..] == Sha256::digest(body)[..] => DigestCheck::Valid,
        _ => DigestCheck::Invalid,
    }
}

/// What is known of a key.
#[derive(Debug, Clone, Default)]
struct Known {
    requests: usize,
    first_body: String,
    is_taken: bool,
}

/// The keys that came, by target.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: BTreeMap<(String, String), Known>,
    order: VecDeque<(String, String)>,
}

impl Seen {
    /// Counts a request; gives what came before.
    pub(super) fn count(&mut self, target: &str, key: &str, body_sha256: &str) -> (Repeat, usize) {
        let place = (target.to_owned(), key.to_owned());
        if !self.known.contains_key(&place) {
            self.order.push_back(place.clone());
            if self.order.len() > MAX_KEYS
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        let known = self.known.entry(place).or_default();
        known.requests += 1;
        if known.requests == 1 {
            body_sha256.clone_into(&mut known.first_body);
        }
        let repeat = match known.requests {
            _ if key.is_empty() => Repeat::Unknown,
            1 => Repeat::First,
            _ if known.first_body == body_sha256 => Repeat::Duplicate,
            _ => Repeat::Conflict,
        };
        (repeat, known.requests - 1)
    }

    /// Takes a file once; gives whether this was the time.
    pub(super) fn take(&mut self, target: &str, key: &str) -> bool {
        let known = self.known.get_mut(&(target.to_owned(), key.to_owned()));
        known.is_some_and(|known| !std::mem::replace(&mut known.is_taken, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_digest_is_compared_with_the_body() {
        // SHA-256 of `hello`, in base64.
        let right = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
        for (value, expected) in [
            (Some(right.to_owned()), DigestCheck::Valid),
            (Some(format!("sha-512=:AA==:, {right}")), DigestCheck::Valid),
            (Some("sha-512=:AA==:".to_owned()), DigestCheck::Absent),
            (Some(right.replace("LPJ", "LPK")), DigestCheck::Invalid),
            (Some("sha-256=LPJN".to_owned()), DigestCheck::Invalid),
            (None, DigestCheck::Absent),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = &value {
                headers.insert("content-digest", value.parse().unwrap());
            }
            assert_eq!(check_digest(&headers, b"hello"), expected, "{value:?}");
        }
    }

    #[test]
    fn a_key_is_taken_once_and_its_repeats_are_known() {
        let mut seen = Seen::default();
        assert_eq!(seen.count("a", "f/a", "one"), (Repeat::First, 0));
        assert!(seen.take("a", "f/a"));
        assert_eq!(seen.count("a", "f/a", "one"), (Repeat::Duplicate, 1));
        assert!(!seen.take("a", "f/a"));
        assert_eq!(seen.count("a", "f/a", "two"), (Repeat::Conflict, 2));
        assert_eq!(seen.count("b", "f/a", "two"), (Repeat::First, 0), "a target of its own");
        assert_eq!(seen.count("a", "", "one"), (Repeat::Unknown, 0));
    }
}
