//! The bytes of an announced file.

use super::super::table::fetching;
use super::*;
use crate::record::{FILE_TARGET, Failure};

fn fetched(file: &mut File, ms: i64) {
    let attempt = Some(file.dispatches[0].attempts);
    file.told(FILE_TARGET, ms, (attempt, OutcomeKind::Succeeded, Reporter::Transport), |r| {
        r.received_digest = Some("sha256:00".into());
    });
}

#[test]
fn a_file_is_received_until_its_bytes_are_there_and_says_what_comes_next_and_when() {
    let mut file = fetching();
    let deadline = file.deadline;
    for ms in [0, 5_000] {
        assert!(file.is_fetching() && !file.is_fetched());
        assert_eq!(file.state, State::Received);
        let (next, who) = (file.next_event().unwrap(), file.accountable().unwrap());
        assert_eq!((next.target.unwrap().as_str(), who.party.as_str()), (FILE_TARGET, "consign"));
        assert!(next.at < deadline);
        file.attempt_at(FILE_TARGET, ms);
        assert_eq!(file.state, State::Received, "no target hears of a fetch");
        if ms == 0 {
            file.transport(FILE_TARGET, 100, OutcomeKind::Retryable);
        }
    }
    fetched(&mut file, 6_000);
    assert!(file.is_fetched());
    let mut plan = planned("f", "a");
    plan.version = file.version + 1;
    file.planned(&plan_of(vec![plan]));
    assert_eq!((file.state, file.dispatches.len()), (State::Validated, 1));
    assert_eq!(file.fetch.as_ref().map(|fetch| (fetch.status, fetch.attempts)), Some((Status::Succeeded, 2)));
    assert!(file.index_of(&TargetName::trusted(FILE_TARGET)).is_none());
}

#[test]
fn a_file_that_is_another_one_fails_with_expected_and_found_and_its_producer_answers() {
    let mut file = fetching();
    file.attempt_at(FILE_TARGET, 0);
    file.told(FILE_TARGET, 1, (Some(1), OutcomeKind::Rejected, Reporter::Transport), |r| {
        r.code = "size_differs".into();
        r.detail = Some("expected 5 bytes, found 6".into());
    });
    assert_eq!(file.state, State::Failed);
    let Failure { code, text } = file.reason.clone().unwrap();
    assert_eq!((code.as_str(), text.contains("size_differs: expected 5 bytes, found 6")), (NOT_AS_ANNOUNCED, true));
    assert_eq!(file.accountable().unwrap().party, "producer:shop");
    assert_eq!(file.targets_to_resend(false), Some(Vec::new()), "a successor begins anew");
    assert!(file.timers().is_empty() && file.next_event().is_none());
    let state = file.to_state();
    assert!(state.dispatches.is_empty(), "nothing was planned");
}

#[test]
fn attempts_end_with_their_budget_and_back_off_by_their_schedule() {
    let mut file = fetching();
    file.attempt_at(FILE_TARGET, 0);
    file.transport(FILE_TARGET, 100, OutcomeKind::Unknown);
    assert_eq!(file.dispatches[0].retry_at, Some(after_ms(1_100)));
    assert!(!file.may_authorize(0, after_ms(1_099)) && file.may_authorize(0, after_ms(1_100)));
    file.attempt_at(FILE_TARGET, 1_100);
    file.falls_due(TimerKind::AttemptDeadline);
    assert_eq!(file.state, State::Failed);
    assert!(file.reason.unwrap().text.contains("after 2 attempts"));
}

#[test]
fn no_attempt_is_authorized_from_the_deadline_on() {
    let mut file = fetching();
    assert!(file.may_authorize(0, START));
    assert!(!file.may_authorize(0, file.deadline));
    file.falls_due(TimerKind::FileDeadline);
    assert_eq!(file.state, State::Failed);
    assert!(file.reason.unwrap().text.contains("deadline"));
}
