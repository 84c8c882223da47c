//! `consign routing`: check and apply the routing document.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::client::Globals;
use super::exit::Exit;
use super::failure::Failure;
use super::foresee::diff::{self, DiffArgs};
use super::kafka::{Connection, ConnectionArgs};
use super::output::answer::{RoutingApplied, RoutingChecked};
use super::output::{counted, print};
use crate::node::controls::{ApplyError, Change, Said, apply_routing};
use crate::routing::{self, Diagnostic, Document, Sources, named_files};

/// `consign routing …`
#[derive(Debug, Clone, Subcommand)]
pub enum RoutingCommand {
    /// Name every fault of a routing document, with file, line and column.
    Check(CheckArgs),
    /// Say what a change means, and whether it is BREAKING.
    Diff(DiffArgs),
    /// Print the JSON Schema of a routing document, for editors.
    #[command(after_help = "Examples:\n  consign routing schema > routing.schema.json")]
    Schema,
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
  consign routing apply routing.yaml --actor ann --accept-breaking 'billing agreed to v2 on Monday'

A change against the document in force for which one of the five questions of `routing diff` is answered with yes is
BREAKING: it is refused with 1 unless someone accepts it by name. Files under way keep the plan that they have.")]
pub struct ApplyArgs {
    /// The document; schemas and tables are read from beside it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Who applies it.
    #[arg(long, env = "USER")]
    pub actor: Option<String>,
    /// Why.
    #[arg(long, default_value = "applied by hand")]
    pub reason: String,
    /// Accept a BREAKING change, for this reason; it is recorded with the actor's name and the five answers.
    #[arg(long, value_name = "REASON", requires = "actor", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub accept_breaking: Option<String>,
    /// Where broker and registry are.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Reads a document and the files that it names.
pub fn read(path: &Path) -> Result<Sources, Failure> {
    let unread = |e: std::io::Error| {
        Failure::coded(Exit::Usage, "CG409", format!("the routing document {} can't be read: {e}", path.display()))
            .hint("name a YAML file that this user may read")
    };
    let document = std::fs::read_to_string(path).map_err(unread)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = BTreeMap::new();
    for name in named_files(&document) {
        // A file that isn't there is a fault of the document, with its line.
        if let Ok(content) = std::fs::read_to_string(folder.join(&name)) {
            files.insert(name, content);
        }
    }
    Ok(Sources { name: path.display().to_string(), document, files })
}

/// Runs `routing …`.
pub fn run(command: RoutingCommand, globals: &Globals) -> Exit {
    let done = match command {
        RoutingCommand::Check(args) => check(&args, globals),
        RoutingCommand::Diff(args) => diff::run(&args, globals),
        RoutingCommand::Schema => {
            let schema = routing::json_schema();
            print(globals.output, &schema, || {
                format!("{}\n", serde_json::to_string_pretty(&schema).unwrap_or_default())
            });
            Ok(Exit::Ok)
        }
        RoutingCommand::Apply(args) => apply(&args, globals),
    };
    done.unwrap_or_else(|failure| failure.tell(globals.output))
}

fn check(args: &CheckArgs, globals: &Globals) -> Result<Exit, Failure> {
    let sources = read(&args.file)?;
    let (digest, errors, warnings) = match routing::load(&sources) {
        Ok(loaded) => (Some(loaded.document.digest().to_owned()), Vec::new(), loaded.warnings),
        Err(errors) => (None, errors, Vec::new()),
    };
    let answer = RoutingChecked { digest, errors, warnings };
    print(globals.output, &answer, || {
        let mut lines: Vec<String> = answer.errors.iter().map(|e| format!("{e}\n")).collect();
        lines.extend(warning_lines(&answer.warnings));
        lines.push(match &answer.digest {
            Some(digest) => format!("{}: good, {digest}\n", args.file.display()),
            None => {
                let faults = counted(answer.errors.len(), "fault");
                format!("{}: {faults}; each code has a page, docs/errors/CODE.md\n", args.file.display())
            }
        });
        lines.concat()
    });
    Ok(if answer.errors.is_empty() { Exit::Ok } else { Exit::No })
}

fn warning_lines(warnings: &[Diagnostic]) -> impl Iterator<Item = String> {
    warnings.iter().map(|warning| format!("warning: {warning}\n"))
}

fn apply(args: &ApplyArgs, globals: &Globals) -> Result<Exit, Failure> {
    let sources = read(&args.file)?;
    // A faulty document needs no broker to be refused.
    let loaded = routing::load(&sources).map_err(|errors| faulty(&args.file.display().to_string(), &errors))?;
    let connection = Connection::open(&args.connection)?;
    let applied = connection.ask(globals.output, |connection| {
        connection.prepare()?;
        check_registrations(connection, &loaded.document)?;
        let actor = args.actor.as_deref().unwrap_or("unknown");
        let said = Said { actor, reason: &args.reason, at: connection.now() };
        let accepted = args.accept_breaking.as_deref();
        let applied = apply_routing(connection.cluster.as_ref(), &connection.codec, &sources, said, accepted);
        applied.map_err(|e| match e {
            ApplyError::Faulty(errors) => faulty(&args.file.display().to_string(), &errors),
            ApplyError::Breaking(change) => breaking(&change),
            ApplyError::Log(e) => connection.log_failure(&e),
        })
    })?;
    let answer = RoutingApplied {
        answers: applied.change.answers(),
        digest: applied.digest,
        replaced: applied.replaced,
        warnings: applied.warnings,
    };
    print(globals.output, &answer, || {
        let warnings: String = warning_lines(&answer.warnings).collect();
        let digest = &answer.digest;
        let done = match &answer.replaced {
            Some(old) if old == digest => format!("{digest} is in force already\n"),
            Some(old) => format!("{digest} is in force; it replaced {old}\n"),
            None => format!("{digest} is in force; it is the first\n"),
        };
        warnings + &done
    });
    Ok(Exit::Ok)
}

/// Every Avro schema is registered as the document says: readers look it up by the id that stands in each record.
fn check_registrations(connection: &Connection, document: &Document) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for said in document.registrations() {
        let found = connection.registry.contradiction(&said.subject, said.version, said.id, &said.schema);
        if let Some(why) = found.map_err(|e| connection.registry_failure(&e))? {
            wrong.push(format!("payload `{}`, {}: {why}", said.payload, said.file));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let text =
        format!("the registry {} contradicts the document:\n{}", connection.config.registry.url, wrong.join("\n"));
    let hint = "register the schema, and write the subject, version and id that it has there into `avro`";
    Err(Failure::coded(Exit::Usage, "CG411", text).hint(hint))
}

/// A change that takes a person's reason.
fn breaking(change: &Change) -> Failure {
    let what = match change {
        Change::Compared(diff) => diff.to_string(),
        Change::Unknown { old } => format!("{old}, which is in force, can't be read by this version"),
        Change::First => String::new(),
    };
    Failure::coded(Exit::No, "CG410", format!("the change against the document in force is BREAKING:\n{what}"))
        .hint("agree with the owners of the targets, then apply it with --accept-breaking REASON --actor NAME")
}

/// A document that can't come into force.
pub(super) fn faulty(name: &str, errors: &[Diagnostic]) -> Failure {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let text =
        format!("{name} has {} and doesn't come into force:\n{}", counted(errors.len(), "fault"), lines.join("\n"));
    Failure::coded(Exit::Usage, "CG402", text).hint("mend them; consign routing check FILE shows them without a broker")
}
