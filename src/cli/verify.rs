//! `consign verify`: the topics of a running cluster against the contract.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::client::Globals;
use super::exit::Exit;
use super::failure::Failure;
use super::kafka::{Connection, ConnectionArgs};
use super::output::answer::{Verified, VerifiedDifference};
use super::output::text::clean;
use super::output::{counted, print};
use crate::audit::{Audit, AuditError, AuditOptions, Step};
use crate::engine::WorkerOptions;
use crate::record::registry::RegistryError;
use crate::record::{Timestamp, TopicNames};
use crate::verify::{Report, Request};

/// Check what the topics of a running cluster say against the contract.
///
/// Reads every topic, rebuilds every file's state from its records, makes every plan again from the recorded arrival and
/// routing document, and prints each difference with its topic, partition and offset. The engine may be at work
/// meanwhile; nothing is written but a scratch store on local disk, which is removed at the end.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign verify
  consign verify --scratch /var/tmp --output json
  consign verify --journal received.jsonl

Ends with 0 if there is no difference, with 1 if there is one.")]
pub struct VerifyArgs {
    /// Directory for the scratch store: about as much room as the topics take.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub scratch: PathBuf,
    /// What receivers journalled, one JSON object a line: idempotency_key, attempt, body_sha256, received_at.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Differences printed at most; all are counted.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub show: usize,
    /// How far the clocks of processes and receivers may be apart.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub max_clock_skew: Duration,
    /// Where broker and registry are.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Runs `verify`.
pub fn run(args: &VerifyArgs, globals: &Globals) -> Exit {
    verify(args, globals).unwrap_or_else(|failure| failure.tell(globals.output))
}

fn verify(args: &VerifyArgs, globals: &Globals) -> Result<Exit, Failure> {
    let requests = args.journal.as_ref().map_or_else(|| Ok(Vec::new()), read_journal)?;
    let connection = Connection::open(&args.connection)?;
    let options = AuditOptions {
        names: connection.names.clone(),
        max_clock_skew_ms: millis(args.max_clock_skew),
        default_deadline_ms: WorkerOptions::new("", connection.names.clone()).default_deadline_ms,
        retention_ms: millis(connection.config.topics.retention),
        scratch: args.scratch.join(format!("consign-verify-{}", std::process::id())),
    };
    let committed = |partitions: &[_]| connection.cluster.committed(partitions);
    let mut told = Told::default();
    let report = tokio::task::block_in_place(|| {
        connection.prepare()?;
        let mut audit = Audit {
            cluster: connection.cluster.as_ref(),
            committed: &committed,
            codec: Arc::clone(&connection.codec),
            progress: &mut |step| told.say(step),
        };
        audit.run(&options, requests).map_err(|e| failure(&connection, args, e))
    });
    told.end();
    let report = report?;
    let answer = answer(&report, &connection.names);
    print(globals.output, &answer, || text(&answer, args.show));
    Ok(if answer.equal { Exit::Ok } else { Exit::No })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn failure(connection: &Connection, args: &VerifyArgs, error: AuditError) -> Failure {
    match error {
        AuditError::Log(error) => connection.log_failure(&error),
        AuditError::RegistryAway(why) => connection.registry_failure(&RegistryError::Away(why)),
        AuditError::Homeless => Failure::coded(Exit::Usage, "CG401", error.to_string()).hint("consign topics apply"),
        AuditError::Scratch(_) => {
            let text = format!("{}: {error}", args.scratch.display());
            Failure::usage(text).hint("give it a directory with about as much room as the topics take: --scratch DIR")
        }
    }
}

/// A line of a journal. What else it says is not asked.
#[derive(Deserialize)]
struct Line {
    idempotency_key: String,
    attempt: i32,
    body_sha256: String,
    received_at: i64,
}

fn read_journal(path: &PathBuf) -> Result<Vec<Request>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(n, line)| {
            let line: Line = serde_json::from_str(line)
                .map_err(|e| Failure::usage(format!("{}:{}: no line of a journal: {e}", path.display(), n + 1)))?;
            let hex = line.body_sha256.trim_start_matches("sha256:");
            Ok(Request {
                idempotency_key: line.idempotency_key,
                attempt: line.attempt,
                body_sha256: format!("sha256:{hex}"),
                received_at: Timestamp(line.received_at),
            })
        })
        .collect()
}

