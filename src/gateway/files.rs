//! Files, as the view has them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::extract::{Params, duration};
use super::problem::{Code, Problem};
use super::{App, now};
use crate::record::{FileId, FileState, State as FileLifecycle, TargetName};
use crate::view::{Cursor, Filter, HistoryEntry};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// A part of the list, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilePage {
    /// The files.
    pub files: Vec<Arc<FileState>>,
    /// Give this as `after` for the next part; null at the end. A part may hold fewer files than its limit and still
    /// have a next one.
    pub next: Option<String>,
}

/// Everything recorded about a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The file.
    pub file_id: FileId,
    /// What happened, in version order.
    pub entries: Vec<HistoryEntry>,
}

/// The filters of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    #[serde(default)]
    held: bool,
    #[serde(default)]
    overdue: bool,
    owner: Option<String>,
    target: Option<String>,
    state: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

impl ListParams {
    fn filter(self) -> Result<Filter, Problem> {
        let illegal = |name: &str, why: String| Problem::new(Code::CG304, format!("{name}: {why}"));
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(illegal("limit", format!("{limit} is not 1 to {MAX_LIMIT}")));
        }
        Ok(Filter {
            held: self.held,
            overdue: self.overdue,
            owner: self.owner,
            target: self.target.map(|t| TargetName::parse(&t).map_err(|e| illegal("target", e.0))).transpose()?,
            state: self.state.map(|s| s.parse::<FileLifecycle>().map_err(|e| illegal("state", e))).transpose()?,
            after: self.after.map(|a| a.parse::<Cursor>().map_err(|e| illegal("after", e))).transpose()?,
            limit,
        })
    }
}

pub(super) async fn list(
    State(app): State<App>,
    Params(params): Params<ListParams>,
) -> Result<Json<FilePage>, Problem> {
    let page = app.view.list(&params.filter()?);
    Ok(Json(FilePage { files: page.files, next: page.next.map(|cursor| cursor.to_string()) }))
}

/// `?wait=30s&version=8`: waits until the file's version is at least that.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileParams {
    wait: Option<String>,
    version: Option<i64>,
}

pub(super) async fn file(
    State(app): State<App>,
    Path(file_id): Path<String>,
    Params(params): Params<FileParams>,
) -> Result<Json<Arc<FileState>>, Problem> {
    let file_id = FileId::trusted(&file_id);
    let wait = params.wait.as_deref().map(duration).transpose()?.unwrap_or(Duration::ZERO);
    if !wait.is_zero() {
        let version = params.version.unwrap_or(1);
        app.wait(wait, || app.view.file(&file_id).is_some_and(|f| f.version >= version)).await;
    }
    app.known_file(&file_id).await.map(Json)
}

pub(super) async fn history(State(app): State<App>, Path(file_id): Path<String>) -> Result<Json<History>, Problem> {
    let file_id = FileId::trusted(&file_id);
    app.home_partitions().await?;
    let entries = app.view.history(&file_id).await?;
    if entries.is_empty() {
        return Err(Problem::no_file(&file_id));
    }
    Ok(Json(History { file_id, entries }))
}

/// What is next, who must act, and what everything that may come would lead to.
pub(super) async fn explain(
    State(app): State<App>,
    Path(file_id): Path<String>,
) -> Result<Json<serde_json::Value>, Problem> {
    let file_id = FileId::trusted(&file_id);
    app.home_partitions().await?;
    let entries = app.view.history(&file_id).await?;
    if entries.is_empty() {
        return Err(Problem::no_file(&file_id));
    }
    (app.rules.explain)(&entries, &app.view.controls(), now())
        .map(Json)
        .map_err(|why| Problem::new(Code::CG350, format!("the records of {file_id} don't give a file: {why}")))
}
