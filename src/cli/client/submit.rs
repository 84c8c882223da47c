//! `consign submit`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    Api, Exit, Failure, FailureBody, LONGEST_CALL, Screen, around, exit_of, parse_duration, until_terminal, wait_query,
};
use crate::cli::output::{OutputFormat, text};
use crate::gateway::Submission;
use crate::record::FileState;

/// Longest manifest, in bytes: the gateway's limit.
const MAX_MANIFEST: u64 = 2 * 1024 * 1024;

/// Arguments of `submit`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign submit invoice.json
  consign submit invoice.json --wait 30s
  generate-manifest | consign submit - --wait 2m

A manifest is one JSON object, as the gateway takes it (docs/api/openapi.json, Submission):
  {\"file_id\": \"inv-17\", \"schema_version\": 1, \"file_type\": \"invoice\", \"name\": \"inv-17.pdf\", \"data\": {\"amount\": 12.5}}

Submitting the same manifest again is safe: it is the same file. Ends with 0 once every file is COMPLETED, 1 if one
FAILED or its file_id is taken by other content, 5 if one is not finished yet.")]
pub struct SubmitArgs {
    /// Files that hold one manifest each; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Wait for the files' end, this long at most.
    #[arg(long, value_parser = parse_duration, default_value = "0s", value_name = "DURATION")]
    pub wait: Duration,
}

/// What became of each submitted file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// In the order of the arguments.
    pub files: Vec<SubmittedFile>,
}

/// What became of one submitted file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubmittedFile {
    /// The argument.
    pub path: String,
    /// The file; null where the manifest can't be read.
    pub file_id: Option<String>,
    /// Where it stands; null while the engine has not said anything.
    pub file: Option<FileState>,
    /// Why it was not submitted.
    pub failure: Option<FailureBody>,
}

/// The gateway's answer: a state, or nothing known yet.
#[derive(Deserialize)]
#[serde(untagged)]
enum StateSoFar {
    Known(Box<FileState>),
    Nothing {
        #[allow(dead_code)]
        file_id: String,
    },
}

pub(super) async fn run(args: SubmitArgs, api: &Api, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let until = Instant::now() + args.wait;
    let only_one = args.files.len() == 1;
    let mut submitted = Vec::new();
    let mut exit = Exit::Ok;
    for path in &args.files {
        // One file is waited for in the call itself; several are all submitted before the first is waited for.
        let wait = if only_one { args.wait.min(LONGEST_CALL) } else { Duration::ZERO };
        let mut one = SubmittedFile { path: path.display().to_string(), file_id: None, file: None, failure: None };
        if let Err(failure) = submit_one(&api.patient(until), path, wait, &mut one).await {
            exit = exit.worse(failure.exit);
            one.failed(failure, screen);
        }
        submitted.push(one);
    }
    for one in submitted.iter_mut().filter(|one| one.failure.is_none()) {
        let left = until.saturating_duration_since(Instant::now());
        let file_id = one.file_id.clone().unwrap_or_default();
        match until_terminal(api, &file_id, one.file.take(), left).await {
            Ok(file) => one.file = file,
            Err(failure) => {
                exit = exit.worse(failure.exit);
                one.failed(failure, screen);
            }
        }
        if one.failure.is_none() {
            exit = exit.worse(one.file.as_ref().map_or(Exit::Unfinished, exit_of));
        }
    }
    let submitted = Submitted { files: submitted };
    let known = submitted.files.iter().filter_map(|one| one.file.as_ref());
    let around = around(api, screen, known).await;
    screen.show(&submitted, || lines(&submitted, &around));
    Ok(exit)
}

impl SubmittedFile {
    /// In JSON the failure is part of the answer; a person reads it where all failures are told.
    fn failed(&mut self, failure: Failure, screen: &mut Screen<'_>) {
        self.failure = Some(failure.body());
        if screen.format == OutputFormat::Text {
            screen.complain(&Failure { message: format!("{}: {}", self.path, failure.message), ..failure });
        }
    }
}

async fn submit_one(api: &Api, path: &Path, wait: Duration, one: &mut SubmittedFile) -> Result<(), Failure> {
    let submission = read(path)?;
    one.file_id = Some(submission.file_id.clone());
    let answer = api.post::<StateSoFar>(&["files"], &[wait_query(wait)], &submission, wait).await?;
    one.file = match answer.value {
        StateSoFar::Known(file) => Some(*file),
        StateSoFar::Nothing { .. } => None,
    };
    Ok(())
}

fn read(path: &Path) -> Result<Submission, Failure> {
    let failed = |why: String| {
        Failure::coded(Exit::Usage, "CG409", why).hint(
            "a manifest is one JSON object with file_id, schema_version, file_type and name: consign submit --help",
        )
    };
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_MANIFEST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_MANIFEST + 1).read_to_string(&mut text))
    };
    let length = read.map_err(|e| failed(format!("it can't be read: {e}")))?;
    if length as u64 > MAX_MANIFEST {
        return Err(failed(format!("it is longer than {MAX_MANIFEST} bytes")));
    }
    if text.trim().is_empty() {
        return Err(failed("it is empty, and no manifest".to_owned()));
    }
    serde_json::from_str(&text).map_err(|e| failed(format!("it is no manifest: {e}")))
}

fn lines(submitted: &Submitted, around: &text::Around) -> String {
    submitted
        .files
        .iter()
        .filter(|one| one.failure.is_none())
        .map(|one| {
            one.file.as_ref().map_or_else(
                || {
                    let file_id = text::clean(one.file_id.as_deref().unwrap_or_default());
                    format!("{file_id}: submitted, and not accepted yet. Follow it: consign status {file_id} --watch\n")
                },
                |file| text::file(file, around),
            )
        })
        .collect()
}
