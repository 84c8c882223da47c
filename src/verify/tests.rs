//! A clean log passes; every invariant has a log that breaks it, and is what the checker names.

mod again;
mod edges;

use std::sync::Arc;

use super::{Due, Options, Report, Request, check};
use crate::log::{Headers, Record, TopicPartition};
use crate::record::{
    Accountable, Action, Codec, DispatchAttempt, FileHistory, FileState, OutcomeKind, PlannedDispatch, State, Status,
    Timestamp, Topic, Wire,
};
use crate::sim::{Answer, SIMULATED_DOCUMENT, World, WorldOptions, manifest};

/// What a run left, to be broken.
struct Left {
    codec: Arc<Codec>,
    options: Options,
    records: Vec<Record>,
    requests: Vec<Request>,
}

/// A run in which everything happens that the invariants speak of.
fn left() -> Left {
    let world = eventful();
    Left {
        codec: Arc::clone(&world.codec),
        options: world.verify_options(true),
        records: world.dump(),
        requests: world.journal(),
    }
}

fn eventful() -> World {
    let mut world = World::new(WorldOptions { home_partitions: 1, ..WorldOptions::new(SIMULATED_DOCUMENT) });
    world.start("w");
    world.run();
    for (id, file_type) in [
        ("done", "plain"),
        ("retried", "careful"),
        ("granted", "careful"),
        ("overdue", "chained"),
        ("nowhere", "nowhere"),
        ("wide", "wide"),
        ("refused", "careful"),
        ("stuck", "careful"),
        ("proven", "proven"),
    ] {
        world.submit(&manifest(id, file_type));
    }
    world.submit(&manifest("done", "plain"));
    world.submit(&manifest("done", "careful"));
    let garbage = TopicPartition { topic: Topic::Manifests, partition: 0 };
    world.cluster.put(garbage, Some(b"k".to_vec()), Some(b"garbage".to_vec()), Headers::new()).expect("it exists");
    let report = TopicPartition { topic: Topic::Outcomes, partition: 0 };
    world.cluster.put(report, Some(b"o".to_vec()), Some(b"garbage".to_vec()), Headers::new()).expect("it exists");
    world.run();
    world.answer("done/fast", Answer::Succeeded);
    world.answer("retried/strict", Answer::Retryable(None));
    world.answer("granted/strict", Answer::Unknown);
    world.answer("stuck/strict", Answer::Unknown);
    world.answer("overdue/ledger", Answer::Accepted);
    world.answer("refused/strict", Answer::Rejected);
    for target in ["fast", "strict", "slim"] {
        world.answer(&format!("wide/{target}"), Answer::Succeeded);
    }
    world.answer("proven/sworn", Answer::Succeeded);
    world.answer("proven/stamped", Answer::Accepted);
    world.run();
    let right = world.ack("proven", "stamped", OutcomeKind::Succeeded);
    world.acknowledge(&crate::record::Outcome { received_digest: None, ..right.clone() });
    world.acknowledge(&right);
    world.run();
    world.intervene("granted", Some("strict"), Action::Retry);
    world.run_for(3_000);
    world.answer("granted/strict", Answer::Succeeded);
    world.answer("retried/strict", Answer::Succeeded);
    world.run_for(30_000);
    world.acknowledge(&world.ack("overdue", "ledger", OutcomeKind::Succeeded));
    world.run();
    assert_eq!(world.status("overdue", "ledger"), Status::Succeeded);
    assert!(world.answer("overdue/last", Answer::Succeeded));
    world.run();
    world.intervene("refused", None, Action::Resubmit);
    world.run();
    assert!(world.answer("refused~1/strict", Answer::Succeeded));
    world.run();
    world
}

impl Left {
    fn check(&self) -> Report {
        check(Arc::clone(&self.codec), self.options.clone(), &self.records, self.requests.clone())
    }

    /// What an invariant says of it.
    fn said(&self, invariant: &str) -> Vec<String> {
        self.check().violations.iter().filter(|v| v.invariant == invariant).map(ToString::to_string).collect()
    }

