//! Courses of the shipped examples, as the command prints them: `courses.txt`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use consign::lifecycle::File;
use consign::plan::{Inputs, Limits, manifest_digest, plan};
use consign::predict::{Script, bounds, course};
use consign::record::{Arrival, Cause, FileManifest, Timestamp};
use consign::routing::{Document, Sources, load, named_files};

const AT: Timestamp = Timestamp(1_767_225_600_000);

fn shipped() -> Document {
    let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let document = fs::read_to_string(config.join("routing.yaml")).unwrap();
    let named = named_files(&document).into_iter();
    let files = named.map(|name| (name.clone(), fs::read_to_string(config.join(name)).unwrap())).collect();
    load(&Sources { name: "routing.yaml".into(), document, files }).unwrap().document
}

fn arrival(example: &str) -> Arc<Arrival> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("config/examples/{example}.json"));
    let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let manifest: FileManifest = serde_json::from_value(json["manifest"].clone()).unwrap();
    Arc::new(Arrival {
        file_id: manifest.file_id.clone(),
        version: 1,
        cause: Cause { topic: "manifests".into(), partition: 0, offset: 0 },
        manifest_digest: manifest_digest(&manifest),
        manifest,
        origin: None,
        received_at: AT,
        supersedes: None,
        only_targets: None,
        fetch: None,
    })
}

/// What the command prints for an example, by a script, by none (`best`), or its bounds (`-`).
fn printed(routing: &Document, example: &str, script: &str) -> String {
    let arrival = arrival(example);
    if script != "-" {
        let script = if script == "best" { Script::best() } else { Script::parse(script).unwrap() };
        return format!("{}\n", course(&arrival, None, routing, &script));
    }
    let inputs = Inputs {
        arrival: &arrival,
        fetched: None,
        routing,
        version: 2,
        cause: &arrival.cause,
        planned_at: AT,
        limits: Limits::default(),
    };
    let mut file = File::arrived(Arc::clone(&arrival), AT);
    file.planned(&plan(inputs).unwrap());
    bounds(&file, AT, &BTreeSet::new()).in_words(AT)
}

/// To take in what is printed: `UPDATE_COURSES=1 cargo test --release --test predict courses`.
#[test]
fn every_course_is_as_it_is_written_down() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/predict/courses.txt");
    let committed = fs::read_to_string(&path).unwrap();
    let routing = shipped();
    let mut text = String::new();
    let mut count = 0;
    for line in committed.lines().filter(|line| line.starts_with("## ")) {
        let (example, script) = line[3..].split_once(": ").unwrap();
        writeln!(text, "{line}\n{}", printed(&routing, example, script)).unwrap();
        count += 1;
    }
    if std::env::var_os("UPDATE_COURSES").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(count >= 12, "{count} courses");
    assert_eq!(text, fs::read_to_string(&path).unwrap());
}
