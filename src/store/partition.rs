//! The store of one home partition: what is under which key, and what is written together.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::shelf::{Ops, Shelf};
use super::value::{FORMAT, decode, decode_file, decode_packed, encode, encode_file, encode_packed};
use super::{Covers, Identity, Kept, Reason, StoreError, Unusable};
use crate::lifecycle::File;
use crate::record::{FileId, PlannedDispatch, TargetName, Timestamp};

/// Whose state it is.
const IDENTITY: &[u8] = b"i";
/// Up to where it knows, and the number of the write that said so.
const COVERS: &[u8] = b"c";
/// Writes by number: a missing one betrays that a write was lost from the midst.
const WRITE: u8 = b'w';
/// Open files by id.
const OPEN: u8 = b'o';
/// Settled files by id.
const SETTLED: u8 = b's';
/// Settled files by the time of their settlement, then by id.
const SETTLED_AT: u8 = b't';
/// Plans of the dispatches of open files, by `file_id/target`.
const PLAN: u8 = b'p';

/// How many of the last writes leave a mark: more than fit into what the disk hasn't sorted yet.
const MARKS: u64 = 1 << 16;

/// How long a close waits for the write that is under way.
const FINISH: Duration = Duration::from_secs(5);

/// A file to be written.
#[derive(Debug)]
pub struct Put<'a> {
    /// The file.
    pub file: &'a File,
    /// Sequence number of its newest history record.
    pub history_seq: i64,
    /// Plans of its dispatches that aren't stored yet.
    pub plans: Vec<&'a PlannedDispatch>,
    /// Whether the store may have others of its plans: those of a file that has settled are removed.
    pub has_plans: bool,
}

/// What one write changes. First files are forgotten, then others put.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// Files whose records were tombstoned, with the time of their settlement as it stands in the store, if it does.
    pub forgotten: Vec<(&'a FileId, Option<Timestamp>)>,
    /// Plans of dispatches of files that are to be written later.
    pub plans: Vec<Arc<PlannedDispatch>>,
    /// Files to be written.
    pub put: Vec<Put<'a>>,
    /// Up to where the store knows with this write, or what it said before while it is being brought up to date; none while it
    /// is being rebuilt.
    pub covers: Option<Covers>,
}

/// The store of one home partition.
#[derive(Debug)]
pub struct PartitionStore {
    shelf: Shelf,
    identity: Identity,
    covers: Option<Covers>,
    /// Number of the last write.
    written: u64,
}

impl PartitionStore {
    /// What a medium holds for this identity: up to where it knows, and the number of its last write.
    pub(super) fn judge(shelf: &Shelf, identity: &Identity, now: Timestamp) -> Result<(Covers, u64), Unusable> {
        let told = |e: StoreError| Unusable::new(e.reason, e.text);
        let unusable = |reason, text: String| Err(Unusable::new(reason, text));
        let Some(found) = shelf.value(IDENTITY).map_err(told)? else {
            return unusable(Reason::Empty, "there is no store".into());
        };
        if found.first() != Some(&FORMAT) {
            return unusable(Reason::Format, format!("its form is {:?}, not {FORMAT}", found.first()));
        }
        let found: Identity = decode(&found).map_err(told)?;
        if found != *identity {
            return unusable(Reason::Foreign, format!("it is of {found:?}"));
        }
        let Some(covers) = shelf.value(COVERS).map_err(told)? else {
            return unusable(Reason::Unfinished, "a rebuild of it didn't come to its end".into());
        };
        let (covers, written): (Covers, u64) = decode(&covers).map_err(told)?;
        covers.judge_age(now)?;
        let first = written.saturating_sub(MARKS - 1).max(1);
        let mut marks = 0;
        shelf
            .visit(&mark(first), &[WRITE + 1], &mut |_, _| {
                marks += 1;
                Ok(ControlFlow::Continue(()))
            })
            .map_err(told)?;
        if marks != written + 1 - first {
            let text = format!("of its last {} writes {marks} are there", written + 1 - first);
            return unusable(Reason::Gap, text);
        }
        Ok((covers, written))
    }

    pub(super) fn of(shelf: Shelf, identity: Identity, covers: Option<Covers>, written: u64) -> Self {
        Self { shelf, identity, covers, written }
    }

    /// Whose state it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Up to where it knows, the write that is under way included; none while it is empty or being rebuilt.
    pub fn covers(&self) -> Option<&Covers> {
        self.covers.as_ref()
    }

