//! From a YAML tree to a [`Document`]: one file per section. Everything that is wrong is reported; reading goes on.

mod confirmed_by;
mod content;
mod fields;
mod parts;
mod payloads;
mod policy;
mod request;
mod routes;
mod secrets;
mod targets;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::canonical::{canonical_json, sha256_digest};
use super::code;
use super::diagnostic::Report;
use super::document::{Document, FileType};
use super::expression::{Expression, Scope, shown};
use super::node::{At, Entry, Node, parse};
use super::room::with_room;
use super::schema::Schema;
use super::sources::{Sources, is_file_name};
use super::table::Table;
use super::{Diagnostic, Loaded};
use fields::Fields;
pub(crate) use request::{is_header_value, is_record_header};

/// Largest document with the files it names, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

const SECTIONS: &[&str] = &["file_types", "tables", "payloads", "target_defaults", "targets", "routes"];

/// Reads and checks a routing document with the files it names: everything that is wrong with it, or the document and
/// what is risky about it.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<Diagnostic>> {
    // Without the room, each expression asks for it, and says that there is none.
    with_room(|| read(sources)).unwrap_or_else(|_| read(sources))
}

fn read(sources: &Sources) -> Result<Loaded, Vec<Diagnostic>> {
    let mut loader = Loader {
        sources,
        report: Report::new(&sources.name),
        tables: Arc::default(),
        schemas: BTreeMap::new(),
        avro_schemas: BTreeMap::new(),
        expressions: String::new(),
    };
    let document = loader.document();
    let is_clean = loader.report.is_clean();
    let (errors, warnings) = loader.report.into_parts();
    match document {
        Some(document) if is_clean => Ok(Loaded { document, warnings }),
        _ => Err(errors),
    }
}

/// What reading a document needs and gathers.
pub(super) struct Loader<'s> {
    sources: &'s Sources,
    pub(super) report: Report,
    tables: Arc<BTreeMap<String, Table>>,
    /// Schemas by file; `None` for one that can't be used, which is said once.
    schemas: BTreeMap<String, Option<Arc<Schema>>>,
    /// Avro schemas by file.
    avro_schemas: BTreeMap<String, Json>,
    /// Every expression, to see which tables are used.
    expressions: String,
}

