//! Deadlines of attempts, confirmations and the file.

use super::*;
use crate::record::{HeldBecause, NextEventKind, OnExhausted, OnOverdue, OnUnknown, SettledBy};

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
    file.planned(&plan_of(vec![plan]));
    assert!(file.may_authorize(0, after_ms(2_000)), "the plan's deadline is days away");
    file.falls_due(TimerKind::FileDeadline);
    assert_eq!(file.dispatch("a").held_because, Some(HeldBecause::FileOverdue));
}

#[test]
fn only_a_timer_that_the_file_still_waits_for_takes_effect() {
    let mut file = validated(vec![plan_with(|p| p.on_unknown = OnUnknown::Retry)]);
    file.attempt_at("a", 0);
    let first = file.waiting(TimerKind::AttemptDeadline);
    file.transport("a", 1, OutcomeKind::Retryable);
    assert_eq!(file.read_back(&first, 0), Judged::Repeat, "the outcome was before it");
    file.attempt_at("a", 5_000);
    assert_eq!(file.read_back(&first, 0), Judged::Repeat, "it is about another attempt");
    let mut other_time = file.waiting(TimerKind::AttemptDeadline);
    other_time.timer.due = first.timer.due;
    assert_eq!(file.read_back(&other_time, 0), Judged::Repeat, "it fell due at another time");
    assert_eq!(file.falls_due(TimerKind::AttemptDeadline), applied());
    let mut overdue = validated(vec![planned("f", "a")]);
    let deadline = overdue.waiting(TimerKind::FileDeadline);
    assert_eq!(overdue.read_back(&deadline, 0), applied());
    assert_eq!(overdue.read_back(&deadline, 0), Judged::Repeat, "it was read back before");
}

#[test]
fn an_ack_from_before_a_deadline_is_read_before_it() {
    use crate::record::Confirmation;
    for (by, after_acks) in [(Confirmation::Acks, true), (Confirmation::Callback, false)] {
        let mut file = validated(vec![plan_with(|p| p.confirmed_by.by = by)]);
        file.attempt_at("a", 0);
        assert_eq!(file.waiting(TimerKind::AttemptDeadline).after_acks, after_acks);
        assert_eq!(file.waiting(TimerKind::FileDeadline).after_acks, after_acks);
        file.transport("a", 1, OutcomeKind::Accepted);
        assert_eq!(file.waiting(TimerKind::ConfirmationDeadline).after_acks, after_acks);
        file.falls_due(TimerKind::ConfirmationDeadline);
        assert!(!file.waiting(TimerKind::Escalation).after_acks, "an escalation decides nothing");
    }
}

#[test]
fn a_target_at_work_extends_its_time_up_to_the_limit_and_no_view_becomes_stale() {
    const MINUTE_MS: i64 = 60_000;
    let mut file = validated(vec![planned("f", "a")]);
    file.attempt_at("a", 0);
    file.transport("a", 1_000, OutcomeKind::Accepted);
    let version = file.dispatch("a").version;
    let stale = file.waiting(TimerKind::ConfirmationDeadline);
    assert_eq!(stale.timer.due, after_ms(1_000 + 60 * MINUTE_MS));
    for (minute, expected) in [(10, 70 * MINUTE_MS), (59, 119 * MINUTE_MS), (65, 120 * MINUTE_MS + 1_000)] {
        let in_progress = (Some(1), OutcomeKind::Accepted, Reporter::Acks);
        assert_eq!(file.told("a", minute * MINUTE_MS, in_progress, |_| {}), applied());
        assert_eq!(file.dispatch("a").confirm_by, Some(after_ms(expected)), "after {minute} minutes");
        assert_eq!(file.read_back(&stale, 0), Judged::Repeat, "the deadline has moved");
    }
    let beyond = file.told("a", 100 * MINUTE_MS, (Some(1), OutcomeKind::Accepted, Reporter::Acks), |_| {});
    assert_eq!(beyond, Judged::Repeat);
    assert_eq!((file.dispatch("a").version, file.status("a")), (version, Status::Awaiting));
    assert_eq!(file.falls_due(TimerKind::ConfirmationDeadline), applied());
    assert_eq!(file.dispatch("a").held_because, Some(HeldBecause::ConfirmationOverdue));
}

