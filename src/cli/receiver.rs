//! `consign receiver`: a receiver that does as it is told, to try targets against.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use clap::Args;

use super::client::Globals;
use super::exit::Exit;
use super::failure::Failure;
use super::kafka::{Connection, ConnectionArgs};
use super::output::text::clean;
use super::output::{OutputFormat, json, print};
use super::stage::cannot_listen;
use crate::log::Cluster as _;
use crate::predict::Script;
use crate::receiver::{AckLog, Behaviour, Journal, Line, LineFile, Listener, Receivers, Setup, scripted};
use crate::record::{TargetName, Topic};
use crate::transport::Secrets;

/// What is kept of requests in memory: nothing asks for them here.
const KEPT: (usize, usize) = (16, 1024 * 1024);

/// Arguments of `receiver`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign receiver
  consign receiver --listen 127.0.0.1:0 --output json
  consign receiver --script 'billing: 503 retry-after 1s, timeout, ok; crm: 202 then succeeded after 2s then rejected'
  consign receiver --verify-with hook.key --journal received.jsonl
  consign receiver --acks --kafka localhost:9092 --registry http://localhost:8081

Plays every target: the first segment of a request's path names it, such as http://127.0.0.1:8491/billing. Without a script a
target takes each file once, remembers its key and answers each repeat the same: 200 with
{\"result\":\"ok\",\"received_digest\":\"sha256:…\"}; or 202, and SUCCEEDED by callback, where the request names a callback URL; with --acks also where it has an ack token and
no URL, on the acks topic. The same key with another body is answered 422.

A script is that of consign simulate: the first step is for the first request with a key, the second for its repeat, and
once the list is at its end a target does as without a script.
  503                    an HTTP status, with a JSON body if you like: 200 {\"result\": \"ok\"}
  503 retry-after 30s    with Retry-After
  ok                     as without a script
  timeout, reset         no answer, or the connection broken off
  ... after 2s           the answer takes that long
  ... then succeeded after 2s, then accepted, then duplicate, then rejected, then retryable
                         reports by callback or on the acks topic, each after the one before: once, twice, late,
                         contradictory
  503 x8                 eight times

With --verify-with a request that isn't signed by one of these keys, or more than five minutes ago or ahead, is answered
401; one whose Content-Digest isn't that of its body is answered 400 in any case. Neither is remembered.

Each request, each file that is taken and each report is a line; neither bodies nor tokens stand on it. A wrong request can make
it send its token and a digest anywhere: let nobody reach it whom you don't trust. Everything is forgotten when it ends.
Ends with 0 when it is told to, with 3 if it can't listen.")]
pub struct ReceiverArgs {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8491")]
    pub listen: SocketAddr,
    /// What the targets do.
    #[arg(long, value_name = "SCRIPT")]
    pub script: Option<String>,
    /// A file with a key by which requests are verified, `whsec_…` or `whpk_…`; `TARGET=FILE` for one target. During a
    /// rotation the key before it stands in `FILE.previous`, or in a file of its own.
    #[arg(long, value_name = "[TARGET=]FILE")]
    pub verify_with: Vec<String>,
    /// A file with a key by which reports by callback are signed, `whsec_…` or `whsk_…`.
    #[arg(long, value_name = "FILE")]
    pub sign_with: Option<PathBuf>,
    /// Confirm through the acks topic of the broker, where a request has an ack token and names no callback URL.
    #[arg(long)]
    pub acks: bool,
    /// Where broker and registry are, for --acks.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// A file to which each line is added as JSON.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Megabytes of it, after which it is set aside as `FILE.previous` and begun anew.
    #[arg(long, value_name = "MB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub journal_max: u64,
}

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: ReceiverArgs, globals: &Globals) -> Exit {
    let told = super::interrupted();
    let receivers = match set_up(&args, globals.output) {
        Ok(receivers) => receivers,
        Err(failure) => return failure.tell(globals.output),
    };
    told.await;
    receivers.stop().await;
    Exit::Ok
}

fn set_up(args: &ReceiverArgs, output: OutputFormat) -> Result<Receivers, Failure> {
    let script = Script::parse(args.script.as_deref().unwrap_or_default()).map_err(|e| e.to_string());
    let behaviours = script.and_then(|script| scripted(&script)).map_err(|why| {
        Failure::usage(format!("--script: {why}")).hint("consign receiver --help says what a script is")
    })?;
    let (keys, verify_with, sign_with) = keys(args)?;
    if !args.listen.ip().is_loopback() && verify_with.is_empty() {
        // Said whatever the log level is: who starts it must know.
        eprintln!("warning: whoever reaches {} is believed: --verify-with FILE says who is", args.listen);
    }
    let acks = args.acks.then(|| acks(&args.connection, output)).transpose()?;
    let listener = listener(args, output)?;
    let setup = Setup {
        listen: args.listen,
        behaviours,
        otherwise: Some(Behaviour::Take),
        acks,
        keys,
        verify_with,
        sign_with,
        journal: Journal::within(KEPT.0, KEPT.1),
        listener: Arc::clone(&listener),
    };
    let receivers = Receivers::start_with(&tokio::runtime::Handle::current(), setup)
        .map_err(|e| cannot_listen(&args.listen.to_string(), &e))?;
    listener(&Line::Listening { url: format!("http://{}", receivers.addr()) });
    Ok(receivers)
}

/// The acks topic, once broker and registry have answered.
fn acks(connection: &ConnectionArgs, output: OutputFormat) -> Result<AckLog, Failure> {
    let connection = Connection::open(connection)?;
    connection.ask(output, |connection| {
        connection.prepare()?;
        let cluster = &connection.cluster;
        let there = cluster.partitions(Topic::Acks).and_then(|_| cluster.appender());
        let appender = there.map_err(|e| connection.log_failure(&e))?;
        Ok(AckLog { appender, codec: Arc::clone(&connection.codec) })
    })
}

/// By whom each target is verified: names of keys.
type VerifyWith = BTreeMap<Option<TargetName>, Vec<String>>;

fn keys(args: &ReceiverArgs) -> Result<(Secrets, VerifyWith, Vec<String>), Failure> {
    let mut secrets = Secrets::default();
    let mut add = |path: PathBuf| {
        let name = format!("key-{}", secrets.files.len());
        secrets.files.insert(name.clone(), path.clone());
        // Read again with each request; a file that isn't there is a slip of the pen.
        let read = secrets.read(&name).map(|_| name);
        read.map_err(|_| {
            Failure::coded(Exit::Usage, "CG409", format!("the key {} can't be read", path.display()))
                .hint("name a file that this user may read, with a key in it and nothing else")
        })
    };
    let mut verify_with = VerifyWith::new();
    for text in &args.verify_with {
        let (target, path) = match text.split_once('=') {
            Some((target, path)) => match TargetName::parse(target) {
                Ok(target) => (Some(target), path),
                Err(why) => return Err(Failure::usage(format!("--verify-with: {why}"))),
            },
            None => (None, text.as_str()),
        };
        verify_with.entry(target).or_default().push(add(PathBuf::from(path))?);
    }
    let sign_with = args.sign_with.clone().map(add).transpose()?;
    Ok((secrets, verify_with, sign_with.into_iter().collect()))
}

/// Says each line on standard output and in the journal.
fn listener(args: &ReceiverArgs, output: OutputFormat) -> Result<Listener, Failure> {
    let open = |path: &PathBuf| {
        let file = LineFile::open(path, args.journal_max * 1_000_000);
        file.map_err(|e| {
            Failure::coded(Exit::Usage, "CG409", format!("the journal {} can't be written: {e}", path.display()))
                .hint("name a file that this user may write")
        })
    };
    let file = args.journal.as_ref().map(open).transpose()?.map(Mutex::new);
    Ok(Arc::new(move |line: &Line| {
        if let Some(file) = &file {
            let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Err(e) = file.add(&json(line)) {
                tracing::error!("a line is not in the journal: {e}");
            }
        }
        print(output, line, || format!("{}\n", clean(&line.to_string())));
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_files_for_all_targets_or_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("a.key"), "whsec_a").unwrap();
        let args = |verify_with: &[String]| {
            use clap::Parser;
            #[derive(Parser)]
            struct Command {
                #[command(flatten)]
                args: ReceiverArgs,
            }
            let words = verify_with.iter().flat_map(|text| ["--verify-with".to_owned(), text.clone()]);
            Command::parse_from(std::iter::once("receiver".to_owned()).chain(words)).args
        };
        let (secrets, verify_with, _) = keys(&args(&[path("a.key"), format!("crm={}", path("a.key"))])).unwrap();
        assert_eq!(secrets.files.len(), 2);
        assert_eq!(verify_with[&None], ["key-0"]);
        assert_eq!(verify_with[&Some(TargetName::trusted("crm"))], ["key-1"]);
        for (text, says) in [(path("b.key"), "can't be read"), ("Crm=x".to_owned(), "target name `Crm`")] {
            assert!(keys(&args(&[text])).unwrap_err().to_string().contains(says));
        }
    }
}
