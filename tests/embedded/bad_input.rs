//! Bad input, row by row: each ends in the decision that is named for it, is counted, logged once with its code, and can be
//! seen; and the next file passes.

use std::time::Duration;

use consign::log::{Headers, TopicPartition};
use consign::record::{
    Action, FileId, Intervention, Outcome, OutcomeKind, Reporter, State, Status, TargetName, Timestamp, Topic, Wire,
    home_partition,
};
use serde_json::Value;

use crate::logged::Lines;
use crate::numbers::Numbers;
use crate::world::{self, World};

const PATIENCE: Duration = Duration::from_secs(30);
const HOMES: i32 = 4;

/// Where people see what became of an input.
enum Seen {
    DeadLetter,
    History,
    State,
}

/// One kind of bad input.
struct Row {
    name: &'static str,
    /// The file that it is about, or the key that it has in place of one.
    file_id: &'static str,
    /// Puts it on the log.
    put: fn(&World, &str),
    code: &'static str,
    level: &'static str,
    metric: &'static str,
    labels: Vec<(&'static str, &'static str)>,
    seen: Seen,
}

fn dead(name: &'static str, file_id: &'static str, put: fn(&World, &str), code: &'static str) -> Row {
    let labels = vec![("reason", code)];
    let metric = "consign_dead_letters_total";
    Row { name, file_id, put, code, level: "WARN", metric, labels, seen: Seen::DeadLetter }
}

fn report(
    name: &'static str,
    put: fn(&World, &str),
    code: &'static str,
    level: &'static str,
    judgement: &'static str,
) -> Row {
    let labels = vec![("target", "ledger"), ("judgement", judgement)];
    let metric = "consign_reports_late_total";
    Row { name, file_id: "bad-acked", put, code, level, metric, labels, seen: Seen::History }
}

fn home(id: &str) -> i32 {
    home_partition(id, HOMES)
}

fn put(world: &World, topic: Topic, key: &str, value: Option<Vec<u8>>) {
    let file_id = key.split('/').next().unwrap();
    let partition = if topic == Topic::Acks { 0 } else { home(file_id) };
    let at = TopicPartition { topic, partition };
    world.cluster.put(at, Some(key.as_bytes().to_vec()), value, Headers::new()).unwrap();
}

fn encoded<T: Wire>(world: &World, topic: Topic, value: &T) -> Vec<u8> {
    world.shared.codec.encode_for(topic, value).unwrap()
}

fn ack(world: &World, id: &str, target: &str, kind: OutcomeKind, change: impl FnOnce(&mut Outcome)) {
    let (file_id, target) = (FileId::trusted(id), TargetName::trusted(target));
    let key = format!("{id}/{target}");
    let mut outcome = Outcome::new(file_id, target, kind, Reporter::Acks, Timestamp(1));
    outcome.ack_token = Some(world.shared.tokens.issue(&key));
    change(&mut outcome);
    put(world, Topic::Acks, &key, Some(encoded(world, Topic::Acks, &outcome)));
}

fn stale_intervention(world: &World, id: &str) {
    let asked = Intervention {
        intervention_id: "bad-stale".into(),
        file_id: FileId::trusted(id),
        target: Some(TargetName::trusted("legacy")),
        action: Action::Fail,
        actor: "ann".into(),
        reason: "seen too early".into(),
        evidence: None,
        seen_version: Some(1),
        requested_at: Timestamp(1),
        resend_unknown: false,
        successor: None,
    };
    put(world, Topic::Interventions, &format!("{id}/legacy"), Some(encoded(world, Topic::Interventions, &asked)));
}

