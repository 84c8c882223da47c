//! What happens when there is no answer: before the request leaves, after it has left, and when the process stops.

use super::*;

#[tokio::test]
async fn a_refused_connection_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    drop(listener);
    let outcome = Rig::new().exchange(&plan(&url)).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "connect_refused"), "{:?}", outcome.detail);
    assert!(!outcome.refusal);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_was_not_sent() {
    // A label of 64 characters is refused without asking any server.
    let url = format!("http://{}.invalid/", "a".repeat(64));
    let outcome = Rig::new().exchange(&plan(&url)).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "resolve_failed"), "{:?}", outcome.detail);
}

#[tokio::test]
async fn a_connection_that_takes_too_long_was_not_sent() {
    // The other side accepts and never answers the TLS handshake.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("bound"));
    let outcome = Rig::with(Duration::from_millis(50), wall_clock()).exchange(&plan(&url)).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "connect_timeout"), "{:?}", outcome.detail);
    let mut plan = plan(&url);
    plan.timeouts.request_ms = 50;
    let outcome = Rig::new().exchange(&plan).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "connect_timeout"), "{:?}", outcome.detail);
}

#[tokio::test]
async fn a_reset_after_the_request_was_read_has_an_unknown_fate() {
    let peer = Peer::start([Act::Reset]).await;
    let outcome = Rig::new().exchange(&plan(&peer.url())).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "reset"), "{:?}", outcome.detail);
    assert_eq!(peer.requests(1).await.len(), 1, "nothing is repeated");
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn a_time_out_after_sending_has_an_unknown_fate() {
    let slow = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok".to_owned();
    let peer = Peer::start([String::new(), "HTTP/1.1 200".into(), slow].map(Act::Hang)).await;
    let mut plan = plan(&peer.url());
    plan.timeouts.request_ms = 2000;
    let mut rig = Rig::new();
    for number in 1..=3 {
        rig.send(&plan, attempt(&plan, number));
    }
    for outcome in rig.log.outcomes(3).await {
        assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "timeout"), "{:?}", outcome.detail);
    }
    assert_eq!((peer.requests(3).await.len(), peer.connections()), (3, 3));
}

#[tokio::test]
async fn an_answer_that_is_cut_or_unreadable_has_an_unknown_fate() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok";
    for answer in ["", "HTTP/1.1 200", "hello\r\n\r\n", cut] {
        let peer = Peer::start([Act::AnswerAndClose(answer.into())]).await;
        let outcome = Rig::new().exchange(&plan(&peer.url())).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "reset"), "{answer}: {:?}", outcome.detail);
        assert_eq!((peer.requests(1).await.len(), peer.connections()), (1, 1));
        let says_so = outcome.detail.is_some_and(|detail| detail.contains("status 200, but the answer's body was cut"));
        assert_eq!(says_so, answer == cut);
    }
}