#[test]
fn a_report_that_is_read_again_or_late_gives_no_more_time() {
    use crate::record::Origin;
    const MINUTE_MS: i64 = 60_000;
    let in_progress = (Some(1), OutcomeKind::Accepted, Reporter::Acks);
    let mut file = validated(vec![planned("f", "a")]);
    file.attempt_at("a", 0);
    file.transport("a", 1_000, OutcomeKind::Accepted);
    assert_eq!(file.told("a", 10 * MINUTE_MS, in_progress, |_| {}), applied());
    let before = file.clone();
    for (what, read_at, said_at) in [("the first", 30, 0), ("the second", 30, 10), ("one between", 60, 5)] {
        let again = file.told("a", read_at * MINUTE_MS, in_progress, |r| r.reported_at = after_ms(said_at * MINUTE_MS));
        assert_eq!((again, &file), (Judged::Repeat, &before), "{what}");
    }
    // What acks say of the time of a report stands: the target's own clock is nobody's.
    let origin = |ms| Origin { topic: "consign.acks".into(), partition: 0, offset: 7, timestamp: after_ms(ms) };
    let late = file.told("a", 69 * MINUTE_MS, in_progress, |r| {
        (r.origin, r.reported_at) = (Some(origin(20 * MINUTE_MS)), after_ms(68 * MINUTE_MS));
    });
    assert_eq!((late, file.dispatch("a").confirm_by), (applied(), Some(after_ms(80 * MINUTE_MS))));
}

#[test]
fn a_target_that_never_stops_talking_fills_no_history() {
    let mut file = validated(vec![planned("f", "a")]);
    file.attempt_at("a", 0);
    file.transport("a", 0, OutcomeKind::Accepted);
    let (before, hour) = (file.version, 3_600_000);
    for ms in (0..2 * hour).step_by(1_000) {
        file.told("a", ms, (Some(1), OutcomeKind::Accepted, Reporter::Acks), |r| r.reference = Some(ms.to_string()));
    }
    assert!(file.version - before <= 11, "{} events", file.version - before);
    assert_eq!(file.dispatch("a").confirm_by, Some(after_ms(2 * hour)), "it was given all the time there is");
}

#[test]
fn a_tenth_of_its_time_more_is_worth_an_event_and_less_is_not() {
    let mut file = validated(vec![planned("f", "a")]);
    file.attempt_at("a", 0);
    file.transport("a", 0, OutcomeKind::Accepted);
    let (in_progress, tenth_ms) = ((Some(1), OutcomeKind::Accepted, Reporter::Acks), 360_000);
    assert_eq!(file.told("a", tenth_ms - 1, in_progress, |_| {}), Judged::Repeat);
    assert_eq!(file.told("a", tenth_ms, in_progress, |_| {}), applied());
    assert_eq!(file.dispatch("a").confirm_by, Some(after_ms(11 * tenth_ms)));
}

/// A file with one dispatch in each open status: `pending` waits, `flying` is `IN_FLIGHT`, and so on.
fn one_of_each() -> File {
    let names = ["pending", "flying", "awaiting", "backing-off", "held"];
    let mut file = validated(names.map(|name| plan_at(name, |p| p.retry.operator_attempts = 2)).to_vec());
    for target in &names[1..] {
        file.attempt_at(target, 0);
    }
    file.transport("awaiting", 1, OutcomeKind::Accepted);
    file.transport("backing-off", 2, OutcomeKind::Retryable);
    file.transport("held", 3, OutcomeKind::Unknown);
    file
}

#[test]
fn at_the_files_deadline_everything_open_is_held_but_an_open_attempt_is_waited_for() {
    let mut file = one_of_each();
    assert_eq!(file.falls_due(TimerKind::FileDeadline), applied());
    for target in ["pending", "awaiting", "backing-off"] {
        assert_eq!(file.dispatch(target).held_because, Some(HeldBecause::FileOverdue), "{target}");
    }
    assert_eq!(file.dispatch("held").held_because, Some(HeldBecause::FateUnknown));
    assert_eq!(file.status("flying"), Status::InFlight);
    for kind in [OutcomeKind::Accepted, OutcomeKind::Retryable] {
        let mut file = file.clone();
        file.transport("flying", 5, kind);
        assert_eq!(file.dispatch("flying").held_because, Some(HeldBecause::FileOverdue), "{kind}");
    }
    for end in [
        |f: &mut File| f.transport("flying", 5, OutcomeKind::Unknown),
        |f: &mut File| f.falls_due(TimerKind::AttemptDeadline),
    ] {
        let mut file = file.clone();
        end(&mut file);
        assert_eq!(file.dispatch("flying").held_because, Some(HeldBecause::FateUnknown), "more is known than overdue");
    }
    assert!(file.overdue && file.timers().iter().all(|t| t.timer.what != TimerKind::FileDeadline));
}

