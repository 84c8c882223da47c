//! The store against a model, over every medium and every way in which it can be found wrong.

use std::collections::BTreeMap;
use std::path::Path;

use super::{
    AHEAD_AT_MOST_MS, Busy, Changes, Covers, Health, Identity, MAX_AGE_MS, Opened, PartitionStore, Put, Reason,
    Shelves, Stores, Unusable, disk,
};
use crate::lifecycle::File;
use crate::lifecycle::specimen::{START, arrival, planned};
use crate::record::{Bytes, FileId, PlannedDispatch, State, TargetName, Timestamp, Topic};

fn identity() -> Identity {
    Identity {
        cluster_id: "cluster-1".into(),
        prefix: "consign.".into(),
        home_partitions: 4,
        founded_at: START,
        partition: 3,
    }
}

/// A planned file; its plan stands beside it.
fn open_file(id: &str) -> File {
    let mut file = File::arrived(arrival(id), START.plus_millis(1_000));
    file.planned(&[planned(id, "a")]);
    file
}

fn settled_file(id: &str, settled_at: Timestamp) -> File {
    let mut file = open_file(id);
    file.state = State::Failed;
    file.version += 1;
    file.settled_at = Some(settled_at);
    file
}

fn covers(number: i64) -> Covers {
    Covers { positions: BTreeMap::from([(Topic::Arrivals, number)]), until: START.plus_millis(number) }
}

fn open(stores: &Stores) -> Opened {
    stores.open(&identity(), START).expect("nobody else has it open")
}

fn why(opened: &Opened) -> Option<Reason> {
    opened.why_empty.as_ref().map(|u| u.reason)
}

fn finish(store: &mut PartitionStore) {
    store.finish().expect("the medium is well");
    assert_eq!(store.is_writing(), Ok(false));
}

/// What a store must hold after each of its writes.
#[derive(Clone, Default)]
struct Model {
    files: BTreeMap<FileId, File>,
    plans: BTreeMap<FileId, PlannedDispatch>,
}

/// Writes so many times: files arrive, change, settle and are forgotten. Gives what was there after each write.
fn fill(store: &mut PartitionStore, writes: usize, body_bytes: usize) -> Vec<Model> {
    let mut models = vec![Model::default()];
    for number in 1..=writes {
        let mut model = models.last().expect("at least one").clone();
        let new = open_file(&format!("f-{number}"));
        let mut plan = planned(new.id().as_str(), "a");
        // So that it doesn't shrink when it is packed.
        let mut seed = u32::try_from(number).expect("small");
        let body = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        });
        plan.request.body = Some(Bytes::from(body.take(body_bytes).collect::<Vec<u8>>()));
        let at = START.plus_millis(i64::try_from(number).expect("small"));
        let old = number.checked_sub(3).filter(|old| *old > 0).map(|old| settled_file(&format!("f-{old}"), at));
        let forgotten = number.checked_sub(8).filter(|old| *old > 0).map(|old| FileId::trusted(&format!("f-{old}")));
        let forgotten = forgotten.and_then(|id| Some((model.files.get(&id)?.settled_at?, id)));
        let mut changes = Changes { covers: Some(covers(i64::try_from(number).expect("small"))), ..Changes::default() };
        if let Some((settled_at, id)) = &forgotten {
            model.files.remove(id);
            changes.forgotten.push((id, Some(*settled_at)));
        }
        if let Some(old) = &old {
            model.files.insert(old.id().clone(), old.clone());
            model.plans.remove(old.id());
            changes.put.push(Put { file: old, history_seq: 2, plans: Vec::new(), has_plans: true });
        }
        model.files.insert(new.id().clone(), new.clone());
        model.plans.insert(new.id().clone(), plan.clone());
        changes.put.push(Put { file: &new, history_seq: 1, plans: vec![&plan], has_plans: true });
        store.apply(changes).expect("the medium is well");
        finish(store);
        models.push(model);
    }
    models
}

/// Reads everything; an error says that something can't be read, a difference fails the test.
fn compare(store: &PartitionStore, model: &Model) -> Result<(), super::StoreError> {
    let mut found = BTreeMap::new();
    store.open_files(&mut |kept, bytes| {
        assert!(bytes > 0);
        found.insert(kept.file.id().clone(), kept.file);
    })?;
    let open: BTreeMap<_, _> = model.files.iter().filter(|(_, f)| f.settled_at.is_none()).collect();
    assert!(found.iter().eq(open), "the open files");
    let settled = store.settled(Timestamp(i64::MIN), Timestamp(i64::MAX), usize::MAX)?;
    let mut expected: Vec<_> = model.files.values().filter_map(|f| Some((f.settled_at?, f.id().clone()))).collect();
    expected.sort();
    assert_eq!(settled, expected, "the settled files in the order of their settlement");
    assert_eq!(store.first_settled(Timestamp(0))?, expected.first().map(|(at, _)| *at));
    for (id, file) in &model.files {
        let kept = store.file(id)?.unwrap_or_else(|| panic!("{id} is there"));
        assert_eq!(&kept.file, file);
        assert_eq!(kept.history_seq, if file.settled_at.is_some() { 2 } else { 1 });
        let plan = store.plan(id, &TargetName::trusted("a"))?;
        assert_eq!(plan.as_ref(), model.plans.get(id), "the plan of {id}");
    }
    assert_eq!(store.file(&FileId::trusted("f-0"))?, None);
    Ok(())
}

