//! Files whose bytes are fetched before they are planned.

use consign::log::memory::Fault;
use consign::record::{Action, FILE_TARGET, FileManifest, State, Status, Topic};
use consign::routing::sha256_digest;
use consign::sim::{Answer, World, manifest};

use crate::{clean, passes_through, world};

/// What the simulated place holds until somebody changes it.
const CONTENT: &[u8] = br#"[{"n": 1}]"#;

fn announced(file_id: &str, file_type: &str) -> FileManifest {
    FileManifest {
        location: Some("https://files.invalid/a".into()),
        checksum: Some(sha256_digest(CONTENT)),
        ..manifest(file_id, file_type)
    }
}

fn fetch(world: &mut World, file_id: &str, answer: Answer) {
    assert!(world.answer(&format!("{file_id}/{FILE_TARGET}"), answer), "{file_id} is being fetched");
    world.run();
}

/// The digest that the plan names.
fn content_digest(world: &mut World, file_id: &str) -> Option<String> {
    world.state(file_id).content_digest
}

#[test]
fn validated_means_that_the_bytes_are_there_as_announced() {
    let mut world = world();
    world.submit(&announced("f6", "fetched"));
    world.run();
    let state = world.state("f6");
    assert_eq!(state.state, State::Received);
    assert_eq!(world.status("f6", FILE_TARGET), Status::InFlight);
    assert!(state.next_event.is_some() && state.accountable.is_some());
    assert_eq!(world.requests("f6/fast"), 0, "no target has heard of it");
    fetch(&mut world, "f6", Answer::Succeeded);
    assert_eq!(world.state("f6").state, State::Distributing);
    assert_eq!(content_digest(&mut world, "f6"), Some(sha256_digest(CONTENT)));
    assert!(world.answer("f6/fast", Answer::Succeeded));
    world.run();
    assert_eq!(world.state("f6").state, State::Completed);
    let body = br#"{"id":"f6","rows":1}"#;
    assert_eq!(world.journal()[0].body_sha256, sha256_digest(body), "the payload reads the bytes");
    clean(&world);
    assert_eq!(world.check(true).counts.get("plans.equal"), Some(&1), "the plan is made again from what is recorded");
}

#[test]
fn what_may_pass_is_tried_again_and_what_wont_fails_the_file() {
    let mut world = world();
    for (id, answer) in [("f6", Answer::Retryable(None)), ("f7", Answer::Reset), ("f8", Answer::Gone)] {
        world.submit(&announced(id, "fetched"));
        world.run();
        fetch(&mut world, id, answer);
    }
    for id in ["f6", "f7"] {
        assert_eq!(world.status(id, FILE_TARGET), Status::BackingOff);
    }
    let failed = world.state("f8");
    assert_eq!((failed.state, failed.dispatches.len()), (State::Failed, 0));
    let reason = failed.reason.unwrap();
    assert_eq!(reason.code, "CG150");
    assert!(reason.text.contains("missing: it isn't there"), "{}", reason.text);
    world.run_for(2_000);
    for id in ["f6", "f7"] {
        fetch(&mut world, id, Answer::Succeeded);
        assert_eq!(world.state(id).state, State::Distributing);
    }
    clean(&world);
}

#[test]
fn bytes_that_contradict_the_manifest_are_never_planned_whatever_the_report_says() {
    let mut world = world();
    // The second attempt at this file finds it changed, and reports that as a success.
    world.submit(&announced("f5", "fetched"));
    world.run();
    fetch(&mut world, "f5", Answer::Unknown);
    world.run_for(2_000);
    fetch(&mut world, "f5", Answer::Succeeded);
    let state = world.state("f5");
    assert_eq!(state.state, State::Failed);
    let reason = state.reason.unwrap().text;
    assert!(reason.contains("expected") && reason.contains(&sha256_digest(CONTENT)), "{reason}");
    assert_eq!(world.requests("f5/fast"), 0);
    clean(&world);
}

#[test]
fn the_budget_and_the_deadline_end_a_fetch() {
    let mut world = world();
    world.submit(&announced("f6", "checked"));
    world.run();
    for _ in 0..3 {
        fetch(&mut world, "f6", Answer::Reset);
        world.run_for(4_000);
    }
    assert_eq!(world.state("f6").state, State::Failed);
    // Nobody ever says what became of these attempts: their deadlines do.
    world.submit(&announced("f7", "checked"));
    world.run_for(600_000);
    let state = world.state("f7");
    assert_eq!(state.state, State::Failed, "{state:?}");
    clean(&world);
}

