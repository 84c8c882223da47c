//! Times, bytes, outcomes and the end: what is foretold against what the engine did.

use std::collections::{BTreeMap, BTreeSet};

use consign::lifecycle::File;
use consign::predict::{Course, End, Explanation, Happening, Reply, Script, bounds, course, explain};
use consign::record::{
    HeldBecause, NextEventKind, SettledBy, State, Status, TargetName, TimerKind, Timestamp, dispatch_key,
};

use crate::answer::check;
use crate::generate::case;
use crate::stage::{FILE, Stage};

const SEEDS: u64 = 240;

/// An event as both sides tell it.
type Event = (Timestamp, String, String, String);

fn foretold(course: &Course) -> Vec<Event> {
    let mut events: Vec<Event> = course
        .steps
        .iter()
        .filter_map(|step| {
            let target = step.target.as_ref().map(ToString::to_string).unwrap_or_default();
            match &step.what {
                Happening::Planned => None,
                // What waits under a pause is looked at once a second.
                Happening::Timer(TimerKind::Escalation) if is_paused(&course.paused, &target) => None,
                Happening::Attempt(number) => Some((step.at, target, format!("attempt {number}"), String::new())),
                Happening::Report { kind, attempt, judgement, .. } => {
                    Some((step.at, target, format!("{kind} of {attempt}"), judgement.to_string()))
                }
                Happening::Timer(what) => Some((step.at, target, what.to_string(), "applied".to_owned())),
            }
        })
        .collect();
    events.sort();
    events
}

fn is_paused(paused: &BTreeSet<TargetName>, target: &str) -> bool {
    paused.iter().any(|paused| paused.as_str() == target)
}

fn done(stage: &Stage, paused: &BTreeSet<TargetName>) -> Vec<Event> {
    let attempts = stage.attempts();
    let attempts = attempts
        .iter()
        .map(|a| (a.authorized_at, a.target.to_string(), format!("attempt {}", a.attempt), String::new()));
    let history = stage.history();
    let reports = history.iter().filter_map(|event| {
        let outcome = event.outcome.as_ref()?;
        let target = event.target.as_ref().map(ToString::to_string).unwrap_or_default();
        match &outcome.timer {
            Some(timer) if timer.what == TimerKind::Escalation && is_paused(paused, &target) => None,
            Some(timer) => Some((event.at, target, timer.what.to_string(), event.judgement.to_string())),
            None => {
                let what = format!("{} of {}", outcome.kind, outcome.attempt.unwrap_or_default());
                Some((event.at, target, what, event.judgement.to_string()))
            }
        }
    });
    let mut events: Vec<Event> = attempts.chain(reports).collect();
    events.sort();
    events
}

type Standing = (TargetName, Status, Timestamp, i32, Option<HeldBecause>, Option<SettledBy>);

fn standings(file: &File) -> Vec<Standing> {
    let of = |d: &consign::lifecycle::Dispatch| {
        (d.target().clone(), d.status, d.since, d.attempts, d.held_because, d.settled_by)
    };
    file.dispatches.iter().map(of).collect()
}

/// Checks that what was said to be next is what happened at its time, where the script had nothing to say before.
fn check_next(stage: &Stage, said: &Explanation, at: Timestamp) -> bool {
    let Some(next) = &said.next else { return false };
    assert!(next.at >= at, "nothing is due before what is next: {next:?} at {at}");
    if next.at > at {
        return false;
    }
    let target = next.target.as_ref();
    let timer = |what: TimerKind| {
        stage.history().iter().any(|event| {
            let timer = event.outcome.as_ref().and_then(|outcome| outcome.timer.as_ref());
            let of_target = what == TimerKind::FileDeadline || event.target.as_ref() == target;
            timer.is_some_and(|timer| timer.what == what) && event.at == at && of_target
        })
    };
    let happened = match next.what {
        NextEventKind::Attempt => {
            stage.attempts().iter().any(|attempt| attempt.authorized_at == at && Some(&attempt.target) == target)
        }
        NextEventKind::AttemptDeadline => timer(TimerKind::AttemptDeadline),
        NextEventKind::ConfirmationDeadline => timer(TimerKind::ConfirmationDeadline),
        NextEventKind::FileDeadline => timer(TimerKind::FileDeadline),
        NextEventKind::Escalation => timer(TimerKind::Escalation),
    };
    assert!(happened, "{next:?} didn't happen");
    true
}

