//! Repeats, late reports, contradictions, and reports that may not be believed.

use super::*;
use crate::lifecycle::file::MAX_NOTED;
use crate::record::{Judgement, TokenCheck};

#[track_caller]
fn judgement(judged: &Judged) -> (Judgement, Option<&'static str>) {
    match judged {
        Judged::Recorded(recorded) => (recorded.judgement, recorded.code),
        Judged::Repeat => panic!("a repeat"),
    }
}

const SETTLED_OTHERWISE: (Judgement, Option<&str>) = (Judgement::Contradiction, Some("settled_otherwise"));

#[test]
fn an_exact_repeat_of_an_applied_report_is_no_event() {
    for kind in [OutcomeKind::Retryable, OutcomeKind::Unknown, OutcomeKind::Rejected, OutcomeKind::Succeeded] {
        let mut file = validated(vec![planned("f", "a"), planned("f", "b")]);
        file.attempt_at("a", 0);
        let reporter = if kind == OutcomeKind::Succeeded { Reporter::Acks } else { Reporter::Transport };
        assert_eq!(file.told("a", 1, (Some(1), kind, reporter), |_| {}), applied(), "{kind}");
        let before = file.clone();
        assert_eq!(file.told("a", 2, (Some(1), kind, reporter), |_| {}), Judged::Repeat, "{kind}");
        assert_eq!(file, before, "{kind}");
    }
}

#[test]
fn a_forged_report_can_not_hide_a_contradiction() {
    let mut file = validated(vec![plan_with(|p| p.confirmed_by.token = true), planned("f", "b")]);
    file.attempt_at("a", 0);
    let success = (Some(1), OutcomeKind::Succeeded, Reporter::Acks);
    let forged = file.told("a", 1, success, |r| r.token = Some(TokenCheck::Wrong));
    assert_eq!(judgement(&forged), (Judgement::Refused, Some("wrong_token")));
    file.ask(Some("a"), Action::Fail);
    let genuine = file.told("a", 3, success, |r| r.token = Some(TokenCheck::Ok));
    assert_eq!(judgement(&genuine), SETTLED_OTHERWISE);
    assert!(file.dispatch("a").late_success);
}

#[test]
fn a_flood_of_late_and_refused_reports_hides_no_contradiction() {
    let mut file = validated(vec![planned("f", "a"), planned("f", "b")]);
    file.attempt_at("a", 0);
    file.ask(Some("a"), Action::Fail);
    for n in 0..1_000 {
        file.told("a", 3, (Some(1), OutcomeKind::Unknown, Reporter::Acks), |r| r.reference = Some(n.to_string()));
        file.told("a", 3, (Some(7), OutcomeKind::Unknown, Reporter::Acks), |r| r.reference = Some(n.to_string()));
    }
    let bounded = file.version;
    assert!(bounded < 200, "what is kept of a flood is bounded: version {bounded}");
    assert_eq!(judgement(&file.ack("a", 4, OutcomeKind::Succeeded)), SETTLED_OTHERWISE);
}

#[test]
fn what_was_applied_takes_no_place_of_what_is_noted() {
    let mut file = validated(vec![planned("f", "a"), planned("f", "b")]);
    file.attempt_at("a", 0);
    assert_eq!(file.transport("a", 1, OutcomeKind::Unknown), applied());
    file.ask(Some("a"), Action::Fail);
    let before = file.version;
    for n in 0..1_000 {
        file.told("a", 3, (Some(1), OutcomeKind::Unknown, Reporter::Acks), |r| r.reference = Some(n.to_string()));
    }
    assert_eq!(file.version - before, i64::try_from(MAX_NOTED).unwrap());
}

#[test]
fn a_contradiction_is_recorded_once_and_changes_nothing() {
    let mut file = validated(vec![planned("f", "a")]);
    file.attempt_at("a", 0);
    file.ack("a", 1, OutcomeKind::Succeeded);
    let before = file.to_state();
    assert_eq!(judgement(&file.ack("a", 2, OutcomeKind::Rejected)), SETTLED_OTHERWISE);
    assert_eq!(file.ack("a", 3, OutcomeKind::Rejected), Judged::Repeat);
    let after = file.to_state();
    assert_eq!((after.state, after.dispatches), (before.state, before.dispatches));
    assert_eq!(after.version, before.version + 1);
}

