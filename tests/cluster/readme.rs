//! The README's way on Kafka, run as it is typed: its commands, its producer and its consumer. Only addresses and the prefix of
//! the topics are others, because these servers are shared.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Instant, SystemTime};

use crate::python_env::interpreter;
use crate::world::{PATIENCE, Servers};

/// The blocks of the chapter "On Kafka" in a language.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let chapter = readme.split("\n## ").find(|chapter| chapter.starts_with("On Kafka\n")).expect("a chapter");
    let fence = format!("```{language}\n");
    chapter.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A folder that looks like the sources as far as the blocks look at them.
struct Reader {
    folder: tempfile::TempDir,
    servers: Servers,
    prefix: String,
    gateway: u16,
}

impl Reader {
    fn new() -> Self {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let folder = tempfile::tempdir().unwrap();
        let start = folder.path().join("config/examples/start");
        fs::create_dir_all(&start).unwrap();
        let receiver = free_port().to_string();
        for file in fs::read_dir(root().join("config/examples/start")).unwrap() {
            let file = file.unwrap();
            let text = fs::read_to_string(file.path()).unwrap().replace("8490", &receiver);
            fs::write(start.join(file.file_name()), text).unwrap();
        }
        fs::create_dir_all(folder.path().join("target/release")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_consign"), folder.path().join("target/release/consign"))
            .unwrap();
        let prefix = format!("readme-{}-{nanos}.", std::process::id());
        Self { folder, servers: Servers::of_environment(), prefix, gateway: free_port() }
    }

    /// A shell that types a block.
    fn shell(&self, name: &str, block: &str) -> Command {
        let script = self.folder.path().join(name);
        fs::write(&script, block).unwrap();
        let mut shell = Command::new("/bin/sh");
        shell.arg("-e").arg(script).current_dir(self.folder.path());
        shell.env_remove("KAFKA_BOOTSTRAP").env_remove("SCHEMA_REGISTRY_URL");
        shell
            .env("CONSIGN_KAFKA_BOOTSTRAP", &self.servers.bootstrap)
            .env("CONSIGN_REGISTRY_URL", &self.servers.registry)
            .env("CONSIGN_KAFKA_PREFIX", &self.prefix)
            .env("CONSIGN_GATEWAY_LISTEN", format!("127.0.0.1:{}", self.gateway))
            .env("CONSIGN_URL", format!("http://127.0.0.1:{}", self.gateway));
        shell
    }

    /// Python that runs a block.
    fn python(&self, name: &str, block: &str) -> Command {
        for stated in ["\"127.0.0.1:9092\"", "\"http://127.0.0.1:8081\"", "\"consign."] {
            assert!(block.contains(stated), "{stated} is not in {block}");
        }
        let program = block
            .replace("127.0.0.1:9092", &self.servers.bootstrap)
            .replace("http://127.0.0.1:8081", &self.servers.registry)
            .replace("\"consign.", &format!("\"{}", self.prefix));
        let path = self.folder.path().join(name);
        fs::write(&path, program).unwrap();
        let mut python = Command::new(interpreter());
        python.arg("-u").arg(path);
        python
    }
}

/// A shell with everything that it has started; all of it ends with this.
struct Terminal {
    shell: Child,
    log: PathBuf,
}

impl Terminal {
    fn open(mut shell: Command, log: &Path) -> Self {
        let out = fs::File::create(log).unwrap();
        shell.stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
        Self { shell: shell.spawn().unwrap(), log: log.to_owned() }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // What ended already is no trouble.
        let _ = Command::new("kill").args(["-TERM", "--", &format!("-{}", self.shell.id())]).status();
        let _ = self.shell.wait();
    }
}

#[test]
fn the_readme_works_on_kafka_as_it_is_typed() {
    // Whichever test of this process comes first.
    consign::transport::set_up_tls();
    let reader = Reader::new();
    let [set_up, submit] = &blocks("sh")[..] else { panic!("a block for each terminal: {:?}", blocks("sh")) };
    let mut terminal = Terminal::open(reader.shell("one.sh", set_up), &reader.folder.path().join("one.log"));
    let begun = Instant::now();
    let ready = || -> bool {
        let url = format!("http://127.0.0.1:{}/readyz", reader.gateway);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { reqwest::get(url).await.is_ok_and(|reply| reply.status().is_success()) })
    };
    while !ready() {
        assert!(terminal.shell.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE, "{}", terminal.said());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let submitted = reader.shell("two.sh", submit).output().unwrap();
    let out = String::from_utf8_lossy(&submitted.stdout).into_owned();
    assert!(submitted.status.success(), "{out}{}{}", String::from_utf8_lossy(&submitted.stderr), terminal.said());
    assert!(out.contains("inv-16") && out.contains("COMPLETED"), "{out}");
    assert!(terminal.said().contains("/billing inv-16/billing {"), "the service received it: {}", terminal.said());

    let [publish, join] = &blocks("python")[..] else { panic!("a producer and a consumer") };
    let published = reader.python("publish.py", publish).output().unwrap();
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    let mut joined = reader.python("join.py", join).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(joined.stdout.take().unwrap()).lines();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line).map_err(drop)));
    let mut all = Vec::new();
    while !["inv-16 COMPLETED", "inv-17 COMPLETED"].iter().all(|end| all.iter().any(|l: &String| l.starts_with(end))) {
        match told.recv_timeout(PATIENCE) {
            Ok(line) => all.push(line),
            Err(error) => panic!("{error}: {all:#?}\n{}", terminal.said()),
        }
    }
    joined.kill().unwrap();
    joined.wait().unwrap();
    assert!(terminal.said().contains("/billing inv-17/billing {"), "{}", terminal.said());
}
