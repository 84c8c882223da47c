//! The audit of a simulated world finds what the checker finds with everything in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Audit, AuditError, AuditOptions};
use crate::log::{Append, Headers, LogError, TopicPartition};
use crate::record::{Action, Codec, FileState, OutcomeKind, State, Topic};
use crate::sim::{Answer, SIMULATED_DOCUMENT, World, WorldOptions, manifest};
use crate::verify::Report;

fn eventful() -> World {
    let mut world = World::new(WorldOptions::new(SIMULATED_DOCUMENT));
    world.start("w");
    world.run();
    for n in 0..40 {
        for (prefix, file_type) in [("p", "plain"), ("c", "careful"), ("a", "acked"), ("n", "nowhere"), ("w", "wide")] {
            world.submit(&manifest(&format!("{prefix}{n}"), file_type));
        }
    }
    world.submit(&manifest("p0", "careful"));
    for topic in Topic::INPUTS {
        let at = TopicPartition { topic, partition: 1 };
        world.cluster.put(at, Some(b"k".to_vec()), Some(b"garbage".to_vec()), Headers::new()).expect("it exists");
    }
    let stray = world.encode(Topic::Manifests, &manifest("stray", "plain"));
    let off_home = 1 - world.home_of("stray");
    world.append(Topic::Manifests, off_home, "stray", Some(stray));
    world.run();
    for n in 0..20 {
        world.answer(&format!("p{n}/fast"), Answer::Succeeded);
        world.answer(&format!("c{n}/strict"), Answer::Rejected);
        world.answer(&format!("a{n}/ledger"), Answer::Accepted);
        world.answer(&format!("w{n}/fast"), Answer::Retryable(None));
    }
    world.run();
    world.intervene("c1", None, Action::Resubmit);
    world.acknowledge(&world.ack("a1", "ledger", OutcomeKind::Succeeded));
    world.run_for(20_000);
    world
}

fn audit(world: &World) -> Result<Report, AuditError> {
    audit_with(world, Arc::clone(&world.codec))
}

fn audit_with(world: &World, codec: Arc<Codec>) -> Result<Report, AuditError> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let known = world.verify_options(true);
    let options = AuditOptions {
        names: known.names,
        max_clock_skew_ms: known.max_clock_skew_ms,
        default_deadline_ms: known.default_deadline_ms,
        retention_ms: known.retention_ms,
        scratch: dir.path().join("scratch"),
    };
    let committed = |partitions: &[TopicPartition]| {
        let positions: BTreeMap<_, _> = world.cluster.committed_positions();
        Ok::<_, LogError>(partitions.iter().map(|tp| positions.get(tp).copied()).collect())
    };
    let mut audit = Audit { cluster: &world.cluster, committed: &committed, codec, progress: &mut |_| () };
    audit.run(&options, world.journal())
}

#[test]
fn file_by_file_it_sees_what_is_seen_at_once() {
    let world = eventful();
    let (at_once, by_file) = (world.check(true), audit(&world).unwrap());
    assert!(by_file.violations.is_empty(), "{:?}", by_file.violations);
    assert_eq!(by_file.counts, at_once.counts);
    assert!(by_file.count("files") > 200 && by_file.count("successors") > 0, "{:?}", by_file.counts);
}

#[test]
fn it_is_right_after_compaction_too() {
    let world = eventful();
    for topic in Topic::RESTORED {
        for partition in 0..2 {
            world.cluster.compact(TopicPartition { topic, partition }, true).unwrap();
        }
    }
    assert!(audit(&world).unwrap().violations.is_empty());
}

#[test]
fn it_is_right_past_retention_too() {
    let mut world = eventful();
    for _ in 0..30 {
        world.advance(600_000);
        world.run();
    }
    world.advance(7 * 3_600_000);
    world.run();
    let report = audit(&world).unwrap();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    assert!(report.count("files.forgotten") > 0, "{:?}", report.counts);
}

#[test]
fn what_is_planted_is_found_where_it_stands() {
    let mut world = eventful();
    let mut state = world.state("c2");
    assert_eq!(state.state, State::Failed);
    state = FileState { state: State::Completed, version: state.version + 1, ..state };
    let (at, offset) =
        world.append(Topic::FileState, world.home_of("c2"), "c2", Some(world.encode(Topic::FileState, &state)));
    let report = audit(&world).unwrap();
    let planted: Vec<_> = report.violations.iter().filter(|v| v.at == Some((at, offset))).collect();
    assert!(planted.iter().any(|v| v.invariant == "I2"), "{:?}", report.violations);
    assert!(planted.iter().any(|v| v.invariant == "I3"), "{:?}", report.violations);
    assert!(report.violations.iter().all(|v| v.file_id.as_ref().is_none_or(|id| id.as_str() == "c2")));
}

#[test]
fn a_dead_letter_whose_record_is_gone_is_no_difference() {
    let world = eventful();
    for topic in Topic::INPUTS {
        for partition in 0..2 {
            world.cluster.delete_before(TopicPartition { topic, partition }, i64::MAX).unwrap();
        }
    }
    let report = audit(&world).unwrap();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    assert!(report.count("dead_letters") >= 5);
}

#[test]
fn a_registry_that_is_away_is_no_difference_but_a_failure() {
    let world = eventful();
    let value = world.encode(Topic::Manifests, &manifest("late", "plain"));
    let mut unknown = value;
    unknown[1..5].copy_from_slice(&4_000_u32.to_be_bytes());
    let append = Append {
        topic: Topic::Manifests,
        partition: Some(0),
        key: b"late".to_vec(),
        value: Some(unknown),
        headers: Headers::new(),
    };
    world.cluster.append_now(append).unwrap();
    let codec = Arc::new(Codec::new(Arc::new(world.registry.clone())));
    codec.prepare().unwrap();
    world.registry.set_away(true);
    let result = audit_with(&world, codec);
    assert!(matches!(result, Err(AuditError::RegistryAway(_))), "{result:?}");
}
