//! What people ask for.

use super::*;
use crate::lifecycle::MAX_REFUSED_INTERVENTIONS;
use crate::record::{Intervention, SettledBy};

fn judge(file: &mut File, target: Option<&str>, action: Action, adapt: impl FnOnce(&mut Intervention)) -> Judged {
    let mut asked = intervention(file, target, action);
    adapt(&mut asked);
    let index = target.and_then(|t| file.index_of(&TargetName::trusted(t)));
    file.intervene(index, &asked, after_ms(2_000), &cause(file.version))
}

fn held() -> File {
    in_status(&planned("f", "a"), Status::Held)
}

#[test]
fn a_repeated_intervention_is_refused_and_recorded_once() {
    let mut file = held();
    let same_id = |i: &mut Intervention| i.intervention_id = "once".into();
    assert_eq!(judge(&mut file, Some("a"), Action::Retry, same_id), applied());
    let version = file.version;
    assert_eq!(judge(&mut file, Some("a"), Action::Retry, same_id), Judged::refused("repeated"));
    assert_eq!(judge(&mut file, None, Action::Cancel, same_id), Judged::Repeat);
    assert_eq!((file.version, file.dispatch("a").spent.operator_attempts), (version + 1, 1));
}

#[test]
fn a_refused_one_is_recorded_up_to_a_bound_and_what_can_be_applied_is_heard_beyond_it() {
    let mut file = held();
    let ask = |file: &File, action, id: usize, seen: i64| Intervention {
        intervention_id: format!("i-{id}"),
        seen_version: Some(seen),
        ..intervention(file, Some("a"), action)
    };
    let judge_it = |file: &mut File, asked: &Intervention| {
        let unrecorded = file.refused_unrecorded(Some(0), asked, after_ms(2_000));
        (unrecorded, unrecorded.is_none().then(|| file.intervene(Some(0), asked, after_ms(2_000), &cause(7))))
    };
    // One is applied among them, which counts as none that was refused.
    let asked = ask(&file, Action::Retry, 1_000, file.dispatches[0].version);
    assert_eq!(judge_it(&mut file, &asked), (None, Some(applied())));
    for id in 0..MAX_REFUSED_INTERVENTIONS {
        let (was, asked) = (file.version, ask(&file, Action::Fail, id, 0));
        assert_eq!(judge_it(&mut file, &asked), (None, Some(Judged::refused("stale_version"))));
        assert_eq!((file.version, file.refused_interventions()), (was + 1, id + 1));
    }
    let full = file.clone();
    for id in 100..200 {
        let asked = ask(&file, Action::Fail, id, 0);
        assert_eq!(judge_it(&mut file, &asked), (Some("stale_version"), None));
    }
    assert_eq!(file, full, "nothing of them is kept");
    // The first repetition of what stands in the history is recorded, and no more.
    for (id, expected) in [(7, Judged::refused("repeated")), (7, Judged::Repeat)] {
        let asked = ask(&file, Action::Fail, id, 0);
        assert_eq!(judge_it(&mut file, &asked), (None, Some(expected)));
    }
    let asked = ask(&file, Action::Fail, 300, file.dispatches[0].version);
    assert_eq!(judge_it(&mut file, &asked), (None, Some(applied())), "whoever can be heard is heard");
    assert_eq!((file.state, file.refused_interventions()), (State::Failed, MAX_REFUSED_INTERVENTIONS));
}

#[test]
fn an_intervention_names_its_id_its_actor_its_reason_and_the_version_that_the_person_saw() {
    let refused = |target, action, adapt: fn(&mut Intervention)| {
        let mut file = held();
        let before = file.to_state();
        let judged = judge(&mut file, target, action, adapt);
        assert_eq!(file.to_state().dispatches, before.dispatches);
        judged
    };
    for (target, action) in [(Some("a"), Action::Retry), (None, Action::Cancel)] {
        let refused = |adapt| refused(target, action, adapt);
        assert_eq!(refused(|i| i.intervention_id = String::new()), Judged::refused("no_id"));
        assert_eq!(refused(|i| i.actor = " ".into()), Judged::refused("no_actor"));
        assert_eq!(refused(|i| i.reason = " ".into()), Judged::refused("no_reason"));
        assert_eq!(refused(|i| i.seen_version = None), Judged::refused("no_version"));
        assert_eq!(refused(|i| i.seen_version = i.seen_version.map(|v| v - 1)), Judged::refused("stale_version"));
        assert_eq!(refused(|i| i.seen_version = i.seen_version.map(|v| v + 1)), Judged::refused("stale_version"));
    }
}

