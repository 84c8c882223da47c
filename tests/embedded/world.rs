//! A running product with receivers, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consign::log::memory::MemoryCluster;
use consign::log::{Append, Appender as _, Headers};
use consign::node::Node;
use consign::node::embedded::{Shared, in_process};
use consign::receiver::{AckLog, Journal, Receivers, demo_behaviours};
use consign::record::{FileId, FileManifest, FileState, Timestamp, Topic, home_partition};
use consign::routing::{Sources, named_files};
use consign::transport::{AckTokens, wall_clock};

/// Long enough for any machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The product on an in-process log, with the demo's receivers and routing document.
pub struct World {
    pub cluster: MemoryCluster,
    pub journal: Journal,
    shared: Shared,
    node: Option<Node>,
    receivers: Receivers,
}

/// A manifest of a type, with data that fits every schema of the demo's document.
pub fn manifest(file_id: &str, file_type: &str) -> FileManifest {
    FileManifest {
        file_id: FileId::trusted(file_id),
        schema_version: 2,
        file_type: file_type.into(),
        name: format!("{file_id}.json"),
        location: None,
        size: None,
        checksum: None,
        media_type: None,
        attributes: BTreeMap::new(),
        data: Some(r#"{"account_id": "A-100", "amount": 10}"#.into()),
        produced_by: "test".into(),
        produced_at: Timestamp(1_767_225_600_000),
        deadline: None,
    }
}

impl World {
    pub async fn start() -> Self {
        let tokens = Arc::new(AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).unwrap());
        let (shared, cluster) = in_process(tokens, wall_clock()).unwrap();
        let acks = AckLog { appender: shared.cluster.appender().unwrap(), codec: Arc::clone(&shared.codec) };
        let handle = tokio::runtime::Handle::current();
        let receivers = Receivers::start(&handle, demo_behaviours(), Some(acks)).unwrap();
        shared.apply(&routing(&receivers), "test").unwrap();
        let node = shared.start("w", 2, 0).await.unwrap();
        Self { cluster, journal: receivers.journal(), shared, node: Some(node), receivers }
    }

    /// Stops the process and starts another under the same name.
    pub async fn restart(&mut self) {
        self.node.take().unwrap().stop().await;
        self.node = Some(self.shared.start("w", 2, 0).await.unwrap());
    }

    pub async fn stop(mut self) {
        self.node.take().unwrap().stop().await;
        self.receivers.stop().await;
    }

    pub async fn submit(&self, manifest: &FileManifest) {
        let id = manifest.file_id.as_str();
        let append = Append {
            topic: Topic::Manifests,
            partition: Some(home_partition(id, 4)),
            key: id.as_bytes().to_vec(),
            value: Some(self.shared.codec.encode(manifest).unwrap()),
            headers: Headers::new(),
        };
        self.cluster.append(append).await.unwrap();
    }

    pub async fn settled(&self, file_id: &str) -> Arc<FileState> {
        self.until(file_id, |state| state.settled_at.is_some()).await
    }

    pub async fn until(&self, file_id: &str, condition: impl Fn(&FileState) -> bool) -> Arc<FileState> {
        let id = FileId::trusted(file_id);
        let node = self.node.as_ref().unwrap();
        let view = node.view().unwrap();
        let there = || view.file(&id).filter(|state| condition(state));
        let came = view.wait_until(PATIENCE, || there().is_some()).await;
        assert!(came, "{file_id}: {:#?}; not ready because of {:?}", view.file(&id), node.readiness().reasons);
        there().unwrap()
    }

    /// Requests of a dispatch that its target received.
    pub fn requests(&self, idempotency_key: &str) -> usize {
        self.journal.of_key(idempotency_key).len()
    }
}

/// The demo's routing document, for those who send nothing.
pub fn any_routing() -> Sources {
    routing_to("127.0.0.1:1")
}

/// The demo's routing document with the receivers' address in it.
fn routing(receivers: &Receivers) -> Sources {
    routing_to(&receivers.addr().to_string())
}

fn routing_to(address: &str) -> Sources {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let text = std::fs::read_to_string(format!("{root}/routing.yaml")).unwrap();
    let document = text.replace("http://receivers.invalid", &format!("http://{address}"));
    let files = named_files(&document)
        .into_iter()
        .map(|name| (name.clone(), std::fs::read_to_string(format!("{root}/{name}")).unwrap()))
        .collect();
    Sources { name: "routing.yaml".into(), document, files }
}
