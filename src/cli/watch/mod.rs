//! `consign watch`: announces the files that arrive in a directory, and puts each away once its end is known.
//!
//! Nothing is decided here about a file: its end is read from the gateway, from what the engine has committed. What was announced
//! stands in a journal in the directory before the manifest leaves, so that a restart sends the same manifest again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;

use self::desk::Gateway;
use self::rounds::{Policy, Rounds};
use self::shelf::Directory;
use super::client::{Api, Globals};
use super::exit::Exit;
use super::failure::Failure;
use super::output::print;

mod desk;
mod event;
mod journal;
mod rounds;
mod shelf;
#[cfg(test)]
mod tests;

pub use event::{Event, What};

/// Arguments of `watch`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign watch incoming --type invoice
  consign watch incoming --type invoice --on-completed move:done --on-failed move:failed
  consign watch incoming --type invoice --once --output json
  consign watch incoming --type invoice --located-at s3://bucket/incoming

A file counts as complete once its size and time have not changed for --still; until then, and while its name begins with a
dot or ends in .part, .partial, .tmp, .filepart or ~, it is left alone. Rename a file in, and it is complete at once to
everyone. Directories below are not looked into.

Its file_id derives from its path and its bytes: the same bytes under the same name are the same file, however often this
command is restarted. What was announced stands in .consign-watch.jsonl in the directory. A file is moved or deleted once it is
COMPLETED or FAILED, and only if it still is the one that was announced; one that FAILED is moved with NAME.reason.json
beside it. Nothing is overwritten.

consign opens a file at its location: the directory must be below [content] roots of the engine's configuration, or --located-at
says how the engine reaches it. Ends with 0 when it is told to; with --once, 0 once every file is COMPLETED, 1 if one
FAILED.")]
pub struct WatchArgs {
    /// The directory.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The `file_type` of its files.
    #[arg(long = "type", value_name = "TYPE")]
    pub file_type: String,
    /// The `schema_version` of its files.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub schema_version: i32,
    /// What becomes of a file that is COMPLETED: leave, delete, or move:DIR.
    #[arg(long, default_value = "leave", value_name = "ACTION")]
    pub on_completed: Action,
    /// What becomes of a file that FAILED: leave, or move:DIR.
    #[arg(long, default_value = "leave", value_name = "ACTION")]
    pub on_failed: Action,
    /// How long a file must not have changed to be complete.
    #[arg(long, value_parser = super::client::parse_duration, default_value = "2s", value_name = "DURATION")]
    pub still: Duration,
    /// How often the directory and the open files are looked at.
    #[arg(long, value_parser = super::client::parse_duration, default_value = "1s", value_name = "DURATION")]
    pub interval: Duration,
    /// An attribute of every file.
    #[arg(long = "attribute", value_parser = attribute, value_name = "NAME=VALUE")]
    pub attributes: Vec<(String, String)>,
    /// The service that announces; the caller where absent.
    #[arg(long, value_name = "NAME")]
    pub produced_by: Option<String>,
    /// Where the engine finds the directory, where that isn't this path: a URL to which the name is added.
    #[arg(long, value_name = "URL")]
    pub located_at: Option<String>,
    /// End when every file that is there has settled.
    #[arg(long)]
    pub once: bool,
}

/// What becomes of a file in the directory when its end is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It stays where it is.
    Leave,
    /// It is deleted.
    Delete,
    /// It is moved to this directory.
    Move(PathBuf),
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("move:")) {
            ("leave", _) => Ok(Self::Leave),
            ("delete", _) => Ok(Self::Delete),
            (_, Some(directory)) if !directory.is_empty() => Ok(Self::Move(PathBuf::from(directory))),
            _ => Err("say leave, delete or move:DIR".to_owned()),
        }
    }
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("say NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs until Ctrl-C or SIGTERM, or with `--once` until nothing is open.
pub async fn run(args: WatchArgs, globals: &Globals) -> Exit {
    tokio::select! {
        ended = watch(args, globals) => ended.unwrap_or_else(|failure| failure.tell(globals.output)),
        () = super::interrupted() => Exit::Ok,
    }
}

async fn watch(args: WatchArgs, globals: &Globals) -> Result<Exit, Failure> {
    let api = Api::new(globals)?;
    let shelf = Directory::open(&args.directory).map_err(|e| unusable(&args.directory, &e))?;
    let policy = policy(&args, shelf.path())?;
    let format = globals.output;
    let mut rounds =
        Rounds::begin(policy, shelf, Gateway(api), move |event: &Event| print(format, event, || event.line()))
            .map_err(|e| unusable(&args.directory, &e))?;
    let begun = Instant::now();
    loop {
        let open = rounds.round(begun.elapsed()).await?;
        if args.once && open == 0 {
            return Ok(if rounds.failed() { Exit::No } else { Exit::Ok });
        }
        tokio::time::sleep(args.interval).await;
    }
}

/// The policy that the arguments ask for, with its directories checked.
fn policy(args: &WatchArgs, directory: &Path) -> Result<Policy, Failure> {
    if args.on_failed == Action::Delete {
        return Err(Failure::usage("--on-failed is leave or move:DIR: a file that FAILED is never deleted"));
    }
    let located_at = match &args.located_at {
        Some(text) => {
            let url = text.parse::<url::Url>().ok().filter(|url| !url.cannot_be_a_base());
            url.ok_or_else(|| Failure::usage(format!("--located-at {text} is no URL that a name can be added to")))?
        }
        None => url::Url::from_file_path(directory)
            .map_err(|()| Failure::usage(format!("{} has no URL", directory.display())))?,
    };
    let action = |action: &Action| -> Result<Action, Failure> {
        let Action::Move(to) = action else { return Ok(action.clone()) };
        shelf::neighbour(directory, to).map(Action::Move).map_err(|e| unusable(to, &e))
    };
    Ok(Policy {
        file_type: args.file_type.clone(),
        schema_version: args.schema_version,
        attributes: args.attributes.iter().cloned().collect::<BTreeMap<_, _>>(),
        produced_by: args.produced_by.clone(),
        located_at,
        still: args.still,
        on_completed: action(&args.on_completed)?,
        on_failed: action(&args.on_failed)?,
        patient: !args.once,
    })
}

fn unusable(directory: &Path, e: &std::io::Error) -> Failure {
    let exit = if e.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Usage };
    Failure { exit, code: None, message: format!("{}: {e}", directory.display()), hint: None }
}
