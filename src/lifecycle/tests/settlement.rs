//! `after`, `on_failed` and the end of the file.

use super::*;

#[test]
fn an_after_on_a_target_outside_the_plan_counts_as_met() {
    let mut file = validated(vec![plan_after("b", &["a"])]);
    assert!(file.may_authorize(0, START));
    file.attempt_at("b", 0);
    file.ack("b", 1, OutcomeKind::Succeeded);
    assert_eq!(file.state, State::Completed);
}
