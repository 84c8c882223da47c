//! The newest state of every file, and the order in which people look at them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;
use std::sync::Arc;

use crate::metrics::{Census, is_terminal};
use crate::record::{DispatchState, FileId, FileState, State, Status, TargetName, Timestamp};

/// Files looked at for one page. A page may therefore hold fewer files than asked for and still have a next one.
const MAX_LOOKED_AT: usize = 50_000;

/// Which files a list shows. The conditions on dispatches (`held`, `owner`, `target`) must hold for one and the same
/// dispatch; `owner` also finds a file that this party is accountable for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only files with a HELD dispatch.
    pub held: bool,
    /// Only open files whose deadline has passed.
    pub overdue: bool,
    /// Only files with a dispatch of this owner.
    pub owner: Option<String>,
    /// Only files with a dispatch at this target.
    pub target: Option<TargetName>,
    /// Only files in this state.
    pub state: Option<State>,
    /// The page begins after this place.
    pub after: Option<Cursor>,
    /// Files on a page.
    pub limit: usize,
}

impl Filter {
    /// Whether a file belongs on the list.
    pub fn matches(&self, file: &FileState) -> bool {
        let state = self.state.is_none_or(|state| file.state == state);
        let overdue = !self.overdue || (file.overdue && !is_terminal(file.state));
        state && overdue && self.matches_dispatches(file)
    }

    fn matches_dispatches(&self, file: &FileState) -> bool {
        if !self.held && self.owner.is_none() && self.target.is_none() {
            return true;
        }
        let of_dispatch = |d: &DispatchState| {
            (!self.held || d.status == Status::Held)
                && self.owner.as_ref().is_none_or(|owner| *owner == d.owner)
                && self.target.as_ref().is_none_or(|target| *target == d.target)
        };
        let accountable = !self.held
            && self.target.is_none()
            && file.accountable.as_ref().is_some_and(|a| Some(&a.party) == self.owner.as_ref());
        accountable || file.dispatches.iter().any(of_dispatch)
    }

    /// Whether only open files can match, so that settled ones need not be looked at.
    fn only_open(&self) -> bool {
        self.overdue || self.held || self.state.is_some_and(|state| !is_terminal(state))
    }
}

/// A place in the list: the last file of a page. Its text is opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    received_at: Timestamp,
    file_id: FileId,
}

impl Cursor {
    fn of(file: &FileState) -> Self {
        Self { received_at: file.received_at, file_id: file.file_id.clone() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.received_at.0, self.file_id)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('_')
            .and_then(|(millis, file_id)| {
                Some(Self { received_at: Timestamp(millis.parse().ok()?), file_id: FileId::trusted(file_id) })
            })
            .ok_or_else(|| "the cursor is none that a list gave".to_owned())
    }
}

/// A part of the list, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The files.
    pub files: Vec<Arc<FileState>>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// Every file that file-state holds.
#[derive(Debug, Default)]
pub struct Index {
    files: BTreeMap<FileId, Arc<FileState>>,
    by_age: BTreeSet<Cursor>,
    open_by_age: BTreeSet<Cursor>,
    census: Census,
}

impl Index {
    /// Takes in the newest state of a file, or its tombstone.
    pub fn apply(&mut self, file_id: &FileId, file: Option<FileState>) {
        if let Some(old) = self.files.remove(file_id) {
            let place = Cursor::of(&old);
            self.census.remove(&old);
            self.open_by_age.remove(&place);
            self.by_age.remove(&place);
        }
        if let Some(file) = file {
            let place = Cursor::of(&file);
            self.census.add(&file);
            if !is_terminal(file.state) {
                self.open_by_age.insert(place.clone());
            }
            self.by_age.insert(place);
            self.files.insert(file_id.clone(), Arc::new(file));
        }
    }

    /// The newest state of a file.
    pub fn file(&self, file_id: &FileId) -> Option<Arc<FileState>> {
        self.files.get(file_id).cloned()
    }

