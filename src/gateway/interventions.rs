//! Interventions: a person asks, the engine judges, and the answer says which.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access::{Caller, Operator};
use super::extract::{self, Body, Params, Wait};
use super::problem::{Code, Problem};
use super::{App, now};
use crate::log::Append;
use crate::metrics::is_terminal;
use crate::record::{
    Action, FileId, FileState, HistoryEvent, Intervention, Judgement, TargetName, Topic, dispatch_key, file_key,
    home_partition,
};

/// How long the judgement is waited for where the request doesn't say.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);
/// The longest pause before the history is read again for a judgement that changed nothing of the file's state.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The first such pause; each is twice the one before.
const LOOK_FIRST: Duration = Duration::from_millis(50);
/// Longest `intervention_id`, in bytes.
const MAX_ID: usize = 128;

/// What a person asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedAction {
    /// `cancel` or `resubmit` for a file; `retry`, `confirm` or `fail` for a dispatch.
    pub action: Action,
    /// Why. Recorded for good.
    pub reason: String,
    /// Proof, for `confirm`.
    #[serde(default)]
    pub evidence: Option<String>,
    /// Version of the dispatch (of the file, for a file's action) that the person saw. A stale one is refused.
    #[serde(default)]
    pub seen_version: Option<i64>,
    /// Identity of the request; chosen by the gateway where absent. The same id twice asks once.
    #[serde(default)]
    pub intervention_id: Option<String>,
    /// For `resubmit`: also the targets whose requests' fate is unknown.
    #[serde(default)]
    pub resend_unknown: bool,
}

/// What became of an intervention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Identity of the request.
    pub intervention_id: String,
    /// What the engine made of it; null while it hasn't judged it.
    pub judgement: Option<Judgement>,
    /// Why it was refused.
    pub code: Option<String>,
    /// What the engine recorded.
    pub event: Option<HistoryEvent>,
    /// The file that takes up this one, where a `resubmit` was applied.
    pub successor: Option<FileId>,
    /// The file after the judgement.
    pub file: Arc<FileState>,
}

pub(super) async fn on_file(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(file_id): Path<String>,
    Params(wait): Params<Wait>,
    Body(asked): Body<RequestedAction>,
) -> Result<Response, Problem> {
    if !matches!(asked.action, Action::Cancel | Action::Resubmit) {
        return Err(Problem::new(
            Code::CG303,
            format!("action: {} is none for a file; a file takes cancel and resubmit", asked.action),
        ));
    }
    let file = app.known_file(&FileId::trusted(&file_id)).await?;
    intervene(&app, &caller, &file, None, asked, wait.or(DEFAULT_WAIT)?).await
}

pub(super) async fn on_dispatch(
    State(app): State<App>,
    Operator(caller): Operator,
    Path((file_id, target)): Path<(String, String)>,
    Params(wait): Params<Wait>,
    Body(asked): Body<RequestedAction>,
) -> Result<Response, Problem> {
    if !matches!(asked.action, Action::Retry | Action::Confirm | Action::Fail) {
        return Err(Problem::new(
            Code::CG303,
            format!("action: {} is none for a dispatch; a dispatch takes retry, confirm and fail", asked.action),
        ));
    }
    let target = TargetName::parse(&target)?;
    let file = app.known_file(&FileId::trusted(&file_id)).await?;
    if !file.dispatches.iter().any(|d| d.target == target) {
        let known: Vec<&str> = file.dispatches.iter().map(|d| d.target.as_str()).collect();
        return Err(Problem::no_dispatch(&file.file_id, &target, &known));
    }
    intervene(&app, &caller, &file, Some(target), asked, wait.or(DEFAULT_WAIT)?).await
}

