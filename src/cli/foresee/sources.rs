//! What these commands work on: manifests and arrivals from files, documents from files or from what is in force.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value as Json;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::kafka::{Connection, ConnectionArgs};
use crate::cli::routing::{faulty, read};
use crate::gateway::Submission;
use crate::log::{Cluster, TopicPartition};
use crate::node::controls::read_controls;
use crate::plan::manifest_digest;
use crate::record::{
    Arrival, Cause, FileId, FileManifest, PlannedDispatch, Timestamp, Topic, file_id_of_key, home_partition,
};
use crate::routing::{self, Document, Sources};

/// Most bytes of a file of manifests.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Which routing document.
#[derive(Debug, Clone, Default, Args)]
pub struct DocumentArgs {
    /// The routing document; without it the one in force is asked of the broker.
    #[arg(long, value_name = "FILE")]
    pub routing: Option<PathBuf>,
    /// Where broker and registry are.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl DocumentArgs {
    /// The document, loaded.
    pub fn load(&self) -> Result<Document, Failure> {
        if let Some(path) = &self.routing {
            return load(&read(path)?);
        }
        let connection = Connection::open(&self.connection)?;
        let controls = tokio::task::block_in_place(|| recorded::controls(&connection))?;
        let nothing = |text: String| Failure::coded(Exit::NotFound, "CG402", text).hint("consign routing apply FILE");
        let active = controls.active().ok_or_else(|| nothing("no routing document is in force".to_owned()))?;
        let bundle = controls.routing(&active.routing_digest);
        let bundle = bundle.ok_or_else(|| nothing(format!("{} isn't on the log", active.routing_digest)))?;
        load(&Sources::from(bundle))
    }
}

/// Loads a document; the failure names every fault.
pub fn load(sources: &Sources) -> Result<Document, Failure> {
    routing::load(sources).map(|loaded| loaded.document).map_err(|errors| faulty(&sources.name, &errors))
}

/// The arrivals that a file describes: one JSON value, or one a line. Each is a manifest as `consign submit` takes it, a
/// manifest as it stands in a record, an example of `config/examples`, or a recorded arrival. What says nothing of its
/// acceptance is accepted at `at`, or where `at` is `None` when it was announced.
pub fn manifests(path: &Path, at: Option<Timestamp>) -> Result<Vec<Arrival>, Failure> {
    let refused = |why: String| {
        Failure::coded(Exit::Usage, "CG409", format!("{}: {why}", path.display()))
            .hint("a manifest is one JSON object, or one a line; consign submit --help shows one")
    };
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_BYTES + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
    };
    let length = read.map_err(|e| refused(e.to_string()))?;
    if length as u64 > MAX_BYTES {
        return Err(refused(format!("it is longer than {MAX_BYTES} bytes")));
    }
    let whole = arrival_of(&text, at);
    if let Ok(arrival) = whole {
        return Ok(vec![arrival]);
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() < 2 || serde_json::from_str::<Json>(lines[0]).is_err() {
        return Err(refused(whole.err().unwrap_or_else(|| "it is empty".to_owned())));
    }
    let numbered = lines.iter().enumerate();
    numbered.map(|(i, line)| arrival_of(line, at).map_err(|why| refused(format!("line {}: {why}", i + 1)))).collect()
}

/// The arrival that a text describes; see [`manifests`].
pub fn arrival_of(text: &str, at: Option<Timestamp>) -> Result<Arrival, String> {
    let json: Json = serde_json::from_str(text).map_err(|e| format!("it is no JSON: {e}"))?;
    if json.get("manifest_digest").is_some() {
        return serde_json::from_value(json).map_err(|e| format!("it is no arrival: {e}"));
    }
    let manifest = match json.get("manifest") {
        Some(manifest) => {
            serde_json::from_value::<FileManifest>(manifest.clone()).map_err(|e| format!("it is no manifest: {e}"))?
        }
        None => {
            let submission: Submission = serde_json::from_str(text).map_err(|e| format!("it is no manifest: {e}"))?;
            let produced_at = at.unwrap_or(Timestamp(0));
            submission.manifest("unknown", produced_at).map_err(|problem| problem.detail)?
        }
    };
    crate::plan::check_manifest(&manifest).map_err(|f| format!("it can't be accepted: {} {}", f.code, f.text))?;
    Ok(Arrival {
        file_id: manifest.file_id.clone(),
        version: 1,
        cause: Cause { topic: "manifests".into(), partition: 0, offset: 0 },
        manifest_digest: manifest_digest(&manifest),
        origin: None,
        received_at: at.unwrap_or(manifest.produced_at),
        supersedes: None,
        only_targets: None,
        fetch: None,
        manifest,
    })
}

/// The bytes of a file, for document types that fetch them.
#[derive(Debug, Clone, clap::Args)]
pub struct ContentArgs {
    /// The file's bytes, for a type with `content`: what would be fetched from its location.
    #[arg(long, value_name = "FILE")]
    pub content: Option<PathBuf>,
}

/// The bytes of a file and their digest.
pub struct Content {
    bytes: Vec<u8>,
    digest: String,
}

impl Content {
    /// What a fetch would have found.
    pub fn fetched(&self) -> crate::plan::Fetched<'_> {
        crate::plan::Fetched { digest: &self.digest, bytes: Some(&self.bytes) }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl ContentArgs {
    /// Reads the bytes, if they are named.
    pub fn read(&self) -> Result<Option<Content>, Failure> {
        let Some(path) = &self.content else { return Ok(None) };
        let limit = u64::try_from(crate::routing::MAX_READ_CONTENT).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
        let refused = |why: String| Failure::usage(format!("--content {}: {why}", path.display()));
        let length = read.map_err(|e| refused(e.to_string()))?;
        if length as u64 > limit {
            return Err(refused(format!("it is longer than {limit} bytes")));
        }
        let digest = crate::routing::sha256_digest(&bytes);
        Ok(Some(Content { bytes, digest }))
    }
}

/// What the log has of files: their arrivals, or one file's with its plan.
pub mod recorded {
    use super::{
        Arrival, Cluster, Connection, Duration, Exit, Failure, FileId, PlannedDispatch, Topic, TopicPartition,
        file_id_of_key, home_partition, read_controls,
    };
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    use crate::log::{LogError, Record, scan as scan_log};
    use crate::plan;
    use crate::record::{Controls, FILE_TARGET, Outcome, Wire};

