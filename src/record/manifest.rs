//! What producers announce and what the engine accepted of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Fetch, FileId, TargetName, Timestamp};

/// The input record that caused this record, so that every decision can be walked back to a byte on a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// Topic of the causing record.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// Where a record first entered consign's topics, kept when it is forwarded to its home partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// First topic.
    pub topic: String,
    /// First partition.
    pub partition: i32,
    /// First offset.
    pub offset: i64,
    /// The broker's LogAppendTime there.
    pub timestamp: Timestamp,
}

/// What a producer says of one file: the only record that producers write. Key: file_id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileManifest {
    /// Immutable identity of the file, 1 to 200 characters of [A-Za-z0-9._:~-]; the Kafka record key must equal it. A suffix of ~ and digits is reserved for successors.
    pub file_id: FileId,
    /// Version of the shape of `data` for this file_type, chosen by the producer.
    pub schema_version: i32,
    /// Which entry of the routing document's file_types this file is.
    pub file_type: String,
    /// The file's name, for people.
    pub name: String,
    /// URI where the file's bytes are, if they are not in `data`.
    #[serde(default)]
    pub location: Option<String>,
    /// Size of the file in bytes.
    #[serde(default)]
    pub size: Option<i64>,
    /// Digest of the file's bytes as `sha256:` and 64 hex digits.
    #[serde(default)]
    pub checksum: Option<String>,
    /// Media type of the file's bytes.
    #[serde(default)]
    pub media_type: Option<String>,
    /// Free labels that routing and payloads may read.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// JSON text that routing and payloads may read; checked against the file type's JSON Schema.
    #[serde(default)]
    pub data: Option<String>,
    /// Service that announces the file; accountable when validation fails.
    pub produced_by: String,
    /// When the producer announced the file, by its clock.
    pub produced_at: Timestamp,
    /// When this file must have settled; the file type's deadline applies where this is null.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
}

/// The manifest as accepted, once per file. Key: file_id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrival {
    /// The accepted file.
    pub file_id: FileId,
    /// The file's version at which it was accepted: always 1.
    pub version: i64,
    /// The manifest or intervention record that was accepted.
    pub cause: Cause,
    /// The manifest, field by field as it was read.
    pub manifest: FileManifest,
    /// `sha256:` and hex, over the manifest's canonical JSON; the same file_id with another digest is refused.
    pub manifest_digest: String,
    /// First place of a manifest that was forwarded from another partition; null where it arrived at home.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// When the engine accepted it.
    pub received_at: Timestamp,
    /// The FAILED file that this one takes up; only the engine sets it.
    #[serde(default)]
    pub supersedes: Option<FileId>,
    /// The targets a successor is limited to; only the engine sets it.
    #[serde(default)]
    pub only_targets: Option<Vec<TargetName>>,
    /// How its bytes are fetched before it is planned; null where they aren't.
    #[serde(default)]
    pub fetch: Option<Fetch>,
}