#[test]
fn only_the_transport_reports_a_refusal_that_pauses_a_target() {
    let mut file = validated(vec![planned("f", "a")]);
    file.attempt_at("a", 0);
    let judged = file.told("a", 1, (Some(1), OutcomeKind::Retryable, Reporter::Acks), |r| r.refusal = true);
    assert_eq!(judged, applied());
    assert_eq!(file.dispatch("a").spent, Spent { attempts: 1, ..Spent::default() });
}

#[test]
fn what_the_target_says_after_somebody_else_settled_is_news() {
    let late = (Judgement::Late, Some("already_settled"));
    let mut confirmed = validated(vec![planned("f", "a")]);
    confirmed.attempt_at("a", 0);
    confirmed.ask(Some("a"), Action::Confirm);
    assert_eq!(judgement(&confirmed.ack("a", 3, OutcomeKind::Succeeded)), late, "it bears the person out");
    let mut exhausted = validated(vec![plan_with(|p| {
        (p.on_exhausted, p.retry.attempts) = (crate::record::OnExhausted::Fail, 1);
    })]);
    exhausted.attempt_at("a", 0);
    exhausted.transport("a", 1, OutcomeKind::Retryable);
    assert_eq!(judgement(&exhausted.ack("a", 3, OutcomeKind::Rejected)), late, "nobody had said no before");
}

#[test]
fn a_success_without_its_receipt_is_recorded_and_changes_nothing() {
    let right = "sha256:right".to_owned();
    for (received, code) in [(None, "receipt_missing"), (Some("sha256:other".to_owned()), "receipt_differs")] {
        let mut file = validated(vec![plan_with(|p| p.confirmed_by.receipt = Some(right.clone())), planned("f", "b")]);
        file.attempt_at("a", 0);
        file.told("a", 1, (Some(1), OutcomeKind::Accepted, Reporter::Transport), |_| {});
        for kind in [OutcomeKind::Succeeded, OutcomeKind::Duplicate] {
            let unproven = file.told("a", 2, (Some(1), kind, Reporter::Acks), |r| r.received_digest = received.clone());
            assert_eq!(judgement(&unproven), (Judgement::Refused, Some(code)), "{kind}");
        }
        assert_eq!(file.dispatch("a").status, Status::Awaiting, "it goes on waiting, with a time");
        let success = (Some(1), OutcomeKind::Succeeded, Reporter::Acks);
        let proven = file.told("a", 4, success, |r| r.received_digest = Some(right.clone()));
        assert_eq!(judgement(&proven), (Judgement::Applied, None));
        assert_eq!(file.dispatch("a").status, Status::Succeeded);
    }
}

#[test]
fn reports_that_are_refused_for_different_reasons_are_each_recorded_once() {
    let right = "sha256:right".to_owned();
    let mut file = validated(vec![plan_with(|p| p.confirmed_by.receipt = Some(right.clone()))]);
    file.attempt_at("a", 0);
    file.told("a", 1, (Some(1), OutcomeKind::Accepted, Reporter::Transport), |_| {});
    let success = (Some(1), OutcomeKind::Succeeded, Reporter::Acks);
    let all = [
        (Some(TokenCheck::Wrong), None, "wrong_token"),
        (None, None, "receipt_missing"),
        (None, Some("sha256:one"), "receipt_differs"),
        (None, Some("sha256:two"), "receipt_differs"),
    ];
    for (token, digest, code) in all {
        let mut tell =
            || file.told("a", 2, success, |r| (r.token, r.received_digest) = (token, digest.map(str::to_owned)));
        assert_eq!(judgement(&tell()), (Judgement::Refused, Some(code)), "{digest:?}");
        assert_eq!(tell(), Judged::Repeat, "{digest:?}");
    }
}

#[test]
fn an_unproven_success_is_no_contradiction_of_a_no() {
    let mut file = validated(vec![plan_with(|p| p.confirmed_by.receipt = Some("sha256:right".into()))]);
    file.attempt_at("a", 0);
    file.ack("a", 1, OutcomeKind::Rejected);
    let unproven = file.told("a", 2, (Some(1), OutcomeKind::Succeeded, Reporter::Acks), |_| {});
    assert_eq!(judgement(&unproven), (Judgement::Refused, Some("receipt_missing")));
    assert!(!file.dispatch("a").late_success);
}
