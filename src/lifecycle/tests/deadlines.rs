//! Deadlines of attempts, confirmations and the file.

use super::*;
use crate::record::{HeldBecause, OnExhausted, OnOverdue, OnUnknown, SettledBy};

#[test]
fn an_overdue_confirmation_never_sends_again_to_a_target_that_must_be_held() {
    let mut file = validated(vec![plan_with(|p| (p.on_unknown, p.on_overdue) = (OnUnknown::Hold, OnOverdue::Retry))]);
    file.attempt_at("a", 0);
    file.transport("a", 1, OutcomeKind::Accepted);
    file.falls_due(TimerKind::ConfirmationDeadline);
    assert_eq!(file.dispatch("a").held_because, Some(HeldBecause::ConfirmationOverdue));
}

#[test]
fn a_budget_that_a_deadline_used_up_is_settled_by_the_deadline() {
    let spent_by = |end: fn(&mut File) -> Judged| {
        let mut file = validated(vec![plan_with(|p| {
            (p.on_unknown, p.on_exhausted, p.retry.attempts) = (OnUnknown::Retry, OnExhausted::Fail, 1);
        })]);
        file.attempt_at("a", 0);
        end(&mut file);
        assert_eq!(file.status("a"), Status::Failed);
        file.dispatch("a").settled_by
    };
    assert_eq!(spent_by(|file| file.falls_due(TimerKind::AttemptDeadline)), Some(SettledBy::Deadline));
    assert_eq!(spent_by(|file| file.transport("a", 1, OutcomeKind::Unknown)), Some(SettledBy::Target));
}

#[test]
fn a_plan_that_comes_after_the_provisional_deadline_has_its_own() {
    let mut file = File::arrived(arrival("f"), after_ms(1_000));
    file.falls_due(TimerKind::FileDeadline);
    assert!(file.overdue);
    let mut plan = planned("f", "a");
    plan.version = file.version + 1;
    file.planned(plan_of(vec![plan]));
    assert!(file.may_authorize(0, after_ms(2_000)), "the plan's deadline is days away");
    file.falls_due(TimerKind::FileDeadline);
    assert_eq!(file.dispatch("a").held_because, Some(HeldBecause::FileOverdue));
}
