//! Who is accountable, what happens next, and how HELD escalates.

use super::*;
use crate::record::{NextEventKind, Timer};

const HOUR_MS: i64 = 3_600_000;

fn held() -> File {
    in_status(&planned("f", "a"), Status::Held)
}

fn party(file: &File) -> String {
    file.accountable().expect("somebody is accountable").party
}

#[test]
fn held_escalates_after_an_hour_doubling_to_a_day_and_no_view_becomes_stale() {
    let mut file = held();
    let held_since = file.dispatch("a").since;
    let (version, file_version) = (file.dispatch("a").version, file.changed_at_version);
    assert_eq!(party(&file), "team-a");
    let mut due = held_since;
    for (number, hours) in (1..).zip([1, 2, 4, 8, 16, 24, 24]) {
        due = due.plus_millis(hours * HOUR_MS);
        let waiting = file.waiting(TimerKind::Escalation);
        assert_eq!((waiting.timer.due, waiting.timer.escalation), (due, Some(number)));
        assert_eq!(file.next_event_of(0).map(|n| (n.what, n.at)), Some((NextEventKind::Escalation, due)));
        assert_eq!(file.read_back(&waiting, 5), applied());
        assert_eq!(file.dispatch("a").escalations, number);
        assert_eq!(file.accountable().map(|a| (a.party, a.since)), Some(("operator".into(), due.plus_millis(5))));
    }
    assert_eq!((file.dispatch("a").version, file.changed_at_version), (version, file_version));
    assert_eq!(file.dispatch("a").since, held_since);
    assert_eq!(file.ask(Some("a"), Action::Retry), applied(), "the version that was shown before still counts");
}

#[test]
fn an_escalation_that_was_overtaken_by_a_retry_is_stale() {
    let mut file = held();
    let due = file.waiting(TimerKind::Escalation);
    let asked = intervention(&file, Some("a"), Action::Retry);
    file.intervene(Some(0), &asked, due.timer.due.plus_millis(1), &cause(20));
    assert_eq!(file.status("a"), Status::Pending);
    assert_eq!(file.read_back(&due, 2), Judged::Repeat);
    assert_eq!(party(&file), "consign");
}

#[test]
fn what_waits_under_a_pause_escalates_like_held() {
    let mut file = validated(vec![planned("f", "a")]);
    let escalation = |number, ms| DueTimer {
        target: Some(TargetName::trusted("a")),
        timer: Timer { what: TimerKind::Escalation, due: after_ms(ms), attempt: None, escalation: Some(number) },
        after_acks: false,
    };
    assert_eq!(file.read_back(&escalation(1, HOUR_MS), 0), applied());
    assert_eq!(party(&file), "operator");
    assert_eq!(file.read_back(&escalation(1, HOUR_MS), 0), Judged::Repeat);
    assert_eq!(file.dispatch("a").escalation_interval_ms(), 2 * HOUR_MS);
    assert_eq!(file.read_back(&escalation(2, 3 * HOUR_MS), 0), applied());
    file.attempt_at("a", 4 * HOUR_MS);
    assert_eq!((file.dispatch("a").escalations, party(&file)), (0, "consign".into()));
}

#[test]
fn the_party_follows_the_most_urgent_dispatch() {
    let mut file = validated(vec![planned("f", "a"), planned("f", "b"), planned("f", "c")]);
    assert_eq!(party(&file), "consign");
    for target in ["a", "b", "c"] {
        file.attempt_at(target, 0);
    }
    file.transport("a", 1, OutcomeKind::Accepted);
    assert_eq!(party(&file), "team-a", "the target was asked and owes the confirmation");
    file.transport("b", 2, OutcomeKind::Unknown);
    assert_eq!(party(&file), "team-b", "HELD comes before AWAITING");
    file.transport("c", 3, OutcomeKind::Unknown);
    assert_eq!(party(&file), "team-b", "the first of equals");
    let due = file.timers().into_iter().find(|t| t.target == Some(TargetName::trusted("c"))).expect("c escalates");
    file.read_back(&due, 0);
    assert_eq!(party(&file), "operator", "an escalated one comes first");
}

#[test]
fn a_failed_file_names_who_must_answer() {
    let mut rejected = validated(vec![planned("f", "a")]);
    rejected.attempt_at("a", 0);
    rejected.ack("a", 1, OutcomeKind::Rejected);
    assert_eq!(party(&rejected), "team-a");
    let mut cancelled = held();
    cancelled.ask(None, Action::Cancel);
    assert_eq!(party(&cancelled), "operator");
    let mut invalid = File::arrived(arrival("f"), after_ms(1));
    invalid.invalid(crate::record::Failure { code: "schema".into(), text: "no amount".into() }, START, &cause(1));
    assert_eq!(party(&invalid), "producer:shop");
    let mut completed = validated(vec![planned("f", "a")]);
    completed.attempt_at("a", 0);
    completed.ack("a", 1, OutcomeKind::Succeeded);
    assert_eq!(completed.accountable(), None);
}

#[test]
fn what_the_file_deadline_will_forestall_is_not_announced() {
    let deadline = after_ms(1_500);
    let soon = |adapt: fn(&mut PlannedDispatch)| {
        let mut file = validated(vec![plan_with(|p| {
            p.file_deadline = deadline;
            adapt(p);
        })]);
        file.attempt_at("a", 0);
        file
    };
    let mut backing_off = soon(|_| {});
    backing_off.transport("a", 600, OutcomeKind::Retryable);
    let mut awaiting = soon(|_| {});
    awaiting.transport("a", 600, OutcomeKind::Accepted);
    for file in [backing_off, awaiting] {
        let next = file.next_event_of(0).expect("something happens next");
        assert_eq!((next.what, next.at), (NextEventKind::FileDeadline, deadline), "{}", file.status("a"));
    }
    let in_flight = soon(|_| {}).next_event_of(0).map(|n| n.what);
    assert_eq!(in_flight, Some(NextEventKind::AttemptDeadline), "that one will be read all the same");
}

#[test]
fn every_open_status_names_who_and_what_next_and_when() {
    let open = [Status::Pending, Status::InFlight, Status::Awaiting, Status::BackingOff, Status::Held];
    let expected = [
        ("consign", NextEventKind::Attempt),
        ("consign", NextEventKind::AttemptDeadline),
        ("team-a", NextEventKind::ConfirmationDeadline),
        ("consign", NextEventKind::Attempt),
        ("team-a", NextEventKind::Escalation),
    ];
    for (status, (who, what)) in open.into_iter().zip(expected) {
        let file = in_status(&planned("f", "a"), status);
        assert_eq!(party(&file), who, "{status}");
        let next = file.next_event().expect("something happens next");
        assert_eq!((next.what, next.target), (what, Some(TargetName::trusted("a"))), "{status}");
        assert_eq!(Some(next.at), file.next_event_of(0).map(|n| n.at), "{status}");
    }
    let received = File::arrived(arrival("f"), after_ms(9));
    assert_eq!(party(&received), "consign");
    assert_eq!(received.next_event().map(|n| (n.what, n.at)), Some((NextEventKind::FileDeadline, after_ms(9))));
}
