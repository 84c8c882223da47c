//! `consign offsets repair`: positions for a group that lost them.

use clap::{Args, Subcommand};

use super::client::Globals;
use super::exit::Exit;
use super::failure::Failure;
use super::kafka::{Connection, ConnectionArgs};
use super::output::answer::{OffsetsRepaired, RepairedOffset};
use super::output::{counted, print};
use crate::log::kafka::Misplaced;

/// `consign offsets …`
#[derive(Debug, Clone, Subcommand)]
pub enum OffsetsCommand {
    /// Commit safe positions where the group has none, or impossible ones.
    ///
    /// The position is where each input begins: what is read again is recognised by the files' own records, so nothing is
    /// dispatched twice.
    #[command(after_help = "Examples:
  consign offsets repair --dry-run
  consign offsets repair

Stop every `consign run` first. Ends with 0 if nothing is left to repair.")]
    Repair(RepairArgs),
}

/// Arguments of `offsets repair`.
#[derive(Debug, Clone, Args)]
pub struct RepairArgs {
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Where broker and registry are.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Runs `offsets …`.
pub fn run(command: OffsetsCommand, globals: &Globals) -> Exit {
    let OffsetsCommand::Repair(args) = command;
    repair(&args, globals).unwrap_or_else(|failure| failure.tell(globals.output))
}

fn repair(args: &RepairArgs, globals: &Globals) -> Result<Exit, Failure> {
    let connection = Connection::open(&args.connection)?;
    let misplaced = connection.ask(globals.output, |connection| {
        let repaired = || {
            let misplaced = connection.cluster.misplaced_offsets()?;
            if !args.dry_run {
                let positions: Vec<_> = misplaced.iter().map(Misplaced::safe).collect();
                connection.cluster.commit_positions(&positions)?;
            }
            Ok(misplaced)
        };
        repaired().map_err(|e| connection.log_failure(&e))
    })?;
    let repaired = misplaced.iter().map(|one| {
        let (at, position) = one.safe();
        let topic = connection.names.name(at.topic);
        RepairedOffset { topic, partition: at.partition, committed: one.committed, position }
    });
    let answer = OffsetsRepaired { dry_run: args.dry_run, repaired: repaired.collect() };
    print(globals.output, &answer, || {
        let verb = if args.dry_run { "would commit" } else { "committed" };
        let line = |one: &RepairedOffset| {
            let was = one.committed.map_or_else(|| "none".to_owned(), |c| c.to_string());
            format!("{}/{}: {verb} {} (was {was})\n", one.topic, one.partition, one.position)
        };
        let lines: String = answer.repaired.iter().map(line).collect();
        let done = if args.dry_run { "to commit" } else { "committed" };
        format!("{lines}{} {done}\n", counted(answer.repaired.len(), "position"))
    });
    Ok(if args.dry_run && !answer.repaired.is_empty() { Exit::No } else { Exit::Ok })
}
