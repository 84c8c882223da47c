use super::*;
use crate::record::HeldBecause;
use crate::record::{LastOutcome, OutcomeKind, TargetName};
use crate::view::testing;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn ago(millis: i64) -> Timestamp {
    NOW.plus_millis(-millis)
}

fn at_now() -> Around {
    Around::at(NOW)
}

fn held_file() -> FileState {
    let mut file = testing::file("inv-17", State::Distributing, ago(3 * 3_600_000).0);
    let mut dispatch = testing::dispatch("billing", Status::Held);
    dispatch.since = ago(2 * 3_600_000);
    dispatch.held_because = Some(HeldBecause::FateUnknown);
    dispatch.accountable = Some(Accountable { party: "team-billing".into(), since: ago(7_200_000) });
    dispatch.next_event = Some(NextEvent {
        what: NextEventKind::Escalation,
        at: NOW.plus_millis(720_000),
        target: Some(TargetName::trusted("billing")),
    });
    dispatch.last_outcome =
        Some(LastOutcome { kind: OutcomeKind::Unknown, code: "http_502".into(), at: ago(7_200_000), attempt: Some(1) });
    file.accountable.clone_from(&dispatch.accountable);
    file.next_event.clone_from(&dispatch.next_event);
    file.deadline = NOW.plus_millis(86_400_000 * 2);
    file.dispatches = vec![dispatch];
    file
}

#[test]
fn a_held_file_says_whose_turn_it_is_and_what_comes_next() {
    assert_eq!(
        file(&held_file(), &at_now()),
        "\
inv-17: DISTRIBUTING (version 1)
  inv-17.pdf (invoice) from shop
  received: 2023-11-14T19:13:20.000Z (3h ago)
  accountable: team-billing since 2023-11-14T20:13:20.000Z (2h ago)
  next: it escalates at billing, in 12m (2023-11-14T22:25:20.000Z)
  deadline: 2023-11-16T22:13:20.000Z (in 2days)
  billing: HELD for 2h: nobody knows whether the target processed the request (fate_unknown)
      attempts: 1 made, 2 left, 3 more if an operator asks; last report: UNKNOWN http_502 2h ago
      accountable: team-billing since 2023-11-14T20:13:20.000Z (2h ago) (owner team-billing)
      next: it escalates at billing, in 12m (2023-11-14T22:25:20.000Z)
      ask team-billing: do you have inv-17/billing?
        they have it:         consign intervene inv-17 billing confirm --reason TEXT --evidence TEXT
        they never got it:    consign intervene inv-17 billing retry --reason TEXT
        they must not get it: consign intervene inv-17 billing fail --reason TEXT
"
    );
}

#[test]
fn a_list_is_a_table() {
    assert_eq!(
        files([&held_file()], &at_now()),
        "\
FILE    STATE         RECEIVED  ACCOUNTABLE   OPEN AT                      NEXT
inv-17  DISTRIBUTING  3h ago    team-billing  billing HELD (fate_unknown)  escalation in 12m
what is HELD waits for a person: consign status FILE says what to decide
"
    );
    assert_eq!(files([], &at_now()), "no file matches\n");
}

#[test]
fn what_came_from_outside_can_not_steer_the_terminal() {
    let mut hostile = held_file();
    hostile.name = "a\u{1b}[2J\nb: COMPLETED".into();
    let text = file(&hostile, &at_now());
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("a\u{fffd}[2J\u{fffd}b: COMPLETED (invoice)"), "{text:?}");
}

#[test]
fn lengths_have_two_units() {
    for (millis, text) in
        [(900, "0s"), (61_000, "1m 1s"), (3_661_000, "1h 1m"), (90_061_000, "1day 1h"), (-5_000, "5s")]
    {
        assert_eq!(length(millis), text);
    }
}

