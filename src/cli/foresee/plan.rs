//! `consign plan`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value as Json, json};

use super::sources::{Content, ContentArgs, DocumentArgs, manifests, recorded};
use crate::cli::client::Globals;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure as Refusal;
use crate::cli::kafka::Connection;
use crate::cli::output::print;
use crate::plan::{self, Considered, Inputs, Verdict, Why};
use crate::record::{Arrival, Failure, FileId, PlannedDispatch, Timestamp};
use crate::routing::{self, Document, Sources};

/// Arguments of `plan`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign plan invoice.json --routing routing.yaml
  consign plan invoice.json --kafka localhost:9092      under the document in force
  consign plan --verify inv-17 --kafka localhost:9092

Shows the plan as it would be recorded: every target with its request and why, and every target that the file doesn't go to
with the first condition that doesn't hold. Nothing is sent and nothing written. Ends with 0 if there is a plan, with 1 if
the file would fail validation.

--verify makes a recorded plan again: equal (0), different (1), or not provable (4). Where the type reads `content`, that takes the
file's bytes: --content.")]
pub struct PlanArgs {
    /// The manifest, as `consign submit` takes it; `-` is standard input.
    #[arg(value_name = "MANIFEST", required_unless_present = "verify")]
    pub manifest: Option<PathBuf>,
    /// Make the recorded plan of this file again.
    #[arg(long, value_name = "FILE_ID", conflicts_with_all = ["manifest", "routing", "at"])]
    pub verify: Option<String>,
    /// When it would be accepted, in milliseconds since 1970; now where it isn't said.
    #[arg(long, value_name = "MILLIS")]
    pub at: Option<i64>,
    /// Its bytes.
    #[command(flatten)]
    pub content: ContentArgs,
    /// Which document.
    #[command(flatten)]
    pub document: DocumentArgs,
}

/// The time that a command means: the one it names, or now.
pub fn time_of(at: Option<i64>) -> Timestamp {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Timestamp(at.unwrap_or_else(|| i64::try_from(now()).unwrap_or(i64::MAX)))
}

/// Runs `plan`.
pub fn run(args: &PlanArgs, globals: &Globals) -> Exit {
    let ended = match (&args.verify, &args.manifest) {
        (Some(file_id), _) => verify(file_id, args, globals),
        (None, Some(path)) => show(path, args, globals),
        (None, None) => Err(Refusal::usage("no manifest is named")),
    };
    ended.unwrap_or_else(|failure| failure.tell(globals.output))
}

fn show(path: &std::path::Path, args: &PlanArgs, globals: &Globals) -> Result<Exit, Refusal> {
    let arrivals = manifests(path, Some(time_of(args.at)))?;
    let routing = args.document.load()?;
    let content = args.content.read()?;
    let foreseen = arrivals.iter().map(|arrival| Foreseen::of(arrival, content.as_ref(), &routing));
    let foreseen: Vec<Foreseen> = foreseen.collect();
    for one in &foreseen {
        print(globals.output, &one.as_json(), || one.as_text());
    }
    Ok(if foreseen.iter().all(|one| one.plan.is_ok()) { Exit::Ok } else { Exit::No })
}

/// A plan that isn't recorded.
struct Foreseen {
    file_id: FileId,
    plan: Result<Vec<PlannedDispatch>, Failure>,
    considered: Vec<Considered>,
}

impl Foreseen {
    fn of(arrival: &Arrival, content: Option<&Content>, routing: &Document) -> Self {
        let fetched = content.map(Content::fetched);
        let planned = plan::plan(Inputs { fetched, ..Inputs::at_acceptance(arrival, routing) });
        // Where validation fails, no route is asked.
        let considered = plan::consider(arrival, routing, fetched).unwrap_or_default();
        Self { file_id: arrival.file_id.clone(), plan: planned, considered }
    }

    fn not_chosen(&self) -> impl Iterator<Item = &Considered> {
        self.considered.iter().filter(|considered| !matches!(considered.why, Why::Chosen { .. }))
    }