#[test]
fn a_restart_in_the_middle_changes_nothing() {
    let mut world = world();
    for id in ["f6", "f7", "f8"] {
        world.submit(&announced(id, "fetched"));
    }
    world.run();
    fetch(&mut world, "f7", Answer::Retryable(None));
    world.crash("w");
    world.start("w");
    world.run();
    assert_eq!(world.status("f6", FILE_TARGET), Status::InFlight);
    assert_eq!(world.status("f7", FILE_TARGET), Status::BackingOff);
    world.run_for(2_000);
    fetch(&mut world, "f7", Answer::Succeeded);
    assert_eq!(world.state("f7").state, State::Distributing);
    // What the process had begun is lost with it: the deadlines of those attempts say so.
    world.run_for(60_000);
    for id in ["f6", "f8"] {
        fetch(&mut world, id, Answer::Succeeded);
        assert_eq!(world.state(id).state, State::Distributing, "{id}");
    }
    clean(&world);
}

#[test]
fn a_commit_that_fails_forgets_the_plan_and_reads_the_report_again() {
    let mut world = world();
    world.submit(&announced("f6", "fetched"));
    world.run();
    world.aimed.transaction("w", Fault::Abort { late_markers: false });
    fetch(&mut world, "f6", Answer::Succeeded);
    world.run_for(1_000);
    assert_eq!(world.state("f6").state, State::Distributing);
    clean(&world);
}

#[test]
fn a_second_report_of_a_fetch_changes_nothing() {
    let mut world = world();
    world.submit(&announced("f6", "fetched"));
    world.run();
    fetch(&mut world, "f6", Answer::Succeeded);
    let before = world.state("f6");
    let reports = world.cluster.dump(Topic::Outcomes);
    let first = reports.iter().find(|r| r.value.is_some()).unwrap();
    world.cluster.put(first.at, first.key.clone(), first.value.clone(), Vec::new()).unwrap();
    world.run();
    assert_eq!(world.state("f6"), before);
    assert!(world.dead_letters().is_empty());
    passes_through(&mut world, "g");
    clean(&world);
}

#[test]
fn a_file_that_is_fetched_can_be_cancelled_and_taken_up_again() {
    let mut world = world();
    world.submit(&announced("f6", "fetched"));
    world.run();
    world.intervene("f6", None, Action::Cancel);
    world.run();
    assert_eq!(world.state("f6").state, State::Failed);
    world.intervene("f6", None, Action::Resubmit);
    world.run();
    assert_eq!(world.status("f6~1", FILE_TARGET), Status::InFlight);
    fetch(&mut world, "f6~1", Answer::Succeeded);
    assert_eq!(world.state("f6~1").state, State::Distributing);
    clean(&world);
}

#[test]
fn a_manifest_without_a_place_fails_at_once() {
    let mut world = world();
    world.submit(&FileManifest { location: None, ..announced("f6", "fetched") });
    world.run();
    assert_eq!(world.state("f6").reason.unwrap().code, "CG150");
    clean(&world);
}

#[test]
fn a_successor_whose_bytes_cant_be_had_leaves_its_limits_to_its_own() {
    let mut world = world();
    world.submit(&announced("f6", "checked"));
    world.run();
    fetch(&mut world, "f6", Answer::Succeeded);
    assert!(world.answer("f6/fast", Answer::Succeeded) && world.answer("f6/strict", Answer::Rejected));
    world.run();
    world.intervene("f6", None, Action::Resubmit);
    world.run();
    fetch(&mut world, "f6~1", Answer::Gone);
    assert_eq!(world.state("f6~1").state, State::Failed);
    world.intervene("f6~1", None, Action::Resubmit);
    world.run();
    fetch(&mut world, "f6~2", Answer::Succeeded);
    assert_eq!((world.requests("f6~2/fast"), world.state("f6~2").dispatches.len()), (0, 1), "it has been there");
    assert_eq!(world.status("f6~2", "strict"), Status::InFlight);
    clean(&world);
}

#[test]
fn a_fetch_that_waits_for_capacity_may_be_cancelled_as_capacity_comes() {
    let mut world = world();
    let ids: Vec<String> = (0..40).map(|n| format!("f{n}6")).collect();
    for id in &ids {
        world.submit(&announced(id, "fetched"));
    }
    world.run();
    let (waiting, under_way): (Vec<&String>, Vec<&String>) =
        ids.iter().partition(|id| world.status(id, FILE_TARGET) == Status::Pending);
    assert!(!waiting.is_empty(), "so many are not fetched at once");
    for id in &waiting {
        world.intervene(id, None, Action::Cancel);
    }
    for id in &under_way {
        assert!(world.answer(&format!("{id}/{FILE_TARGET}"), Answer::Succeeded));
    }
    world.run();
    assert!(waiting.iter().all(|id| world.state(id).state == State::Failed));
    assert!(under_way.iter().all(|id| world.state(id).state == State::Distributing));
    clean(&world);
}
