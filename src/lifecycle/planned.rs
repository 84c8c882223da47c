//! The plan is committed: VALIDATED. Or there is none: FAILED.

use std::sync::Arc;

use super::file::{Dispatch, File};
use crate::record::{Cause, Failure, PlannedDispatch, State, Timestamp};

impl File {
    /// Takes in the plan, all of whose records carry the version of this event.
    pub fn planned(&mut self, plan: Vec<Arc<PlannedDispatch>>) {
        assert_eq!(self.state, State::Received, "{} is planned once", self.id());
        assert!(!self.is_fetching() || self.is_fetched(), "{}: its bytes are there first", self.id());
        self.end_fetch();
        let first = plan.first().expect("a plan names at least one target");
        assert_eq!(first.version, self.version + 1, "{}: the plan is its next event", self.id());
        self.count_event(&first.cause.clone());
        self.changed_at_version = self.version;
        self.state = State::Validated;
        self.deadline = first.file_deadline;
        // Only the deadline before the plan can have been read back; the plan's own is still to come.
        self.overdue = false;
        self.validated_at = Some(first.planned_at);
        self.by_target = Arc::new(plan.iter().enumerate().map(|(i, p)| (p.target.clone(), i)).collect());
        assert_eq!(self.by_target.len(), plan.len(), "{}: every target is planned once", self.id());
        self.dispatches = plan.into_iter().map(Dispatch::planned).collect();
    }

    /// There can be no plan: the file FAILED before any target heard of it.
    pub fn invalid(&mut self, failure: Failure, at: Timestamp, cause: &Cause) {
        assert_eq!(self.state, State::Received, "{}: only validation fails a file without a plan", self.id());
        self.count_event(cause);
        self.changed_at_version = self.version;
        self.end_fetch();
        self.state = State::Failed;
        self.reason = Some(failure);
        self.settled_at = Some(at);
    }
}
