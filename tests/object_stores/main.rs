//! Files in the object stores of clouds, read from servers that speak their protocols: `make test-object-stores` starts these, and says where
//! they are (tests/object_stores/servers.py).

use std::collections::BTreeMap;
use std::env::var;
use std::net::TcpListener;
use std::time::Duration;

use consign::transport::{Announced, Contents, Egress, FaultKind, Places, Secret, Secrets};
use ring::digest::{SHA256, digest};

/// What the servers have, as servers.py put it there.
fn objects() -> [(&'static str, Vec<u8>); 2] {
    let large = (0..20_000).flat_map(|_| 0..=255).collect();
    [("orders/2026%20(1)/%C3%A4+b.csv", b"id,amount\n1,10\n".to_vec()), ("large.bin", large)]
}

/// A store as `[content.NAME]` configures it, the scheme of its locations, and the option that is no right key.
struct Store {
    name: &'static str,
    scheme: &'static str,
    options: Vec<(&'static str, String)>,
    wrong: Option<(&'static str, &'static str)>,
}

fn of_environment(name: &str) -> String {
    var(name).unwrap_or_else(|_| panic!("{name} isn't set: run this by `make test-object-stores`"))
}

fn s3() -> Store {
    let options = vec![
        ("aws_endpoint", of_environment("S3_ENDPOINT")),
        ("aws_region", "eu-west-1".to_owned()),
        ("aws_access_key_id", of_environment("S3_KEY_ID")),
        ("aws_secret_access_key", "secret:key".to_owned()),
        ("aws_allow_http", "true".to_owned()),
    ];
    Store { name: "s3", scheme: "s3", options, wrong: Some(("aws_secret_access_key", "of somebody else")) }
}

fn gcs() -> Store {
    let options = vec![
        ("google_base_url", of_environment("GCS_ENDPOINT")),
        // This server knows no accounts.
        ("google_skip_signature", "true".to_owned()),
    ];
    Store { name: "gcs", scheme: "gs", options, wrong: None }
}

fn azure() -> Store {
    let options = vec![
        ("azure_storage_endpoint", of_environment("AZURE_ENDPOINT")),
        ("azure_storage_account_name", of_environment("AZURE_ACCOUNT")),
        ("azure_storage_account_key", "secret:key".to_owned()),
        ("azure_allow_http", "true".to_owned()),
    ];
    Store {
        name: "azure",
        scheme: "az",
        options,
        wrong: Some(("azure_storage_account_key", "b2Ygc29tZWJvZHkgZWxzZQ==")),
    }
}

impl Store {
    fn location(&self, path: &str) -> String {
        format!("{}://incoming/{path}", self.scheme)
    }

    /// Opens what lies in this store, with an option in another way.
    fn contents(&self, egress: Egress, other: Option<(&str, &str)>) -> Contents {
        let mut options: BTreeMap<String, String> =
            self.options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        if let Some((name, value)) = other {
            options.insert(name.to_owned(), value.to_owned());
        }
        let key = var(if self.name == "s3" { "S3_SECRET" } else { "AZURE_KEY" }).unwrap_or_default();
        let held = BTreeMap::from([("key".to_owned(), Secret::new(key.into_bytes()))]);
        let places = Places { stores: BTreeMap::from([(self.name.to_owned(), options)]), ..Places::default() };
        Contents::new(places, egress, Secrets { held, ..Secrets::default() }, Duration::from_secs(10))
    }
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn announced(location: String, bytes: &[u8]) -> Announced {
    let size = Some(bytes.len() as u64);
    Announced { location, size, digest: Some(sha256(bytes)), max_size: 64 * 1024 * 1024 }
}

/// Reads a file whole; the code of what is wrong with it, and whether asking again may help.
async fn read(contents: &Contents, announced: Announced) -> Result<Vec<u8>, (&'static str, bool)> {
    let short = |fault: consign::transport::Fault| {
        // Seen only if the test fails.
        println!("{}: {fault}", fault.code);
        (fault.code, fault.kind != FaultKind::Final)
    };
    let opened = contents.open(announced).await.map_err(short)?;
    opened.whole().await.map(|(bytes, _)| bytes).map_err(short)
}

async fn is_read_as_announced(store: &Store) {
    let contents = store.contents(Egress::with_loopback(), None);
    for (path, bytes) in objects() {
        let location = store.location(path);
        let whole = read(&contents, announced(location.clone(), &bytes)).await;
        assert_eq!(whole.as_ref().map(Vec::len), Ok(bytes.len()), "{location}");
        assert!(whole.is_ok_and(|whole| whole == bytes), "{location}");

        let longer = Announced { size: Some(bytes.len() as u64 + 1), ..announced(location.clone(), &bytes) };
        assert_eq!(read(&contents, longer).await, Err(("size_differs", false)), "{location}");
        let other = Announced { digest: Some(sha256(b"another")), ..announced(location.clone(), &bytes) };
        assert_eq!(read(&contents, other).await, Err(("digest_differs", false)), "{location}");
        let bounded = Announced { size: None, max_size: 10, ..announced(location.clone(), &bytes) };
        assert_eq!(read(&contents, bounded).await, Err(("too_large", false)), "{location}");
    }
}

async fn what_is_not_there_is_missing(store: &Store) {
    let contents = store.contents(Egress::with_loopback(), None);
    assert_eq!(read(&contents, announced(store.location("nothing.csv"), b"x")).await, Err(("missing", false)));
    let nowhere = format!("{}://nowhere/large.bin", store.scheme);
    assert_eq!(read(&contents, announced(nowhere, b"x")).await, Err(("missing", false)));
}

async fn who_has_no_right_key_is_forbidden(store: &Store) {
    let Some(wrong) = store.wrong else { return };
    let contents = store.contents(Egress::with_loopback(), Some(wrong));
    let (path, bytes) = &objects()[0];
    assert_eq!(read(&contents, announced(store.location(path), bytes)).await, Err(("forbidden", false)));
}

/// An endpoint on the inside is what the guard keeps everybody from, the operator's own configuration included.
async fn the_guard_stands_before_it(store: &Store) {
    let (listener, endpoint) = (TcpListener::bind("127.0.0.1:0").unwrap(), store.options[0].0);
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for url in [format!("http://127.0.0.1:{port}"), format!("https://localhost:{port}")] {
        let contents = store.contents(Egress::public_only(), Some((endpoint, &url)));
        let (path, bytes) = &objects()[0];
        let refused = read(&contents, announced(store.location(path), bytes)).await;
        assert_eq!(refused, Err(("location_refused", false)), "{url}");
    }
    assert!(listener.accept().is_err(), "no connection was made");
    let gone = store.contents(Egress::with_loopback(), Some((endpoint, &closed())));
    assert_eq!(read(&gone, announced(store.location("large.bin"), b"x")).await, Err(("unavailable", true)));
}

/// An address at which nobody listens.
fn closed() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

async fn all_of(store: &Store) {
    is_read_as_announced(store).await;
    what_is_not_there_is_missing(store).await;
    who_has_no_right_key_is_forbidden(store).await;
    the_guard_stands_before_it(store).await;
}

#[tokio::test]
async fn files_lie_in_s3() {
    all_of(&s3()).await;
}

#[tokio::test]
async fn files_lie_in_google_cloud_storage() {
    all_of(&gcs()).await;
}

#[tokio::test]
async fn files_lie_in_azure() {
    all_of(&azure()).await;
}
