//! A target that is down holds up its own files and nobody else's. `make bench-bulkheads` measures it with 10,000 of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consign::log::{Append, Appender, Headers};
use consign::node::Node;
use consign::node::embedded::in_process;
use consign::receiver::{Behaviour, Journal, Receivers};
use consign::record::{Codec, FileId, State, Status, TargetName, Topic, home_partition};
use consign::routing::Sources;
use consign::transport::{AckTokens, wall_clock};

use crate::world::manifest;

/// Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_mins(10);
/// The default capacity of a target.
const CONCURRENCY: usize = 32;
const WORKERS: usize = 2;

struct Bulkheads {
    appender: Arc<dyn Appender>,
    codec: Arc<Codec>,
    node: Node,
    receivers: Receivers,
    journal: Journal,
}

impl Bulkheads {
    /// Files of type `dead` go to a target that breaks down, all others to one that answers at once.
    async fn start() -> Self {
        let tokens = Arc::new(AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).unwrap());
        let (shared, cluster) = in_process(tokens, wall_clock()).unwrap();
        let behaviours = BTreeMap::from([
            (TargetName::trusted("dead"), Behaviour::status(500)),
            (TargetName::trusted("live"), Behaviour::ok()),
        ]);
        let receivers = Receivers::start(&tokio::runtime::Handle::current(), behaviours, None).unwrap();
        let target = |name: &str| {
            let rest = "confirmed_by: {response: \"status == 200\"}, on_unknown: retry, retry: {schedule: [1h]}";
            format!("  {name}: {{owner: team-{name}, http: {{url: \"{}\"}}, {rest}}}\n", receivers.url(name))
        };
        let document = format!(
            "file_types: {{dead: {{}}, live: {{}}}}\npayloads: {{all: {{body: {{id: \"=file.id\"}}}}}}\ntargets:\n{}{}routes:\n  \
             - {{to: dead, when: \"file.type == 'dead'\", payload: all}}\n  \
             - {{to: live, when: \"file.type == 'live'\", payload: all}}\n",
            target("dead"),
            target("live"),
        );
        let sources = Sources { name: "routing.yaml".into(), document, files: BTreeMap::new() };
        shared.apply(&sources, "test").unwrap();
        let node = shared.start("w", WORKERS, 0).await.unwrap();
        let journal = receivers.journal();
        Self { appender: Arc::new(cluster), codec: Arc::clone(&shared.codec), node, receivers, journal }
    }

    async fn announce(&self, file_id: &str, file_type: &str) {
        let append = Append {
            topic: Topic::Manifests,
            partition: Some(home_partition(file_id, 4)),
            key: file_id.as_bytes().to_vec(),
            value: Some(self.codec.encode(&manifest(file_id, file_type)).unwrap()),
            headers: Headers::new(),
        };
        self.appender.append(append).await.unwrap();
    }

    fn state(&self, file_id: &str) -> Option<(State, Status)> {
        let file = self.node.view().unwrap().file(&FileId::trusted(file_id))?;
        Some((file.state, file.dispatches.first()?.status))
    }

    /// Announces files for the dead target and waits until each waits.
    async fn let_wait(&self, count: usize) {
        for n in 0..count {
            self.announce(&format!("dead-{n}"), "dead").await;
        }
        let waits =
            |n: &usize| matches!(self.state(&format!("dead-{n}")), Some((_, Status::Pending | Status::BackingOff)));
        let view = self.node.view().unwrap();
        assert!(view.wait_until(PATIENCE, || (0..count).rev().all(|n| waits(&n))).await);
    }

    /// Announces files for the live target one after the other, each once the one before is COMPLETED; gives how long each took.
    async fn serve(&self, name: &str, count: usize) -> Vec<Duration> {
        let view = self.node.view().unwrap();
        let mut took = Vec::new();
        for n in 0..count {
            let id = format!("{name}-{n}");
            let begun = std::time::Instant::now();
            self.announce(&id, "live").await;
            let completed = || self.state(&id).is_some_and(|(state, _)| state == State::Completed);
            assert!(view.wait_until(PATIENCE, completed).await, "{id}: {:?}", self.state(&id));
            took.push(begun.elapsed());
        }
        took
    }

    /// Waits until `/metrics` has this line.
    async fn shows(&self, line: &str) {
        let url = format!("http://{}/metrics", self.node.gateway_address().unwrap());
        let begun = std::time::Instant::now();
        loop {
            let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
            if text.lines().any(|there| there == line) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "`{line}` is not in: {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        self.node.stop().await;
        self.receivers.stop().await;
    }
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_dead_target_takes_nothing_from_a_live_one() {
    let bulkheads = Bulkheads::start().await;
    bulkheads.let_wait(1_000).await;
    bulkheads.serve("live", 50).await;
    // Ten failures open a worker's breaker; what was on the wire by then comes to its end, and a probe each half minute.
    let entries = bulkheads.journal.entries();
    let asked = entries.iter().filter(|received| received.target == "dead").count();
    assert!(asked <= WORKERS * (10 + CONCURRENCY) + 20, "{asked} requests to a target that is down");
    let waiting = (0..1_000).filter(|n| matches!(bulkheads.state(&format!("dead-{n}")), Some((_, Status::Pending))));
    assert!(waiting.count() >= 1_000 - asked, "what waits has spent nothing");
    bulkheads.shows("consign_open_breakers{target=\"dead\"} 2").await;
    bulkheads.shows("consign_open_breakers{target=\"live\"} 0").await;
    bulkheads.stop().await;
    // How fast a machine is would decide, even if only as a ratio within one run: measured where it is asked for.
    if let Some(count) = std::env::var("BULKHEADS").ok().and_then(|count| count.parse().ok()) {
        measure(count).await;
    }
}

async fn measure(count: usize) {
    let bulkheads = Bulkheads::start().await;
    bulkheads.serve("warm", 200).await;
    let alone = p99(bulkheads.serve("alone", 1_000).await);
    bulkheads.let_wait(count).await;
    let beside = p99(bulkheads.serve("beside", 1_000).await);
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    println!("p99 of a live target: {alone:?} alone, {beside:?} beside {count} that wait: {ratio:.2} times");
    assert!(ratio <= 1.2, "{ratio:.2}");
    bulkheads.stop().await;
}
