//! The file as the record that anyone may join.

use super::file::{Dispatch, File};
use crate::record::{Budget, DispatchState, FileState, NextEventKind, Status};

impl File {
    /// The file's state as a record.
    pub fn to_state(&self) -> FileState {
        let manifest = &self.arrival.manifest;
        let plan = self.plan.as_deref();
        let dispatches: Vec<DispatchState> =
            (0..self.dispatches.len()).map(|index| self.dispatch_state(index)).collect();
        FileState {
            file_id: self.id().clone(),
            state: self.state,
            version: self.version,
            cause: self.cause.clone(),
            schema_version: manifest.schema_version,
            file_type: manifest.file_type.clone(),
            name: manifest.name.clone(),
            produced_by: manifest.produced_by.clone(),
            supersedes: self.arrival.supersedes.clone(),
            arrival_digest: self.arrival.manifest_digest.clone(),
            content_digest: plan.and_then(|p| p.content.clone()),
            routing_digest: plan.map(|p| p.routing.clone()),
            plan_digest: plan.map(|p| p.plan.clone()),
            deadline_lost: !self.overdue && dispatches.iter().any(retries_too_late),
            dispatches,
            accountable: self.accountable(),
            next_event: self.next_event(),
            overdue: self.overdue,
            reason: self.reason.clone(),
            deadline: self.deadline,
            received_at: self.arrival.received_at,
            validated_at: self.validated_at,
            distributing_at: self.distributing_at,
            settled_at: self.settled_at,
        }
    }

    fn dispatch_state(&self, index: usize) -> DispatchState {
        let dispatch = &self.dispatches[index];
        DispatchState {
            target: dispatch.target().clone(),
            status: dispatch.status,
            version: dispatch.version,
            attempts: dispatch.attempts,
            budget: dispatch.budget_left(),
            owner: dispatch.terms.owner.clone(),
            since: dispatch.since,
            held_because: dispatch.held_because,
            escalations: dispatch.escalations,
            settled_by: dispatch.settled_by,
            next_event: self.next_event_of(index).map(|next| crate::record::NextEvent { target: None, ..next }),
            last_outcome: dispatch.last_outcome.clone(),
            accountable: dispatch.accountable(),
        }
    }
}

/// Whether a dispatch waits for a retry that would be due only after the file's deadline: that is what happens next to it.
fn retries_too_late(dispatch: &DispatchState) -> bool {
    dispatch.status == Status::BackingOff
        && dispatch.next_event.as_ref().is_some_and(|next| next.what == NextEventKind::FileDeadline)
}

impl Dispatch {
    /// What is left of its budgets.
    pub fn budget_left(&self) -> Budget {
        let retry = &self.terms.retry;
        Budget {
            attempts: retry.attempts - self.spent.attempts,
            operator_attempts: retry.operator_attempts - self.spent.operator_attempts,
            refusals: retry.refusals - self.spent.refusals,
        }
    }
}
