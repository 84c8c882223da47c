//! What a target asks for, and that it is down, holds for every worker from the first answers that each hears itself, with the
//! bounds that decision 82 states.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consign::log::{Append, Appender as _, Headers};
use consign::node::Node;
use consign::node::embedded::in_process;
use consign::receiver::{Behaviour, Receivers};
use consign::record::{FileId, State, Status, TargetName, Topic, home_partition};
use consign::routing::Sources;
use consign::transport::{AckTokens, wall_clock};

use crate::world::manifest;

/// Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_mins(4);
const WORKERS: usize = 2;
const ASKED_MS: i64 = 1_000;
/// How long a breaker is open first.
const OPEN_MS: i64 = 30_000;

/// Two workers, files for one target, and the receiver that plays it.
struct Rig {
    node: Node,
    receivers: Receivers,
    ids: Vec<String>,
}

impl Rig {
    /// Announces some files; the target has this concurrency and retries by this schedule.
    async fn start(behaviour: Behaviour, files: usize, concurrency: usize, schedule: &str) -> Self {
        let tokens = Arc::new(AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).unwrap());
        let (shared, cluster) = in_process(tokens, wall_clock()).unwrap();
        let behaviours = BTreeMap::from([(TargetName::trusted("busy"), behaviour)]);
        let receivers = Receivers::start(&tokio::runtime::Handle::current(), behaviours, None).unwrap();
        let document = format!(
            "file_types: {{batch: {{}}}}\npayloads: {{all: {{body: {{id: \"=file.id\"}}}}}}\ntargets:\n  \
             busy: {{owner: team-busy, http: {{url: \"{}\"}}, confirmed_by: {{response: \"status == 200\"}}, \
             on_unknown: retry, concurrency: {concurrency}, retry: {{schedule: [{schedule}], attempts: 9}}}}\nroutes:\n  \
             - {{to: busy, payload: all}}\n",
            receivers.url("busy"),
        );
        shared.apply(&Sources { name: "routing.yaml".into(), document, files: BTreeMap::new() }, "test").unwrap();
        let node = shared.start("w", WORKERS, 0).await.unwrap();
        node.ready(PATIENCE).await.unwrap();
        let ids: Vec<String> = (0..files).map(|n| format!("file-{n}")).collect();
        for id in &ids {
            let append = Append {
                topic: Topic::Manifests,
                partition: Some(home_partition(id, 4)),
                key: id.as_bytes().to_vec(),
                value: Some(shared.codec.encode(&manifest(id, "batch")).unwrap()),
                headers: Headers::new(),
            };
            cluster.append(append).await.unwrap();
        }
        Self { node, receivers, ids }
    }

    /// When requests came, in order.
    fn times(&self) -> Vec<i64> {
        let mut times: Vec<i64> =
            self.receivers.journal().entries().iter().map(|received| received.received_at.0).collect();
        times.sort_unstable();
        times
    }

    async fn stop(self) {
        self.node.stop().await;
        self.receivers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_send_no_more_than_the_concurrency_once_a_target_asks_to_wait() {
    // Every first attempt of a file is asked to come later, the second is taken.
    let busy = Behaviour::Sequence(vec![Behaviour::busy("1"), Behaviour::ok()]);
    let rig = Rig::start(busy, 24, 6, "100ms").await;
    let view = rig.node.view().unwrap();
    let is_completed = |id: &String| view.file(&FileId::trusted(id)).is_some_and(|f| f.state == State::Completed);
    assert!(view.wait_until(PATIENCE, || rig.ids.iter().all(is_completed)).await);

    let times = rig.times();
    let within = times.iter().filter(|at| **at < times[0] + ASKED_MS).count();
    println!("{within} requests before the time that the first answer named, {} in all", times.len());
    assert!(within <= 6, "{within} requests within the time that the first was asked to wait");
    assert_eq!(times.len(), 2 * rig.ids.len(), "each file was asked to come again, once");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_gets_ten_requests_of_each_worker_and_what_is_on_the_wire() {
    // More files than the two breakers take to open, wherever they are at home.
    let rig = Rig::start(Behaviour::status(502), 200, 6, "1h").await;
    let metrics = format!("http://{}/metrics", rig.node.gateway_address().unwrap());
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let text = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
        if text.contains("consign_open_breakers{target=\"busy\"} 2") {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let view = rig.node.view().unwrap();
    let with = |status| {
        let file = |id: &&String| view.file(&FileId::trusted(id)).is_some_and(|f| f.dispatches[0].status == status);
        rig.ids.iter().filter(file).count()
    };
    // What was on the wire has been judged; the others wait, and spend nothing.
    assert!(view.wait_until(PATIENCE, || with(Status::BackingOff) + with(Status::Pending) == rig.ids.len()).await);
    let unspent = |id: &&String| view.file(&FileId::trusted(id)).is_some_and(|f| f.dispatches[0].attempts == 0);
    assert_eq!(rig.ids.iter().filter(unspent).count(), with(Status::Pending));

    let times = rig.times();
    // No probe leaves within this time, whenever the second breaker opened.
    let before_probes = times.iter().filter(|at| **at < times[9] + OPEN_MS).count();
    println!("{before_probes} requests before the first probe, {} in all", times.len());
    // Ten of each worker, and what is on the wire as its tenth answer comes: `concurrency` of all workers together.
    assert!(times.len() >= 20 && before_probes <= 26, "{before_probes} requests to a target that is down");
    rig.stop().await;
}