#[tokio::test]
async fn requests_leave_at_the_pace_of_their_target_however_many_wait() {
    let peer = Peer::start((0..20).map(|_| Act::Answer(response("200 OK", "", "ok")))).await;
    let plan = plan(&peer.url());
    let mut rig = Rig::new();
    rig.capacity.limit(&plan.target, 100, Some(Duration::from_millis(20)));
    let begun = Instant::now();
    for number in 1..=20 {
        rig.send(&plan, attempt(&plan, number));
    }
    peer.requests(20).await;
    // The first leaves at once; a slow machine takes longer.
    assert!(begun.elapsed() >= Duration::from_millis(19 * 20), "{:?}", begun.elapsed());
    // Half of the home partitions: half the pace.
    rig.capacity.share(6, 12);
    let mut turns =
        (0..4).map(|_| rig.capacity.acquire(&plan.target, Timestamp(0)).expect("a turn")).collect::<Vec<_>>();
    let begun = Instant::now();
    for permit in &mut turns {
        permit.turn(&wall_clock()).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(3 * 40), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_authorized_already_leaves_no_earlier_than_the_target_asks() {
    let busy = response("503 Service Unavailable", "retry-after: 1\r\n", "");
    let peer = Peer::start([Act::Answer(busy), Act::Answer(response("200 OK", "", "ok"))]).await;
    let plan = plan(&peer.url());
    let mut rig = Rig::new();
    let first = rig.exchange(&plan).await;
    assert_eq!(first.retry_after_ms, Some(1_000));
    rig.send(&plan, attempt(&plan, 2));
    let second = rig.log.outcomes(2).await.remove(1);
    assert_eq!(judged(&second), (OutcomeKind::Succeeded, "http_200"));
    assert!(second.reported_at.millis_since(first.reported_at) >= 1_000);
    // One that may not wait for so long is dropped unsent.
    let late = Act::Answer(response("429 Too Many Requests", "retry-after: 3600\r\n", ""));
    let peer = Peer::start([late]).await;
    let plan = crate::transport::testing::plan(&peer.url());
    let mut rig = Rig::new();
    rig.exchange(&plan).await;
    let send_before = wall_clock()().plus_millis(200);
    rig.send(&plan, DispatchAttempt { send_before, ..attempt(&plan, 2) });
    let dropped = rig.log.outcomes(2).await.remove(1);
    assert_eq!(judged(&dropped), (OutcomeKind::Retryable, "dropped_unsent"));
    assert_eq!(peer.requests(1).await.len(), 1);
}

#[tokio::test]
async fn after_an_answer_that_says_that_the_quota_is_spent_nothing_leaves_before_it_is_there_again() {
    let ok = |more: &str| Act::Answer(response("200 OK", more, "ok"));
    let peer =
        Peer::start([ok("ratelimit: \"default\";r=0;t=1\r\n"), ok("ratelimit: \"default\";r=9;t=60\r\n"), ok("")]);
    let peer = peer.await;
    let plan = plan(&peer.url());
    let mut rig = Rig::new();
    let first = rig.exchange(&plan).await;
    assert_eq!((judged(&first), first.retry_after_ms), ((OutcomeKind::Succeeded, "http_200"), None));
    rig.send(&plan, attempt(&plan, 2));
    let second = rig.log.outcomes(2).await.remove(1);
    assert_eq!(judged(&second), (OutcomeKind::Succeeded, "http_200"));
    assert!(second.reported_at.millis_since(first.reported_at) >= 1_000);
    // Something is left: the next one leaves at once, and not after a minute.
    rig.send(&plan, attempt(&plan, 3));
    assert_eq!(judged(&rig.log.outcomes(3).await[2]), (OutcomeKind::Succeeded, "http_200"));
}

#[tokio::test]
async fn what_is_late_makes_no_connection() {
    let peer = Peer::start([]).await;
    let mut rig = Rig::with(Duration::from_mins(1), Arc::new(|| Timestamp(1001)));
    let plan = plan(&peer.url());
    let late = DispatchAttempt { send_before: Timestamp(1000), ..attempt(&plan, 1) };
    rig.send(&plan, late);
    let outcome = rig.log.outcomes(1).await.remove(0);
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "dropped_unsent"));
    assert_eq!(outcome.reported_at, Timestamp(1001));
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn what_became_late_while_it_connected_sends_no_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("bound"));
    let hours = Arc::new(AtomicI64::new(0));
    let passing = Arc::clone(&hours);
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("it connects");
        assert!(stream.read(&mut [0; 4096]).await.expect("a greeting") > 0);
        // As if the machine had slept in the middle of the handshake.
        passing.store(1, Ordering::SeqCst);
        stream.read(&mut [0; 4096]).await.unwrap_or(0)
    });
    let mut rig =
        Rig::with(Duration::from_mins(10), Arc::new(move || Timestamp(3_600_000 * hours.load(Ordering::SeqCst))));
    let plan = plan(&url);
    rig.send(&plan, DispatchAttempt { send_before: Timestamp(60_000), ..attempt(&plan, 1) });
    let outcome = rig.log.outcomes(1).await.remove(0);
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "dropped_unsent"), "{:?}", outcome.detail);
    assert_eq!(soon(peer).await.expect("the peer is there"), 0, "nothing followed the greeting");
}

