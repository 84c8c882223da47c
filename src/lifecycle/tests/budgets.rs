//! Attempts and the budgets that they spend.

use super::*;
use crate::record::Authorization::{Operator, RetryBudget};
use crate::record::{HeldBecause, OnOverdue};

#[test]
fn refusals_never_exceed_their_budget_whatever_operators_grant() {
    let mut file = validated(vec![plan_with(|p| {
        (p.retry.attempts, p.retry.operator_attempts, p.retry.refusals) = (2, 3, 1);
    })]);
    let mut ms = 0;
    file.attempt_at("a", ms);
    file.refuse("a", ms);
    for _ in 0..3 {
        assert_eq!(file.ask(Some("a"), Action::Retry), applied());
        file.attempt_at("a", ms);
        file.transport("a", ms, OutcomeKind::Retryable);
        if file.status("a") == Status::BackingOff {
            ms += 1_000;
            file.attempt_at("a", ms);
            file.refuse("a", ms);
        }
        let left = file.dispatch("a").budget_left();
        assert!(left.refusals >= 0 && left.attempts >= 0, "{left:?}");
    }
    assert_eq!(file.status("a"), Status::Held);
    assert!(file.dispatch("a").attempts <= 2 + 3 + 1);
}

fn grant_and_attempt(file: &mut File, ms: i64) {
    assert_eq!(file.ask(Some("a"), Action::Retry), applied());
    file.attempt_at("a", ms);
}

#[test]
fn attempts_are_numbered_from_one_without_a_gap_whoever_authorizes_them() {
    let mut file = validated(vec![plan_with(|p| (p.retry.attempts, p.retry.operator_attempts) = (2, 2))]);
    let mut numbers = Vec::new();
    let mut ms = 0;
    while file.dispatch("a").attempts < 4 {
        if file.status("a") == Status::Held {
            file.ask(Some("a"), Action::Retry);
        }
        ms += 5_000;
        let attempt = file.authorize(0, after_ms(ms), "w");
        numbers.push((attempt.attempt, attempt.authorized_by, attempt.attempts_left));
        file.authorized(&attempt);
        assert!(!file.may_authorize(0, after_ms(ms * 10)), "one is open at a time");
        file.transport("a", ms, OutcomeKind::Retryable);
    }
    assert_eq!(numbers, [(1, RetryBudget, 1), (2, RetryBudget, 0), (3, Operator, 0), (4, Operator, 0)]);
    assert_eq!(file.ask(Some("a"), Action::Retry), Judged::refused("operator_budget_spent"));
}

#[test]
fn the_deadline_of_an_attempt_leaves_time_to_send_to_answer_and_for_clocks_to_differ() {
    let file = validated(vec![planned("f", "a")]);
    let attempt = file.authorize(0, START, "w");
    assert_eq!((attempt.send_before, attempt.deadline), (after_ms(10_000), after_ms(25_000)));
}

#[test]
fn refusals_spend_a_budget_of_their_own_pause_the_target_and_end_in_held() {
    let mut file = validated(vec![plan_with(|p| (p.retry.attempts, p.retry.refusals) = (1, 3))]);
    let mut ms = 0;
    for refusals in 1..=3 {
        file.attempt_at("a", ms);
        let Judged::Recorded(recorded) = file.refuse("a", ms + 1) else { panic!("recorded") };
        let pause = Effect::PauseTarget {
            target: TargetName::trusted("a"),
            code: "http_401".into(),
            authorized_at: after_ms(ms),
        };
        assert_eq!(recorded.effects, [pause]);
        assert_eq!(file.dispatch("a").spent, Spent { refusals, ..Spent::default() });
        ms += 5_000;
    }
    assert_eq!(file.dispatch("a").held_because, Some(HeldBecause::Refused));
    grant_and_attempt(&mut file, ms);
    file.refuse("a", ms + 1);
    let spent = Spent { refusals: 3, operator_attempts: 1, attempts: 0 };
    assert_eq!((file.status("a"), file.dispatch("a").spent), (Status::Held, spent));
}

