//! What the settlement of one dispatch means for the others and for the file.

use super::file::{Dispatch, File};
use crate::record::{Cause, Failure, OnFailed, SettledBy, State, Status, TargetName, Timestamp};

impl File {
    /// Cancels what can no longer be sent and settles the file once every dispatch has settled.
    pub(super) fn after_settlement(&mut self, by: SettledBy, at: Timestamp, cause: &Cause) {
        while let Some(index) = self.next_to_cancel() {
            let version = self.version;
            self.dispatches[index].settle(Status::Cancelled, by, version, at, cause);
        }
        self.settle_if_all_have(at);
    }

    /// Settles the file once every dispatch has settled. After a success that is all there is to do: it takes nobody's
    /// turn away.
    pub(super) fn settle_if_all_have(&mut self, at: Timestamp) {
        if !self.dispatches.iter().all(Dispatch::is_settled) {
            return;
        }
        if self.is_fetching() {
            self.fetch_settled(at);
        } else {
            self.settle(at);
        }
    }

    /// A dispatch never sent whose turn can't come: its `after` settled without success, or another failure cancels it.
    fn next_to_cancel(&self) -> Option<usize> {
        let cancel_all =
            self.dispatches.iter().any(|d| d.status == Status::Failed && d.terms.on_failed == OnFailed::Cancel);
        self.dispatches.iter().position(|d| {
            let never_sent = !d.is_settled() && d.attempts == 0;
            let lost = |target: &TargetName| {
                self.status_of(target).is_some_and(|s| matches!(s, Status::Failed | Status::Cancelled))
            };
            never_sent && (cancel_all || d.terms.after.iter().any(lost))
        })
    }

    fn settle(&mut self, at: Timestamp) {
        let unsuccessful: Vec<&str> =
            self.dispatches.iter().filter(|d| d.status != Status::Succeeded).map(|d| d.target().as_str()).collect();
        if unsuccessful.is_empty() {
            self.state = State::Completed;
        } else {
            self.state = State::Failed;
            if self.reason.is_none() {
                let text = format!("no success at {}", unsuccessful.join(", "));
                self.reason = Some(Failure { code: "dispatch_failed".into(), text });
            }
        }
        self.settled_at = Some(at);
    }

    /// Settles every open dispatch as CANCELLED: a person gave the file up.
    pub(super) fn cancel(&mut self, actor: &str, reason: &str, at: Timestamp, cause: &Cause) {
        let version = self.version;
        let is_open = |dispatch: &Dispatch| !dispatch.is_settled();
        self.dispatches.change_where(is_open, |dispatch| {
            dispatch.doubt_open_attempt();
            dispatch.settle(Status::Cancelled, SettledBy::Operator, version, at, cause);
        });
        self.end_fetch();
        self.reason = Some(Failure { code: "cancelled".into(), text: format!("cancelled by {actor}: {reason}") });
        self.state = State::Failed;
        self.settled_at = Some(at);
    }
}
