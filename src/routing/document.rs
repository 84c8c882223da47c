//! The routing document as the planner reads it: checked, every name resolved, every default filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::avro::AvroSchema;
use super::content::ContentRule;
use super::expression::Expression;
use super::rate::Rate;
use super::schema::Schema;
use super::table::Table;
use super::template::{Pointer, Template};
use crate::record::{
    Auth, ConfirmedBy, Escalation, OnExhausted, OnFailed, OnOverdue, OnUnknown, Retry, TargetName, Timeouts, Timestamp,
    Tls, TransportKind, text_enum,
};

/// How long after its acceptance a file is overdue, where neither its manifest nor its type says: seven days.
pub const DEFAULT_DEADLINE_MS: i64 = 7 * 24 * 3_600_000;

/// A routing document that has been checked as a whole.
#[derive(Debug)]
pub struct Document {
    pub(super) digest: String,
    pub(super) file_types: BTreeMap<String, FileType>,
    pub(super) tables: Arc<BTreeMap<String, Table>>,
    pub(super) payloads: BTreeMap<String, Payload>,
    pub(super) targets: BTreeMap<TargetName, Target>,
    pub(super) routes: Vec<Route>,
}

/// What a file of this type must be.
#[derive(Debug)]
pub(crate) struct FileType {
    /// What its data must fit.
    pub(crate) schema: Option<Arc<Schema>>,
    /// How long after its acceptance it is overdue, where its manifest doesn't say when.
    pub(crate) deadline_ms: Option<i64>,
    /// How its files' bytes are fetched before planning.
    pub(crate) content: Option<ContentRule>,
}

/// How a rendered body becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// Compact JSON with sorted keys.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`, by sorted keys.
    Form,
    /// Avro in the framing of Confluent, by the payload's registered schema.
    Avro,
    /// The file's own bytes.
    File,
}

impl Format {
    /// Its name in documents.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Form => "form",
            Self::Avro => "avro",
            Self::File => "file",
        }
    }
}

/// A request body to be rendered.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) content: Content,
    pub(crate) format: Format,
    /// What the rendered body must fit.
    pub(crate) schema: Option<Arc<Schema>>,
    /// How it becomes Avro.
    pub(crate) avro: Option<AvroSchema>,
}

/// Where a payload comes from.
#[derive(Debug)]
pub(crate) enum Content {
    /// It is the file itself.
    File,
    /// It is written out.
    Body(Template),
    /// It is another payload, changed: `remove` first, then `set`.
    From {
        /// The other payload's name.
        from: String,
        /// What is taken away.
        remove: Vec<Pointer>,
        /// What is put in, in the order of the pointers.
        set: Vec<(Pointer, Template)>,
    },
}

/// A service that receives files.
#[derive(Debug)]
pub struct Target {
    /// Who is accountable for it.
    pub owner: String,
    /// Where its requests go.
    pub http: Http,
    /// What holds for its dispatches.
    pub policy: Policy,
    /// What of its requests is put together for each file.
    pub(crate) parts: Parts,
    /// What stands around its bodies.
    pub(crate) envelope: Option<Envelope>,
}

impl Target {
    /// Whether its requests carry a body.
    pub(crate) fn has_body(&self) -> bool {
        self.http.transport != TransportKind::Http || !WITHOUT_BODY.contains(&self.http.method.as_str())
    }

    /// Every expression that stands in its requests, payloads aside.
    pub(super) fn expressions<'t>(&'t self, all: &mut Vec<&'t Expression>) {
        self.parts.expressions(all);
        let attributes = self.envelope.iter().flat_map(|envelope| envelope.attributes.values());
        attributes.for_each(|template| template.expressions(all));
    }
}

/// The HTTP methods of requests without a body.
const WITHOUT_BODY: [&str; 4] = ["GET", "HEAD", "DELETE", "OPTIONS"];

/// What of a target's requests is put together for each file, every part escaped by its position.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Parts {
    /// The key of its records, for a Kafka target; none for the `file_id`.
    pub(crate) key: Option<Template>,
    /// Segments behind the URL's own path.
    pub(crate) path: Vec<Template>,
    /// Parameters behind the URL's own query.
    pub(crate) query: BTreeMap<String, Template>,
    /// Headers that are expressions, by lower-case name.
    pub(crate) headers: BTreeMap<String, Template>,
}

impl Parts {
    /// Every expression of them.
    pub(super) fn expressions<'t>(&'t self, all: &mut Vec<&'t Expression>) {
        let maps = self.query.values().chain(self.headers.values());
        self.key.iter().chain(&self.path).chain(maps).for_each(|template| template.expressions(all));
    }
}

/// How an event and its body are one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The body holds the attributes and the data.
    Structured,
    /// The body is the data, the attributes are headers.
    Binary,
}

impl Mode {
    /// Its name in documents.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Structured => "structured",
            Self::Binary => "binary",
        }
    }
}