/// What never becomes part of a file.
fn dead_rows() -> Vec<Row> {
    vec![
        dead(
            "undecodable bytes",
            "bad-bytes",
            |w, id| put(w, Topic::Manifests, id, Some(b"hello".into())),
            "undecodable",
        ),
        dead(
            "unknown schema",
            "bad-schema",
            |w, id| put(w, Topic::Manifests, id, Some(vec![0, 0, 0, 39, 15, 2])),
            "undecodable",
        ),
        dead(
            "key and file_id differ",
            "bad-key",
            |w, id| {
                let value = Some(encoded(w, Topic::Manifests, &world::manifest("bad-other", "note")));
                put(w, Topic::Manifests, id, value);
            },
            "key_mismatch",
        ),
        dead(
            "illegal file_id",
            "bad id",
            |w, id| {
                put(w, Topic::Manifests, id, Some(encoded(w, Topic::Manifests, &world::manifest(id, "note"))));
            },
            "illegal_file_id",
        ),
        dead("tombstone on an input", "bad-tombstone", |w, id| put(w, Topic::Manifests, id, None), "tombstone"),
        dead(
            "over-long record",
            "bad-long",
            |w, id| put(w, Topic::Manifests, id, Some(vec![b'x'; 8 << 20])),
            "too_long",
        ),
        dead(
            "other content",
            "bad-acked",
            |w, id| {
                put(w, Topic::Manifests, id, Some(encoded(w, Topic::Manifests, &world::manifest(id, "note"))));
            },
            "conflicting_manifest",
        ),
        dead(
            "unknown file",
            "bad-unknown",
            |w, id| ack(w, id, "ledger", OutcomeKind::Succeeded, |_| ()),
            "unknown_file",
        ),
        dead(
            "unknown target",
            "bad-acked",
            |w, id| ack(w, id, "billing", OutcomeKind::Succeeded, |_| ()),
            "unknown_target",
        ),
    ]
}

/// What a file is judged by.
fn judged_rows() -> Vec<Row> {
    vec![
        Row {
            name: "over-large plan",
            file_id: "bad-plan",
            put: |w, id| {
                let mut large = world::manifest(id, "atlas");
                large.data = Some(format!("\"{}\"", "x".repeat(250_000)));
                put(w, Topic::Manifests, id, Some(encoded(w, Topic::Manifests, &large)));
            },
            code: "CG127",
            level: "INFO",
            metric: "consign_files_settled_total",
            labels: vec![("state", "FAILED")],
            seen: Seen::State,
        },
        report(
            "unknown attempt",
            |w, id| ack(w, id, "ledger", OutcomeKind::Succeeded, |o| o.attempt = Some(7)),
            "unknown_attempt",
            "INFO",
            "refused",
        ),
        report(
            "wrong token",
            |w, id| ack(w, id, "ledger", OutcomeKind::Succeeded, |o| o.ack_token = Some("k1.AAAA".into())),
            "wrong_token",
            "WARN",
            "refused",
        ),
        report("late", |w, id| ack(w, id, "ledger", OutcomeKind::Retryable, |_| ()), "already_settled", "INFO", "late"),
        report(
            "contradiction",
            |w, id| ack(w, id, "ledger", OutcomeKind::Rejected, |_| ()),
            "settled_otherwise",
            "WARN",
            "contradiction",
        ),
        Row {
            name: "stale intervention",
            file_id: "bad-held",
            put: stale_intervention,
            code: "stale_version",
            level: "INFO",
            metric: "consign_interventions_total",
            labels: vec![("action", "fail"), ("judgement", "refused")],
            seen: Seen::History,
        },
    ]
}

