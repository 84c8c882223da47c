//! The commands that talk to a gateway.
//!
//! Each asks the HTTP API, prints what it answered and ends with a code of the table in [`crate::cli::exit`]. Output
//! goes to `out`, what went wrong to `err`; with `--output json` each is JSON against a schema under
//! docs/api/output (`failure` for `err`).

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::Exit;
use super::output::{OutputFormat, json, text};
use crate::gateway::Targets;
use crate::metrics::is_terminal;
use crate::record::{FileState, State, Timestamp};

mod api;
mod dead_letters;
mod explain;
mod files;
mod interventions;
mod submit;
mod targets;

pub use super::failure::{Failure, FailureBody};
pub use api::Api;
pub use dead_letters::DeadLetterCommand;
pub use explain::ExplainArgs;
pub use files::{HistoryArgs, LsArgs, StatusArgs};
pub use interventions::{InterveneArgs, ResubmitArgs};
pub use submit::{SubmitArgs, Submitted, SubmittedFile};
pub use targets::{TargetChanges, TargetCommand};

/// Where the gateway is, and how to answer.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Globals {
    /// The gateway, for the commands that ask one.
    #[arg(long, env = "CONSIGN_URL", default_value = "http://127.0.0.1:8480", global = true, value_name = "URL")]
    pub url: String,
    /// A token of the gateway's, where it asks for one.
    #[arg(long, env = "CONSIGN_TOKEN", hide_env_values = true, global = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// How to answer.
    #[arg(long, value_enum, default_value_t, global = true, value_name = "FORMAT")]
    pub output: OutputFormat,
}

/// The commands that talk to a gateway.
#[derive(Debug, Clone, Subcommand)]
pub enum ClientCommand {
    /// Submit files by their manifests, and wait for their end if you like.
    Submit(SubmitArgs),
    /// Show where a file stands: who is accountable, what happens next and when.
    Status(StatusArgs),
    /// Show everything recorded about a file.
    History(HistoryArgs),
    /// Explain a file: what is next, who must act, and what everything that may come would lead to.
    Explain(ExplainArgs),
    /// List files, oldest first.
    Ls(LsArgs),
    /// Decide what only a person can: retry, confirm or fail a dispatch, or cancel a file.
    Intervene(InterveneArgs),
    /// Send a FAILED file again to the targets that did not succeed.
    Resubmit(ResubmitArgs),
    /// Look at what could not be read, and put it back.
    #[command(subcommand)]
    DeadLetters(DeadLetterCommand),
    /// Look at targets, pause and resume them.
    #[command(subcommand)]
    Targets(TargetCommand),
}

/// Runs a command on standard output and standard error.
pub async fn run(command: ClientCommand, globals: &Globals) -> Exit {
    let api = Api::new(globals).map(|api| if globals.output == OutputFormat::Text { api.telling() } else { api });
    run_with(api, command, globals, &mut std::io::stdout(), &mut std::io::stderr()).await
}

