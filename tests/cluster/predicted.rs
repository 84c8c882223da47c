//! What `simulate` and `explain` print of the shipped examples is what the engine does with them on a broker, with receivers
//! on real sockets that follow the same scripts.
//!
//! Order, bytes and end are compared as they are, and nothing may happen before its time. How late a thing happens is the
//! machine's affair too: what was late is done again under another name, and must be in time in one of some rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use consign::lifecycle::{File, Folded, Planned, fold};
use consign::predict::{Explanation, Script, course, explain};
use consign::receiver::{Behaviour, scripted};
use consign::record::{
    Arrival, DispatchAttempt, FileHistory, FileId, FileState, HistoryEvent, NextEvent, NextEventKind, PlannedDispatch,
    Reporter, State, Status, TargetName, TimerKind, Timestamp, Topic, Wire, file_id_of_key,
};
use consign::routing::{Document, Sources, load, named_files, sha256_digest};
use serde_json::{Value, json};

use crate::answer::check;
use crate::setup::{Setup, config};
use crate::world::{PATIENCE, Process, Servers, World};

/// An example, and what its targets answer; whoever isn't named answers `ok`. The first are the examples as the demo has them.
///
/// What is foretold of one file counts on capacity: no two files of a wave go to a target that asks to be left alone.
const CASES: [(&str, &str); 26] = [
    ("01-one-to-one", ""),
    ("02-one-to-one-version-1", ""),
    ("03-many-to-one-a", ""),
    ("03-many-to-one-b", ""),
    ("03-many-to-one-c", ""),
    ("04-one-to-many", "ledger: 202 then succeeded after 1s"),
    ("05-many-to-many-a", ""),
    ("05-many-to-many-b", ""),
    ("06-retry", "crm: 503 retry-after 0s x2, ok"),
    ("07-exhausted", "flaky: 503 x3"),
    ("08-rejected-and-resubmitted", "partner: 422"),
    ("09-held-and-confirmed", "legacy: 502"),
    ("10-validation-failure", ""),
    ("11-no-route", ""),
    ("12-after", "ledger: 202 then succeeded after 1s"),
    ("13-callback", "notary: 202 then accepted after 400ms then succeeded after 400ms"),
    ("01-one-to-one", "billing: 503, timeout, reset, ok"),
    ("01-one-to-one", "billing: 200 {\"result\": \"no\"}, 500 after 300ms, 502, ok"),
    ("04-one-to-many", "billing: 500, ok; archive: 503, ok; ledger: ok"),
    ("05-many-to-many-a", "billing: 422; archive: 503 after 200ms, ok"),
    ("06-retry", "crm: 503 retry-after 1s, 500, 409 {\"code\": \"already_there\"}"),
    ("07-exhausted", "flaky: 503 retry-after 2s, timeout"),
    ("09-held-and-confirmed", "legacy: 429 x2, reset"),
    ("12-after", "ledger: 503, 202 then rejected after 1s"),
    ("12-after", "ledger: 202"),
    ("13-callback", "notary: 202 then accepted after 1500ms then rejected after 1s"),
];
/// So many make the first wave.
const AS_IN_THE_DEMO: usize = 16;
/// What a successor meets.
const OF_SUCCESSORS: &str = "partner: 503, ok";
/// How long a record takes through a worker at most that has little to do: a poll without an input, and a transaction.
const COMMIT_INTERVAL_MS: i64 = 250;
const ROUNDS: usize = 10;

/// The name of a case's file in a round.
fn named(file_id: &str, case: usize, round: usize) -> String {
    format!("{file_id}.{case}.{round}")
}

fn case_of(file_id: &FileId) -> usize {
    let name = file_id.as_str().split('~').next().unwrap();
    name.rsplit('.').nth(1).unwrap().parse().unwrap()
}

/// How late something may come, in milliseconds, for each passage through the log: a machine that can't keep up with three
/// rounds has twice the time in the next three.
fn interval_ms(file_id: &FileId) -> i64 {
    let name = file_id.as_str().split('~').next().unwrap();
    let round: usize = name.rsplit('.').next().unwrap().parse().unwrap();
    COMMIT_INTERVAL_MS << (round / 3)
}

