//! What is sent, and what each answer means.

use super::*;
use crate::record::OnUnknown;

#[tokio::test]
async fn a_report_says_what_the_target_answered() {
    let peer = Peer::start([
        Act::Answer(response("200 OK", "content-type: text/plain\r\nset-cookie: a=b\r\n", "ok")),
        Act::Answer(response("202 Accepted", "", "later")),
        Act::Answer(response("422 Unprocessable Content", "", "unknown account")),
        Act::Answer(response("503 Service Unavailable", "retry-after: 3\r\n", "")),
        Act::Answer(response("503 Service Unavailable", "", "")),
        Act::Answer(response("401 Unauthorized", "www-authenticate: Basic\r\n", "")),
    ])
    .await;
    let mut rig = Rig::new();
    let plan = plan(&peer.url());
    let mut outcomes = Vec::new();
    for _ in 0..6 {
        // None of them waits for as long as one before it was asked to.
        rig.capacity = Capacity::default();
        outcomes.push(rig.exchange(&plan).await);
    }
    let judgements: Vec<_> = outcomes.iter().map(judged).collect();
    assert_eq!(
        judgements,
        [
            (OutcomeKind::Succeeded, "http_200"),
            (OutcomeKind::Unknown, "http_202"),
            (OutcomeKind::Rejected, "http_422"),
            (OutcomeKind::Retryable, "http_503"),
            (OutcomeKind::Unknown, "http_503"),
            (OutcomeKind::Retryable, "http_401"),
        ]
    );
    assert_eq!(outcomes.iter().map(|o| o.refusal).collect::<Vec<_>>(), [false, false, false, false, false, true]);
    assert_eq!(outcomes[3].retry_after_ms, Some(3000));
    let evidence = outcomes[0].evidence.as_ref().expect("an answer");
    assert_eq!(evidence.status, Some(200));
    assert_eq!(evidence.body.as_deref(), Some("ok"));
    assert_eq!(evidence.headers.keys().collect::<Vec<_>>(), ["content-length", "content-type"]);
    assert_eq!(peer.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn a_report_stands_under_its_dispatch_in_its_home_partition() {
    let peer = Peer::start([Act::Answer(response("200 OK", "", "ok"))]).await;
    let mut rig = Rig::new();
    let outcome = rig.exchange(&plan(&peer.url())).await;
    assert_eq!((outcome.file_id.as_str(), outcome.target.as_str(), outcome.attempt), ("f-1", "a", Some(1)));
    assert_eq!(outcome.reporter, Reporter::Transport);
    let append = rig.log.appends(1).await.remove(0);
    assert_eq!((append.topic, append.partition, append.key), (Topic::Outcomes, Some(7), b"f-1/a".to_vec()));
}

#[tokio::test]
async fn a_request_has_exactly_the_headers_that_were_planned_or_promised() {
    let peer = Peer::start([Act::Answer(response("200 OK", "", "ok"))]).await;
    let mut plan = plan(&peer.url());
    plan.request.method = Some("PUT".into());
    plan.request.headers.insert("x-tenant".into(), "blue".into());
    plan.request.headers.insert("Idempotency-Key".into(), "a planned one gives way".into());
    let mut rig = Rig::new();
    rig.send(&plan, attempt(&plan, 2));
    let requests = peer.requests(1).await;
    let (head, body) = split(&requests[0]);
    let mut lines: Vec<_> = head.lines().collect();
    assert_eq!(lines.remove(0), "PUT /in?x=1 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: 127.0.0.1:{}", peer.port);
    // The trace id begins SHA-256("f-1"), the span id SHA-256("f-1/a/2").
    let traceparent = "traceparent: 00-3defc6e632408e5aedde2b902592f836-1908f951013cd395-01";
    let mut expected = vec![
        "accept: */*",
        "consign-attempt: 2",
        "consign-attempts-left: 3",
        "content-length: 16",
        "content-type: application/json",
        host.as_str(),
        "idempotency-key: f-1/a",
        traceparent,
        "x-tenant: blue",
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    assert_eq!(body, br#"{"amount":10.50}"#);
}

#[tokio::test]
async fn two_attempts_carry_the_same_key_and_the_same_bytes() {
    let peer = Peer::start([
        Act::Answer(response("503 Service Unavailable", "retry-after: 0\r\n", "")),
        Act::Answer(response("200 OK", "", "ok")),
    ])
    .await;
    let mut plan = plan(&peer.url());
    plan.request.body = Some(Bytes::from((0..=255).cycle().take(200_000).collect::<Vec<u8>>()));
    let mut rig = Rig::new();
    rig.send(&plan, attempt(&plan, 1));
    rig.log.outcomes(1).await;
    rig.send(&plan, attempt(&plan, 2));
    let requests = peer.requests(2).await;
    for request in &requests {
        assert_eq!(split(request).1, plan.request.body.as_ref().expect("a body").as_ref());
        assert_eq!(header(request, "idempotency-key").as_deref(), Some("f-1/a"));
    }
    assert_eq!(header(&requests[0], "consign-attempt").as_deref(), Some("1"));
    assert_eq!(header(&requests[1], "consign-attempt").as_deref(), Some("2"));
    assert_eq!(header(&requests[0], "traceparent").map(|t| t[..35].to_owned()), {
        header(&requests[1], "traceparent").map(|t| t[..35].to_owned())
    });
    assert_ne!(header(&requests[0], "traceparent"), header(&requests[1], "traceparent"));
}

#[tokio::test]
async fn only_a_target_that_confirms_later_gets_an_ack_token() {
    for by in [Confirmation::Response, Confirmation::Acks, Confirmation::Callback, Confirmation::Transport] {
        let peer = Peer::start([Act::Answer(response("202 Accepted", "", ""))]).await;
        let mut plan = plan(&peer.url());
        plan.confirmed_by = ConfirmedBy::by(by);
        let outcome = Rig::new().exchange(&plan).await;
        let token = header(&peer.requests(1).await[0], "consign-ack-token");
        let check = tokens().check("f-1/a", token.as_deref());
        let (expected, kind) = match by {
            Confirmation::Acks | Confirmation::Callback => (TokenCheck::Ok, OutcomeKind::Accepted),
            Confirmation::Transport => (TokenCheck::Absent, OutcomeKind::Succeeded),
            Confirmation::Response => (TokenCheck::Absent, OutcomeKind::Unknown),
        };
        assert_eq!((check, outcome.kind), (expected, kind), "{by}");
        assert_eq!(outcome.ack_token, None);
    }
}

#[tokio::test]
async fn a_request_without_a_body_is_sent() {
    for method in ["GET", "DELETE", "OPTIONS"] {
        let peer = Peer::start([Act::Answer(response("200 OK", "", "ok"))]).await;
        let mut plan = plan(&peer.url().replace("/in?x=1", "/a%2Fb?c=d%26e"));
        (plan.request.method, plan.request.body) = (Some(method.into()), None);
        plan.request.content_type = String::new();
        assert_eq!(Rig::new().exchange(&plan).await.kind, OutcomeKind::Succeeded);
        let requests = peer.requests(1).await;
        let (head, body) = split(&requests[0]);
        assert!(head.starts_with(&format!("{method} /a%2Fb?c=d%26e HTTP/1.1")), "{head}");
        assert!(!head.contains("content-type") && !head.contains("content-length: 1") && body.is_empty(), "{head}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in ["301", "302", "303", "307", "308"] {
        let elsewhere = Peer::start([Act::Answer(response("200 OK", "", "ok"))]).await;
        let location = format!("location: {}\r\n", elsewhere.url());
        let peer = Peer::start([Act::Answer(response(&format!("{status} Elsewhere"), &location, ""))]).await;
        let outcome = Rig::new().exchange(&plan(&peer.url())).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Rejected, format!("http_{status}").as_str()));
        assert_eq!(outcome.evidence.expect("an answer").headers["location"], elsewhere.url());
        assert_eq!((peer.connections(), elsewhere.connections()), (1, 0));
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_cut_and_still_an_answer() {
    let exact = "x".repeat(MAX_ANSWER_BYTES);
    let over = "x".repeat(MAX_ANSWER_BYTES + 1);
    let endless = "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n".to_owned() + &"x".repeat(100_000);
    let peer = Peer::start([
        Act::Answer(response("200 OK", "", &exact)),
        Act::AnswerAndClose(response("200 OK", "", &over)),
        Act::Hang(endless),
    ])
    .await;
    let mut plan = plan(&peer.url());
    plan.confirmed_by.succeeded = Some(exact);
    let mut rig = Rig::new();
    for _ in 0..3 {
        let outcome = rig.exchange(&plan).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Succeeded, "http_200"), "the rule sees what was read");
        let evidence = outcome.evidence.expect("an answer");
        assert!(evidence.truncated);
        assert!(evidence.body.expect("a body").len() <= 16 * 1024);
    }
}

type Edit = fn(&mut PlannedDispatch);

#[tokio::test]
async fn a_request_that_cannot_be_built_never_leaves() {
    let peer = Peer::start([]).await;
    let edits: [Edit; 5] = [
        |plan| plan.request.destination = "no url".into(),
        |plan| plan.request.destination = "ftp://127.0.0.1/".into(),
        |plan| plan.request.method = Some("NO METHOD".into()),
        |plan| drop(plan.request.headers.insert("x".into(), "line\nbreak".into())),
        |plan| plan.transport = TransportKind::Kafka,
    ];
    let mut rig = Rig::new();
    for edit in edits {
        let mut plan = plan(&peer.url());
        edit(&mut plan);
        let outcome = rig.exchange(&plan).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "request_invalid"), "{:?}", outcome.detail);
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn requests_of_a_target_that_follow_each_other_use_the_same_connections() {
    for on_unknown in [OnUnknown::Retry, OnUnknown::Hold] {
        let peer = Peer::start((0..20).map(|_| Act::Answer(response("200 OK", "", "ok")))).await;
        let (mut rig, plan) = (Rig::new(), PlannedDispatch { on_unknown, ..plan(&peer.url()) });
        for _ in 0..20 {
            assert_eq!(rig.exchange(&plan).await.kind, OutcomeKind::Succeeded);
        }
        // A connection may be given back a moment after its answer is known.
        assert!(peer.connections() <= 10, "{} connections, {on_unknown}", peer.connections());
    }
}