#[test]
fn what_changed_nothing_makes_no_view_of_the_file_stale() {
    let mut file = held();
    let seen = Some(file.version);
    file.transport("a", 1, OutcomeKind::Accepted);
    file.falls_due(TimerKind::Escalation);
    assert!(Some(file.version) > seen, "both were recorded");
    assert_eq!(judge(&mut file, None, Action::Cancel, |i| i.seen_version = seen), applied());
}

#[test]
fn a_confirmation_by_hand_shows_for_ever() {
    let mut file = held();
    assert_eq!(file.ask(Some("a"), Action::Confirm), applied());
    assert_eq!(file.state, State::Completed);
    file.ack("a", 5, OutcomeKind::Succeeded);
    assert_eq!(file.dispatch("a").settled_by, Some(SettledBy::Operator));
}

#[test]
fn a_target_may_forbid_a_confirmation_by_hand() {
    let mut file = in_status(&plan_with(|p| p.operator_confirm = false), Status::Held);
    assert_eq!(file.ask(Some("a"), Action::Confirm), Judged::refused("confirm_forbidden"));
}

#[test]
fn what_was_never_sent_can_not_be_confirmed_so_that_completed_follows_distributing_only() {
    let mut file = validated(vec![planned("f", "a")]);
    assert_eq!(file.ask(Some("a"), Action::Confirm), Judged::refused("never_sent"));
    assert_eq!(file.state, State::Validated);
    assert_eq!(file.ask(Some("a"), Action::Fail), applied());
    assert_eq!(file.state, State::Failed);
}

#[test]
fn a_retry_is_granted_from_every_waiting_status_but_not_while_an_attempt_is_open() {
    for status in [Status::Awaiting, Status::BackingOff, Status::Held] {
        let mut file = in_status(&planned("f", "a"), status);
        assert_eq!(file.ask(Some("a"), Action::Retry), applied(), "{status}");
        assert_eq!(file.status("a"), Status::Pending);
        let attempt = file.authorize(0, after_ms(3_000), "w");
        assert_eq!(attempt.authorized_by, crate::record::Authorization::Operator);
        assert!(attempt.intervention_id.is_some());
        file.authorized(&attempt);
        assert_eq!(file.ask(Some("a"), Action::Retry), Judged::refused("attempt_open"), "{status}");
        file.transport("a", 4_000, OutcomeKind::Unknown);
        assert_eq!(file.ask(Some("a"), Action::Retry), Judged::refused("operator_budget_spent"), "{status}");
    }
    let mut pending = validated(vec![planned("f", "a")]);
    assert_eq!(pending.ask(Some("a"), Action::Retry), Judged::refused("nothing_to_retry"));
}

#[test]
fn a_file_that_is_cancelled_settles_every_open_dispatch() {
    let mut file = validated(vec![planned("f", "a"), planned("f", "b"), planned("f", "c")]);
    for target in ["a", "b"] {
        file.attempt_at(target, 0);
    }
    file.ack("a", 1, OutcomeKind::Succeeded);
    assert_eq!(file.ask(None, Action::Cancel), applied());
    let statuses: Vec<Status> = file.dispatches.iter().map(|d| d.status).collect();
    assert_eq!(statuses, [Status::Succeeded, Status::Cancelled, Status::Cancelled]);
    assert_eq!(file.reason.as_ref().map(|r| r.code.as_str()), Some("cancelled"));
    assert_eq!((file.state, file.settled_at), (State::Failed, Some(after_ms(2_000))));
    assert!(!file.may_authorize(2, after_ms(3_000)), "I9");
    assert_eq!(file.ask(None, Action::Cancel), Judged::refused("file_settled"));
    assert_eq!(file.ask(Some("b"), Action::Retry), Judged::refused("file_settled"));
}

#[test]
fn a_file_is_cancelled_before_it_has_a_plan() {
    let mut file = File::arrived(arrival("f"), after_ms(1_000));
    assert_eq!(file.ask(None, Action::Cancel), applied());
    assert_eq!((file.state, file.next_event()), (State::Failed, None));
}

#[test]
fn what_a_person_said_last_is_the_last_outcome() {
    for (action, status, kind) in [
        (Action::Confirm, Status::Succeeded, OutcomeKind::Succeeded),
        (Action::Fail, Status::Failed, OutcomeKind::Rejected),
    ] {
        let mut file = held();
        assert_eq!(file.ask(Some("a"), action), applied());
        let dispatch = file.dispatch("a");
        let last = dispatch.last_outcome.as_ref().map(|last| (last.kind, last.code.as_str(), last.attempt));
        assert_eq!((dispatch.status, last), (status, Some((kind, "operator", None))));
    }
}
