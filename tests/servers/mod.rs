//! The servers that tests need: those of the environment, or a test bed of a test's own that it may break.

// Two suites share it, and neither needs all of it.
#[allow(dead_code)]
pub mod proxy;
pub mod topics;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A broker of a test's own, and a registry of its own if it breaks that too; else the others' one. They end with it.
pub struct OwnBed {
    folder: tempfile::TempDir,
}

impl OwnBed {
    // Only one of the suites breaks registries.
    #[allow(dead_code)]
    pub fn start() -> Self {
        Self::of(&[])
    }

    pub fn of_a_broker() -> Self {
        Self::of(&["open", "borrow"])
    }

    fn of(kind: &[&str]) -> Self {
        let bed = Self { folder: tempfile::tempdir().unwrap() };
        bed.run("start", kind);
        bed
    }

    /// One whose broker wants TLS, SASL or certificates, and permits nothing but by ACLs.
    // Only one of the suites has tests of it.
    #[allow(dead_code)]
    pub fn start_secured() -> Self {
        Self::of(&["secured", "borrow"])
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

    /// Runs a command of `scripts/testbed` on it.
    pub fn run(&self, command: &str, more: &[&str]) {
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
