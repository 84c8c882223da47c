//! The routing document: which file goes to which targets, as what, and what holds for it there.
//!
//! A document is YAML with the schemas and tables that it names. [`load`] reads and checks all of it at once and gives a
//! [`Document`], whose [digest](Document::digest) names exactly this content. Nothing here reads a file, a clock or the
//! environment: the shell brings everything as [`Sources`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod canonical;
pub mod code;
mod diagnostic;
mod document;
mod expression;
mod node;
mod read;
mod schema;
mod sources;
mod table;
mod template;

pub use canonical::{canonical_json, sha256_digest};
pub use diagnostic::Diagnostic;
pub(crate) use document::{Content, FileType};
pub use document::{DEFAULT_DEADLINE_MS, Document, Http, Policy, Target, TargetSummary};
pub(crate) use expression::Evaluator;
pub use expression::{MAX_ITEMS, MAX_SOURCE, MAX_SUM_BYTES, Response, Rule, response_rule};
pub use read::{MAX_DOCUMENT_BYTES, load};
pub use schema::Schema;
pub use sources::{Sources, named_files};
pub use table::Table;

/// A document that may be put in force.
#[derive(Debug)]
pub struct Loaded {
    /// The document.
    pub document: Document,
    /// What is legal in it and risky.
    pub warnings: Vec<Diagnostic>,
}
