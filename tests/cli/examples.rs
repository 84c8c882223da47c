//! The receivers that docs/receivers.md shows: each is passed by `consign certify`, where its language is on the machine.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use standardwebhooks::Webhook;

use crate::binary::{check, command, run};
use crate::faulty::KEY;

#[path = "../../examples/receiver/main.rs"]
mod in_rust;

/// A running receiver; dropping it ends it.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // One that has ended already is no trouble.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/receiver").join(name)
}

/// Whether a tool is on this machine.
fn has(tool: &str, version: &str) -> bool {
    let there = Command::new(tool).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
    there.is_ok_and(|status| status.success())
}

/// Starts an example on a free port; gives it with its URL.
fn start(program: &mut Command, inbox: &Path) -> (Started, String) {
    program.env("WEBHOOK_SECRET", KEY).env("INBOX", inbox).env("PORT", "0");
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let line = BufReader::new(child.stdout.take().unwrap()).lines().next().expect("it says where it listens");
    (Started(child), line.unwrap())
}

/// Certifies it; every check that applies must pass, and nothing be left unseen.
fn certify(url: &str, folder: &Path, inbox: &Path) {
    let key = folder.join("hook.key");
    std::fs::write(&key, KEY).unwrap();
    let effects = format!("ls {} | grep -c -x \"$CONSIGN_WEBHOOK_ID\"", inbox.display());
    let ran = run(&mut command(&[
        "certify",
        url,
        "--sign-with",
        key.to_str().unwrap(),
        "--succeeded",
        "body.result == 'ok'",
        "--effects",
        &effects,
        "--allow-http",
        "--allow-cidr",
        "127.0.0.0/8",
        "--output",
        "json",
    ]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report = check("certify", &ran.out);
    let verdicts = |verdict: &str| {
        let all: Vec<&Value> =
            report["checks"].as_array().unwrap().iter().filter(|c| c["verdict"] == verdict).collect();
        all.len()
    };
    assert_eq!((verdicts("passed"), verdicts("unseen"), verdicts("failed")), (16, 0, 0), "{report:#}");
    // One file for each key that was taken, and nothing half written.
    assert_eq!(std::fs::read_dir(inbox).unwrap().count(), 6);
}

fn passes(program: impl FnOnce(&Path) -> Command) {
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let (started, url) = start(&mut program(folder.path()), &inbox);
    certify(&url, folder.path(), &inbox);
    drop(started);
}

#[test]
fn the_receiver_in_python_passes() {
    passes(|_| {
        let mut python = Command::new("python3");
        python.arg(example("receiver.py"));
        python
    });
}

#[test]
fn the_receiver_in_java_passes() {
    if !has("java", "-version") {
        return eprintln!("there is no Java on this machine");
    }
    passes(|_| {
        let mut java = Command::new("java");
        java.arg(example("Receiver.java"));
        java
    });
}

#[test]
fn the_receiver_in_node_passes() {
    if !has("node", "--version") {
        return eprintln!("there is no Node on this machine");
    }
    passes(|_| {
        let mut node = Command::new("node");
        node.arg(example("receiver.mjs"));
        node
    });
}

#[test]
fn the_receiver_in_go_passes() {
    if !has("go", "version") {
        return eprintln!("there is no Go on this machine");
    }
    passes(|folder| {
        // Built first: what `go run` starts would outlive it.
        let built = folder.join("receiver");
        let made = Command::new("go").arg("build").arg("-o").arg(&built).arg(example("receiver.go")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Command::new(built)
    });
}

#[test]
fn the_receiver_in_rust_passes() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let receiver = in_rust::Receiver { webhook: Webhook::new(KEY).unwrap(), inbox: inbox.clone() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, in_rust::app(receiver)).await });
    certify(&url, folder.path(), &inbox);
}
