//! The routing document: which file goes to which targets, as what, and what holds for it there.
//!
//! A document is YAML with the schemas and tables that it names. [`load`] reads and checks all of it at once and gives a
//! [`Document`], whose [digest](Document::digest) names exactly this content. Nothing here reads a file, a clock or the
//! environment: the shell brings everything as [`Sources`].
//!
//! # The document
//!
//! Unknown keys are errors. Durations are written `500ms`, `30s`, `2h`, `7d`. Names of files are relative to the document.
//!
//! | key | value |
//! | --- | --- |
//! | `file_types` | by name: `schema` (JSON Schema of the manifest's data), `deadline` (default 7 days), `content` (`format` json, ndjson or csv, `max_size` in bytes, `attempts` 6, `schedule` [1s, 5s, 30s, 2m, 10m], `within` 1m), `description` |
//! | `tables` | by name: a CSV file, whose first column is the key of `lookup('name', key).column` |
//! | `payloads` | by name: `format`, `body`, or `from` another one with `remove` (JSON Pointers) and then `set` (values by JSON Pointer); `schema`, `description` |
//! | `target_defaults` | the policy of every target that doesn't say otherwise, key by key |
//! | `targets` | by name: `owner`, `http`, `confirmed_by`, the policy, `description` |
//! | `routes` | a list: `to` one target, `when`, `after` (a list of targets, of which those that the file doesn't go to count as met), `payload` (a name, or a list of `{when, use}` of which the first that holds is taken); one route for each target |
//!
//! | of a target | value |
//! | --- | --- |
//! | `http` | `url`, `path` and `query` put together for each file, `method`, `headers`, `auth`, `tls` |
//! | `webhook` | the same without `method`, and `sign_with` |
//! | `kafka` | `topic`, `cluster`, `key`, `headers`, `in_transaction` |
//! | `envelope` | `none` (default), `cloudevents`, or `{cloudevents: structured\|binary, attributes}` |
//! | `confirmed_by` | `{response: RULE}` or `{response: {succeeded, duplicate, rejected, retryable}}`; `{acks: 1h}` or `{acks: {within, limit, token}}`, with `rejected` and `retryable` rules beside it; `transport` or `{transport: true}`; each mapping also with `rejected_status` and `not_processed` |
//! | `on_unknown` | `hold` (default), `retry` |
//! | `on_overdue` | `hold` (default), `retry` (not with `on_unknown: hold`), `fail` |
//! | `on_exhausted` | `hold` (default), `fail` |
//! | `on_failed` | `settle` (default), `cancel` |
//! | `retry` | `attempts` 8, `operator_attempts` 3, `refusals` 3, `schedule` [1s, 5s, 30s, 2m, 10m, 30m, 1h] or `exponential` (`first`, `factor` 2, `max`), `jitter` 20 (percent), `give_up_after`, `retry_after_max` 1h |
//! | `timeouts` | `send_within` 30s, `request` 30s, `max_clock_skew` 5s |
//! | `escalation` | `first` 1h, `max` 24h |
//! | `operator_confirm` | true |
//! | `concurrency` | 32 |
//! | `rate` | none; `50/s`, `10/m`, `100/h` |
//!
//! # Expressions
//!
//! A text in a payload, or in a part of a request, that begins with `=` is a CEL expression; `when` and rules are expressions as they are. They see
//! `file` (id, type, name, `schema_version`, location, size, checksum, `media_type`, `produced_by`, `produced_at`),
//! `attributes`, `data` and, for types with `content: {format: …}`, `content`; `lookup`; in payloads and parts `omit()`, which drops its key. Rules over a response see `status`,
//! `headers` (lower-case names), `body` (JSON, or null) and `text`. Nothing sees an attempt or a clock: a retry can't differ.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod avro;
mod canonical;
pub mod code;
mod content;
mod diagnostic;
pub mod diff;
mod document;
mod expression;
mod json_schema;
mod node;
mod rate;
mod read;
mod room;
mod schema;
mod sources;
mod table;
mod template;
pub(crate) mod weight;

pub use avro::Registration;
pub use canonical::{canonical_json, canonical_record, sha256_digest};
pub use content::{ContentRule, DataFormat, MAX_CONTENT, MAX_READ_CONTENT};
pub use diagnostic::Diagnostic;
pub(crate) use document::{Content, Envelope, FileType, Format, Mode, Route};
pub use document::{DEFAULT_DEADLINE_MS, Document, Http, Policy, Receipt, Target, TargetSummary};
pub(crate) use expression::{Evaluator, Expression, shown};
pub use expression::{
    MAX_BUILT_BYTES_OF_A_FILE, MAX_HELD_BYTES, MAX_ITEMS, MAX_ITEMS_OF_A_FILE, MAX_SEARCHED_BYTES,
    MAX_SEARCHED_BYTES_OF_A_FILE, MAX_SOURCE, MAX_STEPS_OF_A_FILE, MAX_SUM_BYTES, MAX_SUM_BYTES_OF_A_FILE,
    MAX_WRITTEN_BYTES, MAX_WRITTEN_BYTES_OF_A_FILE, Response, Rule, response_rule,
};
pub use json_schema::json_schema;
pub use rate::{Per, Rate};
pub use read::{MAX_DOCUMENT_BYTES, load};
pub(crate) use read::{is_header_value, is_record_header};
pub use schema::Schema;
pub use sources::{Sources, document_json, named_files};
pub use table::Table;
pub(crate) use template::Template;

/// A document that may be put in force.
#[derive(Debug)]
pub struct Loaded {
    /// The document.
    pub document: Document,
    /// What is legal in it and risky.
    pub warnings: Vec<Diagnostic>,
}
