//! How long a process takes to come back: with 1 M settled files of history, from the topics alone and with its stores.
//!
//! `make bench-restore` runs it on a broker and a registry of its own; `RESTORE_FILES` and `RESTORE_PARTITIONS` change the
//! size, `RESTORE_BINARY` the binary. One file goes through a real process; its records, under other ids, are the history: as compaction leaves it, an
//! arrival, a plan, an attempt, a history record and a file-state for each file.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use consign::log::kafka::{KafkaCluster, KafkaOptions};
use consign::log::{Append, Cluster as _, Headers, Record, TopicPartition};
use consign::receiver::{Behaviour, Journal, Receivers};
use consign::record::registry::{HttpRegistry, RegistryAuth};
use consign::record::{Codec, FileId, FileManifest, TargetName, Timestamp, Topic, TopicNames, home_partition};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

/// Only a run that fails waits for so long.
const PATIENCE: Duration = Duration::from_mins(20);

/// As long as every id of the history.
const TEMPLATE: &str = "bench-000000000";

struct Bench {
    config: std::path::PathBuf,
    folder: tempfile::TempDir,
    bootstrap: String,
    names: TopicNames,
    cluster: KafkaCluster,
    codec: Codec,
    journal: Journal,
    partitions: i32,
    _receivers: Receivers,
    runtime: tokio::runtime::Runtime,
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn server(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `make bench-restore` starts the servers"))
}

impl Bench {
    fn new(partitions: i32) -> Self {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_nanos();
        let names = TopicNames::new(format!("restore-{nanos}."));
        let (bootstrap, registry) = (server("KAFKA_BOOTSTRAP"), server("SCHEMA_REGISTRY_URL"));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let behaviours = BTreeMap::from([(TargetName::trusted("quick"), Behaviour::ok())]);
        let receivers = Receivers::start(runtime.handle(), behaviours, None).expect("a free port");
        let folder = tempfile::tempdir().expect("a directory");
        let text = format!(
            "[process]\nworkers = 2\nroles = [\"engine\"]\n\
             [kafka]\nbootstrap = \"{bootstrap}\"\nprefix = \"{}\"\nsession_timeout = \"6s\"\n\
             [topics]\nhome_partitions = {partitions}\nreplication = 1\n[registry]\nurl = \"{registry}\"\n\
             [store]\ndir = \"{}\"\n[egress]\nallow_cidrs = [\"127.0.0.0/8\"]\nallow_http = true\n\
             [[acks.keys]]\nid = \"k1\"\nsecret_file = \"{}/rustfmt.toml\"\n",
            names.prefix(),
            folder.path().join("state").display(),
            env!("CARGO_MANIFEST_DIR"),
        );
        let routing = format!(
            "file_types: {{batch: {{}}}}\npayloads: {{all: {{body: {{n: \"=data.n\", text: \"=data.text\"}}}}}}\n\
             targets:\n  quick: {{owner: team-q, http: {{url: \"{}\"}}, confirmed_by: {{response: \"status == 200\"}}, \
             on_unknown: retry}}\nroutes:\n  - {{to: quick, payload: all}}\n",
            receivers.url("quick"),
        );
        std::fs::write(folder.path().join("consign.toml"), text).expect("it can be written");
        std::fs::write(folder.path().join("routing.yaml"), routing).expect("it can be written");
        let handle = runtime.handle().clone();
        let source = HttpRegistry::new(&registry, names.clone(), RegistryAuth::None, handle).expect("a URL");
        let group = format!("{}engine", names.prefix());
        let cluster = KafkaCluster::new(KafkaOptions::new(&bootstrap, names.clone(), group)).expect("a broker");
        let codec = Codec::new(std::sync::Arc::new(source));
        let (config, journal) = (folder.path().join("consign.toml"), receivers.journal());
        Self { config, folder, bootstrap, names, cluster, codec, journal, partitions, _receivers: receivers, runtime }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let binary = std::env::var("RESTORE_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_consign").to_owned());
        let mut command = Command::new(binary);
        command.env_remove("KAFKA_BOOTSTRAP").env_remove("SCHEMA_REGISTRY_URL");
        command.current_dir(self.folder.path()).args(arguments).arg("--config").arg(&self.config);
        command
    }

