//! The invariants, asserted by comparing a file before an event with the file after it.

use std::collections::BTreeMap;

use consign::lifecycle::{Dispatch, File, Judged};
use consign::record::{
    Authorization, Judgement, NextEventKind, OnUnknown, OutcomeKind, State, Status, TargetName, TimerKind, Timestamp,
};

/// The event that was given to the machine.
pub enum Given {
    Planned,
    Attempt,
    Report { target: TargetName, kind: OutcomeKind, attempt: Option<i32> },
    Timer { target: Option<TargetName>, what: TimerKind },
    Intervention,
}

/// What the watcher remembers on its own: by what each dispatch's newest attempt ended.
#[derive(Default)]
pub struct Watch {
    ended_by: BTreeMap<TargetName, OutcomeKind>,
}

fn rank(state: State) -> usize {
    State::ALL.iter().position(|s| *s == state).expect("a state")
}

fn is_terminal(file: &File) -> bool {
    matches!(file.state, State::Completed | State::Failed)
}

impl Watch {
    pub fn check(&mut self, before: &File, given: &Given, judged: Option<&Judged>, after: &File, now: Timestamp) {
        versions(before, judged, after);
        lifecycle(before, after);
        verdict(after);
        for (old, new) in before.dispatches.iter().zip(&after.dispatches) {
            self.dispatch(before, old, new, given, now);
            budgets(new);
        }
        next_events(after);
    }

    fn dispatch(&mut self, before: &File, old: &Dispatch, new: &Dispatch, given: &Given, now: Timestamp) {
        let target = new.target();
        let moved = old.status != new.status || old.attempts != new.attempts;
        assert_eq!(moved, old.version != new.version, "{target}: its version changes with status or attempt only");
        if old.is_settled() {
            assert!(!moved && old.settled_by == new.settled_by, "{target}: a settled dispatch changed");
        }
        if new.attempts != old.attempts {
            self.authorized(before, old, new, now);
        }
        if old.status == Status::InFlight && moved {
            let kind = match given {
                Given::Report { kind, .. } => *kind,
                Given::Timer { what: TimerKind::AttemptDeadline, .. } | Given::Intervention => OutcomeKind::Unknown,
                _ => panic!("{target}: left IN_FLIGHT without an outcome, a deadline or a person"),
            };
            self.ended_by.insert(target.clone(), kind);
        } else if old.status == Status::Awaiting && moved {
            let kind = if let Given::Report { kind, .. } = given { *kind } else { OutcomeKind::Unknown };
            self.ended_by.insert(target.clone(), kind);
        }
        if old.status == Status::Held && moved {
            let allowed = matches!(given, Given::Intervention | Given::Report { .. });
            assert!(allowed, "I13 {target}: left HELD without an intervention or a late outcome");
        }
        if let Given::Report { target: about, kind, attempt } = given
            && moved
            && about == target
            && *attempt != Some(old.attempts)
        {
            let settles = matches!(kind, OutcomeKind::Succeeded | OutcomeKind::Duplicate | OutcomeKind::Rejected);
            assert!(settles && new.is_settled(), "{target}: an old report did more than settle");
        }
        if let Given::Timer { target: about, .. } = given
            && about.as_ref().is_some_and(|t| t != target)
            && moved
        {
            assert_eq!(new.status, Status::Cancelled, "{target}: moved by another's timer");
        }
    }

    fn authorized(&self, before: &File, old: &Dispatch, new: &Dispatch, now: Timestamp) {
        let target = new.target();
        let attempt = new.attempt.as_ref().expect("an attempt");
        assert_eq!(new.attempts, old.attempts + 1, "I6 {target}: a gap");
        assert_ne!(old.status, Status::InFlight, "I6 {target}: two open attempts");
        assert!(!old.is_settled() && !is_terminal(before), "I9 {target}: authorized after the end");
        let by_operator = attempt.authorized_by == Authorization::Operator;
        if old.attempts > 0 && new.terms.on_unknown == OnUnknown::Hold {
            let known = self.ended_by.get(target) == Some(&OutcomeKind::Retryable);
            assert!(known || by_operator, "I8 {target}: sent again although its fate is unknown");
        }
        for other in &before.dispatches {
            let waited_for = new.terms.after.contains(other.target());
            assert!(!waited_for || other.status == Status::Succeeded, "{target}: sent before its turn");
        }
        if before.overdue || now >= before.deadline {
            assert!(by_operator, "{target}: authorized after the file's deadline");
        }
    }
}

