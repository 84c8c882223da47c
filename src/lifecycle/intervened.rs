//! Interventions: what a person asks, judged against what that person saw.

use super::file::File;
use super::{Effect, Judged};
use crate::record::{
    Action, Cause, Intervention, Judgement, LastOutcome, OutcomeKind, SettledBy, State, Status, TargetName, Timestamp,
};

/// Refused interventions that a file records; the history stays bounded, whatever script asks in a loop.
pub const MAX_REFUSED_INTERVENTIONS: usize = 64;

impl File {
    /// How many of its interventions were refused, repetitions aside.
    pub fn refused_interventions(&self) -> usize {
        // All were asked under ids of their own, and each that was applied has left a mark of its own.
        let granted: i32 = self.dispatches.iter().map(|d| d.spent.operator_attempts).sum();
        let settled = |d: &&super::Dispatch| {
            d.settled_by == Some(SettledBy::Operator) && matches!(d.status, Status::Succeeded | Status::Failed)
        };
        let settled = self.dispatches.iter().filter(settled).count();
        let cancelled = self.reason.as_ref().is_some_and(|reason| reason.code == "cancelled");
        let applied = usize::try_from(granted).expect("a count")
            + settled
            + usize::from(cancelled)
            + usize::from(self.successor.is_some());
        self.interventions.len().saturating_sub(applied)
    }

