//! What is in memory, and what isn't.

use crate::engine::keeping::tests::home;
use crate::lifecycle::specimen::{START, in_status, planned, validated};
use crate::record::{OutcomeKind, Reporter, Status, TargetName};
use crate::store::Shelves;
use crate::transport::Capacity;

#[test]
fn a_restored_attempt_counts_against_capacity_while_its_file_is_in_the_store_only() {
    let (capacity, target) = (Capacity::default(), TargetName::trusted("a"));
    capacity.limit(&target, 1, None);
    let mut home = home(&Shelves::default());
    let mut plan = planned("f", "a");
    plan.request.body = None;
    let file = in_status(&plan, Status::InFlight);
    let id = file.id().clone();
    home.put(file, 0, START);
    home.keep_permit(&id, target.clone(), capacity.acquire_over(&target));
    home.keep(START, true).expect("the disk is well");
    home.trim(0);
    assert!(home.kept(&id).is_none(), "it has left memory");
    assert!(!capacity.has_room(&target, START));
    home.fetch(&id, START).expect("the disk is well");
    assert!(!capacity.has_room(&target, START), "its request is on the wire, wherever it is kept");
    let mut file = home.kept(&id).expect("just fetched").file.clone();
    drop(file.hear("a", Some(1), OutcomeKind::Succeeded, Reporter::Acks));
    home.put(file, 1, START);
    assert!(capacity.has_room(&target, START));
}

#[test]
fn a_file_is_fetched_for_the_capacity_that_it_gets_and_one_past_its_deadline_keeps_nobody_from_his() {
    let mut home = home(&Shelves::default());
    let target = TargetName::trusted("a");
    let late = START.plus_millis(100_000);
    for (name, deadline) in [("f-1", START.plus_millis(50_000)), ("f-2", late), ("f-3", late), ("f-4", late)] {
        let mut plan = planned(name, "a");
        (plan.request.body, plan.file_deadline) = (None, deadline);
        home.put(validated(vec![plan]), 1, START);
    }
    home.keep(START, true).expect("the disk is well");
    home.keeping.finish().expect("the disk is well");
    home.trim(0);
    let in_memory = |home: &super::Home| -> Vec<String> {
        let waiting = home.waiting(&target).filter(|(_, id)| home.kept(id).is_some());
        waiting.map(|(_, id)| id.to_string()).collect()
    };
    assert!(in_memory(&home).is_empty());
    home.prepare(START, 10, &mut |_, waiting| waiting.min(1)).expect("the disk is well");
    assert_eq!(in_memory(&home), ["f-1"], "the others have no turn");
    let now = START.plus_millis(60_000);
    // In memory and past its deadline: it is looked at once, and then those behind it are.
    home.prepare(now, 10, &mut |_, waiting| waiting.min(1)).expect("the disk is well");
    home.prepare(now, 10, &mut |_, waiting| waiting.min(2)).expect("the disk is well");
    assert_eq!(in_memory(&home), ["f-2", "f-3"]);
}
