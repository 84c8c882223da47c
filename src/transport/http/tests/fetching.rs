//! The bytes of an announced file: one attempt, one report.

use super::*;
use crate::record::{Arrival, Cause, FILE_TARGET, Fetch, FileId, FileManifest, TargetName};

fn arrival(location: String, keep: bool) -> Arc<Arrival> {
    let file_id = FileId::trusted("f-1");
    Arc::new(Arrival {
        version: 1,
        cause: Cause { topic: "manifests".into(), partition: 0, offset: 0 },
        manifest: FileManifest {
            file_id: file_id.clone(),
            schema_version: 1,
            file_type: "t".into(),
            name: "a".into(),
            location: Some(location),
            size: Some(3),
            checksum: None,
            media_type: None,
            attributes: std::collections::BTreeMap::new(),
            data: None,
            produced_by: "p".into(),
            produced_at: Timestamp(0),
            deadline: None,
        },
        file_id,
        manifest_digest: "sha256:00".into(),
        origin: None,
        received_at: Timestamp(0),
        supersedes: None,
        only_targets: None,
        fetch: Some(Fetch {
            max_size: 10,
            keep,
            attempts: 2,
            schedule_ms: vec![1],
            jitter_percent: 0,
            request_ms: 60_000,
            max_clock_skew_ms: 0,
            file_deadline: Timestamp(i64::MAX),
        }),
    })
}

impl Rig {
    async fn fetch(&mut self, arrival: &Arc<Arrival>, send_before: Timestamp) -> Outcome {
        let mut plan = plan("http://127.0.0.1:1/");
        plan.target = TargetName::trusted(FILE_TARGET);
        let attempt = DispatchAttempt { send_before, ..attempt(&plan, 1) };
        let before = self.log.outcomes(0).await.len();
        self.transport.send(Dispatch {
            permit: self.capacity.acquire_over(&plan.target),
            plan: Arc::new(plan),
            attempt: Arc::new(attempt),
            home: 7,
            fetch: Some(Arc::clone(arrival)),
        });
        self.log.outcomes(before + 1).await.remove(before)
    }
}

const FOREVER: Timestamp = Timestamp(i64::MAX);

#[tokio::test]
async fn a_report_has_size_and_digest_and_the_bytes_where_they_are_kept() {
    let peer =
        Peer::start([Act::Answer(response("200 OK", "", "abc")), Act::Answer(response("200 OK", "", "abc"))]).await;
    let mut rig = Rig::new();
    for keep in [true, false] {
        let outcome = rig.fetch(&arrival(peer.url(), keep), FOREVER).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Succeeded, "as_announced"));
        assert_eq!((outcome.target.as_str(), outcome.attempt), (FILE_TARGET, Some(1)));
        assert_eq!(outcome.received_size, Some(3));
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(outcome.received_digest.as_deref(), Some(digest));
        assert_eq!(outcome.content, keep.then(|| Bytes::from(b"abc".to_vec())));
    }
    let (head, _) = split(&peer.requests(1).await[0]);
    assert!(head.starts_with("GET ") && !head.to_lowercase().contains("idempotency-key"), "{head}");
}

#[tokio::test]
async fn what_may_pass_is_retryable_and_what_wont_is_rejected() {
    let acts = [
        Act::Answer(response("503 Service Unavailable", "retry-after: 2\r\n", "")),
        Act::Answer(response("404 Not Found", "", "")),
        Act::Answer(response("200 OK", "", "abcd")),
        Act::AnswerAndClose("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na".into()),
    ];
    let peer = Peer::start(acts).await;
    let mut rig = Rig::new();
    for (kind, code, wait) in [
        (OutcomeKind::Retryable, "unavailable", Some(2_000)),
        (OutcomeKind::Rejected, "missing", None),
        (OutcomeKind::Rejected, "size_differs", None),
        (OutcomeKind::Retryable, "broken_off", None),
    ] {
        let outcome = rig.fetch(&arrival(peer.url(), true), FOREVER).await;
        assert_eq!((judged(&outcome), outcome.retry_after_ms), ((kind, code), wait));
        assert!(outcome.detail.is_some() && outcome.content.is_none());
    }
    let late = rig.fetch(&arrival(peer.url(), true), Timestamp(1)).await;
    assert_eq!(judged(&late), (OutcomeKind::Retryable, "dropped_unsent"));
    let refused = rig.fetch(&arrival("http://10.0.0.1/a".into(), true), FOREVER).await;
    assert_eq!(judged(&refused), (OutcomeKind::Rejected, "location_refused"));
}

#[tokio::test]
async fn a_stop_breaks_a_fetch_off_and_says_so() {
    let peer = Peer::start([Act::Hang("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n".into())]).await;
    let mut rig = Rig::new();
    let transport = rig.transport.clone();
    let arrival = arrival(peer.url(), true);
    let (outcome, left) = tokio::join!(rig.fetch(&arrival, FOREVER), async {
        peer.requests(1).await;
        transport.stop(Duration::from_secs(30)).await
    });
    assert_eq!((judged(&outcome), left), ((OutcomeKind::Retryable, "stopped"), 0));
}
