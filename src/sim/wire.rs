//! The simulated wire: requests wait on it until they are told to leave, and answers until they are told to come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::faults::Aimed;
use super::points::{Point, When};
use super::sabotage::Saboteur;
use crate::record::{
    Bytes, DispatchAttempt, FILE_TARGET, FileId, FileManifest, Outcome, OutcomeKind, PlannedDispatch, Reporter,
    TargetName, Timestamp, attempt_key,
};
use crate::routing::sha256_digest;
use crate::transport::{self, Dispatch, Exchange, Permit, Transport};
use crate::verify::Request;

/// What a target, or the transport that spoke to it, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Succeeded,
    /// A confirmation will follow.
    Accepted,
    /// A definite no.
    Rejected,
    /// Nothing was processed; the target asks to wait so many milliseconds, or doesn't say.
    Retryable(Option<i64>),
    /// 401: our credentials are refused.
    Refused,
    /// 410: the target isn't there any more.
    Gone,
    /// Nobody knows: the answer was lost.
    Unknown,
    /// 502: whoever stands before the target answered, after the target had processed the request.
    BadGateway,
    /// The connection was reset after the request was sent.
    Reset,
}

impl Answer {
    /// The kind of its report.
    pub const fn kind(self) -> OutcomeKind {
        match self {
            Self::Succeeded => OutcomeKind::Succeeded,
            Self::Accepted => OutcomeKind::Accepted,
            Self::Rejected => OutcomeKind::Rejected,
            Self::Retryable(_) | Self::Refused | Self::Gone => OutcomeKind::Retryable,
            Self::Unknown | Self::BadGateway | Self::Reset => OutcomeKind::Unknown,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Succeeded => "http_200",
            Self::Accepted => "http_202",
            Self::Rejected => "http_422",
            Self::Retryable(_) => "http_503",
            Self::Refused => "http_401",
            Self::Gone => "http_410",
            Self::Unknown => "timeout",
            Self::BadGateway => "http_502",
            Self::Reset => "reset",
        }
    }
}

/// What a target that has succeeded says of what arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receipt {
    /// Its digest.
    Right,
    /// The digest of something else.
    Other,
    /// Nothing.
    Missing,
}

impl Receipt {
    /// The digest that it names, where this is that of what arrived.
    pub(super) fn named(self, arrived: Option<String>) -> Option<String> {
        match self {
            Self::Right => arrived,
            Self::Other => Some(sha256_digest(b"something else")),
            Self::Missing => None,
        }
    }
}

/// A request on its way.
#[derive(Debug)]
pub struct Parcel {
    /// The identity of the worker that handed it over.
    pub worker: String,
    /// The process of that worker.
    pub(super) process: u64,
    /// What is sent.
    pub plan: Arc<PlannedDispatch>,
    /// Which attempt it is.
    pub attempt: Arc<DispatchAttempt>,
    /// Where its report goes.
    pub home: i32,
    /// When it left; it has not while there is no time.
    pub left_at: Option<Timestamp>,
    permit: Permit,
    keeps_its_permit: bool,
}

impl Parcel {
    /// Ends the request: its permit is given back.
    pub(super) fn end(self) -> (Arc<PlannedDispatch>, Arc<DispatchAttempt>, i32) {
        if self.keeps_its_permit {
            std::mem::forget(self.permit);
        }
        (self.plan, self.attempt, self.home)
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub parcels: BTreeMap<u64, Parcel>,
    pub taken: u64,
    pub journal: Vec<Request>,
    /// Keys of attempts whose commit was confirmed to the worker.
    pub confirmed: BTreeSet<String>,
    /// Attempts that were handed over before their commit was confirmed.
    pub premature: Vec<String>,
    pub largest_transaction: usize,
}

/// The wire of a world. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire {
    state: Arc<Mutex<State>>,
}

