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

/// A gigabyte of zeros, compressed twice: 1 MB, and then next to nothing.
const BOMB: &[u8] = include_bytes!("bomb.gz.gz");

#[tokio::test]
async fn a_bomb_is_so_many_bytes_as_came() {
    assert!(BOMB.len() < 8_192 && BOMB.starts_with(&[0x1f, 0x8b]));
    let head = |encoding: &str, length: usize| {
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {length}\r\n\r\n").into_bytes()
    };
    let twice = [head("gzip, gzip", BOMB.len()), BOMB.to_vec()].concat();
    // As long as a bomb of ten gigabytes that is compressed once; of what it is nobody reads more than the limit.
    let once = [head("gzip", 10_000_000), BOMB.repeat(10_000_000 / BOMB.len() + 1)[..10_000_000].to_vec()].concat();
    for bytes in [twice, once] {
        let outcome = judge(Act::Bytes(bytes), 60_000).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "http_200"), "{:?}", outcome.detail);
        let evidence = outcome.evidence.expect("an answer");
        assert!(evidence.body.expect("a body").len() <= 16 * 1024);
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_says_what_was_read_whole_and_nothing_else() {
    let whole = response("200 OK", "", "ok");
    let rows = [
        ("in the head", "HTTP/1.1 200 OK\r\ncontent-le".to_owned(), (OutcomeKind::Unknown, "reset")),
        ("behind the head", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n".to_owned(), (OutcomeKind::Unknown, "reset")),
        ("in the body", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok".to_owned(), (OutcomeKind::Unknown, "reset")),
        (
            "in a chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nok".to_owned(),
            (OutcomeKind::Unknown, "reset"),
        ),
        (
            "before the last chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n".to_owned(),
            (OutcomeKind::Unknown, "reset"),
        ),
        ("behind the answer", whole.clone(), (OutcomeKind::Succeeded, "http_200")),
    ];
    for (place, answer, expected) in rows {
        let peer = Peer::start([Act::AnswerAndReset(answer), Act::Answer(whole.clone())]).await;
        let mut rig = Rig::new();
        let outcome = rig.exchange(&plan(&peer.url())).await;
        assert_eq!(judged(&outcome), expected, "{place}: {:?}", outcome.detail);
        assert_eq!((peer.connections(), peer.requests(1).await.len()), (1, 1), "{place}: nothing is repeated");
        peer.closed(1).await;
        // What comes next has a connection of its own.
        let next = rig.exchange(&plan(&peer.url())).await;
        assert_eq!(judged(&next), (OutcomeKind::Succeeded, "http_200"), "{place}: {:?}", next.detail);
        assert_eq!((peer.connections(), peer.requests(2).await.len()), (2, 2), "{place}");
    }
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
