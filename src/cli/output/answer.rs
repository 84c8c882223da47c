//! What the commands that need no gateway answer with `--output json`; their schemas stand under docs/api/output.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::lifecycle::table::Table;
use crate::log::kafka::Difference;
use crate::record::registry::SchemaDifference;
use crate::record::{FileId, FileState};
use crate::routing::Diagnostic;

/// One way in which something is not as it must be, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differs {
    /// Which kind of difference: one word.
    pub kind: &'static str,
    /// The topic, the subject, or `controls`.
    pub what: String,
    /// The setting, where it is one.
    pub key: Option<String>,
    /// As it is; null where it isn't there.
    pub is: Option<String>,
    /// As it must be, where one word says that.
    pub must: Option<String>,
    /// All of it in a sentence.
    pub text: String,
    /// What to do.
    pub to_do: &'static str,
}

impl Differs {
    /// As one line for people.
    pub fn line(&self) -> String {
        format!("{}; to do: {}", self.text, self.to_do)
    }
}

const FEWER_PARTITIONS: &str = "set topics.home_partitions to what the topics have; or, while the topic is empty, delete \
                                it and run consign topics apply";
const MORE_PARTITIONS: &str = "before the first consign topics apply, set topics.home_partitions to what the topics have; \
                               afterwards give manifests, interventions and outcomes equally many, so that each worker is \
                               assigned whole homes: what is written beyond the homes is sent on to its home";

impl From<&Difference> for Differs {
    fn from(difference: &Difference) -> Self {
        let text = difference.to_string();
        let differs = |kind, what: &str, is: Option<String>, must: Option<String>, to_do| Self {
            kind,
            what: what.to_owned(),
            key: None,
            is,
            must,
            text,
            to_do,
        };
        match difference {
            Difference::Missing { topic } => differs("missing", topic, None, None, "consign topics apply"),
            Difference::Partitions { topic, is, must } => differs(
                "partitions",
                topic,
                Some(is.to_string()),
                Some(must.to_string()),
                if is > must { MORE_PARTITIONS } else { FEWER_PARTITIONS },
            ),
            Difference::Replication { topic, is, must } => differs(
                "replication",
                topic,
                Some(is.to_string()),
                Some(must.to_string()),
                "reassign the partitions with the broker's own tools, or set topics.replication to what there is",
            ),
            Difference::Config { topic, key, is, must } => Self {
                key: Some(key.clone()),
                ..differs("config", topic, is.clone(), Some(must.clone()), "consign topics apply")
            },
            Difference::HomePartitions { is: None, must } => {
                differs("home_partitions", "controls", None, Some(must.to_string()), "consign topics apply")
            }
            Difference::HomePartitions { is: Some(is), must } => differs(
                "home_partitions",
                "controls",
                Some(is.to_string()),
                Some(must.to_string()),
                "set topics.home_partitions to the number in controls: it never changes, because it decides where files \
                 live",
            ),
        }
    }
}

impl From<&SchemaDifference> for Differs {
    fn from(difference: &SchemaDifference) -> Self {
        let text = difference.to_string();
        let differs = |kind, what: &str, is: Option<String>, must: Option<String>, to_do| Self {
            kind,
            what: what.to_owned(),
            key: None,
            is,
            must,
            text,
            to_do,
        };
        match difference {
            SchemaDifference::Missing { subject } => {
                differs("missing", subject, None, None, "consign schemas register")
            }
            SchemaDifference::Other { subject, newest, compatible: true } => differs(
                "other",
                subject,
                Some(newest.to_string()),
                None,
                "consign schemas register, if this version is the newer one; else nothing",
            ),
            SchemaDifference::Other { subject, newest, compatible: false } => differs(
                "incompatible",
                subject,
                Some(newest.to_string()),
                None,
                "find out who registered it: somebody else uses this subject, or kafka.prefix is another installation's",
            ),
            SchemaDifference::Level { subject, is } => {
                differs("level", subject, is.clone(), Some("FULL_TRANSITIVE".into()), "consign schemas register")
            }
        }
    }
}

/// `topics apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicsApplied {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How many topics there must be.
    pub topics: usize,
    /// What was mended, or would be.
    pub mended: Vec<Differs>,
    /// What only an administrator can mend.
    pub left: Vec<Differs>,
}

/// `topics check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicsChecked {
    /// How many topics there must be.
    pub topics: usize,
    /// What differs.
    pub differences: Vec<Differs>,
}

/// `topics acls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicsAcls {
    /// Everything that must be permitted.
    pub acls: Vec<AclGrant>,
}

