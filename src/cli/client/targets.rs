//! `consign targets`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::{Api, Exit, Failure, Screen, now};
use crate::cli::output::text;
use crate::gateway::{PauseRequest, TargetChange, Targets};

/// The commands under `targets`.
#[derive(Debug, Clone, Subcommand)]
pub enum TargetCommand {
    /// List the targets, their pauses and what is open at each.
    #[command(after_help = "Example:\n  consign targets ls")]
    Ls,
    /// Authorize nothing for a target until it is resumed. Each worker obeys within a moment: what it authorized before may
    /// still leave, and what is on the wire goes on.
    #[command(after_help = "Examples:
  consign targets pause billing --reason \"their maintenance until 6\"
  consign targets pause --all --reason \"we don't know yet what is wrong\"")]
    Pause(ChangeArgs),
    /// End every pause of a target, the engine's and people's.
    #[command(after_help = "Examples:
  consign targets resume billing --reason \"the certificate is renewed\"
  consign targets resume --all --reason \"network repaired\"")]
    Resume(ChangeArgs),
}

/// Arguments of `pause` and `resume`.
#[derive(Debug, Clone, Args)]
pub struct ChangeArgs {
    /// The target.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub target: Option<String>,
    /// Every target that `targets ls` shows (resume: every paused one).
    #[arg(long)]
    pub all: bool,
    /// Why; recorded for good.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// What pauses or resumes did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetChanges {
    /// One for each target.
    pub changes: Vec<TargetChange>,
}

pub(super) async fn run(command: TargetCommand, api: &Api, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    match command {
        TargetCommand::Ls => {
            let targets: Targets = list(api).await?;
            screen.show(&targets, || text::targets(&targets.targets, now()));
        }
        TargetCommand::Pause(args) => change(args, "pause", api, screen).await?,
        TargetCommand::Resume(args) => change(args, "resume", api, screen).await?,
    }
    Ok(Exit::Ok)
}

async fn list(api: &Api) -> Result<Targets, Failure> {
    api.get(&["targets"], &[], Duration::ZERO).await
}

async fn change(args: ChangeArgs, verb: &str, api: &Api, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let targets: Vec<String> = if let Some(target) = args.target {
        vec![target]
    } else {
        let all = list(api).await?.targets;
        all.into_iter().filter(|t| t.paused || verb == "pause").map(|t| t.target.to_string()).collect()
    };
    let request = PauseRequest { reason: args.reason };
    let mut changed = TargetChanges { changes: Vec::new() };
    let mut failed = None;
    for target in targets {
        match api.post(&["targets", &target, verb], &[], &request, Duration::ZERO).await {
            Ok(answer) => changed.changes.push(answer.value),
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        }
    }
    // What was changed before a failure is said too.
    if failed.is_none() || !changed.changes.is_empty() {
        screen.show(&changed, || text::changes(&changed.changes, now()));
    }
    failed.map_or(Ok(()), Err)
}
