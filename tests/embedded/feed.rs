//! What `/metrics` says after a run is what the topics hold.

use std::time::Duration;

use consign::log::{Headers, Record, TopicPartition};
use consign::record::{
    DispatchAttempt, FileHistory, FileState, HistoryEvent, Judgement, Outcome, OutcomeKind, Reporter, State, Status,
    TargetName, Timestamp, Topic, Wire, header, home_partition,
};
use serde_json::json;

use crate::numbers::{Numbers, Series};
use crate::world::{self, World};

const PATIENCE: Duration = Duration::from_secs(30);

fn all<T: Wire>(world: &World, topic: Topic) -> Vec<(Record, T)> {
    let records = world.cluster.dump(topic).into_iter().filter(|record| record.value.is_some());
    let decoded = records.filter_map(|record| {
        let value = world.shared.codec.decode::<T>(record.value.as_deref().unwrap()).ok()?;
        Some((record, value))
    });
    decoded.collect()
}

fn count(keys: impl IntoIterator<Item = Vec<String>>) -> Series {
    let mut series = Series::new();
    for key in keys {
        *series.entry(key).or_default() += 1.0;
    }
    series
}

fn key<const N: usize>(parts: [&str; N]) -> Vec<String> {
    parts.map(str::to_owned).to_vec()
}

fn seconds(millis: i64) -> f64 {
    Duration::from_millis(u64::try_from(millis).unwrap()).as_secs_f64()
}

fn put(world: &World, topic: Topic, partition: i32, key: &str, value: Vec<u8>) {
    let at = TopicPartition { topic, partition };
    world.cluster.put(at, Some(key.as_bytes().to_vec()), Some(value), Headers::new()).unwrap();
}

/// A person decides, as of now.
async fn ask(world: &World, path: &str, asked: serde_json::Value) {
    let reply = reqwest::Client::new().post(format!("{}{path}", world.url())).json(&asked).send().await.unwrap();
    assert!(reply.status().is_success(), "{path}: {}", reply.text().await.unwrap());
}

/// Some of everything that there is to count.
async fn run(world: &World) {
    let types = ["note", "statement", "contact", "payment", "reading", "claim", "memo", "shipment", "contract", "writ"];
    for file_type in types {
        world.submit(&world::manifest(&format!("{file_type}-1"), file_type)).await;
    }
    // A repeat, a stray, a conflict and bytes that are nothing.
    world.submit(&world::manifest("note-1", "note")).await;
    let stray = world.shared.codec.encode(&world::manifest("stray-1", "note")).unwrap();
    put(world, Topic::Manifests, (home_partition("stray-1", 4) + 1) % 4, "stray-1", stray);
    world.submit(&world::manifest("note-1", "order")).await;
    put(world, Topic::Outcomes, 2, "none/none", b"nothing".to_vec());
    // One that is past its deadline while it is held.
    let mut overdue = world::manifest("late-1", "payment");
    overdue.deadline = Some(Timestamp((world.shared.clock)().0 + 1_500));
    world.submit(&overdue).await;
    for file_type in ["note", "statement", "contact", "claim", "memo", "shipment", "contract", "stray"] {
        world.settled(&format!("{file_type}-1")).await;
    }
    for file_type in ["payment", "reading", "writ"] {
        world.until(&format!("{file_type}-1"), |s| s.dispatches.iter().any(|d| d.status == Status::Held)).await;
    }
    world.until("late-1", |s| s.overdue).await;
    // After the decision: twice the same late report, a contradiction, a report with a wrong token.
    let key = "shipment-1/ledger";
    let (file_id, target) = ("shipment-1", TargetName::trusted("ledger"));
    for kind in [OutcomeKind::Retryable, OutcomeKind::Retryable, OutcomeKind::Rejected, OutcomeKind::Succeeded] {
        let mut ack =
            Outcome::new(consign::record::FileId::trusted(file_id), target.clone(), kind, Reporter::Acks, Timestamp(1));
        let wrong = kind == OutcomeKind::Succeeded;
        ack.ack_token = Some(if wrong { "k1.AAAA".into() } else { world.shared.tokens.issue(key) });
        put(world, Topic::Acks, 1, key, world.shared.codec.encode_for(Topic::Acks, &ack).unwrap());
    }
    let held = world.until("payment-1", |_| true).await;
    let confirm = json!({"action": "confirm", "reason": "found there", "seen_version": held.dispatches[0].version});
    ask(world, "/v1/files/payment-1/dispatches/legacy/interventions", confirm).await;
    let failed = world.until("claim-1", |_| true).await;
    ask(
        world,
        "/v1/files/claim-1/interventions",
        json!({"action": "resubmit", "reason": "mended", "seen_version": failed.version}),
    )
    .await;
    assert_eq!(world.settled("claim-1~1").await.state, State::Completed);
    world.settled("payment-1").await;
    ask(world, "/v1/targets/billing/pause", json!({"reason": "a test"})).await;
    world.until("writ-1", |s| s.dispatches.iter().any(|d| d.escalations > 1)).await;
}