async fn intervene(
    app: &App,
    caller: &Caller,
    file: &FileState,
    target: Option<TargetName>,
    asked: RequestedAction,
    wait: Duration,
) -> Result<Response, Problem> {
    let repeated = asked.intervention_id.is_some();
    let intervention = intervention(caller, &file.file_id, target, asked)?;
    let id = intervention.intervention_id.clone();
    let file_id = file.file_id.clone();
    // An id that the caller chose may have been judged before.
    if repeated && let Some(event) = app.view.judged(&file_id, &id).await? {
        return answer(app, &file_id, id, Some(event), Duration::ZERO).await;
    }
    let key = intervention.target.as_ref().map_or_else(|| file_key(&file_id), |t| dispatch_key(&file_id, t));
    let append = Append {
        topic: Topic::Interventions,
        partition: Some(home_partition(file_id.as_str(), app.home_partitions().await?)),
        key: key.into_bytes(),
        value: Some(app.encode(intervention).await?),
        headers: Vec::new(),
    };
    app.append(append).await?;
    tracing::info!(%file_id, intervention_id = id, actor = caller.actor, "an intervention was asked for");
    let until = Instant::now() + wait;
    let event = judgement(app, &file_id, &id, file.version, until).await?;
    answer(app, &file_id, id, event, until.saturating_duration_since(Instant::now())).await
}

fn intervention(
    caller: &Caller,
    file_id: &FileId,
    target: Option<TargetName>,
    asked: RequestedAction,
) -> Result<Intervention, Problem> {
    let intervention_id = match asked.intervention_id {
        None => Uuid::now_v7().to_string(),
        Some(id) if (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => id,
        Some(_) => {
            return Err(Problem::new(
                Code::CG303,
                format!("intervention_id is not 1 to {MAX_ID} printable ASCII characters without spaces"),
            ));
        }
    };
    if asked.resend_unknown && asked.action != Action::Resubmit {
        return Err(Problem::new(Code::CG303, "resend_unknown belongs to resubmit only"));
    }
    Ok(Intervention {
        intervention_id,
        file_id: file_id.clone(),
        target,
        action: asked.action,
        actor: caller.actor.clone(),
        reason: extract::reason(&asked.reason)?,
        evidence: extract::evidence(asked.evidence)?,
        seen_version: asked.seen_version,
        requested_at: now(),
        resend_unknown: asked.resend_unknown,
        successor: None,
    })
}

/// The engine's judgement, once it stands in the history; `None` when the time is over.
async fn judgement(
    app: &App,
    file_id: &FileId,
    intervention_id: &str,
    mut version: i64,
    until: Instant,
) -> Result<Option<HistoryEvent>, Problem> {
    let mut pause = LOOK_FIRST;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        app.wait(left.min(pause), || app.view.file(file_id).is_some_and(|f| f.version > version)).await;
        pause = (pause * 2).min(LOOK_AGAIN);
        version = app.view.file(file_id).map_or(version, |f| f.version);
        if let Some(event) = app.view.judged(file_id, intervention_id).await? {
            return Ok(Some(event));
        }
        if Instant::now() >= until || *app.stopping.borrow() {
            return Ok(None);
        }
    }
}

async fn answer(
    app: &App,
    file_id: &FileId,
    intervention_id: String,
    event: Option<HistoryEvent>,
    patience: Duration,
) -> Result<Response, Problem> {
    if let Some(event) = &event {
        // The history may be read before the view has the state of the same commit.
        let version = event.version;
        // A settled file's state isn't written again.
        let is_settled = app.view.file(file_id).is_some_and(|file| is_terminal(file.state));
        let pause = if is_settled { LOOK_FIRST } else { LOOK_AGAIN };
        app.wait(patience.min(pause), || app.view.file(file_id).is_some_and(|f| f.version >= version)).await;
    }
    let status = if event.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let applied = |action| {
        let resubmitted = event.as_ref().and_then(|e| e.intervention.as_ref()).is_some_and(|i| i.action == action);
        resubmitted && event.as_ref().is_some_and(|e| e.judgement == Judgement::Applied)
    };
    let judged = Judged {
        intervention_id,
        judgement: event.as_ref().map(|e| e.judgement),
        code: event.as_ref().and_then(|e| e.code.clone()),
        successor: applied(Action::Resubmit).then(|| file_id.successor()),
        event,
        file: app.known_file(file_id).await?,
    };
    Ok((status, Json(judged)).into_response())
}
