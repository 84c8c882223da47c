//! A routing document as text, with the files that it names.

use std::collections::BTreeMap;

use super::diagnostic::Report;
use super::node::{self, Node};
use crate::record::RoutingBundle;

/// The YAML text of a routing document and the text of every schema and table that it names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// What the document is called in messages: usually its file name.
    pub name: String,
    /// The YAML text.
    pub document: String,
    /// Schemas and tables, by the name that the document uses for them.
    pub files: BTreeMap<String, String>,
}

impl From<&RoutingBundle> for Sources {
    fn from(bundle: &RoutingBundle) -> Self {
        Self { name: bundle.name.clone(), document: bundle.document.clone(), files: bundle.files.clone() }
    }
}

impl Sources {
    /// The record that keeps these sources under the digest of the document that they load as.
    pub fn to_bundle(&self, digest: &str) -> RoutingBundle {
        RoutingBundle {
            digest: digest.to_owned(),
            name: self.name.clone(),
            document: self.document.clone(),
            files: self.files.clone(),
        }
    }
}

/// The files that a document names, sorted: what must be read before it can be loaded. A text that is no YAML names none;
/// what else is wrong with it is for [`super::load`] to say.
pub fn named_files(document: &str) -> Vec<String> {
    let Some(root) = node::parse(document, &mut Report::new("")) else { return Vec::new() };
    let entries = |section: &str| root.field(section).map(Node::entries).unwrap_or_default();
    let of_schemas = entries("file_types").iter().chain(entries("payloads")).flat_map(|entry| {
        let of_avro = entry.value.field("avro").and_then(|avro| avro.field("schema"));
        [entry.value.field("schema"), of_avro].into_iter().flatten().filter_map(Node::as_text)
    });
    let of_tables = root.field("tables").into_iter().flat_map(Node::entries).filter_map(|entry| entry.value.as_text());
    let mut names: Vec<String> =
        of_schemas.chain(of_tables).filter(|name| is_file_name(name)).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// The document as JSON, as its JSON Schema sees it; `None` for a text that is no YAML of one document.
pub fn document_json(document: &str) -> Option<serde_json::Value> {
    let mut report = Report::new("");
    let root = node::parse(document, &mut report)?;
    report.is_clean().then(|| root.to_json())
}

/// Whether a document may name a file so: a relative path that stays beside the document.
pub(super) fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_a_document_names_are_found() {
        let document = "
tables: {accounts: accounts.csv, gone: ../../etc/passwd}
file_types: {invoice: {schema: examples/invoice.json}, note: {}}
payloads: {a: {body: {}, schema: a.json}, b: {from: a, schema: a.json, avro: {schema: b.avsc}}}
";
        assert_eq!(named_files(document), ["a.json", "accounts.csv", "b.avsc", "examples/invoice.json"]);
        assert_eq!(named_files("a: ["), Vec::<String>::new());
    }

    #[test]
    fn a_bundle_keeps_the_sources() {
        let files = BTreeMap::from([("a.csv".to_owned(), "k\n".to_owned())]);
        let sources = Sources { name: "routing.yaml".to_owned(), document: "{}".to_owned(), files };
        assert_eq!(Sources::from(&sources.to_bundle("sha256:0")), sources);
    }
}