    /// The log is broken, and this invariant says so.
    fn breaks(&self, invariant: &str) {
        let report = self.check();
        let named: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
        assert!(report.violations.iter().any(|v| v.invariant == invariant), "{invariant} is not among {named:#?}");
    }

    fn place(&self, topic: Topic, key: &str) -> usize {
        let found = self.records.iter().rposition(|r| r.at.topic == topic && r.key.as_deref() == Some(key.as_bytes()));
        found.unwrap_or_else(|| panic!("there is no {key} on {topic:?}"))
    }

    fn value<T: Wire>(&self, place: usize) -> T {
        self.codec.decode(self.records[place].value.as_deref().expect("a value")).expect("it can be read")
    }

    fn set<T: Wire>(&mut self, place: usize, value: &T) {
        let bytes = self.codec.encode_for(self.records[place].at.topic, value).expect("the ids are known");
        self.records[place].value = Some(bytes);
    }

    /// Changes the newest record of a key.
    fn edit<T: Wire>(&mut self, topic: Topic, key: &str, change: impl FnOnce(&mut T)) {
        let place = self.place(topic, key);
        let mut value = self.value(place);
        change(&mut value);
        self.set(place, &value);
    }

    /// Appends another version of the newest record of a key behind everything on its partition.
    fn add<T: Wire>(&mut self, topic: Topic, key: &str, change: impl FnOnce(&mut T)) {
        let place = self.place(topic, key);
        let mut value: T = self.value(place);
        change(&mut value);
        let mut record = self.records[place].clone();
        record.offset = 1_000_000 + i64::try_from(self.records.len()).expect("few");
        self.records.push(record);
        self.set(self.records.len() - 1, &value);
    }

    fn remove(&mut self, topic: Topic, key: &str) {
        let place = self.place(topic, key);
        self.records.remove(place);
    }

    /// Changes the history events of a file.
    fn rewrite(&mut self, file_id: &str, mut change: impl FnMut(&mut crate::record::HistoryEvent)) {
        for place in 0..self.records.len() {
            let record = &self.records[place];
            let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            if record.at.topic == Topic::History && key.starts_with(&format!("{file_id}/")) {
                let mut history: FileHistory = self.value(place);
                history.events.iter_mut().for_each(&mut change);
                self.set(place, &history);
            }
        }
    }

    /// The place of the confirmation deadline of `overdue` on outcomes, and of the report that came after it.
    fn deadline_and_ack(&self) -> (usize, usize) {
        let of_kind = |kind| {
            (0..self.records.len())
                .filter(|at| self.records[*at].at.topic == Topic::Outcomes)
                .filter(|at| self.records[*at].key.as_deref() == Some(b"overdue/ledger"))
                .find(|at| self.value::<crate::record::Outcome>(*at).kind == kind)
                .expect("it happened")
        };
        (of_kind(OutcomeKind::Timer), of_kind(OutcomeKind::Succeeded))
    }
}

#[test]
fn a_clean_run_passes_and_shows_what_it_saw() {
    let report = left().check();
    let named: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(named.is_empty(), "{named:#?}");
    for seen in [
        "files.COMPLETED",
        "files.FAILED",
        "retries",
        "held",
        "held.left",
        "plans.equal",
        "folds.equal",
        "manifests.accepted",
        "manifests.duplicate",
        "dead_letters.conflicting_manifest",
        "dead_letters.undecodable",
        "timers.confirmation_deadline",
        "acks.rehomed",
        "requests",
        "unreadable",
        "successors",
    ] {
        assert!(report.count(seen) > 0, "{seen} in {:?}", report.counts);
    }
    assert_eq!(report.count("plans.different") + report.count("plans.not_provable"), 0);
}

#[test]
fn a_clean_run_passes_on_compacted_topics() {
    let world = eventful();
    for tombstones in [false, true] {
        for topic in Topic::RESTORED {
            world.cluster.compact(TopicPartition { topic, partition: 0 }, tombstones).expect("it exists");
        }
        let report = world.check(true);
        assert!(report.violations.is_empty(), "{:?}", report.violations);
        assert_eq!(report.count("files"), 10);
    }
}

