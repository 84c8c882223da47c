//! The gateway, as `watch` uses it.

use std::future::Future;
use std::time::Duration;

use crate::cli::client::{Api, submit_manifest};
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

impl Desk for Gateway {
    async fn submit(&mut self, submission: &Submission) -> Result<Option<FileState>, Failure> {
        submit_manifest(&self.0, submission, Duration::ZERO).await
    }

    async fn state(&mut self, file_id: &str) -> Result<Option<FileState>, Failure> {
        match self.0.get::<FileState>(&["files", file_id], &[], Duration::ZERO).await {
            Ok(file) => Ok(Some(file)),
            Err(failure) if failure.exit == Exit::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
