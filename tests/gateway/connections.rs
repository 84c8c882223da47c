//! Clients that are slow or hostile, and TLS.

use std::path::Path;
use std::sync::Arc;

use consign::gateway::{Access, GatewayError, Observing, Readiness, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Limits, PATIENCE, World};

async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.url.trim_start_matches("http://")).await.unwrap()
}

/// What comes until the gateway closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    // A connection that is reset has ended as well.
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("it is cut off");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_its_head_is_cut_off() {
    let world = World::start().await;
    let mut silent = connect(&world).await;
    let mut slow = connect(&world).await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-").await.unwrap();
    // Whoever is quick is answered meanwhile.
    assert_eq!(world.get("/healthz").await.status, 200);
    let (silence, slowness) = tokio::join!(rest(&mut silent), rest(&mut slow));
    assert!(!silence.contains(" 200 ") && !slowness.contains(" 200 "), "{silence} {slowness}");
}

/// What a process without the gateway serves.
fn observing() -> Observing {
    let readiness = || Readiness { ready: true, reasons: Vec::new() };
    Observing { metrics: Arc::default(), access: Access::Loopback, readiness: Arc::new(readiness) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_the_gateway_cuts_slow_clients_off_and_stops_beside_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(observing().serve(listener, async { drop(stopped.await) }));
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-").await.unwrap();
    let mut long = TcpStream::connect(address).await.unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-long: {}\r\n\r\n", "y".repeat(200_000));
    // It may be closed before all of it is written.
    let _ = long.write_all(head.as_bytes()).await;
    assert!(!rest(&mut long).await.contains(" 200 "));
    // Whoever is quick is answered meanwhile.
    let mut quick = TcpStream::connect(address).await.unwrap();
    quick.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut quick).await.contains(" 200 OK"));
    assert!(!rest(&mut slow).await.contains(" 200 "), "it is cut off");
    let mut never = TcpStream::connect(address).await.unwrap();
    never.write_all(b"GET /healthz").await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, serving).await.expect("a stop has a bound").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_is_refused() {
    let world = World::start().await;
    let many = (0..200).map(|n| format!("x-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let long = format!("x-long: {}\r\n", "y".repeat(200_000));
    for headers in [many, long] {
        let mut client = connect(&world).await;
        let head = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        // It may be closed before all of it is written.
        let _ = client.write_all(head.as_bytes()).await;
        let heard = rest(&mut client).await;
        assert!(!heard.contains(" 200 "), "{heard}");
    }
    assert_eq!(world.get("/healthz").await.status, 200);
}

fn put(directory: &Path, number: u8) {
    for kind in ["crt", "key"] {
        let from = format!("{}/tests/gateway/tls/{number}.{kind}", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(from, directory.join(format!("tls.{kind}"))).unwrap();
    }
}

fn files(directory: &Path) -> TlsFiles {
    TlsFiles { certificate: directory.join("tls.crt"), key: directory.join("tls.key") }
}

/// A client that trusts one of the two certificates, and no other.
fn trusting(number: u8) -> reqwest::Client {
    let path = format!("{}/tests/gateway/tls/{number}.crt", env!("CARGO_MANIFEST_DIR"));
    let certificate = reqwest::Certificate::from_pem(&std::fs::read(path).unwrap()).unwrap();
    // A connection for each request: one that is kept knows nothing of a new certificate.
    let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).tls_certs_only([certificate]);
    builder.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_in_force_without_a_restart_and_nonsense_never() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), 1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = Some(files(directory.path()));
    let world = World::over(Access::Loopback, listener, Limits::default(), tls).await;
    let url = format!("https://localhost:{port}/healthz");
    assert_eq!(trusting(1).get(&url).send().await.unwrap().text().await.unwrap(), "ok\n");
    assert!(trusting(2).get(&url).send().await.is_err());
    assert!(world.client.get(format!("{}/healthz", world.url)).send().await.is_err(), "plain HTTP");
    std::fs::write(directory.path().join("tls.key"), "nonsense").unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(trusting(1).get(&url).send().await.is_ok(), "the old one stays");
    put(directory.path(), 2);
    let renewed = async {
        while trusting(2).get(&url).send().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("the new one is in force");
    assert!(trusting(1).get(&url).send().await.is_err());
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cant_be_used_is_refused_at_start() {
    let directory = tempfile::tempdir().unwrap();
    for number in [1, 2] {
        put(directory.path(), number);
        // The key of the other one, and then none.
        let other = format!("{}/tests/gateway/tls/{}.key", env!("CARGO_MANIFEST_DIR"), 3 - number);
        std::fs::copy(other, directory.path().join("tls.key")).unwrap();
        if number == 2 {
            std::fs::remove_file(directory.path().join("tls.key")).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = Some(files(directory.path()));
        let world = World::over(Access::Loopback, listener, Limits::default(), tls).await;
        let refused = tokio::time::timeout(PATIENCE, world.ended()).await.expect("at once");
        assert!(matches!(&refused, Err(GatewayError::Tls(why)) if why.contains("key")), "{refused:?}");
    }
}
