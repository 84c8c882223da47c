//! Files as accepted, for tests that plan them.

use consign::plan::manifest_digest;
use consign::record::{Arrival, Cause, FileManifest, Timestamp};

/// When every file was accepted.
pub const RECEIVED_AT: Timestamp = Timestamp(1_767_225_601_000);

/// The record that brought every file.
pub fn cause() -> Cause {
    Cause { topic: "consign.manifests".into(), partition: 3, offset: 42 }
}

/// The arrival of a manifest.
pub fn arrival(manifest: FileManifest) -> Arrival {
    Arrival {
        file_id: manifest.file_id.clone(),
        version: 1,
        cause: cause(),
        manifest_digest: manifest_digest(&manifest),
        manifest,
        origin: None,
        received_at: RECEIVED_AT,
        supersedes: None,
        only_targets: None,
        fetch: None,
    }
}