fn every_medium(test: impl Fn(&Stores)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    test(&Stores::Directory(dir.path().to_owned()));
    test(&Stores::Shelves(Shelves::default()));
}

#[test]
fn what_was_written_is_there_after_every_way_to_close() {
    every_medium(|stores| {
        let Opened { mut store, why_empty } = open(stores);
        assert_eq!(why_empty.expect("it is new").reason, Reason::Empty);
        assert_eq!(store.covers(), None);
        let models = fill(&mut store, 20, 10);
        compare(&store, &models[20]).expect("it can be read");
        drop(store);
        let reopened = open(stores);
        assert_eq!(reopened.why_empty, None);
        assert_eq!(reopened.store.covers(), Some(&covers(20)));
        compare(&reopened.store, &models[20]).expect("it can be read");
    });
}

#[test]
fn in_memory_every_store_begins_empty() {
    let stores = Stores::Memory;
    let Opened { mut store, .. } = open(&stores);
    let models = fill(&mut store, 12, 10);
    compare(&store, &models[12]).expect("it can be read");
    assert!(!store.is_on_disk());
    assert_eq!(why(&open(&stores)), Some(Reason::Empty));
}

#[test]
fn a_store_that_is_open_is_not_opened_again() {
    every_medium(|stores| {
        let first = open(stores);
        assert_eq!(stores.open(&identity(), START).err(), Some(Busy));
        drop(first);
        assert!(stores.open(&identity(), START).is_ok());
    });
}

#[test]
fn the_store_of_another_log_is_wiped() {
    every_medium(|stores| {
        fill(&mut open(stores).store, 3, 10);
        let changes: [fn(&mut Identity); 4] = [
            |i| i.cluster_id = "cluster-2".into(),
            |i| i.prefix = "other.".into(),
            |i| i.home_partitions = 5,
            |i| i.founded_at = START.plus_millis(1),
        ];
        for change in changes {
            let mut other = identity();
            change(&mut other);
            let opened = stores.open(&other, START).expect("free");
            assert_eq!(why(&opened), Some(Reason::Foreign));
            drop(opened);
            assert_eq!(why(&open(stores)), Some(Reason::Empty));
            fill(&mut open(stores).store, 3, 10);
        }
    });
}

#[test]
fn a_store_older_than_tombstones_are_kept_is_wiped() {
    every_medium(|stores| {
        fill(&mut open(stores).store, 3, 10);
        let still = START.plus_millis(3 + MAX_AGE_MS);
        assert_eq!(why(&stores.open(&identity(), still).expect("free")), None);
        assert_eq!(why(&stores.open(&identity(), still.plus_millis(1)).expect("free")), Some(Reason::TooOld));
        fill(&mut open(stores).store, 3, 10);
        // By this clock it was written in the future: one of the two clocks is wrong, and its age isn't known.
        let before = START.plus_millis(3 - AHEAD_AT_MOST_MS);
        assert_eq!(why(&stores.open(&identity(), before).expect("free")), None);
        assert_eq!(why(&stores.open(&identity(), before.plus_millis(-1)).expect("free")), Some(Reason::TooOld));
        assert_eq!(why(&open(stores)), Some(Reason::Empty));
    });
}

#[test]
fn a_rebuild_that_did_not_end_is_begun_again() {
    every_medium(|stores| {
        let mut store = open(stores).store;
        let file = settled_file("f-1", START);
        let put = vec![Put { file: &file, history_seq: 2, plans: Vec::new(), has_plans: true }];
        store.apply(Changes { put, ..Changes::default() }).expect("the medium is well");
        finish(&mut store);
        drop(store);
        assert_eq!(why(&open(stores)), Some(Reason::Unfinished));
    });
}

#[test]
fn what_somebody_has_open_is_not_wiped() {
    every_medium(|stores| {
        let mut first = open(stores).store;
        let models = fill(&mut first, 3, 10);
        let unusable = || Unusable::new(Reason::Corrupt, "so it seems");
        assert_eq!(stores.begin_anew(&identity(), unusable()).err(), Some(Busy));
        compare(&first, &models[3]).expect("it is untouched");
        drop(first);
        assert_eq!(why(&stores.begin_anew(&identity(), unusable()).expect("free")), Some(Reason::Corrupt));
        assert_eq!(why(&open(stores)), Some(Reason::Empty));
    });
}

#[test]
fn a_writer_that_hangs_and_was_left_behind_keeps_the_store_busy() {
    let shelves = Shelves::default();
    let stores = Stores::Shelves(shelves.clone());
    let mut store = open(&stores).store;
    shelves.set_health(3, Health::Hangs);
    store.apply(Changes { covers: Some(covers(1)), ..Changes::default() }).expect("it is taken");
    assert_eq!(store.is_writing(), Ok(true));
    assert!(store.finish().is_err());
    store.abandon();
    assert_eq!(stores.begin_anew(&identity(), Unusable::new(Reason::Corrupt, "so it seems")).err(), Some(Busy));
    shelves.process_ended(3);
    assert_eq!(why(&open(&stores)), Some(Reason::Empty));
}

