//! What is written behind, seen from the engine.

use std::collections::BTreeMap;

use super::{Covers, Keeping};
use crate::engine::home::Home;
use crate::lifecycle::File;
use crate::lifecycle::specimen::{START, arrival, planned};
use crate::record::{State, Timestamp, Topic};
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
    home.remove(&crate::record::FileId::trusted("late"));
    shelves.set_health(0, Health::Well);
    home.keep(now, true).expect("the disk is well");
    home.keep(now, true).expect("the disk is well");
    home.trim(0);
    assert_eq!(expired(&mut home, now), ["early"]);
}
