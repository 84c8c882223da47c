//! The payload monster of `config/examples/payloads`, run: what reaches each receiver, byte for byte, and again on a retry.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use consign::log::{Append, Headers};
use consign::node::embedded::in_process;
use consign::record::{FileId, FileManifest, FileState, State, Topic, home_partition};
use consign::routing::{Sources, load, named_files};
use consign::transport::{AckTokens, KafkaTargets, wall_clock};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const KEY: &str = "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/examples/payloads")
}

fn manifest(name: &str) -> FileManifest {
    serde_json::from_str(&fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

fn sources(document: String) -> Sources {
    let files = named_files(&document)
        .into_iter()
        .map(|name| (name.clone(), fs::read_to_string(folder().join(name)).unwrap()))
        .collect();
    Sources { name: "routing.yaml".into(), document, files }
}

/// A request that a receiver got.
#[derive(Clone)]
struct Got {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

type Journal = Arc<Mutex<Vec<Got>>>;

/// Fails the first request of each key: 503 for the orders, which promise that nothing was processed, 500 for b.
async fn receive(
    Shared(journal): Shared<Journal>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let path = uri.path().to_owned();
    let mut journal = journal.lock().unwrap();
    let is_first =
        !journal.iter().any(|got| got.path == path && got.headers["idempotency-key"] == headers["idempotency-key"]);
    let status = match (path.split('/').nth(1).unwrap(), is_first) {
        ("orders", true) => StatusCode::SERVICE_UNAVAILABLE,
        ("b", true) => StatusCode::INTERNAL_SERVER_ERROR,
        ("vault", _) => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    journal.push(Got { method, path, headers, body });
    status
}

#[test]
fn the_shipped_monster_loads_with_one_warning() {
    let document = fs::read_to_string(folder().join("routing.yaml")).unwrap();
    let loaded = load(&sources(document)).unwrap();
    let warnings: Vec<&str> = loaded.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(warnings, ["CG132"], "the ledger counts as done once the topic has the record");
}

#[test]
fn the_book_explains_every_line_of_it() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/routing.md")).unwrap();
    let explained: Vec<String> = page
        .split("```yaml monster\n")
        .skip(1)
        .flat_map(|rest| rest.split("\n```").next().unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let shipped = fs::read_to_string(folder().join("routing.yaml")).unwrap();
    let shipped: Vec<&str> = shipped.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(explained, shipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_monster_sends_what_the_book_says_and_the_same_again() {
    let journal = Journal::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(receive).with_state(Arc::clone(&journal));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let tokens = Arc::new(AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).unwrap());
    let (mut shared, _cluster) = in_process(tokens, wall_clock()).unwrap();
    let files = tempfile::tempdir().unwrap();
    let root = files.path().canonicalize().unwrap();
    fs::write(root.join("b-key"), KEY).unwrap();
    shared.secrets.directory = Some(root.clone());
    shared.places.roots = vec![root.clone()];
    let (kafka, records) = KafkaTargets::in_process();
    shared.kafka = kafka;
    let document = fs::read_to_string(folder().join("routing.yaml")).unwrap();
    let document = ["orders", "b", "vault"].iter().fold(document, |document, host| {
        document.replace(&format!("https://{host}.example"), &format!("http://{address}/{host}"))
    });
    shared.apply(&sources(document), "test").unwrap();
    let node = shared.start("w", 1, 0).await.unwrap();

    let original = b"the file itself".repeat(10_000);
    fs::write(root.join("a-1.bin"), &original).unwrap();
    let with_file = FileManifest {
        location: Some(format!("file://{}", root.join("a-1.bin").display())),
        size: Some(i64::try_from(original.len()).unwrap()),
        checksum: Some(format!("sha256:{:x}", HexDigest(Sha256::digest(&original).as_slice()))),
        ..manifest("a-1.json")
    };
    for manifest in [with_file, manifest("a-2.json")] {
        let id = manifest.file_id.clone();
        let append = Append {
            topic: Topic::Manifests,
            partition: Some(home_partition(id.as_str(), 4)),
            key: id.as_str().as_bytes().to_vec(),
            value: Some(shared.codec.encode(&manifest).unwrap()),
            headers: Headers::new(),
        };
        shared.cluster.appender().unwrap().append(append).await.unwrap();
        let state = settled(&node, &id).await;
        assert_eq!(state.state, State::Completed, "{state:#?}");
    }
    tokio::time::timeout(Duration::from_secs(60), node.stop()).await.unwrap();

    let got = journal.lock().unwrap().clone();
    let to = |path: &str| got.iter().filter(|got| got.path == path).cloned().collect::<Vec<_>>();
    let json = |got: &Got| serde_json::from_slice::<Value>(&got.body).unwrap();

    // Type A on v2 with the file's own currency; on v1 where the file says so.
    let v2 =
        json!({"customer": "C-1", "total": {"value": 12.5, "currency": "CHF"}, "tier": "gold", "x": "secret of X"});
    let orders = to("/orders/v1/customers/C-1/a-1");
    assert_eq!((orders.len(), json(&orders[0])), (2, v2.clone()));
    assert_eq!((&orders[0].method, &orders[0].headers["x-producer"]), (&Method::PUT, &"shop".parse().unwrap()));
    let overridden = to("/orders/v1/customers/C-2/a-2");
    assert_eq!(json(&overridden[0]), json!({"customer": "C-2", "total": 7}));

    // For B without X and with Y, signed.
    let b = to("/b/in");
    let of_a_1: Vec<&Got> = b.iter().filter(|got| got.headers["idempotency-key"] == "a-1/b").collect();
    let for_b = json!({"customer": "C-1", "total": {"value": 12.5, "currency": "CHF"}, "tier": "gold", "y": "why-1"});
    assert_eq!((of_a_1.len(), json(of_a_1[0])), (2, for_b));
    let verifier = standardwebhooks::Webhook::new(KEY).unwrap();
    b.iter().for_each(|got| verifier.verify(&got.body, &got.headers).unwrap());

    // The same key and the same bytes on a retry; the attempt is another.
    for requests in [&orders.iter().collect::<Vec<_>>(), &of_a_1] {
        let [first, second] = requests.as_slice() else { panic!("{}", requests.len()) };
        assert_eq!(first.body, second.body);
        assert_eq!(first.headers["idempotency-key"], second.headers["idempotency-key"]);
        assert_eq!(
            (&first.headers["consign-attempt"], &second.headers["consign-attempt"]),
            (&header("1"), &header("2"))
        );
    }
    assert_eq!(of_a_1[0].headers["webhook-id"], of_a_1[1].headers["webhook-id"]);

    // Enveloped for Kafka.
    let records = records.lock().unwrap();
    let record = records.iter().find(|record| record.key == "C-1").unwrap();
    let headers: BTreeMap<&str, &str> =
        record.headers.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap())).collect();
    assert_eq!((record.topic.as_str(), serde_json::from_slice::<Value>(&record.body).unwrap()), ("ledger.in", v2));
    assert_eq!(
        (headers["ce_type"], headers["ce_source"], headers["ce_id"]),
        ("com.example.a", "/orders", "a-1/ledger")
    );
    assert_eq!((headers["ce_time"], headers["content-type"]), ("2026-01-01T00:00:00.000Z", "application/json"));

    // The file itself, where there is one.
    let vault = to("/vault/files/a-1");
    assert!(vault.len() == 1 && vault[0].body == original);
    assert!(to("/vault/files/a-2").is_empty());
}

fn header(value: &str) -> axum::http::HeaderValue {
    value.parse().unwrap()
}

async fn settled(node: &consign::node::Node, id: &FileId) -> Arc<FileState> {
    let view = node.view().unwrap();
    let there = || view.file(id).filter(|state| state.settled_at.is_some());
    assert!(view.wait_until(Duration::from_secs(60), || there().is_some()).await, "{:#?}", view.file(id));
    there().unwrap()
}

struct HexDigest<'b>(&'b [u8]);

impl std::fmt::LowerHex for HexDigest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