#[test]
fn a_file_may_lag_behind_inputs_that_nobody_has_committed() {
    let mut behind = left();
    // The newest version of an open file is lost, as if its transaction were still to become visible.
    behind.records.remove(behind.place(Topic::FileState, "stuck"));
    behind.breaks("I11");
    let outcomes = TopicPartition { topic: Topic::Outcomes, partition: 0 };
    behind.options.due = Due::NOTHING;
    behind.options.committed.clear();
    assert!(behind.check().violations.is_empty(), "{:?}", behind.check().violations);
    behind.options.due = Due::Below([(outcomes, i64::MAX)].into());
    behind.breaks("I11");
    // What is missing was written with an attempt, which no input caused, and long ago.
    let mut behind = left();
    behind.records.remove(behind.place(Topic::FileState, "wide"));
    behind.options.due = Due::NOTHING;
    behind.options.committed.clear();
    assert!(behind.check().violations.is_empty(), "{:?}", behind.check().violations);
    let mut later = behind.records[0].clone();
    later.timestamp = later.timestamp.plus_millis(3_600_000);
    behind.records.push(later);
    behind.breaks("I11");
}

#[test]
fn k2_no_effect_comes_from_an_input_that_is_not_committed() {
    let mut ahead = left();
    let outcomes = TopicPartition { topic: Topic::Outcomes, partition: 0 };
    let committed = ahead.options.committed.get_mut(&outcomes).expect("the group has read it");
    assert!(*committed > 1);
    *committed = 1;
    ahead.breaks("K2");
}

#[test]
fn i1_every_manifest_ends_as_one_thing() {
    let mut lost = left();
    lost.add(Topic::Manifests, "done", |m: &mut crate::record::FileManifest| {
        m.file_id = crate::record::FileId::trusted("lost");
    });
    lost.breaks("I1");
    let (at, end) = (TopicPartition { topic: Topic::Manifests, partition: 0 }, 1_000_000);
    lost.options.due = Due::Below([(at, end)].into());
    assert!(lost.check().violations.is_empty(), "it may still be read");
    lost.options.due = Due::Below([(at, 2 * end)].into());
    lost.breaks("I1");
    let mut twice = left();
    let dead = twice.place(Topic::DeadLetters, "done");
    let mut letter = twice.records[dead].clone();
    let accepted = twice.value::<crate::record::Arrival>(twice.place(Topic::Arrivals, "retried")).cause.offset;
    for (name, value) in &mut letter.headers {
        if name == "consign-offset" {
            *value = accepted.to_string().into_bytes();
        }
    }
    letter.offset += 1_000;
    twice.records.push(letter);
    twice.breaks("I1");
}

#[test]
fn i2_versions_rise_and_nothing_follows_the_end() {
    let mut after = left();
    after.add(Topic::FileState, "done", |s: &mut FileState| s.version += 1);
    after.breaks("I2");
    let mut back = left();
    back.add(Topic::FileState, "wide", |s: &mut FileState| {
        s.version += 1;
        s.state = State::Received;
    });
    back.breaks("I2");
    let mut stands = left();
    stands.add(Topic::FileState, "wide", |_: &mut FileState| {});
    stands.breaks("I2");
    let mut tombstone = left();
    let mut record = tombstone.records[tombstone.place(Topic::FileState, "wide")].clone();
    (record.offset, record.value) = (1_000_000, None);
    tombstone.records.push(record);
    tombstone.breaks("I2");
}

#[test]
fn i3_completed_and_failed_mean_what_they_say() {
    let mut completed = left();
    completed.edit(Topic::FileState, "done", |s: &mut FileState| s.dispatches[0].status = Status::Failed);
    completed.breaks("I3");
    let mut failed = left();
    failed.edit(Topic::FileState, "refused", |s: &mut FileState| s.dispatches[0].status = Status::Succeeded);
    failed.breaks("I3");
    let mut open = left();
    open.edit(Topic::FileState, "refused", |s: &mut FileState| s.dispatches[0].status = Status::Held);
    open.breaks("I3");
    let mut silent = left();
    silent.edit(Topic::FileState, "nowhere", |s: &mut FileState| s.reason = None);
    silent.breaks("I3");
}

