//! What is written behind, seen from the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Covers, Keeping};
use crate::engine::home::Home;
use crate::lifecycle::File;
use crate::lifecycle::specimen::{START, arrival, planned};
use crate::record::{FileId, State, TargetName, Timestamp, Topic};
use crate::store::{Health, Identity, Shelves, Stores};

const RETENTION_MS: i64 = 1_000;

fn settled(id: &str, at: Timestamp) -> File {
    let mut file = File::arrived(arrival(id), START);
    file.planned(&[planned(id, "a")]);
    (file.state, file.settled_at) = (State::Failed, Some(at));
    file
}

pub(in crate::engine) fn home(shelves: &Shelves) -> Home {
    let identity = Identity {
        cluster_id: String::new(),
        prefix: "consign.".into(),
        home_partitions: 1,
        founded_at: START,
        partition: 0,
    };
    let store = Stores::Shelves(shelves.clone()).open(&identity, START).expect("free").store;
    let covers = Covers { positions: BTreeMap::from([(Topic::Arrivals, 0)]), until: START };
    Home::new(RETENTION_MS, Keeping::new(store, covers, None).expect("the disk is well"))
}

fn expired(home: &mut Home, now: Timestamp) -> Vec<String> {
    home.prepare(now, 10, &mut |_, _| 0).expect("the disk is well");
    home.expired().iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_that_settled_earlier_and_is_written_later_is_still_forgotten() {
    let shelves = Shelves::default();
    let mut home = home(&shelves);
    let [early, late] = [START.plus_millis(10), START.plus_millis(20)];
    let now = START.plus_millis(100_000);
    home.put(settled("late", late), 1, now);
    home.keep(now, true).expect("the disk is well");
    home.trim(0);
    // The write of the early one is under way while the other is forgotten.
    shelves.set_health(0, Health::Hangs);
    home.put(settled("early", early), 1, now);
    home.keep(now, true).expect("it is taken");
    assert_eq!(expired(&mut home, now), ["late"]);
    home.remove(&FileId::trusted("late"));
    shelves.set_health(0, Health::Well);
    home.keep(now, true).expect("the disk is well");
    home.keep(now, true).expect("the disk is well");
    home.trim(0);
    assert_eq!(expired(&mut home, now), ["early"]);
}

/// Takes in a file that is VALIDATED, with its plan.
fn put_open(home: &mut Home, id: &str) {
    let mut file = File::arrived(arrival(id), START);
    file.planned(&[planned(id, "a")]);
    home.put(file, 1, START);
    home.keeping.note_plan(Arc::new(planned(id, "a")));
}

fn has_plan(home: &Home, id: &str) -> bool {
    home.plan(&FileId::trusted(id), &TargetName::trusted("a")).expect("the disk is well").is_some()
}

fn write(home: &mut Home) {
    home.keep(START, true).expect("the disk is well");
}

#[test]
fn no_plan_outlives_its_open_file_whether_it_was_written_or_not() {
    let shelves = Shelves::default();
    let mut first = home(&shelves);
    write(&mut first);
    put_open(&mut first, "written");
    write(&mut first);
    put_open(&mut first, "unwritten");
    put_open(&mut first, "left");
    assert!(["written", "unwritten", "left"].iter().all(|id| has_plan(&first, id)));
    first.put(settled("written", START), 2, START);
    first.put(settled("unwritten", START), 2, START);
    // A late report makes it change once more.
    first.put(settled("unwritten", START), 3, START);
    write(&mut first);
    assert_eq!(["written", "unwritten", "left"].map(|id| has_plan(&first, id)), [false, false, true]);
    first.into_store();
    // A restore that was broken off may have written a plan that the next one notes again.
    let mut second = home(&shelves);
    put_open(&mut second, "left");
    second.put(settled("left", START), 2, START);
    write(&mut second);
    assert!(!has_plan(&second, "left"));
}