fn script_of(file_id: &FileId) -> &'static str {
    if file_id.generation() > 0 { OF_SUCCESSORS } else { CASES[case_of(file_id)].1 }
}

/// What receivers do by a script. One that confirms by acks does so by the acks topic.
fn receivers_by(script: &str, target: &str) -> Behaviour {
    scripted(&Script::parse(script).unwrap()).unwrap().remove(target).unwrap_or(Behaviour::Take)
}

fn behaviours() -> BTreeMap<TargetName, Behaviour> {
    let targets = ["archive", "billing", "crm", "flaky", "ledger", "legacy", "notary", "partner", "warehouse"];
    let of = |target: &'static str| {
        let by_file = Behaviour::by_file(move |file_id| receivers_by(script_of(file_id), target));
        (TargetName::trusted(target), by_file)
    };
    targets.into_iter().map(of).collect()
}

fn document(world: &World) -> Document {
    let document = world.routing();
    let read = |name: String| (name.clone(), std::fs::read_to_string(config().join(name)).unwrap());
    let files = named_files(&document).into_iter().map(read).collect();
    load(&Sources { name: "routing.yaml".into(), document, files }).unwrap().document
}

/// Everything that the log has of one file.
struct Recorded {
    arrival: Arrival,
    plan: Vec<PlannedDispatch>,
    attempts: Vec<DispatchAttempt>,
    events: Vec<HistoryEvent>,
}

impl Recorded {
    fn of(world: &World, wanted: &BTreeSet<String>) -> BTreeMap<String, Self> {
        let mut all = BTreeMap::new();
        for arrival in of_files::<Arrival>(world, Topic::Arrivals, wanted) {
            let id = arrival.file_id.to_string();
            all.insert(id, Self { arrival, plan: Vec::new(), attempts: Vec::new(), events: Vec::new() });
        }
        let mut of = |id: &FileId, add: &mut dyn FnMut(&mut Self)| add(all.get_mut(id.as_str()).unwrap());
        for plan in of_files::<PlannedDispatch>(world, Topic::Plans, wanted) {
            of(&plan.file_id.clone(), &mut |file| file.plan.push(plan.clone()));
        }
        for attempt in of_files::<DispatchAttempt>(world, Topic::Attempts, wanted) {
            of(&attempt.file_id.clone(), &mut |file| file.attempts.push(attempt.clone()));
        }
        for history in of_files::<FileHistory>(world, Topic::History, wanted) {
            of(&history.file_id.clone(), &mut |file| file.events.extend(history.events.clone()));
        }
        for file in all.values_mut() {
            file.plan.sort_by_key(|plan| plan.ordinal);
            file.attempts.sort_by_key(|attempt| attempt.version);
            file.events.sort_by_key(|event| event.version);
        }
        all
    }

    /// The file as it was at a version.
    fn at(&self, version: i64) -> File {
        let events: Vec<HistoryEvent> = self.events.iter().filter(|e| e.version <= version).cloned().collect();
        let history = events.last().map(|last| FileHistory {
            file_id: self.arrival.file_id.clone(),
            seq: 1,
            version: last.version,
            cause: last.cause.clone(),
            events: events.clone(),
        });
        let plan = self.plan.iter().filter(|plan| plan.version <= version);
        let attempts = self.attempts.iter().filter(|attempt| attempt.version <= version);
        let folded = Folded {
            arrival: Some(self.arrival.clone().into()),
            plan: plan.map(|plan| (plan.ordinal, Planned::of(plan).into())).collect(),
            attempts: attempts.map(|attempt| (attempt.version, attempt.clone().into())).collect(),
            history: history.map(|history| (1, history)).into_iter().collect(),
        };
        fold(&folded, 7 * 86_400_000).unwrap()
    }

