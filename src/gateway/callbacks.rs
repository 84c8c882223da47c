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
use super::{App, VIEW_PATIENCE, now};
use crate::log::Append;
use crate::record::{
    DispatchState, FileId, FileState, Outcome, OutcomeKind, Reporter, RoutingBundle, Status, TargetName, TokenCheck,
    Topic, dispatch_key, home_partition,
};
use answer::{Standing, standing, told};

mod answer;
mod limits;

pub use limits::CallbackLimits;
pub(super) use limits::Limits;

/// Longest report, in bytes.
const MAX_REPORT: usize = 64 * 1024;
/// How long a report may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(15);
/// Longest reference.
const MAX_REFERENCE: usize = 256;
/// Longest reason.
const MAX_REASON: usize = 4096;
/// Where the token stands, if not in `Authorization: Bearer`.
const TOKEN: &str = "consign-ack-token";

/// What a target's plan says about its callbacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallbackRule {
    /// Whether the target is confirmed by them.
    pub confirms: bool,
    /// The name of the receiver's key, where its signature is asked for.
    pub verify_with: Option<String>,
    /// Whether a report of success must name the digest of what arrived.
    pub receipt: bool,
}

/// What the routing document by which a file was planned says of a target; nothing of one that it doesn't name. The error says
/// why it can't be told.
pub type RuleOf = Arc<dyn Fn(&RoutingBundle, &TargetName) -> Result<Option<CallbackRule>, String> + Send + Sync>;

/// Whether a report has the right signature: by the key of this name, over the three `webhook-` headers and the body.
pub type SignatureCheck = Arc<dyn Fn(&str, [Option<&str>; 3], &[u8]) -> bool + Send + Sync>;

/// Compares a token with that of a dispatch's key.
pub type TokenComparison = Arc<dyn Fn(&str, Option<&str>) -> TokenCheck + Send + Sync>;

/// Whether a digest (the second) is the one that a dispatch's receipt must name, by what the callback's URL carries of it (the
/// third); nothing where that can't tell.
pub type ReceiptComparison = Arc<dyn Fn(&str, &str, Option<&str>) -> Option<bool> + Send + Sync>;

/// By what callbacks are believed.
#[derive(Clone)]
pub struct CallbackChecks {
    /// Compares tokens in constant time.
    pub token: TokenComparison,
    /// Compares the digest of a receipt.
    pub receipt: ReceiptComparison,
    /// Finds what a file's plan says of a target.
    pub rule: RuleOf,
    /// Checks the receiver's signature.
    pub signature: SignatureCheck,
    /// How many are taken.
    pub limits: CallbackLimits,
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

    const fn is_success(self) -> bool {
        matches!(self, Self::Succeeded | Self::Duplicate)
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
    /// The dispatch that it is about. A report that must be signed names it: the signature then is for no other.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// The attempt that it is about, if the URL doesn't say. A report that must be signed and doesn't settle names it.
    #[serde(default)]
    pub attempt: Option<i32>,
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

/// `?attempt=n&receipt=seal`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    attempt: Option<i32>,
    receipt: Option<String>,
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
    if (app.callbacks.token)(&key, callback_token(&parts.headers)) != TokenCheck::Ok {
        return Err(Problem::new(Code::CG360, "the token is not that of this dispatch"));
    }
    let _place = app.callback_limits.place(&target)?;
    let body = tokio::time::timeout(BODY_PATIENCE, to_bytes(body, MAX_REPORT))
        .await
        .map_err(|_| Problem::new(Code::CG309, "the report did not arrive in time"))?
        .map_err(|_| Problem::new(Code::CG305, format!("the limit is {MAX_REPORT} bytes")))?;
    let rule = rule(&app, &file_id, &target, of.attempt).await?;
    if let Some(key_name) = &rule.verify_with {
        check_signature(&app, key_name.clone(), &parts.headers, body.to_vec()).await?;
    }
    let report = read(&body)?;
    let attempt = bound(&report, &key, of.attempt, rule.verify_with.is_some())?;
    let about = About { file_id, target, attempt };
    if let Some(lack) = lack_of_receipt(&app, &rule, &report, (&key, of.receipt.as_deref())) {
        append(&app, &about, report).await?;
        return Err(Problem::new(Code::CG361, format!("{} {lack}; the report is recorded", about.target)));
    }
    if rule.confirms {
        return take(&app, &about, report).await;
    }
    append(&app, &about, report).await?;
    Err(Problem::new(Code::CG361, format!("{} is not confirmed by callback; the report is recorded", about.target)))
}

/// Why a report of success isn't one, where the target asks for a receipt. The engine judges the same by the plan; where the URL
/// can't tell, it alone does.
fn lack_of_receipt(
    app: &App,
    rule: &CallbackRule,
    report: &Report,
    (key, seal): (&str, Option<&str>),
) -> Option<&'static str> {
    if !rule.receipt || !report.outcome.is_success() {
        return None;
    }
    let Some(digest) = &report.received_digest else { return Some("must name received_digest") };
    let differs = (app.callbacks.receipt)(key, digest, seal) == Some(false);
    differs.then_some("names the digest of something else than what was sent to it")
}

