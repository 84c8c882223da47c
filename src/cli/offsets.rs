//! `consign offsets repair`: positions for a group that lost them.

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::Globals;
use super::exit::Exit;
use super::kafka::{Connection, ConnectionArgs, Unconnected};
use super::output::OutputFormat;

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
    repair(&args, globals).unwrap_or_else(|failure| failure.tell())
}

fn repair(args: &RepairArgs, globals: &Globals) -> Result<Exit, Unconnected> {
    let connection = Connection::open(&args.connection)?;
    let misplaced = tokio::task::block_in_place(|| {
        let misplaced = connection.cluster.misplaced_offsets()?;
        if !args.dry_run {
            let positions: Vec<_> = misplaced.iter().map(crate::log::kafka::Misplaced::safe).collect();
            connection.cluster.commit_positions(&positions)?;
        }
        Ok::<_, crate::log::LogError>(misplaced)
    })?;
    let verb = if args.dry_run { "would commit" } else { "committed" };
    if globals.output == OutputFormat::Json {
        let repaired: Vec<_> = misplaced
            .iter()
            .map(|m| {
                let (at, offset) = m.safe();
                json!({"topic": connection.names.name(at.topic), "partition": at.partition,
                       "committed": m.committed, "position": offset})
            })
            .collect();
        let document = json!({"dry_run": args.dry_run, "repaired": repaired});
        println!("{}", serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        for one in &misplaced {
            let (at, offset) = one.safe();
            let was = one.committed.map_or_else(|| "none".to_owned(), |c| c.to_string());
            println!("{verb} {offset} for {at} (was {was})");
        }
        println!("{} partitions, {verb}", misplaced.len());
    }
    Ok(if args.dry_run && !misplaced.is_empty() { Exit::No } else { Exit::Ok })
}
