//! What a receiver does with a request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::record::{FileId, OutcomeKind, TargetName};

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Reply {
    /// An answer without headers of its own.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// An answer in JSON.
    pub fn json(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, body).with("content-type", "application/json")
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A report: by callback, or as an ack, whichever its request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// How long after the report before it, or after the request.
    pub after: Duration,
    /// The word of its `outcome`, as a callback says it.
    pub outcome: &'static str,
}

impl Report {
    /// The kind that an ack with this word has.
    pub(super) fn kind(&self) -> OutcomeKind {
        match self.outcome {
            "SUCCEEDED" => OutcomeKind::Succeeded,
            "DUPLICATE" => OutcomeKind::Duplicate,
            "REJECTED" => OutcomeKind::Rejected,
            "RETRY_LATER" => OutcomeKind::Retryable,
            _ => OutcomeKind::Accepted,
        }
    }
}

/// Chooses a behaviour by the file.
pub type ByFile = Arc<dyn Fn(&FileId) -> Behaviour + Send + Sync>;

/// What a receiver does with a request.
#[derive(Clone)]
pub enum Behaviour {
    /// Does what a receiver should: it takes what a key's first request brings, and answers the same to each repeat.
    ///
    /// The answer is 200 with `{"result":"ok","received_digest":"sha256:…"}`; where the request asks for a confirmation it is 202, and SUCCEEDED
    /// follows by callback, or where it names no URL for that, on `acks`. The same key with another body is answered 422.
    Take,
    /// Answers.
    Answer(Reply),
    /// Does the first with a key's first request, the second with its second, and the last with all others.
    Sequence(Vec<Self>),
    /// Waits and then does something else.
    Stall(Duration, Box<Self>),
    /// Answers with this status, and repeats every header of the request in its own headers and its body.
    Echo(u16),
    /// Reads the request and resets the connection without an answer.
    Reset,
    /// Reports by the request's callback URL, or where it names none and there is an acks topic, there; one after the other,
    /// whatever becomes of what it does meanwhile.
    Report(Vec<Report>, Box<Self>),
    /// Does what the file's identity asks for.
    ByFile(ByFile),
}

impl Behaviour {
    /// Answers 200 with `{"result":"ok"}`.
    pub fn ok() -> Self {
        Self::json(200, r#"{"result":"ok"}"#)
    }

    /// Answers with this status and this JSON.
    pub fn json(status: u16, body: &str) -> Self {
        Self::Answer(Reply::json(status, body))
    }

    /// Answers with this status and no body.
    pub fn status(status: u16) -> Self {
        Self::Answer(Reply::new(status, ""))
    }

    /// Answers 503 with this Retry-After.
    pub fn busy(retry_after: &str) -> Self {
        Self::Answer(Reply::new(503, "").with("retry-after", retry_after))
    }

    /// Answers 202, and reports each of these outcomes, each so long after the one before.
    pub fn report_later(after: Duration, outcomes: &[&'static str]) -> Self {
        let reports = outcomes.iter().map(|outcome| Report { after, outcome }).collect();
        Self::Report(reports, Box::new(Self::status(202)))
    }

    /// Waits and then does `next`.
    pub fn stall(time: Duration, next: Self) -> Self {
        Self::Stall(time, Box::new(next))
    }

    /// Does what the file's identity asks for.
    pub fn by_file(choose: impl Fn(&FileId) -> Self + Send + Sync + 'static) -> Self {
        Self::ByFile(Arc::new(choose))
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Take => f.write_str("Take"),
            Self::Answer(reply) => f.debug_tuple("Answer").field(reply).finish(),
            Self::Sequence(all) => f.debug_tuple("Sequence").field(all).finish(),
            Self::Stall(time, next) => f.debug_tuple("Stall").field(time).field(next).finish(),
            Self::Echo(status) => f.debug_tuple("Echo").field(status).finish(),
            Self::Reset => f.write_str("Reset"),
            Self::Report(reports, next) => f.debug_tuple("Report").field(reports).field(next).finish(),
            Self::ByFile(_) => f.write_str("ByFile"),
        }
    }
}

/// The targets of the demo and what they do.
///
/// | target | behaviour |
/// | --- | --- |
/// | billing, archive, warehouse | 200 `{"result":"ok"}` |
/// | crm | 503 with `Retry-After: 0` twice for each key, then 200 |
/// | legacy | 502 |
/// | flaky | 503 without Retry-After |
/// | partner | 422, but 200 for a file that a resubmit started |
/// | ledger | 202, and an ack after 1 s |
/// | notary | 202, and by callback IN_PROGRESS and SUCCEEDED, 200 ms apart |
/// | slow | 200 after 800 ms |
pub fn demo_behaviours() -> BTreeMap<TargetName, Behaviour> {
    let busy = || Behaviour::busy("0");
    let partner = |file_id: &FileId| match file_id.generation() {
        0 => Behaviour::json(422, r#"{"error":"unknown account"}"#),
        _ => Behaviour::ok(),
    };
    let after_1_s = Behaviour::report_later(Duration::from_secs(1), &["SUCCEEDED"]);
    [
        ("archive", Behaviour::ok()),
        ("billing", Behaviour::ok()),
        ("crm", Behaviour::Sequence(vec![busy(), busy(), Behaviour::ok()])),
        ("flaky", Behaviour::status(503)),
        ("ledger", after_1_s),
        ("legacy", Behaviour::status(502)),
        ("notary", Behaviour::report_later(Duration::from_millis(200), &["IN_PROGRESS", "SUCCEEDED"])),
        ("partner", Behaviour::by_file(partner)),
        ("slow", Behaviour::stall(Duration::from_millis(800), Behaviour::ok())),
        ("warehouse", Behaviour::ok()),
    ]
    .into_iter()
    .map(|(target, behaviour)| (TargetName::trusted(target), behaviour))
    .collect()
}
