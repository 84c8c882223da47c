//! Targets: what is open at each, and whether it is paused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::access::{Caller, Operator};
use super::extract::{self, Body};
use super::problem::{Code, Problem};
use super::{App, now};
use crate::log::{Append, LogError, Record};
use crate::metrics::Census;
use crate::record::registry::RegistryError;
use crate::record::{
    Codec, Control, Controls, DecodeError, Pause, PausedBy, Status, TargetName, Timestamp, Topic, pause_name,
};

/// How long the answer to a change waits for the view to show it.
const SHOW: Duration = Duration::from_secs(2);

/// One pause of a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PausedState {
    /// `engine` or `operator`.
    pub by: String,
    /// Who said so: a person, or a worker.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The outcome code that caused an automatic pause.
    pub code: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since: Timestamp,
}

/// A target as the group has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetView {
    /// Its name.
    pub target: TargetName,
    /// Its owner in the routing document in force; null for a target of earlier documents.
    pub owner: Option<String>,
    /// Whether anyone pauses it.
    pub paused: bool,
    /// The pauses that are on. Each worker authorizes nothing more once it has read of one, within a moment; what was
    /// authorized before may still leave.
    pub pauses: Vec<PausedState>,
    /// Dispatches by status.
    pub dispatches: BTreeMap<Status, i64>,
    /// When the oldest file was received that has an open dispatch here, in milliseconds since 1970.
    pub oldest_open: Option<Timestamp>,
}

/// Every target that the routing document in force, a file or a pause names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Targets {
    /// Digest of the routing document in force.
    pub routing_digest: Option<String>,
    /// By name.
    pub targets: Vec<TargetView>,
}

/// Why a target is to be paused or resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Recorded for good.
    pub reason: String,
}

/// What a pause or a resume did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetChange {
    /// Whether anything changed; false where it was so already.
    pub changed: bool,
    /// The target after it.
    pub target: TargetView,
}

pub(super) async fn list(State(app): State<App>) -> Result<Json<Targets>, Problem> {
    app.caught_up().await?;
    let controls = app.view.controls();
    let census = app.view.census();
    let owners = owners(&app, &controls);
    let mut names: BTreeSet<TargetName> = owners.keys().cloned().collect();
    names.extend(census.dispatches.keys().map(|(target, _)| target.clone()));
    names.extend(controls.paused().into_iter().map(|(target, _)| target.clone()));
    let targets = names.into_iter().map(|target| view_of(target, &owners, &controls, &census)).collect();
    Ok(Json(Targets { routing_digest: controls.active().map(|a| a.routing_digest.clone()), targets }))
}

pub(super) async fn pause(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(target): Path<String>,
    Body(asked): Body<PauseRequest>,
) -> Result<Json<TargetChange>, Problem> {
    change(&app, caller, &target, &asked.reason, true).await.map(Json)
}

/// Ends every pause of a target, the engine's and people's.
pub(super) async fn resume(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(target): Path<String>,
    Body(asked): Body<PauseRequest>,
) -> Result<Json<TargetChange>, Problem> {
    change(&app, caller, &target, &asked.reason, false).await.map(Json)
}

async fn change(app: &App, caller: Caller, target: &str, reason: &str, paused: bool) -> Result<TargetChange, Problem> {
    let target = TargetName::parse(target)?;
    let reason = extract::reason(reason)?;
    app.caught_up().await?;
    check_known(app, &target)?;
    let (cluster, codec) = (app.cluster.clone(), app.codec.clone());
    let changing = PauseChange { target: target.clone(), caller, reason, paused, at: now() };
    let changed = tokio::task::spawn_blocking(move || {
        let mut decided = Ok(0);
        cluster.change_controls(&mut |records| match changing.decide(records, &codec) {
            Ok(appends) => {
                decided = Ok(appends.len());
                appends
            }
            Err(problem) => {
                decided = Err(problem);
                Vec::new()
            }
        })?;
        decided.map_err(ChangeError::Registry)
    });
    let changed = changed.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    let changed = changed.map_err(Problem::from)? > 0;
    app.wait(SHOW, || app.view.controls().is_paused(&target) == paused).await;
    let controls = app.view.controls();
    Ok(TargetChange { changed, target: view_of(target, &owners(app, &controls), &controls, &app.view.census()) })
}