impl Loader<'_> {
    fn document(&mut self) -> Option<Document> {
        let size = self.sources.files.values().map(String::len).sum::<usize>() + self.sources.document.len();
        if size > MAX_DOCUMENT_BYTES {
            let text = format!("the document with its files has {size} bytes, more than {MAX_DOCUMENT_BYTES}");
            self.report.error(code::DOCUMENT_SIZE, At::START, text);
            return None;
        }
        let root = parse(&self.sources.document, &mut self.report)?;
        let sections = Fields::read(&root, SECTIONS, &[], &mut self.report)?;
        for section in ["file_types", "targets", "routes"] {
            sections.required(section, &mut self.report);
        }
        self.tables = Arc::new(self.read_tables(sections));
        let file_types = self.file_types(sections);
        let payloads = self.payloads(sections);
        let targets = self.targets(sections);
        let routes = self.routes(sections, &payloads, &targets);
        self.check_content(sections, &file_types, &payloads, &targets, &routes);
        self.check_whole(sections, &file_types, &payloads, &targets, &routes);
        Some(Document {
            digest: self.digest(&root),
            file_types,
            tables: Arc::clone(&self.tables),
            payloads: payloads.into_iter().filter_map(|(name, payload)| Some((name, payload?))).collect(),
            targets: targets.into_iter().filter_map(|(name, target)| Some((name, target?))).collect(),
            routes,
        })
    }

    /// The named entries of a section, those with an illegal name left out.
    fn named<'n>(&mut self, sections: Fields<'n>, section: &str) -> Vec<&'n Entry> {
        let Some(node) = sections.get(section) else { return Vec::new() };
        let entries = node.entries();
        if entries.is_empty() {
            self.report.error(code::ILLEGAL_VALUE, node.at, format!("`{section}` is a mapping of names"));
        }
        entries.iter().filter(|entry| self.is_name(&entry.key, entry.at)).collect()
    }

    pub(super) fn is_name(&mut self, name: &str, at: At) -> bool {
        let is_legal =
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !is_legal {
            let text = format!("the name `{name}` is not 1 to 64 characters of [A-Za-z0-9_.-]");
            self.report.error(code::ILLEGAL_NAME, at, text);
        }
        is_legal
    }

    fn read_tables(&mut self, sections: Fields<'_>) -> BTreeMap<String, Table> {
        let mut tables = BTreeMap::new();
        for entry in self.named(sections, "tables") {
            if let Some((file, text)) = self.named_file(&entry.value) {
                let table = Table::read(&file, &text, &mut self.report);
                tables.insert(entry.key.clone(), table);
            }
        }
        tables
    }

    fn file_types(&mut self, sections: Fields<'_>) -> BTreeMap<String, FileType> {
        let mut file_types = BTreeMap::new();
        for entry in self.named(sections, "file_types") {
            let legal = ["schema", "deadline", "content", "description"];
            let Some(fields) = Fields::read(&entry.value, &legal, &[], &mut self.report) else { continue };
            fields.text("description", &mut self.report);
            let schema = self.schema(fields);
            let deadline_ms = fields.get("deadline").and_then(|node| fields::duration_ms(node, 1, &mut self.report));
            let content = self.content_rule(fields);
            file_types.insert(entry.key.clone(), FileType { schema, deadline_ms, content });
        }
        file_types
    }

    /// The schema that a mapping's `schema` names.
    fn schema(&mut self, fields: Fields<'_>) -> Option<Arc<Schema>> {
        let node = fields.get("schema")?;
        let name = fields::text(node, &mut self.report)?.to_owned();
        if let Some(known) = self.schemas.get(&name) {
            return known.clone();
        }
        let schema = self.named_file(node).and_then(|(file, text)| match Schema::read(&file, &text) {
            Ok(schema) => Some(Arc::new(schema)),
            Err(why) => {
                self.report.error(code::SCHEMA, node.at, format!("the schema `{file}` can't be used: {why}"));
                None
            }
        });
        self.schemas.insert(name, schema.clone());
        schema
    }

    /// Name and text of the file that a node names.
    fn named_file(&mut self, node: &Node) -> Option<(String, String)> {
        let name = fields::text(node, &mut self.report)?;
        if !is_file_name(name) {
            let text = format!("`{name}` is no file beside the document");
            let hint = "a relative path of [A-Za-z0-9._/-] without `..`";
            self.report.error_with_hint(code::ILLEGAL_NAME, node.at, text, hint);
            return None;
        }
        let text = self.sources.files.get(name);
        if text.is_none() {
            self.report.error(code::UNDEFINED_NAME, node.at, format!("there is no file `{name}`"));
        }
        text.map(|text| (name.to_owned(), text.clone()))
    }

    /// Checks an expression.
    pub(super) fn expression(&mut self, at: At, source: &str, scope: Scope) -> Option<Expression> {
        self.expressions.push_str(source);
        self.expressions.push('\n');
        match Expression::compile(source, scope, &self.tables) {
            Ok(expression) => Some(expression),
            Err(why) => {
                self.report.error(code::EXPRESSION, at, format!("`{}`: {why}", shown(source)));
                None
            }
        }
    }

    /// Checks the expression that a text is.
    fn condition(&mut self, node: &Node) -> Option<Expression> {
        let source = fields::text(node, &mut self.report)?;
        if source.starts_with('=') {
            let text = "a condition is an expression as it is, without `=`";
            self.report.error(code::EXPRESSION, node.at, text);
            return None;
        }
        self.expression(node.at, source, Scope::Condition)
    }

    fn digest(&self, root: &Node) -> String {
        let schemas: Map<String, Json> = self
            .schemas
            .iter()
            .filter_map(|(file, schema)| Some((file.clone(), schema.as_ref()?.json().clone())))
            .collect();
        let tables: Map<String, Json> = root
            .field("tables")
            .into_iter()
            .flat_map(Node::entries)
            .filter_map(|entry| entry.value.as_text())
            .filter_map(|file| Some((file.to_owned(), Json::from(self.sources.files.get(file)?.as_str()))))
            .collect();
        let mut whole = json!({"document": root.to_json(), "schemas": schemas, "tables": tables});
        if !self.avro_schemas.is_empty() {
            let avro: Map<String, Json> = self.avro_schemas.clone().into_iter().collect();
            whole["avro"] = Json::Object(avro);
        }
        let canonical = canonical_json(&whole);
        sha256_digest(canonical.as_bytes())
    }
}