/// What one principal may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AclGrant {
    /// Who, such as `User:consign`.
    pub principal: String,
    /// What it may do, as Kafka calls it.
    pub operations: Vec<&'static str>,
    /// With what: `topic`, `group` or `transactional-id`.
    pub resource: &'static str,
    /// `literal`, or `prefixed` where `names` are beginnings.
    pub pattern: &'static str,
    /// The names.
    pub names: Vec<String>,
    /// What for.
    pub purpose: &'static str,
    /// The command that grants it.
    pub command: String,
}

/// `schemas register`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemasRegistered {
    /// One for each topic with a schema.
    pub subjects: Vec<RegisteredSubject>,
}

/// A subject with its schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegisteredSubject {
    /// The subject.
    pub subject: String,
    /// The schema's id.
    pub id: u32,
    /// Whether it was there before.
    pub already_there: bool,
}

/// `schemas check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemasChecked {
    /// What differs.
    pub differences: Vec<Differs>,
}

/// `routing check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoutingChecked {
    /// The document's digest; null where it has faults.
    pub digest: Option<String>,
    /// Its faults.
    pub errors: Vec<Diagnostic>,
    /// What is legal but risky.
    pub warnings: Vec<Diagnostic>,
}

/// `routing apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoutingApplied {
    /// The digest in force.
    pub digest: String,
    /// The digest that was in force before; null for the first.
    pub replaced: Option<String>,
    /// The five answers of the change; none for the first document.
    pub answers: Vec<String>,
    /// What is legal but risky.
    pub warnings: Vec<Diagnostic>,
}

/// `offsets repair`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OffsetsRepaired {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// One for each partition whose position is missing or impossible.
    pub repaired: Vec<RepairedOffset>,
}

/// A position that was put right, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairedOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What the group had committed.
    pub committed: Option<i64>,
    /// Where it goes on.
    pub position: i64,
}

/// `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whether there is no difference.
    pub equal: bool,
    /// How often each thing was seen, by name.
    pub counts: BTreeMap<String, u64>,
    /// Every difference.
    pub differences: Vec<VerifiedDifference>,
}

/// Something on the topics that the contract says never happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedDifference {
    /// `I1` to `I15`, or `K2`.
    pub invariant: &'static str,
    /// The file.
    pub file_id: Option<FileId>,
    /// The topic of the record that shows it.
    pub topic: Option<String>,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its offset.
    pub offset: Option<i64>,
    /// In words.
    pub text: String,
}

/// `machine`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Its tables.
    pub tables: Vec<MachineTable>,
}

/// One table of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineTable {
    /// Its name.
    pub name: &'static str,
    /// What it decides.
    pub title: &'static str,
    /// Names of the input columns.
    pub inputs: Vec<&'static str>,
    /// Names of the output columns.
    pub outputs: Vec<&'static str>,
    /// Every cell.
    pub cells: Vec<MachineCell>,
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineCell {
    /// One value for each input column.
    pub inputs: Vec<String>,
    /// One value for each output column.
    pub outputs: Vec<String>,
}

impl From<Table> for MachineTable {
    fn from(table: Table) -> Self {
        let cells = table.cells.into_iter().map(|c| MachineCell { inputs: c.inputs, outputs: c.outputs }).collect();
        Self {
            name: table.name,
            title: table.title,
            inputs: table.inputs.to_vec(),
            outputs: table.outputs.to_vec(),
            cells,
        }
    }
}

/// `demo`.
#[derive(Debug, Clone, Serialize)]
pub struct Demo {
    /// Whether every file ended as its example says.
    pub as_expected: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// One for each example.
    pub files: Vec<DemoFile>,
}

/// What became of one example.
#[derive(Debug, Clone, Serialize)]
pub struct DemoFile {
    /// The file: the example's, or its successor.
    pub file_id: String,
    /// What the example shows.
    pub about: String,
    /// Whether it ended as the example says.
    pub as_expected: bool,
    /// What is not so, in words.
    pub differences: Vec<String>,
    /// Requests that each target's receiver got.
    pub requests: BTreeMap<String, usize>,
    /// The file's state.
    pub file: Option<Arc<FileState>>,
    /// What a person saw and did on the way; null where nobody had to.
    pub person: Option<DemoPerson>,
}

/// The turn of a person in an example.
#[derive(Debug, Clone, Serialize)]
pub struct DemoPerson {
    /// The file as the person saw it.
    pub saw: Arc<FileState>,
    /// Requests that each target's receiver had got by then.
    pub requests: BTreeMap<String, usize>,
    /// What the person did, in words.
    pub did: String,
}

/// `dev` and `run`, once they serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Serving {
    /// The gateway's URL; null for a process without one.
    pub gateway: Option<String>,
    /// The URL of `/healthz`, `/readyz` and `/metrics`: the gateway's where there is one.
    pub observing: Option<String>,
    /// The URL of the built-in receivers; null for `run`.
    pub receivers: Option<String>,
}

/// `completions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Completions {
    /// The shell.
    pub shell: String,
    /// Its script.
    pub script: String,
}