    fn as_json(&self) -> Json {
        let why = |target: &str| self.considered.iter().find(|c| c.target.as_str() == target).map(|c| words(&c.why));
        let dispatches: Vec<Json> = self
            .plan
            .iter()
            .flatten()
            .map(|dispatch| {
                let record = serde_json::to_value(dispatch).unwrap_or_default();
                json!({"target": dispatch.target, "why": why(dispatch.target.as_str()), "record": record})
            })
            .collect();
        let not_chosen: Vec<Json> =
            self.not_chosen().map(|c| json!({"target": c.target, "why": words(&c.why)})).collect();
        let failure = self.plan.as_ref().err().map(|f| json!({"code": f.code, "text": f.text}));
        json!({
            "file_id": self.file_id,
            "plan_digest": self.plan.as_ref().ok().and_then(|plan| Some(plan.first()?.plan_digest.clone())),
            "dispatches": dispatches,
            "not_chosen": not_chosen,
            "failure": failure,
        })
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        match &self.plan {
            Ok(plan) => {
                let digest = plan.first().map_or("", |first| first.plan_digest.as_str());
                text += &format!("{}: {} targets, plan {digest}\n", self.file_id, plan.len());
                for dispatch in plan {
                    text += &self.dispatch(dispatch);
                }
            }
            Err(failure) => {
                text += &format!("{}: fails validation: {} {}\n", self.file_id, failure.code, failure.text);
            }
        }
        for considered in self.not_chosen() {
            text += &format!("not to {}: {}\n", considered.target, words(&considered.why));
        }
        text
    }

    fn dispatch(&self, dispatch: &PlannedDispatch) -> String {
        let request = &dispatch.request;
        let why = self.considered.iter().find(|c| c.target == dispatch.target).map(|c| words(&c.why));
        let mut text = format!("to {}: {}\n", dispatch.target, why.unwrap_or_default());
        let method = request.method.as_deref().unwrap_or("produce to");
        let what = if request.content_type.is_empty() { "no body" } else { &request.content_type };
        text += &format!("  {method} {} ({what})\n", request.destination);
        if let Some(key) = &request.key {
            text += &format!("  record key {key}\n");
        }
        for (name, value) in &request.headers {
            text += &format!("  {name}: {value}\n");
        }
        text += &format!("  key {}\n", dispatch.idempotency_key);
        if let Some(body) = &request.body {
            text += &format!("  {}\n", String::from_utf8_lossy(body.as_ref()));
        }
        if let Some(file) = &request.body_of_file {
            text += &format!("  the file {}, {} bytes, {}\n", file.location, file.size, file.digest);
        }
        let after: Vec<&str> = dispatch.after.iter().map(crate::record::TargetName::as_str).collect();
        if !after.is_empty() {
            text += &format!("  once {} SUCCEEDED\n", after.join(", "));
        }
        let policy = format!(
            "confirmed by {}; unknown: {}; owner {}",
            dispatch.confirmed_by.by, dispatch.on_unknown, dispatch.owner
        );
        text + &format!("  {policy}\n")
    }
}

fn words(why: &Why) -> String {
    match why {
        Why::Chosen { when, payload, payload_when } => {
            let route = when.as_ref().map_or_else(|| "every file".to_owned(), |when| format!("`{when}`"));
            match (payload, payload_when) {
                (None, _) => route,
                (Some(payload), Some(when)) => format!("{route}; payload {payload}: `{when}`"),
                (Some(payload), None) => format!("{route}; payload {payload}"),
            }
        }
        Why::Condition(part) => format!("`{part}` doesn't hold"),
        Why::NoPayload => "none of its payloads is for this file".to_owned(),
        Why::Fails(why) => why.clone(),
        Why::NotResubmitted => "the file it takes up has no need of it".to_owned(),
        Why::NoRoute => "no route leads there".to_owned(),
    }
}

fn verify(file_id: &str, args: &PlanArgs, globals: &Globals) -> Result<Exit, Refusal> {
    let connection = Connection::open(&args.document.connection)?;
    let (arrival, recorded, controls) = recorded::plan(&connection, &FileId::trusted(file_id))?;
    let Some(arrival) = arrival else {
        let text = format!("no file {file_id} is known: it was never accepted, or its retention is over");
        return Err(Refusal::coded(Exit::NotFound, "CG320", text));
    };
    let bundle = recorded.first().and_then(|first| controls.routing(&first.routing_digest));
    let document = bundle.and_then(|bundle| routing::load(&Sources::from(bundle)).ok());
    let verdict = {
        let content = args.content.read()?;
        let document = document.as_ref().map(|loaded| &loaded.document);
        plan::verify(&arrival, document, content.as_ref().map(Content::bytes), &recorded)
    };
    let (exit, word, why) = match verdict {
        Verdict::Equal => (Exit::Ok, "equal", None),
        Verdict::Different(why) => (Exit::No, "different", Some(why)),
        Verdict::NotProvable(why) => (Exit::NotFound, "not provable", Some(why)),
    };
    let answer = json!({"file_id": file_id, "verdict": word, "why": why});
    print(globals.output, &answer, || {
        format!("{file_id}: {word}{}\n", why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())
    });
    Ok(exit)
}
