//! Kafka targets whose records are part of the transaction that authorizes them.

use consign::engine::Observed;
use consign::log::AbortCause;
use consign::log::memory::{Fault, TopicFault};
use consign::record::{HeldBecause, Outcome, OutcomeKind, Reporter, State, Status, Topic};
use consign::sim::{Answer, START, World, WorldOptions, manifest};

use crate::{clean, world_of};

/// `one` and `two` are written to in transactions, `acked` too and confirms by acks, `ours` names a topic of consign's own.
const DOCUMENT: &str = r#"
file_types: {plain: {}, single: {}, acked: {}, ours: {}}
payloads:
  whole: {body: {id: "=file.id", type: "=file.type"}}
target_defaults:
  owner: team-o
  retry: {attempts: 2, operator_attempts: 2, refusals: 2, schedule: [1s], jitter: 0}
  timeouts: {send_within: 5s, request: 5s, max_clock_skew: 1s}
targets:
  one: {kafka: {topic: one.in, in_transaction: true}, confirmed_by: transport, on_unknown: hold}
  two: {kafka: {topic: two.in, key: "=file.type", in_transaction: true}, confirmed_by: transport, on_unknown: hold}
  acked: {kafka: {topic: acked.in, in_transaction: true}, confirmed_by: {acks: 30s}, on_unknown: hold}
  ours: {kafka: {topic: consign.plans, in_transaction: true}, confirmed_by: transport, on_unknown: hold}
  fast: {http: {url: "http://targets.invalid/fast"}, confirmed_by: {response: "status == 200"}, on_unknown: retry}
routes:
  - {to: one, when: "file.type in ['plain', 'single']", payload: whole}
  - {to: two, when: "file.type == 'plain'", payload: whole}
  - {to: acked, when: "file.type == 'acked'", payload: whole}
  - {to: ours, when: "file.type == 'ours'", payload: whole}
  - {to: fast, when: "file.type in ['plain', 'single']", payload: whole}
"#;

fn world() -> World {
    world_of(WorldOptions::new(DOCUMENT), &["w"])
}

/// What a topic received: `file_id/target/attempt`.
fn received(world: &World, target: &str) -> Vec<String> {
    let requests = world.received_in_transactions();
    let of_target = requests.iter().filter(|r| r.idempotency_key.ends_with(&format!("/{target}")));
    of_target.map(|r| format!("{}/{}", r.idempotency_key, r.attempt)).collect()
}

fn reports(world: &World, target: &str) -> Vec<Outcome> {
    let outcomes = world.cluster.dump(Topic::Outcomes);
    let decoded = outcomes.iter().filter_map(|r| world.codec.decode::<Outcome>(r.value.as_deref()?).ok());
    decoded.filter(|o| o.target.as_str() == target && o.kind != OutcomeKind::Timer).collect()
}

fn aborts(world: &World) -> Vec<AbortCause> {
    let cause = |observed: &Observed| match observed {
        Observed::Aborted { cause } => Some(*cause),
        _ => None,
    };
    world.observed().iter().filter_map(cause).collect()
}

/// Whether a target's breaker was seen to open (true) or close, in order.
fn breaker(world: &World, of: &str) -> Vec<bool> {
    let change = |observed: &Observed| match observed {
        Observed::Breaker { target, is_open } if target.as_str() == of => Some(*is_open),
        _ => None,
    };
    world.observed().iter().filter_map(change).collect()
}

