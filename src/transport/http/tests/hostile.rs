//! Answers that are made to hurt: what is read of them is bounded, and what isn't known stays unknown.

use super::*;

/// What `Act` writes, and what comes of it.
async fn judge(act: Act, request_ms: i64) -> Outcome {
    let peer = Peer::start([act]).await;
    let mut plan = plan(&peer.url());
    plan.timeouts.request_ms = request_ms;
    let outcome = Rig::new().exchange(&plan).await;
    assert_eq!((peer.connections(), peer.requests(1).await.len()), (1, 1), "nothing is repeated");
    outcome
}

#[tokio::test]
async fn headers_without_end_are_given_up() {
    let many = (0..5_000).map(|n| format!("x-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let long = format!("x-long: {}\r\n", "y".repeat(2_000_000));
    for headers in [many, long] {
        let act = Act::Hang(format!("HTTP/1.1 200 OK\r\n{headers}"));
        let outcome = judge(act, 60_000).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "reset"), "{:?}", outcome.detail);
        assert!(outcome.evidence.is_none());
    }
}

#[tokio::test]
async fn a_compressed_answer_is_not_unpacked() {
    // It says that it is compressed; what it unpacks to is nobody's business.
    let bomb = "\u{1f}\u{8b}\u{8}bomb";
    let act = Act::Answer(response("200 OK", "content-encoding: gzip\r\n", bomb));
    let outcome = judge(act, 60_000).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "http_200"));
    assert!(outcome.evidence.expect("an answer").body.expect("a body").len() < 64);
}

#[tokio::test]
async fn an_answer_that_breaks_off_says_nothing_whatever_it_began_with() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok".to_owned();
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n".to_owned();
    let half = "HTTP/1.1 200 OK\r\ncontent-le".to_owned();
    for begun in [cut, chunked, half] {
        let outcome = judge(Act::AnswerAndClose(begun), 60_000).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "reset"), "{:?}", outcome.detail);
    }
}

#[tokio::test]
async fn an_answer_that_is_none_says_nothing() {
    for nonsense in ["\0\u{1}\u{2}\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n", "SSH-2.0-x\r\n", "HTTP/1.1 99999 OK\r\n\r\n"] {
        let outcome = judge(Act::AnswerAndClose(nonsense.into()), 60_000).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "reset"), "{nonsense:?}: {:?}", outcome.detail);
    }
}

#[tokio::test]
async fn an_answer_that_drips_ends_with_the_attempts_time() {
    let outcome = judge(Act::Hang("HTTP/1.1 200 OK\r\nx-".into()), 500).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "timeout"), "{:?}", outcome.detail);
}
