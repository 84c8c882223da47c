//! What the whole group obeys: the routing document in force, pauses, the number of home partitions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{TargetName, Timestamp};

/// Which routing document is in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveRouting {
    /// Its digest.
    pub routing_digest: String,
    /// Why a BREAKING change was accepted.
    #[serde(default)]
    pub breaking_accepted: Option<String>,
    /// The five answers of the change.
    #[serde(default)]
    pub answers: Vec<String>,
}

/// A routing document with every file it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingBundle {
    /// SHA-256 of the canonical form.
    pub digest: String,
    /// File name of the document.
    pub name: String,
    /// The YAML text.
    pub document: String,
    /// Schemas and tables by the name the document uses.
    pub files: BTreeMap<String, String>,
}

/// Whether a target is paused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetPause {
    /// The target.
    pub target: TargetName,
    /// Paused or resumed.
    pub paused: bool,
    /// When that was said.
    pub since: Timestamp,
    /// The outcome code that caused an automatic pause.
    #[serde(default)]
    pub code: Option<String>,
    /// When the attempt was authorized whose outcome caused an automatic pause: a resume after that ends the pause, in
    /// whatever order the two were written.
    #[serde(default)]
    pub authorized_at: Option<Timestamp>,
    /// When people last resumed the target, kept in their pause while it is on.
    #[serde(default)]
    pub resumed_at: Option<Timestamp>,
}

/// One control of the group. Key: its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// active, routing/<digest>, pause/<target>/engine, pause/<target>/operator or home_partitions.
    pub name: String,
    /// Who set it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// Set for `active`.
    #[serde(default)]
    pub active: Option<ActiveRouting>,
    /// Set for `routing/…`.
    #[serde(default)]
    pub routing: Option<RoutingBundle>,
    /// Set for `pause/…`.
    #[serde(default)]
    pub pause: Option<TargetPause>,
    /// Set for `home_partitions`.
    #[serde(default)]
    pub home_partitions: Option<i32>,
}