fn versions(before: &File, judged: Option<&Judged>, after: &File) {
    match judged {
        Some(Judged::Repeat) => assert_eq!(before, after, "a repeat changed the file"),
        _ => assert_eq!(after.version, before.version + 1, "I2: one version an event"),
    }
    if let Some(Judged::Recorded(recorded)) = judged
        && recorded.judgement != Judgement::Applied
    {
        assert_eq!(before.state, after.state);
        assert_eq!(before.changed_at_version, after.changed_at_version, "what changes nothing makes no view stale");
        for (old, new) in before.dispatches.iter().zip(&after.dispatches) {
            assert_eq!((old.status, old.version), (new.status, new.version), "what isn't applied moves nothing");
        }
    }
}

fn lifecycle(before: &File, after: &File) {
    assert!(rank(after.state) >= rank(before.state), "I2: {} became {}", before.state, after.state);
    if is_terminal(before) {
        assert_eq!(
            (before.state, &before.reason, before.settled_at, before.deadline),
            (after.state, &after.reason, after.settled_at, after.deadline),
            "I2: something followed the end"
        );
    }
    if after.state == State::Completed {
        assert!(after.distributing_at.is_some(), "a COMPLETED file was DISTRIBUTING before");
    }
}

fn verdict(file: &File) {
    let all_succeeded = !file.dispatches.is_empty() && file.dispatches.iter().all(|d| d.status == Status::Succeeded);
    let all_settled = !file.dispatches.is_empty() && file.dispatches.iter().all(Dispatch::is_settled);
    assert_eq!(file.state == State::Completed, all_succeeded, "I3: COMPLETED iff all SUCCEEDED");
    let cancelled = file.reason.as_ref().is_some_and(|r| r.code == "cancelled");
    assert_eq!(file.state == State::Failed, cancelled || (all_settled && !all_succeeded), "I3: FAILED");
    assert_eq!(file.settled_at.is_some(), is_terminal(file));
}

fn budgets(dispatch: &Dispatch) {
    let (plan, spent, target) = (&dispatch.terms.retry, &dispatch.spent, dispatch.target());
    assert!((0..=plan.attempts).contains(&spent.attempts), "I6 {target}: {spent:?} of {plan:?}");
    assert!((0..=plan.operator_attempts).contains(&spent.operator_attempts), "I6 {target}: {spent:?} of {plan:?}");
    assert!((0..=plan.refusals).contains(&spent.refusals), "I6 {target}: {spent:?} of {plan:?}");
    assert!(dispatch.attempts <= spent.attempts + spent.operator_attempts + spent.refusals, "I6 {target}");
}

/// I12, and more: the next event is one that can happen, by a timer that waits or an attempt that may be authorized.
fn next_events(file: &File) {
    if is_terminal(file) {
        assert!(file.next_event().is_none() && file.timers().is_empty(), "nothing follows the end");
        return;
    }
    assert!(file.accountable().is_some(), "I12: nobody is accountable");
    let next = file.next_event().expect("I12: nothing happens next");
    let timers = file.timers();
    for index in 0..file.dispatches.len() {
        let dispatch = &file.dispatches[index];
        let own = file.next_event_of(index);
        if dispatch.is_settled() {
            assert!(own.is_none() && dispatch.accountable().is_none());
            continue;
        }
        assert!(dispatch.accountable().is_some(), "I12: nobody is accountable for {}", dispatch.target());
        let own = own.expect("I12: nothing happens next to a dispatch");
        assert!(next.at <= own.at, "the file's next event is the earliest");
        match own.what {
            NextEventKind::Attempt => {
                let may = file.may_authorize(index, own.at);
                assert!(may, "I12 {}: {own:?} can't happen, {:?}", dispatch.target(), dispatch.status);
            }
            what => {
                let waits = timers.iter().any(|t| t.timer.what.as_str() == what.as_str() && t.timer.due == own.at);
                assert!(waits, "I12 {}: no timer waits for {own:?}", dispatch.target());
            }
        }
    }
}