/// Runs a command on any output.
pub async fn run_on(
    command: ClientCommand,
    globals: &Globals,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Exit {
    run_with(Api::new(globals), command, globals, out, err).await
}

async fn run_with(
    api: Result<Api, Failure>,
    command: ClientCommand,
    globals: &Globals,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Exit {
    let mut screen = Screen { out, err, format: globals.output };
    let ended = match api {
        Ok(api) => dispatch(command, &api, &mut screen).await,
        Err(failure) => Err(failure),
    };
    ended.unwrap_or_else(|failure| {
        screen.complain(&failure);
        failure.exit
    })
}

async fn dispatch(command: ClientCommand, api: &Api, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    match command {
        ClientCommand::Submit(args) => submit::run(args, api, screen).await,
        ClientCommand::Status(args) => files::status(args, api, screen).await,
        ClientCommand::History(args) => files::history(args, api, screen).await,
        ClientCommand::Explain(args) => explain::explain(args, api, screen).await,
        ClientCommand::Ls(args) => files::ls(args, api, screen).await,
        ClientCommand::Intervene(args) => interventions::intervene(args, api, screen).await,
        ClientCommand::Resubmit(args) => interventions::resubmit(args, api, screen).await,
        ClientCommand::DeadLetters(command) => dead_letters::run(command, api, screen).await,
        ClientCommand::Targets(command) => targets::run(command, api, screen).await,
    }
}

/// Where answers go.
struct Screen<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
    format: OutputFormat,
}

impl Screen<'_> {
    /// Prints an answer: the value as JSON, or its text.
    fn show(&mut self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let answer = match self.format {
            OutputFormat::Text => text(),
            OutputFormat::Json => format!("{}\n", json(value)),
        };
        self.print(&answer);
    }

    /// Says what went wrong.
    fn complain(&mut self, failure: &Failure) {
        // Nobody is left to tell if this fails.
        self.err.write_all(failure.told(self.format).as_bytes()).ok();
    }

    /// Prints a remark that only people need.
    fn remark(&mut self, text: &str) {
        if self.format == OutputFormat::Text {
            self.print(text);
        }
    }

    fn print(&mut self, text: &str) {
        // A reader that went away has read enough; the exit code says what happened.
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).ok();
    }
}

fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

/// What a reader of these files must know beside them: the pauses of targets that they wait for, and of one FAILED file
/// its successor. Only people need it said; where the gateway doesn't answer, it isn't.
async fn around<'a>(api: &Api, screen: &Screen<'_>, files: impl IntoIterator<Item = &'a FileState>) -> text::Around {
    let around = text::Around::at(now());
    if screen.format == OutputFormat::Json {
        return around;
    }
    let files: Vec<&FileState> = files.into_iter().collect();
    let around = if files.iter().flat_map(|file| &file.dispatches).any(text::waits_for_an_attempt) {
        let targets = api.get::<Targets>(&["targets"], &[], Duration::ZERO).await;
        targets.map_or_else(|_| around.clone(), |targets| around.clone().with_pauses(&targets.targets))
    } else {
        around
    };
    let [file] = files[..] else { return around };
    if file.state != State::Failed {
        return around;
    }
    let successor = file.file_id.successor();
    let successor = api.get::<FileState>(&["files", successor.as_str()], &[], Duration::ZERO).await.ok();
    text::Around { successor: successor.map(|file| (file.file_id, file.state)), ..around }
}

/// How a command about a file ends, by where the file stands.
fn exit_of(file: &FileState) -> Exit {
    match file.state {
        State::Completed => Exit::Ok,
        State::Failed => Exit::No,
        _ => Exit::Unfinished,
    }
}

/// A wait in the gateway's query: never longer than it allows.
fn wait_query(wait: Duration) -> (&'static str, String) {
    ("wait", format!("{}ms", wait.min(LONGEST_CALL).as_millis()))
}

/// The longest that one call waits; longer waits are several calls.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// Waits for a file to be newer than `seen`, by one call of at most `patience`; `None` if nothing is known of it yet.
async fn newer(
    api: &Api,
    file_id: &str,
    seen: Option<&FileState>,
    patience: Duration,
) -> Result<Option<FileState>, Failure> {
    let version = seen.map_or(1, |file| file.version + 1);
    let wait = patience.min(LONGEST_CALL);
    let query = [wait_query(wait), ("version", version.to_string())];
    match api.get::<FileState>(&["files", file_id], &query, wait).await {
        Ok(file) => Ok(Some(file)),
        Err(failure) if failure.exit == Exit::NotFound && seen.is_none() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Waits until a file is COMPLETED or FAILED, `patience` at most; gives what is known then.
async fn until_terminal(
    api: &Api,
    file_id: &str,
    mut seen: Option<FileState>,
    patience: Duration,
) -> Result<Option<FileState>, Failure> {
    let until = std::time::Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() || seen.as_ref().is_some_and(|f| is_terminal(f.state)) {
            return Ok(seen);
        }
        seen = newer(api, file_id, seen.as_ref(), left).await?;
    }
}

/// A duration such as `30s` or `5m`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