    /// Everything that happened, by version.
    fn happened(&self) -> BTreeMap<i64, Event> {
        let attempts = self.attempts.iter().map(|a| {
            let what = format!("attempt {}", a.attempt);
            (a.version, Event { target: a.target.to_string(), what, at: a.authorized_at.0, from: From::Clock })
        });
        let events = self.events.iter().filter_map(|event| {
            let outcome = event.outcome.as_ref()?;
            let target = event.target.as_ref().map(ToString::to_string).unwrap_or_default();
            let judgement = event.judgement;
            let (what, from) = match &outcome.timer {
                Some(timer) => (timer.what.to_string(), From::Clock),
                None => {
                    let transport = outcome.reporter == Reporter::Transport;
                    let what = format!("{} of {}: {judgement}", outcome.kind, outcome.attempt.unwrap_or_default());
                    (what, if transport { From::Transport } else { From::Outside })
                }
            };
            Some((event.version, Event { target, what, at: event.at.0, from }))
        });
        attempts.chain(events).collect()
    }
}

fn of_files<T: Wire>(world: &World, topic: Topic, wanted: &BTreeSet<String>) -> Vec<T> {
    let is_wanted = |key: &[u8]| std::str::from_utf8(key).is_ok_and(|key| wanted.contains(file_id_of_key(key)));
    let records = world.read(topic).into_iter().filter(|record| record.key.as_deref().is_some_and(is_wanted));
    let decode = |record: consign::log::Record| world.codec.decode(&record.value.unwrap()).unwrap();
    tokio::task::block_in_place(|| records.map(decode).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Clock,
    Transport,
    Outside,
}

/// Something that happens to a target, by its words.
#[derive(Debug, Clone)]
struct Event {
    target: String,
    what: String,
    at: i64,
    from: From,
}

impl Event {
    fn is_attempt(&self) -> bool {
        self.what.starts_with("attempt ")
    }

    /// How often it goes through the log before it is judged, after what it is measured from.
    fn hops(&self) -> i64 {
        match self.from {
            From::Clock if self.is_attempt() => 1,
            From::Transport => 2,
            // Acks are re-homed, and a deadline waits for them and is read back.
            From::Clock | From::Outside => 3,
        }
    }
}

/// What was printed, as events by target.
fn printed_events(printed: &Value) -> BTreeMap<String, Vec<(String, i64)>> {
    let mut events: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    for step in printed["steps"].as_array().unwrap() {
        let happening = &step["happening"];
        let text = |name: &str| happening[name].as_str().unwrap_or_default().to_owned();
        let what = match text("what").as_str() {
            "planned" => continue,
            "attempt" => format!("attempt {}", happening["attempt"]),
            "report" => format!("{} of {}: {}", text("kind"), happening["attempt"], text("judgement")),
            timer => timer.to_owned(),
        };
        let target = step["target"].as_str().unwrap_or_default().to_owned();
        events.entry(target).or_default().push((what, step["at"].as_i64().unwrap()));
    }
    events
}

/// Why a file has to be done again.
struct Late(String);

/// Times and order of what was printed against what happened.
fn compare_times(printed: &Value, file: &Recorded) -> Result<usize, Late> {
    let foretold = printed_events(printed);
    let mut done: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in file.happened().into_values() {
        done.entry(event.target.clone()).or_default().push(event);
    }
    let words = |events: &[Event]| events.iter().map(|event| event.what.clone()).collect::<Vec<_>>();
    let began = (printed["began"].as_i64().unwrap(), file.arrival.received_at.0);
    assert_eq!(began.0, began.1);
    let targets: BTreeSet<&String> = foretold.keys().chain(done.keys()).collect();
    let mut compared = 0;
    for target in targets {
        let said = foretold.get(target).map_or(&[][..], Vec::as_slice);
        let did = done.get(target).map_or(&[][..], Vec::as_slice);
        let said_words: Vec<String> = said.iter().map(|(what, _)| what.clone()).collect();
        if said_words != words(did) {
            return Err(Late(format!("{target}: {said_words:?} was foretold, {:?} happened", words(did))));
        }
        let after = file.plan.iter().find(|plan| plan.target.as_str() == target).map(|plan| &plan.after);
        let last = |target: &TargetName| {
            let name = target.as_str();
            (foretold[name].last().unwrap().1, done[name].last().unwrap().at)
        };
        let ready = after.into_iter().flatten().map(last).max().unwrap_or(began);
        let (mut sent, mut before) = (ready, ready);
        for ((_, said_at), event) in said.iter().zip(did) {
            // A report counts from its attempt, an attempt from what came before it.
            let from = if event.is_attempt() { before } else { sent };
            let late = (event.at - from.1) - (said_at - from.0);
            assert!(late >= 0, "{target}: {} came {} ms before its time", event.what, -late);
            if late > event.hops() * interval_ms(&file.arrival.file_id) {
                return Err(Late(format!("{target}: {} came {late} ms late", event.what)));
            }
            before = (*said_at, event.at);
            sent = if event.is_attempt() { before } else { sent };
            compared += 1;
        }
    }
    Ok(compared)
}

/// Bytes, counts and end; they don't depend on how fast anything is.
fn compare_end(world: &World, routing: &Document, printed: &Value, file: &Recorded, state: &FileState) {
    let id = &file.arrival.file_id;
    let script = Script::parse(script_of(id)).unwrap();
    let planned = course(&file.arrival.clone().into(), None, routing, &script);
    assert_eq!(planned.plan, file.plan, "{id}: every byte of every request");
    let foretold: FileState = serde_json::from_value(printed["file"].clone()).unwrap();
    assert_eq!(
        (&foretold.plan_digest, &foretold.routing_digest, &foretold.arrival_digest),
        (&state.plan_digest, &state.routing_digest, &state.arrival_digest)
    );
    assert_eq!((foretold.state, &foretold.reason, foretold.deadline), (state.state, &state.reason, state.deadline));
    let standing = |file: &FileState| {
        let of = |d: &consign::record::DispatchState| {
            let kind = d.last_outcome.as_ref().map(|last| last.kind);
            (d.target.clone(), d.status, d.attempts, d.budget.clone(), d.held_because, d.settled_by, kind)
        };
        file.dispatches.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(standing(&foretold), standing(state), "{id}");
    let end = match state.state {
        State::Completed => "COMPLETED",
        State::Failed => "FAILED",
        _ => "person",
    };
    assert_eq!(printed["end"]["what"], end, "{id}");
    let mut requests: BTreeMap<String, i64> = BTreeMap::new();
    for plan in &file.plan {
        let body = sha256_digest(plan.request.body.as_ref().unwrap().as_ref());
        for received in world.journal.of_key(&plan.idempotency_key) {
            assert_eq!(format!("sha256:{}", received.body_sha256), body, "{id}: what {} received", plan.target);
            *requests.entry(plan.target.to_string()).or_default() += 1;
        }
    }
    assert_eq!(printed["requests"], json!(requests), "{id}");
}

fn is_timer(kind: NextEventKind) -> Option<TimerKind> {
    match kind {
        NextEventKind::Attempt => None,
        NextEventKind::AttemptDeadline => Some(TimerKind::AttemptDeadline),
        NextEventKind::ConfirmationDeadline => Some(TimerKind::ConfirmationDeadline),
        NextEventKind::FileDeadline => Some(TimerKind::FileDeadline),
        NextEventKind::Escalation => Some(TimerKind::Escalation),
    }
}

fn is_what_was_next(next: &NextEvent, event: &Event) -> bool {
    match is_timer(next.what) {
        None => event.is_attempt(),
        Some(timer) => event.what == timer.to_string(),
    }
}

/// What is said to be next, at each version of a file, against what came next. Gives what is said.
fn compare_next(file: &Recorded) -> (BTreeMap<i64, Explanation>, Result<usize, Late>) {
    let happened = file.happened();
    // Accepted and planned, or found to be invalid, are one commit.
    let times = std::iter::once((2, file.arrival.received_at.0)).chain(happened.iter().map(|(v, e)| (*v, e.at)));
    let (mut said, mut late, mut compared) = (BTreeMap::new(), None, 0);
    for (version, at) in times {
        let explained = explain(&file.at(version), Timestamp(at), &BTreeSet::new());
        if let Some((_, event)) = happened.range(version + 1..).next() {
            let next = explained.next.clone().expect("something is next");
            let of_target = explained.dispatches.iter().find(|d| d.target.as_str() == event.target);
            if event.from == From::Clock {
                let own = of_target.and_then(|d| d.next.clone()).expect("what the clock brings was said");
                assert!(is_what_was_next(&own, event) && own.at.0 <= event.at, "{own:?}: {event:?}");
                compared += 1;
            }
            // What waits for another target, or for capacity, is next as soon as it may be.
            let overdue = event.at - next.at.0.max(at);
            if overdue > event.hops() * interval_ms(&file.arrival.file_id) {
                late = Some(Late(format!("{next:?} was said, and {overdue} ms later came {event:?}")));
            }
        } else if matches!(explained.state, State::Completed | State::Failed) {
            assert_eq!(explained.next, None);
        } else {
            assert!(explained.next.as_ref().is_some_and(|next| next.at.0 > at), "{:?}", explained.next);
        }
        said.insert(version, explained);
    }
    (said, late.map_or(Ok(compared), Err))
}

/// Whether nothing moves by itself any more.
fn is_at_rest(state: &FileState) -> bool {
    let is_open = |status| matches!(status, Status::InFlight | Status::Awaiting | Status::BackingOff);
    let held = state.dispatches.iter().any(|d| d.status == Status::Held);
    // What is PENDING beside one that is HELD waits for it.
    state.settled_at.is_some() || (held && !state.dispatches.iter().any(|d| is_open(d.status)))
}

/// What the gateway explained while files were under way: `next`, by file and version.
type Heard = BTreeMap<(String, i64), Value>;

async fn until_at_rest(world: &World, process: &Process, ids: &BTreeSet<String>, heard: &mut Heard) {
    let begun = Instant::now();
    let client = reqwest::Client::new();
    loop {
        let open: Vec<&String> = ids
            .iter()
            .filter(|id| world.view.file(&FileId::trusted(id)).is_none_or(|state| !is_at_rest(&state)))
            .collect();
        for id in &open {
            let reply = client.get(format!("{}/v1/files/{id}/explain", process.url)).send().await.unwrap();
            if reply.status() == 200 {
                let explained: Value = reply.json().await.unwrap();
                heard.insert(((*id).clone(), explained["version"].as_i64().unwrap()), explained["next"].clone());
            }
        }
        if open.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{open:?} don't come to rest");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn submit_as(process: &Process, example: &str, id: &str) {
    let mut manifest = manifest_of(example);
    manifest["file_id"] = json!(id);
    let reply = reqwest::Client::new().post(format!("{}/v1/files", process.url)).json(&manifest).send().await.unwrap();
    assert!(reply.status().is_success(), "{id}: {}", reply.text().await.unwrap());
}

fn manifest_of(example: &str) -> Value {
    let text = std::fs::read_to_string(config().join(format!("examples/{example}.json"))).unwrap();
    let mut example: Value = serde_json::from_str(&text).unwrap();
    example["manifest"].take()
}

#[derive(Debug, Default)]
struct Counts {
    events: usize,
    next: usize,
    heard: usize,
    rounds: usize,
    ends: BTreeMap<String, usize>,
}

/// Everything that was said of these files, against what was done. Gives the cases that were late.
fn compare(
    world: &World,
    process: &Process,
    ids: &BTreeSet<String>,
    heard: &Heard,
    counts: &mut Counts,
) -> BTreeMap<String, String> {
    let routing = document(world);
    let mut late = BTreeMap::new();
    for (id, file) in Recorded::of(world, ids) {
        let state = world.view.file(&FileId::trusted(&id)).unwrap();
        world.write("arrival.json", &serde_json::to_string(&file.arrival).unwrap());
        let script = script_of(&file.arrival.file_id);
        let (code, printed, err) = world.run(&["simulate", "arrival.json", "--script", script, "--output", "json"]);
        let printed = check("simulate", if printed.is_empty() { &err } else { &printed });
        let end = printed["end"]["what"].as_str().unwrap().to_owned();
        let expected = BTreeMap::from([("COMPLETED", 0), ("FAILED", 1), ("person", 5)])[end.as_str()];
        assert_eq!(code, Some(expected), "{id}: {end}");
        compare_end(world, &routing, &printed, &file, &state);
        let (said, next) = compare_next(&file);
        let (code, last) = process.client(&["explain", &id, "--output", "json"]);
        assert_eq!(code, Some(0), "{id}: {last}");
        let last = check("explain", &last);
        let heard = heard.iter().filter(|((of, _), _)| *of == id).map(|((_, version), next)| (*version, next));
        for (version, next) in heard.chain([(last["version"].as_i64().unwrap(), &last["next"])]) {
            let folded = said.get(&version).map(|said| serde_json::to_value(&said.next).unwrap());
            assert_eq!(folded.as_ref(), Some(next), "{id}: what was printed at version {version}");
            counts.heard += 1;
        }
        match (compare_times(&printed, &file), next) {
            (Ok(events), Ok(next)) => {
                counts.events += events;
                counts.next += next;
                *counts.ends.entry(end).or_default() += 1;
            }
            (Err(Late(why)), _) | (_, Err(Late(why))) => drop(late.insert(id, why)),
        }
    }
    late
}

/// Asks for the successors of the examples that were rejected; gives their names.
async fn resubmit(world: &World, process: &Process, ids: &BTreeSet<String>) -> BTreeSet<String> {
    let mut successors = BTreeSet::new();
    for id in ids.iter().filter(|id| id.starts_with("claim-")) {
        let (code, said) = process.client(&["resubmit", id, "--reason", "the partner has opened the account"]);
        assert_eq!(code, Some(0), "{id}: {said}");
        successors.insert(format!("{id}~1"));
    }
    let known = || successors.iter().all(|id| world.view.file(&FileId::trusted(id)).is_some());
    assert!(world.view.wait_until(PATIENCE, known).await);
    successors
}

/// The first transaction of a worker, and the first request to a target, take longer than the others.
async fn warm_up(world: &World, process: &Process, round: usize) {
    let mut ids = BTreeSet::new();
    for n in 0..24 {
        let id = named(&format!("warm-{n}"), 0, round);
        let example = if n % 2 == 0 { "01-one-to-one" } else { "03-many-to-one-a" };
        submit_as(process, example, &id).await;
        ids.insert(id);
    }
    until_at_rest(world, process, &ids, &mut Heard::new()).await;
}

/// Lets files arrive and come to rest, and compares. Gives the cases that were late.
async fn wave(
    world: &World,
    process: &Process,
    cases: impl Iterator<Item = &usize>,
    counts: &mut Counts,
) -> BTreeMap<String, String> {
    let (mut heard, mut ids) = (Heard::new(), BTreeSet::new());
    for case in cases {
        let example = CASES[*case].0;
        let id = named(manifest_of(example)["file_id"].as_str().unwrap(), *case, counts.rounds);
        submit_as(process, example, &id).await;
        ids.insert(id);
    }
    until_at_rest(world, process, &ids, &mut heard).await;
    let mut late = compare(world, process, &ids, &heard, counts);
    let successors = resubmit(world, process, &ids).await;
    until_at_rest(world, process, &successors, &mut heard).await;
    late.extend(compare(world, process, &successors, &heard, counts));
    late
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_go_as_is_foretold() {
    let world = World::of(Setup { shipped: Some(behaviours()), ..Setup::new("predicted", Servers::of_environment()) });
    let mut counts = Counts::default();
    let mut cases: BTreeSet<usize> = (0..CASES.len()).collect();
    let mut late = BTreeMap::new();
    while !cases.is_empty() {
        assert!(counts.rounds < ROUNDS, "{} rounds, and still late: {late:#?}", counts.rounds);
        // A process of its own knows nothing of a target that failed before.
        let process = world.start_quiet(&format!("round-{}", counts.rounds));
        process.until_ready_says(200, "true").await;
        warm_up(&world, &process, counts.rounds).await;
        late = wave(&world, &process, cases.range(..AS_IN_THE_DEMO), &mut counts).await;
        late.extend(wave(&world, &process, cases.range(AS_IN_THE_DEMO..), &mut counts).await);
        assert_eq!(process.stop().code(), Some(0));
        println!("late in round {}: {late:#?}", counts.rounds);
        cases = late.keys().map(|id| case_of(&FileId::trusted(id))).collect();
        counts.rounds += 1;
    }
    println!("{counts:?}");
    world.verify_clean();
    world.end().await;
}
