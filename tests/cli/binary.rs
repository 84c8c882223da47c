//! Runs the binary, and keeps a `consign dev` for those who need a gateway.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

pub use crate::answer::check;

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A command of the binary in the repository's root, with nothing of this process's environment that configures it.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consign"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CONSIGN_") || name == "KAFKA_BOOTSTRAP" || name == "SCHEMA_REGISTRY_URL" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("the binary can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

pub fn consign(arguments: &[&str]) -> Ran {
    run(&mut command(arguments))
}

/// Runs a command with a text on its standard input.
pub fn consign_with_input(arguments: &[&str], input: &str) -> Ran {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary can be run");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// An address of this machine where nobody listens.
pub fn closed_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A `consign dev` on a free port; dropping it ends it at once.
pub struct Dev {
    child: Child,
    pub serving: Value,
}

impl Dev {
    /// Waits until it serves.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_logging(arguments, Stdio::inherit())
    }

    /// The same, with what it logs there.
    pub fn start_logging(arguments: &[&str], log: Stdio) -> Self {
        let port = if arguments.contains(&"--port") { &[][..] } else { &["--port", "0"] };
        let arguments = [&["dev", "--output", "json"], port, arguments].concat();
        let mut child = command(&arguments).stdout(Stdio::piped()).stderr(log).spawn().expect("the binary can be run");
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next().expect("dev says where it serves");
        Self { child, serving: check("dev", &line.unwrap()) }
    }

    pub fn url(&self) -> &str {
        self.serving["gateway"].as_str().unwrap()
    }

    /// Runs a client command against it.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(command(arguments).env("CONSIGN_URL", self.url()))
    }

    /// Runs a client command with `--output json`; gives the exit code and the value, checked against the schema.
    #[track_caller]
    pub fn json(&self, schema: &str, arguments: &[&str]) -> (Option<i32>, Value) {
        let ran = self.run(&[arguments, &["--output", "json"]].concat());
        assert!(!ran.out.is_empty(), "{arguments:?}: {ran:?}");
        (ran.code, check(schema, &ran.out))
    }

    /// Submits a manifest of these fields; gives what `submit --wait` did.
    pub fn submit(&self, file_id: &str, file_type: &str, wait: &str) -> Ran {
        let manifest = format!(
            r#"{{"file_id": "{file_id}", "schema_version": 1, "file_type": "{file_type}", "name": "{file_id}"}}"#
        );
        consign_with_input(&["submit", "-", "--wait", wait, "--url", self.url()], &manifest)
    }

    /// Submits a payment, which its target answers with 502, and waits until it is HELD.
    pub fn held(&self, file_id: &str) {
        self.submit_until(file_id, "legacy: HELD");
    }

    /// Submits a payment to a target that is paused, and waits until the engine has planned it.
    pub fn held_back(&self, file_id: &str) {
        self.submit_until(file_id, "legacy: PENDING");
    }

    /// Submits a payment, and waits until its status says so.
    fn submit_until(&self, file_id: &str, says: &str) {
        self.submit(file_id, "payment", "0s");
        let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
        loop {
            let status = self.run(&["status", file_id]);
            if status.out.contains(says) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{file_id} is not {says}: {status:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Sends a signal by its name and gives how it ended.
    pub fn signal(mut self, name: &str) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // One that has ended already is no trouble.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
