//! `after`, `on_failed` and the end of the file.

use super::*;
use crate::record::{Failure, OnFailed, SettledBy};

#[test]
fn an_after_on_a_target_outside_the_plan_counts_as_met() {
    let mut file = validated(vec![plan_after("b", &["a"])]);
    assert!(file.may_authorize(0, START));
    file.attempt_at("b", 0);
    file.ack("b", 1, OutcomeKind::Succeeded);
    assert_eq!(file.state, State::Completed);
}

fn statuses(file: &File) -> Vec<Status> {
    file.dispatches.iter().map(|d| d.status).collect()
}

#[test]
fn a_file_is_completed_when_all_have_succeeded_and_not_before() {
    let mut file = validated(vec![planned("f", "a"), planned("f", "b")]);
    assert_eq!(file.state, State::Validated);
    file.attempt_at("a", 5);
    assert_eq!((file.state, file.distributing_at), (State::Distributing, Some(after_ms(5))));
    file.attempt_at("b", 6);
    assert_eq!(file.distributing_at, Some(after_ms(5)), "the first attempt");
    file.ack("a", 7, OutcomeKind::Succeeded);
    assert_eq!((file.state, file.settled_at), (State::Distributing, None));
    file.ack("b", 8, OutcomeKind::Duplicate);
    assert_eq!((file.state, file.settled_at), (State::Completed, Some(after_ms(8))));
}

#[test]
fn a_dispatch_waits_for_the_success_of_others() {
    let mut file = validated(vec![planned("f", "a"), planned("f", "b"), plan_after("c", &["a", "b"])]);
    file.attempt_at("a", 0);
    file.attempt_at("b", 0);
    file.ack("a", 1, OutcomeKind::Succeeded);
    assert!(!file.may_authorize(2, after_ms(2)));
    file.transport("b", 2, OutcomeKind::Accepted);
    assert!(!file.may_authorize(2, after_ms(3)), "accepted is not confirmed");
    file.ack("b", 3, OutcomeKind::Succeeded);
    assert!(file.may_authorize(2, after_ms(4)));
}

#[test]
fn a_failure_cancels_what_waits_for_it_and_what_waits_for_that() {
    let mut file =
        validated(vec![planned("f", "a"), plan_after("b", &["a"]), plan_after("c", &["b"]), planned("f", "d")]);
    file.attempt_at("a", 0);
    file.transport("a", 1, OutcomeKind::Rejected);
    assert_eq!(statuses(&file), [Status::Failed, Status::Cancelled, Status::Cancelled, Status::Pending]);
    assert_eq!(file.state, State::Distributing, "the others finish");
    file.attempt_at("d", 2);
    file.ack("d", 3, OutcomeKind::Succeeded);
    assert_eq!(file.state, State::Failed);
    let reason = file.reason.expect("a FAILED file says why");
    assert_eq!((reason.code.as_str(), reason.text.as_str()), ("dispatch_failed", "no success at a, b, c"));
}

#[test]
fn on_failed_cancel_settles_what_was_never_sent_and_nothing_else() {
    let names = ["a", "pending", "flying", "backing-off", "held"];
    let mut file = validated(names.map(|name| plan_at(name, |p| p.on_failed = OnFailed::Cancel)).to_vec());
    for target in ["a", "flying", "backing-off", "held"] {
        file.attempt_at(target, 0);
    }
    file.transport("backing-off", 1, OutcomeKind::Retryable);
    file.transport("held", 1, OutcomeKind::Unknown);
    file.transport("a", 2, OutcomeKind::Rejected);
    let expected = [Status::Failed, Status::Cancelled, Status::InFlight, Status::BackingOff, Status::Held];
    assert_eq!(statuses(&file), expected);
    assert_eq!(file.dispatch("pending").settled_by, Some(SettledBy::Target));
}

#[test]
fn on_failed_is_the_failing_dispatchs_own() {
    let mut file = validated(vec![planned("f", "a"), plan_at("b", |p| p.on_failed = OnFailed::Cancel)]);
    file.attempt_at("a", 0);
    file.transport("a", 1, OutcomeKind::Rejected);
    assert_eq!(statuses(&file), [Status::Failed, Status::Pending]);
}

#[test]
fn what_was_held_unsent_is_cancelled_with_what_it_waited_for() {
    let mut file = validated(vec![planned("f", "a"), plan_after("b", &["a"])]);
    file.attempt_at("a", 0);
    file.falls_due(TimerKind::FileDeadline);
    assert_eq!(file.status("b"), Status::Held);
    assert_eq!(file.ask(Some("b"), Action::Retry), Judged::refused("after_not_met"));
    file.transport("a", 1, OutcomeKind::Rejected);
    assert_eq!(statuses(&file), [Status::Failed, Status::Cancelled]);
    assert_eq!(file.state, State::Failed);
}

#[test]
fn an_old_report_settles_but_never_causes_a_retry() {
    let second_attempt = || {
        let mut file = validated(vec![planned("f", "a")]);
        file.attempt_at("a", 0);
        file.transport("a", 1, OutcomeKind::Retryable);
        file.attempt_at("a", 5_000);
        file
    };
    for attempt in [None, Some(1)] {
        for (kind, status) in [
            (OutcomeKind::Succeeded, Status::Succeeded),
            (OutcomeKind::Duplicate, Status::Succeeded),
            (OutcomeKind::Rejected, Status::Failed),
            (OutcomeKind::Retryable, Status::InFlight),
            (OutcomeKind::Unknown, Status::InFlight),
            (OutcomeKind::Accepted, Status::InFlight),
        ] {
            let mut file = second_attempt();
            file.told("a", 5_001, (attempt, kind, Reporter::Acks), |r| r.code = "late".into());
            assert_eq!(file.status("a"), status, "{kind} of {attempt:?}");
        }
    }
}

#[test]
fn a_file_without_a_plan_fails_before_any_target_hears_of_it() {
    let mut file = File::arrived(arrival("f"), after_ms(1_000));
    let failure = Failure { code: "schema".into(), text: "no amount".into() };
    file.invalid(failure.clone(), after_ms(1), &cause(1));
    assert_eq!((file.state, file.reason.clone(), file.version), (State::Failed, Some(failure), 2));
    assert!(file.next_event().is_none() && file.timers().is_empty() && file.dispatches.is_empty());
}
