//! Mutated manifests, records, documents, payloads, tables and contents of files: each is taken or refused with a code, twice the
//! same, within its bounds,
//! and none ends the process.
//!
//! `make test` runs a fixed number from a fixed seed. `make fuzz` runs new ones for a minute (`FUZZ_SECONDS`, `FUZZ_SEED`). What
//! ever broke something goes into the folder of its target here: every file there is run before all others, unmutated too.

#[path = "../shared/arrival.rs"]
mod arrival;
mod avro;
mod random;
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use random::Random;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a target's folder, by name.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = repository().join("tests/fuzz").join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Runs a target over its corpus, and over mutations of it.
fn run(target: &str, more: Vec<Vec<u8>>, iterations: u32, mut one: impl FnMut(&[u8]) -> bool) {
    let corpus: Vec<Vec<u8>> = corpus(target).into_iter().chain(more).collect();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let limit = number("FUZZ_SECONDS").map(Duration::from_secs);
    let seed = number("FUZZ_SEED").unwrap_or(if limit.is_some() { since_epoch.as_secs() } else { 1 });
    let mut random = Random::new(seed);
    let begun = Instant::now();
    let (mut count, mut taken) = (0_u32, 0_u32);
    let mut check = |bytes: &[u8]| {
        let outcome = catch_unwind(AssertUnwindSafe(|| one(bytes)));
        let is_taken = outcome.unwrap_or_else(|panic| {
            let shown = bytes.escape_ascii();
            eprintln!("{target}, seed {seed}: put this into tests/fuzz/{target}/\n{shown}");
            resume_unwind(panic)
        });
        taken += u32::from(is_taken);
    };
    corpus.iter().for_each(|bytes| check(bytes));
    while limit.map_or(count < iterations, |limit| begun.elapsed() < limit) {
        check(&random.mutated(&corpus));
        count += 1;
    }
    eprintln!("{target}: seed {seed}, {count} mutations of {}, {taken} taken", corpus.len());
    assert!(taken > 0 && taken < count, "{taken} of {count} are taken: the mutations are too tame, or too wild");
}

fn lines(path: &str) -> Vec<Vec<u8>> {
    fs::read_to_string(repository().join(path)).unwrap().lines().map(|line| line.as_bytes().to_vec()).collect()
}

#[test]
fn manifests() {
    let mut more = lines("tests/planning/golden/manifests.jsonl");
    more.extend(lines("tests/planning/golden/ways/manifests.jsonl"));
    let manifests = targets::Manifests::new();
    run("manifest", more, 1_500, |bytes| manifests.check(bytes));
}

#[test]
fn framed_manifests() {
    let manifests = targets::Manifests::new();
    let framed: Vec<Vec<u8>> = lines("tests/planning/golden/manifests.jsonl")
        .iter()
        .chain(&corpus("manifest"))
        .filter_map(|line| manifests.framed(line))
        .collect();
    run("framed", framed, 3_000, |bytes| manifests.check_framed(bytes));
}

/// The first byte says which kind of record the others are to be.
#[test]
fn records() {
    let kinds = avro::Kind::all();
    let bodies = kinds.iter().zip(0..).flat_map(|(kind, number): (_, u8)| {
        kind.bodies(4).into_iter().map(move |body| [&[number][..], &body].concat())
    });
    let more = bodies.collect();
    run("record", more, 20_000, |bytes| {
        let Some((number, body)) = bytes.split_first() else { return false };
        kinds[usize::from(*number) % kinds.len()].check(body)
    });
}

#[test]
fn documents() {
    let files =
        ["config/routing.yaml", "config/examples/payloads/routing.yaml", "tests/planning/golden/ways/routing.yaml"];
    let more = files.map(|path| fs::read(repository().join(path)).unwrap()).to_vec();
    let documents = targets::Documents::new();
    run("document", more, 250, |bytes| documents.check(bytes));
}

#[test]
fn payloads() {
    let payloads = targets::Payloads::new();
    run("payload", Vec::new(), 2_000, |bytes| payloads.check(bytes));
}

#[test]
fn contents() {
    let more = ["payload", "csv"].map(corpus).concat();
    let contents = targets::Contents::new();
    run("content", more, 2_000, |bytes| contents.check(bytes));
}

#[test]
fn tables() {
    let more = vec![fs::read(repository().join("config/examples/tables/accounts.csv")).unwrap()];
    run("csv", more, 1_500, targets::table);
}
