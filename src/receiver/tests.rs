use reqwest::Client;

use super::*;
use crate::record::TokenCheck;
use crate::transport::testing::{RecordingAppender, attempt, codec, confirmed_by, plan, soon};
use crate::transport::{
    AckTokens, Answer, Capacity, Dispatch, Egress, HttpParts, HttpTransport, KafkaTargets, Secrets, Transport,
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
    let later = Behaviour::ConfirmLater { after: Duration::from_millis(1), kind: OutcomeKind::Succeeded };
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
    plan.confirmed_by = confirmed_by(crate::record::Confirmation::Acks);
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
