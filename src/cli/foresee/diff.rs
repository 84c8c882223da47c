//! `consign routing diff`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value as Json, json};

use super::sources::{load, manifests, recorded};
use crate::cli::client::Globals;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::kafka::{Connection, ConnectionArgs};
use crate::cli::output::print;
use crate::cli::routing::read;
use crate::plan::{self, Replan, Replanned, replan};
use crate::record::{Arrival, FileId, TargetName, Topic, TopicNames};
use crate::routing::diff::{Diff, Question, diff};

/// Arguments of `routing diff`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign routing diff routing.yaml new.yaml
  consign routing diff routing.yaml new.yaml --history arrivals.jsonl
  consign routing diff routing.yaml new.yaml --history consign.arrivals --kafka localhost:9092

Ends with 0 if all five answers are no, with 1 if one is yes: the change is BREAKING, and `routing apply` takes it only with
--accept-breaking. The history lists what becomes of files that have arrived: targets gained and lost, and requests that
would be others. It comes from a file, each line a manifest or an arrival as JSON, or from the topic of arrivals by its name. Files whose bytes either document reads are planned from the bytes
that the log has of them; of one whose bytes it hasn't it says so.")]
pub struct DiffArgs {
    /// The document as it is.
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The document as it would be.
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Plan these files under both documents: those of the topic of arrivals, if that is its name, else of this file.
    #[arg(long, value_name = "TOPIC|FILE")]
    pub history: Option<PathBuf>,
    /// Where broker and registry are.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Runs `routing diff`.
pub fn run(args: &DiffArgs, globals: &Globals) -> Result<Exit, Failure> {
    let (diff, history) = compared(args)?;
    let mut answer = as_json(&diff);
    answer["history"] = history.as_ref().map_or(Json::Null, History::as_json);
    print(globals.output, &answer, || {
        format!("{diff}\n{}", history.as_ref().map(History::as_text).unwrap_or_default())
    });
    Ok(if diff.is_breaking() { Exit::No } else { Exit::Ok })
}

fn compared(args: &DiffArgs) -> Result<(Diff, Option<History>), Failure> {
    let old = load(&read(&args.old)?)?;
    let new = load(&read(&args.new)?)?;
    let recorded = args.history.as_deref().map(|history| recorded_in(history, &args.connection)).transpose()?;
    let history = recorded.map(|(arrivals, contents)| {
        let mut history = History { files: arrivals.len(), changed: Vec::new(), not_provable: Vec::new() };
        for arrival in &arrivals {
            let reported = contents.get(&arrival.file_id);
            let fetched = reported.and_then(|outcome| plan::fetched(arrival, outcome).ok());
            match replan(arrival, fetched, &old, &new) {
                Replan::Same => {}
                Replan::Changed(file) => history.changed.push(file),
                Replan::NotProvable(why) => history.not_provable.push((arrival.file_id.clone(), why)),
            }
        }
        history
    });
    Ok((diff(&old, &new), history))
}

/// The files of a history: of the topic of arrivals, or of a file. One that is there is a file, whatever its name.
fn recorded_in(history: &Path, connection: &ConnectionArgs) -> Result<(Vec<Arrival>, recorded::Contents), Failure> {
    if history.as_os_str() == "-" || history.exists() || history.components().count() > 1 {
        return Ok((manifests(history, None)?, recorded::Contents::new()));
    }
    let config = connection.config()?;
    let topic = TopicNames::new(&config.kafka.prefix).name(Topic::Arrivals);
    if history.as_os_str() != topic.as_str() {
        let text = format!("{} is no file that is there, and the topic of arrivals is `{topic}`", history.display());
        return Err(Failure::usage(text));
    }
    recorded::history(&Connection::open(connection)?)
}

/// A comparison as JSON.
fn as_json(diff: &Diff) -> Json {
    let answers: serde_json::Map<String, Json> =
        Question::ALL.into_iter().map(|q| (q.as_str().replace(' ', "_"), Json::Bool(diff.answer(q)))).collect();
    let changes: Vec<Json> = diff
        .changes
        .iter()
        .map(|change| {
            let questions: Vec<String> = change.questions.iter().map(|q| q.as_str().replace(' ', "_")).collect();
            json!({"place": change.place.to_string(), "text": change.text, "questions": questions})
        })
        .collect();
    json!({
        "old": diff.old,
        "new": diff.new,
        "breaking": diff.is_breaking(),
        "answers": answers,
        "changes": changes,
    })
}

/// What becomes of files that have arrived.
struct History {
    files: usize,
    changed: Vec<Replanned>,
    not_provable: Vec<(FileId, String)>,
}

impl History {
    fn as_json(&self) -> Json {
        let changed: Vec<Json> = self
            .changed
            .iter()
            .map(|file| {
                json!({
                    "file_id": file.file_id,
                    "validation": file.validation,
                    "gained": file.gained,
                    "lost": file.lost,
                    "changed": file.changed,
                })
            })
            .collect();
        let not_provable = self.not_provable.iter().map(|(file_id, why)| json!({"file_id": file_id, "why": why}));
        json!({"files": self.files, "changed": changed, "not_provable": not_provable.collect::<Vec<_>>()})
    }

    fn as_text(&self) -> String {
        let mut text = format!("{} of {} files would be planned otherwise\n", self.changed.len(), self.files);
        for file in &self.changed {
            let list = |what: &str, targets: &[TargetName]| {
                let names: Vec<&str> = targets.iter().map(TargetName::as_str).collect();
                (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
            };
            let parts = [
                file.validation.clone(),
                list("gains", &file.gained),
                list("loses", &file.lost),
                list("other requests to", &file.changed),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            text += &format!("  {}: {}\n", file.file_id, parts.join("; "));
        }
        if !self.not_provable.is_empty() {
            text += &format!("of {} files that can't be told\n", self.not_provable.len());
        }
        for (file_id, why) in &self.not_provable {
            text += &format!("  {file_id}: not provable: {why}\n");
        }
        text
    }
}