    /// Most bytes of files that are held at once.
    const MAX_CONTENTS: usize = 256 * 1024 * 1024;

    /// The reports that brought the bytes of files.
    pub type Contents = BTreeMap<FileId, Outcome>;

    /// How long nothing may come before the log counts as out of reach.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn scan<T: Wire>(
        connection: &Connection,
        at: &[TopicPartition],
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<T>, Failure> {
        let mut by_key = BTreeMap::new();
        each(connection, at, wanted, |key, value| match value {
            Some(value) => drop(by_key.insert(key.to_owned(), value)),
            None => drop(by_key.remove(key)),
        })?;
        Ok(by_key.into_values().collect())
    }

    /// Reads partitions to their ends; `take` is given each wanted key with its value.
    fn each<T: Wire>(
        connection: &Connection,
        at: &[TopicPartition],
        wanted: impl Fn(&str) -> bool,
        mut take_one: impl FnMut(&str, Option<T>),
    ) -> Result<(), Failure> {
        let mut reader = connection.cluster.reader(at).map_err(|e| connection.log_failure(&e))?;
        let mut failure = None;
        let take = |records: Vec<Record>, _| {
            for record in records {
                let Some(key) = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok()) else { continue };
                if !wanted(key) {
                    continue;
                }
                let Some(value) = &record.value else {
                    take_one(key, None);
                    continue;
                };
                match connection.codec.decode::<T>(value) {
                    Ok(value) => take_one(key, Some(value)),
                    Err(e) => {
                        failure = Some(format!("{} of {key} can't be read: {e}", record.at));
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Ok::<_, LogError>(ControlFlow::Continue(()))
        };
        scan_log(reader.as_mut(), PATIENCE, take).map_err(|e| connection.log_failure(&e))?;
        match failure {
            Some(text) => Err(Failure::coded(Exit::Unreachable, "CG404", text)),
            None => Ok(()),
        }
    }

    /// What the group obeys. Waits for registry and broker in plain calls.
    pub fn controls(connection: &Connection) -> Result<Controls, Failure> {
        connection.prepare()?;
        read_controls(connection.cluster.as_ref(), &connection.codec).map_err(|e| connection.log_failure(&e))
    }

    fn homes(controls: &Controls) -> Result<i32, Failure> {
        let homes = controls.home_partitions().filter(|homes| *homes > 0);
        homes.ok_or_else(|| {
            let text = "the number of home partitions isn't fixed yet";
            Failure::coded(Exit::Usage, "CG401", text).hint("consign topics apply")
        })
    }

    /// Every arrival that the log has, and the reports that brought bytes which expressions read, as far as the log has them still
    /// and 256 MiB hold them.
    pub fn history(connection: &Connection) -> Result<(Vec<Arrival>, Contents), Failure> {
        tokio::task::block_in_place(|| {
            let homes = homes(&controls(connection)?)?;
            let all = |topic: Topic| -> Vec<TopicPartition> {
                (0..homes).map(|partition| TopicPartition { topic, partition }).collect()
            };
            let arrivals: Vec<Arrival> = scan(connection, &all(Topic::Arrivals), |_| true)?;
            let read: BTreeMap<&FileId, &Arrival> = arrivals
                .iter()
                .filter(|arrival| arrival.fetch.as_ref().is_some_and(|fetch| fetch.keep))
                .map(|arrival| (&arrival.file_id, arrival))
                .collect();
            let (mut contents, mut bytes) = (Contents::new(), 0);
            if read.is_empty() {
                return Ok((arrivals, contents));
            }
            let of_fetch = |key: &str| key.ends_with(&format!("/{FILE_TARGET}"));
            each(connection, &all(Topic::Outcomes), of_fetch, |_, outcome: Option<Outcome>| {
                let Some(outcome) = outcome.filter(|outcome| !contents.contains_key(&outcome.file_id)) else { return };
                let (Some(arrival), Some(content)) = (read.get(&outcome.file_id), &outcome.content) else { return };
                let size = content.0.len();
                if plan::fetched(arrival, &outcome).is_ok() && bytes + size <= MAX_CONTENTS {
                    bytes += size;
                    contents.insert(outcome.file_id.clone(), outcome);
                }
            })?;
            Ok((arrivals, contents))
        })
    }

    /// A file's arrival, its plan in order, and what the group obeys.
    pub fn plan(
        connection: &Connection,
        file_id: &FileId,
    ) -> Result<(Option<Arrival>, Vec<PlannedDispatch>, Controls), Failure> {
        tokio::task::block_in_place(|| {
            let controls = controls(connection)?;
            let partition = home_partition(file_id.as_str(), homes(&controls)?);
            let of_file = |key: &str| file_id_of_key(key) == file_id.as_str();
            let arrivals = scan(connection, &[TopicPartition { topic: Topic::Arrivals, partition }], of_file)?;
            let mut plan: Vec<PlannedDispatch> =
                scan(connection, &[TopicPartition { topic: Topic::Plans, partition }], of_file)?;
            plan.sort_by_key(|dispatch| dispatch.ordinal);
            Ok((arrivals.into_iter().next(), plan, controls))
        })
    }
}
