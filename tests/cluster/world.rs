//! Processes of the binary, the receivers they send to, and what the topics hold in the end.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use consign::log::kafka::{KafkaCluster, KafkaOptions};
use consign::log::{Append, Appender, Cluster as _, Headers, Record, TopicPartition};
use consign::receiver::{AckLog, Behaviour, Journal, Receivers};
use consign::record::registry::{HttpRegistry, RegistryAuth};
use consign::record::{
    Codec, FileId, FileManifest, OutcomeKind, TargetName, Timestamp, Topic, TopicNames, home_partition,
};
use consign::verify::{Due, Options, Report, Request, check};
use consign::view::View;

pub const HOME_PARTITIONS: i32 = 6;
/// Only a failing test waits for so long.
pub const PATIENCE: Duration = Duration::from_mins(4);
const CLOCK_SKEW_MS: i64 = 1_000;

/// A server's address from the environment.
pub fn server(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: these tests need servers, and `make test` starts them"))
}

/// A process of the binary; dropping it ends it at once.
pub struct Process {
    child: Child,
    url: String,
}

impl Process {
    /// Sends a signal by its name.
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Runs the binary's client against this process; gives exit code and output.
    pub fn client(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(binary()).args(arguments).args(["--url", &self.url]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.signal("KILL");
        self.child.wait().unwrap();
    }

    /// SIGTERM; gives how it ended.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is no trouble.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Topics of one test's own, with receivers.
pub struct World {
    pub codec: Arc<Codec>,
    pub cluster: Arc<KafkaCluster>,
    pub journal: Journal,
    pub view: View,
    names: TopicNames,
    appender: Arc<dyn Appender>,
    folder: tempfile::TempDir,
    receivers: Receivers,
}

impl World {
    /// Sets up schemas, topics and routing document with the commands that a user types.
    pub fn new(test: &str) -> Self {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let names = TopicNames::new(format!("{test}-{}-{nanos}.", std::process::id()));
        let handle = tokio::runtime::Handle::current();
        let registry =
            HttpRegistry::new(&server("SCHEMA_REGISTRY_URL"), names.clone(), RegistryAuth::None, handle.clone());
        let codec = Arc::new(Codec::new(Arc::new(registry.unwrap())));
        let options = KafkaOptions::new(server("KAFKA_BOOTSTRAP"), names.clone(), format!("{}engine", names.prefix()));
        let cluster = Arc::new(KafkaCluster::new(options).unwrap());
        let appender = cluster.appender().unwrap();
        let acks = AckLog { appender: Arc::clone(&appender), codec: Arc::clone(&codec) };
        let receivers = Receivers::start(&handle, behaviours(), Some(acks)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("consign.toml"), configuration(&names)).unwrap();
        std::fs::write(folder.path().join("routing.yaml"), routing(&receivers)).unwrap();
        let config = folder.path().join("consign.toml");
        for arguments in [["schemas", "register"], ["topics", "apply"], ["topics", "check"], ["schemas", "check"]] {
            run(Command::new(binary()).args(arguments).arg("--config").arg(&config));
        }
        run(Command::new(binary())
            .args(["routing", "apply"])
            .arg(folder.path().join("routing.yaml"))
            .arg("--config")
            .arg(&config));
        // Asks the registry, in plain calls.
        tokio::task::block_in_place(|| codec.prepare()).unwrap();
        let view = View::start(Arc::clone(&cluster) as Arc<_>, Arc::clone(&codec)).unwrap();
        Self { codec, cluster, journal: receivers.journal(), view, names, appender, folder, receivers }
    }

    /// Starts `consign run` with two workers; waits until it says where it listens.
    pub fn start(&self, instance: &str) -> Process {
        let mut child = Command::new(binary())
            .args(["run", "--instance", instance, "--workers", "2", "--listen", "127.0.0.1:0", "--log-level", "warn"])
            .arg("--config")
            .arg(self.folder.path().join("consign.toml"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.next().expect("`run` says where it listens").unwrap();
        let url = said.split_once("http").map(|(_, rest)| format!("http{rest}")).expect("an address");
        Process { child, url }
    }

    /// Announces a file, as a producer in any language would: keyed by its id, at home.
    pub async fn submit(&self, file_id: &str) {
        let manifest = FileManifest {
            file_id: FileId::trusted(file_id),
            schema_version: 1,
            file_type: "batch".into(),
            name: file_id.into(),
            location: None,
            size: None,
            checksum: None,
            media_type: None,
            attributes: BTreeMap::new(),
            data: Some(format!(r#"{{"n": "{file_id}"}}"#)),
            produced_by: "test".into(),
            produced_at: Timestamp(1_767_225_600_000),
            deadline: None,
        };
        let append = Append {
            topic: Topic::Manifests,
            partition: Some(home_partition(file_id, HOME_PARTITIONS)),
            key: file_id.as_bytes().to_vec(),
            value: Some(self.codec.encode(&manifest).unwrap()),
            headers: Headers::new(),
        };
        self.appender.append(append).await.unwrap();
    }

    /// Writes a file beside the configuration.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// The configuration without its last table, the keys of ack tokens.
    pub fn configuration_without_keys(&self) -> String {
        let whole = configuration(&self.names);
        whole.split("[[acks.keys]]").next().unwrap().to_owned()
    }

    /// Runs `consign run`, which must end by itself; gives exit code and what it said on standard error.
    pub fn run_once(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(binary());
        command.current_dir(self.folder.path()).args(["run", "--log-level", "error"]).args(arguments);
        if !arguments.contains(&"--config") {
            command.args(["--config", "consign.toml"]);
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The options by which another client finds a topic.
    pub fn servers(&self, topic: Topic) -> [String; 6] {
        [
            "--bootstrap".into(),
            server("KAFKA_BOOTSTRAP"),
            "--registry".into(),
            server("SCHEMA_REGISTRY_URL"),
            "--topic".into(),
            self.names.name(topic),
        ]
    }

    /// Everything on the topics and in the journal, checked against the contract.
    pub fn verify(&self) -> Report {
        let mut records = Vec::new();
        for topic in Topic::ALL {
            records.extend(self.read(topic));
        }
        let options = Options {
            names: self.names.clone(),
            home_partitions: HOME_PARTITIONS,
            max_clock_skew_ms: CLOCK_SKEW_MS,
            default_deadline_ms: 7 * 86_400_000,
            retention_ms: 30 * 86_400_000,
            due: Due::Everything,
            committed: BTreeMap::new(),
            every_state: true,
            inputs_were_reread: false,
        };
        let requests = self.journal.entries().into_iter().map(|received| Request {
            idempotency_key: received.idempotency_key.clone(),
            attempt: received.attempt.expect("every request names its attempt"),
            body_sha256: format!("sha256:{}", received.body_sha256),
            received_at: received.received_at,
        });
        tokio::task::block_in_place(|| check(Arc::clone(&self.codec), options, &records, requests))
    }

    /// The full name of a topic.
    pub fn name(&self, topic: Topic) -> String {
        self.names.name(topic)
    }

    /// Everything on a topic.
    pub fn read(&self, topic: Topic) -> Vec<Record> {
        let partitions: Vec<TopicPartition> =
            (0..self.cluster.partitions(topic).unwrap()).map(|partition| TopicPartition { topic, partition }).collect();
        let mut reader = self.cluster.reader(&partitions).unwrap();
        let mut records = Vec::new();
        loop {
            records.extend(reader.poll(5_000, Duration::from_millis(100)).unwrap());
            if reader.at_goal() {
                return records;
            }
        }
    }

    pub async fn end(self) {
        self.receivers.stop().await;
    }
}

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_consign"))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Five targets: at once, after a pause, after a retry, by an ack later, and one that isn't trusted to honour the key.
fn behaviours() -> BTreeMap<TargetName, Behaviour> {
    let ok = Behaviour::ok;
    [
        ("quick", ok()),
        ("slow", Behaviour::stall(Duration::from_millis(20), ok())),
        ("busy", Behaviour::Sequence(vec![Behaviour::busy("0"), ok()])),
        ("acking", Behaviour::ConfirmLater { after: Duration::from_millis(50), kind: OutcomeKind::Succeeded }),
        ("held", ok()),
    ]
    .into_iter()
    .map(|(name, behaviour)| (TargetName::trusted(name), behaviour))
    .collect()
}

fn configuration(names: &TopicNames) -> String {
    format!(
        "[kafka]\nbootstrap = \"{}\"\nprefix = \"{}\"\nsession_timeout = \"6s\"\n\
         [topics]\nhome_partitions = {HOME_PARTITIONS}\nreplication = 1\n\
         [registry]\nurl = \"{}\"\n\
         [[acks.keys]]\nid = \"k1\"\nsecret_file = \"{}\"\n",
        server("KAFKA_BOOTSTRAP"),
        names.prefix(),
        server("SCHEMA_REGISTRY_URL"),
        secret_file().display(),
    )
}

/// Any file with some bytes will do as a secret that all processes share.
fn secret_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("rustfmt.toml")
}

fn routing(receivers: &Receivers) -> String {
    let at = receivers.addr();
    let target = |name: &str, confirmed_by: &str, on_unknown: &str| {
        format!(
            "  {name}: {{owner: team-{name}, http: {{url: \"http://{at}/{name}\"}}, confirmed_by: {confirmed_by}, on_unknown: {on_unknown}}}\n"
        )
    };
    let ok = "{response: \"status == 200\"}";
    let mut text = String::from(
        "file_types: {batch: {}}\npayloads: {all: {body: {n: \"=data.n\"}}}\n\
         target_defaults:\n  retry: {schedule: [200ms], attempts: 6}\n  \
         timeouts: {send_within: 3s, request: 3s, max_clock_skew: 1s}\ntargets:\n",
    );
    text += &target("quick", ok, "retry");
    text += &target("slow", ok, "retry");
    text += &target("busy", ok, "retry");
    text += &target("acking", "{acks: 30s}", "retry");
    text += &target("held", ok, "hold");
    text += "routes:\n";
    for name in ["quick", "slow", "busy", "acking", "held"] {
        text += &format!("  - {{to: {name}, payload: all}}\n");
    }
    text
}