#[test]
fn i3_a_success_has_the_receipt_that_its_plan_asks_for() {
    let clean = left().check();
    let count = |name: &str| clean.counts.get(name).copied();
    assert_eq!((count("receipts.right"), count("receipts.wrong")), (Some(2), Some(1)));
    let is_success = |e: &crate::record::HistoryEvent| {
        e.judgement == crate::record::Judgement::Applied
            && e.outcome.as_ref().is_some_and(|o| o.kind == OutcomeKind::Succeeded)
    };
    for digest in [None, Some("sha256:other".to_owned())] {
        let mut unproven = left();
        unproven.rewrite("proven", |e| {
            if is_success(e) {
                e.outcome.iter_mut().for_each(|o| o.received_digest.clone_from(&digest));
            }
        });
        unproven.breaks("I3");
        // It isn't what the report said either.
        unproven.breaks("I11");
    }
}

#[test]
fn i4_the_plan_is_whole_and_frozen() {
    let mut rewritten = left();
    rewritten.add(Topic::Plans, "done/fast", |p: &mut PlannedDispatch| p.owner = "another".into());
    rewritten.breaks("I4");
    let mut missing = left();
    missing.remove(Topic::Plans, "wide/slim");
    missing.breaks("I4");
    let mut more = left();
    more.edit(Topic::FileState, "wide", |s: &mut FileState| drop(s.dispatches.pop()));
    more.breaks("I4");
}

#[test]
fn i5_requests_follow_their_attempts() {
    let mut missing = left();
    missing.remove(Topic::Attempts, "done/fast/1");
    missing.breaks("I5");
    let mut early = left();
    let request = early.requests.iter_mut().find(|r| r.idempotency_key == "granted/strict" && r.attempt == 2).unwrap();
    request.received_at = crate::sim::START.plus_millis(-1);
    early.breaks("I5");
    early.options.max_clock_skew_ms = 10_000;
    assert!(early.check().violations.is_empty(), "two clocks may be apart");
}

#[test]
fn i6_attempts_are_numbered_within_their_budgets_one_at_a_time() {
    let mut gap = left();
    gap.remove(Topic::Attempts, "granted/strict/1");
    gap.breaks("I6");
    let mut open = left();
    open.rewrite("retried", |e| e.judgement = crate::record::Judgement::Late);
    open.breaks("I6");
    let mut spent = left();
    spent.edit(Topic::Plans, "granted/strict", |p: &mut PlannedDispatch| p.retry.operator_attempts = 0);
    spent.breaks("I6");
}

#[test]
fn i7_requests_of_a_dispatch_carry_the_same_bytes() {
    let mut other = left();
    let request = other.requests.iter_mut().rfind(|r| r.idempotency_key == "granted/strict").unwrap();
    request.body_sha256 = "sha256:00".into();
    other.breaks("I7");
}

#[test]
fn i8_a_hold_target_sees_no_second_request_of_unknown_fate() {
    let mut unknown = left();
    unknown.rewrite("retried", |e| {
        if let Some(outcome) = e.outcome.as_mut().filter(|o| o.kind == OutcomeKind::Retryable) {
            outcome.kind = OutcomeKind::Unknown;
        }
    });
    unknown.breaks("I8");
    let mut ungranted = left();
    ungranted.rewrite("granted", |e| {
        if let Some(asked) = &mut e.intervention {
            asked.action = Action::Confirm;
        }
    });
    ungranted.breaks("I8");
    let mut twice = left();
    let again = twice.requests.iter().find(|r| r.idempotency_key == "granted/strict").unwrap().clone();
    twice.requests.push(again);
    twice.breaks("I8");
}