    fn set_up(&self) {
        for arguments in [&["schemas", "register"][..], &["topics", "apply"], &["routing", "apply", "routing.yaml"]] {
            let output = self.command(arguments).output().expect("the binary is there");
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        self.codec.prepare().expect("the registry is there");
    }

    fn announce(&self, file_id: &str) {
        let manifest = FileManifest {
            file_id: FileId::trusted(file_id),
            schema_version: 1,
            file_type: "batch".into(),
            name: format!("{file_id}.json"),
            location: None,
            size: None,
            checksum: None,
            media_type: None,
            attributes: BTreeMap::from([("region".to_owned(), "north".to_owned())]),
            data: Some(format!(r#"{{"n": "{file_id}", "text": "{}"}}"#, "some words ".repeat(10))),
            produced_by: "bench".into(),
            produced_at: Timestamp(1_767_225_600_000),
            deadline: None,
        };
        let append = Append {
            topic: Topic::Manifests,
            partition: Some(home_partition(file_id, self.partitions)),
            key: file_id.as_bytes().to_vec(),
            value: Some(self.codec.encode(&manifest).expect("the registry is there")),
            headers: Headers::new(),
        };
        let appender = self.cluster.appender().expect("a broker");
        self.runtime.block_on(appender.append(append)).expect("it is appended");
    }

    fn until_requested(&self, file_id: &str) {
        let key = format!("{file_id}/quick");
        let begun = Instant::now();
        while self.journal.of_key(&key).is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{file_id} never came");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The records of the template file, by topic.
    fn template(&self) -> Vec<Record> {
        let partition = home_partition(TEMPLATE, self.partitions);
        let mut newest = BTreeMap::new();
        let at: Vec<TopicPartition> = Topic::RESTORED.iter().map(|t| TopicPartition { topic: *t, partition }).collect();
        let mut reader = self.cluster.reader(&at).expect("a broker");
        while !reader.at_goal() {
            for record in reader.poll(1_000, Duration::from_millis(100)).expect("a broker") {
                newest.insert((record.at.topic, record.key.clone()), record);
            }
        }
        newest.into_values().collect()
    }

    /// Writes the history of so many settled files; gives how many bytes that is for each.
    fn write_history(&self, files: u64) -> usize {
        let template = self.template();
        assert_eq!(template.len(), Topic::RESTORED.len(), "one record on each topic");
        let bytes = template.iter().map(|r| r.key.as_ref().map_or(0, Vec::len) + r.value.as_ref().map_or(0, Vec::len));
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("linger.ms", "50")
            .set("batch.size", "1000000")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "200000")
            .create()
            .expect("legal settings");
        for n in 1..=files {
            let id = format!("bench-{n:09}");
            let partition = home_partition(&id, self.partitions);
            for record in &template {
                let topic = self.names.name(record.at.topic);
                let key = renamed(record.key.as_deref().expect("a key"), &id);
                let value = renamed(record.value.as_deref().expect("a value"), &id);
                let mut next = BaseRecord::to(&topic).partition(partition).key(&key).payload(&value);
                while let Err((error, same)) = producer.send(next) {
                    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                    producer.poll(Duration::from_millis(10));
                    next = same;
                }
            }
            if n % 1_000 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(PATIENCE).expect("a broker");
        bytes.sum()
    }

    fn start(&self) -> Running {
        let begun = Instant::now();
        let mut command = self.command(&["run", "--instance", "b", "--log-format", "json", "--log-level", "info"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary is there");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(said) = serde_json::from_str::<serde_json::Value>(&line)
                    && tell.send((begun.elapsed(), said)).is_err()
                {
                    break;
                }
            }
        });
        Running { child, told }
    }
}

/// A process at work; dropping it ends it.
struct Running {
    child: Child,
    told: Receiver<(Duration, serde_json::Value)>,
}

impl Running {
    /// Waits until so many partitions are at work; gives how many records were read, and when the first restore began and
    /// the last ended, counted from the start.
    fn until_restored(&self, partitions: i32) -> (u64, Duration, Duration) {
        let (mut records, mut first, mut last) = (0, Duration::MAX, Duration::ZERO);
        for _ in 0..partitions {
            let (at, fields) = loop {
                let (at, said) = self.told.recv_timeout(PATIENCE).expect("it goes on");
                let text = said.to_string();
                if text.contains("home partition restored") {
                    break (at, said);
                }
                if said["level"] != "INFO" {
                    println!("  {text}");
                }
            };
            records += fields["records"].as_u64().expect("a number");
            let took = Duration::from_millis(fields["took_ms"].as_u64().expect("a number"));
            first = first.min(at.saturating_sub(took));
            last = last.max(at);
        }
        (records, first, last)
    }

    fn memory(&self, line: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        status.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_default().trim().to_owned()
    }

    /// Seconds of processor time that it has taken.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        // User and system time, in hundredths of a second.
        let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        ticks as f64 / 100.0
    }

    /// kill -9.
    fn kill(mut self) {
        self.child.kill().expect("it is there");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn renamed(bytes: &[u8], id: &str) -> Vec<u8> {
    let (from, to) = (TEMPLATE.as_bytes(), id.as_bytes());
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while at + from.len() <= bytes.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            at += to.len();
        } else {
            at += 1;
        }
    }
    bytes
}

fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// Tells `benches/run` a figure: a line that begins with `FIGURES`, followed by JSON.
fn tell(what: &str, figures: &serde_json::Value) {
    println!("FIGURES {}", serde_json::json!({ what: figures }));
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn main() {
    let files = variable("RESTORE_FILES", 1_000_000);
    let partitions = i32::try_from(variable("RESTORE_PARTITIONS", 6)).expect("few");
    let bench = Bench::new(partitions);
    bench.set_up();
    let process = bench.start();
    bench.announce(TEMPLATE);
    bench.until_requested(TEMPLATE);
    std::thread::sleep(Duration::from_secs(3));
    process.kill();
    let begun = Instant::now();
    let bytes = bench.write_history(files);
    println!("{files} settled files written in {:.0} s, {bytes} bytes each", begun.elapsed().as_secs_f64());

    let state = bench.folder.path().join("state");
    std::fs::remove_dir_all(&state).expect("it was there");
    let process = bench.start();
    let (records, first, last) = process.until_restored(partitions);
    let (seconds, processor) = (last.saturating_sub(first).as_secs_f64(), process.processor_seconds());
    println!(
        "full restore: {records} records in {seconds:.1} s, {:.0} a second; {processor:.1} s of processor time, {:.0} records \
         for each; at work {:.1} s after the start; memory {} (most {})",
        records as f64 / seconds,
        records as f64 / processor,
        last.as_secs_f64(),
        process.memory("VmRSS:"),
        process.memory("VmHWM:"),
    );
    tell(
        "from the topics",
        &serde_json::json!({"files": files, "records": records, "seconds": seconds, "cpu_seconds": processor,
            "at_work_seconds": last.as_secs_f64(), "resident": process.memory("VmRSS:"),
            "peak": process.memory("VmHWM:")}),
    );
    // What was found is in the stores some seconds later.
    std::thread::sleep(Duration::from_secs(10));
    println!("stores: {} MiB", bytes_below(&state) / (1 << 20));
    restart_again_and_again(&bench, process, partitions);
}

/// Kills the process and starts it on its stores, five times, each with a file that waits for it.
fn restart_again_and_again(bench: &Bench, mut process: Running, partitions: i32) {
    for n in 0..5 {
        let id = format!("new-{n}");
        let killed = Instant::now();
        process.kill();
        bench.announce(&id);
        process = bench.start();
        bench.until_requested(&id);
        let handled = killed.elapsed().as_secs_f64();
        let (records, _, last) = process.until_restored(partitions);
        println!(
            "kill -9 and restart: {records} records read, at work after {:.2} s, the first new file's request arrived \
             {handled:.2} s after the kill; memory {}",
            last.as_secs_f64(),
            process.memory("VmRSS:"),
        );
        tell(
            &format!("with its stores, {}", n + 1),
            &serde_json::json!({"records": records, "at_work_seconds": last.as_secs_f64(), "first_request_seconds": handled,
                "cpu_seconds": process.processor_seconds(), "resident": process.memory("VmRSS:"),
                "peak": process.memory("VmHWM:")}),
        );
        std::thread::sleep(Duration::from_secs(4));
    }
}
