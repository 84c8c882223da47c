//! The engine in the simulated world: scenarios.

mod bad_input;
mod clocks;
mod deadlines;
mod fetching;
mod forgetting;
mod log_trouble;
mod pauses;
mod records;
mod restarts;
mod restoring;
mod stores;
mod too_long;
mod wide;

use consign::record::{Judgement, State};
use consign::sim::{Answer, SIMULATED_DOCUMENT, World, WorldOptions, manifest};

/// A world with one worker, `w`, at work.
fn world() -> World {
    world_of(WorldOptions::new(SIMULATED_DOCUMENT), &["w"])
}

fn world_of(options: WorldOptions, workers: &[&str]) -> World {
    let mut world = World::new(options);
    for worker in workers {
        world.start(worker);
    }
    world.run();
    world
}

/// A file of type `plain` goes through all of it: the partition is alive.
fn passes_through(world: &mut World, file_id: &str) {
    world.submit(&manifest(file_id, "plain"));
    world.run();
    assert!(world.answer(&format!("{file_id}/fast"), Answer::Succeeded), "{file_id}: {:?}", world.unwell());
    world.run();
    assert_eq!(world.state(file_id).state, State::Completed);
}

/// Two file ids with different home partitions, of which there are two.
fn ids_of_both_homes(world: &World) -> [String; 2] {
    let of = |home| (0..1_000).map(|n| format!("f{n}")).find(|id| world.home_of(id) == home).unwrap();
    [of(0), of(1)]
}

/// What the history says of a file: judgement and code of each event.
fn history(world: &World, file_id: &str) -> Vec<(Judgement, Option<String>)> {
    use consign::record::{FileHistory, Topic};
    world
        .cluster
        .dump(Topic::History)
        .iter()
        .filter_map(|r| world.codec.decode::<FileHistory>(r.value.as_deref()?).ok())
        .filter(|h| h.file_id.as_str() == file_id)
        .flat_map(|h| h.events)
        .map(|e| (e.judgement, e.code))
        .collect()
}

/// The checker finds nothing broken.
fn clean(world: &World) {
    let report = world.check(true);
    let broken: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

fn reasons(world: &World) -> Vec<String> {
    world.dead_letters().into_iter().map(|(reason, _)| reason).collect()
}
