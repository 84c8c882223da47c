//! A file-state by itself: what COMPLETED and FAILED mean (I3), and that nothing waits for nobody (I12).

use super::collect::{FileRecords, Place};
use super::{Checker, Due};
use crate::record::{DispatchState, FileId, FileState, NextEventKind, State, Status};

/// How late something may be that happens by itself, in milliseconds.
pub(super) const LATE_MS: i64 = 60_000;

fn is_settled(dispatch: &DispatchState) -> bool {
    matches!(dispatch.status, Status::Succeeded | Status::Failed | Status::Cancelled)
}

impl Checker {
    pub(super) fn check_states(&mut self, id: &FileId, file: &FileRecords) {
        for state in &file.states {
            self.check_meaning(id, &state.value, state.place);
            self.check_ownership(id, &state.value, state.place);
        }
        if let Some(newest) = file.states.last() {
            self.check_nothing_is_missed(id, &newest.value, newest.place);
            for dispatch in &newest.value.dispatches {
                self.report.add("dispatches");
                self.report.add(format!("dispatches.{}", dispatch.status));
            }
            if newest.value.supersedes.is_some() {
                self.report.add("successors");
            }
        }
    }

    /// Once the log is quiet, nothing lies behind that should have happened by itself.
    fn check_nothing_is_missed(&mut self, id: &FileId, state: &FileState, place: Place) {
        let Some(next) = state.next_event.as_ref().filter(|_| self.options.due == Due::Everything) else { return };
        let late_ms = self.newest.millis_since(next.at);
        if late_ms > LATE_MS + self.options.max_clock_skew_ms && next.what != NextEventKind::Attempt {
            let text = format!("its {} was due at {} and hasn't happened", next.what, next.at);
            self.report.broken("I12", Some(id), Some(place), text);
        }
    }

    fn check_meaning(&mut self, id: &FileId, state: &FileState, place: Place) {
        let dispatches = &state.dispatches;
        let open = dispatches.iter().filter(|d| !is_settled(d)).count();
        let unsuccessful = dispatches.iter().filter(|d| d.status != Status::Succeeded).count();
        let wrong = match state.state {
            State::Completed if dispatches.is_empty() || unsuccessful > 0 => {
                Some(format!("COMPLETED with {unsuccessful} of {} dispatches not SUCCEEDED", dispatches.len()))
            }
            State::Failed if open > 0 => Some(format!("FAILED with {open} dispatches open")),
            State::Failed if !dispatches.is_empty() && unsuccessful == 0 => {
                Some("FAILED although every dispatch SUCCEEDED".to_owned())
            }
            State::Failed if state.reason.is_none() => Some("FAILED without a reason".to_owned()),
            State::Validated | State::Distributing if open == 0 => {
                Some(format!("{} although every dispatch has settled", state.state))
            }
            State::Completed | State::Failed if state.settled_at.is_none() => {
                Some(format!("{} without a time", state.state))
            }
            _ => None,
        };
        if let Some(text) = wrong {
            self.report.broken("I3", Some(id), Some(place), text);
        }
    }

    fn check_ownership(&mut self, id: &FileId, state: &FileState, place: Place) {
        if matches!(state.state, State::Completed | State::Failed) {
            return;
        }
        if state.accountable.as_ref().is_none_or(|who| who.party.trim().is_empty()) {
            self.report.broken("I12", Some(id), Some(place), "nobody is accountable");
        }
        if state.next_event.is_none() {
            self.report.broken("I12", Some(id), Some(place), "nothing happens next");
        }
        for dispatch in state.dispatches.iter().filter(|d| !is_settled(d)) {
            if dispatch.accountable.is_none() || dispatch.next_event.is_none() {
                let text = format!("{} at {} has no next event or nobody to act", dispatch.status, dispatch.target);
                self.report.broken("I12", Some(id), Some(place), text);
            }
        }
    }
}