/// What a report is about.
struct About {
    file_id: FileId,
    target: TargetName,
    attempt: Option<i32>,
}

/// The token that a callback shows: as a bearer, whatever the scheme's case, or in `consign-ack-token`.
pub fn callback_token(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| headers.get(TOKEN)?.to_str().ok())
}

/// What the file's plan says of the target's callbacks.
async fn rule(app: &App, file_id: &FileId, target: &TargetName, attempt: Option<i32>) -> Result<CallbackRule, Problem> {
    let file = caught_up(app, file_id, target, attempt).await?;
    // The plan is frozen, and so is the document it was made by: whatever is in force by now changes nothing for the file.
    let digest = file.routing_digest.clone().unwrap_or_default();
    let bundle = || app.view.controls().routing(&digest).cloned();
    // A view that hasn't read all of `controls` mustn't believe what it can't check.
    app.wait(VIEW_PATIENCE, || app.view.freshness().caught_up).await;
    app.caught_up().await?;
    let unknown = |why: String| Problem::new(Code::CG340, format!("the report can't be checked: {why}"));
    let bundle = bundle().ok_or_else(|| unknown(format!("`controls` doesn't hold the routing document {digest}")))?;
    let (of, name) = (Arc::clone(&app.callbacks.rule), target.clone());
    let found = tokio::task::spawn_blocking(move || of(&bundle, &name)).await;
    let found = found.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    let found = found.inspect_err(|why| tracing::error!(%target, "a callback can't be checked (CG209): {why}"));
    Ok(found.map_err(unknown)?.unwrap_or_default())
}

/// What a callback says of its signature: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
pub fn callback_signature(headers: &HeaderMap) -> [Option<String>; 3] {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    ["webhook-id", "webhook-timestamp", "webhook-signature"].map(text)
}

async fn check_signature(app: &App, key_name: String, headers: &HeaderMap, body: Vec<u8>) -> Result<(), Problem> {
    let signed = callback_signature(headers);
    let check = Arc::clone(&app.callbacks.signature);
    // The key is read from where it is.
    let checked =
        tokio::task::spawn_blocking(move || check(&key_name, signed.each_ref().map(Option::as_deref), &body)).await;
    if checked.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())) {
        return Ok(());
    }
    Err(Problem::new(Code::CG360, "the signature is not the receiver's, or it is stale"))
}

