//! Callbacks: a target reports what became of a dispatch, by the URL and the token that came with the request.
//!
//! The report is a record like any other, and the engine judges it. What the caller hears is read off the dispatch, before
//! and after: a contradiction and a report that comes too late are recorded and answered as what they are.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::access::bearer;
use super::extract::Params;
use super::problem::{Code, Problem};
use super::{App, now};
use crate::log::Append;
use crate::record::{
    DispatchState, FileId, Outcome, OutcomeKind, Reporter, RoutingBundle, SettledBy, Status, TargetName, TokenCheck,
    Topic, dispatch_key, home_partition,
};

/// Longest report, in bytes.
const MAX_REPORT: usize = 64 * 1024;
/// How long a report may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(15);
/// How long the engine's judgement is waited for.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);
/// How long the view may need to know the attempt that is reported on.
const VIEW_PATIENCE: Duration = Duration::from_secs(5);
/// Reports that are under way at once; more are asked to come back.
pub(super) const MAX_AT_ONCE: usize = 256;
/// Longest reference.
const MAX_REFERENCE: usize = 256;
/// Longest reason.
const MAX_REASON: usize = 4096;
/// Where the token stands, if not in `Authorization: Bearer`.
const TOKEN: &str = "consign-ack-token";

/// Whether a report has the right signature: of a routing document, for a target, over the three `webhook-` headers and the
/// body. Nothing where the target has no key.
pub type SignatureCheck =
    Arc<dyn Fn(&RoutingBundle, &TargetName, [Option<&str>; 3], &[u8]) -> Option<bool> + Send + Sync>;

/// Compares a token with that of a dispatch's key.
pub type TokenComparison = Arc<dyn Fn(&str, Option<&str>) -> TokenCheck + Send + Sync>;

/// By what callbacks are believed.
#[derive(Clone)]
pub struct CallbackChecks {
    /// Compares tokens in constant time.
    pub token: TokenComparison,
    /// Checks the receiver's signature.
    pub signature: SignatureCheck,
}

/// What a target says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reported {
    /// It has the file; the outcome follows.
    Accepted,
    /// Still at work: the same as ACCEPTED.
    InProgress,
    /// It is processed.
    Succeeded,
    /// It was there already.
    Duplicate,
    /// It will never be processed.
    Rejected,
    /// Nothing was processed; the request may be sent again.
    RetryLater,
}

impl Reported {
    const fn kind(self) -> OutcomeKind {
        match self {
            Self::Accepted | Self::InProgress => OutcomeKind::Accepted,
            Self::Succeeded => OutcomeKind::Succeeded,
            Self::Duplicate => OutcomeKind::Duplicate,
            Self::Rejected => OutcomeKind::Rejected,
            Self::RetryLater => OutcomeKind::Retryable,
        }
    }

    /// Whether it ends the dispatch.
    const fn settles(self) -> bool {
        matches!(self, Self::Succeeded | Self::Duplicate | Self::Rejected)
    }
}

/// A target's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// What it says.
    pub outcome: Reported,
    /// `sha256:` and 64 hexadecimal digits of what it got.
    #[serde(default)]
    pub received_digest: Option<String>,
    /// How many bytes it got.
    #[serde(default)]
    pub received_size: Option<i64>,
    /// Its own number for it.
    #[serde(default)]
    pub reference: Option<String>,
    /// Why, in words.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What a target hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Where the dispatch stands; null while the engine hasn't judged the report.
    pub status: Option<Status>,
}

/// `?attempt=n`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    attempt: Option<i32>,
}