/// What was said of an outcome against what it led to.
fn check_outcome(before: &File, after: &File, at: Timestamp, (target, what): &(TargetName, &'static str)) -> bool {
    let said = explain(before, at, &BTreeSet::new());
    let index = before.index_of(target).unwrap();
    let Some(would) = said.dispatches[index].outcomes.iter().find(|would| would.what == *what) else { return false };
    let leads_to = would.leads_to.as_ref().unwrap();
    let dispatch = &after.dispatches[index];
    if dispatch.attempts != before.dispatches[index].attempts {
        // It went on from there within the same moment.
        return false;
    }
    assert_eq!(
        (leads_to.status, leads_to.held_because),
        (Some(dispatch.status), dispatch.held_because),
        "{target} {what}"
    );
    true
}

#[derive(Debug, Default)]
struct Counts {
    attempts: usize,
    next: usize,
    outcomes: usize,
    ends: BTreeMap<String, usize>,
    held: BTreeSet<String>,
}

fn check_seed(seed: u64, counts: &mut Counts) {
    let case = case(seed);
    let mut stage = Stage::new(&case.document, &case.data, &case.script);
    let script = Script::parse(&case.script).unwrap();
    let arrival = std::sync::Arc::new(stage.arrival());
    let course = course(&arrival, None, &stage.document, &script);
    let bounds = bounds_at_the_beginning(&course, &arrival, &stage);
    while stage.moves() {
        let before = stage.file();
        let said = explain(&before, stage.world.now(), &stage.paused());
        if seed.is_multiple_of(16) {
            check("explain", &serde_json::to_string(&said).unwrap());
        }
        let at = stage.next_time();
        let answers = stage.answers_at(at);
        stage.advance_to(at);
        if answers.is_empty() {
            counts.next += usize::from(check_next(&stage, &said, at));
        } else if let [Some(answer)] = answers.as_slice() {
            counts.outcomes += usize::from(check_outcome(&before, &stage.file(), at, answer));
        }
    }
    let file = stage.file();
    assert_eq!(foretold(&course), done(&stage, &course.paused));
    assert_eq!(standings(&course.file), standings(&file));
    assert_eq!(course.plan, stage.plan(), "every byte of every request");
    for (foretold, attempt) in course.attempts.iter().zip(stage.attempts()).filter(|(a, b)| a.target == b.target) {
        assert_eq!((foretold.send_before, foretold.deadline), (attempt.send_before, attempt.deadline));
    }
    assert_eq!(course.paused, stage.paused());
    let state = stage.world.state(FILE);
    match &course.end {
        End::Completed(at) => assert_eq!((state.state, state.settled_at), (State::Completed, Some(*at))),
        End::Failed(at, reason) => {
            assert_eq!(
                (state.state, state.settled_at, &state.reason),
                (State::Failed, Some(*at), &Some(reason.clone()))
            );
        }
        End::Person(at, _) => assert_eq!(*at, stage.world.now()),
        End::Unfinished(_) => panic!("a course of {} steps", course.steps.len()),
    }
    check_requests(&course, &stage, &script);
    check_bounds(bounds.as_ref(), &course);
    let report = stage.world.check(false);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    counts.attempts += course.attempts.len();
    let end = format!("{:?}", course.end);
    *counts.ends.entry(end.split('(').next().unwrap().to_owned()).or_default() += 1;
    counts.held.extend(file.dispatches.iter().filter_map(|d| d.held_because).map(|because| because.to_string()));
}

fn bounds_at_the_beginning(
    course: &Course,
    arrival: &std::sync::Arc<consign::record::Arrival>,
    stage: &Stage,
) -> Option<consign::predict::Bounds> {
    let mut file = File::arrived(std::sync::Arc::clone(arrival), arrival.received_at);
    let plan = stage.plan();
    if plan.is_empty() {
        return None;
    }
    file.planned(&plan);
    Some(bounds(&file, course.began, &BTreeSet::new()))
}

fn check_requests(course: &Course, stage: &Stage, script: &Script) {
    for dispatch in &course.file.dispatches {
        let target = dispatch.target();
        let unsent = (1..=dispatch.attempts)
            .filter(|n| matches!(script.step(target.as_str(), *n).reply, Reply::Unreachable | Reply::Certificate))
            .count();
        // The simulated wire lets every request leave; the transport wouldn't.
        let left = stage.world.requests(&dispatch_key(course.file.id(), target)) - unsent;
        let foretold = course.requests.get(target).copied().unwrap_or(0);
        assert_eq!(usize::try_from(foretold).unwrap(), left, "{target}");
    }
}

fn check_bounds(bounds: Option<&consign::predict::Bounds>, course: &Course) {
    let Some(bounds) = bounds else { return };
    let end = course.end.at();
    let late_report = course.steps.iter().any(|step| {
        let held = |target: &TargetName| {
            let before = course.steps.iter().filter(|s| s.at <= step.at && !std::ptr::eq(*s, step));
            let over = [Status::Held, Status::Succeeded, Status::Failed, Status::Cancelled];
            before.flat_map(|s| &s.changes).any(|(name, status, _)| name == target && over.contains(status))
        };
        matches!(step.what, Happening::Report { .. }) && step.target.as_ref().is_some_and(held)
    });
    assert!(late_report || end <= bounds.latest, "it ends at {end}, at the latest at {}", bounds.latest);
    if let End::Completed(at) = course.end {
        assert!(bounds.earliest_completion.is_some_and(|earliest| earliest <= at));
    }
    for dispatch in &course.file.dispatches {
        let most = bounds.most_requests[dispatch.target()];
        let refused = course.paused.contains(dispatch.target());
        assert!(dispatch.attempts <= most.by_itself + i32::from(refused) && dispatch.attempts <= most.with_people);
        if let Some(because) = dispatch.held_because {
            let named = bounds.person.iter().find(|p| p.target == *dispatch.target() && p.because == because);
            assert!(named.is_some_and(|person| person.earliest <= dispatch.since), "{because} is named");
        }
    }
}

#[test]
fn the_engine_does_what_is_foretold() {
    let only = std::env::var("PREDICT_SEED").ok().map(|seed| seed.parse().unwrap());
    let mut counts = Counts::default();
    for seed in only.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let case = case(seed);
        let shown = format!("seed {seed}\n{}\ndata: {}\nscript: {}", case.document, case.data, case.script);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check_seed(seed, &mut counts)));
        if let Err(panic) = result {
            eprintln!("{shown}");
            std::panic::resume_unwind(panic);
        }
    }
    if only.is_none() {
        eprintln!("{counts:?}");
        assert!(counts.attempts > 500 && counts.next > 200 && counts.outcomes > 200, "{counts:?}");
        assert!(counts.ends.len() == 3 && counts.ends.values().all(|count| *count >= 20), "{counts:?}");
        assert!(counts.held.len() >= 4, "{counts:?}");
    }
}
