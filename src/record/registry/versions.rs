//! Every version of every record schema reads every other: what FULL_TRANSITIVE demands, checked without a registry.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;

use super::WRITE_VERSIONS;
use crate::record::Topic;

/// The schemas of a topic by version: the newest from `schemas/`, older ones from `schemas/<version>/`.
fn versions(topic: Topic) -> BTreeMap<u32, String> {
    let newest = *WRITE_VERSIONS.iter().max().expect("there is a version");
    let Some(text) = topic.schema() else { return BTreeMap::new() };
    let mut versions = BTreeMap::from([(newest, text.to_owned())]);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for version in WRITE_VERSIONS.iter().filter(|version| **version != newest) {
        let path = folder.join(version.to_string()).join(format!("{}.avsc", topic.base_name()));
        // A version that left a topic's schema as it was has no file of its own for it.
        if let Ok(text) = std::fs::read_to_string(path) {
            versions.insert(*version, text);
        }
    }
    versions
}

/// The pairs (writer, reader) of which the reader can't read what the writer wrote.
fn unreadable(versions: &BTreeMap<u32, String>) -> Vec<(u32, u32)> {
    let parsed: Vec<(u32, Schema)> = versions
        .iter()
        .map(|(version, text)| (*version, Schema::parse_str(text).unwrap_or_else(|e| panic!("version {version}: {e}"))))
        .collect();
    let pairs = parsed.iter().flat_map(|writer| parsed.iter().map(move |reader| (writer, reader)));
    pairs
        .filter(|(writer, reader)| SchemaCompatibility::can_read(&writer.1, &reader.1).is_err())
        .map(|(writer, reader)| (writer.0, reader.0))
        .collect()
}

#[test]
fn all_pairs_of_versions_resolve_both_ways() {
    for topic in Topic::ALL {
        assert_eq!(unreadable(&versions(topic)), [], "{}: (writer, reader)", topic.base_name());
    }
}

#[test]
fn folders_of_older_versions_are_those_that_can_be_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|e| e.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        assert!(name.parse().is_ok_and(|version| WRITE_VERSIONS.contains(&version)), "schemas/{name}");
    }
}

/// A next version of every topic as it may be: an optional field more; and as it may not be.
#[test]
fn a_second_version_with_an_optional_field_resolves_and_a_required_field_does_not() {
    let with = |field: serde_json::Value| {
        for topic in Topic::ALL {
            let Some(text) = topic.schema() else { continue };
            let mut next: serde_json::Value = serde_json::from_str(text).unwrap();
            next["fields"].as_array_mut().expect("every value is a record").push(field.clone());
            let versions = BTreeMap::from([(1, text.to_owned()), (2, next.to_string())]);
            let may_be = field.get("default").is_some();
            assert_eq!(unreadable(&versions).is_empty(), may_be, "{}: {field}", topic.base_name());
        }
    };
    with(serde_json::json!({"name": "added_later", "type": ["null", "string"], "default": null}));
    with(serde_json::json!({"name": "added_later", "type": "string"}));
}