#[test]
fn a_lost_directory_is_an_empty_store() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let stores = Stores::Directory(dir.path().to_owned());
    fill(&mut open(&stores).store, 3, 10);
    std::fs::remove_dir_all(disk::path_of(dir.path(), 3)).expect("it can be removed");
    assert_eq!(why(&open(&stores)), Some(Reason::Empty));
}

#[test]
fn a_directory_that_cannot_be_used_leads_to_memory() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("a file");
    std::fs::write(&file, "no directory").expect("it can be written");
    let opened = open(&Stores::Directory(file));
    assert_eq!(why(&opened), Some(Reason::Failed));
    assert!(!opened.store.is_on_disk());
    let mut store = opened.store;
    let models = fill(&mut store, 5, 10);
    compare(&store, &models[5]).expect("it can be read");
}

#[test]
fn lost_last_writes_leave_an_earlier_store_and_a_lost_one_in_between_is_noticed() {
    let shelves = Shelves::default();
    let stores = Stores::Shelves(shelves.clone());
    let models = fill(&mut open(&stores).store, 20, 10);
    assert_eq!(shelves.take_back(3, 4), 4);
    let opened = open(&stores);
    assert_eq!(opened.why_empty, None);
    assert_eq!(opened.store.covers(), Some(&covers(16)));
    compare(&opened.store, &models[16]).expect("it can be read");
    drop(opened);
    // The mark of a write that is lost from the midst goes with it.
    shelves.forget_write(3, 9);
    assert_eq!(why(&open(&stores)), Some(Reason::Gap));
    assert_eq!(why(&open(&stores)), Some(Reason::Empty));
}

/// A number that looks drawn, the same in every run.
fn drawn(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn index(number: u64, below: usize) -> usize {
    usize::try_from(number % u64::try_from(below).expect("small")).expect("small")
}

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("it can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if std::fs::metadata(&path).is_ok_and(|m| m.len() > 0) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("it can be made");
    for entry in std::fs::read_dir(from).expect("it can be read").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("it can be copied");
        }
    }
}

/// Opens a damaged store and reads all of it: what is read must be what some write left there.
fn read_damaged(stores: &Stores, models: &[Model]) -> &'static str {
    let opened = stores.open(&identity(), START).expect("free");
    if let Some(unusable) = opened.why_empty {
        return unusable.reason.as_str();
    }
    let number = opened.store.covers().expect("it was usable").positions[&Topic::Arrivals];
    match compare(&opened.store, &models[usize::try_from(number).expect("one of ours")]) {
        Ok(()) if number < i64::try_from(models.len()).expect("small") - 1 => "earlier",
        Ok(()) => "unharmed",
        Err(error) => {
            assert_eq!(error.reason, Reason::Corrupt);
            "corrupt when read"
        }
    }
}

#[test]
fn damaged_bytes_are_noticed_or_harmless() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (whole, damaged) = (dir.path().join("whole"), dir.path().join("damaged"));
    // Enough for tables on disk beside the journal.
    let models = fill(&mut open(&Stores::Directory(whole.clone())).store, 260, 64 * 1024);
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..40 {
        let _ = std::fs::remove_dir_all(&damaged);
        copy(&whole, &damaged);
        let files = files_below(&damaged);
        let file = &files[index(drawn(seed), files.len())];
        let mut bytes = std::fs::read(file).expect("it can be read");
        match seed % 4 {
            // Its end is missing.
            3 => bytes.truncate(index(drawn(seed + 1_000), bytes.len())),
            // Some bytes in a row, or one bit.
            kind => {
                let at = index(drawn(seed + 2_000), bytes.len());
                let until = (at + if kind == 0 { 1 } else { 40 }).min(bytes.len());
                bytes[at..until].iter_mut().for_each(|b| *b ^= 0x10);
            }
        }
        std::fs::write(file, bytes).expect("it can be written");
        let outcome = read_damaged(&Stores::Directory(damaged.clone()), &models);
        *seen.entry(outcome).or_default() += 1;
    }
    let noticed: u32 = seen.iter().filter(|(outcome, _)| **outcome != "unharmed").map(|(_, n)| n).sum();
    assert!(noticed >= 10, "{seen:?}");
}

#[test]
fn a_damaged_value_is_noticed_when_it_is_read() {
    let shelves = Shelves::default();
    let stores = Stores::Shelves(shelves.clone());
    let models = fill(&mut open(&stores).store, 20, 10);
    for nth in 0..500 {
        let shelves = shelves.copied();
        assert!(shelves.corrupt(3, nth * 7));
        let outcome = read_damaged(&Stores::Shelves(shelves), &models);
        assert!(matches!(outcome, "corrupt" | "corrupt when read" | "format"), "{nth}: {outcome}");
    }
    compare(&open(&stores).store, &models[20]).expect("the original is whole");
}
