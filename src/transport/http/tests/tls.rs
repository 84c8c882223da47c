//! TLS and HTTP/2: a certificate that isn't trusted, a handshake that fails, and requests over one connection.

use axum::http::Response;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::{Reason, RecvStream};
use reqwest::Certificate;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::record::OnUnknown;

/// A certificate for localhost that signs itself, made for these tests alone.
const CERTIFICATE: &str = "MIIBkTCCATigAwIBAgIUfW2uQiZyp/cudOz7QVM+J/GtDO4wCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2\
    MTEyMjAyNDMzM1oYDzIxMjYxMDI5MDI0MzMzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\
    AAQhQd13iX2kuaff+e90RtF+bjinozqKeCbBogjiTj5TV0bxCMmd0zEnOf23hNzmHZYrntIAZW55+ZbGT3uLq/K6o2YwZDAdBgNV\
    HQ4EFgQU1YrqK6M5oWqwcFj8XAspMm8TpMwwHwYDVR0jBBgwFoAU1YrqK6M5oWqwcFj8XAspMm8TpMwwFAYDVR0RBA0wC4IJbG9j\
    YWxob3N0MAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDRwAwRAIgJ5hV+RM18H/GnTPgJOVjnWAWToYvZjS4ExS9uNiESmACIAdu\
    k2wd5E7NuPGmm3H/kB74gEG9ka1AhuflFKS/Jq9y";
/// Its key.
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggFUm/W9o+cvVqFi3HWBeqAIZlQ5ZN9mL7pm7YHXd7LqhRANCAAQh\
    Qd13iX2kuaff+e90RtF+bjinozqKeCbBogjiTj5TV0bxCMmd0zEnOf23hNzmHZYrntIAZW55+ZbGT3uLq/K6";

fn certificate() -> Vec<u8> {
    STANDARD.decode(CERTIFICATE).expect("base64")
}

/// The certificate in PEM.
fn certificate_pem() -> String {
    format!("-----BEGIN CERTIFICATE-----\n{CERTIFICATE}\n-----END CERTIFICATE-----\n")
}

/// Its key in PEM.
fn key_pem() -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n")
}

fn acceptor() -> TlsAcceptor {
    accepting(Unverified::with_no_client_auth, &[b"h2"])
}

/// Accepts only clients that show the certificate, over HTTP/1.1.
fn demanding() -> TlsAcceptor {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(certificate())).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().expect("roots");
    accepting(|config| config.with_client_cert_verifier(verifier), &[])
}

type Unverified = rustls::ConfigBuilder<rustls::ServerConfig, rustls::WantsVerifier>;
type Verified = rustls::ConfigBuilder<rustls::ServerConfig, rustls::server::WantsServerCert>;

fn accepting(clients: impl FnOnce(Unverified) -> Verified, protocols: &[&[u8]]) -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(STANDARD.decode(KEY).expect("base64")));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config =
        clients(config).with_single_cert(vec![CertificateDer::from(certificate())], key).expect("they belong together");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A rig that trusts the certificate.
fn trusting(clock: Clock) -> Rig {
    let certificate = Certificate::from_der(&certificate()).expect("a certificate");
    Rig::over(&[certificate], clock, |_| {})
}

/// What the next request over HTTP/2 gets.
#[derive(Clone, Copy)]
enum Http2Act {
    Answer,
    Reset(Reason),
}

/// A request as it was read; the body is an error where it didn't come whole.
type Http2Request = (Parts, Result<Vec<u8>, h2::Error>);

/// Listens and serves HTTP/2; gives the port and what was read.
async fn http2(acts: impl IntoIterator<Item = Http2Act>) -> (u16, watch::Receiver<Vec<Arc<Http2Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (seen, requests) = watch::channel(Vec::new());
    let mut acts = acts.into_iter().collect::<VecDeque<_>>();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor().accept(stream).await else { continue };
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let act = acts.pop_front();
                let seen = seen.clone();
                tokio::spawn(async move {
                    let (parts, body) = request.into_parts();
                    let body = whole(body).await;
                    match act {
                        _ if body.is_err() => {}
                        Some(Http2Act::Reset(reason)) => respond.send_reset(reason),
                        Some(Http2Act::Answer) => {
                            let mut body = respond.send_response(Response::new(()), false).expect("sent");
                            body.send_data(Bytes::from_static(b"ok"), true).expect("sent");
                        }
                        None => panic!("a request that nobody expected"),
                    }
                    seen.send_modify(|all| all.push(Arc::new((parts, body))));
                });
            }
        }
    });
    (port, requests)
}

