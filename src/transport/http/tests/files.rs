//! The file itself as the body: streamed, verified on the way, and broken off where it is another one.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::transport::{Places, hex};

/// A directory with files, and a rig that opens files below it.
fn rig(egress: Egress) -> (TempDir, Rig) {
    let directory = tempfile::tempdir().expect("a directory");
    let roots = vec![directory.path().canonicalize().expect("it is there")];
    let rig = Rig::over(&[], wall_clock(), |parts| {
        parts.places = Places { roots, ..Places::default() };
        parts.egress = egress;
    });
    (directory, rig)
}

fn written(directory: &Path, bytes: &[u8]) -> FileBody {
    let path = directory.canonicalize().expect("it is there").join("f-1.bin");
    fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("it is written");
    FileBody {
        location: format!("file://{}", path.display()),
        size: i64::try_from(bytes.len()).expect("it is small"),
        digest: format!("sha256:{}", hex(&Sha256::digest(bytes))),
    }
}

/// A plan whose body is that file.
fn streaming(url: &str, file: FileBody) -> PlannedDispatch {
    let mut plan = plan(url);
    (plan.request.method, plan.request.body) = (Some("PUT".into()), None);
    plan.request.content_type = "application/pdf".into();
    plan.request.body_of_file = Some(file);
    plan
}

fn pattern(length: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(length).collect()
}

#[tokio::test]
async fn a_file_arrives_byte_for_byte() {
    for size in [1, 65_536, 65_537, 3_000_001] {
        let peer = Peer::start([Act::Answer(response("200 OK", "", "ok"))]).await;
        let (directory, mut rig) = rig(Egress::with_loopback());
        let bytes = pattern(size);
        let plan = streaming(&peer.url(), written(directory.path(), &bytes));
        assert_eq!(rig.exchange(&plan).await.kind, OutcomeKind::Succeeded, "{size}");
        let requests = peer.requests(1).await;
        assert!(split(&requests[0]).1 == bytes, "{size}");
        assert_eq!(header(&requests[0], "content-length"), Some(size.to_string()));
        assert_eq!(header(&requests[0], "content-type").as_deref(), Some("application/pdf"));
    }
}

#[tokio::test]
async fn an_empty_file_is_sent_too() {
    let peer = Peer::start([Act::Answer(response("200 OK", "", "ok"))]).await;
    let (directory, mut rig) = rig(Egress::with_loopback());
    let plan = streaming(&peer.url(), written(directory.path(), b""));
    assert_eq!(rig.exchange(&plan).await.kind, OutcomeKind::Succeeded);
}

#[tokio::test]
async fn a_file_that_changed_is_broken_off_and_unknown() {
    let peer = Peer::start([Act::Answer(response("200 OK", "", "ok"))]).await;
    let (directory, mut rig) = rig(Egress::with_loopback());
    let mut bytes = pattern(300_000);
    let file = written(directory.path(), &bytes);
    let planned = streaming(&peer.url(), file);
    bytes[7] ^= 1;
    written(directory.path(), &bytes);
    let outcome = rig.exchange(&planned).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "file_differs"), "{:?}", outcome.detail);
    assert!(outcome.detail.as_deref().is_some_and(|detail| detail.contains("expected sha256:")));
    peer.closed(1).await;
    // The last part was held back: the target never had the whole of it.
    assert!(peer.received.load(Ordering::SeqCst) < 300_000);
}

#[tokio::test]
async fn an_answer_before_the_whole_file_confirms_nothing() {
    // A target that reads no body at all and says that all is well.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = [0; 64];
        stream.read_exact(&mut head).await.expect("a head");
        stream.write_all(response("200 OK", "", "ok").as_bytes()).await.expect("it is written");
        // It keeps the connection, so that nothing breaks.
        std::future::pending::<()>().await;
    });
    let (directory, mut rig) = rig(Egress::with_loopback());
    let plan = streaming(&format!("http://127.0.0.1:{port}/"), written(directory.path(), &pattern(30_000_000)));
    let outcome = rig.exchange(&plan).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Unknown, "file_unverified"), "{:?}", outcome.detail);
}

type Spoil = fn(&mut FileBody);

#[tokio::test]
async fn a_file_that_cannot_be_had_leaves_nothing_on_the_wire() {
    let peer = Peer::start([]).await;
    let (directory, mut rig) = rig(Egress::with_loopback());
    let file = written(directory.path(), b"abc");
    let spoilt: [(Spoil, &str); 5] = [
        (|file| file.location.push_str(".gone"), "file_missing"),
        (|file| file.location = "file:///etc/hostname".into(), "file_refused"),
        (|file| file.location = "gopher://a.example/".into(), "file_refused"),
        (|file| file.size = 4, "file_differs"),
        (|file| file.size = -1, "request_invalid"),
    ];
    for (spoil, code) in spoilt {
        let mut file = file.clone();
        spoil(&mut file);
        let outcome = rig.exchange(&streaming(&peer.url(), file)).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Retryable, code), "{:?}", outcome.detail);
    }
    // What is signed is known before it leaves.
    let signed = PlannedDispatch { transport: TransportKind::Webhook, ..streaming(&peer.url(), file) };
    let mut signed = signed;
    signed.request.sign_with = Some(vec!["k".into()]);
    assert_eq!(judged(&rig.exchange(&signed).await), (OutcomeKind::Retryable, "request_invalid"));
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn a_file_is_fetched_under_the_guard_of_every_request() {
    let target = Peer::start([Act::Answer(response("200 OK", "", "ok"))]).await;
    let store = Peer::start([Act::Answer(response("200 OK", "", "abc"))]).await;
    let digest = format!("sha256:{}", hex(&Sha256::digest(b"abc")));
    let plan = streaming(&target.url(), FileBody { location: store.url(), size: 3, digest });
    let (_directory, mut closed) = rig(Egress::public_only());
    assert_eq!(judged(&closed.exchange(&plan).await), (OutcomeKind::Retryable, "egress_refused"));
    assert_eq!((target.connections(), store.connections()), (0, 0));

    let own = std::collections::BTreeMap::from([(plan.target.clone(), crate::transport::Allowance::loopback())]);
    let (_directory, mut target_only) = rig(Egress::new(crate::transport::Allowance::default(), own, None));
    assert_eq!(judged(&target_only.exchange(&plan).await), (OutcomeKind::Retryable, "file_refused"));
    assert_eq!((target.connections(), store.connections()), (0, 0));

    let (_directory, mut open) = rig(Egress::with_loopback());
    assert_eq!(open.exchange(&plan).await.kind, OutcomeKind::Succeeded);
    assert_eq!(split(&target.requests(1).await[0]).1, b"abc");
}