/// Progress on standard error: one line that changes on a terminal, a line each elsewhere.
#[derive(Default)]
struct Told {
    on_a_line: bool,
}

impl Told {
    fn say(&mut self, step: Step) {
        let text = match step {
            Step::Reading { read, of } => format!("read {read} of {of} offsets"),
            Step::Checking { files, differences } => format!("checked {files} files, {differences} differences"),
        };
        let mut stderr = std::io::stderr();
        // Nobody is left to be told where standard error is closed.
        let _ = if stderr.is_terminal() {
            self.on_a_line = true;
            write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{text}")
        };
    }

    fn end(&self) {
        if self.on_a_line {
            eprint!("\r\x1b[K");
        }
    }
}

fn answer(report: &Report, names: &TopicNames) -> Verified {
    let differences = report.violations.iter().map(|violation| VerifiedDifference {
        invariant: violation.invariant,
        file_id: violation.file_id.clone(),
        topic: violation.at.map(|(at, _)| names.name(at.topic)),
        partition: violation.at.map(|(at, _)| at.partition),
        offset: violation.at.map(|(_, offset)| offset),
        text: violation.text.clone(),
    });
    let differences: Vec<VerifiedDifference> = differences.collect();
    Verified { equal: differences.is_empty(), counts: report.counts.clone(), differences }
}

fn text(answer: &Verified, show: usize) -> String {
    let mut lines = String::new();
    for one in answer.differences.iter().take(show) {
        let file = one.file_id.as_ref().map_or("-", |id| id.as_str());
        let place = match (&one.topic, one.partition, one.offset) {
            (Some(topic), Some(partition), Some(offset)) => format!("{topic}/{partition} offset {offset}"),
            _ => "-".to_owned(),
        };
        lines += &format!("{} {} {place}: {}\n", one.invariant, clean(file), clean(&one.text));
    }
    let hidden = answer.differences.len().saturating_sub(show);
    if hidden > 0 {
        lines += &format!("and {hidden} more: --show {} shows all\n", answer.differences.len());
    }
    let count = |name: &str| answer.counts.get(name).copied().unwrap_or(0);
    lines += &format!(
        "files {} ({} COMPLETED, {} FAILED), forgotten {}, dispatches {}, attempts {}\n",
        count("files"),
        count("files.COMPLETED"),
        count("files.FAILED"),
        count("files.forgotten"),
        count("dispatches"),
        count("attempts"),
    );
    lines += &format!(
        "file-state records {}, folded again and equal {}; plans made again: {} equal, {} different, {} not provable\n",
        count("file_states"),
        count("folds.equal"),
        count("plans.equal"),
        count("plans.different"),
        count("plans.not_provable"),
    );
    lines += &counted(answer.differences.len(), "difference");
    lines + if answer.equal { "\n" } else { "; docs/verify.md says what each invariant means\n" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_journal_is_read_line_by_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = json!({"idempotency_key": "f/a", "attempt": 1, "body_sha256": "ab", "received_at": 7, "more": true});
        std::fs::write(file.path(), format!("{line}\n\n")).unwrap();
        let read = read_journal(&file.path().to_owned()).unwrap();
        assert_eq!((read.len(), read[0].body_sha256.as_str()), (1, "sha256:ab"));
        std::fs::write(file.path(), format!("{line}\n{{}}\n")).unwrap();
        let refused = read_journal(&file.path().to_owned()).unwrap_err();
        assert!(refused.message.contains(":2:"), "{}", refused.message);
        assert_eq!(refused.exit, Exit::Usage);
    }
}
