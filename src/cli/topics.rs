//! `consign topics`: create and check the topics, and say who may do what with them.

use clap::{Args, Subcommand};

use super::acls;
use super::client::Globals;
use super::exit::Exit;
use super::failure::Failure;
use super::kafka::{Connection, ConnectionArgs};
use super::output::answer::{Differs, TopicsApplied, TopicsChecked};
use super::output::{counted, print};
use crate::log::LogError;
use crate::log::kafka::{Applied, Difference};

/// `consign topics …`
#[derive(Debug, Clone, Subcommand)]
pub enum TopicsCommand {
    /// Create what is missing and set what differs.
    #[command(after_help = "Examples:
  consign topics apply --dry-run
  consign topics apply --config consign.toml

Run `consign schemas register` first. The number of home partitions is fixed by the first run, for good. Ends with 0 if
nothing is left to do by hand, with 1 if something is.")]
    Apply(ApplyArgs),
    /// Name every difference between the topics and what they must be.
    #[command(after_help = "Examples:
  consign topics check

Ends with 0 if there is none, with 1 if there are some.")]
    Check(ConnectionArgs),
    /// Print the access control lists under which only the engine writes its topics.
    #[command(after_help = "Examples:
  consign topics acls --engine User:consign --admin User:ops --producer User:scanner
  consign topics acls --reader User:team-b --reader-group team-b --command-config admin.properties | sh

Prints commands of Kafka's own kafka-acls and asks no broker. docs/security.md says what each is for.")]
    Acls(acls::AclsArgs),
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
        TopicsCommand::Acls(args) => acls::run(&args, globals),
    };
    done.unwrap_or_else(|failure| failure.tell(globals.output))
}

fn apply(args: &ApplyArgs, globals: &Globals) -> Result<Exit, Failure> {
    let connection = Connection::open(&args.connection)?;
    let specs = connection.topics();
    let done = connection.ask(globals.output, |connection| {
        if args.dry_run {
            let (mended, left) = connection.differences(&specs)?.into_iter().partition(Difference::is_mended_by_apply);
            return Ok(Applied { mended, left });
        }
        // Afterwards a record is written to `controls`: better to know first that it can be.
        connection.prepare()?;
        let by = ("consign topics apply", "the topics are set up", connection.now());
        let applied = connection.cluster.apply(&specs, &connection.codec, by, false);
        applied.map_err(|error| apply_failure(connection, &error))
    })?;
    let listed = |differences: &[Difference]| differences.iter().map(Differs::from).collect::<Vec<_>>();
    let (mended, left) = (listed(&done.mended), listed(&done.left));
    let answer = TopicsApplied { dry_run: args.dry_run, topics: specs.len(), mended, left };
    print(globals.output, &answer, || {
        let verb = if args.dry_run { "would mend" } else { "mended" };
        let mut lines: Vec<String> = answer.mended.iter().map(|d| format!("{verb}: {}\n", d.text)).collect();
        lines.extend(answer.left.iter().map(|d| format!("left: {}\n", d.line())));
        let done = if args.dry_run { "to mend" } else { "mended" };
        let differences = counted(answer.mended.len(), "difference");
        lines.concat() + &format!("{} topics, {differences} {done}, {} left\n", answer.topics, answer.left.len())
    });
    Ok(if answer.left.is_empty() { Exit::Ok } else { Exit::No })
}

fn apply_failure(connection: &Connection, error: &LogError) -> Failure {
    // What can't be changed is a difference, not a broker's refusal: name all of them, harmless ones as well.
    let specs = connection.topics();
    let refused: Vec<String> = connection
        .differences(&specs)
        .into_iter()
        .flatten()
        .filter(|d| !d.is_mended_by_apply() && !matches!(d, Difference::Replication { .. }))
        .map(|d| Differs::from(&d).line())
        .collect();
    if refused.is_empty() {
        return connection.log_failure(error);
    }
    let text = format!("nothing was changed, because this can't be:\n{}", refused.join("\n"));
    Failure::coded(Exit::Usage, "CG401", text)
}

fn check(args: &ConnectionArgs, globals: &Globals) -> Result<Exit, Failure> {
    let connection = Connection::open(args)?;
    let specs = connection.topics();
    let differences = connection.ask(globals.output, |connection| connection.differences(&specs))?;
    let answer = TopicsChecked { topics: specs.len(), differences: differences.iter().map(Differs::from).collect() };
    print(globals.output, &answer, || {
        let lines: String = answer.differences.iter().map(|d| d.line() + "\n").collect();
        format!("{lines}{} topics, {}\n", answer.topics, counted(answer.differences.len(), "difference"))
    });
    Ok(if answer.differences.is_empty() { Exit::Ok } else { Exit::No })
}
