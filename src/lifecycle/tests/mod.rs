//! What the tables don't show: sequences, one file here for each part of the contract.

mod budgets;
mod deadlines;
mod escalation;
mod fetches;
mod folding;
mod interventions;
mod reports;
mod resubmit;
mod settlement;

use super::specimen::*;
use super::*;
use crate::record::{Action, Outcome, OutcomeKind, PlannedDispatch, Reporter, State, Status, TimerKind};

/// `START` and that many milliseconds.
fn after_ms(ms: i64) -> Timestamp {
    START.plus_millis(ms)
}

/// A plan for target `a`, adapted.
fn plan_with(adapt: impl FnOnce(&mut PlannedDispatch)) -> PlannedDispatch {
    plan_at("a", adapt)
}

/// A plan for a target, adapted.
fn plan_at(target: &str, adapt: impl FnOnce(&mut PlannedDispatch)) -> PlannedDispatch {
    let mut plan = planned("f", target);
    adapt(&mut plan);
    plan
}

/// A plan for a target that waits for others.
fn plan_after(target: &str, after: &[&str]) -> PlannedDispatch {
    plan_at(target, |p| p.after = after.iter().map(|t| TargetName::trusted(t)).collect())
}

impl File {
    fn dispatch(&self, target: &str) -> &Dispatch {
        &self.dispatches[self.index_of(&TargetName::trusted(target)).expect("planned")]
    }

    fn status(&self, target: &str) -> Status {
        self.dispatch(target).status
    }

    /// Authorizes the next attempt at a target.
    fn attempt_at(&mut self, target: &str, ms: i64) {
        let index = self.index_of(&TargetName::trusted(target)).expect("planned");
        self.attempt_now(index, after_ms(ms));
    }

    /// Judges a report about a target at a time, adapted first.
    fn told(
        &mut self,
        target: &str,
        ms: i64,
        (attempt, kind, reporter): (Option<i32>, OutcomeKind, Reporter),
        adapt: impl FnOnce(&mut Outcome),
    ) -> Judged {
        let mut report = outcome(self, target, attempt, kind, reporter);
        report.reported_at = after_ms(ms);
        adapt(&mut report);
        let index = self.index_of(&report.target).expect("planned");
        self.report(index, &report, after_ms(ms), &cause(self.version))
    }

    /// The transport's report about the newest attempt.
    fn transport(&mut self, target: &str, ms: i64, kind: OutcomeKind) -> Judged {
        let newest = Some(self.dispatch(target).attempts);
        self.told(target, ms, (newest, kind, Reporter::Transport), |_| {})
    }

    /// A 401 or its like about the newest attempt.
    fn refuse(&mut self, target: &str, ms: i64) -> Judged {
        let newest = Some(self.dispatch(target).attempts);
        self.told(target, ms, (newest, OutcomeKind::Retryable, Reporter::Transport), |r| {
            (r.refusal, r.code) = (true, "http_401".into());
        })
    }

    /// An ack that names no attempt.
    fn ack(&mut self, target: &str, ms: i64, kind: OutcomeKind) -> Judged {
        self.told(target, ms, (None, kind, Reporter::Acks), |_| {})
    }

    /// The timer of that kind that the file waits for.
    fn waiting(&self, what: TimerKind) -> DueTimer {
        self.timers().into_iter().find(|t| t.timer.what == what).expect("the file waits for it")
    }

    /// Reads back the timer of that kind that the file waits for, as soon as it is due.
    fn falls_due(&mut self, what: TimerKind) -> Judged {
        let due = self.waiting(what);
        self.read_back(&due, 0)
    }
}

fn applied() -> Judged {
    Judged::applied()
}
