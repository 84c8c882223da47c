//! Attempts and the budgets that they spend.

use super::*;

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
