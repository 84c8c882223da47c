use axum::http::HeaderMap;
use reqwest::Client;
use serde_json::json;

use super::*;
use crate::record::{Confirmation, ConfirmedBy, OutcomeKind, Reporter, Timestamp, TokenCheck, Topic};
use crate::transport::testing::{RecordingAppender, attempt, codec, plan, soon};
use crate::transport::{
    AckTokens, Answer, Capacity, Dispatch, Egress, HttpParts, HttpTransport, KafkaTargets, Secret, Transport, sign,
};

/// Receivers with an appender that remembers what they confirm.
struct Rig {
    receivers: Receivers,
    acks: Arc<RecordingAppender>,
    client: Client,
}

impl Rig {
    fn new(behaviours: impl IntoIterator<Item = (&'static str, Behaviour)>) -> Self {
        Self::of(behaviours.into_iter().map(|(name, behaviour)| (TargetName::trusted(name), behaviour)).collect())
    }

    fn of(behaviours: BTreeMap<TargetName, Behaviour>) -> Self {
        let acks = RecordingAppender::new();
        let log = AckLog { appender: Arc::clone(&acks) as Arc<dyn Appender>, codec: codec() };
        let receivers = Receivers::start(&Handle::current(), behaviours, Some(log)).expect("a port");
        // An error means that another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        Self { receivers, acks, client }
    }

    async fn post(&self, target: &str, key: &str) -> Result<(u16, HeaderMap, String), reqwest::Error> {
        let request = self.client.post(self.receivers.url(target)).header("idempotency-key", key);
        let response = soon(request.header("consign-attempt", "2").body("hello").send()).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok((status, headers, response.text().await?))
    }

    async fn status(&self, target: &str, key: &str) -> u16 {
        self.post(target, key).await.expect("an answer").0
    }
}

#[tokio::test]
async fn the_demos_targets_behave_as_documented() {
    let rig = Rig::of(demo_behaviours());
    for target in ["billing", "archive", "warehouse", "slow"] {
        let (status, headers, body) = rig.post(target, "f/t").await.expect("an answer");
        assert_eq!((status, body.as_str()), (200, r#"{"result":"ok"}"#), "{target}");
        assert_eq!(headers["content-type"], "application/json");
    }
    for key in ["f/crm", "g/crm"] {
        for expected in [503, 503, 200, 200] {
            let (status, headers, _) = rig.post("crm", key).await.expect("an answer");
            assert_eq!(status, expected);
            assert_eq!(headers.get("retry-after").is_some_and(|v| v == "0"), expected == 503);
        }
    }
    assert_eq!(rig.status("legacy", "f/legacy").await, 502);
    let (status, headers, _) = rig.post("flaky", "f/flaky").await.expect("an answer");
    assert_eq!((status, headers.get("retry-after")), (503, None));
    for (file_id, expected) in [("f", 422), ("f~x", 422), ("f~1", 200), ("f~12", 200)] {
        assert_eq!(rig.status("partner", &format!("{file_id}/partner")).await, expected, "{file_id}");
    }
    assert_eq!(rig.status("ledger", "f/ledger").await, 202);
    assert_eq!(rig.status("nobody", "f/nobody").await, 404);
}

#[tokio::test]
async fn the_journal_has_every_request_in_order() {
    let rig = Rig::new([("a", Behaviour::status(204)), ("b", Behaviour::Reset)]);
    let running = rig.receivers.journal();
    assert_eq!(rig.status("a/deeper?x=1", "f/a").await, 204);
    rig.post("b", "f/b").await.expect_err("it is reset");
    assert_eq!(rig.status("unknown", "f/c").await, 404);
    let entries = running.entries();
    assert_eq!(entries.iter().map(|e| e.target.as_str()).collect::<Vec<_>>(), ["a", "b", "unknown"]);
    let first = &entries[0];
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/a/deeper?x=1"));
    assert_eq!((first.attempt, first.attempts_left), (Some(2), None));
    assert_eq!(first.headers["idempotency-key"], "f/a");
    assert_eq!(first.body.as_ref(), b"hello");
    // SHA-256 of `hello`.
    assert_eq!(first.body_sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert!(first.received_at > Timestamp(1_700_000_000_000));
    assert_eq!(running.of_key("f/b").len(), 1);
    assert_eq!((running.count(), running.dropped()), (3, 0));
}

#[tokio::test]
async fn behaviours_nest() {
    let by_file = Behaviour::by_file(|file_id| match file_id.as_str() {
        "f" => Behaviour::Sequence(vec![
            Behaviour::Reset,
            Behaviour::stall(Duration::from_millis(1), Behaviour::status(500)),
            Behaviour::status(200),
        ]),
        _ => Behaviour::Sequence(vec![]),
    });
    let rig = Rig::new([("a", by_file)]);
    rig.post("a", "f/a").await.expect_err("it is reset");
    assert_eq!(rig.status("a", "f/a").await, 500);
    assert_eq!(rig.status("a", "f/a").await, 200);
    assert_eq!(rig.status("a", "g/a").await, 500);
}

#[tokio::test]
async fn the_transport_and_a_late_confirmation_fit_together() {
    let later = Behaviour::report_later(Duration::from_millis(1), &["SUCCEEDED"]);
    let rig = Rig::new([("a", Behaviour::Sequence(vec![Behaviour::Reset, later]))]);
    let tokens = Arc::new(AckTokens::new(vec![("k".into(), vec![1; 32])]).expect("a key"));
    let outcomes = RecordingAppender::new();
    let parts = HttpParts {
        appender: Arc::clone(&outcomes) as Arc<dyn Appender>,
        codec: codec(),
        tokens: Arc::clone(&tokens),
        rule: Arc::new(|_: &str, _: &Answer| Ok(false)),
        clock: wall_clock(),
        connect_timeout: Duration::from_mins(1),
        egress: Egress::with_loopback(),
        secrets: Secrets::default(),
        callback_base: None,
        places: crate::transport::Places::default(),
        kafka: KafkaTargets::default(),
    };
    let mut transport = HttpTransport::new(Handle::current(), parts, "w");
    let mut plan = plan(&rig.receivers.url("a"));
    plan.confirmed_by = ConfirmedBy::by(Confirmation::Acks);
    let plan = Arc::new(plan);
    for (number, kind) in [(1, OutcomeKind::Unknown), (2, OutcomeKind::Accepted)] {
        transport.send(Dispatch {
            plan: Arc::clone(&plan),
            attempt: Arc::new(attempt(&plan, number)),
            home: 0,
            fetch: None,
            permit: Capacity::default().acquire(&plan.target, Timestamp(0)).expect("capacity"),
        });
        let reports = outcomes.outcomes(usize::try_from(number).expect("small")).await;
        assert_eq!(reports.last().expect("a report").kind, kind);
    }
    let ack = rig.acks.outcomes(1).await.remove(0);
    assert_eq!((ack.file_id.as_str(), ack.target.as_str(), ack.attempt), ("f-1", "a", Some(2)));
    assert_eq!((ack.kind, ack.reporter, ack.token), (OutcomeKind::Succeeded, Reporter::Acks, None));
    assert_eq!(tokens.check("f-1/a", ack.ack_token.as_deref()), TokenCheck::Ok);
    let requests = rig.receivers.journal().of_key("f-1/a");
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body_sha256, requests[1].body_sha256);
    assert_eq!(ack.received_digest, Some(format!("sha256:{}", requests[1].body_sha256)));
    assert_eq!(ack.received_size, Some(16));
    let append = rig.acks.appends(1).await.remove(0);
    assert_eq!((append.topic, append.partition, append.key), (Topic::Acks, None, b"f-1/a".to_vec()));
}

#[tokio::test]
async fn a_stop_breaks_off_what_is_stalled_and_frees_the_port() {
    let rig = Rig::new([("a", Behaviour::stall(Duration::from_hours(1), Behaviour::ok()))]);
    let (url, journal) = (rig.receivers.url("a"), rig.receivers.journal());
    let request = tokio::spawn(rig.client.post(&url).send());
    let arrived = async {
        while journal.count() == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(arrived).await;
    soon(rig.receivers.stop()).await;
    soon(request).await.expect("it ends").expect_err("it is broken off");
    let refused = soon(rig.client.post(&url).send()).await.expect_err("nobody listens");
    assert!(refused.is_connect());
}

/// Receivers that tell what they say.
struct Telling {
    receivers: Receivers,
    lines: Arc<Mutex<Vec<Line>>>,
    said: watch::Receiver<usize>,
    client: Client,
}

impl Telling {
    fn new(setup: Setup) -> Self {
        let lines: Arc<Mutex<Vec<Line>>> = Arc::default();
        let (count, said) = watch::channel(0);
        let all = Arc::clone(&lines);
        let listener: Listener = Arc::new(move |line| {
            let mut all = all.lock().expect("not poisoned");
            all.push(line.clone());
            count.send_replace(all.len());
        });
        crate::transport::set_up_tls();
        let client = Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let setup = Setup { otherwise: Some(Behaviour::Take), listener, ..setup };
        Self { receivers: Receivers::start_with(&Handle::current(), setup).expect("a port"), lines, said, client }
    }

    async fn post(&self, headers: &[(&str, &str)], body: &'static str) -> (u16, String) {
        let request = self.client.post(self.receivers.url("a"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = soon(request.body(body).send()).await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a body"))
    }

    /// The lines, once there are so many.
    async fn lines(&self, count: usize) -> Vec<serde_json::Value> {
        soon(self.said.clone().wait_for(|said| *said >= count)).await.expect("the listener is here");
        let lines = self.lines.lock().expect("not poisoned");
        lines.iter().map(|line| serde_json::to_value(line).expect("JSON")).collect()
    }
}

#[tokio::test]
async fn a_file_is_taken_once_and_each_repeat_answered_the_same() {
    let telling = Telling::new(Setup::default());
    let key = ("idempotency-key", "f/a");
    for (headers, body, expected) in [
        (vec![key], "one", 200),
        (vec![key, ("authorization", "Bearer canary"), ("consign-ack-token", "canary")], "one", 202),
        (vec![key], "two", 422),
        (vec![], "one", 400),
    ] {
        assert_eq!(telling.post(&headers, body).await.0, expected, "{headers:?} {body}");
    }
    let lines = telling.lines(5).await;
    let of = |what: &str, field: &str| {
        lines.iter().filter(|line| line["what"] == what).map(|line| line[field].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("request", "repeat"), ["first", "duplicate", "conflict", "unknown"]);
    assert_eq!(of("taken", "idempotency_key"), ["f/a"]);
    let said = json!(lines).to_string();
    assert!(!said.contains("canary"), "{said}");
}

#[tokio::test]
async fn only_what_is_signed_freshly_and_whole_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let key = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    std::fs::write(folder.path().join("hook"), key).unwrap();
    let keys = Secrets { directory: Some(folder.path().to_owned()), ..Secrets::default() };
    let verify_with = BTreeMap::from([(None, vec!["hook".to_owned()])]);
    let telling = Telling::new(Setup { keys, verify_with, ..Setup::default() });
    let now = wall_clock()();
    let signed = |at, key: &str| {
        let headers = sign::headers("f/a", at, b"one", &[Secret::new(key.as_bytes().to_vec())]).expect("a key");
        headers.map(|(name, value)| (name, value))
    };
    let stranger = "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    let digest = "sha-256=:AAAA:";
    for (headers, more, expected) in [
        (None, None, (401, "absent")),
        (Some(signed(now, stranger)), None, (401, "invalid")),
        (Some(signed(now.plus_millis(-301_000), key)), None, (401, "stale")),
        (Some(signed(now.plus_millis(-301_000), stranger)), None, (401, "invalid")),
        (Some(signed(now, key)), Some(digest), (400, "valid")),
        (Some(signed(now, key)), None, (200, "valid")),
    ] {
        let mut all = vec![("idempotency-key", "f/a")];
        all.extend(headers.iter().flatten().map(|(name, value)| (*name, value.as_str())));
        all.extend(more.map(|digest| ("content-digest", digest)));
        let (status, _) = telling.post(&all, "one").await;
        let lines = telling.lines(1).await;
        let last = lines.iter().rev().find(|line| line["what"] == "request").expect("a request");
        assert_eq!((status, last["signature"].as_str()), (expected.0, Some(expected.1)), "{last:#}");
    }
    let lines = telling.lines(7).await;
    // What was refused is remembered by nothing.
    assert_eq!((&lines[5]["repeat"], &lines[6]["what"]), (&json!("first"), &json!("taken")));
}

#[tokio::test]
async fn reports_come_as_scripted_late_twice_and_contradictory() {
    let script =
        crate::predict::Script::parse("a: 202 after 1ms then succeeded after 1ms then rejected, reset then succeeded");
    let behaviours = scripted(&script.expect("a script")).expect("a receiver can do it");
    let telling = Telling::new(Setup { behaviours, ..Setup::default() });
    // Another receiver hears them.
    let hearing = Rig::new([("v1", Behaviour::status(409))]);
    let url = hearing.receivers.url("v1/callbacks/f/a?attempt=1");
    let headers = [("idempotency-key", "f/a"), ("consign-callback-url", url.as_str()), ("consign-ack-token", "t")];
    assert_eq!(telling.post(&headers, "one").await.0, 202);
    let lines = telling.lines(3).await;
    let said = |line: &serde_json::Value| (line["outcome"].clone(), line["status"].clone());
    assert_eq!(
        lines[1..].iter().map(said).collect::<Vec<_>>(),
        [(json!("SUCCEEDED"), json!(409)), (json!("REJECTED"), json!(409))]
    );
    let first = hearing.receivers.journal().entries().remove(0);
    assert_eq!(first.headers["authorization"], "Bearer t");
    let report: serde_json::Value = serde_json::from_slice(&first.body.0).expect("JSON");
    assert_eq!((report["idempotency_key"].as_str(), report["received_size"].as_i64()), (Some("f/a"), Some(3)));
    // Its second step, and then what a receiver should do.
    let broken = telling.client.post(telling.receivers.url("a")).header("idempotency-key", "f/a").body("one").send();
    soon(broken).await.expect_err("it is reset");
    assert_eq!(telling.post(&headers, "one").await.0, 202);
    let lines = telling.lines(8).await;
    let reports: Vec<_> = lines.iter().filter(|line| line["what"] == "report").map(said).collect();
    assert!(reports.contains(&(json!("SUCCEEDED"), json!(null))), "without a URL there is nobody to tell: {reports:?}");
}

#[tokio::test]
async fn where_there_is_no_url_the_script_is_kept_on_the_acks_topic() {
    let script = "a: 202 then accepted after 1ms then succeeded then rejected, 202 then retryable, ok";
    let script = crate::predict::Script::parse(script).expect("a script");
    let behaviours = scripted(&script).expect("a receiver can do it");
    let acks = RecordingAppender::new();
    let log = AckLog { appender: Arc::clone(&acks) as Arc<dyn Appender>, codec: codec() };
    let telling = Telling::new(Setup { behaviours, acks: Some(log), ..Setup::default() });
    let headers = [("idempotency-key", "f/a"), ("consign-attempt", "1"), ("consign-ack-token", "t")];
    for count in [3, 4, 5] {
        assert_eq!(telling.post(&headers, "one").await.0, 202);
        // One after the other: reports of different requests have no order.
        acks.outcomes(count).await;
    }
    let said = acks.outcomes(5).await;
    let kinds: Vec<&str> = said.iter().map(|ack| ack.kind.as_str()).collect();
    assert_eq!(kinds, ["ACCEPTED", "SUCCEEDED", "REJECTED", "RETRYABLE", "SUCCEEDED"]);
    assert!(said.iter().all(|ack| ack.ack_token.as_deref() == Some("t") && ack.attempt == Some(1)));
    // SHA-256 of `one`.
    let digest = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    assert!(said.iter().all(|ack| ack.received_digest.as_deref() == Some(digest) && ack.received_size == Some(3)));
    // Three requests, one file, five acks.
    let lines = telling.lines(9).await;
    let acked: Vec<_> = lines.iter().filter(|line| line["what"] == "ack").map(|line| line["outcome"].clone()).collect();
    assert_eq!(acked, kinds);
    assert!(!json!(lines).to_string().contains("\"t\""), "no token stands on a line");
}
