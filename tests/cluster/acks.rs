//! `consign receiver` and `consign certify` through the acks topic of a real broker.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::answer::check;
use crate::setup::Setup;
use crate::world::{Servers, World};

/// A receiver; dropping it ends it at once.
struct Receiver {
    child: Child,
    url: String,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn start(world: &World, script: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_consign"))
            .args(["receiver", "--acks", "--listen", "127.0.0.1:0", "--output", "json", "--script", script, "--config"])
            .arg(world.path("consign.toml"))
            .env_remove("KAFKA_BOOTSTRAP")
            .env_remove("SCHEMA_REGISTRY_URL")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = check("receiver", &said.next().expect("it says where it listens").unwrap());
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let all = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in said.map_while(Result::ok) {
                all.lock().unwrap().push(check("receiver", &line));
            }
        });
        Self { child, url: format!("{}/receiver", listening["url"].as_str().unwrap()), lines }
    }

    /// Certifies it; gives the exit code, and the names of the checks with a verdict.
    fn certified(&self, world: &World, wait: &str) -> (Option<i32>, Value) {
        let arguments = ["certify", &self.url, "--acks", "--wait", wait, "--linger", "3s", "--output", "json"];
        let (code, out, err) = world.run(&arguments);
        assert!(!out.is_empty(), "{code:?}: {err}");
        (code, check("certify", &out))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // One that has ended already is no trouble.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with<'r>(report: &'r Value, verdict: &str) -> Vec<&'r str> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == verdict);
    checks.map(|check| check["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_confirms_through_the_acks_topic_and_is_certified_by_what_stands_there() {
    let world = World::of(Setup { targets: vec!["quick"], ..Setup::new("acks", Servers::of_environment()) });
    // As it should; and late and twice, which is right as well.
    for script in ["", "receiver: 202 then succeeded after 1s then succeeded x20"] {
        let receiver = Receiver::start(&world, script);
        let (code, report) = receiver.certified(&world, "60s");
        assert_eq!((code, report["confirmed_by"].as_str()), (Some(0), Some("acks")), "{report:#}");
        assert_eq!(with(&report, "failed"), Vec::<&str>::new());
        for passed in ["confirmation", "confirmation_once", "confirmation_reference", "confirmation_digest", "report"] {
            assert!(with(&report, "passed").contains(&passed), "{report:#}");
        }
        let lines = receiver.lines.lock().unwrap();
        let acked = lines.iter().filter(|line| line["what"] == "ack").count();
        assert!(acked >= 2, "{lines:#?}");
    }
    for (script, failed) in [
        ("receiver: 202 x20", "confirmation"),
        ("receiver: 202 then rejected x20", "confirmation"),
        ("receiver: 202 then succeeded then rejected x20", "confirmation_once"),
    ] {
        let receiver = Receiver::start(&world, script);
        let (code, report) = receiver.certified(&world, "5s");
        assert_eq!(code, Some(1), "{script}: {report:#}");
        assert!(with(&report, "failed").contains(&failed), "{script}: {report:#}");
    }
    world.end().await;
}