/// A `CloudEvents` 1.0 event around each body.
#[derive(Debug, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) mode: Mode,
    /// Attributes that the document sets, by name; what it leaves out has a default or isn't there.
    pub(crate) attributes: BTreeMap<String, Template>,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// HTTP as it is, or signed webhooks.
    pub transport: TransportKind,
    /// The URL, normalised, or the topic.
    pub url: String,
    /// The HTTP method.
    pub method: String,
    /// Media type of the body, where the document says one.
    pub content_type: Option<String>,
    /// Other headers that are the same for every file, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The credentials that requests show.
    pub auth: Option<Auth>,
    /// The certificates that requests show and trust.
    pub tls: Option<Tls>,
    /// Names of the secrets that sign requests.
    pub sign_with: Option<Vec<String>>,
    /// The Kafka cluster, for a Kafka target; none for that of the log.
    pub cluster: Option<String>,
    /// Whether its records are part of the transactions that authorize their attempts.
    pub in_transaction: bool,
}

impl Http {
    /// The secrets that requests need, by name.
    fn secrets(&self) -> impl Iterator<Item = &String> {
        let tls = self.tls.iter().flat_map(|tls| [&tls.certificate, &tls.key, &tls.ca].into_iter().flatten());
        self.auth.iter().map(|auth| &auth.secret).chain(tls).chain(self.sign_with.iter().flatten())
    }
}

text_enum! {
    /// What a report of success must show of what arrived.
    Receipt, "snake_case" {
        /// `none`
        None = "none",
        /// `digest`
        Digest = "digest",
    }
}

/// What holds for the dispatches of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// By what success is confirmed.
    pub confirmed_by: ConfirmedBy,
    /// Whether a report of success must name the digest of what was sent.
    pub receipt: Receipt,
    /// When a request's fate is unknown.
    pub on_unknown: OnUnknown,
    /// When a confirmation is overdue.
    pub on_overdue: OnOverdue,
    /// When the budget is spent.
    pub on_exhausted: OnExhausted,
    /// What a failure means for the file's other dispatches.
    pub on_failed: OnFailed,
    /// Budgets and schedule.
    pub retry: Retry,
    /// Bounds of an attempt.
    pub timeouts: Timeouts,
    /// When a person's turn moves on.
    pub escalation: Escalation,
    /// Whether an operator may confirm success by hand.
    pub operator_confirm: bool,
    /// Requests that may be on the wire at once.
    pub concurrency: usize,
    /// How fast requests may leave; as fast as they can where nothing is said.
    pub rate: Option<Rate>,
}

/// Which files a target receives, and as what.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) to: TargetName,
    pub(crate) when: Option<Expression>,
    pub(crate) after: Vec<TargetName>,
    /// The first choice whose condition holds is taken. None where the target's requests carry no body.
    pub(crate) choices: Vec<Choice>,
}

/// A payload and its condition.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) when: Option<Expression>,
    pub(crate) payload: String,
}

/// What the engine and the transports must know of a target outside any plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSummary {
    /// Its name.
    pub name: TargetName,
    /// Who is accountable for it.
    pub owner: String,
    /// What carries its requests.
    pub transport: TransportKind,
    /// Requests that may be on the wire to it at once.
    pub concurrency: usize,
    /// How fast requests may leave for it.
    pub rate: Option<Rate>,
}

impl Document {
    /// `sha256:` and hex over the canonical form: the parsed document, its schemas and its tables. Comments, white space
    /// and the order of keys don't count; the order of routes does.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Every target, by name.
    pub fn targets(&self) -> Vec<TargetSummary> {
        self.targets
            .iter()
            .map(|(name, target)| TargetSummary {
                name: name.clone(),
                owner: target.owner.clone(),
                transport: target.http.transport,
                concurrency: target.policy.concurrency,
                rate: target.policy.rate,
            })
            .collect()
    }

    /// The names of all secrets that requests need, sorted.
    pub fn secrets(&self) -> BTreeSet<String> {
        let keys = |target: &Target| target.policy.confirmed_by.verify_with.clone();
        self.targets.values().flat_map(|target| target.http.secrets().cloned().chain(keys(target))).collect()
    }

    /// A target's definition.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.get(name)
    }

    /// The names of the file types, sorted.
    pub fn file_types(&self) -> impl Iterator<Item = &str> {
        self.file_types.keys().map(String::as_str)
    }

    /// When a file of a type is overdue that was accepted then and whose manifest doesn't say.
    pub fn deadline(&self, file_type: &str, received_at: Timestamp) -> Timestamp {
        let millis = self.file_types.get(file_type).and_then(|file_type| file_type.deadline_ms);
        received_at.plus_millis(millis.unwrap_or(DEFAULT_DEADLINE_MS))
    }

    pub(crate) fn file_type(&self, name: &str) -> Option<&FileType> {
        self.file_types.get(name)
    }

    pub(crate) fn payload(&self, name: &str) -> Option<&Payload> {
        self.payloads.get(name)
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    pub(crate) fn tables(&self) -> &Arc<BTreeMap<String, Table>> {
        &self.tables
    }
}
