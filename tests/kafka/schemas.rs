//! The schema registry.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use consign::record::registry::{HttpRegistry, RegistryAuth, RegistryError, SchemaDifference, SchemaSource};
use consign::record::{Codec, Control, DecodeError, Timestamp, Topic, TopicNames};
use tokio::runtime::Runtime;

use crate::bed::{server, unique_prefix};

/// A registry's client with the runtime that it waits on.
pub struct Client {
    pub registry: Arc<HttpRegistry>,
    _runtime: Runtime,
}

pub fn client(url: &str, prefix: &str) -> Client {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let names = TopicNames::new(prefix);
    let registry = HttpRegistry::new(url, names, RegistryAuth::None, runtime.handle().clone()).unwrap();
    Client { registry: Arc::new(registry), _runtime: runtime }
}

fn url() -> String {
    server("SCHEMA_REGISTRY_URL")
}

fn control() -> Control {
    Control::homing(6, ("ann", "test", Timestamp(1_700_000_000_000)))
}

#[test]
fn registering_makes_what_check_misses_and_then_nothing() {
    let client = client(&url(), &unique_prefix("schemas"));
    let registry = &client.registry;
    let missing = registry.check().unwrap();
    assert_eq!(missing.len(), 10);
    assert!(missing.iter().all(|d| matches!(d, SchemaDifference::Missing { .. })));
    assert!(
        matches!(registry.id_of(Topic::Plans), Err(RegistryError::Refused(text)) if text.contains("schemas register"))
    );
    let first = registry.register().unwrap();
    assert!(first.iter().all(|r| !r.already_there));
    assert_eq!(registry.check().unwrap(), []);
    let second = registry.register().unwrap();
    assert!(second.iter().all(|r| r.already_there));
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.id, second.id);
        assert_eq!(registry.id_of(first.topic).unwrap(), first.id);
    }
}

#[test]
fn what_is_registered_contradicts_nothing_that_says_so() {
    let client = client(&url(), &unique_prefix("schemas-said"));
    let registry = &client.registry;
    for registered in registry.register().unwrap() {
        let schema = registered.topic.schema().unwrap();
        let found = registry.contradiction(&registered.subject, 1, registered.id, schema).unwrap();
        assert_eq!(found, None, "{}", registered.subject);
    }
}

#[test]
fn eight_who_register_at_once_agree() {
    let prefix = unique_prefix("schemas-race");
    let ids: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let register = || client(&url(), &prefix).registry.register().unwrap().iter().map(|r| r.id).collect();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(register)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|i| *i == ids[0]), "{ids:?}");
}

#[test]
fn values_go_round_through_the_registry() {
    let client = client(&url(), &unique_prefix("schemas-codec"));
    let codec = Codec::new(client.registry.clone());
    assert!(codec.encode(&control()).is_err(), "nothing is registered on the way");
    client.registry.register().unwrap();
    codec.prepare().unwrap();
    let bytes = codec.encode(&control()).unwrap();
    assert_eq!(Codec::new(client.registry.clone()).decode::<Control>(&bytes).unwrap(), control());
}

#[test]
fn an_unknown_id_is_no_record() {
    let client = client(&url(), &unique_prefix("schemas-unknown"));
    let codec = Codec::new(client.registry.clone());
    let decoded = codec.decode::<Control>(&[0, 0x7f, 0xff, 0xff, 0xf0, 1, 2, 3]);
    assert!(matches!(&decoded, Err(DecodeError::Poison(text)) if text.contains("2147483632")), "{decoded:?}");
}

#[test]
fn the_id_of_another_topics_schema_is_no_record() {
    let client = client(&url(), &unique_prefix("schemas-other"));
    let ids = client.registry.register().unwrap();
    let plans = ids.iter().find(|r| r.topic == Topic::Plans).unwrap().id;
    let codec = Codec::new(client.registry.clone());
    let mut bytes = codec.encode(&control()).unwrap();
    bytes[1..5].copy_from_slice(&plans.to_be_bytes());
    assert!(matches!(codec.decode::<Control>(&bytes), Err(DecodeError::Poison(_))));
}

