//! What a FAILED file's successor is limited to.

use super::*;
use crate::record::{Arrival, Judgement, OnExhausted, OnOverdue, OnUnknown};

/// What a resubmit sends, without and with `resend_unknown`.
fn resends(file: &File) -> (bool, bool) {
    (file.targets_to_resend(false).is_some(), file.targets_to_resend(true).is_some())
}

const NOTHING: (bool, bool) = (false, false);
const ONLY_WHERE_SAID: (bool, bool) = (false, true);
const FREELY: (bool, bool) = (true, true);

/// A file for `a` alone: the first attempt ends with an unknown fate, the second by a definite no.
fn rejected_after_unknown(on_unknown: OnUnknown) -> File {
    let mut file = validated(vec![plan_with(|p| p.on_unknown = on_unknown)]);
    file.attempt_at("a", 0);
    file.transport("a", 1, OutcomeKind::Unknown);
    if on_unknown == OnUnknown::Hold {
        assert_eq!(file.ask(Some("a"), Action::Retry), applied());
    }
    file.attempt_at("a", 5_000);
    file.transport("a", 5_001, OutcomeKind::Rejected);
    assert_eq!(file.state, State::Failed);
    file
}

#[test]
fn a_no_to_one_attempt_says_nothing_of_an_earlier_one_where_the_key_is_not_trusted() {
    assert_eq!(resends(&rejected_after_unknown(OnUnknown::Hold)), ONLY_WHERE_SAID);
    assert_eq!(resends(&rejected_after_unknown(OnUnknown::Retry)), FREELY);
}

#[test]
fn a_no_to_an_old_attempt_leaves_the_open_one_in_doubt() {
    let mut file = validated(vec![plan_with(|p| p.on_unknown = OnUnknown::Retry)]);
    file.attempt_at("a", 0);
    file.transport("a", 1, OutcomeKind::Unknown);
    file.attempt_at("a", 5_000);
    file.told("a", 5_001, (Some(1), OutcomeKind::Rejected, Reporter::Transport), |_| {});
    assert_eq!(resends(&file), ONLY_WHERE_SAID);
}

#[test]
fn what_the_target_took_back_is_not_in_doubt() {
    let mut file = validated(vec![plan_with(|p| (p.on_exhausted, p.retry.attempts) = (OnExhausted::Fail, 1))]);
    file.attempt_at("a", 0);
    file.transport("a", 1, OutcomeKind::Accepted);
    file.told("a", 2, (Some(1), OutcomeKind::Retryable, Reporter::Acks), |_| {});
    assert_eq!(file.state, State::Failed);
    assert_eq!(resends(&file), FREELY);
}

#[test]
fn an_accepted_request_without_a_confirmation_is_in_doubt() {
    let mut file = validated(vec![plan_with(|p| p.on_overdue = OnOverdue::Fail)]);
    file.attempt_at("a", 0);
    file.transport("a", 1, OutcomeKind::Accepted);
    file.falls_due(TimerKind::ConfirmationDeadline);
    assert_eq!(file.state, State::Failed);
    assert_eq!(resends(&file), ONLY_WHERE_SAID);
}

#[test]
fn what_was_on_the_wire_when_a_person_ended_it_is_in_doubt() {
    let ended = |target, action| {
        let mut file = validated(vec![planned("f", "a")]);
        file.attempt_at("a", 0);
        assert_eq!(file.ask(target, action), applied());
        resends(&file)
    };
    assert_eq!(ended(Some("a"), Action::Fail), ONLY_WHERE_SAID);
    assert_eq!(ended(None, Action::Cancel), ONLY_WHERE_SAID);
}

#[test]
fn a_late_success_is_not_sent_again() {
    let mut file = validated(vec![planned("f", "a"), planned("f", "b")]);
    file.attempt_at("a", 0);
    file.attempt_at("b", 0);
    file.transport("a", 1, OutcomeKind::Rejected);
    file.transport("b", 2, OutcomeKind::Rejected);
    file.ack("a", 3, OutcomeKind::Succeeded);
    assert_eq!(file.targets_to_resend(true), Some(vec![TargetName::trusted("b")]));
    file.ack("b", 4, OutcomeKind::Succeeded);
    assert_eq!(resends(&file), NOTHING);
    let refused = Judged::refused("nothing_to_resend");
    assert_eq!(file.ask(None, Action::Resubmit), refused);
}

#[test]
fn a_failed_file_has_one_successor_limited_to_what_did_not_succeed() {
    let mut file = validated(vec![planned("f", "a"), planned("f", "b"), plan_after("c", &["b"])]);
    file.attempt_at("a", 0);
    file.attempt_at("b", 0);
    assert_eq!(file.ask(None, Action::Resubmit), Judged::refused("not_failed"));
    file.ack("a", 1, OutcomeKind::Succeeded);
    file.transport("b", 2, OutcomeKind::Rejected);
    assert_eq!(file.state, State::Failed);
    let Judged::Recorded(recorded) = file.ask(None, Action::Resubmit) else { panic!("recorded") };
    let only_targets = ["b", "c"].map(TargetName::trusted).to_vec();
    let successor = FileId::trusted("f~1");
    assert_eq!(recorded.judgement, Judgement::Applied);
    assert_eq!(recorded.effects, [Effect::StartSuccessor { successor: successor.clone(), only_targets }]);
    assert_eq!((file.state, file.successor.clone()), (State::Failed, Some(successor)));
    assert_eq!(file.ask(None, Action::Resubmit), Judged::refused("already_resubmitted"));
}

#[test]
fn a_file_that_never_had_a_plan_is_sent_to_every_target_again() {
    let mut file = File::arrived(arrival("f"), after_ms(1_000_000));
    file.invalid(crate::record::Failure { code: "schema".into(), text: "no amount".into() }, START, &cause(1));
    let Judged::Recorded(recorded) = file.ask(None, Action::Resubmit) else { panic!("recorded") };
    let successor = FileId::trusted("f~1");
    assert_eq!(recorded.effects, [Effect::StartSuccessor { successor, only_targets: Vec::new() }]);
}

#[test]
fn a_successor_that_never_had_a_plan_leaves_its_limits_to_its_own_successor() {
    let only = vec![TargetName::trusted("b")];
    let limited = Arrival { only_targets: Some(only.clone()), ..Arrival::clone(&arrival("f~1")) };
    let mut file = File::arrived(std::sync::Arc::new(limited), after_ms(1_000_000));
    file.invalid(crate::record::Failure { code: "schema".into(), text: "no amount".into() }, START, &cause(1));
    assert_eq!(file.targets_to_resend(true), Some(only));
}
