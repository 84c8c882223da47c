//! A successor is for what its predecessors have not brought home: a target whose SUCCEEDED is recorded is in no plan of
//! any later one (R6, after the contract's sixth rule).

use std::collections::BTreeMap;

use super::Checker;
use super::collect::FileRecords;
use crate::record::{FileId, Status};

/// Longer chains are looked at so far: a person stands behind each successor.
const MOST_PREDECESSORS: usize = 1_000;

impl Checker {
    /// Needs all files of a family at once: where each is judged alone, nothing is found.
    pub(super) fn check_successors(&mut self, files: &BTreeMap<String, FileRecords>) {
        for (id, file) in files {
            for predecessor in predecessors(file, files) {
                let state = predecessor.states.last().into_iter();
                let dispatches = state.flat_map(|state| &state.value.dispatches);
                for dispatch in dispatches.filter(|d| d.status == Status::Succeeded) {
                    let Some(planned) = file.plans.get(dispatch.target.as_str()) else { continue };
                    let text = format!("{} is to get it again: it had it from a predecessor", dispatch.target);
                    self.report.broken("R6", Some(&FileId::trusted(id)), Some(planned.place), text);
                }
            }
        }
    }
}

/// The files that this one came from, the nearest first, as far as they are there and of the same life: one that settled
/// after its successor had begun bears the name of the predecessor, which is forgotten.
fn predecessors<'f>(
    file: &'f FileRecords,
    files: &'f BTreeMap<String, FileRecords>,
) -> impl Iterator<Item = &'f FileRecords> {
    let before = |file: &&'f FileRecords| {
        let arrival = &file.arrival.as_ref()?.value;
        let predecessor = files.get(arrival.supersedes.as_ref()?.as_str())?;
        let settled_at = predecessor.states.last()?.value.settled_at?;
        (settled_at <= arrival.received_at).then_some(predecessor)
    };
    std::iter::successors(before(&file), before).take(MOST_PREDECESSORS)
}