    /// How many files and dispatches stand where.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// The files that match, oldest first (by `received_at`, then `file_id`).
    pub fn list(&self, filter: &Filter) -> Page {
        let order = if filter.only_open() { &self.open_by_age } else { &self.by_age };
        let from = filter.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page::default();
        for (looked_at, place) in order.range::<Cursor, _>((from, Bound::Unbounded)).enumerate() {
            if page.files.len() == filter.limit || looked_at == MAX_LOOKED_AT {
                // The place before this one was the last that was looked at.
                page.next = order.range::<Cursor, _>(..place).next_back().cloned();
                break;
            }
            let file = &self.files[&place.file_id];
            if filter.matches(file) {
                page.files.push(Arc::clone(file));
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testing::{dispatch, file};

    fn index() -> Index {
        let mut index = Index::default();
        for (id, state, at) in [
            ("c", State::Distributing, 10),
            ("a", State::Completed, 20),
            ("b", State::Distributing, 20),
            ("d", State::Failed, 5),
        ] {
            let mut file = file(id, state, at);
            file.dispatches = vec![dispatch("t1", Status::Succeeded), dispatch("t2", Status::Pending)];
            if id == "b" {
                file.dispatches[1].status = Status::Held;
                file.overdue = true;
            }
            index.apply(&file.file_id.clone(), Some(file));
        }
        index
    }

    fn ids(page: &Page) -> Vec<&str> {
        page.files.iter().map(|f| f.file_id.as_str()).collect()
    }

    fn all() -> Filter {
        Filter { limit: 100, ..Filter::default() }
    }

    #[test]
    fn the_oldest_comes_first_and_equal_times_go_by_file_id() {
        assert_eq!(ids(&index().list(&all())), ["d", "c", "a", "b"]);
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let index = index();
        let mut seen = Vec::new();
        let mut filter = Filter { limit: 1, ..all() };
        loop {
            let page = index.list(&filter);
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(next) = page.next else { break };
            filter.after = Some(next.to_string().parse().unwrap());
        }
        assert_eq!(seen, ["d", "c", "a", "b"]);
    }

    #[test]
    fn every_filter_narrows() {
        let index = index();
        assert_eq!(ids(&index.list(&Filter { held: true, ..all() })), ["b"]);
        assert_eq!(ids(&index.list(&Filter { overdue: true, ..all() })), ["b"]);
        assert_eq!(ids(&index.list(&Filter { state: Some(State::Failed), ..all() })), ["d"]);
        let target = |name| Some(TargetName::trusted(name));
        assert_eq!(ids(&index.list(&Filter { target: target("t2"), ..all() })).len(), 4);
        assert!(ids(&index.list(&Filter { target: target("t3"), ..all() })).is_empty());
        assert!(
            ids(&index.list(&Filter { held: true, target: target("t1"), ..all() })).is_empty(),
            "t1 of b is not the HELD one"
        );
        assert_eq!(ids(&index.list(&Filter { owner: Some("team-t1".into()), ..all() })).len(), 4);
    }

    #[test]
    fn the_accountable_party_finds_its_files_too() {
        let mut index = index();
        let mut failed = file("e", State::Failed, 30);
        failed.accountable = Some(crate::record::Accountable { party: "producer:shop".into(), since: Timestamp(30) });
        index.apply(&failed.file_id.clone(), Some(failed));
        assert_eq!(ids(&index.list(&Filter { owner: Some("producer:shop".into()), ..all() })), ["e"]);
    }

    #[test]
    fn a_tombstone_removes_the_file_everywhere() {
        let mut index = index();
        for id in ["a", "b", "c", "d"] {
            index.apply(&FileId::trusted(id), None);
        }
        assert!(index.list(&all()).files.is_empty());
        assert!(index.file(&FileId::trusted("a")).is_none());
        assert_eq!(*index.census(), Census::default());
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        for text in ["", "x", "x_y"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
