//! What is settled is remembered for a while, then forgotten, once and whole.

use consign::engine::reason;
use consign::log::{Headers, TopicPartition};
use consign::record::{Action, OutcomeKind, State, Topic};
use consign::sim::{Answer, SIMULATED_DOCUMENT, World, WorldOptions, manifest};

use crate::{clean, reasons, world_of};

const RETENTION_MS: i64 = 60_000;

fn brief_memory() -> WorldOptions {
    let mut options = WorldOptions::new(SIMULATED_DOCUMENT);
    options.home_partitions = 1;
    options.retention_ms = RETENTION_MS;
    options
}

fn completes(world: &mut World, file_id: &str) {
    world.submit(&manifest(file_id, "plain"));
    world.run();
    assert!(world.answer(&format!("{file_id}/fast"), Answer::Succeeded), "{file_id}: {:?}", world.unwell());
    world.run();
    assert_eq!(world.state(file_id).state, State::Completed);
}

fn ids(world: &mut World) -> Vec<String> {
    world.states().keys().map(ToString::to_string).collect()
}

/// Somebody asks for a settled file at the very moment at which it is to be forgotten: that batch is about it, and until what
/// it changed is written none of the next ones forgets it.
#[test]
fn a_file_that_is_asked_for_as_its_memory_ends_is_forgotten_a_little_later() {
    let mut options = brief_memory();
    options.max_batch = 1;
    let mut world = world_of(options, &["w"]);
    for file_id in ["f0", "f1", "f2"] {
        completes(&mut world, file_id);
        world.advance(10);
    }
    world.run_for(5_000);
    world.submit(&manifest("f3", "nowhere"));
    world.run();
    world.advance(world.forgets_after_ms() - 5_000);
    world.submit(&manifest("f4", "nowhere"));
    while !ids(&mut world).contains(&"f4".to_owned()) {
        world.step("w");
    }
    assert_eq!(ids(&mut world), ["f1", "f2", "f3", "f4"], "a batch forgets one");
    world.intervene("f2", Some("fast"), Action::Retry);
    world.run();
    assert_eq!(ids(&mut world), ["f2", "f3", "f4"]);
    world.run_for(3_000);
    assert_eq!(ids(&mut world), ["f3", "f4"]);
    clean(&world);
}

/// Brings the input of manifests to a halt behind a record whose schema nobody can tell.
fn halt(world: &World) {
    world.registry.set_away(true);
    let at = TopicPartition { topic: Topic::Manifests, partition: 0 };
    let value = Some(vec![0, 0, 0, 0, 98, 1, 2, 3]);
    world.cluster.put(at, Some(b"x".to_vec()), value, Headers::new()).unwrap();
}

/// Times after the settlement: the file is known, is just forgotten, is forgotten for long.
const LATER_MS: [i64; 4] = [RETENTION_MS + 6_000, RETENTION_MS * 2 - 100, RETENTION_MS * 2 + 100, RETENTION_MS * 4];

/// Nothing was sent again, and nobody wonders what became of the manifest.
fn was_sent_once(world: &mut World, later_ms: i64) {
    world.run_for(1_000);
    assert_eq!(world.on_the_wire(), Vec::new(), "{later_ms}");
    assert_eq!(world.requests("f0/fast"), 1, "{later_ms}");
    let is_known = later_ms <= RETENTION_MS * 2;
    assert_eq!(reasons(world).contains(&reason::EXPIRED.to_owned()), !is_known, "{later_ms}");
    clean(world);
}

#[test]
fn what_is_announced_again_while_remembered_begins_nothing_however_late_it_is_read() {
    for later_ms in LATER_MS {
        let mut world = world_of(brief_memory(), &["w"]);
        completes(&mut world, "f0");
        world.run_for(RETENTION_MS * 95 / 100);
        halt(&world);
        world.submit(&manifest("f0", "plain"));
        world.run();
        assert_eq!(world.unwell()[0].code, "CG208", "the input waits");
        world.run_for(later_ms - RETENTION_MS * 95 / 100);
        world.registry.set_away(false);
        was_sent_once(&mut world, later_ms);
    }
}

#[test]
fn what_was_a_repeat_begins_nothing_when_it_is_read_again() {
    for later_ms in LATER_MS {
        let mut world = world_of(brief_memory(), &["w"]);
        completes(&mut world, "f0");
        world.run_for(RETENTION_MS * 95 / 100);
        world.submit(&manifest("f0", "plain"));
        world.run_for(later_ms - RETENTION_MS * 95 / 100);
        // The group's offsets are lost and repaired: everything that is still on the inboxes is read again.
        world.crash("w");
        let lows: Vec<_> = world.cluster.committed_positions().into_keys().map(|tp| (tp, 0)).collect();
        world.cluster.set_committed(&lows);
        world.start("w");
        world.run();
        assert_eq!(world.on_the_wire(), Vec::new(), "{later_ms}");
        assert_eq!(world.requests("f0/fast"), 1, "{later_ms}");
    }
}

