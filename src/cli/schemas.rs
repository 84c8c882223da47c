//! `consign schemas`: register and check the schemas.

use clap::Subcommand;

use super::client::Globals;
use super::exit::Exit;
use super::failure::Failure;
use super::kafka::{Connection, ConnectionArgs};
use super::output::answer::{Differs, RegisteredSubject, SchemasChecked, SchemasRegistered};
use super::output::{counted, print};

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
    done.unwrap_or_else(|failure| failure.tell(globals.output))
}

fn register(args: &ConnectionArgs, globals: &Globals) -> Result<Exit, Failure> {
    // The broker isn't asked for anything.
    let connection = Connection::unasked(args.config()?)?;
    let registered = connection.ask(globals.output, |connection| {
        connection.registry.register().map_err(|e| connection.registry_failure(&e))
    })?;
    let subjects = registered
        .into_iter()
        .map(|r| RegisteredSubject { subject: r.subject, id: r.id, already_there: r.already_there })
        .collect();
    let answer = SchemasRegistered { subjects };
    print(globals.output, &answer, || {
        let line = |one: &RegisteredSubject| {
            let how = if one.already_there { "was there" } else { "registered" };
            format!("{:<40} id {:<5} {how}\n", one.subject, one.id)
        };
        answer.subjects.iter().map(line).collect()
    });
    Ok(Exit::Ok)
}

fn check(args: &ConnectionArgs, globals: &Globals) -> Result<Exit, Failure> {
    let connection = Connection::unasked(args.config()?)?;
    let differences = connection
        .ask(globals.output, |connection| connection.registry.check().map_err(|e| connection.registry_failure(&e)))?;
    let answer = SchemasChecked { differences: differences.iter().map(Differs::from).collect() };
    print(globals.output, &answer, || {
        let lines: String = answer.differences.iter().map(|d| d.line() + "\n").collect();
        format!("{lines}{}\n", counted(answer.differences.len(), "difference"))
    });
    Ok(if answer.differences.is_empty() { Exit::Ok } else { Exit::No })
}
