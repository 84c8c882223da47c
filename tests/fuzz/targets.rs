//! What is fuzzed, by the entries that the product uses, and what must hold of every input. Each says whether it was taken.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use consign::plan::{Fetched, Inputs, Limits, check_manifest, consider, plan, verify};
use consign::record::registry::LocalRegistry;
use consign::record::{Codec, FileManifest};
use consign::routing::{Document, Sources, diff, document_json, json_schema, load, named_files, sha256_digest};
use jsonschema::Validator;

use super::arrival::{arrival, cause};
use super::repository;

/// A document with the files that it names, where these are.
fn sources(folder: &Path, document: String) -> Sources {
    let files = named_files(&document)
        .into_iter()
        .filter_map(|name| Some((name.clone(), fs::read_to_string(folder.join(name)).ok()?)))
        .collect();
    Sources { name: "routing.yaml".to_owned(), document, files }
}

fn shipped(folder: &str) -> Document {
    let folder = repository().join(folder);
    let document = fs::read_to_string(folder.join("routing.yaml")).unwrap();
    load(&sources(&folder, document)).unwrap().document
}

fn planned(manifest: FileManifest, routing: &Document) -> bool {
    planned_with(manifest, None, routing)
}

/// Plans a file: the same twice, within its bounds, provable, or a failure with a code and a short text.
fn planned_with(manifest: FileManifest, content: Option<&[u8]>, routing: &Document) -> bool {
    let arrival = arrival(manifest);
    let digest = content.map(sha256_digest);
    let fetched = digest.as_deref().map(|digest| Fetched { digest, bytes: content });
    let (cause, limits) = (cause(), Limits::default());
    let inputs = Inputs {
        arrival: &arrival,
        fetched,
        routing,
        version: 2,
        cause: &cause,
        planned_at: arrival.received_at,
        limits,
    };
    let (first, second) = (plan(inputs), plan(inputs));
    assert_eq!(first, second);
    match first {
        Ok(plan) => {
            assert!(!plan.is_empty() && consider(&arrival, routing, fetched).is_ok());
            let bodies: Vec<usize> =
                plan.iter().filter_map(|d| d.request.body.as_ref()).map(|body| body.as_ref().len()).collect();
            assert!(bodies.iter().all(|bytes| *bytes <= limits.body_bytes));
            assert!(bodies.iter().sum::<usize>() <= limits.plan_bytes);
            for dispatch in &plan {
                let headers = dispatch.request.headers.values();
                assert!(headers.chain([&dispatch.request.destination]).all(|text| !text.contains(['\r', '\n', '\0'])));
            }
            assert_eq!(verify(&arrival, Some(routing), content, &plan), consign::plan::Verdict::Equal);
            true
        }
        Err(failure) => {
            assert!(failure.code.starts_with("CG1") && failure.text.len() < 4_096, "{failure:?}");
            false
        }
    }
}

/// Manifests under the documents of the golden plans.
pub struct Manifests {
    documents: [Document; 2],
    codec: Codec,
}

impl Manifests {
    pub fn new() -> Self {
        let documents = ["tests/planning/golden", "tests/planning/golden/ways"].map(shipped);
        Self { documents, codec: Codec::new(Arc::new(LocalRegistry)) }
    }

    /// A manifest in JSON, as the gateway takes it.
    pub fn check(&self, bytes: &[u8]) -> bool {
        let Ok(manifest) = serde_json::from_slice::<FileManifest>(bytes) else { return false };
        self.taken(&manifest)
    }

    /// The record of a manifest in JSON.
    pub fn framed(&self, json: &[u8]) -> Option<Vec<u8>> {
        let manifest: FileManifest = serde_json::from_slice(json).ok()?;
        self.codec.encode(&manifest).ok()
    }

    /// A manifest in Avro, as producers write it.
    pub fn check_framed(&self, bytes: &[u8]) -> bool {
        let Ok(manifest) = self.codec.decode::<FileManifest>(bytes) else { return false };
        self.taken(&manifest)
    }

    fn taken(&self, manifest: &FileManifest) -> bool {
        if let Err(failure) = check_manifest(manifest) {
            assert!(failure.code == "CG120" && failure.text.len() < 4_096, "{failure:?}");
            return false;
        }
        let planned = self.documents.each_ref().map(|document| planned(manifest.clone(), document));
        planned.contains(&true)
    }
}

/// Documents: what loads is accepted by the JSON Schema, is no change of itself, and plans.
pub struct Documents {
    validator: Validator,
    manifest: FileManifest,
}

impl Documents {
    pub fn new() -> Self {
        let manifest = fs::read(repository().join("config/examples/payloads/a-1.json")).unwrap();
        let validator = jsonschema::validator_for(&json_schema()).unwrap();
        Self { validator, manifest: serde_json::from_slice(&manifest).unwrap() }
    }

