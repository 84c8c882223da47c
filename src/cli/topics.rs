//! `consign topics`: create and check the topics.

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::Globals;
use super::exit::Exit;
use super::kafka::{Connection, ConnectionArgs, Unconnected};
use super::output::OutputFormat;

/// `consign topics …`
#[derive(Debug, Clone, Subcommand)]
pub enum TopicsCommand {
    /// Create what is missing and set what differs.
    #[command(after_help = "Examples:
  consign topics apply --dry-run
  consign topics apply --config consign.toml

Run `consign schemas register` first. The number of home partitions is fixed by the first run, for good.")]
    Apply(ApplyArgs),
    /// Name every difference between the topics and what they must be.
    #[command(after_help = "Examples:
  consign topics check

Ends with 0 if there is none, with 1 if there are some.")]
    Check(ConnectionArgs),
}

/// Arguments of `topics apply`.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Where broker and registry are.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Runs `topics …`.
pub fn run(command: TopicsCommand, globals: &Globals) -> Exit {
    let done = match command {
        TopicsCommand::Apply(args) => apply(&args, globals),
        TopicsCommand::Check(args) => check(&args, globals),
    };
    done.unwrap_or_else(|failure| failure.tell())
}

fn apply(args: &ApplyArgs, globals: &Globals) -> Result<Exit, Unconnected> {
    let connection = Connection::open(&args.connection)?;
    let by = ("consign topics apply", "the topics are set up", connection.now());
    let specs = connection.topics();
    let applied =
        tokio::task::block_in_place(|| connection.cluster.apply(&specs, &connection.codec, by, args.dry_run))?;
    let words = |differences: &[_]| differences.iter().map(ToString::to_string).collect::<Vec<String>>();
    let (mended, left) = (words(&applied.mended), words(&applied.left));
    if globals.output == OutputFormat::Json {
        let document = json!({"dry_run": args.dry_run, "mended": mended, "left": left});
        println!("{}", serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        let verb = if args.dry_run { "would mend" } else { "mended" };
        mended.iter().for_each(|line| println!("{verb}: {line}"));
        left.iter().for_each(|line| println!("left: {line}"));
        println!("{} topics, {} differences {verb}, {} left", specs.len(), mended.len(), left.len());
    }
    Ok(if left.is_empty() { Exit::Ok } else { Exit::No })
}

fn check(args: &ConnectionArgs, globals: &Globals) -> Result<Exit, Unconnected> {
    let connection = Connection::open(args)?;
    let specs = connection.topics();
    let differences = tokio::task::block_in_place(|| connection.cluster.check(&specs))?;
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    if globals.output == OutputFormat::Json {
        let document = json!({"differences": lines});
        println!("{}", serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        lines.iter().for_each(|line| println!("{line}"));
        println!("{} topics, {} differences", specs.len(), lines.len());
    }
    Ok(if lines.is_empty() { Exit::Ok } else { Exit::No })
}
