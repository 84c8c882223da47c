//! `consign schemas`: register and check the schemas.

use clap::Subcommand;
use serde_json::json;

use super::client::Globals;
use super::exit::Exit;
use super::kafka::{Connection, ConnectionArgs, Unconnected};
use super::output::OutputFormat;

/// `consign schemas …`
#[derive(Debug, Clone, Subcommand)]
pub enum SchemasCommand {
    /// Register this version's schemas, and demand full compatibility of their subjects.
    #[command(after_help = "Examples:
  consign schemas register
  consign schemas register --registry http://127.0.0.1:8081

Running it again is safe. `consign run` never registers.")]
    Register(ConnectionArgs),
    /// Name every difference between the registry and this version's schemas.
    #[command(after_help = "Examples:
  consign schemas check

Ends with 0 if there is none, with 1 if there are some.")]
    Check(ConnectionArgs),
}

/// Runs `schemas …`.
pub fn run(command: SchemasCommand, globals: &Globals) -> Exit {
    let done = match command {
        SchemasCommand::Register(args) => register(&args, globals),
        SchemasCommand::Check(args) => check(&args, globals),
    };
    done.unwrap_or_else(|failure| failure.tell())
}

fn register(args: &ConnectionArgs, globals: &Globals) -> Result<Exit, Unconnected> {
    let connection = Connection::open(args)?;
    let registered = tokio::task::block_in_place(|| connection.registry.register())?;
    if globals.output == OutputFormat::Json {
        let subjects: Vec<_> = registered
            .iter()
            .map(|r| json!({"subject": r.subject, "id": r.id, "already_there": r.already_there}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&json!({"subjects": subjects})).unwrap_or_default());
    } else {
        for one in &registered {
            let how = if one.already_there { "was there" } else { "registered" };
            println!("{:<40} id {:<5} {how}", one.subject, one.id);
        }
    }
    Ok(Exit::Ok)
}

fn check(args: &ConnectionArgs, globals: &Globals) -> Result<Exit, Unconnected> {
    let connection = Connection::open(args)?;
    let differences = tokio::task::block_in_place(|| connection.registry.check())?;
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    if globals.output == OutputFormat::Json {
        println!("{}", serde_json::to_string_pretty(&json!({"differences": lines})).unwrap_or_default());
    } else {
        lines.iter().for_each(|line| println!("{line}"));
        println!("{} differences", lines.len());
    }
    Ok(if lines.is_empty() { Exit::Ok } else { Exit::No })
}
