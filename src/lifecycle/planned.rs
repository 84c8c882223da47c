//! The plan is committed: VALIDATED. Or there is none: FAILED.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::file::{Dispatch, File, PlanDigests};
use super::terms::SharedTerms;
use crate::record::{Cause, Failure, PlannedDispatch, State, TargetName, Timestamp};

/// What the machine takes in of a dispatch's plan: all but its request, which is for whoever sends it.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The file's version at which the plan was made.
    pub version: i64,
    /// The record that caused the plan.
    pub cause: Cause,
    /// When the plan was made.
    pub planned_at: Timestamp,
    /// Place of this dispatch in the plan, from 0.
    pub ordinal: i32,
    /// Number of dispatches in the plan.
    pub of: i32,
    /// What holds for the attempts of the dispatch and reports about it.
    pub terms: SharedTerms,
    /// The digest of what the target must say that it received, where it must.
    pub receipt: Option<String>,
    /// What holds for the whole plan; of ordinal 0 only.
    pub head: Option<PlanHead>,
}

/// What the machine takes in of a plan as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanHead {
    /// Every target of the plan in order, where its record has them.
    pub expected_targets: Option<Vec<TargetName>>,
    /// When the file is overdue.
    pub file_deadline: Timestamp,
    /// What it was made from, and what it is known by.
    pub digests: Arc<PlanDigests>,
}

impl Planned {
    /// What is taken in of a record of a plan.
    pub fn of(plan: &PlannedDispatch) -> Self {
        let head = (plan.ordinal == 0).then(|| PlanHead {
            expected_targets: plan.expected_targets.clone(),
            file_deadline: plan.file_deadline,
            digests: Arc::new(PlanDigests {
                content: plan.content_digest.clone(),
                routing: plan.routing_digest.clone(),
                plan: plan.plan_digest.clone(),
            }),
        });
        Self {
            version: plan.version,
            cause: plan.cause.clone(),
            planned_at: plan.planned_at,
            ordinal: plan.ordinal,
            of: plan.of,
            terms: SharedTerms::of(plan),
            receipt: plan.confirmed_by.receipt.clone(),
            head,
        }
    }
}

impl File {
    /// Takes in the plan, all of whose records carry the version of this event.
    pub fn planned<P: Borrow<PlannedDispatch>>(&mut self, plan: &[P]) {
        let plan: Vec<Planned> = plan.iter().map(|p| Planned::of(p.borrow())).collect();
        self.take_plan(&plan);
    }

    /// The same of records of which no more is there.
    pub(super) fn take_plan<P: Borrow<Planned>>(&mut self, plan: &[P]) {
        assert_eq!(self.state, State::Received, "{} is planned once", self.id());
        assert!(!self.is_fetching() || self.is_fetched(), "{}: its bytes are there first", self.id());
        self.end_fetch();
        let first: &Planned = plan.first().expect("a plan names at least one target").borrow();
        let head = first.head.as_ref().expect("a plan begins with ordinal 0");
        assert_eq!(first.version, self.version + 1, "{}: the plan is its next event", self.id());
        self.count_event(&first.cause.clone());
        self.changed_at_version = self.version;
        self.state = State::Validated;
        self.deadline = head.file_deadline;
        // Only the deadline before the plan can have been read back; the plan's own is still to come.
        self.overdue = false;
        self.validated_at = Some(first.planned_at);
        self.plan = Some(Arc::clone(&head.digests));
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