/// The attempt that a report is about. What is signed says itself what it is about: a receiver has one key for all its dispatches,
/// so a signature alone would fit any of them.
fn bound(report: &Report, key: &str, of_url: Option<i32>, is_signed: bool) -> Result<Option<i32>, Problem> {
    let code = if is_signed { Code::CG360 } else { Code::CG361 };
    match &report.idempotency_key {
        Some(named) if named != key => return Err(Problem::new(code, "the report names another dispatch")),
        None if is_signed => return Err(Problem::new(code, "a signed report names its idempotency_key")),
        _ => {}
    }
    if report.attempt.is_some() && of_url.is_some() && report.attempt != of_url {
        return Err(Problem::new(code, "the report names another attempt than the URL"));
    }
    if is_signed && !report.outcome.settles() && report.attempt.is_none() {
        return Err(Problem::new(code, "a signed report that doesn't settle names its attempt"));
    }
    Ok(report.attempt.or(of_url))
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

async fn take(app: &App, about: &About, report: Report) -> Result<Response, Problem> {
    let (said, attempt) = (report.outcome, about.attempt);
    let before = dispatch(app, about)?;
    if attempt.unwrap_or(1) < 1 || attempt.unwrap_or(1) > before.attempts {
        return Err(Problem::new(Code::CG361, format!("the dispatch has {} attempts", before.attempts)));
    }
    let first = standing(&before, said, attempt);
    // What was said before needs no second record.
    if first == Standing::Repeat {
        return Ok(recorded(StatusCode::OK, Some(before.status)));
    }
    append(app, about, report).await?;
    let About { file_id, target, .. } = about;
    tracing::info!(%file_id, %target, outcome = %said.kind(), "a callback was recorded");
    if before.settled_by.is_some() || !said.settles() {
        return told(first, &before).map(|()| recorded(StatusCode::OK, Some(before.status)));
    }
    if !app
        .wait(app.callbacks.limits.judged_within, || dispatch(app, about).is_ok_and(|found| found.settled_by.is_some()))
        .await
    {
        return Ok(recorded(StatusCode::ACCEPTED, None));
    }
    let after = dispatch(app, about)?;
    told(standing(&after, said, attempt), &after).map(|()| recorded(StatusCode::OK, Some(after.status)))
}

async fn append(app: &App, about: &About, report: Report) -> Result<(), Problem> {
    let Report { outcome: said, received_digest, received_size, reference, reason, .. } = report;
    let About { file_id, target, attempt } = about;
    let outcome = Outcome {
        attempt: *attempt,
        code: "callback".into(),
        detail: reason,
        token: Some(TokenCheck::Ok),
        reference,
        received_digest,
        received_size,
        ..Outcome::new(file_id.clone(), target.clone(), said.kind(), Reporter::Callback, now())
    };
    let key = dispatch_key(file_id, target).into_bytes();
    let partition = Some(home_partition(file_id.as_str(), app.home_partitions().await?));
    let value = app.encode_for(Topic::Outcomes, outcome).await?;
    app.append(Append { topic: Topic::Outcomes, partition, key, value: Some(value), headers: Vec::new() }).await
}

/// The file, once the view knows the attempt: a target may report while the view is still reading.
async fn caught_up(
    app: &App,
    file_id: &FileId,
    target: &TargetName,
    attempt: Option<i32>,
) -> Result<Arc<FileState>, Problem> {
    let least = attempt.unwrap_or(1);
    let knows = |file: &FileState| file.dispatches.iter().any(|d| d.target == *target && d.attempts >= least);
    app.wait(VIEW_PATIENCE, || app.view.file(file_id).is_some_and(|file| knows(&file))).await;
    app.known_file(file_id).await
}

fn dispatch(app: &App, about: &About) -> Result<DispatchState, Problem> {
    let file = app.view.file(&about.file_id).ok_or_else(|| Problem::no_file(&about.file_id))?;
    let found = file.dispatches.iter().find(|dispatch| dispatch.target == about.target).cloned();
    found.ok_or_else(|| {
        let known: Vec<&str> = file.dispatches.iter().map(|d| d.target.as_str()).collect();
        Problem::no_dispatch(&about.file_id, &about.target, &known)
    })
}

fn recorded(code: StatusCode, status: Option<Status>) -> Response {
    (code, Json(Recorded { status })).into_response()
}
