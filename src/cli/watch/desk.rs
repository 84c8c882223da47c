//! The gateway, as `watch` uses it.

use std::future::Future;
use std::time::Duration;

use serde::Deserialize;

use crate::cli::client::Api;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::gateway::Submission;
use crate::record::FileState;

/// Takes manifests and says where files stand.
pub(super) trait Desk {
    /// Submits a manifest; the same one again is the same file. With the state where one is known.
    fn submit(&mut self, submission: &Submission) -> impl Future<Output = Result<Option<FileState>, Failure>> + Send;
    /// Where a file stands; `None` while it isn't known.
    fn state(&mut self, file_id: &str) -> impl Future<Output = Result<Option<FileState>, Failure>> + Send;
}

/// The HTTP API.
pub(super) struct Gateway(pub Api);

/// The gateway's answer: a state, or nothing known yet.
#[derive(Deserialize)]
#[serde(untagged)]
enum StateSoFar {
    Known(Box<FileState>),
    Nothing {
        #[allow(dead_code)]
        file_id: String,
    },
}

impl Desk for Gateway {
    async fn submit(&mut self, submission: &Submission) -> Result<Option<FileState>, Failure> {
        let answer = self.0.post::<StateSoFar>(&["files"], &[], submission, Duration::ZERO).await?;
        Ok(match answer.value {
            StateSoFar::Known(file) => Some(*file),
            StateSoFar::Nothing { .. } => None,
        })
    }

    async fn state(&mut self, file_id: &str) -> Result<Option<FileState>, Failure> {
        match self.0.get::<FileState>(&["files", file_id], &[], Duration::ZERO).await {
            Ok(file) => Ok(Some(file)),
            Err(failure) if failure.exit == Exit::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
