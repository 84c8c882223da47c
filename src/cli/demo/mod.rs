//! `consign demo`: the whole product, its receivers and its examples, in half a minute.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::client::{Api, Globals};
use super::exit::Exit;
use super::output::answer::{Demo, DemoFile, DemoPerson};
use super::output::print;
use super::stage::{Bed, Stage};
use crate::record::{FileId, FileState, Status, TargetName};
use crate::view::View;

pub(in crate::cli) mod examples;
mod screen;

use examples::{Example, Expectation, Then};

/// The demo ends by itself within this time, whatever happens.
const BOUND: Duration = Duration::from_secs(25);
/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign demo
  consign demo --plain
  consign demo --kafka 127.0.0.1:9092 --registry http://127.0.0.1:8081

On a broker it runs under topics of its own, consign-demo-*, which stay there afterwards. Ends with 0 only if every file
ended as its example under config/examples/ says it must, else with 1.")]
pub struct DemoArgs {
    /// Plain lines instead of a live table; the default where the output is no terminal.
    #[arg(long)]
    pub plain: bool,
    /// Where it runs.
    #[command(flatten)]
    pub bed: Bed,
}

/// One example under way.
struct Run {
    example: Example,
    /// The file that counts: the example's, or its successor.
    file_id: FileId,
    expect: Expectation,
    then: Option<Then>,
    person: Option<DemoPerson>,
    done: bool,
}

/// Runs the demo.
pub async fn run(args: DemoArgs, globals: &Globals) -> Exit {
    let began = Instant::now();
    let stage = match Stage::set(&args.bed, globals.output, 0, None).await {
        Ok(stage) => stage,
        Err(failure) => return failure.tell(globals.output),
    };
    let json = globals.output == super::output::OutputFormat::Json;
    let live = !json && !args.plain && std::io::stdout().is_terminal();
    let mut screen = screen::Screen::new(live, json, Box::new(std::io::stdout()));
    screen.say(&format!(
        "consign demo: {}, receivers on http://{}, gateway on http://{}.\n{}\n",
        stage.place(),
        stage.receivers.addr(),
        stage.gateway(),
        compressed()
    ));
    // On a broker the topics are made first, and that isn't the product's time.
    let until = if args.bed.kafka.is_some() { Instant::now() } else { began } + BOUND;
    let files = play(&stage, &mut screen, until).await;
    let as_expected = files.iter().all(|f| f.as_expected);
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let demo = Demo { as_expected, took_ms, files };
    print(globals.output, &demo, || report(&demo, stage.place()));
    stage.strike().await;
    if as_expected { Exit::Ok } else { Exit::No }
}

/// What is shorter here than elsewhere, as the documents themselves say it.
fn compressed() -> String {
    let schedule = |sources: &crate::routing::Sources| {
        let target = TargetName::trusted("crm");
        let loaded = crate::routing::load(sources).expect("a test loads the demo's document");
        let policy = &loaded.document.target(target.as_str()).expect("the demo has a target that is busy").policy;
        let waits = policy.retry.schedule_ms.iter().map(|ms| {
            humantime::format_duration(Duration::from_millis(u64::try_from(*ms).unwrap_or_default())).to_string()
        });
        waits.collect::<Vec<_>>().join(", ")
    };
    let mut unhurried = examples::routing("http://127.0.0.1:1");
    unhurried.document = unhurried.document.replace("schedule: [200ms, 400ms, 800ms], ", "");
    format!(
        "Back-offs are compressed: {} here, {} where a document says nothing.\n",
        schedule(&examples::routing("http://127.0.0.1:1")),
        schedule(&unhurried)
    )
}

async fn play(stage: &Stage, screen: &mut screen::Screen, until: Instant) -> Vec<DemoFile> {
    let api = api_of(stage);
    let view = stage.view();
    let mut runs: Vec<Run> = examples::all()
        .into_iter()
        .map(|example| Run {
            file_id: FileId::trusted(example.file_id()),
            expect: example.expect.clone(),
            then: example.then.clone(),
            person: None,
            done: false,
            example,
        })
        .collect();
    let mut trouble = Vec::new();
    // All at once, so that the table shows them under way.
    let mut submissions = tokio::task::JoinSet::new();
    for run in &runs {
        let (api, manifest, file_id) = (api.clone(), run.example.manifest.clone(), run.file_id.clone());
        submissions.spawn(async move { submit(&api, &manifest).await.map_err(|e| format!("{file_id}: {e}")) });
    }
    let mut shown: Vec<FileId> = runs.iter().map(|r| r.file_id.clone()).collect();
    while Instant::now() < until && !runs.iter().all(|run| run.done) {
        tokio::time::sleep(FRAME).await;
        while let Some(submitted) = submissions.try_join_next() {
            trouble.extend(submitted.map_err(|e| e.to_string()).and_then(|done| done).err());
        }
        for run in runs.iter_mut().filter(|run| !run.done) {
            let Some(state) = view.file(&run.file_id) else { continue };
            if !differences(stage, &run.expect, &state).is_empty() {
                continue;
            }
            match run.then.take() {
                None => run.done = true,
                Some(then) => {
                    // What the person sees before deciding.
                    screen.draw(view, &shown);
                    let did = act_words(run, &then);
                    screen.say(&format!("» {did}\n"));
                    run.person = Some(DemoPerson { requests: requests(stage, &state), saw: Arc::clone(&state), did });
                    if let Err(e) = act(&api, &state, &then).await {
                        trouble.push(format!("{}: {e}", run.file_id));
                    }
                    if let Some(successor) = &then.successor {
                        run.file_id = FileId::trusted(successor);
                        shown.push(run.file_id.clone());
                    }
                    run.expect = then.expect;
                }
            }
        }
        screen.draw(view, &shown);
    }
    screen.draw_last(view, &shown);
    for line in trouble {
        screen.say(&format!("{line}\n"));
    }
    runs.into_iter().map(|run| end_of(stage, view, run)).collect()
}

