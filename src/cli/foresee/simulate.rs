//! `consign simulate`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value as Json, json};

use super::plan::time_of;
use super::sources::{Content, ContentArgs, DocumentArgs, manifests};
use crate::cli::client::Globals;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure as Refusal;
use crate::cli::output::print;
use crate::lifecycle::{File, provisional_deadline};
use crate::plan::{self, Fetched, Inputs};
use crate::predict::{
    Bounds, Course, End, Happening, Reply, Script, Step, accepted, bounds, bounds_with_fetch, course, needs_bytes,
};
use crate::record::{Arrival, FILE_TARGET};
use crate::routing::{DEFAULT_DEADLINE_MS, Document};

/// Arguments of `simulate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign simulate invoice.json --routing routing.yaml
  consign simulate invoice.json --routing routing.yaml --script 'billing: 503, timeout, 200; crm: 202 then rejected after 2h'

Planning and machine are those of production; nothing is sent and nothing written. Without a script it says how the file
can go at best and at worst. A script says what each target answers, attempt by attempt:
  503                    an HTTP status, with a JSON body if you like: 200 {\"result\": \"ok\"}
  503 retry-after 30s    with Retry-After
  ok                     whatever the target's confirmed_by takes for success
  timeout, reset, unreachable, certificate
  silence                nothing is ever reported
  ... after 2s           the answer takes that long
  ... then rejected after 2h, then accepted, then succeeded, then duplicate, then retryable
                         what the target reports later by acks or callback
  503 x8                 eight times
Once its list is at its end a target answers ok. What an attempt at the file's own bytes meets stands under ~file, for a type with
`content`: '~file: 503, ok'. Where the document reads the bytes, --content says what they are.

Ends with 0 if the file is COMPLETED, 1 if it FAILED, 5 if a person must decide; without a script with 0 if it can be
COMPLETED.")]
pub struct SimulateArgs {
    /// The manifest, as `consign submit` takes it; `-` is standard input.
    #[arg(value_name = "MANIFEST")]
    pub manifest: PathBuf,
    /// What the targets answer.
    #[arg(long, value_name = "SCRIPT")]
    pub script: Option<String>,
    /// When the file is accepted, in milliseconds since 1970; now where it isn't said.
    #[arg(long, value_name = "MILLIS")]
    pub at: Option<i64>,
    /// Its bytes.
    #[command(flatten)]
    pub content: ContentArgs,
    /// Which document.
    #[command(flatten)]
    pub document: DocumentArgs,
}

/// Runs `simulate`.
pub fn run(args: &SimulateArgs, globals: &Globals) -> Exit {
    simulated(args, globals).unwrap_or_else(|failure| failure.tell(globals.output))
}

fn simulated(args: &SimulateArgs, globals: &Globals) -> Result<Exit, Refusal> {
    let script = args.script.as_deref().map(Script::parse).transpose();
    let script = script
        .map_err(|e| Refusal::usage(format!("--script: {e}")).hint("consign simulate --help says what a script is"))?;
    let arrivals = manifests(&args.manifest, Some(time_of(args.at)))?;
    let routing = args.document.load()?;
    let content = args.content.read()?;
    let fetched = content.as_ref().map(Content::fetched);
    let mut exit = Exit::Ok;
    for arrival in arrivals {
        let arrival = Arc::new(arrival);
        let (json, text, ended) = match &script {
            Some(script) => {
                let course = course(&arrival, fetched, &routing, script);
                check_targets(script, &course)?;
                check_bytes(&course, fetched, &routing)?;
                (as_json(&course), format!("{course}\n"), exit_of(&course.end))
            }
            None => worst_and_best(&arrival, fetched, &routing)?,
        };
        exit = exit.worse(ended);
        print(globals.output, &json, || text);
    }
    Ok(exit)
}

/// A script that names a target which the file doesn't go to is a slip of the pen.
fn check_targets(script: &Script, course: &Course) -> Result<(), Refusal> {
    let targets: Vec<&str> = course.file.dispatches.iter().map(|d| d.target().as_str()).collect();
    for dispatch in course.file.dispatches.iter().filter(|d| d.terms.written_to.is_some()) {
        let target = dispatch.target().as_str();
        if script.steps(target).iter().any(|step| step.reply != Reply::Ok || step.took_ms > 0) {
            let text =
                format!("--script: the record of `{target}` is there with its attempt: it answers `ok`, at once");
            return Err(Refusal::usage(text));
        }
    }
    let is_fetched = course.file.arrival.fetch.is_some();
    if script.steps(FILE_TARGET).iter().any(|step| !step.then.is_empty()) {
        return Err(Refusal::usage(format!(
            "--script: nobody reports on `{FILE_TARGET}` later: `then` is for targets"
        )));
    }
    let is_there = |target: &&str| targets.contains(target) || (is_fetched && *target == FILE_TARGET);
    match script.targets().find(|target| !targets.is_empty() && !is_there(target)) {
        Some(target) => {
            let text = format!("--script: the file doesn't go to `{target}`, but to {}", targets.join(", "));
            Err(Refusal::usage(text))
        }
        None => Ok(()),
    }
}

/// Without the bytes that a plan is made of there is nothing to say of it.
fn check_bytes(course: &Course, fetched: Option<Fetched<'_>>, routing: &Document) -> Result<(), Refusal> {
    let arrival = &course.file.arrival;
    let is_planned = course.steps.iter().any(|step| step.what == Happening::Planned);
    let rule = routing.content_rule(&arrival.manifest.file_type).filter(|_| arrival.fetch.is_some() && is_planned);
    match rule.filter(|rule| fetched.is_none() && needs_bytes(arrival, rule)) {
        Some(_) => {
            let text = format!("{}: its plan depends on its bytes, which aren't here", arrival.file_id);
            Err(Refusal::usage(text).hint("--content FILE says what a fetch would find"))
        }
        None => Ok(()),
    }
}

fn exit_of(end: &End) -> Exit {
    match end {
        End::Completed(_) => Exit::Ok,
        End::Failed(..) => Exit::No,
        End::Person(..) | End::Unfinished(_) => Exit::Unfinished,
    }
}

fn worst_and_best(
    arrival: &Arc<Arrival>,
    fetched: Option<Fetched<'_>>,
    routing: &Document,
) -> Result<(Json, String, Exit), Refusal> {
    let now = arrival.received_at;
    let id = &arrival.file_id;
    let best = course(arrival, fetched, routing, &Script::best());
    check_bytes(&best, fetched, routing)?;
    let planned = accepted(arrival, routing).and_then(|accepted| {
        if let End::Failed(_, why) = best.end {
            return Err(why);
        }
        let at_once = Arc::new(Arrival { fetch: None, ..accepted.as_ref().clone() });
        let fetched = accepted.fetch.as_ref().and(fetched);
        let plan = plan::plan(Inputs { fetched, ..Inputs::at_acceptance(&at_once, routing) })?;
        let mut file = File::arrived(at_once, now);
        file.planned(&plan);
        Ok(match &accepted.fetch {
            None => bounds(&file, now, &BTreeSet::new()),
            Some(_) => {
                let deadline = provisional_deadline(&accepted, DEFAULT_DEADLINE_MS);
                bounds_with_fetch(&File::arrived(Arc::clone(&accepted), deadline), &file, now)
            }
        })
    });
    Ok(match planned {
        Ok(bounds) => {
            let exit = if bounds.earliest_completion.is_some() { Exit::Ok } else { Exit::Unfinished };
            let text = format!("{id}: begins at {now}\n{}", bounds.in_words(now));
            (bounds_json(arrival, &bounds), text, exit)
        }
        Err(failure) => {
            let (code, text) = (failure.code, failure.text);
            let json = json!({"file_id": id, "failure": {"code": code, "text": text}});
            (json, format!("{id}: fails validation: {code} {text}\n"), Exit::No)
        }
    })
}

fn bounds_json(arrival: &Arrival, bounds: &Bounds) -> Json {
    let most =
        |most: &crate::predict::MostRequests| json!({"by_itself": most.by_itself, "with_people": most.with_people});
    let most: serde_json::Map<String, Json> =
        bounds.most_requests.iter().map(|(target, requests)| (target.to_string(), most(requests))).collect();
    let person: Vec<Json> = bounds
        .person
        .iter()
        .map(|p| json!({"target": p.target, "because": p.because, "earliest": p.earliest}))
        .collect();
    json!({
        "file_id": arrival.file_id,
        "began": arrival.received_at,
        "earliest_completion": bounds.earliest_completion,
        "latest": bounds.latest,
        "most_requests": most,
        "person": person,
    })
}

fn as_json(course: &Course) -> Json {
    let nobody: &[crate::record::TargetName] = &[];
    let (word, at, failure, waits) = match &course.end {
        End::Completed(at) => ("COMPLETED", at, None, nobody),
        End::Failed(at, reason) => ("FAILED", at, Some(json!({"code": reason.code, "text": reason.text})), nobody),
        End::Person(at, waits) => ("person", at, None, waits.as_slice()),
        End::Unfinished(at) => ("unfinished", at, None, nobody),
    };
    let attempts: Vec<Json> =
        course.attempts.iter().map(|a| serde_json::to_value(a.as_ref()).unwrap_or_default()).collect();
    json!({
        "file_id": course.file.id(),
        "began": course.began,
        "steps": course.steps.iter().map(step_json).collect::<Vec<_>>(),
        "attempts": attempts,
        "requests": course.requests,
        "paused": course.paused,
        "end": {"what": word, "at": at, "failure": failure, "waits_for_a_person": waits},
        "file": serde_json::to_value(course.file.to_state()).unwrap_or_default(),
    })
}

fn step_json(step: &Step) -> Json {
    let what = match &step.what {
        Happening::Planned => json!({"what": "planned"}),
        Happening::Attempt(number) => json!({"what": "attempt", "attempt": number}),
        Happening::Report { kind, code, attempt, judgement } => {
            json!({"what": "report", "kind": kind, "code": code, "attempt": attempt, "judgement": judgement})
        }
        Happening::Timer(what) => json!({"what": what}),
    };
    let changes: Vec<Json> = step
        .changes
        .iter()
        .map(|(target, status, because)| json!({"target": target, "status": status, "held_because": because}))
        .collect();
    json!({"at": step.at, "target": step.target, "happening": what, "changes": changes, "state": step.state})
}