impl Wire {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's side of the wire.
pub(super) struct WireTransport {
    pub wire: Wire,
    pub aimed: Aimed,
    pub worker: String,
    pub process: u64,
    pub saboteur: Option<Saboteur>,
}

impl Transport for WireTransport {
    fn send(&mut self, dispatch: Dispatch) {
        self.aimed.meet(&self.worker, Point::Send, When::Before);
        let dispatch = match &self.saboteur {
            Some(saboteur) => saboteur.send(dispatch),
            None => dispatch,
        };
        self.wire.take(dispatch, (&self.worker, self.process), self.saboteur.as_ref());
        self.aimed.meet(&self.worker, Point::Send, When::After);
    }
}

impl Wire {
    /// Takes over a request.
    fn take(&self, dispatch: Dispatch, (worker, process): (&str, u64), saboteur: Option<&Saboteur>) {
        let Dispatch { plan, attempt, home, fetch: _, permit } = dispatch;
        let mut state = self.lock();
        let key = attempt_key(&attempt.file_id, &attempt.target, attempt.attempt);
        if !state.confirmed.contains(&key) {
            state.premature.push(key);
        }
        state.taken += 1;
        let number = state.taken;
        let keeps_its_permit = saboteur.is_some_and(Saboteur::leaks_permits);
        let worker = worker.to_owned();
        let parcel = Parcel { worker, process, plan, attempt, home, left_at: None, permit, keeps_its_permit };
        state.parcels.insert(number, parcel);
    }
}

/// The bytes of every announced file, until somebody changes them.
const CONTENT: &[u8] = br#"[{"n": 1}]"#;
/// What they are changed to.
const CHANGED: &[u8] = br#"[{"n": 1}, {"n": 2}]"#;

/// A manifest whose file lies somewhere; of most files it is said what they are.
pub(super) fn announced(manifest: FileManifest) -> FileManifest {
    if !matches!(manifest.file_type.as_str(), "fetched" | "checked") {
        return manifest;
    }
    let is_said = !manifest.file_id.as_str().ends_with(['1', '2', '3']);
    FileManifest {
        location: Some(format!("https://files.invalid/{}", manifest.file_id)),
        checksum: is_said.then(|| sha256_digest(CONTENT)),
        ..manifest
    }
}

/// The report of an attempt at a file's bytes. They are there, can't be reached, have vanished, or are found changed by later
/// attempts at some files; what was announced of them is the engine's to compare.
fn report_of_fetch(attempt: &DispatchAttempt, answer: Answer, at: Timestamp) -> Outcome {
    let of = |kind, code: &str| Outcome {
        attempt: Some(attempt.attempt),
        reporter: Reporter::Transport,
        code: code.to_owned(),
        ..blank(&attempt.file_id, &attempt.target, kind, at)
    };
    match answer {
        Answer::Succeeded | Answer::Accepted => {
            let is_changed = attempt.attempt > 1 && attempt.file_id.as_str().ends_with(['3', '4', '5']);
            let bytes = if is_changed { CHANGED } else { CONTENT };
            Outcome {
                received_digest: Some(sha256_digest(bytes)),
                received_size: i64::try_from(bytes.len()).ok(),
                content: Some(Bytes::from(bytes.to_vec())),
                ..of(OutcomeKind::Succeeded, "as_announced")
            }
        }
        Answer::Rejected | Answer::Refused | Answer::Gone => {
            Outcome { detail: Some("it isn't there".into()), ..of(OutcomeKind::Rejected, "missing") }
        }
        Answer::Retryable(after) => Outcome { retry_after_ms: after, ..of(OutcomeKind::Retryable, "unavailable") },
        Answer::Unknown | Answer::BadGateway | Answer::Reset => of(OutcomeKind::Unknown, "broken_off"),
    }
}

/// The report of a 200 with a receipt, or without: what the transport makes of it.
fn report_of_receipt(plan: &PlannedDispatch, attempt: &DispatchAttempt, receipt: Receipt, at: Timestamp) -> Outcome {
    let arrived = sha256_digest(plan.request.body.as_ref().map(|body| &body.0[..]).unwrap_or_default());
    let says = receipt.named(Some(arrived)).map(|digest| format!(r#"{{"received_digest":"{digest}"}}"#));
    let answer = transport::Answer { status: 200, body: says.unwrap_or_default().into_bytes(), ..Default::default() };
    let is_200 = |_: &str, answer: &transport::Answer| Ok(answer.status == 200);
    let verdict = transport::classify(&plan.confirmed_by, &Exchange::Answer(answer), at, &is_200);
    Outcome {
        attempt: Some(attempt.attempt),
        reporter: Reporter::Transport,
        code: verdict.code,
        received_digest: verdict.received_digest,
        ..blank(&attempt.file_id, &attempt.target, verdict.kind, at)
    }
}

/// The report of an answer to an attempt.
pub(super) fn report_of(
    plan: &PlannedDispatch,
    attempt: &DispatchAttempt,
    (answer, receipt): (Answer, Receipt),
    at: Timestamp,
) -> Outcome {
    if attempt.target.as_str() == FILE_TARGET {
        return report_of_fetch(attempt, answer, at);
    }
    if answer == Answer::Succeeded && plan.confirmed_by.receipt.is_some() {
        return report_of_receipt(plan, attempt, receipt, at);
    }
    let retry_after_ms = if let Answer::Retryable(after) = answer { after } else { None };
    Outcome {
        attempt: Some(attempt.attempt),
        reporter: Reporter::Transport,
        code: answer.code().to_owned(),
        retry_after_ms,
        refusal: matches!(answer, Answer::Refused | Answer::Gone),
        ..blank(&attempt.file_id, &attempt.target, answer.kind(), at)
    }
}

/// A report that says nothing but its kind, brought in by acks.
pub(super) fn blank(file_id: &FileId, target: &TargetName, kind: OutcomeKind, at: Timestamp) -> Outcome {
    let code = kind.as_str().to_lowercase();
    Outcome { code, ..Outcome::new(file_id.clone(), target.clone(), kind, Reporter::Acks, at) }
}
