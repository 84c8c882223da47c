//! The command line, one file for each subcommand.

use std::io::IsTerminal as _;

use clap::{FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

pub mod acls;
pub mod certify;
pub mod client;
pub mod demo;
pub mod dev;
pub mod exit;
pub mod failure;
pub mod foresee;
pub mod help;
pub mod kafka;
pub mod machine;
pub mod offsets;
mod outbound;
pub mod output;
mod reach;
pub mod receiver;
pub mod routing;
pub mod run;
pub mod schemas;
pub mod stage;
pub mod topics;
pub mod verify;
pub mod watch;

use client::{ClientCommand, Globals};
use exit::Exit;
use failure::Failure;
use output::answer::Completions;
use output::print;

/// The one owner of every file's outcome: files announced on Kafka reach the services that must each receive them, and
/// each file ends in one authoritative state.
#[derive(Debug, Parser)]
#[command(name = "consign", version, about, after_help = after_help(), arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    /// How log lines look; they go to standard error. Default: text; `run` takes it from its configuration.
    #[arg(long, value_enum, global = true, env = "CONSIGN_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// What is logged, such as `info` or `consign=debug,warn`. Default: error; for `dev`, warn; `run` takes it from its
    /// configuration.
    #[arg(long, global = true, env = "CONSIGN_LOG_LEVEL", value_name = "FILTER")]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole product in half a minute, in this process or on a broker.
    Demo(demo::DemoArgs),
    /// Keep the product running in this process, with its HTTP API: for trying it out.
    Dev(dev::DevArgs),
    /// Play the targets: receive as a script says, verify signatures, confirm late or twice, and say what came.
    Receiver(receiver::ReceiverArgs),
    /// Try a real receiver: duplicates, bad and stale signatures, a rotation, a large body; and say what it does wrong.
    Certify(certify::CertifyArgs),
    /// Run engine, transports and gateway on a broker.
    Run(run::RunArgs),
    /// Create and check the topics.
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
    /// Register and check the schemas.
    #[command(subcommand)]
    Schemas(schemas::SchemasCommand),
    /// Check and apply the routing document.
    #[command(subcommand)]
    Routing(routing::RoutingCommand),
    /// Show the plan that a file would get, or make a recorded one again.
    Plan(foresee::plan::PlanArgs),
    /// Let a file run its course under a clock of its own, without sending anything.
    Simulate(foresee::simulate::SimulateArgs),
    /// Repair the group's offsets.
    #[command(subcommand)]
    Offsets(offsets::OffsetsCommand),
    /// Check what the topics say against the contract.
    Verify(verify::VerifyArgs),
    /// Announce the files that arrive in a directory, and put each away once its end is known.
    Watch(watch::WatchArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Print the state machine's tables.
    Machine(machine::MachineArgs),
    /// Print a completion script for a shell.
    #[command(
        alias = "completion",
        after_help = "Examples:
  consign completions bash > consign.bash
  consign completions zsh > _consign
  consign completions fish > consign.fish

Put the script where the shell looks for completions."
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn after_help() -> String {
    let mut text = String::from(
        "Examples:\n  consign demo\n  consign status invoice-17\n  consign ls --held --output json\n\nExit codes:\n",
    );
    for (exit, meaning) in Exit::ALL {
        text.push_str(&format!("  {}  {meaning}\n", exit.code()));
    }
    text
}

/// Parses the command line and runs the command.
pub fn main() -> std::process::ExitCode {
    let cli = Cli::from_arg_matches(&help::command().get_matches()).unwrap_or_else(|error| error.exit());
    let output = cli.globals.output;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let message = format!("the runtime can't start: {e}");
            return Failure { exit: Exit::Unreachable, code: None, message, hint: None }.tell(output).into();
        }
    };
    let exit = runtime.block_on(run(cli)).unwrap_or_else(|failure| failure.tell(output));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit.into()
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    let (globals, log) = (&cli.globals, (cli.log_format, cli.log_level.as_deref()));
    // In one process workers join one after the other, and each rebalance ends a transaction: nothing to warn about.
    let default_level =
        if matches!(cli.command, Command::Dev(_)) { "warn,consign::node::observe=error" } else { "error" };
    if let Command::Run(args) = cli.command {
        // Options and environment win over the file.
        let config = args.config()?;
        begin_log(log.0.unwrap_or(config.log.format), log.1.unwrap_or(&config.log.level))?;
        return Ok(run::run(args, config, globals).await);
    }
    begin_log(log.0.unwrap_or(LogFormat::Text), log.1.unwrap_or(default_level))?;
    Ok(match cli.command {
        Command::Demo(args) => demo::run(args, globals).await,
        Command::Dev(args) => dev::run(args, globals).await,
        Command::Receiver(args) => receiver::run(args, globals).await,
        Command::Certify(args) => certify::run(args, globals).await,
        Command::Run(_) => unreachable!("it was run above"),
        Command::Topics(command) => topics::run(command, globals),
        Command::Schemas(command) => schemas::run(command, globals),
        Command::Routing(command) => routing::run(command, globals),
        Command::Plan(args) => foresee::plan::run(&args, globals),
        Command::Simulate(args) => foresee::simulate::run(&args, globals),
        Command::Offsets(command) => offsets::run(command, globals),
        Command::Verify(args) => verify::run(&args, globals),
        Command::Watch(args) => watch::run(args, globals).await,
        Command::Client(command) => client::run(command, globals).await,
        Command::Machine(args) => machine::run(args, globals),
        Command::Completions { shell } => completions(shell, globals),
    })
}

fn completions(shell: clap_complete::Shell, globals: &Globals) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut help::command(), "consign", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let answer = Completions { shell: shell.to_string(), script };
    print(globals.output, &answer, || answer.script.clone());
    Exit::Ok
}

fn begin_log(format: LogFormat, level: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(level).map_err(|e| {
        Failure::coded(Exit::Usage, "CG400", format!("the log level `{level}` can't be read: {e}"))
            .hint("say error, warn, info, debug, trace, or a filter such as consign=debug,warn")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        // Colours are for terminals, not for files and pipes.
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        // Without the module that a line comes from, whose key is `target` too: that of a dispatch is the one to be read.
        LogFormat::Json => lines.json().flatten_event(true).with_target(false).init(),
    }
    Ok(())
}

/// Done when the process is told to stop: Ctrl-C or SIGTERM. It listens from the call on, not from the first poll: whoever says
/// that it is there can be told at once.
fn interrupted() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    // Without a handler the signal ends the process.
    let [mut terminate, mut interrupt] =
        [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| signal(kind).ok());
    async move {
        let told = async |signals: &mut Option<tokio::signal::unix::Signal>| match signals {
            Some(signals) => signals.recv().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            _ = told(&mut terminate) => {}
            _ = told(&mut interrupt) => {}
        }
    }
}