    /// Why an intervention is refused without a record: the file has recorded [`MAX_REFUSED_INTERVENTIONS`], and this would
    /// be one more. Whoever asks for what can be done is heard all the same.
    pub fn refused_unrecorded(
        &self,
        index: Option<usize>,
        intervention: &Intervention,
        at: Timestamp,
    ) -> Option<&'static str> {
        let known = self.interventions.contains_key(&intervention.intervention_id);
        if known || self.refused_interventions() < MAX_REFUSED_INTERVENTIONS {
            return None;
        }
        match self.clone().intervene(index, intervention, at, &self.cause) {
            Judged::Recorded(recorded) if recorded.judgement == Judgement::Refused => recorded.code,
            _ => None,
        }
    }

    /// Judges an intervention. `index` names the dispatch it is about; `cancel` and `resubmit` have none.
    pub fn intervene(
        &mut self,
        index: Option<usize>,
        intervention: &Intervention,
        at: Timestamp,
        cause: &Cause,
    ) -> Judged {
        if let Some(repetition_recorded) = self.interventions.get_mut(&intervention.intervention_id) {
            if std::mem::replace(repetition_recorded, true) {
                return Judged::Repeat;
            }
            self.count_event(cause);
            return Judged::refused("repeated");
        }
        self.count_event(cause);
        self.interventions.insert(intervention.intervention_id.clone(), false);
        let refusal = incomplete(intervention).or_else(|| match index {
            Some(index) => self.refusal_at_dispatch(index, intervention),
            None => self.refusal_at_file(intervention),
        });
        if let Some(code) = refusal {
            return Judged::refused(code);
        }
        if intervention.action == Action::Resubmit {
            // The state is final; what follows is the successor's.
            return self.resubmit(intervention);
        }
        self.changed_at_version = self.version;
        match (intervention.action, index) {
            (Action::Retry, Some(index)) => self.grant(index, intervention, at, cause),
            (Action::Confirm, Some(index)) => self.settle_by_hand(index, Status::Succeeded, at, cause),
            (Action::Fail, Some(index)) => self.settle_by_hand(index, Status::Failed, at, cause),
            (Action::Cancel, None) => self.cancel(&intervention.actor, &intervention.reason, at, cause),
            (action, _) => unreachable!("{action} was refused"),
        }
        Judged::applied()
    }

    fn refusal_at_dispatch(&self, index: usize, intervention: &Intervention) -> Option<&'static str> {
        let dispatch = &self.dispatches[index];
        let action = intervention.action;
        if !matches!(action, Action::Retry | Action::Confirm | Action::Fail) {
            return Some("not_for_a_dispatch");
        }
        if self.is_terminal() {
            return Some("file_settled");
        }
        if dispatch.is_settled() {
            return Some("already_settled");
        }
        match intervention.seen_version {
            None => return Some("no_version"),
            Some(seen) if seen != dispatch.version => return Some("stale_version"),
            Some(_) => {}
        }
        match action {
            Action::Confirm if !dispatch.terms.operator_confirm => Some("confirm_forbidden"),
            // Nobody can have what was never sent; and COMPLETED follows DISTRIBUTING only.
            Action::Confirm if dispatch.attempts == 0 => Some("never_sent"),
            Action::Retry if dispatch.has_open_attempt() => Some("attempt_open"),
            Action::Retry if dispatch.grant.is_some() || (dispatch.status == Status::Pending && !self.overdue) => {
                Some("nothing_to_retry")
            }
            Action::Retry if !self.after_is_met(index) => Some("after_not_met"),
            Action::Retry if dispatch.spent.operator_attempts >= dispatch.terms.retry.operator_attempts => {
                Some("operator_budget_spent")
            }
            _ => None,
        }
    }

    fn refusal_at_file(&self, intervention: &Intervention) -> Option<&'static str> {
        if !matches!(intervention.action, Action::Cancel | Action::Resubmit) {
            return Some("not_for_a_file");
        }
        match intervention.action {
            Action::Cancel if self.is_terminal() => return Some("file_settled"),
            Action::Resubmit if self.state != State::Failed => return Some("not_failed"),
            Action::Resubmit if self.successor.is_some() => return Some("already_resubmitted"),
            Action::Resubmit if self.targets_to_resend(intervention.resend_unknown).is_none() => {
                return Some("nothing_to_resend");
            }
            _ => {}
        }
        match intervention.seen_version {
            None => Some("no_version"),
            // This very event is counted already. Events that changed nothing, such as a refused report, make nobody's view stale.
            Some(seen) if seen < self.changed_at_version || seen >= self.version => Some("stale_version"),
            Some(_) => None,
        }
    }

    fn grant(&mut self, index: usize, intervention: &Intervention, at: Timestamp, cause: &Cause) {
        let version = self.version;
        let dispatch = &mut self.dispatches[index];
        dispatch.enter(Status::Pending, version, at, cause);
        dispatch.grant = Some(intervention.intervention_id.clone());
        dispatch.spent.operator_attempts += 1;
    }

    fn settle_by_hand(&mut self, index: usize, status: Status, at: Timestamp, cause: &Cause) {
        let version = self.version;
        let dispatch = &mut self.dispatches[index];
        let kind = if status == Status::Succeeded { OutcomeKind::Succeeded } else { OutcomeKind::Rejected };
        if status == Status::Succeeded {
            dispatch.doubtful.clear();
        } else {
            dispatch.doubt_open_attempt();
        }
        dispatch.last_outcome = Some(LastOutcome { kind, code: "operator".into(), at, attempt: None });
        dispatch.settle(status, SettledBy::Operator, version, at, cause);
        self.after_settlement(SettledBy::Operator, at, cause);
    }

    fn resubmit(&mut self, intervention: &Intervention) -> Judged {
        let only_targets = self.targets_to_resend(intervention.resend_unknown).expect("not refused");
        let successor = self.id().successor();
        self.successor = Some(successor.clone());
        Judged::applied_with(vec![Effect::StartSuccessor { successor, only_targets }])
    }

    /// The targets without a recorded success; those that may hold something of the file only if `resend_unknown`.
    /// A file that never had a plan leaves to its successor what it was limited to itself, where an empty list stands for every
    /// target; `None` when there is nothing to send.
    pub fn targets_to_resend(&self, resend_unknown: bool) -> Option<Vec<TargetName>> {
        if self.dispatches.is_empty() {
            return Some(self.arrival.only_targets.clone().unwrap_or_default());
        }
        let targets: Vec<TargetName> = self
            .dispatches
            .iter()
            .filter(|d| d.status != Status::Succeeded && !d.late_success && (resend_unknown || !d.in_doubt()))
            .map(|d| d.target().clone())
            .collect();
        (!targets.is_empty()).then_some(targets)
    }
}

/// What every intervention has to name.
fn incomplete(intervention: &Intervention) -> Option<&'static str> {
    if intervention.intervention_id.is_empty() {
        Some("no_id")
    } else if intervention.actor.trim().is_empty() {
        Some("no_actor")
    } else if intervention.reason.trim().is_empty() {
        Some("no_reason")
    } else {
        None
    }
}
