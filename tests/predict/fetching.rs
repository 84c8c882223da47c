//! What is foretold of a file whose bytes are fetched is what the engine does, attempt by attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use consign::plan::Fetched;
use consign::predict::{Course, End, Script, bounds_with_fetch, course};
use consign::record::{
    Arrival, DispatchAttempt, FILE_TARGET, FileManifest, NextEventKind, PlannedDispatch, State, Timestamp, Topic, Wire,
};
use consign::routing::{Document, Sources, load, sha256_digest};
use consign::sim::{Answer, World, WorldOptions, manifest};

/// What the simulated place holds.
const CONTENT: &[u8] = br#"[{"n": 1}]"#;

const DOCUMENT: &str = "
file_types: {rows: {deadline: 3m, content: {format: json, attempts: 4, schedule: [1s, 20s], within: 9s}}}
payloads: {p: {body: {first: '=content[0].n'}}}
target_defaults: {timeouts: {send_within: 4s, request: 6s, max_clock_skew: 1s}}
targets: {a: {owner: o, http: {url: 'http://a.invalid'}, confirmed_by: {response: status == 200}, on_unknown: retry}}
routes: [{to: a, payload: p}]
";

fn document() -> Document {
    let sources = Sources { name: "routing.yaml".into(), document: DOCUMENT.into(), files: BTreeMap::new() };
    load(&sources).unwrap().document
}

struct Done {
    arrival: Arc<Arrival>,
    attempts: Vec<DispatchAttempt>,
    plan: Vec<PlannedDispatch>,
    state: consign::record::FileState,
}

fn records<T: Wire>(world: &World, topic: Topic) -> Vec<T> {
    let records = world.cluster.dump(topic).into_iter().filter_map(|record| record.value);
    records.map(|value| world.codec.decode(&value).unwrap()).collect()
}

/// What the engine does when the attempts at the bytes meet these, one after the other, and the target takes what it gets.
fn done(answers: &[Option<Answer>]) -> Done {
    let mut world = World::new(WorldOptions { retention_ms: 400 * 86_400_000, ..WorldOptions::new(DOCUMENT) });
    world.start("w");
    world.run();
    world.submit(&FileManifest {
        location: Some("https://files.invalid/a".into()),
        checksum: Some(sha256_digest(CONTENT)),
        ..manifest("f6", "rows")
    });
    world.run();
    for answer in answers {
        if let Some(answer) = answer {
            assert!(world.answer(&format!("f6/{FILE_TARGET}"), *answer));
            world.run();
        } else if let Some((number, _)) = world.on_the_wire().first() {
            // It leaves, and nobody ever says what became of it.
            assert!(world.leave(*number));
        }
        // On to the next attempt, by way of the deadline of one that nobody reports on.
        while let Some(next) = world.state("f6").next_event.filter(|_| world.state("f6").state == State::Received) {
            world.advance(next.at.millis_since(world.now()));
            world.run();
            if next.what == NextEventKind::Attempt {
                break;
            }
        }
    }
    if world.state("f6").state == State::Distributing {
        assert!(world.answer("f6/a", Answer::Succeeded));
        world.run();
    }
    let mut attempts: Vec<DispatchAttempt> = records(&world, Topic::Attempts);
    attempts.sort_by_key(|attempt| attempt.version);
    let arrival = Arc::new(records::<Arrival>(&world, Topic::Arrivals).remove(0));
    Done { arrival, attempts, plan: records(&world, Topic::Plans), state: world.state("f6") }
}

fn foretold(arrival: &Arc<Arrival>, bytes: &[u8], script: &str) -> Course {
    let digest = sha256_digest(bytes);
    let fetched = Fetched { digest: &digest, bytes: Some(bytes) };
    course(arrival, Some(fetched), &document(), &Script::parse(script).unwrap())
}

/// Attempts by target and number, with all their times.
fn times<'a>(attempts: impl Iterator<Item = &'a DispatchAttempt>) -> Vec<(String, i32, [Timestamp; 3])> {
    let of = |a: &DispatchAttempt| (a.target.to_string(), a.attempt, [a.authorized_at, a.send_before, a.deadline]);
    attempts.map(of).collect()
}

