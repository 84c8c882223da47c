//! The shipped document and its examples, and files for documents of a test's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use consign::plan::{Inputs, Limits, plan};
use consign::record::{Arrival, Failure, FileId, FileManifest, PlannedDispatch, TargetName, Timestamp};
use consign::routing::{Document, Sources, load, named_files};
use serde_json::Value as Json;

pub use crate::arrival::{RECEIVED_AT, arrival, cause};

pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `config/routing.yaml` with the files it names.
pub fn shipped_sources() -> Sources {
    let config = repository().join("config");
    let document = fs::read_to_string(config.join("routing.yaml")).unwrap();
    let files = named_files(&document)
        .into_iter()
        .map(|name| (name.clone(), fs::read_to_string(config.join(&name)).unwrap()))
        .collect();
    Sources { name: "config/routing.yaml".to_owned(), document, files }
}

/// `config/routing.yaml`, loaded.
pub fn shipped() -> Document {
    load(&shipped_sources()).unwrap_or_else(|errors| panic!("{}", lines(&errors))).document
}

/// One of `config/examples/*.json`.
pub struct Example {
    pub name: String,
    pub manifest: FileManifest,
    pub json: Json,
}

/// The examples, by file name.
pub fn examples() -> Vec<Example> {
    let folder = repository().join("config/examples");
    let mut names: Vec<String> = fs::read_dir(folder.clone())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "json"))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let json: Json = serde_json::from_str(&fs::read_to_string(folder.join(&name)).unwrap()).unwrap();
            let manifest = serde_json::from_value(json["manifest"].clone()).unwrap();
            Example { name: name.trim_end_matches(".json").to_owned(), manifest, json }
        })
        .collect()
}

/// A document of a test's own, with a table `t`.
pub fn document(text: &str) -> Document {
    let files = BTreeMap::from([("t.csv".to_owned(), "k,tier,note\na,gold,x\n7,silver,\n".to_owned())]);
    let sources = Sources { name: "routing.yaml".to_owned(), document: text.to_owned(), files };
    load(&sources).unwrap_or_else(|errors| panic!("{}", lines(&errors))).document
}

pub fn lines<T: std::fmt::Display>(all: &[T]) -> String {
    all.iter().flat_map(|one| [one.to_string(), "\n".to_owned()]).collect()
}

/// The arrival of a file's first successor, limited to these targets.
pub fn successor(manifest: FileManifest, only: &[&str]) -> Arrival {
    let file_id = manifest.file_id.successor();
    Arrival {
        supersedes: Some(manifest.file_id.clone()),
        only_targets: Some(only.iter().map(|name| TargetName::parse(name).unwrap()).collect()),
        file_id,
        ..arrival(manifest)
    }
}

pub fn manifest(file_type: &str, data: &str, attributes: &[(&str, &str)]) -> FileManifest {
    FileManifest {
        file_id: FileId::parse("f-1").unwrap(),
        schema_version: 2,
        file_type: file_type.to_owned(),
        name: "file 1".to_owned(),
        location: None,
        size: Some(12),
        checksum: None,
        media_type: None,
        attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        data: Some(data.to_owned()),
        produced_by: "test".to_owned(),
        produced_at: Timestamp(1_767_225_600_000),
        deadline: None,
    }
}

pub fn plan_of(arrival: &Arrival, routing: &Document) -> Result<Vec<PlannedDispatch>, Failure> {
    plan_within(arrival, routing, Limits::default())
}

pub fn plan_within(arrival: &Arrival, routing: &Document, limits: Limits) -> Result<Vec<PlannedDispatch>, Failure> {
    plan(Inputs { arrival, fetched: None, routing, version: 2, cause: &cause(), planned_at: RECEIVED_AT, limits })
}

pub fn body_text(dispatch: &PlannedDispatch) -> String {
    let body = dispatch.request.body.as_ref().unwrap();
    String::from_utf8(body.as_ref().to_vec()).unwrap()
}