pub(super) async fn report(
    State(app): State<App>,
    Path((file_id, target)): Path<(String, String)>,
    Params(of): Params<Of>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (file_id, target) = (FileId::trusted(&file_id), TargetName::parse(&target)?);
    let key = dispatch_key(&file_id, &target);
    // The token comes first: who hasn't got it learns nothing and costs nothing.
    if (app.callbacks.token)(&key, token(&parts.headers)) != TokenCheck::Ok {
        return Err(Problem::new(Code::CG360, "the token is not that of this dispatch"));
    }
    let Ok(_place) = app.callbacks_at_once.try_acquire() else {
        return Err(Problem::new(Code::CG364, format!("{MAX_AT_ONCE} reports are under way")));
    };
    let body = tokio::time::timeout(BODY_PATIENCE, to_bytes(body, MAX_REPORT))
        .await
        .map_err(|_| Problem::new(Code::CG309, "the report did not arrive in time"))?
        .map_err(|_| Problem::new(Code::CG305, format!("the limit is {MAX_REPORT} bytes")))?;
    check_signature(&app, &target, &parts.headers, body.to_vec()).await?;
    let report = read(&body)?;
    take(&app, &file_id, &target, of.attempt, report).await
}

fn token(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| headers.get(TOKEN)?.to_str().ok())
}

/// Where the routing document in force names a key of the receiver, its signature must fit.
async fn check_signature(app: &App, target: &TargetName, headers: &HeaderMap, body: Vec<u8>) -> Result<(), Problem> {
    // A view that hasn't read all of `controls` doesn't know which key there is, and mustn't believe what it can't check.
    app.wait(VIEW_PATIENCE, || app.view.freshness().caught_up).await;
    app.caught_up()?;
    let controls = app.view.controls();
    let bundle = controls.active().and_then(|active| controls.routing(&active.routing_digest)).cloned();
    let Some(bundle) = bundle else { return Ok(()) };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let signed = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(text);
    let (check, target) = (Arc::clone(&app.callbacks.signature), target.clone());
    // The key is read from where it is.
    let checked =
        tokio::task::spawn_blocking(move || check(&bundle, &target, signed.each_ref().map(Option::as_deref), &body));
    match checked.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())) {
        Some(false) => Err(Problem::new(Code::CG360, "the signature is not the receiver's, or it is stale")),
        Some(true) | None => Ok(()),
    }
}

fn read(body: &[u8]) -> Result<Report, Problem> {
    let wrong = |text: String| Problem::new(Code::CG361, text);
    // What the body says is not repeated: it may be anything.
    let report: Report = serde_json::from_slice(body)
        .map_err(|e| wrong(format!("the report can't be read at line {}, column {}", e.line(), e.column())))?;
    let is_digest = |text: &str| {
        text.strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
    };
    if report.received_digest.as_deref().is_some_and(|digest| !is_digest(digest)) {
        return Err(wrong("received_digest is sha256: and 64 hexadecimal digits in lower case".into()));
    }
    if report.received_size.is_some_and(|size| size < 0) {
        return Err(wrong("received_size is negative".into()));
    }
    if report.reference.as_ref().is_some_and(|text| text.len() > MAX_REFERENCE) {
        return Err(wrong(format!("reference is longer than {MAX_REFERENCE} bytes")));
    }
    if report.reason.as_ref().is_some_and(|text| text.len() > MAX_REASON) {
        return Err(wrong(format!("reason is longer than {MAX_REASON} bytes")));
    }
    Ok(report)
}

async fn take(
    app: &App,
    file_id: &FileId,
    target: &TargetName,
    attempt: Option<i32>,
    report: Report,
) -> Result<Response, Problem> {
    let said = report.outcome;
    let before = caught_up(app, file_id, target, attempt).await?;
    let heard = |dispatch: &DispatchState| hear(dispatch, said, attempt);
    // What was said before needs no second record.
    if before.settled_by.is_some() && heard(&before).is_ok() {
        return Ok(recorded(StatusCode::OK, Some(before.status)));
    }
    append(app, file_id, target, attempt, report).await?;
    tracing::info!(%file_id, %target, outcome = %said.kind(), "a callback was recorded");
    if before.settled_by.is_none() && said.settles() {
        let settled = || {
            app.view
                .file(file_id)
                .is_some_and(|f| f.dispatches.iter().any(|d| d.target == *target && d.settled_by.is_some()))
        };
        if !app.wait(JUDGED_WITHIN, settled).await {
            return Ok(recorded(StatusCode::ACCEPTED, None));
        }
    }
    let after = dispatch(app, file_id, target)?;
    heard(&after).map(|()| recorded(StatusCode::OK, Some(after.status)))
}