#[tokio::test]
async fn what_became_late_once_it_was_connected_sends_no_byte() {
    let peer = Peer::start([]).await;
    let now = Arc::new(AtomicI64::new(0));
    // In time at the readings before it is connected; far too late at the next.
    let clock: Clock = {
        let now = Arc::clone(&now);
        Arc::new(move || Timestamp(if now.fetch_add(1, Ordering::SeqCst) < 3 { 0 } else { 3_600_000 }))
    };
    let mut rig = Rig::with(Duration::from_mins(1), clock);
    let plan = plan(&peer.url());
    rig.send(&plan, DispatchAttempt { send_before: Timestamp(60_000), ..attempt(&plan, 1) });
    let outcome = rig.log.outcomes(1).await.remove(0);
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "dropped_unsent"), "{:?}", outcome.detail);
    peer.closed(1).await;
    assert_eq!((peer.connections(), peer.received.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn a_permit_is_back_before_the_report_is_in_the_log() {
    let peer = Peer::start([Act::Answer(response("200 OK", "", "ok"))]).await;
    let mut rig = Rig::new();
    rig.log.set_away(true);
    let plan = plan(&peer.url());
    rig.send(&plan, attempt(&plan, 1));
    assert_eq!(rig.capacity.taken(&plan.target), 1);
    rig.log.asked(2).await;
    assert_eq!(rig.capacity.taken(&plan.target), 0);
    assert_eq!(rig.transport.open(), 1);
    rig.log.set_away(false);
    assert_eq!(rig.log.outcomes(1).await.remove(0).kind, OutcomeKind::Succeeded);
    assert_eq!(soon(rig.transport.stop(Duration::from_mins(1))).await, 0);
    assert_eq!(rig.log.outcomes(1).await.len(), 1);
}

#[tokio::test]
async fn a_stop_reports_what_has_not_left_as_retryable_at_once() {
    let connecting = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/", connecting.local_addr().expect("bound"));
    let mut rig = Rig::new();
    let first = plan(&url);
    rig.send(&first, attempt(&first, 1));
    let _held = connecting.accept().await.expect("it connects");
    let mut transport = rig.transport.for_worker("other");
    assert_eq!(soon(rig.transport.stop(Duration::from_hours(1))).await, 0);
    assert_eq!(judged(&rig.log.outcomes(1).await[0]), (OutcomeKind::Retryable, "stopped"));

    let peer = Peer::start([]).await;
    let second = plan(&peer.url());
    let permit = rig.capacity.acquire(&second.target, Timestamp(0)).expect("capacity");
    let attempt = Arc::new(attempt(&second, 2));
    transport.send(Dispatch { plan: Arc::new(second), attempt, home: 0, fetch: None, permit });
    let outcome = rig.log.outcomes(2).await.remove(1);
    assert_eq!((judged(&outcome), outcome.attempt), ((OutcomeKind::Retryable, "stopped"), Some(2)));
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn a_stop_gives_what_is_on_the_wire_until_the_bound() {
    let peer = Peer::start([Act::Hang(String::new())]).await;
    let mut rig = Rig::new();
    let plan = plan(&peer.url());
    rig.send(&plan, attempt(&plan, 1));
    peer.requests(1).await;
    assert_eq!(soon(rig.transport.stop(Duration::from_millis(50))).await, 0);
    assert_eq!(judged(&rig.log.outcomes(1).await[0]), (OutcomeKind::Unknown, "stopped"));
    assert_eq!(rig.capacity.taken(&plan.target), 0);
}

#[tokio::test]
async fn an_answer_within_the_bound_of_a_stop_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let mut rig = Rig::new();
    let plan = plan(&url);
    rig.send(&plan, attempt(&plan, 1));
    let (mut stream, _) = listener.accept().await.expect("it connects");
    read_request(&mut stream, &AtomicUsize::new(0)).await.expect("a request");
    let transport = rig.transport.clone();
    let stop = tokio::spawn(async move { transport.stop(Duration::from_hours(1)).await });
    let mut phase = rig.transport.shared.phase.subscribe();
    reached(&mut phase, Phase::Closing).await;
    stream.write_all(response("200 OK", "", "ok").as_bytes()).await.expect("written");
    assert_eq!(soon(stop).await.expect("it ends"), 0);
    assert_eq!(rig.log.outcomes(1).await[0].kind, OutcomeKind::Succeeded);
}

#[tokio::test]
async fn a_stop_ends_although_the_log_is_away() {
    let mut rig = Rig::with(Duration::from_mins(1), Arc::new(|| Timestamp(1)));
    rig.log.set_away(true);
    let plan = plan("http://127.0.0.1:9/");
    rig.send(&plan, DispatchAttempt { send_before: Timestamp(0), ..attempt(&plan, 1) });
    let moment = Duration::from_millis(10);
    assert_eq!(soon(rig.transport.stop_within(moment, moment)).await, 1);
    assert_eq!(rig.transport.open(), 1);
}
