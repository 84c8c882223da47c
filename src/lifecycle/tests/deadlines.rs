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
