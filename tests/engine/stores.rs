//! Stores that outlive their workers: what they may be believed, and when.

use consign::engine::Observed;
use consign::log::{Append, TopicPartition};
use consign::record::{Action, FileHistory, FileManifest, OutcomeKind, PlannedDispatch, State, Topic};
use consign::sim::{Answer, SIMULATED_DOCUMENT, START, World, WorldOptions, manifest};
use consign::store::{Health, MAX_AGE_MS, Reason};

use crate::{clean, passes_through, reasons, world_of};

/// Long enough for the stores to have what was committed.
const WRITTEN_MS: i64 = 3_000;

/// How old a manifest may be; what has settled is remembered for twice as long, a minute.
const RETENTION_MS: i64 = 30_000;

/// A world with one home partition, in which disks outlive their workers.
fn lasting(change: impl FnOnce(&mut WorldOptions), workers: &[&str]) -> World {
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    options.home_partitions = 1;
    options.stores_survive = true;
    change(&mut options);
    world_of(options, workers)
}

/// Why stores were empty when they were opened, in order.
fn empty_because(world: &World) -> Vec<Reason> {
    let reason = |o: &Observed| match o {
        Observed::StoreEmpty { reason, .. } => Some(*reason),
        _ => None,
    };
    world.observed().iter().filter_map(reason).collect()
}

fn codes(world: &World) -> Vec<&'static str> {
    world.unwell().iter().map(|u| u.code).collect()
}

fn compact(world: &World, topics: &[Topic], tombstones: bool) {
    for topic in topics {
        world.cluster.compact(TopicPartition { topic: *topic, partition: 0 }, tombstones).unwrap();
    }
}

fn accepted(world: &World, file_id: &str) -> usize {
    let arrivals = world.cluster.dump(Topic::Arrivals);
    arrivals.iter().filter(|r| r.value.is_some() && r.key.as_deref() == Some(file_id.as_bytes())).count()
}

#[test]
fn a_restart_reads_what_the_store_misses_and_nothing_else() {
    let mut world = lasting(|_| (), &["w"]);
    for n in 0..5 {
        passes_through(&mut world, &format!("f{n}"));
    }
    world.run_for(WRITTEN_MS);
    world.submit(&manifest("g0", "plain"));
    world.run();
    world.kill("w");
    world.start("w");
    world.run();
    let read: Vec<u64> = world
        .observed()
        .iter()
        .filter_map(|o| if let Observed::Restored { records, .. } = o { Some(*records) } else { None })
        .collect();
    // Arrival, plan, attempt and file-state of the one that came after the last write.
    assert_eq!(read, [0, 4]);
    // Its request was on the wire.
    while !world.answer("g0/fast", Answer::Succeeded) {
        world.run_for(1_000);
    }
    world.run();
    clean(&world);
}

#[test]
fn a_store_that_slept_through_a_life_of_a_file_does_not_take_the_next_for_it() {
    let mut world = lasting(|o| o.retention_ms = RETENTION_MS, &["w"]);
    passes_through(&mut world, "f0");
    world.run_for(WRITTEN_MS);
    world.kill("w");
    world.cluster.expire("w");
    // Another worker forgets the file and accepts the next one of its id, which goes the same way to the same version.
    world.start("v");
    world.run_for(61_000);
    assert!(world.states().is_empty());
    passes_through(&mut world, "f0");
    let settled_at = world.state("f0").settled_at.unwrap();
    // Where there is a newer value, compaction drops a tombstone at once.
    compact(&world, &Topic::RESTORED, false);
    world.kill("v");
    world.cluster.expire("v");
    world.start("w");
    world.run_for(58_000);
    assert_eq!(world.state("f0").settled_at, Some(settled_at), "it is remembered as long as any");
    world.submit(&manifest("f0", "plain"));
    world.run();
    assert_eq!(world.requests("f0/fast"), 2, "one for each life");
    world.run_for(5_000);
    assert!(world.states().is_empty(), "and then it is forgotten");
    assert_eq!(empty_because(&world), [Reason::Empty, Reason::Empty], "the store of `w` was good for all else");
}

