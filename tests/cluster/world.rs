//! Processes of the binary, the receivers they send to, and what the topics hold in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::servers::OwnBed;
use crate::setup::{FETCH_WAIT_MS, Setup, config};
use consign::log::kafka::{KafkaCluster, KafkaOptions};
use consign::log::{Append, Appender, Cluster as _, Headers, LogError, Record, TopicPartition};
use consign::receiver::{AckLog, Journal, Receivers};
use consign::record::registry::{HttpRegistry, RegistryAuth};
use consign::record::{
    Codec, FileId, FileManifest, PlannedDispatch, State, Timestamp, Topic, TopicNames, Wire, home_partition,
};
use consign::verify::{Due, Options, Report, Request, check};
use consign::view::View;
use serde_json::{Value, json};

pub const HOME_PARTITIONS: i32 = 6;
/// Only a failing test waits for so long.
pub const PATIENCE: Duration = Duration::from_mins(4);
const CLOCK_SKEW_MS: i64 = 1_000;

/// Where a broker and a registry are.
#[derive(Debug, Clone)]
pub struct Servers {
    pub bootstrap: String,
    pub registry: String,
}

impl Servers {
    /// Those that the environment names.
    pub fn of_environment() -> Self {
        let server = |name: &str| {
            let unset = || panic!("{name} is not set: these tests need servers, and `make test` starts them");
            std::env::var(name).unwrap_or_else(|_| unset())
        };
        Self { bootstrap: server("KAFKA_BOOTSTRAP"), registry: server("SCHEMA_REGISTRY_URL") }
    }
}

impl OwnBed {
    /// Its servers.
    pub fn servers(&self) -> Servers {
        Servers { bootstrap: self.value("KAFKA_BOOTSTRAP"), registry: self.value("SCHEMA_REGISTRY_URL") }
    }

    /// Ends `broker` or `registry` at once, keeping its data.
    pub fn kill(&self, server: &str) {
        self.run("kill", &[server]);
    }

    /// Ends it in good order, keeping its data.
    pub fn halt(&self, server: &str) {
        self.run("halt", &[server]);
    }

    /// Starts it again where it was; returns when it answers.
    pub fn revive(&self, server: &str) {
        self.run("revive", &[server]);
    }
}

