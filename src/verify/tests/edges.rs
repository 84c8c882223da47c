//! Where a check begins and ends: what it must say beside what it must not.

use super::*;
use crate::record::{FILE_TARGET, Judgement, Outcome, Reporter};
use crate::verify::states::LATE_MS;

/// What is said about this, among what an invariant says.
fn about(left: &Left, invariant: &str, text: &str) -> usize {
    left.said(invariant).iter().filter(|said| said.contains(text)).count()
}

#[test]
fn a_file_without_its_arrival_is_looked_at() {
    let mut headless = left();
    headless.remove(Topic::Arrivals, "done");
    assert_eq!(headless.check().count("files"), left().check().count("files"));
    assert_ne!(about(&headless, "I11", "done"), 0, "{:?}", headless.check().violations);
}

#[test]
fn i4_each_way_in_which_a_plan_is_not_whole_is_named() {
    let of_done = |change: fn(&mut PlannedDispatch)| {
        let mut other = left();
        other.edit(Topic::Plans, "done/fast", change);
        about(&other, "I4", "plan records are there")
    };
    assert_eq!(of_done(|p| p.of = 2), 1);
    assert_eq!(of_done(|p| p.ordinal = 1), 1);
    assert_eq!(of_done(|p| p.expected_targets.iter_mut().for_each(|of| of.reverse())), 0, "it is the only one");
    let mut turned = left();
    turned.edit(Topic::Plans, "wide/fast", |p: &mut PlannedDispatch| {
        p.expected_targets.iter_mut().for_each(|targets| targets.reverse());
    });
    assert_eq!(about(&turned, "I4", "plan records are there"), 1, "{:?}", turned.check().violations);
}

#[test]
fn i6_a_budget_that_is_exceeded_is_shown_at_the_newest_attempt() {
    let mut spent = left();
    spent.edit(Topic::Plans, "granted/strict", |p: &mut PlannedDispatch| p.retry.operator_attempts = 0);
    let newest = &spent.records[spent.place(Topic::Attempts, "granted/strict/2")];
    let named = spent.check().violations.into_iter().find(|v| v.text.contains("exceed the budgets"));
    assert_eq!(named.expect("it is named").at, Some((newest.at, newest.offset)));
}

#[test]
fn i6_an_operators_retry_ends_no_attempt() {
    let mut open = left();
    open.rewrite("granted", |e| {
        if e.outcome.as_ref().is_some_and(|o| o.kind == OutcomeKind::Unknown) {
            e.judgement = Judgement::Late;
        }
    });
    assert_eq!(about(&open, "I6", "is open"), 1, "{:?}", open.check().violations);
}

#[test]
fn refusals_are_counted_where_they_were_applied() {
    let refusals = |change: &dyn Fn(&mut crate::record::HistoryEvent)| {
        let mut of_retried = left();
        of_retried.rewrite("retried", change);
        of_retried.check().count("refusals")
    };
    let refuse = |e: &mut crate::record::HistoryEvent| {
        e.outcome.iter_mut().filter(|o| o.kind == OutcomeKind::Retryable).for_each(|o| o.refusal = true);
    };
    assert_eq!(refusals(&|_| {}), 0);
    assert_eq!(refusals(&refuse), 1);
    assert_eq!(
        refusals(&|e| {
            refuse(e);
            e.judgement = Judgement::Late;
        }),
        0
    );
}

#[test]
fn i9_the_plan_of_a_file_whose_bytes_are_fetched_follows_what_was_found() {
    let mut world = World::new(WorldOptions { home_partitions: 1, ..WorldOptions::new(SIMULATED_DOCUMENT) });
    world.start("w");
    world.run();
    let location = Some("https://files.invalid/counted".to_owned());
    world.submit(&crate::record::FileManifest { location, ..manifest("counted", "fetched") });
    world.run();
    assert!(world.answer(&format!("counted/{FILE_TARGET}"), Answer::Succeeded), "its bytes are being fetched");
    world.run();
    let fetched = || Left {
        codec: Arc::clone(&world.codec),
        options: world.verify_options(true),
        records: world.dump(),
        requests: world.journal(),
    };
    let clean = fetched();
    assert!(clean.check().violations.is_empty(), "{:?}", clean.check().violations);
    assert_eq!(clean.check().count("fetches"), 1);
    let key = |left: &Left| {
        let plan = left.records.iter().find(|r| r.at.topic == Topic::Plans).expect("it is planned");
        String::from_utf8(plan.key.clone().expect("a key")).expect("a key is text")
    };
    for digest in [Some("sha256:other".to_owned()), None] {
        let mut other = fetched();
        let plan = key(&other);
        other.edit(Topic::Plans, &plan, |p: &mut PlannedDispatch| p.content_digest.clone_from(&digest));
        assert_eq!(about(&other, "I9", "doesn't follow a report of its bytes"), 1, "{digest:?}");
    }
    let mut unseen = fetched();
    unseen.rewrite("counted", |e| e.outcome.iter_mut().for_each(|o| o.received_digest = None));
    let plan = key(&unseen);
    unseen.edit(Topic::Plans, &plan, |p: &mut PlannedDispatch| p.content_digest = None);
    assert_eq!(about(&unseen, "I9", "doesn't follow a report of its bytes"), 1);
}