#[test]
fn a_newer_schema_of_someone_else_is_reported_and_an_incompatible_one_never_enters() {
    let prefix = unique_prefix("schemas-newer");
    let client = client(&url(), &prefix);
    client.registry.register().unwrap();
    let subject = TopicNames::new(&prefix).subject(Topic::Controls);
    let post = |schema: &serde_json::Value| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let body = serde_json::json!({"schema": schema.to_string()}).to_string();
        let request = reqwest::Client::new()
            .post(format!("{}/subjects/{subject}/versions", url()))
            .header("content-type", "application/vnd.schemaregistry.v1+json")
            .body(body);
        runtime.block_on(async {
            let reply = request.send().await.unwrap();
            let status = reply.status().as_u16();
            (status, serde_json::from_str::<serde_json::Value>(&reply.text().await.unwrap()).unwrap())
        })
    };
    let mut schema: serde_json::Value = serde_json::from_str(Topic::Controls.schema().unwrap()).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.push(serde_json::json!({"name": "required_of_all", "type": "string"}));
    assert_eq!(post(&schema).0, 409, "full compatibility is demanded");
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.last_mut().unwrap()["default"] = "".into();
    let (status, reply) = post(&schema);
    assert_eq!(status, 200);
    let newer = u32::try_from(reply["id"].as_u64().unwrap()).unwrap();
    let found = client.registry.check().unwrap();
    assert!(matches!(&found[..], [SchemaDifference::Other { compatible: true, .. }]), "{found:?}");
    // A field more, at the end: an empty string is one zero byte.
    let codec = Codec::new(client.registry.clone());
    let mut bytes = codec.encode(&control()).unwrap();
    bytes[1..5].copy_from_slice(&newer.to_be_bytes());
    bytes.push(0);
    assert_eq!(codec.decode::<Control>(&bytes).unwrap(), control(), "what a newer version writes is resolved");
}

/// A way to the registry that can be closed.
struct Gate {
    open: Arc<AtomicBool>,
    url: String,
}

impl Gate {
    fn new() -> Self {
        let target = reqwest::Url::parse(&url()).unwrap();
        let address = format!("{}:{}", target.host_str().unwrap(), target.port_or_known_default().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Self {
            open: Arc::new(AtomicBool::new(true)),
            url: format!("http://{}{}", listener.local_addr().unwrap(), target.path()),
        };
        let open = Arc::clone(&gate.open);
        std::thread::spawn(move || {
            for inner in listener.incoming() {
                let (address, open, inner) = (address.clone(), Arc::clone(&open), inner.unwrap());
                std::thread::spawn(move || pass(inner, &address, &open));
            }
        });
        gate
    }
}

/// Copies both ways while the gate is open, and hangs up once it isn't.
fn pass(mut inner: TcpStream, address: &str, open: &AtomicBool) {
    let Ok(mut outer) = TcpStream::connect(address) else { return };
    let mut back = (outer.try_clone().unwrap(), inner.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
    let mut buffer = [0; 4096];
    while let Ok(count) = inner.read(&mut buffer) {
        if count == 0 || !open.load(Ordering::Relaxed) || outer.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = inner.shutdown(std::net::Shutdown::Both);
    let _ = outer.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_registry_that_is_away_makes_nothing_poison() {
    let gate = Gate::new();
    let client = client(&gate.url, &unique_prefix("schemas-away"));
    client.registry.register().unwrap();
    let bytes = Codec::new(client.registry.clone()).encode(&control()).unwrap();
    let codec = Codec::new(client.registry.clone());
    gate.open.store(false, Ordering::Relaxed);
    let decoded = codec.decode::<Control>(&bytes);
    assert!(matches!(decoded, Err(DecodeError::RegistryAway(_))), "{decoded:?}");
    assert!(matches!(codec.encode(&control()), Err(RegistryError::Away(_))));
    gate.open.store(true, Ordering::Relaxed);
    assert_eq!(codec.decode::<Control>(&bytes).unwrap(), control());
    gate.open.store(false, Ordering::Relaxed);
    assert_eq!(codec.decode::<Control>(&bytes).unwrap(), control(), "what is known needs no registry");
}
