//! The plan bytes of many manifests: `golden/manifests.jsonl` under a document of their own is `golden/plans.txt`; and every way
//! to put a request together: `golden/ways`, with whole requests; and files whose bytes are read: `golden/content`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use consign::plan::{Fetched, Inputs, check_manifest, fetch_of, plan};
use consign::record::{Arrival, Failure, Fetch, FileManifest, PlannedDispatch};
use consign::routing::{Document, Sources, load, named_files, sha256_digest};

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
    plans_by(folder, show, |arrival, routing| (String::new(), support::plan_of(arrival, routing)))
}

/// The same with a way to plan an arrival, which may say something before the plan.
fn plans_by(
    folder: &Path,
    show: impl Fn(&PlannedDispatch) -> String,
    plan_of: impl Fn(&Arrival, &Document) -> (String, Result<Vec<PlannedDispatch>, Failure>),
) -> (String, usize, usize) {
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
        let (said, planned_so) = plan_of(&support::arrival(manifest), &routing);
        text += &said;
        match planned_so {
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

/// A whole request.
fn whole(dispatch: &PlannedDispatch) -> String {
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
}

#[test]
fn every_way_to_put_a_request_together_has_the_request_that_is_written_down() {
    let folder = support::repository().join("tests/planning/golden/ways");
    let (text, count, planned) = plans(&folder, whole);
    assert!(count >= 12 && planned >= 8, "{planned} of {count}");
    compare(&folder, &text);
}

/// How the bytes are fetched, and the plan that they lead to, with the digest of what was read.
#[test]
fn every_file_that_is_read_has_the_fetch_and_the_plan_that_are_written_down() {
    let folder = support::repository().join("tests/planning/golden/content");
    let bytes = |arrival: &Arrival| {
        let name = arrival.manifest.location.as_ref()?.rsplit('/').next()?;
        fs::read(folder.join("bytes").join(name)).ok()
    };
    let (text, count, planned) = plans_by(&folder, whole, |arrival, routing| {
        let fetch = match fetch_of(arrival, routing) {
            Ok(None) => return ("  not fetched\n".to_owned(), plan(Inputs::at_acceptance(arrival, routing))),
            Ok(Some(fetch)) => fetch,
            Err(failure) => return (String::new(), Err(failure)),
        };
        let Fetch { max_size, keep, attempts, schedule_ms, request_ms, .. } = &fetch;
        let (what, until) = (if *keep { "read" } else { "checked" }, fetch.file_deadline);
        let found = bytes(arrival);
        let digest = found.as_ref().map(|found| sha256_digest(found));
        let said = format!(
            "  {what}, {max_size} bytes at most, {attempts} attempts of {request_ms} ms, back-offs {schedule_ms:?}, until {until}: {}\n",
            digest.as_deref().unwrap_or("not there")
        );
        let content = found.as_deref().filter(|_| *keep);
        let fetched = digest.as_ref().map(|digest| Fetched { digest, bytes: content });
        (said, plan(Inputs { fetched, ..Inputs::at_acceptance(arrival, routing) }))
    });
    assert!(count >= 18 && planned >= 9, "{planned} of {count}");
    for format in ["csv", "json", "ndjson"] {
        let reads = |document: &str| document.contains(&format!("format: {format}"));
        assert!(reads(&fs::read_to_string(folder.join("routing.yaml")).unwrap()), "{format}");
    }
    compare(&folder, &text);
}