#[test]
fn a_deadline_is_lost_once_a_retry_is_due_only_after_it() {
    let with_deadline = |ms: i64| {
        let adapt = |p: &mut PlannedDispatch| p.file_deadline = after_ms(ms);
        // What waits for its turn has the deadline as its next event, and may end before.
        validated(vec![
            plan_at("a", adapt),
            PlannedDispatch { after: vec![TargetName::trusted("a")], ..plan_at("b", adapt) },
        ])
    };
    for (ms, is_lost) in [(600_000, false), (1_500, true)] {
        let mut file = with_deadline(ms);
        assert!(!file.to_state().deadline_lost, "nothing is lost yet");
        file.attempt_at("a", 0);
        assert!(!file.to_state().deadline_lost, "it may succeed");
        file.transport("a", 600, OutcomeKind::Retryable);
        assert_eq!((file.status("a"), file.to_state().deadline_lost), (Status::BackingOff, is_lost));
        let mut overdue = file.clone();
        overdue.falls_due(TimerKind::FileDeadline);
        assert!(!overdue.to_state().deadline_lost, "it has passed");
        assert_eq!(file.ack("a", 700, OutcomeKind::Succeeded), applied());
        assert!(!file.to_state().deadline_lost, "the target was heard of after all");
    }
}

#[test]
fn what_falls_due_with_the_files_deadline_comes_too_late() {
    let next = |deadline: Timestamp| {
        let mut file = validated(vec![plan_at("a", |p| p.file_deadline = deadline)]);
        file.attempt_at("a", 0);
        file.transport("a", 600, OutcomeKind::Retryable);
        (file.next_event_of(0).expect("it goes on").what, file.dispatch("a").retry_at.expect("it backs off"))
    };
    let (_, retry_at) = next(after_ms(600_000));
    assert_eq!(next(retry_at.plus_millis(1)), (NextEventKind::Attempt, retry_at));
    assert_eq!(next(retry_at), (NextEventKind::FileDeadline, retry_at));
}

#[test]
fn a_late_outcome_ends_held_after_the_files_deadline() {
    let mut file = one_of_each();
    file.falls_due(TimerKind::FileDeadline);
    assert_eq!(file.ack("awaiting", 9, OutcomeKind::Succeeded), applied());
    assert_eq!(file.ack("held", 9, OutcomeKind::Rejected), applied());
    assert_eq!((file.status("awaiting"), file.status("held")), (Status::Succeeded, Status::Failed));
}

#[test]
fn from_the_files_deadline_each_attempt_takes_an_operators_retry_of_its_own() {
    let mut file = one_of_each();
    let deadline = file.deadline;
    assert!(file.may_authorize(0, Timestamp(deadline.0 - 1)));
    assert!(!file.may_authorize(0, deadline), "even before the deadline is read back");
    file.falls_due(TimerKind::FileDeadline);
    for _ in 0..2 {
        assert!(!file.may_authorize(0, deadline));
        assert_eq!(file.ask(Some("pending"), Action::Retry), applied());
        assert_eq!(file.ask(Some("pending"), Action::Retry), Judged::refused("nothing_to_retry"));
        assert!(file.may_authorize(0, deadline));
        file.attempt_now(0, deadline);
        file.transport("pending", 9, OutcomeKind::Retryable);
        assert_eq!(file.dispatch("pending").held_because, Some(HeldBecause::FileOverdue), "the budget isn't spent");
    }
    assert_eq!(file.ask(Some("pending"), Action::Retry), Judged::refused("operator_budget_spent"));
}

#[test]
fn a_retry_that_was_granted_before_the_files_deadline_is_still_carried_out() {
    let mut file = one_of_each();
    file.ask(Some("held"), Action::Retry);
    file.falls_due(TimerKind::FileDeadline);
    let index = file.index_of(&TargetName::trusted("held")).expect("planned");
    assert_eq!(file.status("held"), Status::Pending);
    assert!(file.may_authorize(index, file.deadline));
}
