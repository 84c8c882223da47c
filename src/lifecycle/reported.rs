//! Reports: what a target, or the transport that spoke to it, says became of a dispatch.

use super::backoff::next_attempt_at;
use super::file::File;
use super::{Effect, Judged};
use crate::record::{
    Cause, Confirmation, HeldBecause, LastOutcome, OnExhausted, OnUnknown, Outcome, OutcomeKind, Reporter, SettledBy,
    Status, Timestamp, TokenCheck, dispatch_key,
};

/// A target that says again that it is at work moves its deadline by at least this part of the time that it is given, or to
/// the limit: what it says more often is counted, and the history stays bounded.
const LEAST_SHARE: i64 = 10;

/// Why an attempt ended without settling its dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsettled {
    /// It is known that the target processed nothing.
    NotProcessed,
    /// The target refused our credentials or certificate; it processed nothing.
    Refused,
    /// It may or may not have been processed.
    Unknown,
    /// It was accepted and its confirmation didn't come in time; a retry is what the plan wants.
    Overdue,
}

impl File {
    /// Judges a report about the dispatch at `index`. Timers are judged by [`File::timer`].
    pub fn report(&mut self, index: usize, outcome: &Outcome, at: Timestamp, cause: &Cause) -> Judged {
        let was_fetching = self.is_fetching();
        let judged = self.judge(index, outcome, at, cause);
        if was_fetching {
            self.explain_fetch(outcome);
        }
        judged
    }

    fn judge(&mut self, index: usize, outcome: &Outcome, at: Timestamp, cause: &Cause) -> Judged {
        assert_ne!(outcome.kind, OutcomeKind::Timer, "a timer is no report");
        if let Some(code) = self.refusal_of(index, outcome) {
            return self.note_once(index, outcome, cause, Judged::refused(code));
        }
        let dispatch = &self.dispatches[index];
        if dispatch.is_settled() {
            return self.report_after_settlement(index, outcome, cause);
        }
        let is_newest = outcome.attempt == Some(dispatch.attempts);
        match outcome.kind {
            OutcomeKind::Succeeded | OutcomeKind::Duplicate => {
                self.settled(index, outcome, Status::Succeeded, at, cause)
            }
            OutcomeKind::Rejected => self.settled(index, outcome, Status::Failed, at, cause),
            _ if !is_newest => self.note_once(index, outcome, cause, Judged::late("not_the_newest_attempt")),
            OutcomeKind::Accepted => self.accepted(index, outcome, at, cause),
            OutcomeKind::Retryable => self.not_processed(index, outcome, at, cause),
            OutcomeKind::Unknown => self.unknown(index, outcome, at, cause),
            OutcomeKind::Timer => unreachable!("asserted above"),
        }
    }