#[test]
fn a_refused_intervention_says_why_and_the_way_on() {
    let asked = Judged {
        intervention_id: "i".into(),
        judgement: Some(Judgement::Refused),
        code: Some("stale_version".into()),
        event: None,
        successor: None,
        file: held_file().into(),
    };
    let text = judged(&asked, Some("billing"), &at_now());
    assert!(
        text.starts_with(
            "refused: it changed after you looked (stale_version). Nothing changed\n  to do: look again, then decide \
             again: consign status inv-17\ninv-17: DISTRIBUTING (version 1)\n  billing: HELD for 2h"
        ),
        "{text}"
    );
    let text = judged(&Judged { judgement: Some(Judgement::Applied), code: None, ..asked }, Some("billing"), &at_now());
    assert!(
        text.starts_with("applied\ninv-17: ") && text.ends_with("follow it: consign status inv-17 --watch\n"),
        "{text}"
    );
}

fn pending_file() -> FileState {
    let mut file = testing::file("inv-18", State::Validated, ago(60_000).0);
    let mut dispatch = testing::dispatch("billing", Status::Pending);
    dispatch.next_event =
        Some(NextEvent { what: NextEventKind::Attempt, at: ago(60_000), target: Some(TargetName::trusted("billing")) });
    file.next_event.clone_from(&dispatch.next_event);
    file.dispatches = vec![dispatch];
    file
}

#[test]
fn what_is_due_waits_for_capacity_or_for_whoever_paused_its_target() {
    let due = file(&pending_file(), &at_now());
    assert!(due.contains("next: the next attempt at billing, as soon as there is capacity (due 1m ago)\n"), "{due}");
    assert!(files([&pending_file()], &at_now()).contains("billing PENDING  attempt, due\n"));

    let mut around = at_now();
    around.paused.insert(TargetName::trusted("billing"), "mia (their move), 2m ago".into());
    let paused = file(&pending_file(), &around);
    assert!(
        paused.contains("next: no attempt at billing before a person resumes it: PAUSED by mia (their move), 2m ago\n"),
        "{paused}"
    );
    assert!(paused.contains("to go on: consign targets resume billing --reason TEXT\n"), "{paused}");
    let list = files([&pending_file()], &around);
    assert!(list.contains("billing PENDING (PAUSED)  resume\nwhat is PAUSED waits until a person resumes"), "{list}");
}

#[test]
fn a_failed_file_names_its_way_on_or_who_took_it_up() {
    let mut failed = testing::file("inv-19", State::Failed, ago(60_000).0);
    failed.settled_at = Some(ago(1_000));
    assert!(file(&failed, &at_now()).ends_with("to plan it again: consign resubmit inv-19 --reason TEXT\n"));
    let mut rejected = testing::dispatch("billing", Status::Failed);
    rejected.settled_by = Some(SettledBy::Operator);
    failed.dispatches = vec![rejected];
    let text = file(&failed, &at_now());
    assert!(text.contains("a person decided: who, why and with which proof is in consign history inv-19\n"), "{text}");
    assert!(text.ends_with("to its unsuccessful targets: consign resubmit inv-19 --reason TEXT\n"), "{text}");
    let around = Around { successor: Some((failed.file_id.successor(), State::Completed)), ..at_now() };
    let text = file(&failed, &around);
    assert!(text.ends_with("  taken up by inv-19~1: COMPLETED\n") && !text.contains("resubmit"), "{text}");
}

#[test]
fn no_retry_by_itself_is_not_called_spent_attempts_while_there_are_some() {
    let mut held = held_file();
    held.dispatches[0].held_because = Some(HeldBecause::BudgetSpent);
    held.dispatches[0].budget.attempts = 0;
    assert!(file(&held, &at_now()).contains(": its automatic attempts are spent (budget_spent)\n"));
    held.dispatches[0].budget.attempts = 2;
    let text = file(&held, &at_now());
    assert!(text.contains("it asked for a longer wait than retry_after_max, or give_up_after is over"), "{text}");
}