/// What the API says of it: all dead letters, the file's history, the file.
async fn api(world: &World, row: &Row) -> Vec<Value> {
    let path = match row.seen {
        Seen::DeadLetter => "/v1/dead-letters".to_owned(),
        Seen::History => format!("/v1/files/{}/history", row.file_id),
        Seen::State => format!("/v1/files/{}", row.file_id),
    };
    let answer: Value = reqwest::get(format!("{}{path}", world.url())).await.unwrap().json().await.unwrap();
    match row.seen {
        Seen::DeadLetter => {
            let letters = answer["dead_letters"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
            let key =
                |letter: &Value| letter["key"].as_str().is_some_and(|key| key.split('/').next() == Some(row.file_id));
            letters.into_iter().filter(|letter| key(letter) && letter["reason"] == row.code).collect()
        }
        Seen::History => {
            let entries = answer["entries"].as_array().cloned().unwrap_or_default();
            entries.into_iter().filter(|entry| entry.to_string().contains(&format!("\"{}\"", row.code))).collect()
        }
        Seen::State => [answer].into_iter().filter(|file| file["reason"]["code"] == row.code).collect(),
    }
}

/// The log lines of a file that say this code.
fn logged(row: &Row) -> Vec<Value> {
    let says = |line: &Value| ["code", "reason"].iter().any(|field| line[*field] == row.code);
    Lines::catch().of_file(row.file_id).into_iter().filter(says).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_input_is_decided_counted_logged_once_and_seen() {
    Lines::catch();
    let world = World::start().await;
    world.submit(&world::manifest("bad-acked", "shipment")).await;
    world.submit(&world::manifest("bad-held", "payment")).await;
    assert_eq!(world.settled("bad-acked").await.state, State::Completed);
    world.until("bad-held", |s| s.dispatches.iter().any(|d| d.status == Status::Held)).await;
    for (n, row) in dead_rows().into_iter().chain(judged_rows()).enumerate() {
        let name = row.name;
        let before = Numbers::of(&world).await.count(row.metric, &row.labels);
        assert_eq!(api(&world, &row).await.len(), 0, "{name}");
        (row.put)(&world, row.file_id);
        let until = tokio::time::Instant::now() + PATIENCE;
        while api(&world, &row).await.is_empty() || logged(&row).is_empty() {
            let seen = api(&world, &row).await;
            let lines = Lines::catch().of_file(row.file_id);
            assert!(tokio::time::Instant::now() < until, "{name}: seen {seen:?}, logged {lines:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What comes next passes, on the same partition.
        let next = (0..1_000).map(|k| format!("next-{n}-{k}")).find(|id| home(id) == home(row.file_id)).unwrap();
        world.submit(&world::manifest(&next, "note")).await;
        assert_eq!(world.settled(&next).await.state, State::Completed, "{name}");
        assert_eq!(api(&world, &row).await.len(), 1, "{name}");
        let lines = logged(&row);
        assert_eq!(lines.len(), 1, "{name}: {lines:#?}");
        assert_eq!(lines[0]["level"], row.level, "{name}: {}", lines[0]);
        let after = Numbers::of(&world).await.count(row.metric, &row.labels);
        assert_eq!(after, before + 1, "{name}: {}{:?}", row.metric, row.labels);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_default_level_a_file_is_told_by_its_fields() {
    Lines::catch();
    let world = World::start().await;
    world.submit(&world::manifest("told-1", "claim")).await;
    world.submit(&world::manifest("told-2", "payment")).await;
    assert_eq!(world.settled("told-1").await.state, State::Failed);
    let held = world.until("told-2", |s| s.dispatches.iter().any(|d| d.status == Status::Held)).await;
    let asked = serde_json::json!({"action": "fail", "reason": "enough", "seen_version": held.dispatches[0].version});
    let path = "/v1/files/told-2/dispatches/legacy/interventions";
    let answer = reqwest::Client::new().post(format!("{}{path}", world.url())).json(&asked).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    world.settled("told-2").await;
    world.stop().await;
    let told = |id: &str, message: &str| -> Vec<Value> {
        Lines::catch().of_file(id).into_iter().filter(|line| line["message"] == message).collect()
    };
    let reports = told("told-1", "report");
    let rejected = reports.iter().find(|line| line["target"] == "partner").unwrap_or_else(|| panic!("{reports:#?}"));
    assert_eq!((&rejected["attempt"], &rejected["outcome"]), (&1.into(), &"REJECTED".into()), "{rejected}");
    assert_eq!(
        (&rejected["outcome_code"], &rejected["judgement"]),
        (&"http_422".into(), &"applied".into()),
        "{rejected}"
    );
    let interventions = told("told-2", "intervention");
    assert_eq!(interventions.len(), 1, "{interventions:#?}");
    let line = &interventions[0];
    assert_eq!(
        (&line["target"], &line["actor"], &line["action"]),
        (&"legacy".into(), &"local".into(), &"fail".into()),
        "{line}"
    );
}