#[test]
fn the_attempts_at_the_bytes_and_what_follows_are_foretold() {
    let cases: [(&str, &[Option<Answer>]); 6] = [
        ("~file: ok", &[Some(Answer::Succeeded)]),
        ("~file: 503, reset, ok", &[Some(Answer::Retryable(None)), Some(Answer::Reset), Some(Answer::Succeeded)]),
        (
            "~file: unreachable x4",
            &[
                Some(Answer::Retryable(None)),
                Some(Answer::Retryable(None)),
                Some(Answer::Retryable(None)),
                Some(Answer::Retryable(None)),
            ],
        ),
        ("~file: 404", &[Some(Answer::Gone)]),
        ("~file: silence, ok", &[None, Some(Answer::Succeeded)]),
        // The fourth attempt would be open when the file is overdue.
        ("~file: silence x4", &[None, None, None, None]),
    ];
    let mut ends = Vec::new();
    for (script, answers) in cases {
        let done = done(answers);
        // As it was announced, before anybody accepted it.
        let announced = Arc::new(Arrival { fetch: None, ..done.arrival.as_ref().clone() });
        let course = foretold(&announced, CONTENT, script);
        assert_eq!(course.file.arrival.fetch, done.arrival.fetch, "{script}: it is fetched as the engine does");
        assert_eq!(times(course.attempts.iter().map(AsRef::as_ref)), times(done.attempts.iter()), "{script}");
        let state = course.file.to_state();
        assert_eq!((state.state, state.settled_at), (done.state.state, done.state.settled_at), "{script}");
        assert_eq!((&state.content_digest, &state.plan_digest), (&done.state.content_digest, &done.state.plan_digest));
        let code = |reason: &Option<consign::record::Failure>| reason.as_ref().map(|reason| reason.code.clone());
        assert_eq!(code(&state.reason), code(&done.state.reason), "{script}");
        let requests = |plan: &PlannedDispatch| (plan.target.clone(), plan.request.clone(), plan.file_deadline);
        let planned: Vec<_> = course.plan.iter().map(requests).collect();
        assert_eq!(planned, done.plan.iter().map(requests).collect::<Vec<_>>(), "{script}: every byte");
        ends.push(format!("{} after {} attempts", state.state, course.attempts.len()));
    }
    assert_eq!(
        ends[..4],
        [
            "COMPLETED after 2 attempts",
            "COMPLETED after 4 attempts",
            "FAILED after 4 attempts",
            "FAILED after 1 attempts",
        ]
    );
    assert!(ends[4].starts_with("COMPLETED") && ends[5].starts_with("FAILED"), "{ends:?}");
}

#[test]
fn bytes_that_are_others_than_announced_fail_the_file_as_they_do_at_the_transport() {
    let arrival = done(&[]).arrival;
    let course = foretold(&arrival, b"[{\"n\": 2}]", "");
    let End::Failed(_, reason) = &course.end else { panic!("{:?}", course.end) };
    assert!(reason.code == "CG150" && reason.text.contains("digest_differs: expected sha256:"), "{reason:?}");
    assert!(course.requests.keys().all(|target| target.as_str() == FILE_TARGET), "no target has heard of it");
    let large = Arc::new(Arrival {
        manifest: FileManifest { size: Some(1 << 20), ..arrival.manifest.clone() },
        ..arrival.as_ref().clone()
    });
    let End::Failed(_, reason) = foretold(&large, CONTENT, "").end else { panic!("it is too large") };
    assert!(reason.text.contains("too_large: 1048576 bytes are announced"), "{reason:?}");
}

#[test]
fn no_course_exceeds_the_bounds_of_a_file_that_is_fetched() {
    let arrival = done(&[]).arrival;
    let best = foretold(&arrival, CONTENT, "");
    let fetching = consign::lifecycle::File::arrived(Arc::clone(&arrival), best.file.deadline);
    let at_once = Arc::new(Arrival { fetch: None, ..arrival.as_ref().clone() });
    let mut planned = consign::lifecycle::File::arrived(Arc::clone(&at_once), best.file.deadline);
    let digest = sha256_digest(CONTENT);
    let routing = document();
    let inputs = consign::plan::Inputs::at_acceptance(&at_once, &routing);
    let fetched = Some(Fetched { digest: &digest, bytes: Some(CONTENT) });
    let plan = consign::plan::plan(consign::plan::Inputs { fetched, ..inputs }).unwrap();
    planned.planned(&plan);
    let bounds = bounds_with_fetch(&fetching, &planned, arrival.received_at);
    assert_eq!(bounds.earliest_completion, Some(best.end.at()));
    for script in ["~file: 503 x3, ok; a: 500 x7", "~file: timeout x3; a: timeout x8", "~file: silence x4", "a: 422"] {
        let course = foretold(&arrival, CONTENT, script);
        assert!(course.end.at() <= bounds.latest, "{script}: {:?}, at the latest {}", course.end, bounds.latest);
        for (target, requests) in &course.requests {
            assert!(*requests <= bounds.most_requests[target].by_itself, "{script}: {target}");
        }
    }
}
