//! `consign certify`: tries a real receiver, and says what it does wrong.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::client::{Globals, parse_duration};
use super::exit::Exit;
use super::failure::Failure;
use super::foresee::sources::{DocumentArgs, load, manifests};
use super::kafka::{Connection, ConnectionArgs};
use super::outbound;
use super::output::print;
use super::output::text::clean;
use crate::certify::{AcksTopic, CertifyError, PlanOf, Subject, certify};
use crate::plan::{self, Inputs};
use crate::record::{Arrival, FileId};
use crate::routing::{Document, Sources};
use crate::transport::Secrets;

/// The target of a URL, and its keys.
const TARGET: &str = "receiver";
const SIGNING: &str = "certify-signing";
const VERIFYING: &str = "certify-verifying";

/// Arguments of `certify`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign certify billing --manifest invoice.json --routing routing.yaml --config consign.toml
  consign certify https://billing.example/v1 --sign-with hook.key
  consign certify http://127.0.0.1:8491/billing --allow-http --allow-cidr 127.0.0.0/8 --callback
  consign certify http://127.0.0.1:8491/ledger --allow-http --allow-cidr 127.0.0.0/8 --acks --kafka localhost:9092
  consign certify https://billing.example/v1 --effects 'grep -c \"taken.*$CONSIGN_KEY\" received.jsonl'

What it sends has effects: point it at a place for tests. A target is that of the routing document, with its URL, headers,
secrets and confirmed_by, and what it gets is the plan of the manifest under identities of its own. A URL alone gets a small
JSON body. Requests leave as in production, under the outbound guard of the configuration's [egress].

It sends the same request twice, several at once, one unsigned, one signed by a stranger, one signed ten minutes ago, two with
an unknown signature beside the right one, and one with a large body; where the target is confirmed by callback, it hears what is
reported, and with --acks it reads the acks topic. docs/receivers.md says what each check means.

A second effect shows where answers or references differ, and otherwise only to --effects: a command that prints how many effects
the key in CONSIGN_KEY has had (its webhook-id stands in CONSIGN_WEBHOOK_ID). What nobody can tell is called unseen.

Ends with 0 if no check failed, 1 if one did, 3 if the receiver can't be reached, 4 if there is no such target.")]
pub struct CertifyArgs {
    /// A target of the routing document, or a URL.
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// A manifest whose plan leads to the target, as `consign submit` takes it; not for a URL.
    #[arg(long, value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Which document.
    #[command(flatten)]
    pub document: DocumentArgs,
    /// For a URL: the file of the key that signs requests, `whsec_…` or `whsk_…`.
    #[arg(long, value_name = "FILE")]
    pub sign_with: Option<PathBuf>,
    /// For a URL: the rule over the response that names success.
    #[arg(long, value_name = "RULE", default_value = "status >= 200 && status < 300")]
    pub succeeded: String,
    /// For a URL: it confirms by callback.
    #[arg(long)]
    pub callback: bool,
    /// The target confirms through the acks topic of the broker: read it. An engine that reads there too takes these acks for
    /// reports on unknown files, so use a prefix for tests.
    #[arg(long, conflicts_with = "callback")]
    pub acks: bool,
    /// For a URL: the file of the key by which its reports are verified, `whsec_…` or `whpk_…`.
    #[arg(long, value_name = "FILE", requires = "callback")]
    pub verify_with: Option<PathBuf>,
    /// A command that prints how many effects the key in `CONSIGN_KEY` has had.
    #[arg(long, value_name = "COMMAND")]
    pub effects: Option<String>,
    /// Where callbacks are heard; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// That place as the receiver reaches it, where it isn't this address.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// How long a confirmation may take.
    #[arg(long, value_parser = parse_duration, default_value = "30s", value_name = "DURATION")]
    pub wait: Duration,
    /// How long is listened afterwards, for reports that contradict.
    #[arg(long, value_parser = parse_duration, default_value = "2s", value_name = "DURATION")]
    pub linger: Duration,
    /// Duplicates that are sent at once.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=64))]
    pub concurrency: u8,
    /// Bytes of the large body; 0 leaves it out.
    #[arg(long, default_value_t = 262_144, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=524_288))]
    pub large_body: u32,
    /// Let plain HTTP out.
    #[arg(long)]
    pub allow_http: bool,
    /// Let requests out to this network too.
    #[arg(long, value_name = "CIDR")]
    pub allow_cidr: Vec<String>,
}

/// Runs `certify`.
pub async fn run(args: CertifyArgs, globals: &Globals) -> Exit {
    let certified = async {
        let report = certify(subject(&args)?).await.map_err(|e| failure(&e))?;
        print(globals.output, &report, || {
            let lines: Vec<String> = report.to_string().lines().map(clean).collect();
            lines.join("\n") + "\n"
        });
        Ok(if report.certified { Exit::Ok } else { Exit::No })
    };
    tokio::select! {
        ended = certified => ended.unwrap_or_else(|failure: Failure| failure.tell(globals.output)),
        () = super::interrupted() => Exit::Unfinished,
    }
}

fn failure(e: &CertifyError) -> Failure {
    let text = e.to_string();
    match e {
        CertifyError::Unreached(_) => Failure { exit: Exit::Unreachable, code: None, message: text, hint: None }
            .hint("what is closed by the outbound guard is opened by [egress], --allow-http and --allow-cidr"),
        CertifyError::Listen(_) => Failure { exit: Exit::Unreachable, code: None, message: text, hint: None }
            .hint("choose another address with --listen"),
        CertifyError::Acks(_) => Failure { exit: Exit::Unreachable, code: None, message: text, hint: None }
            .hint("look at the broker, its permissions and --prefix, then repeat it"),
        CertifyError::Effects(_) => {
            Failure::usage(text).hint("the command prints one number: how many effects the key in CONSIGN_KEY has had")
        }
        CertifyError::Plan(_) => Failure::usage(text),
    }
}