#[test]
fn i9_nothing_is_sent_unplanned_or_after_the_end() {
    let mut unplanned = left();
    let mut request = unplanned.requests[0].clone();
    request.idempotency_key = "done/elsewhere".into();
    unplanned.requests.push(request);
    unplanned.breaks("I9");
    let mut after = left();
    after.add(Topic::Attempts, "done/fast/1", |a: &mut DispatchAttempt| {
        a.attempt = 2;
        a.version += 10;
    });
    let newest = after.records.last_mut().expect("just added");
    newest.key = Some(b"done/fast/2".to_vec());
    after.breaks("I9");
    let mut early = left();
    let place = early.place(Topic::Plans, "done/fast");
    early.records[place].timestamp = Timestamp(i64::MAX);
    early.breaks("I9");
}

#[test]
fn i10_the_plan_is_the_same_when_it_is_made_again() {
    let mut other = left();
    other.edit(Topic::Plans, "done/fast", |p: &mut PlannedDispatch| p.request.destination.push('x'));
    other.breaks("I10");
    assert_eq!(other.check().count("plans.different"), 1);
    let mut newer = left();
    newer.edit(Topic::Plans, "done/fast", |p: &mut PlannedDispatch| p.planner_version += 1);
    assert_eq!(newer.check().count("plans.not_provable"), 1);
    let mut unknown = left();
    unknown.records.retain(|r| r.at.topic != Topic::Controls);
    assert_eq!(unknown.check().count("plans.equal"), 0);
    assert!(unknown.check().violations.is_empty());
}

#[test]
fn i11_the_records_fold_into_the_state() {
    let mut other = left();
    other.edit(Topic::FileState, "done", |s: &mut FileState| s.settled_at = Some(Timestamp(1)));
    other.breaks("I11");
    let mut missing = left();
    missing.remove(Topic::History, "done/1");
    missing.breaks("I11");
    let mut behind = left();
    behind.add(Topic::History, "wide/1", |h: &mut FileHistory| {
        h.seq = 99;
        h.events.truncate(1);
        h.events[0].version = 1_000;
    });
    behind.breaks("I11");
}

#[test]
fn i12_what_is_open_has_an_owner_and_a_next_event() {
    let mut nobody = left();
    nobody.edit(Topic::FileState, "wide", |s: &mut FileState| s.accountable = None);
    nobody.breaks("I12");
    let mut blank = left();
    blank.edit(Topic::FileState, "wide", |s: &mut FileState| {
        s.accountable = Some(Accountable { party: " ".into(), since: Timestamp(0) });
    });
    blank.breaks("I12");
    let mut never = left();
    never.edit(Topic::FileState, "wide", |s: &mut FileState| s.next_event = None);
    never.breaks("I12");
}

#[test]
fn i13_held_is_left_by_somebodys_word() {
    let mut anonymous = left();
    anonymous.rewrite("granted", |e| {
        if let Some(asked) = &mut e.intervention {
            asked.actor = String::new();
        }
    });
    anonymous.breaks("I13");
    let mut attempted = left();
    attempted.add(Topic::Attempts, "stuck/strict/1", |a: &mut DispatchAttempt| {
        a.attempt = 2;
        a.version += 2;
    });
    attempted.records.last_mut().expect("just added").key = Some(b"stuck/strict/2".to_vec());
    attempted.breaks("I13");
    let mut unreasoned = left();
    unreasoned.rewrite("granted", |e| {
        if let Some(asked) = &mut e.intervention {
            asked.reason = " ".into();
        }
    });
    unreasoned.breaks("I13");
}