fn api_of(stage: &Stage) -> Api {
    let globals =
        Globals { url: format!("http://{}", stage.gateway()), token: None, output: super::output::OutputFormat::Json };
    Api::new(&globals).unwrap_or_else(|_| unreachable!("a loopback address makes a URL"))
}

async fn submit(api: &Api, manifest: &Value) -> Result<(), String> {
    let answer = api.post::<Value>(&["files"], &[], manifest, Duration::ZERO).await;
    answer.map(drop).map_err(|failure| failure.message)
}

async fn act(api: &Api, state: &FileState, then: &Then) -> Result<(), String> {
    let id = state.file_id.as_str();
    let wait = Duration::from_secs(10);
    let query = [("wait", "10s".to_owned())];
    let judged = if let Some(intervene) = &then.intervene {
        let dispatch = state.dispatches.iter().find(|d| d.target.as_str() == intervene.target);
        let body = json!({
            "action": intervene.kind,
            "reason": intervene.reason,
            "seen_version": dispatch.map(|d| d.version),
        });
        let path = ["files", id, "dispatches", intervene.target.as_str(), "interventions"];
        api.post::<Value>(&path, &query, &body, wait).await
    } else if let Some(resubmit) = &then.resubmit {
        let body = json!({"action": "resubmit", "reason": resubmit.reason, "seen_version": state.version});
        api.post::<Value>(&["files", id, "interventions"], &query, &body, wait).await
    } else {
        return Err("`then` says neither intervene nor resubmit".into());
    };
    match judged {
        Ok(answer) if answer.value["judgement"] == "applied" => Ok(()),
        Ok(answer) => Err(format!("the intervention was not applied: {}", answer.value)),
        Err(failure) => Err(failure.message),
    }
}

fn act_words(run: &Run, then: &Then) -> String {
    match (&then.intervene, &then.resubmit) {
        (Some(i), _) => format!("a person intervenes: {} {} at {}: {}", i.kind, run.file_id, i.target, i.reason),
        (_, Some(r)) => format!("a person resubmits {}: {}", run.file_id, r.reason),
        _ => String::new(),
    }
}

/// What of a file is not as expected, in words.
fn differences(stage: &Stage, expect: &Expectation, state: &FileState) -> Vec<String> {
    let mut differences = Vec::new();
    if state.state != expect.state {
        differences.push(format!("it is {}, not {}", state.state, expect.state));
    }
    let reason = state.reason.as_ref().map(|r| r.code.as_str());
    if expect.reason.is_some() && reason != expect.reason.as_deref() {
        differences.push(format!("its reason is {reason:?}, not {:?}", expect.reason));
    }
    let there: BTreeMap<&str, Status> = state.dispatches.iter().map(|d| (d.target.as_str(), d.status)).collect();
    if there.keys().ne(expect.dispatches.keys().map(String::as_str).collect::<Vec<_>>().iter()) {
        differences.push(format!("its targets are {:?}", there.keys()));
    }
    for (target, expected) in &expect.dispatches {
        let status = there.get(target.as_str());
        if status != Some(&expected.status) {
            differences.push(format!("{target} is {status:?}, not {}", expected.status));
        }
        let requests = stage.requests(&state.file_id, target);
        if requests != expected.requests {
            differences.push(format!("{target} received {requests} requests, not {}", expected.requests));
        }
    }
    differences
}

fn end_of(stage: &Stage, view: &View, run: Run) -> DemoFile {
    let file = view.file(&run.file_id);
    let mut wrong = file
        .as_ref()
        .map_or_else(|| vec!["nothing is known of it".into()], |state| differences(stage, &run.expect, state));
    if run.then.is_some() {
        wrong.push("the person's turn never came".into());
    }
    let requests = file.as_deref().map(|file| requests(stage, file)).unwrap_or_default();
    DemoFile {
        file_id: run.file_id.to_string(),
        about: run.example.about,
        as_expected: wrong.is_empty(),
        differences: wrong,
        requests,
        file,
        person: run.person,
    }
}

/// Requests that the receivers of a file's targets have got of it.
fn requests(stage: &Stage, file: &FileState) -> BTreeMap<String, usize> {
    let of = |target: &TargetName| stage.requests(&file.file_id, target.as_str());
    file.dispatches.iter().map(|d| (d.target.to_string(), of(&d.target))).collect()
}

fn report(demo: &Demo, place: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for one in &demo.files {
        let _ = writeln!(text, "{}", screen::story(one));
        for difference in &one.differences {
            let _ = writeln!(text, "    NOT AS EXPECTED: {difference}");
        }
    }
    let good = demo.files.iter().filter(|f| f.as_expected).count();
    let (tenths, bound) = (demo.took_ms / 100, BOUND.as_secs());
    let _ = writeln!(text, "\n{good} of {} files ended as their examples say.", demo.files.len());
    let _ = writeln!(text, "It took {}.{} s; after {bound} s it ends in any case.\n", tenths / 10, tenths % 10);
    text + &screen::next_steps(place)
}
