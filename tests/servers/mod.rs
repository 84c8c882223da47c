//! The servers that tests need: those of the environment, or a test bed of a test's own that it may break.

use std::path::{Path, PathBuf};
use std::process::Command;

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

/// A broker and a registry of a test's own. They end with it.
pub struct OwnBed {
    folder: tempfile::TempDir,
}

impl OwnBed {
    pub fn start() -> Self {
        let bed = Self { folder: tempfile::tempdir().unwrap() };
        bed.run("start", &[]);
        bed
    }

    /// Its servers.
    pub fn servers(&self) -> Servers {
        Servers { bootstrap: self.value("KAFKA_BOOTSTRAP"), registry: self.value("SCHEMA_REGISTRY_URL") }
    }

    /// Ends `broker` or `registry` at once, keeping its data.
    pub fn kill(&self, server: &str) {
        self.run("kill", &[server]);
    }

    /// Starts it again where it was; returns when it answers.
    pub fn revive(&self, server: &str) {
        self.run("revive", &[server]);
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("bed")
    }

    /// A value of its environment.
    pub fn value(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.directory().join("env")).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
        value.unwrap_or_else(|| panic!("the test bed has no {name}"))
    }

    fn run(&self, command: &str, more: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/testbed");
        let output =
            Command::new("python3").arg(script).arg(command).arg(self.directory()).args(more).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for OwnBed {
    fn drop(&mut self) {
        self.run("stop", &[]);
    }
}