#[test]
fn a_granted_attempt_that_is_known_not_to_be_processed_is_followed_by_the_rest_of_the_retry_budget() {
    let mut file = in_status(&planned("f", "a"), Status::Held);
    grant_and_attempt(&mut file, 3_000);
    file.transport("a", 4_000, OutcomeKind::Retryable);
    assert_eq!(file.status("a"), Status::BackingOff);
    file.attempt_at("a", 5_000);
    file.transport("a", 6_000, OutcomeKind::Retryable);
    assert_eq!(file.dispatch("a").held_because, Some(HeldBecause::BudgetSpent));
}

#[test]
fn a_target_is_never_asked_again_earlier_than_it_said() {
    let asked = |retry_after_ms| {
        let mut file = validated(vec![planned("f", "a")]);
        file.attempt_at("a", 0);
        file.told("a", 10, (Some(1), OutcomeKind::Retryable, Reporter::Transport), |r| {
            r.retry_after_ms = Some(retry_after_ms);
        });
        file
    };
    let within = asked(60_000);
    assert!(!within.may_authorize(0, after_ms(60_009)));
    assert!(within.may_authorize(0, after_ms(60_010)));
    assert!(asked(1).dispatch("a").retry_at == Some(after_ms(1_010)), "the plan's own back-off is the shortest");
    let longest = planned("f", "a").retry.retry_after_max_ms;
    assert_eq!(asked(longest).status("a"), Status::BackingOff);
    assert_eq!(asked(longest + 1).dispatch("a").held_because, Some(HeldBecause::BudgetSpent));
}

#[test]
fn retries_end_when_the_plan_gives_up() {
    let ended_at = |ms| {
        let mut file = validated(vec![plan_with(|p| p.retry.give_up_after_ms = Some(30_000))]);
        file.attempt_at("a", 0);
        file.transport("a", ms, OutcomeKind::Retryable);
        file.status("a")
    };
    assert_eq!(ended_at(29_000), Status::BackingOff);
    assert_eq!(ended_at(29_001), Status::Held);
}

#[test]
fn the_back_off_of_an_attempt_is_the_same_in_every_run() {
    let retry_at = || {
        let mut file = validated(vec![plan_with(|p| p.retry.jitter_percent = 50)]);
        file.attempt_at("a", 0);
        file.transport("a", 0, OutcomeKind::Retryable);
        file.dispatch("a").retry_at
    };
    assert_eq!(retry_at(), Some(after_ms(1_420)), "420 of 500: the first four bytes of the SHA-256 of f/a/1");
    assert_eq!(retry_at(), retry_at());
}

#[test]
fn a_held_target_sees_a_second_request_after_a_known_no_or_a_person_only() {
    for kind in [OutcomeKind::Unknown, OutcomeKind::Accepted] {
        let mut file = validated(vec![plan_with(|p| p.on_overdue = OnOverdue::Retry)]);
        file.attempt_at("a", 0);
        file.transport("a", 1, kind);
        if kind == OutcomeKind::Accepted {
            file.falls_due(TimerKind::ConfirmationDeadline);
        }
        assert!(!file.may_authorize(0, after_ms(100_000_000)), "{kind}");
        file.ask(Some("a"), Action::Retry);
        assert!(file.may_authorize(0, after_ms(100_000_000)), "{kind}");
    }
    let mut file = validated(vec![planned("f", "a")]);
    file.attempt_at("a", 0);
    file.transport("a", 1, OutcomeKind::Retryable);
    assert!(file.may_authorize(0, after_ms(5_000)));
}

#[test]
fn the_same_key_and_plan_go_with_every_attempt() {
    let mut file = validated(vec![planned("f", "a")]);
    let first = file.authorize(0, START, "w");
    file.authorized(&first);
    file.transport("a", 1, OutcomeKind::Retryable);
    let second = file.authorize(0, after_ms(5_000), "w2");
    assert_eq!(first.idempotency_key, "f/a");
    assert_eq!((first.idempotency_key, first.plan_digest), (second.idempotency_key, second.plan_digest));
}