#[test]
fn attempt_record_and_report_are_one_transaction() {
    let mut world = world();
    world.submit(&manifest("f0", "plain"));
    world.run();
    assert_eq!(world.status("f0", "one"), Status::Succeeded);
    assert_eq!(world.status("f0", "two"), Status::Succeeded);
    let commits = |o: &&Observed| matches!(o, Observed::Committed { records } if *records > 0);
    // Planned and delivered by the first, settled by the second.
    assert!(world.observed().iter().filter(commits).count() <= 4);
    assert_eq!((received(&world, "one"), received(&world, "two")), (vec!["f0/one/1".into()], vec!["f0/two/1".into()]));
    let of_two: Vec<_> =
        world.cluster.target_records().into_iter().map(|(_, r)| r).filter(|r| r.topic == "two.in").collect();
    assert_eq!(
        (of_two[0].key.as_slice(), of_two[0].value.as_slice()),
        (b"plain".as_slice(), br#"{"id":"f0","type":"plain"}"#.as_slice())
    );
    let names: Vec<&str> = of_two[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["consign-attempt", "consign-attempts-left", "content-type", "idempotency-key", "traceparent"]);
    let report = reports(&world, "two").remove(0);
    assert_eq!(
        (report.kind, report.reporter, report.code.as_str()),
        (OutcomeKind::Succeeded, Reporter::Transport, "delivered")
    );
    assert!(world.answer("f0/fast", Answer::Succeeded));
    world.run();
    assert_eq!(world.state("f0").state, State::Completed);
    clean(&world);
}

#[test]
fn an_undecided_commit_leaves_no_fate_unknown() {
    for fault in [
        Fault::LeftOpen,
        Fault::Commit { reply_lost: true, late_markers: false },
        Fault::Commit { reply_lost: true, late_markers: true },
        Fault::Abort { late_markers: true },
        Fault::Away,
    ] {
        for passed in 0..3 {
            let mut world = world();
            world.submit(&manifest("f0", "plain"));
            // The first transaction asks the topics; the record is in the one after.
            for _ in 0..passed {
                world.step("w");
            }
            world.aimed.transaction("w", fault);
            world.run();
            world.cluster.land_markers();
            world.run_for(30_000);
            assert_eq!(world.status("f0", "one"), Status::Succeeded, "{fault:?} after {passed}");
            assert_eq!(received(&world, "one"), ["f0/one/1"], "{fault:?} after {passed}");
            assert_eq!(received(&world, "two"), ["f0/two/1"], "{fault:?} after {passed}");
            let kinds: Vec<OutcomeKind> = reports(&world, "one").iter().map(|o| o.kind).collect();
            assert_eq!(kinds, [OutcomeKind::Succeeded], "{fault:?} after {passed}");
        }
    }
}

#[test]
fn a_process_that_dies_after_the_commit_leaves_its_report_behind() {
    let mut world = world();
    world.submit(&manifest("f0", "single"));
    // Up to the commit of the attempt, and no further.
    while received(&world, "one").is_empty() {
        world.step("w");
    }
    assert_eq!(world.status("f0", "one"), Status::InFlight);
    world.crash("w");
    // Far beyond the attempt's deadline.
    world.advance(3_600_000);
    world.start("w");
    world.run();
    assert_eq!(world.status("f0", "one"), Status::Succeeded);
    assert_eq!(received(&world, "one"), ["f0/one/1"]);
    clean(&world);
}

#[test]
fn a_missing_topic_opens_its_breaker_and_stops_nobody_else() {
    let mut world = world();
    world.cluster.topic_fault("two.in", Some(TopicFault::Missing));
    for n in 0..20 {
        world.submit(&manifest(&format!("f{n}"), "plain"));
    }
    world.run();
    assert_eq!((received(&world, "one").len(), received(&world, "two").len()), (20, 0));
    assert_eq!(world.status("f0", "two"), Status::Pending, "it spends nothing");
    assert_eq!((breaker(&world, "two"), breaker(&world, "one")), (vec![true], vec![]));
    assert_eq!(aborts(&world), [], "it was asked before anything was written");
    for n in 0..20 {
        assert!(world.answer(&format!("f{n}/fast"), Answer::Succeeded));
    }
    world.run_for(29_000);
    world.cluster.topic_fault("two.in", None);
    world.run();
    assert_eq!(received(&world, "two").len(), 0, "not before its time");
    world.run_for(1_100);
    assert_eq!(received(&world, "two").len(), 20);
    assert_eq!(breaker(&world, "two"), [true, false]);
    assert!(world.states().values().all(|s| s.state == State::Completed));
    clean(&world);
}

#[test]
fn an_abort_that_a_topic_causes_costs_the_others_one_transaction() {
    let mut world = world();
    world.submit(&manifest("before", "plain"));
    world.run();
    assert_eq!(received(&world, "two").len(), 1);
    // It passes its checks, and no transaction.
    world.cluster.topic_fault("two.in", Some(TopicFault::FailsUnseen));
    for n in 0..20 {
        world.submit(&manifest(&format!("f{n}"), "plain"));
    }
    world.run();
    assert_eq!((received(&world, "one").len(), received(&world, "two").len()), (21, 1));
    assert_eq!((aborts(&world), breaker(&world, "two")), (vec![AbortCause::Target], vec![true]));
    assert_eq!(world.status("f0", "two"), Status::Pending);
    assert_eq!(world.unwell(), []);
    // One probe after 30 s, the next after 60 more.
    world.run_for(31_000);
    assert_eq!(aborts(&world).len(), 2);
    world.run_for(58_000);
    assert_eq!(aborts(&world).len(), 2);
    world.cluster.topic_fault("two.in", None);
    world.run_for(3_000);
    assert_eq!(received(&world, "two").len(), 21);
    let attempts = |world: &mut World| {
        let dispatches = world.states().values().flat_map(|s| s.dispatches.clone());
        dispatches.filter(|d| d.target.as_str() == "two").map(|d| d.attempts).max()
    };
    assert_eq!(attempts(&mut world), Some(1), "an abort is no attempt");
    clean(&world);
}

#[test]
fn a_confirmation_by_acks_follows_and_may_ask_for_the_record_again() {
    let mut world = world();
    world.submit(&manifest("f0", "acked"));
    world.run();
    assert_eq!(world.status("f0", "acked"), Status::Awaiting);
    let later = Outcome { attempt: Some(1), ..world.ack("f0", "acked", OutcomeKind::Retryable) };
    world.acknowledge(&later);
    world.run_for(1_500);
    assert_eq!(received(&world, "acked"), ["f0/acked/1", "f0/acked/2"]);
    let records: Vec<_> = world.cluster.target_records().into_iter().map(|(_, r)| r).collect();
    assert_eq!((&records[0].key, &records[0].value), (&records[1].key, &records[1].value));
    let token = |n: usize| records[n].headers.iter().find(|(name, _)| name == "consign-ack-token").cloned();
    assert!(token(0).is_some() && token(0) == token(1));
    world.acknowledge(&world.ack("f0", "acked", OutcomeKind::Succeeded));
    world.run();
    assert_eq!(world.state("f0").state, State::Completed);
    // What doesn't confirm in time waits for a person, as its `on_overdue` says.
    world.submit(&manifest("f1", "acked"));
    world.run_for(31_000);
    let overdue = world.state("f1").dispatches.remove(0);
    assert_eq!((overdue.status, overdue.held_because), (Status::Held, Some(HeldBecause::ConfirmationOverdue)));
    clean(&world);
}

#[test]
fn nothing_is_written_to_a_topic_of_consigns_own() {
    let mut world = world();
    world.submit(&manifest("f0", "ours"));
    world.run_for(5_000);
    assert!(received(&world, "ours").is_empty());
    let said: Vec<(OutcomeKind, String)> = reports(&world, "ours").into_iter().map(|o| (o.kind, o.code)).collect();
    assert_eq!(said, vec![(OutcomeKind::Retryable, "egress_refused".to_owned()); 2]);
    let held = world.state("f0").dispatches.remove(0);
    assert_eq!((held.status, held.held_because), (Status::Held, Some(HeldBecause::BudgetSpent)));
    assert!(world.now() > START);
    clean(&world);
}

#[test]
fn a_pause_holds_what_would_go_with_the_next_transaction() {
    let mut world = world();
    world.pause("one", true).unwrap();
    world.submit(&manifest("f0", "single"));
    world.run_for(5_000);
    assert_eq!((world.status("f0", "one"), received(&world, "one").len()), (Status::Pending, 0));
    world.pause("one", false).unwrap();
    world.run();
    assert_eq!(received(&world, "one"), ["f0/one/1"]);
    clean(&world);
}