fn subject(args: &CertifyArgs) -> Result<Subject, Failure> {
    let config = args.document.connection.config()?;
    let mut egress = config.egress.clone();
    egress.allow_http |= args.allow_http;
    egress.allow_cidrs.extend(args.allow_cidr.iter().cloned());
    let wrong = |why: String| Failure::coded(Exit::Usage, "CG400", why);
    let egress = outbound::egress(&egress).map_err(wrong)?;
    let places = outbound::places(&config.content).map_err(wrong)?;
    let mut secrets = outbound::secrets(&config);
    let plan_of = if args.target.contains("://") { of_url(args, &mut secrets)? } else { of_target(args)? };
    let public_url = args.public_url.clone();
    let acks = args.acks.then(|| acks_topic(&args.document.connection)).transpose()?;
    Ok(Subject {
        plan_of,
        acks,
        egress,
        secrets,
        places,
        listen: (args.listen, public_url),
        wait: args.wait,
        linger: args.linger,
        concurrency: args.concurrency.into(),
        large_body: usize::try_from(args.large_body).unwrap_or(0),
        effects: args.effects.clone(),
    })
}

fn acks_topic(connection: &ConnectionArgs) -> Result<AcksTopic, Failure> {
    let connection = Connection::open(connection)?;
    Ok(AcksTopic { cluster: connection.as_cluster(), codec: connection.codec })
}

/// The target of a routing document, by a manifest that leads to it.
fn of_target(args: &CertifyArgs) -> Result<PlanOf, Failure> {
    if args.sign_with.is_some() || args.callback || args.verify_with.is_some() {
        let text =
            "--sign-with, --callback and --verify-with are for a URL: the routing document says them of a target";
        return Err(Failure::usage(text));
    }
    let Some(path) = &args.manifest else {
        let text = format!("`{}` is a target: --manifest says which file it gets", args.target);
        return Err(Failure::usage(text).hint("name a manifest whose plan leads there; consign plan shows it"));
    };
    let arrivals = manifests(path, Some(super::foresee::plan::time_of(None)))?;
    let [arrival] = arrivals.as_slice() else { return Err(Failure::usage("--manifest: it holds more than one")) };
    let document = args.document.load()?;
    if document.target(&args.target).is_none() {
        let text = format!("the routing document has no target `{}`", args.target);
        return Err(Failure { exit: Exit::NotFound, code: None, message: text, hint: None });
    }
    Ok(planner(arrival.clone(), document, args.target.clone()))
}

/// A document of one target, made for a URL.
fn of_url(args: &CertifyArgs, secrets: &mut Secrets) -> Result<PlanOf, Failure> {
    if args.manifest.is_some() || args.document.routing.is_some() {
        return Err(Failure::usage("--manifest and --routing are for a target, and this is a URL"));
    }
    let mut key = |name: &str, path: &Option<PathBuf>| {
        if let Some(path) = path {
            secrets.files.insert(name.to_owned(), path.clone());
        }
    };
    key(SIGNING, &args.sign_with);
    key(VERIFYING, &args.verify_with);
    let way = match &args.sign_with {
        Some(_) => json!({"webhook": {"url": args.target, "sign_with": SIGNING}}),
        None => json!({"http": {"url": args.target}}),
    };
    let confirmed_by = match (args.callback, &args.verify_with) {
        (true, Some(_)) => json!({"callback": {"within": "1h", "verify_with": VERIFYING}}),
        (true, None) => json!({"callback": "1h"}),
        (false, _) if args.acks => json!({"acks": "1h"}),
        (false, _) => json!({"response": args.succeeded}),
    };
    let mut target = json!({"owner": "certify", "confirmed_by": confirmed_by, "on_unknown": "retry"});
    if let (Some(target), Some(way)) = (target.as_object_mut(), way.as_object()) {
        target.extend(way.clone());
    }
    let document = json!({
        "file_types": {"certify": {}},
        "payloads": {"certify": {"body": {"file_id": "=file.id", "name": "=file.name", "amount": 12}}},
        "targets": {TARGET: target},
        "routes": [{"to": TARGET, "payload": "certify"}],
    });
    let sources =
        Sources { name: args.target.clone(), document: document.to_string(), files: std::collections::BTreeMap::new() };
    let manifest = json!({"file_id": "certify", "schema_version": 1, "file_type": "certify", "name": "certify"});
    let arrival = super::foresee::sources::arrival_of(&manifest.to_string(), Some(super::foresee::plan::time_of(None)));
    let arrival = arrival.map_err(Failure::usage)?;
    Ok(planner(arrival, load(&sources)?, TARGET.to_owned()))
}

/// Plans the file as production does, under another identity each time.
fn planner(arrival: Arrival, document: Document, target: String) -> PlanOf {
    Arc::new(move |file_id: &FileId| {
        let mut arrival = arrival.clone();
        arrival.file_id = file_id.clone();
        arrival.manifest.file_id = file_id.clone();
        arrival.manifest_digest = plan::manifest_digest(&arrival.manifest);
        let plan = plan::plan(Inputs::at_acceptance(&arrival, &document))
            .map_err(|failure| format!("the file fails validation: {} {}", failure.code, failure.text))?;
        let to: Vec<String> = plan.iter().map(|dispatch| dispatch.target.to_string()).collect();
        plan.into_iter()
            .find(|dispatch| dispatch.target.as_str() == target)
            .ok_or_else(|| format!("the file doesn't go to `{target}`, but to {}", to.join(", ")))
    })
}