    /// Why a report may not be believed, whatever the dispatch's status.
    fn refusal_of(&self, index: usize, outcome: &Outcome) -> Option<&'static str> {
        let dispatch = &self.dispatches[index];
        let confirmed_by = &dispatch.terms.confirmed_by;
        let confirming = match outcome.reporter {
            Reporter::Acks => confirmed_by.by == Confirmation::Acks,
            Reporter::Callback => confirmed_by.by == Confirmation::Callback,
            Reporter::Transport => match outcome.kind {
                OutcomeKind::Succeeded | OutcomeKind::Duplicate => {
                    matches!(confirmed_by.by, Confirmation::Response | Confirmation::Transport)
                }
                OutcomeKind::Accepted => matches!(confirmed_by.by, Confirmation::Acks | Confirmation::Callback),
                _ => true,
            },
            Reporter::Engine => false,
        };
        let came_from_outside = matches!(outcome.reporter, Reporter::Acks | Reporter::Callback);
        if came_from_outside && outcome.token == Some(TokenCheck::Wrong) {
            Some("wrong_token")
        } else if came_from_outside && confirmed_by.token && outcome.token != Some(TokenCheck::Ok) {
            Some("token_missing")
        } else if !confirming {
            Some("not_confirming")
        } else if dispatch.attempts == 0 {
            Some("never_sent")
        } else if outcome.attempt.is_some_and(|n| n < 1 || n > dispatch.attempts) {
            Some("unknown_attempt")
        } else {
            unproven(dispatch.receipt.as_deref(), outcome)
        }
    }

    fn report_after_settlement(&mut self, index: usize, outcome: &Outcome, cause: &Cause) -> Judged {
        let dispatch = &self.dispatches[index];
        let by_target = dispatch.settled_by == Some(SettledBy::Target);
        let was_rejected = dispatch.last_outcome.as_ref().is_some_and(|last| last.kind == OutcomeKind::Rejected);
        let says_success = matches!(outcome.kind, OutcomeKind::Succeeded | OutcomeKind::Duplicate);
        let judged = match (dispatch.status, outcome.kind) {
            // The target says again what it settled the dispatch by.
            (Status::Succeeded, _) if says_success && by_target => return Judged::Repeat,
            (Status::Failed, OutcomeKind::Rejected) if by_target && was_rejected => return Judged::Repeat,
            (Status::Succeeded, OutcomeKind::Rejected) => Judged::contradiction(),
            (Status::Failed | Status::Cancelled, _) if says_success => Judged::contradiction(),
            _ => Judged::late("already_settled"),
        };
        // Its first report of success always is news, so that what the records give is the same.
        self.dispatches[index].late_success |= says_success;
        self.note_once(index, outcome, cause, judged)
    }

    /// Records what changes nothing, the first time it is said.
    fn note_once(&mut self, index: usize, outcome: &Outcome, cause: &Cause, judged: Judged) -> Judged {
        let Judged::Recorded(recorded) = &judged else { return judged };
        if !self.dispatches[index].is_news(recorded.judgement, outcome) {
            return Judged::Repeat;
        }
        self.count_event(cause);
        judged
    }

    fn settled(&mut self, index: usize, outcome: &Outcome, status: Status, at: Timestamp, cause: &Cause) -> Judged {
        self.change(index, outcome, at, cause);
        let version = self.version;
        let dispatch = &mut self.dispatches[index];
        if status == Status::Succeeded {
            dispatch.doubtful.clear();
        } else {
            dispatch.rejected(outcome.attempt);
        }
        dispatch.settle(status, SettledBy::Target, version, at, cause);
        if status == Status::Succeeded {
            self.settle_if_all_have(at);
        } else {
            self.after_settlement(SettledBy::Target, at, cause);
        }
        Judged::applied()
    }

    fn accepted(&mut self, index: usize, outcome: &Outcome, at: Timestamp, cause: &Cause) -> Judged {
        let dispatch = &self.dispatches[index];
        let confirmed_by = &dispatch.terms.confirmed_by;
        let within = confirmed_by.within_ms.unwrap_or(i64::MAX);
        match dispatch.status {
            Status::InFlight => {
                self.change(index, outcome, at, cause);
                let version = self.version;
                let dispatch = &mut self.dispatches[index];
                dispatch.enter(Status::Awaiting, version, at, cause);
                dispatch.accepted_at = Some(at);
                dispatch.confirm_by = Some(at.plus_millis(within));
                dispatch.doubtful.insert(dispatch.attempts);
                if self.overdue {
                    self.hold(index, HeldBecause::FileOverdue, at, cause);
                }
                Judged::applied()
            }
            Status::Awaiting => {
                let first = dispatch.accepted_at.expect("AWAITING knows since when");
                let limit = first.plus_millis(confirmed_by.limit_ms.unwrap_or(within));
                let extended = said_at(outcome, at).plus_millis(within).min(limit);
                let due = dispatch.confirm_by.expect("AWAITING knows until when");
                let is_worth_an_event = extended.millis_since(due) >= within / LEAST_SHARE || extended == limit;
                if extended <= due || !is_worth_an_event {
                    return Judged::Repeat;
                }
                self.count_event(cause);
                let dispatch = &mut self.dispatches[index];
                dispatch.confirm_by = Some(extended);
                dispatch.last_outcome = Some(summary_of(outcome, at));
                Judged::applied()
            }
            _ => self.note_once(index, outcome, cause, Judged::late("attempt_ended")),
        }
    }

    fn not_processed(&mut self, index: usize, outcome: &Outcome, at: Timestamp, cause: &Cause) -> Judged {
        let confirms = outcome.reporter != Reporter::Transport;
        match self.dispatches[index].status {
            Status::InFlight => {}
            // Only whoever confirms may take an acceptance back; a response that comes after it says less.
            Status::Awaiting if confirms => {}
            _ => return self.note_once(index, outcome, cause, Judged::late("attempt_ended")),
        }
        self.change(index, outcome, at, cause);
        // Credentials are the transport's: nobody who may write an ack can pause a target for everyone.
        let refused = outcome.refusal && !confirms;
        let why = if refused { Unsettled::Refused } else { Unsettled::NotProcessed };
        self.attempt_ended(index, (why, SettledBy::Target), outcome.retry_after_ms, at, cause);
        Judged::applied_with(if refused { vec![self.pause_of(index, outcome)] } else { Vec::new() })
    }

    fn pause_of(&self, index: usize, outcome: &Outcome) -> Effect {
        let dispatch = &self.dispatches[index];
        let attempt = dispatch.attempt.expect("a refusal answers an attempt");
        Effect::PauseTarget {
            target: dispatch.target().clone(),
            code: outcome.code.clone(),
            authorized_at: attempt.authorized_at,
        }
    }

    fn unknown(&mut self, index: usize, outcome: &Outcome, at: Timestamp, cause: &Cause) -> Judged {
        if self.dispatches[index].status != Status::InFlight {
            return self.note_once(index, outcome, cause, Judged::late("attempt_ended"));
        }
        self.change(index, outcome, at, cause);
        self.attempt_ended(index, (Unsettled::Unknown, SettledBy::Target), outcome.retry_after_ms, at, cause);
        Judged::applied()
    }

    /// Counts an event that changes the dispatch.
    pub(super) fn change(&mut self, index: usize, outcome: &Outcome, at: Timestamp, cause: &Cause) {
        self.count_event(cause);
        self.changed_at_version = self.version;
        self.dispatches[index].last_outcome = Some(summary_of(outcome, at));
        self.dispatches[index].remember(outcome);
    }

    /// What follows an attempt that settled nothing: a retry, a person, or the end, which is settled by whoever ended
    /// the attempt.
    pub(super) fn attempt_ended(
        &mut self,
        index: usize,
        (why, by): (Unsettled, SettledBy),
        retry_after_ms: Option<i64>,
        at: Timestamp,
        cause: &Cause,
    ) {
        let version = self.version;
        let overdue = self.overdue;
        let dispatch = &mut self.dispatches[index];
        let refusals_left = dispatch.spent.refusals < dispatch.terms.retry.refusals;
        if why == Unsettled::Refused && refusals_left && !dispatch.newest_attempt_was_granted() {
            // A refused attempt spends the refusals budget, while there is any, in place of the retry budget.
            dispatch.spent.attempts -= 1;
            dispatch.spent.refusals += 1;
        }
        if matches!(why, Unsettled::Unknown | Unsettled::Overdue) {
            dispatch.doubtful.insert(dispatch.attempts);
        } else {
            dispatch.doubtful.remove(&dispatch.attempts);
        }
        let terms = &dispatch.terms;
        if why == Unsettled::Unknown && terms.on_unknown == OnUnknown::Hold {
            return self.hold(index, HeldBecause::FateUnknown, at, cause);
        }
        if overdue {
            return self.hold(index, HeldBecause::FileOverdue, at, cause);
        }
        if why == Unsettled::Refused && dispatch.spent.refusals >= terms.retry.refusals {
            return self.hold(index, HeldBecause::Refused, at, cause);
        }
        let first = dispatch.first_attempt_at.expect("an attempt was authorized");
        let key = dispatch_key(&self.arrival.file_id, &terms.target);
        let due = next_attempt_at(&key, &terms.retry, dispatch.attempts, at, first, retry_after_ms)
            .filter(|_| dispatch.spent.attempts < terms.retry.attempts);
        match (due, terms.on_exhausted) {
            (Some(due), _) => {
                dispatch.enter(Status::BackingOff, version, at, cause);
                dispatch.retry_at = Some(due);
            }
            (None, OnExhausted::Hold) => self.hold(index, HeldBecause::BudgetSpent, at, cause),
            (None, OnExhausted::Fail) => {
                dispatch.settle(Status::Failed, by, version, at, cause);
                self.after_settlement(by, at, cause);
            }
        }
    }

    pub(super) fn hold(&mut self, index: usize, because: HeldBecause, at: Timestamp, cause: &Cause) {
        if self.is_fetching() {
            return self.give_fetch_up(because, at, cause);
        }
        let version = self.version;
        self.dispatches[index].hold(because, version, at, cause);
    }
}

/// Why a report of success isn't one where the plan asks for a receipt: it doesn't say what arrived, or something else did.
fn unproven(receipt: Option<&str>, outcome: &Outcome) -> Option<&'static str> {
    let says_success = matches!(outcome.kind, OutcomeKind::Succeeded | OutcomeKind::Duplicate);
    let receipt = receipt.filter(|_| says_success)?;
    match outcome.received_digest.as_deref() {
        None => Some("receipt_missing"),
        Some(received) if received != receipt => Some("receipt_differs"),
        Some(_) => None,
    }
}

/// When a report was made: appended to acks, or brought in by one of consign's processes. That it is read late, or a second
/// time, makes it no younger.
fn said_at(outcome: &Outcome, read_at: Timestamp) -> Timestamp {
    outcome.origin.as_ref().map_or(outcome.reported_at, |origin| origin.timestamp).min(read_at)
}

fn summary_of(outcome: &Outcome, at: Timestamp) -> LastOutcome {
    LastOutcome { kind: outcome.kind, code: outcome.code.clone(), at, attempt: outcome.attempt }
}
