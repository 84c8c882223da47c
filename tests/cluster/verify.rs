//! `consign verify` on a cluster that is at work, and with differences planted on its topics.

use std::collections::BTreeMap;

use consign::record::{FileState, PlannedDispatch, State, Topic};
use serde_json::Value;

use crate::answer::check;
use crate::world::{PATIENCE, World};

impl World {
    /// Runs `consign verify`, which must end with this code, and gives what it printed.
    fn verified(&self, code: i32, journal: Option<&str>) -> Value {
        let mut arguments = vec!["verify", "--output", "json"];
        arguments.extend(journal.iter().flat_map(|file| ["--journal", file]));
        let (exit, out, err) = self.run(&arguments);
        assert_eq!(exit, Some(code), "{out}{err}");
        check("verify", &out)
    }

    fn write_journal(&self) {
        let lines = self.journal.entries().into_iter().map(|received| {
            serde_json::json!({
                "idempotency_key": received.idempotency_key,
                "attempt": received.attempt,
                "body_sha256": received.body_sha256,
                "received_at": received.received_at.0,
            })
            .to_string()
        });
        self.write("journal.jsonl", &lines.collect::<Vec<_>>().join("\n"));
    }
}

fn counted(answer: &Value, name: &str) -> u64 {
    answer["counts"][name].as_u64().unwrap_or(0)
}

/// Invariants by the topic and offset of the record that shows them.
fn named(answer: &Value) -> BTreeMap<(String, i64), Vec<String>> {
    let mut named = BTreeMap::<_, Vec<String>>::new();
    for one in answer["differences"].as_array().unwrap() {
        let place = (one["topic"].as_str().unwrap_or_default().to_owned(), one["offset"].as_i64().unwrap_or(-1));
        named.entry(place).or_default().push(one["invariant"].as_str().unwrap().to_owned());
    }
    named
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_at_work_shows_no_difference_and_a_planted_one_is_named() {
    let world = World::new("verify");
    let process = world.start("a");
    for n in 0..150 {
        world.submit(&format!("f{n}")).await;
        if n == 75 {
            // In the midst of it: nothing that is only under way is taken for a difference.
            let answer = world.verified(0, None);
            assert_eq!(answer["equal"], true);
        }
    }
    let settled = || (0..150).all(|n| world.is_completed(&format!("f{n}")));
    assert!(world.view.wait_until(PATIENCE, settled).await, "{:?}", world.view.census());
    world.write_journal();
    let answer = world.verified(0, Some("journal.jsonl"));
    assert_eq!((counted(&answer, "files"), counted(&answer, "files.COMPLETED")), (150, 150), "{answer:#}");
    assert_eq!(counted(&answer, "plans.equal"), 150);
    assert_eq!(counted(&answer, "folds.equal"), counted(&answer, "file_states"));
    assert_eq!(counted(&answer, "requests"), counted(&answer, "attempts"));
    process.stop();

    // Somebody writes where only the engine may.
    let mut state: FileState = world.newest(Topic::FileState, "f1");
    (state.state, state.version) = (State::Distributing, state.version + 1);
    let state_at = world.put(Topic::FileState, "f1", &state).await;
    let mut plan: PlannedDispatch = world.newest(Topic::Plans, "f2/quick");
    plan.request.destination.push_str("/elsewhere");
    let plan_at = world.put(Topic::Plans, "f2/quick", &plan).await;
    let answer = world.verified(1, None);
    let named = named(&answer);
    assert_eq!(answer["equal"], false);
    let of = |topic, offset| named.get(&(world.name(topic), offset)).cloned().unwrap_or_default();
    assert!(of(Topic::FileState, state_at).contains(&"I2".to_owned()), "{named:#?}");
    assert!(of(Topic::Plans, plan_at).contains(&"I4".to_owned()), "{named:#?}");
    assert!(named.values().flatten().any(|i| i == "I10"), "{named:#?}");
    for (file_id, code, verdict) in [("f1", 0, "equal"), ("f2", 1, "different")] {
        let (exit, out, err) = world.run(&["plan", "--verify", file_id, "--output", "json"]);
        assert_eq!(exit, Some(code), "{out}{err}");
        assert_eq!(check("plan", &out)["verdict"], verdict, "{out}");
    }
    let files: Vec<&str> =
        answer["differences"].as_array().unwrap().iter().filter_map(|d| d["file_id"].as_str()).collect();
    assert!(files.iter().all(|id| ["f1", "f2"].contains(id)), "{files:?}");
    world.end().await;
}
