//! The plan bytes of many manifests: `golden/manifests.jsonl` under a document of their own is `golden/plans.txt`; and every way
//! to put a request together: `golden/ways`, with whole requests.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use consign::plan::check_manifest;
use consign::record::{FileManifest, PlannedDispatch};
use consign::routing::{Document, Sources, load, named_files};

use super::support;

fn document(folder: &Path) -> Document {
    let document = fs::read_to_string(folder.join("routing.yaml")).unwrap();
    let named = named_files(&document).into_iter();
    let files = named.map(|name| (name.clone(), fs::read_to_string(folder.join(name)).unwrap())).collect();
    let sources = Sources { name: "routing.yaml".to_owned(), document, files };
    load(&sources).unwrap_or_else(|errors| panic!("{}", support::lines(&errors))).document
}

/// The plans of all manifests of a folder as text, and how many manifests there are and can be planned.
fn plans(folder: &Path, show: impl Fn(&PlannedDispatch) -> String) -> (String, usize, usize) {
    let manifests = fs::read_to_string(folder.join("manifests.jsonl")).unwrap();
    let routing = document(folder);
    let mut text = format!("routing {}\n", routing.digest());
    let mut planned = 0;
    for line in manifests.lines() {
        let manifest: FileManifest = serde_json::from_str(line).unwrap();
        writeln!(text, "\n{}", manifest.file_id).unwrap();
        if let Err(failure) = check_manifest(&manifest) {
            writeln!(text, "  {} {}", failure.code, failure.text).unwrap();
            continue;
        }
        match support::plan_of(&support::arrival(manifest), &routing) {
            Ok(plan) => {
                // The digest is over every byte of every dispatch.
                writeln!(text, "  plan {}", plan[0].plan_digest).unwrap();
                for dispatch in &plan {
                    writeln!(text, "  {} {}", dispatch.target, show(dispatch)).unwrap();
                }
                planned += 1;
            }
            Err(failure) => writeln!(text, "  {} {}", failure.code, failure.text).unwrap(),
        }
    }
    (text, manifests.lines().count(), planned)
}

fn compare(folder: &Path, text: &str) {
    let path = folder.join("plans.txt");
    if std::env::var_os("UPDATE_PLANS").is_some() {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(path).unwrap());
}

/// To take in new manifests: `UPDATE_PLANS=1 cargo test --release --test planning`. A change of what is there means that the
/// planner gives other bytes for the same inputs: raise `PLANNER_VERSION`.
#[test]
fn every_manifest_has_the_plan_bytes_that_are_written_down() {
    let folder = support::repository().join("tests/planning/golden");
    let (text, count, planned) = plans(&folder, |dispatch| support::body_text(dispatch).escape_debug().to_string());
    assert!(count >= 40 && planned >= 30, "{planned} of {count}");
    compare(&folder, &text);
}

#[test]
fn every_way_to_put_a_request_together_has_the_request_that_is_written_down() {
    let folder = support::repository().join("tests/planning/golden/ways");
    let (text, count, planned) = plans(&folder, |dispatch| {
        let request = &dispatch.request;
        let mut text = format!("{} {}", request.method.as_deref().unwrap_or("PRODUCE"), request.destination);
        if let Some(key) = &request.key {
            write!(text, " key {}", key.escape_debug()).unwrap();
        }
        for (name, value) in &request.headers {
            write!(text, "\n    {name}: {value}").unwrap();
        }
        if !request.content_type.is_empty() {
            write!(text, "\n    content-type: {}", request.content_type).unwrap();
        }
        if let Some(body) = &request.body {
            let bytes: &[u8] = body.as_ref();
            match std::str::from_utf8(bytes) {
                Ok(body) if !bytes.starts_with(&[0]) => write!(text, "\n    {}", body.escape_debug()).unwrap(),
                _ => write!(text, "\n    {}", bytes.escape_ascii()).unwrap(),
            }
        }
        if let Some(file) = &request.body_of_file {
            write!(text, "\n    the file {}, {} bytes, {}", file.location, file.size, file.digest).unwrap();
        }
        text
    });
    assert!(count >= 12 && planned >= 8, "{planned} of {count}");
    compare(&folder, &text);
}
