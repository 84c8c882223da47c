//! Submit a file and, if the producer wishes, wait for its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::access::Operator;
use super::extract::{Body, Params, Wait};
use super::problem::{Code, Problem};
use super::{App, now};
use crate::log::Append;
use crate::metrics::is_terminal;
use crate::record::{FileId, FileManifest, FileState, Timestamp, Topic, home_partition};

/// A manifest as a producer may send it: `FileManifest`, of which the gateway fills in what it knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// Immutable identity of the file.
    pub file_id: String,
    /// Version of the shape of `data`.
    pub schema_version: i32,
    /// Which entry of the routing document's `file_types` this file is.
    pub file_type: String,
    /// The file's name, for people.
    pub name: String,
    /// URI of the file's bytes.
    #[serde(default)]
    pub location: Option<String>,
    /// Size in bytes.
    #[serde(default)]
    pub size: Option<i64>,
    /// `sha256:` and 64 hexadecimal digits.
    #[serde(default)]
    pub checksum: Option<String>,
    /// Media type of the file's bytes.
    #[serde(default)]
    pub media_type: Option<String>,
    /// Free labels.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// JSON that routing and payloads may read. A string is taken as the JSON text itself; anything else is kept as it
    /// is written, digit for digit.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
    /// Service that announces the file; the caller where absent.
    #[serde(default)]
    pub produced_by: Option<String>,
    /// When the producer announced it, in milliseconds since 1970; the time of the request where absent.
    #[serde(default)]
    pub produced_at: Option<Timestamp>,
    /// When it must have settled, in milliseconds since 1970.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
}

impl Submission {
    /// The manifest, with these values where the producer gave none.
    pub(crate) fn manifest(self, produced_by: &str, produced_at: Timestamp) -> Result<FileManifest, Problem> {
        let data = match self.data {
            None => None,
            Some(raw) if raw.get().starts_with('"') => {
                Some(serde_json::from_str(raw.get()).map_err(|e| Problem::new(Code::CG301, format!("data: {e}")))?)
            }
            Some(raw) => Some(raw.get().to_owned()),
        };
        Ok(FileManifest {
            file_id: FileId::parse(&self.file_id)?,
            schema_version: self.schema_version,
            file_type: self.file_type,
            name: self.name,
            location: self.location,
            size: self.size,
            checksum: self.checksum,
            media_type: self.media_type,
            attributes: self.attributes,
            data,
            produced_by: self.produced_by.unwrap_or_else(|| produced_by.to_owned()),
            produced_at: self.produced_at.unwrap_or(produced_at),
            deadline: self.deadline,
        })
    }
}

/// The answer about a file of which nothing is known yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoFar {
    /// The file.
    pub file_id: FileId,
    /// Null: the engine has not said anything yet.
    pub state: Option<String>,
}

pub(super) async fn submit(
    State(app): State<App>,
    Operator(caller): Operator,
    Params(wait): Params<Wait>,
    Body(submission): Body<Submission>,
) -> Result<Response, Problem> {
    let wait = wait.or(Duration::ZERO)?;
    let manifest = submission.clone().manifest(&caller.actor, now())?;
    let file_id = manifest.file_id.clone();
    if let Some(known) = app.view.file(&file_id) {
        check_content(&app, &submission, &manifest, &known).await?;
    } else {
        let partition = home_partition(file_id.as_str(), app.home_partitions().await?);
        let append = Append {
            topic: Topic::Manifests,
            partition: Some(partition),
            key: file_id.as_str().into(),
            value: Some(app.encode(manifest.clone()).await?),
            headers: Vec::new(),
        };
        app.append(append).await?;
        tracing::info!(%file_id, actor = caller.actor, "submitted");
    }
    if !wait.is_zero() {
        app.wait(wait, || app.view.file(&file_id).is_some_and(|f| is_terminal(f.state))).await;
    }
    let Some(file) = app.view.file(&file_id) else {
        return Ok((StatusCode::ACCEPTED, Json(SoFar { file_id, state: None })).into_response());
    };
    // Another manifest of this file_id may have stood before ours on the log, unseen when ours was appended.
    check_content(&app, &submission, &manifest, &file).await?;
    Ok(answer(file))
}

fn answer(file: Arc<FileState>) -> Response {
    let status = if is_terminal(file.state) { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(file)).into_response()
}

/// Whether what was accepted under the `file_id` is what is submitted. What the gateway filled in doesn't count: the
/// same request sent twice is the same file.
async fn check_content(
    app: &App,
    submission: &Submission,
    manifest: &FileManifest,
    known: &FileState,
) -> Result<(), Problem> {
    if (app.rules.manifest_digest)(manifest) == known.arrival_digest {
        return Ok(());
    }
    // Only now is the accepted manifest worth a scan.
    let accepted = app.view.arrival(&manifest.file_id).await?.map(|arrival| arrival.manifest);
    let same = match accepted {
        None => false,
        Some(accepted) => submission.clone().manifest(&accepted.produced_by, accepted.produced_at)? == accepted,
    };
    if same {
        return Ok(());
    }
    Err(Problem::new(
        Code::CG330,
        format!(
            "file {} was accepted with other content (manifest {}, received {}); it stays as it is. New content needs a \
             new file_id",
            known.file_id, known.arrival_digest, known.received_at
        ),
    ))
}