#[test]
fn tombstones_of_an_earlier_file_do_not_forget_the_one_that_has_its_id() {
    let mut world = lasting(
        |o| {
            o.retention_ms = RETENTION_MS;
            o.max_batch = 3;
        },
        &["w"],
    );
    for target in ["fast", "strict", "ledger", "lagging", "slim"] {
        world.pause(target, true).unwrap();
    }
    world.run();
    // So many plans stand before the one of `f0` that a rebuild has read the rest of it long before.
    world.submit(&manifest("g0", "wide"));
    world.submit(&manifest("f0", "plain"));
    world.run();
    world.intervene("f0", None, Action::Cancel);
    world.run_for(62_000);
    assert!(!world.states().contains_key("f0"), "it is forgotten");
    // The next file of the id has no plan at all.
    world.submit(&manifest("f0", "of a type that nobody knows"));
    world.run();
    assert_eq!(world.state("f0").state, State::Failed);
    compact(&world, &[Topic::Arrivals, Topic::History, Topic::FileState], true);
    assert_eq!(accepted(&world, "f0"), 1);
    world.kill("w");
    world.disk("w").unwrap().lose(0);
    world.start("w");
    world.run();
    world.submit(&manifest("f0", "of a type that nobody knows"));
    world.run();
    assert_eq!(accepted(&world, "f0"), 1, "its duplicate is known");
    assert_eq!(codes(&world), Vec::<&str>::new());
}

#[test]
fn the_age_of_a_store_is_judged_by_a_clock_that_was_measured() {
    for days_behind in [3, 30] {
        let mut world = lasting(|o| o.max_clock_skew_ms = Some(1_000), &["w"]);
        passes_through(&mut world, "f0");
        world.run_for(WRITTEN_MS);
        world.kill("w");
        world.advance(MAX_AGE_MS + 1_000);
        world.skew("w", -days_behind * 86_400_000);
        world.start("w");
        world.run();
        assert_eq!(codes(&world), ["CG219"]);
        world.skew("w", 0);
        world.advance(6_000);
        world.run();
        assert_eq!(codes(&world), Vec::<&str>::new());
        assert_eq!(empty_because(&world), [Reason::Empty, Reason::TooOld], "{days_behind} days");
        passes_through(&mut world, "f1");
    }
}

#[test]
fn a_worker_whose_clock_was_never_right_leaves_no_store_that_looks_young() {
    let mut world = lasting(|o| o.max_clock_skew_ms = Some(1_000), &["w"]);
    passes_through(&mut world, "f0");
    world.run_for(WRITTEN_MS);
    world.kill("w");
    world.advance(MAX_AGE_MS + 1_000);
    world.skew("w", -3 * 86_400_000);
    world.start("w");
    world.run();
    assert_eq!(codes(&world), ["CG219"]);
    // It lets go of its partition as if all were well.
    world.cluster.rebalance();
    world.run();
    world.kill("w");
    world.skew("w", 0);
    world.start("w");
    world.run();
    assert_eq!(empty_because(&world), [Reason::Empty, Reason::TooOld]);
}

#[test]
fn a_store_from_the_future_is_not_believed() {
    let mut world = lasting(|_| (), &["w"]);
    passes_through(&mut world, "f0");
    world.run_for(WRITTEN_MS);
    world.kill("w");
    world.skew("w", -86_400_000);
    world.start("w");
    world.run();
    assert_eq!(empty_because(&world), [Reason::Empty, Reason::TooOld]);
}

#[test]
fn a_store_that_fails_under_a_stalled_input_ends_nothing() {
    let mut world = lasting(|o| o.max_batch = 3, &["w"]);
    passes_through(&mut world, "f0");
    world.run_for(WRITTEN_MS);
    world.registry.register(77, Topic::Manifests.schema().unwrap());
    world.registry.set_away(true);
    let mut value = world.encode(Topic::Manifests, &manifest("f1", "plain"));
    value[1..5].copy_from_slice(&77u32.to_be_bytes());
    world.append(Topic::Manifests, 0, "f1", Some(value));
    world.run();
    assert!(codes(&world).contains(&"CG208"));
    world.disk("w").unwrap().set_health(0, Health::Fails);
    let late = world.ack("f0", "fast", OutcomeKind::Rejected);
    world.append_outcome(0, &late);
    while !world.observed().iter().any(|o| matches!(o, Observed::StoreFailed { .. })) {
        world.step("w");
    }
    // The time to try the input again comes while its partition is being restored.
    world.advance(2_000);
    world.run_for(5_000);
    world.registry.set_away(false);
    world.run_for(5_000);
    assert!(world.stops.is_empty(), "{:?}", world.stops);
    assert_eq!(empty_because(&world), [Reason::Empty, Reason::Failed]);
    assert!(world.answer("f1/fast", Answer::Succeeded));
    world.run();
    assert_eq!(world.state("f1").state, State::Completed);
    clean(&world);
}

