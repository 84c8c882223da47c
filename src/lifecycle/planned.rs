//! The plan is committed: VALIDATED. Or there is none: FAILED.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::file::{Dispatch, File, PlanDigests};
use crate::record::{Cause, Failure, PlannedDispatch, State, TargetName, Timestamp};

impl File {
    /// Takes in the plan, all of whose records carry the version of this event.
    pub fn planned<P: Borrow<PlannedDispatch>>(&mut self, plan: &[P]) {
        assert_eq!(self.state, State::Received, "{} is planned once", self.id());
        assert!(!self.is_fetching() || self.is_fetched(), "{}: its bytes are there first", self.id());
        self.end_fetch();
        let first: &PlannedDispatch = plan.first().expect("a plan names at least one target").borrow();
        assert_eq!(first.version, self.version + 1, "{}: the plan is its next event", self.id());
        self.count_event(&first.cause.clone());
        self.changed_at_version = self.version;
        self.state = State::Validated;
        self.deadline = first.file_deadline;
        // Only the deadline before the plan can have been read back; the plan's own is still to come.
        self.overdue = false;
        self.validated_at = Some(first.planned_at);
        self.plan = Some(Arc::new(PlanDigests {
            content: first.content_digest.clone(),
            routing: first.routing_digest.clone(),
            plan: first.plan_digest.clone(),
        }));
        self.dispatches = plan.iter().map(|p| Dispatch::planned(p.borrow())).collect();
        self.index();
        let targets: BTreeSet<&TargetName> = self.dispatches.iter().map(Dispatch::target).collect();
        assert_eq!(targets.len(), plan.len(), "{}: every target is planned once", self.id());
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
