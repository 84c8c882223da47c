//! Attempts: which may be authorized, the record that does so, and what it changes.

use super::file::{File, NewestAttempt};
use crate::record::{Authorization, DispatchAttempt, State, Status, Timestamp, dispatch_key};

impl File {
    /// Whether a dispatch's next attempt may be authorized at `now`, capacity and pauses aside.
    pub fn may_authorize(&self, index: usize, now: Timestamp) -> bool {
        let dispatch = &self.dispatches[index];
        let past_deadline = self.overdue || now >= self.deadline;
        if self.is_terminal() || (past_deadline && dispatch.grant.is_none()) {
            return false;
        }
        match dispatch.status {
            Status::Pending => self.after_is_met(index),
            Status::BackingOff => dispatch.retry_at.is_some_and(|due| due <= now),
            _ => false,
        }
    }

    /// The record that authorizes a dispatch's next attempt, which [`File::may_authorize`] allows.
    pub fn authorize(&self, index: usize, now: Timestamp, worker: &str) -> DispatchAttempt {
        assert!(self.may_authorize(index, now), "{}: only what is due is authorized", self.id());
        let dispatch = &self.dispatches[index];
        let terms = &dispatch.terms;
        // Before there is a plan, its bytes are fetched: by what was announced.
        let plan_digest = self.plan.as_ref().map_or(&self.arrival.manifest_digest, |digests| &digests.plan);
        let send_before = now.plus_millis(terms.timeouts.send_within_ms);
        let granted = dispatch.grant.is_some();
        DispatchAttempt {
            file_id: self.id().clone(),
            target: terms.target.clone(),
            attempt: dispatch.attempts + 1,
            version: self.version + 1,
            cause: dispatch.cause.clone(),
            idempotency_key: dispatch_key(self.id(), &terms.target),
            plan_digest: plan_digest.clone(),
            authorized_by: if granted { Authorization::Operator } else { Authorization::RetryBudget },
            intervention_id: dispatch.grant.clone(),
            authorized_at: now,
            send_before,
            deadline: send_before.plus_millis(terms.timeouts.request_ms + terms.timeouts.max_clock_skew_ms),
            attempts_left: terms.retry.attempts - dispatch.spent.attempts - i32::from(!granted),
            worker: worker.to_owned(),
        }
    }

    /// Takes in an authorized attempt: `IN_FLIGHT`, and with the first one DISTRIBUTING.
    pub fn authorized(&mut self, attempt: &DispatchAttempt) {
        let index = self.index_of(&attempt.target).expect("an attempt's target is planned");
        assert_eq!(attempt.version, self.version + 1, "{}: the attempt is its next event", self.id());
        self.count_event(&attempt.cause);
        self.changed_at_version = self.version;
        if self.state == State::Validated {
            self.state = State::Distributing;
            self.distributing_at = Some(attempt.authorized_at);
        }
        let version = self.version;
        let dispatch = &mut self.dispatches[index];
        assert_eq!(attempt.attempt, dispatch.attempts + 1, "{}: attempts have no gap", attempt.idempotency_key);
        dispatch.enter(Status::InFlight, version, attempt.authorized_at, &attempt.cause);
        dispatch.attempts = attempt.attempt;
        dispatch.first_attempt_at.get_or_insert(attempt.authorized_at);
        if attempt.authorized_by == Authorization::RetryBudget {
            dispatch.spent.attempts += 1;
        }
        assert!(
            dispatch.attempts <= dispatch.most_attempts(),
            "{}: attempts exceed the budgets",
            attempt.idempotency_key
        );
        dispatch.attempt = Some(NewestAttempt {
            authorized_by: attempt.authorized_by,
            authorized_at: attempt.authorized_at,
            deadline: attempt.deadline,
        });
    }
}
