//! People's changes of `controls`: each a compare-and-set over what the topic holds.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::log::{Append, Cluster, Headers, LogError, Record, scan};
use crate::record::{ActiveRouting, Codec, Control, Controls, Timestamp, Topic, routing_name};
use crate::routing::diff::{Diff, Question, diff};
use crate::routing::{self, Diagnostic, Document, Loaded, Sources};

/// How long nothing may come before `controls` counts as out of reach.
const READ_PATIENCE: Duration = Duration::from_secs(30);

/// Who changes something, why and when.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
    /// When.
    pub at: Timestamp,
}

/// Why a routing document didn't come into force.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It doesn't load.
    #[error("the routing document has {} faults", .0.len())]
    Faulty(Vec<Diagnostic>),
    /// The change is BREAKING, and nobody accepts it.
    #[error("the change is BREAKING")]
    Breaking(Box<Change>),
    /// The log refuses.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What a routing document changes against the one in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing was in force.
    First,
    /// This.
    Compared(Diff),
    /// The document in force can't be read by this version: every answer may be yes.
    Unknown {
        /// Its digest.
        old: String,
    },
}

impl Change {
    fn from(in_force: Option<&ActiveRouting>, controls: &Controls, new: &Document) -> Self {
        let Some(active) = in_force else { return Self::First };
        let old = controls.routing(&active.routing_digest).and_then(|b| routing::load(&Sources::from(b)).ok());
        match old {
            Some(old) => Self::Compared(diff(&old.document, new)),
            None => Self::Unknown { old: active.routing_digest.clone() },
        }
    }

    /// Whether it takes a person's reason.
    pub fn is_breaking(&self) -> bool {
        match self {
            Self::First => false,
            Self::Compared(diff) => diff.is_breaking(),
            Self::Unknown { .. } => true,
        }
    }

    /// The five answers as they are recorded; none where nothing was in force.
    pub fn answers(&self) -> Vec<String> {
        match self {
            Self::First => Vec::new(),
            Self::Compared(diff) => diff.answers(),
            Self::Unknown { .. } => Question::ALL.iter().map(|q| format!("{}: unknown", q.as_str())).collect(),
        }
    }
}

/// What became of a routing document.
#[derive(Debug)]
pub struct Applied {
    /// Its digest.
    pub digest: String,
    /// The digest of the document that it replaced.
    pub replaced: Option<String>,
    /// What changes with it.
    pub change: Change,
    /// What is legal in it but risky.
    pub warnings: Vec<Diagnostic>,
}

/// The fold of the records that a change of `controls` is decided on.
pub fn fold(codec: &Codec, records: &[Record]) -> Controls {
    let mut controls = Controls::default();
    for record in records {
        let Some(name) = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok()) else { continue };
        // What this version can't read, it doesn't change.
        if let Ok(control) = record.value.as_deref().map(|v| codec.decode(v)).transpose() {
            controls.apply(name, control);
        }
    }
    controls
}

/// The record that sets a control; the write id of `controls` must have been learned.
pub fn append_of(codec: &Codec, control: &Control) -> Append {
    Append {
        topic: Topic::Controls,
        partition: Some(0),
        key: control.name.clone().into_bytes(),
        value: Some(codec.encode(control).expect("write ids are learned before a change")),
        headers: Headers::new(),
    }
}

/// Writes the number of home partitions, once: gives the number in force.
pub fn fix_home_partitions(
    cluster: &dyn Cluster,
    codec: &Codec,
    home_partitions: i32,
    said: Said<'_>,
) -> Result<i32, LogError> {
    prepare(codec)?;
    let mut in_force = home_partitions;
    cluster.change_controls(&mut |records| match fold(codec, records).home_partitions() {
        Some(fixed) => {
            in_force = fixed;
            Vec::new()
        }
        None => vec![append_of(codec, &Control::homing(home_partitions, (said.actor, said.reason, said.at)))],
    })?;
    Ok(in_force)
}

/// Brings a routing document into force. A BREAKING change needs a reason to accept it, which is recorded with the five
/// answers; the comparison is made inside the change of `controls`, against what it replaces.
pub fn apply_routing(
    cluster: &dyn Cluster,
    codec: &Codec,
    sources: &Sources,
    said: Said<'_>,
    accept_breaking: Option<&str>,
) -> Result<Applied, ApplyError> {
    let Loaded { document, warnings } = routing::load(sources).map_err(ApplyError::Faulty)?;
    prepare(codec)?;
    let digest = document.digest().to_owned();
    let said = (said.actor, said.reason, said.at);
    let mut replaced = None;
    let mut change = Change::First;
    cluster.change_controls(&mut |records| {
        let controls = fold(codec, records);
        let in_force = controls.active();
        replaced = in_force.map(|active| active.routing_digest.clone());
        change = Change::from(in_force, &controls, &document);
        let breaking = change.is_breaking();
        if replaced.as_ref() == Some(&digest) || (breaking && accept_breaking.is_none()) {
            return Vec::new();
        }
        let active = ActiveRouting {
            routing_digest: digest.clone(),
            breaking_accepted: accept_breaking.filter(|_| breaking).map(str::to_owned),
            answers: change.answers(),
        };
        let mut appends = Vec::new();
        if controls.control(&routing_name(&digest)).is_none() {
            appends.push(append_of(codec, &Control::keeping(sources.to_bundle(&digest), said)));
        }
        appends.push(append_of(codec, &Control::activating(active, said)));
        appends
    })?;
    if change.is_breaking() && accept_breaking.is_none() && replaced.as_ref() != Some(&digest) {
        return Err(ApplyError::Breaking(Box::new(change)));
    }
    Ok(Applied { digest, replaced, change, warnings })
}

/// Reads `controls` to its end.
pub fn read_controls(cluster: &dyn Cluster, codec: &Codec) -> Result<Controls, LogError> {
    let partition = crate::log::TopicPartition { topic: Topic::Controls, partition: 0 };
    let mut reader = cluster.reader(&[partition])?;
    let mut controls = Vec::new();
    scan(reader.as_mut(), READ_PATIENCE, |records, _| {
        controls.extend(records);
        Ok::<_, LogError>(ControlFlow::Continue(()))
    })?;
    Ok(fold(codec, &controls))
}

/// A change needs the registry once, before it begins: inside it, encoding can't fail.
fn prepare(codec: &Codec) -> Result<(), LogError> {
    codec.prepare().map_err(|e| LogError::Fatal(e.to_string()))
}
