//! Paused targets: who pauses them, what waits, who hears of it.

use consign::record::{Control, HeldBecause, Status, TargetName, Topic};
use consign::sim::{Answer, World, manifest};

use crate::{clean, world};

/// The engine's pauses of targets on `controls`.
fn pauses(world: &World) -> usize {
    let controls = world.cluster.dump(Topic::Controls);
    let decoded = controls.iter().filter_map(|r| world.codec.decode::<Control>(r.value.as_deref()?).ok());
    decoded.filter(|c| c.actor == "consign" && c.pause.as_ref().is_some_and(|p| p.paused)).count()
}

#[test]
fn a_refused_credential_pauses_the_target_until_a_person_resumes_it() {
    let mut world = world();
    world.submit(&manifest("f0", "guarded"));
    world.run();
    world.answer("f0/locked", Answer::Refused);
    world.run();
    assert_eq!(pauses(&world), 1);
    world.submit(&manifest("f1", "guarded"));
    world.run_for(60_000);
    assert!(world.on_the_wire().is_empty());
    assert_eq!(world.status("f1", "locked"), Status::Pending);
    assert_eq!(world.state("f0").dispatches[0].budget.refusals, 1);
    assert_eq!(world.state("f0").dispatches[0].budget.attempts, 4, "a refusal spends a budget of its own");
    world.pause("locked", false).unwrap();
    world.advance(1);
    world.run();
    assert_eq!(world.on_the_wire().len(), 2);
    // Refused again: paused again, and the budget of refusals is spent.
    world.answer("f0/locked", Answer::Refused);
    world.run();
    assert_eq!(pauses(&world), 2);
    assert_eq!(world.state("f0").dispatches[0].held_because, Some(HeldBecause::Refused));
    world.pause("locked", false).unwrap();
    world.answer("f1/locked", Answer::Succeeded);
    world.run();
    clean(&world);
}

#[test]
fn an_attempt_from_before_the_resume_causes_no_second_pause() {
    let mut world = world();
    for n in 0..3 {
        world.submit(&manifest(&format!("f{n}"), "guarded"));
    }
    world.run();
    world.answer("f0/locked", Answer::Refused);
    world.run();
    world.advance(1_000);
    world.pause("locked", false).unwrap();
    world.run();
    world.answer("f1/locked", Answer::Refused);
    world.answer("f2/locked", Answer::Refused);
    world.run();
    assert_eq!(pauses(&world), 1);
}

#[test]
fn many_refusals_in_one_batch_are_one_pause() {
    let mut world = world();
    for n in 0..5 {
        world.submit(&manifest(&format!("f{n}"), "guarded"));
    }
    world.run();
    for n in 0..5 {
        world.answer(&format!("f{n}/locked"), Answer::Refused);
    }
    // Arrives in the very batch that pauses its target.
    for n in 5..9 {
        world.submit(&manifest(&format!("f{n}"), "guarded"));
    }
    world.run();
    assert_eq!(pauses(&world), 1);
    assert!(world.on_the_wire().is_empty(), "nothing is authorized for a target that is being paused");
}

#[test]
fn what_waits_under_a_pause_escalates() {
    let mut world = world();
    world.pause("fast", true).unwrap();
    world.submit(&manifest("f0", "plain"));
    world.run_for(119_000);
    assert_eq!(world.state("f0").accountable.unwrap().party, "consign");
    world.run_for(3_000);
    let state = world.state("f0");
    assert_eq!(state.dispatches[0].status, Status::Pending);
    assert_eq!(state.dispatches[0].escalations, 1);
    assert_eq!(state.accountable.unwrap().party, "operator");
    // After two minutes, four, eight.
    world.run_for(60_000 * 13);
    assert_eq!(world.state("f0").dispatches[0].escalations, 3);
    world.pause("fast", false).unwrap();
    world.run_for(1_000);
    assert!(world.answer("f0/fast", Answer::Succeeded));
    world.run();
    clean(&world);
}

#[test]
fn a_pause_and_a_crash_leave_what_waits_where_it_is() {
    let mut world = world();
    world.pause("fast", true).unwrap();
    world.submit(&manifest("f0", "plain"));
    world.run_for(130_000);
    world.crash("w");
    world.start("w");
    world.run_for(10_000);
    assert_eq!(world.status("f0", "fast"), Status::Pending);
    assert_eq!(world.state("f0").dispatches[0].escalations, 1, "a restart escalates nothing twice");
    world.pause("fast", false).unwrap();
    world.run();
    world.answer("f0/fast", Answer::Succeeded);
    world.run();
    clean(&world);
}

#[test]
fn a_pause_decided_before_a_resume_and_written_after_it_holds_nothing_up() {
    let mut world = world();
    world.submit(&manifest("f0", "guarded"));
    world.run();
    let authorized_at = world.now();
    world.advance(1_000);
    world.pause("locked", true).unwrap();
    world.pause("locked", false).unwrap();
    // Another worker folded the refusal before it could read the resume.
    world.advance(10);
    let said = ("consign", "http_401 for f9", world.now());
    let late = Control::refused(&TargetName::trusted("locked"), "http_401".into(), authorized_at, said);
    let value = world.encode(Topic::Controls, &late);
    world.append(Topic::Controls, 0, &late.name, Some(value));
    world.submit(&manifest("f1", "guarded"));
    world.run();
    assert_eq!(world.on_the_wire().len(), 2);
}

#[test]
fn capacity_that_is_short_goes_to_every_home() {
    let mut world = world();
    let of = |world: &World, home| {
        (0..).map(|n| format!("f{n}")).filter(move |id| world.home_of(id) == home).take(20).collect()
    };
    let ids: [Vec<String>; 2] = [of(&world, 0), of(&world, 1)];
    for id in ids.iter().flatten() {
        world.submit(&manifest(id, "narrow"));
    }
    world.run();
    let mut served = [0, 0];
    for _ in 0..20 {
        let (_, key) = world.on_the_wire().remove(0);
        let id = key.split('/').next().unwrap().to_owned();
        served[usize::try_from(world.home_of(&id)).unwrap()] += 1;
        world.answer(&format!("{id}/slim"), Answer::Succeeded);
        world.run();
    }
    assert!(served.iter().all(|n| *n >= 5), "{served:?}");
}
