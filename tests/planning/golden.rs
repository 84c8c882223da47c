//! The plan bytes of many manifests: `golden/manifests.jsonl` under a document of their own is `golden/plans.txt`.

use std::fmt::Write as _;
use std::fs;

use consign::plan::check_manifest;
use consign::record::FileManifest;
use consign::routing::{Sources, load, named_files};

use super::support;

/// To take in new manifests: `UPDATE_PLANS=1 cargo test --release --test planning`. A change of what is there means that the
/// planner gives other bytes for the same inputs: raise `PLANNER_VERSION`.
#[test]
fn every_manifest_has_the_plan_bytes_that_are_written_down() {
    let folder = support::repository().join("tests/planning/golden");
    let manifests = fs::read_to_string(folder.join("manifests.jsonl")).unwrap();
    let document = fs::read_to_string(folder.join("routing.yaml")).unwrap();
    let named = named_files(&document).into_iter();
    let files = named.map(|name| (name.clone(), fs::read_to_string(folder.join(name)).unwrap())).collect();
    let sources = Sources { name: "routing.yaml".to_owned(), document, files };
    let routing = load(&sources).unwrap_or_else(|errors| panic!("{}", support::lines(&errors))).document;
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
                    writeln!(text, "  {} {}", dispatch.target, support::body_text(dispatch).escape_debug()).unwrap();
                }
                planned += 1;
            }
            Err(failure) => writeln!(text, "  {} {}", failure.code, failure.text).unwrap(),
        }
    }
    let path = folder.join("plans.txt");
    if std::env::var_os("UPDATE_PLANS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(manifests.lines().count() >= 40 && planned >= 30, "{planned}");
    assert_eq!(text, fs::read_to_string(path).unwrap());
}
