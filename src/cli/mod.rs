//! The command line, one file for each subcommand.

use clap::{CommandFactory as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

pub mod client;
pub mod demo;
pub mod dev;
pub mod exit;
pub mod kafka;
pub mod machine;
pub mod offsets;
pub mod output;
pub mod routing;
pub mod run;
pub mod schemas;
pub mod stage;
pub mod topics;
pub mod verify;

use client::{ClientCommand, Globals};
use exit::Exit;

/// The one owner of every file's outcome: files announced on Kafka reach the services that must each receive them, and
/// each file ends in one authoritative state.
#[derive(Debug, Parser)]
#[command(name = "consign", version, about, after_help = after_help(), arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    /// How log lines look; they go to standard error.
    #[arg(long, value_enum, default_value = "text", global = true, env = "CONSIGN_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged, such as `info` or `consign=debug,warn`.
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
    /// Repair the group's offsets.
    #[command(subcommand)]
    Offsets(offsets::OffsetsCommand),
    /// Check what the topics say against the contract.
    Verify(verify::VerifyArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Print the state machine's tables.
    Machine(machine::MachineArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:\n  consign completion bash > /etc/bash_completion.d/consign")]
    Completion {
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
    let cli = Cli::parse();
    let default_level = match &cli.command {
        Command::Run(_) => "info",
        Command::Dev(_) => "warn",
        _ => "error",
    };
    begin_log(cli.log_format, cli.log_level.as_deref().unwrap_or(default_level));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("consign: the runtime can't start: {e}");
            return Exit::Unreachable.into();
        }
    };
    let exit = runtime.block_on(run(cli.command, &cli.globals));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit.into()
}

async fn run(command: Command, globals: &Globals) -> Exit {
    match command {
        Command::Demo(args) => demo::run(args, globals).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Topics(command) => topics::run(command, globals),
        Command::Schemas(command) => schemas::run(command, globals),
        Command::Routing(command) => routing::run(command, globals),
        Command::Offsets(command) => offsets::run(command, globals),
        Command::Verify(args) => verify::run(&args, globals),
        Command::Client(command) => client::run(command, globals).await,
        Command::Machine(args) => machine::run(args, globals),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "consign", &mut std::io::stdout());
            Exit::Ok
        }
    }
}

fn begin_log(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

/// Done when the process is told to stop: Ctrl-C or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            // Without the handler Ctrl-C is what is left; if that fails too, the process is ended from outside.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