#[test]
fn an_id_may_be_used_again_once_its_file_is_forgotten() {
    let mut world = world_of(brief_memory(), &["w"]);
    completes(&mut world, "f0");
    world.run_for(RETENTION_MS * 3 / 2);
    world.submit(&manifest("f0", "plain"));
    world.run();
    assert_eq!(world.on_the_wire(), Vec::new(), "it is still known");
    world.run_for(RETENTION_MS);
    assert_eq!(ids(&mut world), Vec::<String>::new());
    completes(&mut world, "f0");
    assert_eq!(world.requests("f0/fast"), 2);
    let report = world.check(true);
    assert_eq!((report.violations, report.counts.get("files.again")), (Vec::new(), Some(&1)));
}

/// A settled file with more records than one transaction takes tombstones.
fn talkative(options: WorldOptions) -> World {
    let mut world = world_of(options, &["w"]);
    world.submit(&manifest("f0", "careful"));
    world.run();
    assert!(world.answer("f0/strict", Answer::Succeeded));
    world.run();
    for n in 0..60 {
        world.intervene("f0", Some("strict"), Action::Retry);
        world.acknowledge(&world.ack("f0", "strict", OutcomeKind::Rejected));
        world.run();
        assert_eq!(world.state("f0").state, State::Completed, "{n}");
    }
    world.run_for(5_000);
    assert!(crate::history(&world, "f0").len() > 60);
    world
}

fn small_batches(stores_survive: bool) -> WorldOptions {
    let mut options = brief_memory();
    (options.max_batch_bytes, options.stores_survive) = (1_000, stores_survive);
    options
}

fn tombstones(world: &World) -> usize {
    Topic::RESTORED.iter().flat_map(|topic| world.cluster.dump(*topic)).filter(|r| r.value.is_none()).count()
}

/// Nothing of a file is left once tombstones are gone too.
fn is_gone(world: &mut World) {
    assert_eq!(ids(world), Vec::<String>::new());
    for topic in Topic::RESTORED {
        world.cluster.compact(TopicPartition { topic, partition: 0 }, true).unwrap();
        assert!(world.cluster.dump(topic).is_empty(), "{topic:?}: every key has its tombstone");
    }
}

#[test]
fn a_file_of_many_records_is_forgotten_in_transactions_of_a_bearable_size() {
    let mut world = talkative(small_batches(false));
    world.advance(world.forgets_after_ms());
    world.run();
    assert!(world.largest_transaction() < 8_000, "{}", world.largest_transaction());
    assert!(tombstones(&world) > 60);
    clean(&world);
    is_gone(&mut world);
}

/// The worker ends after so many of the transactions that forget a file. Another one clears the rest before it takes anything
/// in, and the id is free.
#[test]
fn a_file_that_is_half_forgotten_at_a_crash_is_forgotten_whole() {
    for stores_survive in [false, true] {
        for transactions in 1..4 {
            let what = format!("{transactions} transactions, stores survive: {stores_survive}");
            let mut world = talkative(small_batches(stores_survive));
            world.advance(world.forgets_after_ms());
            let mut before = 0;
            for _ in 0..transactions {
                while tombstones(&world) == before {
                    world.step("w");
                }
                before = tombstones(&world);
            }
            assert!(before < 60, "{what}: {before}");
            // Whoever asks now asks for a file that is none.
            world.acknowledge(&world.ack("f0", "strict", OutcomeKind::Succeeded));
            world.crash("w");
            world.submit(&manifest("f0", "careful"));
            world.start("w");
            world.run();
            assert_eq!(world.unwell(), Vec::new(), "{what}");
            if world.on_the_wire().is_empty() {
                // A store that was written between them knows the file until all of it is forgotten anew.
                assert!(stores_survive, "{what}");
                world.submit(&manifest("f0", "careful"));
                world.run();
            }
            assert!(world.answer("f0/strict", Answer::Rejected), "{what}: a file of its own");
            world.run();
            assert_eq!(world.state("f0").state, State::Failed, "{what}");
            let report = world.check(true);
            assert_eq!(report.violations, Vec::new(), "{what}");
            // It is restored as what it is, from the topics alone.
            let state = world.state("f0");
            world.crash("w");
            for topic in Topic::RESTORED {
                world.cluster.compact(TopicPartition { topic, partition: 0 }, !stores_survive).unwrap();
            }
            world.start("w");
            world.run();
            assert_eq!((world.unwell(), world.state("f0")), (Vec::new(), state), "{what}");
            world.advance(world.forgets_after_ms() + 1);
            world.run_for(10_000);
            is_gone(&mut world);
        }
    }
}

/// While a file is being forgotten, what is said about it changes nothing of what is left.
#[test]
fn what_is_said_of_a_half_forgotten_file_is_about_none() {
    let mut world = talkative(small_batches(false));
    world.advance(world.forgets_after_ms());
    while tombstones(&world) == 0 {
        world.step("w");
    }
    let letters = world.dead_letters().len();
    world.acknowledge(&world.ack("f0", "strict", OutcomeKind::Succeeded));
    world.submit(&manifest("f0", "careful"));
    world.run();
    assert_eq!(reasons(&world)[letters..], [reason::UNKNOWN_FILE]);
    assert_eq!(world.on_the_wire(), Vec::new(), "what announces it again is a repeat");
    clean(&world);
    is_gone(&mut world);
}