    /// Whether what it holds outlives the process.
    pub fn is_on_disk(&self) -> bool {
        self.shelf.is_on_disk()
    }

    /// Writes all of the changes or nothing. On disk that happens later; until [`PartitionStore::is_writing`] says that
    /// it is done, reads may or may not see it, and there must be no other write.
    pub fn apply(&mut self, changes: Changes<'_>) -> Result<(), StoreError> {
        let mut ops = Ops::new();
        if self.written == 0 {
            ops.insert(IDENTITY.to_vec(), Some(encode(&self.identity)));
        }
        self.written += 1;
        for (id, settled_at) in changes.forgotten {
            match settled_at {
                Some(settled_at) => {
                    ops.insert(by_id(SETTLED, id), None);
                    ops.insert(by_time(settled_at, id.as_str()), None);
                }
                None => self.forget_open(id, &mut ops)?,
            }
        }
        ops.extend(changes.plans.iter().map(|plan| plan_op(plan)));
        for put in changes.put {
            put_file(put, &mut ops);
        }
        ops.insert(mark(self.written).to_vec(), Some(Vec::new()));
        if let Some(outdated) = self.written.checked_sub(MARKS) {
            ops.insert(mark(outdated).to_vec(), None);
        }
        ops.insert(COVERS.to_vec(), changes.covers.as_ref().map(|covers| encode(&(covers, self.written))));
        self.covers = changes.covers;
        self.shelf.write(ops)
    }