#[test]
fn i11_where_a_fold_ends_is_said_once_and_where() {
    let mut behind = left();
    behind.add(Topic::History, "wide/1", |h: &mut FileHistory| {
        h.seq = 99;
        h.events.truncate(1);
        h.events[0].version = 1_000;
    });
    let newest = &behind.records[behind.place(Topic::FileState, "wide")];
    let named: Vec<_> = behind.check().violations.into_iter().filter(|v| v.invariant == "I11").collect();
    let at_newest = named.iter().filter(|v| v.at == Some((newest.at, newest.offset))).count();
    assert!(at_newest > 0, "{named:?}");
}

#[test]
fn i11_what_an_unknown_topic_caused_is_due() {
    let mut behind = left();
    behind.records.remove(behind.place(Topic::FileState, "stuck"));
    behind.options.due = Due::NOTHING;
    behind.options.committed.clear();
    assert_eq!(behind.said("I11"), Vec::<String>::new());
    behind.rewrite("stuck", |e| e.cause.topic = "elsewhere".into());
    assert_eq!(about(&behind, "I11", "stuck"), 1, "{:?}", behind.check().violations);
}

#[test]
fn i12_what_is_due_may_take_a_minute_and_the_skew() {
    let mut quiet = left();
    let newest = |left: &Left| left.records.iter().map(|r| r.timestamp).max().expect("there are records");
    let mut next: Vec<Timestamp> = Vec::new();
    for file_id in ["wide", "stuck"] {
        let state: FileState = quiet.value(quiet.place(Topic::FileState, file_id));
        next.extend(state.next_event.map(|next| next.at));
    }
    let first = next.into_iter().min().expect("something is open");
    let latest = first.plus_millis(LATE_MS + quiet.options.max_clock_skew_ms);
    assert!(latest > newest(&quiet));
    quiet.records.last_mut().expect("there are records").timestamp = latest;
    assert_eq!(quiet.said("I12"), Vec::<String>::new());
    quiet.records.last_mut().expect("there are records").timestamp = latest.plus_millis(1);
    assert_eq!(quiet.said("I12").len(), 1);
}

#[test]
fn i14_an_ack_that_came_home_before_the_deadline_is_not_beaten_by_it() {
    let mut in_time = left();
    let place = in_time.place(Topic::Acks, "overdue/ledger");
    in_time.records[place].timestamp = crate::sim::START.plus_millis(1_000);
    assert_eq!(about(&in_time, "I14", "over the ack"), 1);
    // It was brought home twice, the first time before the deadline.
    let (_, ack) = in_time.deadline_and_ack();
    let earlier = Record { offset: -1, ..in_time.records[ack].clone() };
    in_time.records.insert(0, earlier);
    assert_eq!(about(&in_time, "I14", "over the ack"), 0, "{:?}", in_time.check().violations);
}

#[test]
fn i14_a_report_is_in_the_history_only_if_all_of_it_is() {
    let over_the_report = |change: &dyn Fn(&mut Left)| {
        let mut before = left();
        let (_, ack) = before.deadline_and_ack();
        before.records[ack].offset = -1;
        change(&mut before);
        about(&before, "I14", "over the report")
    };
    assert_eq!(over_the_report(&|_| {}), 1);
    // What was applied before the deadline is the same report, but for the reference.
    let applied = |reference: Option<&'static str>| {
        move |left: &mut Left| {
            let (_, ack) = left.deadline_and_ack();
            let report: Outcome = left.value(ack);
            left.rewrite("overdue", |e| {
                if e.outcome
                    .as_ref()
                    .is_some_and(|o| o.kind == OutcomeKind::Accepted && o.reporter == Reporter::Transport)
                {
                    let reference = reference.map(ToOwned::to_owned).or_else(|| report.reference.clone());
                    e.outcome = Some(Outcome { reference, ..report.clone() });
                    e.judgement = Judgement::Late;
                }
            });
        }
    };
    assert_eq!(over_the_report(&applied(None)), 0, "it stands there");
    assert_eq!(over_the_report(&applied(Some("another"))), 1);
}

#[test]
fn i14_a_report_is_of_this_life_from_its_arrival_on() {
    let said = |later_ms: i64| {
        let mut before = left();
        let (_, ack) = before.deadline_and_ack();
        before.records[ack].offset = -1;
        let arrived = before.records[before.place(Topic::Arrivals, "overdue")].timestamp;
        before.records[ack].timestamp = arrived.plus_millis(later_ms);
        about(&before, "I14", "over the report")
    };
    assert_eq!((said(-1), said(0)), (0, 1));
}

#[test]
fn i12_an_open_dispatch_needs_both_somebody_to_act_and_a_next_event() {
    let of_wide = |change: fn(&mut crate::record::DispatchState)| {
        let mut other = left();
        other.edit(Topic::FileState, "wide", |s: &mut FileState| s.dispatches.iter_mut().for_each(change));
        about(&other, "I12", "nobody to act")
    };
    assert_eq!(of_wide(|_| ()), 0);
    assert_ne!(of_wide(|d| d.accountable = None), 0);
    assert_ne!(of_wide(|d| d.next_event = None), 0);
}

#[test]
fn i5_an_attempt_is_before_its_request_by_its_own_time_and_by_its_records() {
    let earlier = |other: &Left| about(other, "I5", "came before its attempt");
    let after_all =
        left().records.iter().map(|r| r.timestamp).max().expect("there are records").plus_millis(86_400_000);
    let (mut by_record, mut by_value) = (left(), left());
    let place = by_record.place(Topic::Attempts, "done/fast/1");
    by_record.records[place].timestamp = after_all;
    by_value.edit(Topic::Attempts, "done/fast/1", |a: &mut DispatchAttempt| a.authorized_at = after_all);
    assert_eq!((earlier(&left()), earlier(&by_record), earlier(&by_value)), (0, 1, 1));
}