/// Three files that have settled, `f0` the first, and a history record of `f0` behind theirs that no run of the machine
/// can have written.
fn contradicted(change: impl FnOnce(&mut WorldOptions)) -> World {
    let mut world = lasting(change, &["w"]);
    for n in 0..4 {
        passes_through(&mut world, &format!("f{n}"));
    }
    compact(&world, &[Topic::FileState], false);
    let histories = world.cluster.dump(Topic::History);
    let first: FileHistory = world.codec.decode(histories[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(first.file_id.as_str(), "f0");
    let mut wrong = FileHistory { seq: first.seq + 1, version: first.version + 1, ..first };
    wrong.events.iter_mut().for_each(|event| event.version += 1);
    let value = world.encode(Topic::History, &wrong);
    world.run_for(WRITTEN_MS);
    world.append(Topic::History, 0, "f0/2", Some(value));
    world
}

#[test]
fn records_that_contradict_each_other_are_refused_by_a_rebuild() {
    let mut world = contradicted(|o| o.max_batch = 3);
    world.kill("w");
    world.start("w");
    world.run();
    assert_eq!(codes(&world), ["CG205"]);
    assert_eq!(empty_because(&world), [Reason::Empty, Reason::ContradictsLog], "once, and then a person must look");
    assert!(world.stops.is_empty());
}

#[test]
fn an_invariant_that_breaks_while_a_rebuild_folds_refuses_its_partition() {
    let mut world = lasting(|_| (), &["w"]);
    passes_through(&mut world, "f0");
    let plan = world.cluster.dump(Topic::Plans).remove(0);
    let mut plan: PlannedDispatch = world.codec.decode(plan.value.as_deref().unwrap()).unwrap();
    // Their sum is no number.
    plan.retry.attempts = i32::MAX;
    plan.retry.operator_attempts = i32::MAX;
    let value = world.encode(Topic::Plans, &plan);
    world.append(Topic::Plans, 0, "f0/fast", Some(value));
    world.kill("w");
    world.disk("w").unwrap().lose(0);
    world.start("w");
    world.run();
    assert!(world.stops.is_empty(), "{:?}", world.stops);
    assert_eq!(codes(&world), ["CG213"]);
}

#[test]
fn a_disk_that_hangs_during_a_rebuild_is_left_within_a_minute() {
    let mut world = lasting(|_| (), &["w"]);
    passes_through(&mut world, "f0");
    world.kill("w");
    world.disk("w").unwrap().lose(0);
    world.disk("w").unwrap().set_health(0, Health::Hangs);
    world.start("w");
    world.run();
    assert_eq!(codes(&world), ["CG206"]);
    world.run_for(61_000);
    assert_eq!(codes(&world), Vec::<&str>::new());
    assert_eq!(empty_because(&world), [Reason::Empty, Reason::Empty, Reason::Failed]);
    passes_through(&mut world, "f1");
    world.submit(&manifest("f0", "plain"));
    world.run();
    assert_eq!(world.requests("f0/fast"), 1);
    clean(&world);
}

#[test]
fn a_disk_that_hangs_at_work_is_left_and_the_partition_goes_on() {
    let mut world = lasting(|_| (), &["w"]);
    passes_through(&mut world, "f0");
    world.disk("w").unwrap().set_health(0, Health::Hangs);
    for n in 1..4 {
        passes_through(&mut world, &format!("f{n}"));
        world.run_for(25_000);
    }
    world.run_for(30_000);
    assert_eq!(empty_because(&world), [Reason::Empty, Reason::Failed]);
    passes_through(&mut world, "f4");
    // As long as the process lives, the writer that it left behind has the store.
    world.cluster.rebalance();
    world.run_for(31_000);
    passes_through(&mut world, "f5");
    assert_eq!(codes(&world), Vec::<&str>::new());
    clean(&world);
}

#[test]
fn the_next_file_of_an_id_is_a_new_one_with_stores_too() {
    let mut world = lasting(|o| o.retention_ms = RETENTION_MS, &["w"]);
    passes_through(&mut world, "f0");
    world.run_for(62_000);
    assert!(world.states().is_empty());
    for topic in Topic::RESTORED {
        let newest = world.cluster.dump(topic).into_iter().next_back().unwrap();
        assert_eq!(newest.value, None, "{topic:?}");
    }
    world.run_for(WRITTEN_MS);
    world.kill("w");
    world.start("w");
    world.run();
    assert_eq!(empty_because(&world), [Reason::Empty]);
    // Announced at the time of the first, and brought again only now.
    let value = world.encode(Topic::Manifests, &manifest("f0", "plain"));
    let origin =
        [("topic", "consign.manifests"), ("partition", "0"), ("offset", "0"), ("timestamp", &START.0.to_string())]
            .map(|(what, said)| (format!("consign-origin-{what}"), said.as_bytes().to_vec()));
    let (topic, partition, key) = (Topic::Manifests, Some(0), b"f0".to_vec());
    world.cluster.append_now(Append { topic, partition, key, value: Some(value), headers: origin.into() }).unwrap();
    world.run();
    assert_eq!(reasons(&world), [consign::engine::reason::EXPIRED]);
    passes_through(&mut world, "f0");
    assert_eq!(world.requests("f0/fast"), 2);
}

#[test]
fn bodies_are_in_the_store_and_not_in_memory_after_a_rebuild_too() {
    let mut world = lasting(|o| o.max_batch = 20, &["w"]);
    world.pause("locked", true).unwrap();
    world.run();
    // A body has this five times: together they are more than is kept in memory.
    let files: Vec<String> = (0..340).map(|n| format!("f{n}")).collect();
    for id in &files {
        let data = Some(format!(r#"{{"a": "{}"}}"#, id.repeat(3_000)));
        world.submit(&FileManifest { data, ..manifest(id, "bulky") });
    }
    world.run();
    let bodies: usize = world.cluster.dump(Topic::Plans).iter().map(|r| r.value.as_ref().map_or(0, Vec::len)).sum();
    assert!(bodies > 17 * 1024 * 1024, "{bodies}");
    world.kill("w");
    world.disk("w").unwrap().lose(0);
    world.start("w");
    world.run();
    assert_eq!(empty_because(&world), [Reason::Empty, Reason::Empty]);
    world.pause("locked", false).unwrap();
    world.run();
    // As many at a time as the target takes.
    while let Some((_, key)) = world.on_the_wire().first().cloned() {
        assert!(world.answer(key.rsplit_once('/').unwrap().0, Answer::Succeeded), "{key}");
        if world.on_the_wire().is_empty() {
            world.run();
        }
    }
    assert_eq!(world.journal().len(), files.len());
    assert!(world.states().values().all(|s| s.state == State::Completed));
    clean(&world);
}

#[test]
fn a_long_gap_is_brought_up_to_date_in_pieces_and_may_be_cut_off_anywhere() {
    for steps in [3, 40, 60, 80] {
        let mut world = lasting(|o| o.max_batch = 20, &["w"]);
        passes_through(&mut world, "f0");
        world.run_for(WRITTEN_MS);
        world.kill("w");
        world.cluster.expire("w");
        world.start("v");
        world.run();
        for n in 1..80 {
            passes_through(&mut world, &format!("f{n}"));
        }
        world.kill("v");
        world.cluster.expire("v");
        world.start("w");
        (0..steps).for_each(|_| world.step("w"));
        world.kill("w");
        world.start("w");
        world.run();
        assert_eq!(empty_because(&world), [Reason::Empty, Reason::Empty], "it goes on from where it was");
        for n in 0..80 {
            world.submit(&manifest(&format!("f{n}"), "plain"));
        }
        world.run();
        assert_eq!(world.journal().len(), 80);
        clean(&world);
    }
}