    fn forget_open(&self, id: &FileId, ops: &mut Ops) -> Result<(), StoreError> {
        ops.insert(by_id(OPEN, id), None);
        let (mut from, mut until) = (by_id(PLAN, id), by_id(PLAN, id));
        from.push(b'/');
        until.push(b'/' + 1);
        self.shelf.visit(&from, &until, &mut |key, _| {
            ops.insert(key.to_vec(), None);
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Whether the last write is still under way; an error once it failed.
    pub fn is_writing(&mut self) -> Result<bool, StoreError> {
        self.shelf.is_writing()
    }

    /// Waits for the write that is under way, at most so long; whether it still is.
    pub fn wait(&mut self, at_most: Duration) -> Result<bool, StoreError> {
        self.shelf.wait(at_most)
    }

    /// Waits a few seconds for the write that is under way.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        if self.wait(FINISH)? {
            return Err(StoreError::failed("a write doesn't come to its end"));
        }
        Ok(())
    }

    /// An open file.
    pub fn open_file(&self, id: &FileId) -> Result<Option<Kept>, StoreError> {
        self.file_at(OPEN, id)
    }

    /// A settled file.
    pub fn settled_file(&self, id: &FileId) -> Result<Option<Kept>, StoreError> {
        self.file_at(SETTLED, id)
    }

    /// A file, open or settled.
    pub fn file(&self, id: &FileId) -> Result<Option<Kept>, StoreError> {
        match self.open_file(id)? {
            Some(kept) => Ok(Some(kept)),
            None => self.settled_file(id),
        }
    }

    /// The plan of a dispatch of an open file.
    pub fn plan(&self, id: &FileId, target: &TargetName) -> Result<Option<PlannedDispatch>, StoreError> {
        let value = self.shelf.value(&plan_key(id, target))?;
        let plan: Option<PlannedDispatch> = value.map(|value| decode_packed(&value)).transpose()?;
        match plan {
            Some(plan) if (&plan.file_id, &plan.target) != (id, target) => {
                Err(StoreError::corrupt(format!("under {id}/{target} stands {}", plan.idempotency_key)))
            }
            plan => Ok(plan),
        }
    }

    /// Visits every open file with what it takes in bytes, in the order of their ids.
    pub fn open_files(&self, visit: &mut dyn FnMut(Kept, usize)) -> Result<(), StoreError> {
        self.shelf.visit(&[OPEN], &[OPEN + 1], &mut |_, value| {
            visit(decode_file(value)?, value.len());
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Visits the ids of all open files in order.
    pub fn open_ids(&self, visit: &mut dyn FnMut(FileId)) -> Result<(), StoreError> {
        self.shelf.visit(&[OPEN], &[OPEN + 1], &mut |key, _| {
            let id = std::str::from_utf8(&key[1..]).map_err(|_| StoreError::corrupt("a key is no text"))?;
            visit(FileId::trusted(id));
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Lets go of the medium without waiting for a write that is under way.
    pub fn abandon(mut self) {
        self.shelf.abandon();
    }

    /// Files that settled at `from` or later and before `before`, earliest first, at most `max`.
    pub fn settled(
        &self,
        from: Timestamp,
        before: Timestamp,
        max: usize,
    ) -> Result<Vec<(Timestamp, FileId)>, StoreError> {
        let mut found = Vec::new();
        if before <= from || max == 0 {
            return Ok(found);
        }
        self.shelf.visit(&by_time(from, ""), &by_time(before, ""), &mut |key, _| {
            found.push(read_time(key)?);
            Ok(if found.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }

    /// When the first file settled that did so at `from` or later.
    pub fn first_settled(&self, from: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.settled(from, Timestamp(i64::MAX), 1)?.first().map(|(at, _)| *at))
    }

    fn file_at(&self, place: u8, id: &FileId) -> Result<Option<Kept>, StoreError> {
        let Some(value) = self.shelf.value(&by_id(place, id))? else { return Ok(None) };
        let kept = decode_file(&value)?;
        if kept.file.id() != id || kept.file.settled_at.is_some() != (place == SETTLED) {
            return Err(StoreError::corrupt(format!("under {id} stands {}", kept.file.id())));
        }
        Ok(Some(kept))
    }
}

fn by_id(place: u8, id: &FileId) -> Vec<u8> {
    let mut key = vec![place];
    key.extend_from_slice(id.as_str().as_bytes());
    key
}

fn plan_key(id: &FileId, target: &TargetName) -> Vec<u8> {
    let mut key = by_id(PLAN, id);
    key.push(b'/');
    key.extend_from_slice(target.as_str().as_bytes());
    key
}

fn put_file(Put { file, history_seq, plans, has_plans }: Put<'_>, ops: &mut Ops) {
    let id = file.id();
    let is_settled = file.settled_at.is_some();
    let (at, not_at) = if is_settled { (SETTLED, OPEN) } else { (OPEN, SETTLED) };
    ops.insert(by_id(not_at, id), None);
    ops.insert(by_id(at, id), Some(encode_file(file, history_seq)));
    if let Some(settled_at) = file.settled_at {
        ops.insert(by_time(settled_at, id.as_str()), Some(Vec::new()));
        if has_plans {
            ops.extend(file.dispatches.iter().map(|d| (plan_key(id, d.target()), None)));
        }
    } else {
        ops.extend(plans.into_iter().map(plan_op));
    }
}

fn plan_op(plan: &PlannedDispatch) -> (Vec<u8>, Option<Vec<u8>>) {
    (plan_key(&plan.file_id, &plan.target), Some(encode_packed(plan)))
}

/// Big-endian with the sign turned over, so that bytes order as times do.
fn by_time(at: Timestamp, id: &str) -> Vec<u8> {
    let mut key = vec![SETTLED_AT];
    key.extend_from_slice(&(at.0 ^ i64::MIN).to_be_bytes());
    key.extend_from_slice(id.as_bytes());
    key
}

fn read_time(key: &[u8]) -> Result<(Timestamp, FileId), StoreError> {
    let wrong = || StoreError::corrupt("a key of a settled file can't be read");
    let (time, id) = key.get(1..).and_then(|rest| rest.split_first_chunk::<8>()).ok_or_else(wrong)?;
    let id = std::str::from_utf8(id).map_err(|_| wrong())?;
    Ok((Timestamp(i64::from_be_bytes(*time) ^ i64::MIN), FileId::trusted(id)))
}

fn mark(number: u64) -> [u8; 9] {
    let mut key = [WRITE; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::specimen::{START, arrival, planned};
    use crate::record::State;

    #[test]
    fn a_file_that_settles_leaves_no_tombstones_of_plans_that_were_never_stored() {
        let mut file = File::arrived(arrival("f"), START);
        file.planned(&[planned("f", "a")]);
        (file.state, file.settled_at) = (State::Failed, Some(START));
        let keys = |has_plans| {
            let mut ops = Ops::new();
            put_file(Put { file: &file, history_seq: 1, plans: Vec::new(), has_plans }, &mut ops);
            ops.into_keys().map(|key| key[0]).collect::<Vec<_>>()
        };
        assert_eq!(keys(true), [OPEN, PLAN, SETTLED, SETTLED_AT]);
        assert_eq!(keys(false), [OPEN, SETTLED, SETTLED_AT]);
    }
}