/// A process of the binary; dropping it ends it at once.
pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    /// How it has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// What `/readyz` says: the status and the reasons.
    pub async fn readyz(&self) -> (u16, String) {
        let reply = reqwest::get(format!("{}/readyz", self.url)).await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    }

    /// Waits until `/readyz` has this status and says this; gives how long that took.
    pub async fn until_ready_says(&self, status: u16, says: &str) -> Duration {
        let begun = Instant::now();
        loop {
            let (is, said) = self.readyz().await;
            if is == status && said.contains(says) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "{is}: {said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What `/metrics` says.
    pub async fn metrics(&self) -> String {
        reqwest::get(format!("{}/metrics", self.url)).await.unwrap().text().await.unwrap()
    }

    /// Announces a file over HTTP and waits for its end; gives status and answer.
    pub async fn submit_and_wait(&self, file_id: &str) -> (u16, Value) {
        let manifest = json!({"file_id": file_id, "schema_version": 1, "file_type": "batch", "name": file_id,
            "data": {"n": file_id}});
        let reply = reqwest::Client::new().post(format!("{}/v1/files?wait=60s", self.url)).json(&manifest).send().await;
        let reply = reply.unwrap();
        (reply.status().as_u16(), reply.json().await.unwrap())
    }

    /// Runs the binary's client against this process; gives exit code and output.
    pub fn client(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = consign().args(arguments).args(["--url", &self.url]).output().unwrap();
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
    pub servers: Servers,
    pub setup: Setup,
    appender: Arc<dyn Appender>,
    folder: Folder,
    receivers: Receivers,
    /// What a load has announced, in order.
    pub submitted: Mutex<Vec<String>>,
}

/// A folder that goes with its world, unless the test has failed: it has the processes' logs.
struct Folder(Option<tempfile::TempDir>);

impl Folder {
    fn path(&self) -> &Path {
        self.0.as_ref().expect("only dropping takes it").path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take().filter(|_| std::thread::panicking()) {
            eprintln!("the processes' logs are in {}", folder.keep().display());
        }
    }
}

impl World {
    /// A world on the servers that the environment names.
    pub fn new(test: &str) -> Self {
        Self::of(Setup::new(test, Servers::of_environment()))
    }

    /// Sets up schemas, topics and routing document with the commands that a user types.
    pub fn of(setup: Setup) -> Self {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let names = TopicNames::new(format!("{}-{}-{nanos}.", setup.test, std::process::id()));
        let servers = setup.servers.clone();
        let handle = tokio::runtime::Handle::current();
        let registry = HttpRegistry::new(&servers.registry, names.clone(), RegistryAuth::None, handle.clone());
        let codec = Arc::new(Codec::new(Arc::new(registry.unwrap())));
        let mut options = KafkaOptions::new(&servers.bootstrap, names.clone(), format!("{}engine", names.prefix()));
        options.client.insert("fetch.wait.max.ms".to_owned(), FETCH_WAIT_MS.to_owned());
        let cluster = Arc::new(KafkaCluster::new(options).unwrap());
        let appender = cluster.appender().unwrap();
        let acks = AckLog { appender: Arc::clone(&appender), codec: Arc::clone(&codec) };
        let receivers = Receivers::start(&handle, setup.behaviours(), Some(acks)).unwrap();
        let folder = Folder(Some(tempfile::tempdir().unwrap()));
        let store = format!("[store]\ndir = \"{}\"\n", folder.path().join("state").display());
        std::fs::write(folder.path().join("consign.toml"), setup.configuration(&names) + &store).unwrap();
        std::fs::write(folder.path().join("routing.yaml"), setup.routing(&receivers)).unwrap();
        if setup.shipped.is_some() {
            // What the document names stands beside it.
            let linked = std::os::unix::fs::symlink(config().join("examples"), folder.path().join("examples"));
            linked.unwrap();
        }
        let config = folder.path().join("consign.toml");
        for arguments in [["schemas", "register"], ["topics", "apply"], ["topics", "check"], ["schemas", "check"]] {
            run(consign().args(arguments).arg("--config").arg(&config));
        }
        run(consign().args(["routing", "apply"]).arg(folder.path().join("routing.yaml")).arg("--config").arg(&config));
        // Asks the registry, in plain calls.
        tokio::task::block_in_place(|| codec.prepare()).unwrap();
        let view = View::start(Arc::clone(&cluster) as Arc<_>, Arc::clone(&codec)).unwrap();
        Self {
            codec,
            cluster,
            journal: receivers.journal(),
            view,
            names,
            servers,
            setup,
            appender,
            folder,
            receivers,
            submitted: Mutex::default(),
        }
    }

    /// Starts `consign run` with two workers; waits until it says where it listens.
    pub fn start(&self, instance: &str) -> Process {
        self.launch(instance, &["--workers", "2", "--log-level", "warn"], Stdio::inherit())
    }

    /// The same, with what it logs as JSON in a file.
    pub fn start_logging(&self, instance: &str) -> (Process, PathBuf) {
        let path = self.folder.path().join(format!("{instance}.log"));
        let file = std::fs::File::create(&path).unwrap();
        let more = ["--workers", "2", "--log-format", "json", "--log-level", "consign=debug,info"];
        (self.launch(instance, &more, file.into()), path)
    }

    /// The same with one worker, which is assigned everything that it isn't beside others.
    pub fn start_alone(&self, instance: &str) -> (Process, PathBuf) {
        let path = self.folder.path().join(format!("{instance}.log"));
        let file = std::fs::File::create(&path).unwrap();
        (self.launch(instance, &["--workers", "1", "--log-level", "consign=debug,info"], file.into()), path)
    }

    /// The same, with its warnings in a file, behind those of an earlier life.
    pub fn start_quiet(&self, instance: &str) -> Process {
        let path = self.folder.path().join(format!("{instance}.log"));
        let file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        tokio::task::block_in_place(|| self.launch(instance, &["--log-level", "warn"], file.into()))
    }

    /// With some of the roles.
    pub fn start_as(&self, instance: &str, roles: &[&str]) -> Process {
        self.launch(instance, &["--roles", &roles.join(","), "--workers", "2", "--log-level", "warn"], Stdio::inherit())
    }

    fn launch(&self, instance: &str, more: &[&str], log: Stdio) -> Process {
        let mut child = consign()
            .args(["run", "--instance", instance, "--listen", "127.0.0.1:0"])
            .args(more)
            .arg("--config")
            .arg(self.folder.path().join("consign.toml"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.next().expect("`run` says where it listens").unwrap();
        let url = said.split_once("http").map(|(_, rest)| format!("http{rest}")).expect("an address");
        Process { child, url }
    }

    /// Where the process of that name keeps its local state.
    pub fn state_of(&self, instance: &str) -> PathBuf {
        self.folder.path().join("state").join(instance)
    }

    /// Announces a file, as a producer in any language would: keyed by its id, at home.
    pub async fn submit(&self, file_id: &str) {
        self.submit_all([file_id.to_owned()]).await;
    }

    /// The same on a partition of the producer's choice.
    pub async fn submit_on(&self, file_id: &str, partition: i32) {
        self.appender.append(self.announcement(file_id, partition)).await.unwrap();
    }

    /// The files that are COMPLETED, as the view has it.
    pub fn completed(&self) -> usize {
        usize::try_from(self.view.census().files.get(&State::Completed).copied().unwrap_or(0)).unwrap()
    }

    /// Announces many, without waiting for one before the next, and again where the broker doesn't say that it has one.
    pub async fn submit_all(&self, file_ids: impl IntoIterator<Item = String>) {
        let mut under_way = tokio::task::JoinSet::new();
        for file_id in file_ids {
            let home = home_partition(&file_id, self.setup.partitions);
            let (appender, announcement) = (Arc::clone(&self.appender), self.announcement(&file_id, home));
            under_way.spawn(async move {
                let begun = Instant::now();
                while let Err(error) = appender.append(announcement.clone()).await {
                    assert!(matches!(error, LogError::Away(_)) && begun.elapsed() < PATIENCE, "{error:?}");
                }
            });
        }
        while let Some(done) = under_way.join_next().await {
            done.unwrap();
        }
    }

    /// The record by which a producer announces a file.
    pub fn announcement(&self, file_id: &str, partition: i32) -> Append {
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
        Append {
            topic: Topic::Manifests,
            partition: Some(partition),
            key: file_id.as_bytes().to_vec(),
            value: Some(self.codec.encode(&manifest).unwrap()),
            headers: Headers::new(),
        }
    }

    /// Writes a file beside the configuration.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Where a file of its folder is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts another document in force, whose bodies say this.
    pub fn apply_routing(&self, says: &str) {
        let text = self.routing().replace("n: \"=data.n\"", &format!("n: \"=data.n\", says: \"{says}\""));
        self.write("changed.yaml", &text);
        let accept = ["--actor", "ann", "--accept-breaking", says];
        let (code, out, err) = self.run(&[&["routing", "apply", "changed.yaml"], &accept[..]].concat());
        assert_eq!(code, Some(0), "{out}{err}");
    }

    /// Under how many documents files were planned.
    pub fn documents_in_plans(&self) -> usize {
        let plans = self.read(Topic::Plans).into_iter().filter_map(|record| record.value);
        let digest = |value: Vec<u8>| self.codec.decode::<PlannedDispatch>(&value).unwrap().routing_digest;
        tokio::task::block_in_place(|| plans.map(digest).collect::<BTreeSet<_>>()).len()
    }

    /// The routing document in force at first.
    pub fn routing(&self) -> String {
        self.setup.routing(&self.receivers)
    }

    /// The configuration without its last table, the keys of ack tokens.
    pub fn configuration_without_keys(&self) -> String {
        let whole = self.setup.configuration(&self.names);
        whole.split("[[acks.keys]]").next().unwrap().to_owned()
    }

    /// Runs a command on the cluster; gives exit code, standard output and standard error.
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = consign();
        command.current_dir(self.folder.path()).args(arguments).args(["--config", "consign.toml"]);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// Whether the view shows a file as COMPLETED.
    pub fn is_completed(&self, file_id: &str) -> bool {
        self.view.file(&FileId::trusted(file_id)).is_some_and(|file| file.state == State::Completed)
    }

    /// The newest value of a key.
    pub fn newest<T: Wire>(&self, topic: Topic, key: &str) -> T {
        let record = self.read(topic).into_iter().rfind(|r| r.key.as_deref() == Some(key.as_bytes()));
        let value = record.expect("there is one").value.expect("it has a value");
        // The registry may be asked, in plain calls.
        tokio::task::block_in_place(|| self.codec.decode(&value)).unwrap()
    }

    /// Appends a value in the home partition of its key's file; gives its offset.
    pub async fn put<T: Wire>(&self, topic: Topic, key: &str, value: &T) -> i64 {
        let home = home_partition(key.split('/').next().unwrap_or_default(), self.setup.partitions);
        let value = Some(self.codec.encode_for(topic, value).unwrap());
        let append =
            Append { topic, partition: Some(home), key: key.as_bytes().to_vec(), value, headers: Headers::new() };
        self.appender.append(append).await.unwrap().1
    }

    /// Runs `consign run`, which must end by itself; gives exit code and what it said on standard error.
    pub fn run_once(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = consign();
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
            self.servers.bootstrap.clone(),
            "--registry".into(),
            self.servers.registry.clone(),
            "--topic".into(),
            self.names.name(topic),
        ]
    }

    /// Everything on the topics and in the journal, checked against the contract.
    pub fn verify(&self) -> Report {
        self.verify_as(false)
    }

    /// The same after offsets were lost and repaired.
    pub fn verify_reread(&self) -> Report {
        self.clean(self.verify_as(true))
    }

    fn verify_as(&self, inputs_were_reread: bool) -> Report {
        let mut records = Vec::new();
        for topic in Topic::ALL {
            records.extend(self.read(topic));
        }
        let of = |topic: Topic| (0..self.cluster.partitions(topic).unwrap()).map(move |p| (topic, p));
        let inputs: Vec<TopicPartition> = Topic::INPUTS
            .into_iter()
            .flat_map(of)
            .map(|(topic, partition)| TopicPartition { topic, partition })
            .collect();
        let committed = inputs.iter().copied().zip(self.cluster.committed(&inputs).unwrap());
        let options = Options {
            names: self.names.clone(),
            home_partitions: self.setup.partitions,
            max_clock_skew_ms: CLOCK_SKEW_MS,
            default_deadline_ms: 7 * 86_400_000,
            retention_ms: 30 * 86_400_000,
            due: Due::Everything,
            committed: committed.filter_map(|(at, offset)| Some((at, offset?))).collect(),
            every_state: true,
            inputs_were_reread,
        };
        let requests = self.journal.entries().into_iter().map(|received| Request {
            idempotency_key: received.idempotency_key.clone(),
            attempt: received.attempt.expect("every request names its attempt"),
            body_sha256: format!("sha256:{}", received.body_sha256),
            received_at: received.received_at,
        });
        tokio::task::block_in_place(|| check(Arc::clone(&self.codec), options, &records, requests))
    }

    /// The same, which must find nothing broken.
    pub fn verify_clean(&self) -> Report {
        self.clean(self.verify())
    }

    fn clean(&self, report: Report) -> Report {
        let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
        let first = violations[..violations.len().min(20)].join("\n");
        assert!(violations.is_empty(), "{}: {} violations:\n{first}", self.setup.test, violations.len());
        report
    }

    /// What the names of its topics begin with.
    pub fn prefix(&self) -> &str {
        self.names.prefix()
    }

    /// The full name of a topic.
    pub fn name(&self, topic: Topic) -> String {
        self.names.name(topic)
    }

    /// Everything on a topic. A broker that was just started may leave a question unanswered: then all is read again.
    pub fn read(&self, topic: Topic) -> Vec<Record> {
        let begun = Instant::now();
        loop {
            match self.try_read(topic) {
                Ok(records) => return records,
                Err(error) => {
                    assert!(matches!(error, LogError::Away(_)) && begun.elapsed() < PATIENCE, "{error:?}");
                }
            }
        }
    }

    fn try_read(&self, topic: Topic) -> Result<Vec<Record>, LogError> {
        let partitions: Vec<TopicPartition> =
            (0..self.cluster.partitions(topic)?).map(|partition| TopicPartition { topic, partition }).collect();
        let mut reader = self.cluster.reader(&partitions)?;
        let mut records = Vec::new();
        while !reader.at_goal() {
            records.extend(reader.poll(5_000, Duration::from_millis(100))?);
        }
        Ok(records)
    }

    pub async fn end(self) {
        self.receivers.stop().await;
    }
}

/// The binary, led by its configuration alone.
fn consign() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consign"));
    command.env_remove("KAFKA_BOOTSTRAP").env_remove("SCHEMA_REGISTRY_URL");
    command
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