/// Waits until the engine has read all that was written, and the lags have been measured since.
async fn at_rest(world: &World) {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let late: Vec<HistoryEvent> = events(world, "shipment-1");
        let judged = late.iter().filter(|event| event.judgement != Judgement::Applied).count();
        let numbers = Numbers::of(world).await;
        // Control markers of the last transactions are no input, and count.
        if judged == 3 && numbers.by("consign_input_lag", &["topic", "partition"]).values().all(|lag| *lag <= 4.0) {
            return;
        }
        let lags = numbers.by("consign_input_lag", &["topic", "partition"]);
        assert!(tokio::time::Instant::now() < until, "{judged} late reports judged, {lags:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn events(world: &World, file_id: &str) -> Vec<HistoryEvent> {
    let histories = all::<FileHistory>(world, Topic::History).into_iter().map(|(_, history)| history);
    histories.filter(|h| file_id.is_empty() || h.file_id.as_str() == file_id).flat_map(|h| h.events).collect()
}

#[track_caller]
fn equal(numbers: &Numbers, metric: &str, labels: &[&str], expected: &Series) {
    assert!(!expected.is_empty(), "{metric}: the run shows nothing of it");
    assert_eq!(numbers.by(metric, labels), *expected, "{metric}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_are_what_the_topics_hold() {
    let world = World::start().await;
    run(&world).await;
    at_rest(&world).await;
    // A nagging target escalates again while this test looks: look until nothing came between.
    let (numbers, (attempts, events, states, letters)) = loop {
        let read = || {
            (
                all::<DispatchAttempt>(&world, Topic::Attempts),
                events(&world, ""),
                all::<FileState>(&world, Topic::FileState),
                world.cluster.dump(Topic::DeadLetters),
            )
        };
        let before = read();
        let numbers = Numbers::of(&world).await;
        let after = read();
        if before.1.len() == after.1.len() && before.0.len() == after.0.len() {
            break (numbers, after);
        }
    };
    let reports: Vec<(&HistoryEvent, &Outcome)> = events
        .iter()
        .filter_map(|event| Some((event, event.outcome.as_ref()?)))
        .filter(|(_, outcome)| outcome.kind != OutcomeKind::Timer)
        .collect();

    equal(
        &numbers,
        "consign_attempts_total",
        &["target"],
        &count(attempts.iter().map(|(_, a)| key([a.target.as_str()]))),
    );
    equal(
        &numbers,
        "consign_outcomes_total",
        &["target", "kind", "reporter"],
        &count(reports.iter().map(|(_, o)| key([o.target.as_str(), o.kind.as_str(), o.reporter.as_str()]))),
    );
    let timed = reports.iter().filter(|(_, o)| o.evidence.as_ref().is_some_and(|e| e.took_ms.is_some()));
    equal(
        &numbers,
        "consign_attempt_duration_seconds_count",
        &["target"],
        &count(timed.clone().map(|(_, o)| key([o.target.as_str()]))),
    );
    let took: i64 = timed.filter_map(|(_, o)| o.evidence.as_ref()?.took_ms).sum();
    let sum: f64 = numbers.by("consign_attempt_duration_seconds_sum", &[]).values().sum();
    assert!((sum - seconds(took)).abs() < 1e-6, "{sum} s, and {took} ms on the topic");
    equal(
        &numbers,
        "consign_reports_late_total",
        &["target", "judgement"],
        &count(
            reports
                .iter()
                .filter(|(event, _)| event.judgement != Judgement::Applied)
                .map(|(event, o)| key([o.target.as_str(), event.judgement.as_str()])),
        ),
    );
    equal(
        &numbers,
        "consign_interventions_total",
        &["action", "judgement"],
        &count(
            events.iter().filter_map(|event| {
                Some(key([event.intervention.as_ref()?.action.as_str(), event.judgement.as_str()]))
            }),
        ),
    );
    let escalations = events.iter().filter_map(|event| {
        let outcome = event.outcome.as_ref()?;
        outcome.timer.as_ref()?.escalation.map(|_| key([outcome.target.as_str()]))
    });
    equal(&numbers, "consign_escalations_total", &["target"], &count(escalations));
    inputs_are_as_what_became_of_them(&world, &numbers, &letters);
    files_are_as_their_newest_states(&world, &numbers, &states);
    the_process_speaks_of_itself(&numbers);
    world.stop().await;
}

fn inputs_are_as_what_became_of_them(world: &World, numbers: &Numbers, letters: &[Record]) {
    let reason = |record: &Record| String::from_utf8(record.header(header::REASON).unwrap().to_vec()).unwrap();
    equal(
        numbers,
        "consign_dead_letters_total",
        &["reason"],
        &count(letters.iter().map(|letter| vec![reason(letter)])),
    );
    let forwarded = Topic::HOME_INPUTS.into_iter().flat_map(|topic| {
        let strays = world.cluster.dump(topic).into_iter().filter(|r| r.header("consign-origin-topic").is_some());
        strays.map(move |_| key([topic.base_name()]))
    });
    equal(numbers, "consign_forwarded_total", &["topic"], &count(forwarded));
    // A report that is in no history was a repeat: one that was sent twice, and one that gave no time worth an event.
    let reports = all::<Outcome>(world, Topic::Outcomes).into_iter().filter(|(_, report)| report.timer.is_none());
    let judged = events(world, "").into_iter().filter_map(|event| event.outcome).filter(|o| o.timer.is_none());
    let repeated = reports.count() - judged.count();
    let duplicates = std::iter::once(key(["manifest"])).chain(std::iter::repeat_n(key(["report"]), repeated));
    equal(numbers, "consign_duplicates_total", &["what"], &count(duplicates));
    assert!(repeated >= 1, "no report was sent twice");
}

fn files_are_as_their_newest_states(world: &World, numbers: &Numbers, states: &[(Record, FileState)]) {
    let mut newest = std::collections::BTreeMap::new();
    for (_, state) in states {
        newest.insert(state.file_id.clone(), state);
    }
    let newest: Vec<&FileState> = newest.into_values().collect();
    assert_eq!(numbers.by("consign_files", &["state"]), count(newest.iter().map(|s| key([s.state.as_str()]))));
    let settled = newest.iter().filter(|s| s.settled_at.is_some());
    let settled_by_state = count(settled.clone().map(|s| key([s.state.as_str()])));
    assert_eq!(settled_by_state.len(), 2, "some COMPLETED, some FAILED");
    assert_eq!(numbers.by("consign_files_settled_total", &["state"]), settled_by_state);
    assert_eq!(numbers.by("consign_time_to_terminal_seconds_count", &["state"]), settled_by_state);
    let took: i64 = settled.map(|s| s.settled_at.unwrap().millis_since(s.received_at)).sum();
    let sum: f64 = numbers.by("consign_time_to_terminal_seconds_sum", &[]).values().sum();
    assert!((sum - seconds(took)).abs() < 1e-6, "{sum} s, and {took} ms on the topic");
    let dispatches: Vec<_> = newest.iter().flat_map(|s| &s.dispatches).collect();
    let status = dispatches.iter().map(|d| key([d.target.as_str(), d.status.as_str()]));
    assert_eq!(numbers.by("consign_dispatches", &["target", "status"]), count(status));
    let held = dispatches.iter().filter_map(|d| Some(key([d.target.as_str(), d.held_because?.as_str()])));
    assert_eq!(numbers.by("consign_held", &["target", "held_because"]), count(held));
    assert_eq!(numbers.count("consign_overdue_files", &[]), 1);
    let oldest = numbers.by("consign_oldest_open_file_seconds", &["target"]);
    let waiting: Vec<&str> = oldest.keys().map(|key| key[0].as_str()).collect();
    assert_eq!(waiting, ["flaky", "legacy", "nagging"]);
    let age = (world.shared.clock)().0 - newest.iter().map(|s| s.received_at.0).min().unwrap();
    assert!(oldest.values().all(|seconds| *seconds > 0.0 && *seconds <= self::seconds(age)), "{oldest:?}");
    assert_eq!(numbers.by("consign_paused_targets", &["target", "paused_by"]), count([key(["billing", "operator"])]));
}

fn the_process_speaks_of_itself(numbers: &Numbers) {
    assert_eq!(numbers.count("consign_ready", &[]), 1);
    assert_eq!(numbers.count("consign_view_lag_records", &[]), 0);
    assert_eq!(numbers.count("consign_view_undecodable_records", &[]), 0);
    assert!(numbers.count("consign_transactions_total", &[]) > 10);
    // Workers that join one after the other take partitions from each other; nothing else may end a transaction here.
    let aborts = numbers.by("consign_aborts_total", &["cause"]);
    assert!(aborts.keys().all(|cause| cause[0] == "rebalance"), "{aborts:?}");
    assert!(numbers.count("consign_restore_seconds_count", &[]) >= 4, "each home was restored");
    for worker in ["w-0", "w-1"] {
        let offset = numbers.value("consign_clock_offset_seconds", &[("worker", worker)]);
        assert!(offset.abs() < 2.0, "{worker}: {offset}");
    }
}
