//! Wide files: what is due all at once stays within transactions that the log and memory bear.

use consign::record::{State, Status, Topic};
use consign::sim::{Answer, World, WorldOptions, manifest};

use crate::{clean, world_of};

const TARGETS: usize = 100;
const FILES: usize = 30;
const MAX_BATCH_BYTES: usize = 64 * 1024;

/// Every file goes to as many targets.
fn document() -> String {
    let mut document = String::from(
        r#"
file_types: {wide: {deadline: 30m}}
payloads: {whole: {body: {id: "=file.id"}}}
target_defaults:
  timeouts: {send_within: 5s, request: 5s, max_clock_skew: 1s}
  concurrency: 1000
targets:
"#,
    );
    for n in 0..TARGETS {
        document += &format!(
            "  t{n}: {{owner: team, http: {{url: \"http://targets.invalid/t{n}\"}}, \
             confirmed_by: {{response: \"status == 200\"}}, on_unknown: hold}}\n"
        );
    }
    document += "routes:\n";
    for n in 0..TARGETS {
        document += &format!("  - {{to: t{n}, payload: whole}}\n");
    }
    document
}

fn under_way() -> World {
    let mut options = WorldOptions::new(&document());
    options.retention_ms = 60_000;
    options.max_batch_bytes = MAX_BATCH_BYTES;
    let mut world = world_of(options, &["w"]);
    for n in 0..FILES {
        world.submit(&manifest(&format!("f{n}"), "wide"));
    }
    world.run();
    world
}

/// What the last record of a batch brings along may be the whole plan of a file.
const BEARABLE: usize = MAX_BATCH_BYTES + TARGETS * 1024;

#[test]
fn what_is_due_at_once_for_wide_files_is_committed_in_pieces() {
    let mut world = under_way();
    assert_eq!(world.on_the_wire().len(), FILES * TARGETS);
    assert!(world.largest_transaction() < BEARABLE, "planned: {}", world.largest_transaction());
    // One report of every file in one batch: each writes its whole file-state.
    for n in 0..FILES {
        assert!(world.answer(&format!("f{n}/t0"), Answer::Succeeded));
    }
    world.run();
    assert!(world.largest_transaction() < BEARABLE, "reported: {}", world.largest_transaction());
    // All deadlines of attempts fall due at the same moment.
    world.run_for(20_000);
    assert!(world.largest_transaction() < BEARABLE, "overdue: {}", world.largest_transaction());
    let state = world.state("f0");
    assert_eq!(state.dispatches.iter().filter(|d| d.status == Status::Held).count(), TARGETS - 1);
    for n in 0..FILES {
        world.intervene(&format!("f{n}"), None, consign::record::Action::Cancel);
    }
    world.run();
    assert_eq!(world.state("f0").state, State::Failed);
    // All are forgotten at the same moment.
    world.run_for(140_000);
    assert!(world.largest_transaction() < BEARABLE, "forgotten: {}", world.largest_transaction());
    assert!(world.states().is_empty());
    for topic in [Topic::Arrivals, Topic::Plans, Topic::Attempts, Topic::History] {
        let tombstones = world.cluster.dump(topic).iter().filter(|r| r.value.is_none()).count();
        assert!(tombstones >= FILES, "{topic:?}: {tombstones}");
    }
    clean(&world);
}
