//! What is in memory, and what isn't.

use crate::engine::keeping::tests::home;
use crate::lifecycle::specimen::{START, in_status, planned};
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
    let file = in_status(plan, Status::InFlight);
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
