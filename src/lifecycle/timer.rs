//! Times that have come, as they are read back: whatever stood before them in the log has won already.

use super::Judged;
use super::file::File;
use super::reported::Unsettled;
use crate::record::{
    Cause, HeldBecause, LastOutcome, OnOverdue, OnUnknown, OutcomeKind, SettledBy, Status, Timer, TimerKind, Timestamp,
};

impl File {
    /// Judges a timer. `index` names the dispatch it is about; the file's own deadline has none.
    pub fn timer(&mut self, index: Option<usize>, timer: &Timer, at: Timestamp, cause: &Cause) -> Judged {
        if self.is_terminal() {
            return Judged::Repeat;
        }
        match (timer.what, index) {
            (TimerKind::FileDeadline, None) => self.file_overdue(timer, at, cause),
            (TimerKind::AttemptDeadline, Some(index)) => self.attempt_overdue(index, timer, at, cause),
            (TimerKind::ConfirmationDeadline, Some(index)) => self.confirmation_overdue(index, timer, at, cause),
            (TimerKind::Escalation, Some(index)) => self.escalation(index, timer, at, cause),
            _ => Judged::Repeat,
        }
    }

    fn attempt_overdue(&mut self, index: usize, timer: &Timer, at: Timestamp, cause: &Cause) -> Judged {
        let dispatch = &self.dispatches[index];
        let deadline = dispatch.attempt.map(|a| a.deadline);
        if dispatch.status != Status::InFlight
            || timer.attempt != Some(dispatch.attempts)
            || deadline != Some(timer.due)
        {
            return Judged::Repeat;
        }
        self.fell_due(index, timer, at, cause);
        self.attempt_ended(index, (Unsettled::Unknown, SettledBy::Deadline), None, at, cause);
        Judged::applied()
    }

    fn confirmation_overdue(&mut self, index: usize, timer: &Timer, at: Timestamp, cause: &Cause) -> Judged {
        let dispatch = &self.dispatches[index];
        if dispatch.status != Status::Awaiting
            || timer.attempt != Some(dispatch.attempts)
            || dispatch.confirm_by != Some(timer.due)
        {
            return Judged::Repeat;
        }
        let (on_overdue, on_unknown) = (dispatch.terms.on_overdue, dispatch.terms.on_unknown);
        self.fell_due(index, timer, at, cause);
        match on_overdue {
            // What the target accepted may have been processed: only a target that honours the key is sent it again.
            OnOverdue::Retry if on_unknown == OnUnknown::Hold => {
                self.hold(index, HeldBecause::ConfirmationOverdue, at, cause);
            }
            OnOverdue::Hold => self.hold(index, HeldBecause::ConfirmationOverdue, at, cause),
            OnOverdue::Retry => self.attempt_ended(index, (Unsettled::Overdue, SettledBy::Deadline), None, at, cause),
            OnOverdue::Fail => {
                let version = self.version;
                let dispatch = &mut self.dispatches[index];
                dispatch.settle(Status::Failed, SettledBy::Deadline, version, at, cause);
                self.after_settlement(SettledBy::Deadline, at, cause);
            }
        }
        Judged::applied()
    }

    fn file_overdue(&mut self, timer: &Timer, at: Timestamp, cause: &Cause) -> Judged {
        if self.overdue || timer.due != self.deadline {
            return Judged::Repeat;
        }
        self.count_event(cause);
        self.changed_at_version = self.version;
        self.overdue = true;
        for index in 0..self.dispatches.len() {
            let status = self.dispatches[index].status;
            let granted = self.dispatches[index].grant.is_some();
            if matches!(status, Status::Pending | Status::Awaiting | Status::BackingOff) && !granted {
                self.hold(index, HeldBecause::FileOverdue, at, cause);
            }
        }
        Judged::applied()
    }

    /// A HELD dispatch escalates when its time has come; one that waits under a pause when the engine says so.
    fn escalation(&mut self, index: usize, timer: &Timer, at: Timestamp, cause: &Cause) -> Judged {
        let dispatch = &self.dispatches[index];
        let is_next = timer.escalation == Some(dispatch.escalations + 1);
        let is_due = match dispatch.status {
            Status::Held => dispatch.escalate_at == Some(timer.due),
            // One that fell due before the dispatch came here was meant for the status before.
            Status::Pending | Status::BackingOff => timer.due > dispatch.since,
            _ => false,
        };
        if !is_next || !is_due {
            return Judged::Repeat;
        }
        self.count_event(cause);
        let dispatch = &mut self.dispatches[index];
        dispatch.escalations += 1;
        dispatch.escalated_at = Some(at);
        if dispatch.status == Status::Held {
            dispatch.escalate_at = Some(timer.due.plus_millis(dispatch.escalation_interval_ms()));
        }
        Judged::applied()
    }

    fn fell_due(&mut self, index: usize, timer: &Timer, at: Timestamp, cause: &Cause) {
        self.count_event(cause);
        self.changed_at_version = self.version;
        self.dispatches[index].last_outcome = Some(LastOutcome {
            kind: OutcomeKind::Unknown,
            code: timer.what.as_str().to_owned(),
            at,
            attempt: timer.attempt,
        });
    }
}

impl super::Dispatch {
    /// How long until the next escalation: the first interval, doubled by each escalation, up to the plan's limit.
    pub fn escalation_interval_ms(&self) -> i64 {
        let doublings = u32::try_from(self.escalations.clamp(0, 40)).expect("clamped");
        let escalation = &self.terms.escalation;
        escalation.first_ms.saturating_mul(1_i64 << doublings).min(escalation.max_ms.max(escalation.first_ms))
    }
}
