//! `consign routing`: check and apply the routing document.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::Globals;
use super::exit::Exit;
use super::kafka::{Connection, ConnectionArgs};
use super::output::OutputFormat;
use crate::node::controls::{ApplyError, Said, apply_routing};
use crate::routing::{self, Diagnostic, Sources, named_files};

/// `consign routing …`
#[derive(Debug, Clone, Subcommand)]
pub enum RoutingCommand {
    /// Name every fault of a routing document, with file, line and column.
    Check(CheckArgs),
    /// Bring a routing document into force for files that arrive from now on.
    Apply(ApplyArgs),
}

/// Arguments of `routing check`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign routing check config/routing.yaml

Ends with 0 if the document may come into force (warnings included), with 1 if it has faults.")]
pub struct CheckArgs {
    /// The document; schemas and tables are read from beside it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `routing apply`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign routing apply routing.yaml --actor ann --reason 'billing moves to v2'

Files under way keep the plan that they have.")]
pub struct ApplyArgs {
    /// The document; schemas and tables are read from beside it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Who applies it.
    #[arg(long, env = "USER", default_value = "unknown")]
    pub actor: String,
    /// Why.
    #[arg(long, default_value = "applied by hand")]
    pub reason: String,
    /// Where broker and registry are.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Reads a document and the files that it names.
pub fn read(path: &Path) -> Result<Sources, String> {
    let text = |path: &Path| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let document = text(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = BTreeMap::new();
    for name in named_files(&document) {
        // A file that isn't there is a fault of the document, with its line.
        if let Ok(content) = text(&folder.join(&name)) {
            files.insert(name, content);
        }
    }
    Ok(Sources { name: path.display().to_string(), document, files })
}

/// Runs `routing …`.
pub fn run(command: RoutingCommand, globals: &Globals) -> Exit {
    match command {
        RoutingCommand::Check(args) => check(&args, globals),
        RoutingCommand::Apply(args) => apply(&args, globals),
    }
}

fn check(args: &CheckArgs, globals: &Globals) -> Exit {
    let sources = match read(&args.file) {
        Ok(sources) => sources,
        Err(text) => {
            eprintln!("consign: {text}");
            return Exit::Usage;
        }
    };
    let (digest, errors, warnings) = match routing::load(&sources) {
        Ok(loaded) => (Some(loaded.document.digest().to_owned()), Vec::new(), loaded.warnings),
        Err(errors) => (None, errors, Vec::new()),
    };
    if globals.output == OutputFormat::Json {
        let document = json!({"digest": digest, "errors": listed(&errors), "warnings": listed(&warnings)});
        println!("{}", serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        for error in &errors {
            println!("{error}");
        }
        for warning in &warnings {
            println!("warning: {warning}");
        }
        match &digest {
            Some(digest) => println!("{}: good, {digest}", args.file.display()),
            None => println!("{}: {} faults", args.file.display(), errors.len()),
        }
    }
    if errors.is_empty() { Exit::Ok } else { Exit::No }
}

fn listed(diagnostics: &[Diagnostic]) -> Vec<serde_json::Value> {
    diagnostics
        .iter()
        .map(|d| json!({"code": d.code, "file": d.file, "line": d.line, "column": d.column, "text": d.text, "hint": d.hint}))
        .collect()
}

fn apply(args: &ApplyArgs, globals: &Globals) -> Exit {
    let sources = match read(&args.file) {
        Ok(sources) => sources,
        Err(text) => {
            eprintln!("consign: {text}");
            return Exit::Usage;
        }
    };
    let connection = match Connection::open(&args.connection) {
        Ok(connection) => connection,
        Err(failure) => return failure.tell(),
    };
    let said = Said { actor: &args.actor, reason: &args.reason, at: connection.now() };
    let applied =
        tokio::task::block_in_place(|| apply_routing(connection.cluster.as_ref(), &connection.codec, &sources, said));
    match applied {
        Ok(applied) => {
            if globals.output == OutputFormat::Json {
                let document = json!({
                    "digest": applied.digest,
                    "replaced": applied.replaced,
                    "warnings": listed(&applied.warnings),
                });
                println!("{}", serde_json::to_string_pretty(&document).unwrap_or_default());
            } else {
                for warning in &applied.warnings {
                    println!("warning: {warning}");
                }
                match &applied.replaced {
                    Some(old) if *old == applied.digest => println!("{} is in force already", applied.digest),
                    Some(old) => println!("{} is in force; it replaced {old}", applied.digest),
                    None => println!("{} is in force; it is the first", applied.digest),
                }
            }
            Exit::Ok
        }
        Err(ApplyError::Faulty(errors)) => {
            for error in &errors {
                eprintln!("{error}");
            }
            eprintln!("consign: {} has {} faults and doesn't come into force", args.file.display(), errors.len());
            Exit::Usage
        }
        Err(ApplyError::Log(e)) => {
            eprintln!("consign: {e}");
            Exit::Unreachable
        }
    }
}