async fn whole(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_a_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}/", listener.local_addr().expect("bound").port());
    let peer = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("it connects");
        acceptor().accept(stream).await.map(drop).expect_err("the client ends the handshake")
    });
    let plan = PlannedDispatch { on_unknown: OnUnknown::Retry, ..plan(&url) };
    let outcome = Rig::new().exchange(&plan).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "certificate_invalid"), "{:?}", outcome.detail);
    assert!(outcome.refusal);
    soon(peer).await.expect("the peer saw what it expected");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_a_refusal() {
    let (port, requests) = http2([]).await;
    // The certificate names localhost, and that alone.
    let mut plan = repeatable(port);
    plan.request.destination = format!("https://127.0.0.1:{port}/");
    let outcome = trusting(wall_clock()).exchange(&plan).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "certificate_invalid"), "{:?}", outcome.detail);
    assert!(requests.borrow().is_empty());
}

#[tokio::test]
async fn a_handshake_that_fails_was_not_sent() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}/", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it connects");
            let greeting = stream.read(&mut [0; 4096]).await.expect("a greeting");
            assert!(greeting > 0);
            stream.write_all(answer).await.expect("written");
        });
        let outcome = Rig::new().exchange(&plan(&url)).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "tls_failed"), "{:?}", outcome.detail);
        assert!(!outcome.refusal);
    }
}

#[tokio::test]
async fn requests_go_over_http2_where_the_target_speaks_it() {
    let (port, requests) = http2([Http2Act::Answer, Http2Act::Answer]).await;
    let mut plan = repeatable(port);
    plan.request.body = Some(crate::record::Bytes::from(vec![b'x'; 200_000]));
    let mut rig = trusting(wall_clock());
    for _ in 0..2 {
        let outcome = rig.exchange(&plan).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Succeeded, "http_200"), "{:?}", outcome.detail);
    }
    for request in requests.borrow().iter() {
        let (parts, body) = &**request;
        assert_eq!(parts.headers["idempotency-key"], "f-1/a");
        assert_eq!(parts.headers["content-length"], "200000");
        assert_eq!(body.as_ref().expect("whole").len(), 200_000);
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_is_not_repeated() {
    for reason in [Reason::REFUSED_STREAM, Reason::INTERNAL_ERROR] {
        let (port, mut requests) = http2([Http2Act::Reset(reason), Http2Act::Answer]).await;
        let plan = repeatable(port);
        let mut rig = trusting(wall_clock());
        let outcome = rig.exchange(&plan).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "reset"), "{:?}", outcome.detail);
        // The second act is there for the next request, not for a repetition of the first.
        assert_eq!(rig.exchange(&plan).await.kind, OutcomeKind::Succeeded);
        assert_eq!(soon(requests.wait_for(|all| all.len() >= 2)).await.expect("the peer is there").len(), 2);
    }
}

/// A target that offers both protocols, takes one stream at a time over HTTP/2, and leaves the second request on a connection
/// open until it is told to go on. Gives its port.
async fn one_at_a_time(go_on: watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let both = accepting(Unverified::with_no_client_auth, &[b"h2", b"http/1.1"]);
            let mut stream = both.accept(stream).await.expect("TLS");
            let mut go_on = go_on.clone();
            tokio::spawn(async move {
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    while stream.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {
                        let _ = stream.write_all(response("200 OK", "", "ok").as_bytes()).await;
                    }
                    return;
                }
                let mut settings = h2::server::Builder::new();
                let mut connection =
                    settings.max_concurrent_streams(1).handshake::<_, Bytes>(stream).await.expect("HTTP/2");
                let mut count = 0;
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    count += 1;
                    if count == 2 {
                        go_on.wait_for(|told| *told).await.expect("the test is there");
                    }
                    let Ok(mut body) = respond.send_response(Response::new(()), false) else { continue };
                    let _ = body.send_data(Bytes::from_static(b"ok"), true);
                }
            });
        }
    });
    port
}

/// Two requests, of which the second has the stream, and a third that waits for it: what became of that one.
async fn behind_another(on_unknown: OnUnknown, end: End) -> Outcome {
    let (told, go_on) = watch::channel(false);
    let port = one_at_a_time(go_on).await;
    let (hours, readings) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, read) = (Arc::clone(&hours), Arc::clone(&readings));
    let clock = move || {
        read.fetch_add(1, Ordering::SeqCst);
        Timestamp(3_600_000 * now.load(Ordering::SeqCst))
    };
    let mut rig = trusting(Arc::new(clock));
    let mut plan = PlannedDispatch { on_unknown, ..repeatable(port) };
    assert_eq!(rig.exchange(&plan).await.kind, OutcomeKind::Succeeded);
    let in_time = |number| DispatchAttempt { send_before: Timestamp(60_000), ..attempt(&plan, number) };
    let (second, third) = (in_time(2), in_time(3));
    for number in [second, third] {
        if number.attempt == 3 && end == End::TimeOut {
            plan.timeouts.request_ms = 1_000;
        }
        let before = readings.load(Ordering::SeqCst);
        rig.send(&plan, number);
        // The third reading is the first one of the wait, when the client has the request.
        let is_with_client = async {
            while readings.load(Ordering::SeqCst) < before + 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon(is_with_client).await;
    }
    if end == End::Late {
        hours.store(1, Ordering::SeqCst);
        told.send_replace(true);
    }
    let third = |outcomes: Vec<Outcome>| outcomes.into_iter().find(|outcome| outcome.attempt == Some(3));
    let first = third(rig.log.outcomes(2).await);
    told.send_replace(true);
    match first {
        Some(outcome) => outcome,
        None => third(rig.log.outcomes(3).await).expect("the third of three"),
    }
}

