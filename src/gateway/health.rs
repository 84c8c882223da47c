//! What machines ask: is it alive, can it work, and its numbers.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use super::{App, Readiness, now};
use crate::record::{PausedBy, TargetName};

/// A view older than this isn't ready.
const MAX_VIEW_AGE: Duration = Duration::from_secs(5);

/// What `/readyz` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyAnswer {
    /// Whether this process can do its work.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// The process answers: that is all it says.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(app): State<App>) -> impl IntoResponse {
    let Readiness { ready, reasons } = readiness(&app);
    (status_of(ready), Json(ReadyAnswer { ready, reasons }))
}

pub(super) fn status_of(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Whether the workers, the registry and the view are at their work.
fn readiness(app: &App) -> Readiness {
    let mut readiness = (app.readiness)();
    let freshness = app.view.freshness();
    if !freshness.caught_up || freshness.age > MAX_VIEW_AGE {
        readiness.ready = false;
        let (age, behind) = (freshness.age.as_secs(), freshness.records_behind);
        readiness.reasons.push(match (freshness.trouble, freshness.caught_up) {
            (Some(why), _) => format!("view: CG340: it can't read on: {why}"),
            (None, false) => format!("view: CG340: it has not caught up: {behind} records to read"),
            (None, true) => format!("view: CG218: the log has given no answer for {age} s"),
        });
    }
    if app.view.home_partitions().is_none() {
        readiness.ready = false;
        readiness.reasons.push("view: CG343: controls doesn't say how many home partitions there are".to_owned());
    }
    readiness
}

pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let controls = app.view.controls();
    let pauses: Vec<(TargetName, PausedBy)> = controls
        .paused()
        .into_iter()
        .flat_map(|(target, _)| controls.pauses(target).into_iter().map(|pause| (target.clone(), pause.by)))
        .collect();
    app.metrics.mirror(&app.view.census(), pauses.iter().map(|(target, by)| (target, *by)), now());
    app.metrics.ready(readiness(&app).ready);
    let freshness = app.view.freshness();
    app.metrics.view(freshness.records_behind, freshness.age, freshness.undecodable);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}