/// What the caller is told, by where the dispatch stands: it is as they say, or their report changes nothing.
fn hear(dispatch: &DispatchState, said: Reported, attempt: Option<i32>) -> Result<(), Problem> {
    let is_success = dispatch.status == Status::Succeeded;
    let says_success = matches!(said, Reported::Succeeded | Reported::Duplicate);
    match dispatch.settled_by {
        Some(SettledBy::Target) if said.settles() && is_success == says_success => Ok(()),
        Some(SettledBy::Target) if said.settles() => {
            let text = format!("the dispatch is {} by an earlier report; this one is recorded", dispatch.status);
            Err(Problem::new(Code::CG362, text))
        }
        Some(by) => {
            let text = format!("the dispatch is {}, settled by {by}; the report is recorded", dispatch.status);
            Err(Problem::new(Code::CG363, text))
        }
        None if !said.settles() && attempt != Some(dispatch.attempts) => {
            let text = format!("the report is about another attempt than {}; it is recorded", dispatch.attempts);
            Err(Problem::new(Code::CG363, text))
        }
        None => Ok(()),
    }
}

async fn append(
    app: &App,
    file_id: &FileId,
    target: &TargetName,
    attempt: Option<i32>,
    report: Report,
) -> Result<(), Problem> {
    let Report { outcome: said, received_digest, received_size, reference, reason } = report;
    let outcome = Outcome {
        attempt,
        code: "callback".into(),
        detail: reason,
        token: Some(TokenCheck::Ok),
        reference,
        received_digest,
        received_size,
        ..Outcome::new(file_id.clone(), target.clone(), said.kind(), Reporter::Callback, now())
    };
    let key = dispatch_key(file_id, target).into_bytes();
    let partition = Some(home_partition(file_id.as_str(), app.home_partitions()?));
    let codec = Arc::clone(&app.codec);
    let encoded = tokio::task::spawn_blocking(move || codec.encode_for(Topic::Outcomes, &outcome));
    let value = encoded.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))?;
    app.append(Append { topic: Topic::Outcomes, partition, key, value: Some(value), headers: Vec::new() }).await
}

/// The dispatch, once the view knows the attempt: a target may report while the view is still reading.
async fn caught_up(
    app: &App,
    file_id: &FileId,
    target: &TargetName,
    attempt: Option<i32>,
) -> Result<DispatchState, Problem> {
    let least = attempt.unwrap_or(1);
    app.wait(VIEW_PATIENCE, || dispatch(app, file_id, target).is_ok_and(|found| found.attempts >= least)).await;
    let found = dispatch(app, file_id, target)?;
    if attempt.is_some_and(|n| n < 1 || n > found.attempts) {
        return Err(Problem::new(Code::CG361, format!("the dispatch has {} attempts", found.attempts)));
    }
    Ok(found)
}

fn dispatch(app: &App, file_id: &FileId, target: &TargetName) -> Result<DispatchState, Problem> {
    let file = app.known_file(file_id)?;
    let found = file.dispatches.iter().find(|dispatch| dispatch.target == *target).cloned();
    found.ok_or_else(|| {
        let known: Vec<&str> = file.dispatches.iter().map(|d| d.target.as_str()).collect();
        Problem::no_dispatch(file_id, target, &known)
    })
}

fn recorded(code: StatusCode, status: Option<Status>) -> Response {
    (code, Json(Recorded { status })).into_response()
}