/// How a request ends whose stream isn't opened.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Late,
    TimeOut,
}

#[tokio::test]
async fn a_head_that_may_have_left_is_never_said_not_to_have_left() {
    for (on_unknown, end, expected) in [
        (OnUnknown::Retry, End::Late, (OutcomeKind::Unknown, "cut_off")),
        (OnUnknown::Retry, End::TimeOut, (OutcomeKind::Unknown, "timeout")),
        // It waits for no stream: head and body leave together, once the gate has let them.
        (OnUnknown::Hold, End::Late, (OutcomeKind::Succeeded, "http_200")),
        (OnUnknown::Hold, End::TimeOut, (OutcomeKind::Succeeded, "http_200")),
    ] {
        let outcome = behind_another(on_unknown, end).await;
        assert_eq!(judged(&outcome), expected, "{on_unknown}: {:?}", outcome.detail);
    }
}

/// A plan for a target that may be asked twice, and so over HTTP/2.
fn repeatable(port: u16) -> PlannedDispatch {
    PlannedDispatch { on_unknown: OnUnknown::Retry, ..plan(&format!("https://localhost:{port}/in")) }
}

#[tokio::test]
async fn a_request_without_a_body_that_became_late_while_it_connected_never_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let hours = Arc::new(AtomicI64::new(0));
    let passing = Arc::clone(&hours);
    let peer = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("it connects");
        // As if the machine had slept in the middle of the handshake.
        passing.store(1, Ordering::SeqCst);
        let http1 = accepting(Unverified::with_no_client_auth, &[]);
        let Ok(mut stream) = http1.accept(stream).await else { return 0 };
        stream.read(&mut [0; 4096]).await.unwrap_or(0)
    });
    let clock = move || Timestamp(3_600_000 * hours.load(Ordering::SeqCst));
    let mut rig = trusting(Arc::new(clock));
    let mut plan = plan(&format!("https://localhost:{port}/in"));
    (plan.request.method, plan.request.body) = (Some("GET".into()), None);
    rig.send(&plan, DispatchAttempt { send_before: Timestamp(60_000), ..attempt(&plan, 1) });
    let outcome = rig.log.outcomes(1).await.remove(0);
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "dropped_unsent"), "{:?}", outcome.detail);
    assert_eq!(soon(peer).await.expect("the peer is there"), 0, "bytes of a request");
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_another_ca_trusted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut stream) = demanding().accept(stream).await else { return };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            });
        }
    });
    let directory = tempfile::tempdir().expect("a directory");
    for (name, pem) in [("cert", certificate_pem()), ("key", key_pem()), ("ca", certificate_pem())] {
        std::fs::write(directory.path().join(name), pem).expect("written");
    }
    let mounted = directory.path().to_owned();
    let mut rig = Rig::over(&[], wall_clock(), |parts| parts.secrets.directory = Some(mounted));
    let named = |name: &str| Some(name.to_owned());
    let with_ca = crate::record::Tls { certificate: None, key: None, ca: named("ca") };
    let whole = crate::record::Tls { certificate: named("cert"), key: named("key"), ca: named("ca") };
    for (tls, expected) in [
        (None, (OutcomeKind::Retryable, "certificate_invalid")),
        (Some(with_ca), (OutcomeKind::Retryable, "certificate_invalid")),
        (Some(whole.clone()), (OutcomeKind::Succeeded, "http_200")),
        // What is replaced by nonsense is in force at once.
        (Some(whole), (OutcomeKind::Retryable, "request_invalid")),
    ] {
        if expected.1 == "request_invalid" {
            std::fs::write(directory.path().join("key"), "no key").expect("written");
        }
        let mut plan = plan(&format!("https://localhost:{port}/in"));
        plan.request.tls = tls;
        let outcome = rig.exchange(&plan).await;
        assert_eq!(judged(&outcome), expected, "{:?}", outcome.detail);
        assert_eq!(outcome.refusal, expected.1 == "certificate_invalid");
    }
}