    pub fn check(&self, bytes: &[u8]) -> bool {
        let document = String::from_utf8_lossy(bytes).into_owned();
        let folders = ["config", "config/examples/payloads", "tests/planning/golden/ways"];
        let mut taken = false;
        for folder in folders {
            let sources = sources(&repository().join(folder), document.clone());
            match load(&sources) {
                Ok(loaded) => {
                    let json = document_json(&document).unwrap();
                    assert!(self.validator.is_valid(&json), "{document}");
                    let again = load(&sources).unwrap().document;
                    assert_eq!(again.digest(), loaded.document.digest());
                    assert!(diff::diff(&again, &loaded.document).changes.is_empty());
                    planned(self.manifest.clone(), &loaded.document);
                    taken = true;
                }
                Err(errors) => assert!(errors.iter().all(|error| error.code.starts_with("CG1"))),
            }
        }
        taken
    }
}

/// A manifest's data, under a document that puts it everywhere.
pub struct Payloads {
    document: Document,
    manifest: FileManifest,
}

const EVERYWHERE: &str = r#"
file_types: {any: {}}
payloads:
  plain: {body: "=data"}
  form: {format: form, body: "=type(data) == map ? data : {'v': data}"}
  counted: {body: {n: "=type(data) == list ? data.map(x, x) : []", size: "=type(data) == string ? size(data) : 0"}}
targets:
  plain: {owner: o, http: {url: "http://a.invalid"}, confirmed_by: {response: status == 200}}
  part: {owner: o, http: {url: "http://a.invalid/v1", path: ["=data.v"], query: {q: "=data.v"}, headers: {x-v: "=data.v"}}, confirmed_by: {response: status == 200}}
  event: {owner: o, kafka: {topic: t, key: "=data.v"}, envelope: {cloudevents: structured, attributes: {subject: "=data.v"}}, confirmed_by: {acks: 1h}}
  form: {owner: o, http: {url: "http://a.invalid"}, confirmed_by: {response: status == 200}}
  counted: {owner: o, http: {url: "http://a.invalid"}, confirmed_by: {response: status == 200}}
routes:
  - {to: plain, payload: plain}
  - {to: part, when: "type(data) == map && has(data.v)", payload: plain}
  - {to: event, when: "type(data) == map && has(data.v)", payload: plain}
  - {to: form, when: "type(data) == map", payload: form}
  - {to: counted, payload: counted}
"#;

impl Payloads {
    pub fn new() -> Self {
        let sources = Sources { name: "r".to_owned(), document: EVERYWHERE.to_owned(), files: BTreeMap::new() };
        let manifest = fs::read(repository().join("config/examples/payloads/a-1.json")).unwrap();
        let manifest: FileManifest = serde_json::from_slice(&manifest).unwrap();
        let manifest = FileManifest { file_type: "any".to_owned(), ..manifest };
        Self { document: load(&sources).unwrap().document, manifest }
    }

    pub fn check(&self, bytes: &[u8]) -> bool {
        let data = String::from_utf8_lossy(bytes).into_owned();
        planned(FileManifest { data: Some(data), ..self.manifest.clone() }, &self.document)
    }
}

/// The bytes of a file, under types of every format.
pub struct Contents {
    document: Document,
    manifest: FileManifest,
}

const OF_CONTENT: &str = r#"
file_types: {json: {content: {format: json}}, ndjson: {content: {format: ndjson}}, csv: {content: {format: csv}}}
payloads:
  whole: {body: "=content"}
  rows: {body: {n: "=size(content)", ids: "=type(content) == list ? content.map(row, type(row) == map && has(row.id), row.id) : []"}}
targets:
  whole: {owner: o, http: {url: "http://a.invalid"}, confirmed_by: {response: status == 200}}
  rows: {owner: o, http: {url: "http://a.invalid"}, confirmed_by: {response: status == 200}}
routes:
  - {to: whole, payload: whole}
  - {to: rows, when: "type(content) == list", payload: rows}
"#;

impl Contents {
    pub fn new() -> Self {
        let sources = Sources { name: "r".to_owned(), document: OF_CONTENT.to_owned(), files: BTreeMap::new() };
        let manifest = fs::read(repository().join("config/examples/payloads/a-1.json")).unwrap();
        Self { document: load(&sources).unwrap().document, manifest: serde_json::from_slice(&manifest).unwrap() }
    }

    pub fn check(&self, bytes: &[u8]) -> bool {
        let as_type = |name: &str| FileManifest { file_type: name.to_owned(), ..self.manifest.clone() };
        let taken = ["json", "ndjson", "csv"].map(|name| planned_with(as_type(name), Some(bytes), &self.document));
        taken.contains(&true)
    }
}

/// A table, which a document reads.
pub fn table(bytes: &[u8]) -> bool {
    let document = "
file_types: {any: {}}
tables: {t: t.csv}
payloads: {p: {body: {v: \"=lookup('t', 'A-100')\"}}}
targets: {a: {owner: o, http: {url: 'http://a.invalid'}, confirmed_by: {response: status == 200}}}
routes: [{to: a, payload: p}]
";
    let files = BTreeMap::from([("t.csv".to_owned(), String::from_utf8_lossy(bytes).into_owned())]);
    match load(&Sources { name: "r".to_owned(), document: document.to_owned(), files }) {
        Ok(_) => true,
        Err(errors) => {
            assert!(errors.iter().all(|error| ["CG109", "CG117"].contains(&error.code)), "{:?}", errors.first());
            false
        }
    }
}