/// Why a change of `controls` failed.
enum ChangeError {
    Log(LogError),
    Registry(RegistryError),
}

impl From<LogError> for ChangeError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Log(error) => error.into(),
            ChangeError::Registry(error) => error.into(),
        }
    }
}

/// A pause to begin, or all pauses to end.
struct PauseChange {
    target: TargetName,
    caller: Caller,
    reason: String,
    paused: bool,
    at: Timestamp,
}

impl PauseChange {
    /// The records to append, by what the topic holds: none where it is so already.
    fn decide(&self, records: &[Record], codec: &Codec) -> Result<Vec<Append>, RegistryError> {
        let mut controls = Controls::default();
        let mut unreadable = false;
        for by in [PausedBy::Engine, PausedBy::Operator] {
            let name = pause_name(&self.target, by);
            let newest = records.iter().rev().find(|r| r.key.as_deref() == Some(name.as_bytes()));
            let Some(value) = newest.and_then(|r| r.value.as_ref()) else { continue };
            match codec.decode::<Control>(value) {
                Ok(control) => controls.apply(&name, Some(control)),
                Err(DecodeError::RegistryAway(why)) => return Err(RegistryError::Away(why)),
                Err(DecodeError::Poison(_)) => unreadable = true,
            }
        }
        let is_so = if self.paused {
            controls.pauses(&self.target).iter().any(|p| p.by == PausedBy::Operator)
        } else {
            !controls.is_paused(&self.target)
        };
        if is_so && !unreadable {
            return Ok(Vec::new());
        }
        let said = (self.caller.actor.as_str(), self.reason.as_str(), self.at);
        let control = Control::pausing(&self.target, self.paused, controls.resumed_at(&self.target), said);
        Ok(vec![Append {
            topic: Topic::Controls,
            partition: Some(0),
            key: control.name.clone().into_bytes(),
            value: Some(codec.encode(&control)?),
            headers: Vec::new(),
        }])
    }
}

/// A name that neither the routing document in force nor a file nor a pause knows is a slip of the pen. Where no
/// document can be read, any name will do.
fn check_known(app: &App, target: &TargetName) -> Result<(), Problem> {
    let controls = app.view.controls();
    let owners = owners(app, &controls);
    let known = owners.is_empty()
        || owners.contains_key(target)
        || controls.is_paused(target)
        || app.view.census().dispatches.keys().any(|(t, _)| t == target);
    if known {
        return Ok(());
    }
    let names: Vec<&str> = owners.keys().map(TargetName::as_str).collect();
    Err(Problem::new(Code::CG323, format!("no target is called {target}; there are: {}", names.join(", "))))
}

fn owners(app: &App, controls: &Controls) -> BTreeMap<TargetName, String> {
    let bundle = controls.active().and_then(|active| controls.routing(&active.routing_digest));
    bundle.map(app.rules.targets_of).unwrap_or_default()
}

fn view_of(
    target: TargetName,
    owners: &BTreeMap<TargetName, String>,
    controls: &Controls,
    census: &Census,
) -> TargetView {
    let pauses: Vec<PausedState> = controls
        .pauses(&target)
        .into_iter()
        .map(|Pause { by, control, pause }| PausedState {
            by: by.as_str().to_owned(),
            actor: control.actor.clone(),
            reason: control.reason.clone(),
            code: pause.code.clone(),
            since: pause.since,
        })
        .collect();
    let dispatches =
        census.dispatches.iter().filter(|((t, _), _)| *t == target).map(|((_, status), n)| (*status, *n)).collect();
    TargetView {
        owner: owners.get(&target).cloned(),
        paused: !pauses.is_empty(),
        pauses,
        dispatches,
        oldest_open: census.oldest_open().find(|(t, _)| **t == target).map(|(_, at)| at),
        target,
    }
}
