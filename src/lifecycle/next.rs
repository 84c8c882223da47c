//! What happens next if nobody does anything, when, and who must act.

use super::file::{Dispatch, File};
use crate::record::{
    Accountable, Confirmation, NextEvent, NextEventKind, State, Status, TargetName, Timer, TimerKind, Timestamp,
};

/// Whoever is accountable while automation has the next move.
pub const CONSIGN: &str = "consign";
/// Whoever is accountable once an escalation has moved a dispatch on.
pub const OPERATOR: &str = "operator";

/// A timer of a file, to be appended to `outcomes` once it is due.
#[derive(Debug, Clone, PartialEq)]
pub struct DueTimer {
    /// The dispatch; `None` for the file's own deadline.
    pub target: Option<TargetName>,
    /// The timer.
    pub timer: Timer,
    /// Whether acks that came before `timer.due` must have been read before it is appended.
    pub after_acks: bool,
}

impl File {
    /// The timers that wait for their time, back-offs excepted: those end by an attempt.
    pub fn timers(&self) -> Vec<DueTimer> {
        if self.is_terminal() {
            return Vec::new();
        }
        let file_deadline = (!self.overdue).then(|| DueTimer {
            target: None,
            timer: Timer { what: TimerKind::FileDeadline, due: self.deadline, attempt: None, escalation: None },
            // An ack of any dispatch that came before the file fell due must win.
            after_acks: self.dispatches.iter().any(|d| !d.is_settled() && d.awaits_acks()),
        });
        self.dispatches.iter().filter_map(Dispatch::timer).chain(file_deadline).collect()
    }

    /// When the first of [`File::timers`] is due.
    pub fn first_due(&self) -> Option<Timestamp> {
        if self.is_terminal() {
            return None;
        }
        let file_deadline = (!self.overdue).then_some(self.deadline);
        self.dispatches.iter().filter_map(Dispatch::due).map(|(_, due)| due).chain(file_deadline).min()
    }

    /// The earliest of the file's next events, and the file's own deadline at the latest.
    pub fn next_event(&self) -> Option<NextEvent> {
        if self.is_terminal() {
            return None;
        }
        let deadline = NextEvent { what: NextEventKind::FileDeadline, at: self.deadline, target: None };
        let own = (!self.overdue || self.dispatches.is_empty()).then_some(deadline);
        (0..self.dispatches.len())
            .filter_map(|index| self.next_event_of(index))
            .chain(own)
            .min_by(|a, b| (a.at, &a.target).cmp(&(b.at, &b.target)))
    }

    /// What happens next to a dispatch; `None` once it has settled.
    pub fn next_event_of(&self, index: usize) -> Option<NextEvent> {
        let dispatch = &self.dispatches[index];
        let attempt = dispatch.attempt;
        let (what, at) = match dispatch.status {
            Status::Pending if dispatch.grant.is_some() || (self.after_is_met(index) && !self.overdue) => {
                (NextEventKind::Attempt, dispatch.since)
            }
            Status::Pending => (NextEventKind::FileDeadline, self.deadline),
            Status::InFlight => (NextEventKind::AttemptDeadline, attempt?.deadline),
            Status::Awaiting => (NextEventKind::ConfirmationDeadline, dispatch.confirm_by?),
            Status::BackingOff => (NextEventKind::Attempt, dispatch.retry_at?),
            Status::Held => (NextEventKind::Escalation, dispatch.escalate_at?),
            Status::Succeeded | Status::Failed | Status::Cancelled => return None,
        };
        // Whatever waits becomes HELD at the file's deadline; only open attempts, HELD and what a person granted go on.
        let goes_on = matches!(dispatch.status, Status::InFlight | Status::Held) || dispatch.grant.is_some();
        let (what, at) =
            if goes_on || at < self.deadline { (what, at) } else { (NextEventKind::FileDeadline, self.deadline) };
        Some(NextEvent { what, at, target: Some(dispatch.target().clone()) })
    }

    /// Who must act for the file to finish; on a FAILED file, who must answer for it.
    pub fn accountable(&self) -> Option<Accountable> {
        match self.state {
            State::Completed => None,
            State::Failed => Some(self.answerable()),
            _ => {
                let open = self.dispatches.iter().filter(|d| !d.is_settled());
                // Among equals, whoever has had it longest.
                open.min_by_key(|d| (std::cmp::Reverse(d.urgency()), d.accountable_since()))
                    .and_then(Dispatch::accountable)
                    .or_else(|| Some(Accountable { party: CONSIGN.into(), since: self.arrival.received_at }))
            }
        }
    }

    fn answerable(&self) -> Accountable {
        let since = self.settled_at.expect("a FAILED file has settled");
        let cancelled_by_operator = self.reason.as_ref().is_some_and(|r| r.code == "cancelled");
        let party = if cancelled_by_operator {
            OPERATOR.to_owned()
        } else if let Some(failed) = self.dispatches.iter().find(|d| d.status == Status::Failed) {
            failed.terms.owner.clone()
        } else {
            format!("producer:{}", self.arrival.manifest.produced_by)
        };
        Accountable { party, since }
    }
}

impl Dispatch {
    /// Who must act for the dispatch to move on; nobody once it has settled.
    pub fn accountable(&self) -> Option<Accountable> {
        let party = match self.status {
            _ if self.is_settled() => return None,
            _ if self.escalations > 0 => OPERATOR,
            Status::Held | Status::Awaiting => self.terms.owner.as_str(),
            _ => CONSIGN,
        };
        Some(Accountable { party: party.to_owned(), since: self.accountable_since() })
    }

    fn accountable_since(&self) -> Timestamp {
        self.escalated_at.filter(|_| self.escalations > 0).unwrap_or(self.since)
    }

    fn urgency(&self) -> u8 {
        match self.status {
            _ if self.is_settled() => 0,
            _ if self.escalations > 0 => 4,
            Status::Held => 3,
            Status::Awaiting => 2,
            _ => 1,
        }
    }

    fn awaits_acks(&self) -> bool {
        matches!(self.terms.confirmed_by.by, Confirmation::Acks)
    }

    /// What its status waits for, and until when.
    fn due(&self) -> Option<(TimerKind, Timestamp)> {
        match self.status {
            Status::InFlight => Some((TimerKind::AttemptDeadline, self.attempt?.deadline)),
            Status::Awaiting => Some((TimerKind::ConfirmationDeadline, self.confirm_by?)),
            Status::Held => Some((TimerKind::Escalation, self.escalate_at?)),
            _ => None,
        }
    }

    fn timer(&self) -> Option<DueTimer> {
        let (what, due) = self.due()?;
        let (attempt, escalation) = match what {
            TimerKind::Escalation => (None, Some(self.escalations + 1)),
            _ => (Some(self.attempts), None),
        };
        let timer = Timer { what, due, attempt, escalation };
        let after_acks = self.awaits_acks() && timer.what != TimerKind::Escalation;
        Some(DueTimer { target: Some(self.target().clone()), timer, after_acks })
    }
}