#[test]
fn i14_what_came_before_a_deadline_wins() {
    let mut ack_in_time = left();
    let place = ack_in_time.place(Topic::Acks, "overdue/ledger");
    ack_in_time.records[place].timestamp = crate::sim::START.plus_millis(1_000);
    ack_in_time.breaks("I14");
    let mut report_before = left();
    let (_, ack) = report_before.deadline_and_ack();
    report_before.records[ack].offset = -1;
    report_before.breaks("I14");
    let mut lost = left();
    let (_, ack) = lost.deadline_and_ack();
    lost.records.remove(ack);
    lost.breaks("I14");
    let mut early = left();
    early.rewrite("overdue", |e| {
        if e.outcome.as_ref().is_some_and(|o| o.timer.is_some()) {
            e.at = crate::sim::START;
        }
    });
    early.breaks("I14");
    let mut elsewhere = left();
    elsewhere.rewrite("overdue", |e| {
        if e.outcome.as_ref().is_some_and(|o| o.timer.is_some()) {
            e.cause.offset += 1;
        }
    });
    let (deadline, _) = elsewhere.deadline_and_ack();
    let mut other = elsewhere.records[deadline].clone();
    other.offset += 1;
    other.value = Some(b"no timer".to_vec());
    elsewhere.records.retain(|r| r.at.topic != Topic::Outcomes || r.offset != other.offset);
    elsewhere.records.push(other);
    elsewhere.breaks("I14");
}

#[test]
fn i15_what_cant_be_read_dies_with_its_bytes() {
    let mut silent = left();
    silent.remove(Topic::DeadLetters, "k");
    silent.breaks("I15");
    let mut changed = left();
    let place = changed.place(Topic::DeadLetters, "k");
    changed.records[place].value = Some(b"other bytes".to_vec());
    changed.breaks("I15");
    let mut unreasoned = left();
    let place = unreasoned.place(Topic::DeadLetters, "k");
    unreasoned.records[place].headers.retain(|(name, _)| name != "consign-reason");
    unreasoned.breaks("I15");
    let mut twice = left();
    let mut again = twice.records[twice.place(Topic::DeadLetters, "o")].clone();
    again.offset += 1_000;
    twice.records.push(again);
    twice.breaks("I15");
    twice.options.inputs_were_reread = true;
    assert!(twice.check().violations.iter().all(|v| v.invariant != "I15"), "after lost offsets it is read again");
}

#[test]
fn i12_what_was_due_has_happened_once_the_log_is_quiet() {
    let mut missed = left();
    let newest = missed.records.iter().map(|r| r.timestamp).max().expect("there are records");
    let day_ms = 86_400_000;
    missed.records.last_mut().expect("there are records").timestamp = newest.plus_millis(day_ms);
    missed.breaks("I12");
    missed.options.due = Due::NOTHING;
    assert!(missed.check().violations.iter().all(|v| v.invariant != "I12"), "the engine may be at work");
}

#[test]
fn i11_what_the_history_judges_is_what_stands_at_its_cause() {
    let mut softened = left();
    softened.rewrite("retried", |e| {
        if let Some(outcome) = e.outcome.as_mut().filter(|o| o.kind == OutcomeKind::Retryable) {
            outcome.reporter = crate::record::Reporter::Callback;
        }
    });
    softened.breaks("I11");
    let named = softened.check().violations;
    assert!(named.iter().any(|v| v.text.contains("stands at its cause")), "{named:?}");
}

#[test]
fn requests_of_a_forgotten_life_are_not_held_against_the_next() {
    let mut again = left();
    let tombstone = Record { value: None, offset: -5, ..again.records[again.place(Topic::Arrivals, "done")].clone() };
    again.records.insert(0, tombstone);
    let earlier = Request { received_at: crate::sim::START.plus_millis(-1), ..again.requests[0].clone() };
    assert_eq!(earlier.idempotency_key, "done/fast");
    again.requests.insert(0, Request { body_sha256: "sha256:other".into(), ..earlier });
    let report = again.check();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    assert_eq!(report.count("requests.not_provable"), 1);
    again.records.remove(0);
    again.breaks("I9");
}

#[test]
fn a_successor_is_for_no_target_that_was_reached() {
    let mut again = left();
    again.edit::<FileState>(Topic::FileState, "refused", |state| state.dispatches[0].status = Status::Succeeded);
    again.breaks("R6");
    // The file of that name is another one: it began when its successor of an earlier life was there already.
    again.edit::<FileState>(Topic::FileState, "refused", |state| {
        state.settled_at = state.settled_at.map(|at| at.plus_millis(86_400_000));
    });
    assert!(again.check().violations.iter().all(|v| v.invariant != "R6"));
}
