//! `consign routing diff`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value as Json, json};

use super::sources::{load, manifests, recorded};
use crate::cli::client::Globals;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::kafka::{Connection, ConnectionArgs};
use crate::cli::output::print;
use crate::cli::routing::read;
use crate::plan::{Replanned, replan};
use crate::record::TargetName;
use crate::routing::diff::{Diff, Question, diff};

/// Arguments of `routing diff`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign routing diff routing.yaml new.yaml
  consign routing diff routing.yaml new.yaml --history arrivals.jsonl
  consign routing diff routing.yaml new.yaml --history-topic --kafka localhost:9092

Ends with 0 if all five answers are no, with 1 if one is yes: the change is BREAKING, and `routing apply` takes it only with
--accept-breaking. The history lists what becomes of files that have arrived: targets gained and lost, and requests that
would be others. A line of it is a manifest or an arrival, as JSON.")]
pub struct DiffArgs {
    /// The document as it is.
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The document as it would be.
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Plan these files under both documents.
    #[arg(long, value_name = "FILE", conflicts_with = "history_topic")]
    pub history: Option<PathBuf>,
    /// Plan every file under both documents whose arrival is on the log.
    #[arg(long)]
    pub history_topic: bool,
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
    let arrivals = match (&args.history, args.history_topic) {
        (Some(path), _) => Some(manifests(path, None)?),
        (None, true) => Some(recorded::arrivals(&Connection::open(&args.connection)?)?),
        (None, false) => None,
    };
    let history = arrivals.map(|arrivals| History {
        files: arrivals.len(),
        changed: arrivals.iter().filter_map(|arrival| replan(arrival, &old, &new)).collect(),
    });
    Ok((diff(&old, &new), history))
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
        json!({"files": self.files, "changed": changed})
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
        text
    }
}
