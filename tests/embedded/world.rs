//! A running product with receivers, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consign::log::memory::MemoryCluster;
use consign::log::{Append, Appender as _, Headers};
use consign::node::Node;
use consign::node::controls::{Said, apply_routing};
use consign::node::embedded::{Shared, in_process};
use consign::receiver::{AckLog, Behaviour, Journal, Receivers, demo_behaviours};
use consign::record::{FileId, FileManifest, FileState, TargetName, Timestamp, Topic, home_partition};
use consign::routing::{Sources, named_files};
use consign::transport::{AckTokens, wall_clock};

/// Long enough for any machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// The secret by which ack tokens are made.
pub const ACK_KEY: &str = "0123456789abcdef";

/// The product on an in-process log, with the demo's receivers and routing document.
pub struct World {
    pub cluster: MemoryCluster,
    pub journal: Journal,
    pub shared: Shared,
    node: Option<Node>,
    receivers: Receivers,
    secrets: tempfile::TempDir,
    files: tempfile::TempDir,
}

/// The demo's, and two that accept and say nothing more.
fn behaviours() -> BTreeMap<TargetName, Behaviour> {
    let mut behaviours = demo_behaviours();
    for silent in ["silent", "hasty", "signed", "receipted-callback"] {
        behaviours.insert(TargetName::trusted(silent), Behaviour::status(202));
    }
    let unproven = || Behaviour::json(200, r#"{"result":"ok"}"#);
    let proven = Behaviour::Sequence(vec![unproven(), Behaviour::Take]);
    behaviours.insert(TargetName::trusted("receipted"), proven);
    behaviours.insert(TargetName::trusted("receipted-hold"), unproven());
    let acked = Behaviour::report_later(Duration::from_millis(1), &["SUCCEEDED"]);
    behaviours.insert(TargetName::trusted("receipted-acks"), acked);
    behaviours.insert(TargetName::trusted("nagging"), Behaviour::status(502));
    behaviours.insert(TargetName::trusted("counted"), Behaviour::status(200));
    let token = r#"{"access_token": "canary-token-1d77", "token_type": "Bearer", "expires_in": 3600}"#;
    behaviours.insert(TargetName::trusted("issuer"), Behaviour::json(200, token));
    for echo in ["echo-basic", "echo-bearer", "echo-oauth2", "echo-webhook"] {
        behaviours.insert(TargetName::trusted(echo), Behaviour::Echo(400));
    }
    behaviours
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
        let tokens = Arc::new(AckTokens::new(vec![("k1".into(), ACK_KEY.as_bytes().to_vec())]).unwrap());
        let (mut shared, cluster) = in_process(tokens, wall_clock()).unwrap();
        let secrets = tempfile::tempdir().unwrap();
        shared.secrets.directory = Some(secrets.path().to_owned());
        let files = tempfile::tempdir().unwrap();
        shared.places.roots = vec![files.path().to_owned()];
        let acks = AckLog { appender: shared.cluster.appender().unwrap(), codec: Arc::clone(&shared.codec) };
        let handle = tokio::runtime::Handle::current();
        let receivers = Receivers::start(&handle, behaviours(), Some(acks)).unwrap();
        shared.apply(&routing(&receivers), "test").unwrap();
        let node = shared.start("w", 2, 0).await.unwrap();
        node.ready(PATIENCE).await.unwrap();
        Self { cluster, journal: receivers.journal(), shared, node: Some(node), receivers, secrets, files }
    }

    /// Puts a secret where the product reads it.
    pub fn secret(&self, name: &str, value: &str) {
        std::fs::write(self.secrets.path().join(name), value).unwrap();
    }

    /// Puts a file where the product may open it.
    pub fn lay(&self, name: &str, text: &str) {
        std::fs::write(self.files.path().join(name), text).unwrap();
    }

    /// The location of such a file.
    pub fn location(&self, name: &str) -> String {
        format!("file://{}/{name}", self.files.path().display())
    }

    /// Brings the routing document without these words into force, BREAKING or not.
    pub fn apply_without(&self, words: &str) {
        let mut sources = routing(&self.receivers);
        assert!(sources.document.contains(words));
        sources.document = sources.document.replace(words, "");
        let said = Said { actor: "test", reason: "test", at: (self.shared.clock)() };
        let (cluster, codec) = (self.shared.cluster.as_ref(), &self.shared.codec);
        apply_routing(cluster, codec, &sources, said, Some("it is a test")).unwrap();
    }

    /// What the receiver of a dispatch reported by callback and heard, once there is that much.
    pub async fn heard(&self, key: &str, count: usize) -> Vec<(String, u16)> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let heard = self.receivers.callbacks().of_key(key);
            if heard.len() >= count {
                return heard.into_iter().map(|heard| (heard.outcome, heard.status)).collect();
            }
            assert!(tokio::time::Instant::now() < until, "{heard:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where the gateway listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.node.as_ref().unwrap().gateway_address().unwrap())
    }

    /// A file's history as text, once it is as wanted.
    pub async fn history(&self, file_id: &str, wanted: impl Fn(&str) -> bool) -> String {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = reqwest::get(format!("{}/v1/files/{file_id}/history", self.url())).await.unwrap().text().await;
            let text = text.unwrap();
            if wanted(&text) {
                return text;
            }
            assert!(tokio::time::Instant::now() < until, "{text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the process and starts another under the same name; it answers, and may not have read anything yet.
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
    let document = document
        .replace("\ntargets:\n", &format!("\ntargets:\n{}", targets(address)))
        .replace("\nroutes:\n", &(ROUTES.to_owned() + &wide_routes()))
        .replace(
            "\npayloads:\n",
            "\npayloads:\n  counted: {body: {rows: \"=size(content)\", first: \"=content[0].id\"}}\n",
        )
        .replace("\nfile_types:\n", FILE_TYPES);
    let files = named_files(&document)
        .into_iter()
        .map(|name| (name.clone(), std::fs::read_to_string(format!("{root}/{name}")).unwrap()))
        .collect();
    Sources { name: "routing.yaml".into(), document, files }
}

/// So many targets of one file that a body of the largest size for each is more than a plan may have.
const WIDE: usize = 80;

fn wide_routes() -> String {
    let route = |n| format!("  - {{to: wide-{n}, when: \"file.type == 'atlas'\", payload: announcement}}\n");
    (0..WIDE).map(route).collect()
}

const FILE_TYPES: &str = "
file_types:
  writ: {}
  atlas: {}
  deed: {}
  lease: {}
  bond: {}
  echo: {}
  receipt: {}
  proof: {}
  sheet: {content: {format: csv, attempts: 3, schedule: [50ms], within: 5s}}
";

const ROUTES: &str = "
routes:
  - {to: counted, when: \"file.type == 'sheet'\", payload: counted}
  - {to: nagging, when: \"file.type == 'writ'\", payload: announcement}
  - {to: silent, when: \"file.type == 'deed'\", payload: announcement}
  - {to: hasty, when: \"file.type == 'lease'\", payload: announcement}
  - {to: signed, when: \"file.type == 'bond'\", payload: announcement}
  - {to: receipted, when: \"file.type == 'receipt'\", payload: announcement}
  - {to: receipted-hold, when: \"file.type == 'receipt'\", payload: announcement}
  - {to: receipted-acks, when: \"file.type == 'receipt'\", payload: announcement}
  - {to: receipted-callback, when: \"file.type == 'proof'\", payload: announcement}
  - {to: echo-basic, when: \"file.type == 'echo'\", payload: announcement}
  - {to: echo-bearer, when: \"file.type == 'echo'\", payload: announcement}
  - {to: echo-oauth2, when: \"file.type == 'echo'\", payload: announcement}
  - {to: echo-webhook, when: \"file.type == 'echo'\", payload: announcement}
";

fn targets(address: &str) -> String {
    let target = |name: &str, callback: &str| {
        let url = format!("http://{address}/{name}");
        format!("  {name}: {{owner: team-{name}, http: {{url: \"{url}\"}}, confirmed_by: {{callback: {callback}}}}}\n")
    };
    let echo = |name: &str, way: &str| {
        let url = format!("http://{address}/{name}");
        format!("  {name}: {{owner: team-{name}, {}}}\n", way.replace("URL", &url))
    };
    let response = "confirmed_by: {response: \"status == 200\"}";
    let plain = |name: &str, more: &str| echo(name, &format!("http: {{url: \"URL\"}}, {response}{more}"));
    let wide: String = (0..WIDE).map(|n| plain(&format!("wide-{n}"), "")).collect();
    let basic = "auth: {basic: {user: consign, password: echo-password}}";
    let oauth2 = format!(
        "auth: {{oauth2: {{token_url: \"http://{address}/issuer\", client_id: consign, client_secret: echo-client}}}}"
    );
    wide + &plain("nagging", ", on_unknown: hold, escalation: {first: 300ms, max: 1h}")
        + &echo("echo-basic", &format!("http: {{url: \"URL\", {basic}}}, {response}"))
        + &echo("echo-bearer", &format!("http: {{url: \"URL\", auth: {{bearer: echo-bearer}}}}, {response}"))
        + &echo("echo-oauth2", &format!("http: {{url: \"URL\", {oauth2}}}, {response}"))
        + &echo("echo-webhook", "webhook: {url: \"URL\", sign_with: echo-key}, confirmed_by: {callback: 1h}")
        + &echo("counted", &format!("http: {{url: \"URL\"}}, {response}"))
        + &plain("receipted", ", receipt: digest, on_unknown: retry, retry: {schedule: [10ms]}")
        + &plain("receipted-hold", ", receipt: digest")
        + &echo("receipted-acks", "http: {url: \"URL\"}, receipt: digest, confirmed_by: {acks: 1h}")
        + &target("receipted-callback", "1h").replace("}\n", ", receipt: digest}\n")
        + &target("silent", "1h")
        + &target("hasty", "200ms").replace("}\n", ", on_overdue: fail}\n")
        + &target("signed", "{within: 1h, verify_with: signed-key}")
}
