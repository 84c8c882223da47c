//! What a target asks for holds for every worker from the first answer that each hears itself, with the bound that decision 82
//! states: after the first such answer at most as many further requests as its `concurrency` allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consign::log::{Append, Appender as _, Headers};
use consign::node::embedded::in_process;
use consign::receiver::{Behaviour, Receivers};
use consign::record::{FileId, State, TargetName, Topic, home_partition};
use consign::routing::Sources;
use consign::transport::{AckTokens, wall_clock};

use crate::world::manifest;

/// Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_mins(4);
const WORKERS: usize = 2;
const CONCURRENCY: usize = 6;
const FILES: usize = 24;
const ASKED_MS: i64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_send_no_more_than_the_concurrency_once_a_target_asks_to_wait() {
    let tokens = Arc::new(AckTokens::new(vec![("k1".into(), b"0123456789abcdef".to_vec())]).unwrap());
    let (shared, cluster) = in_process(tokens, wall_clock()).unwrap();
    // Every first attempt of a file is asked to come later, the second is taken.
    let busy = Behaviour::Sequence(vec![Behaviour::busy("1"), Behaviour::ok()]);
    let behaviours = BTreeMap::from([(TargetName::trusted("busy"), busy)]);
    let receivers = Receivers::start(&tokio::runtime::Handle::current(), behaviours, None).unwrap();
    let document = format!(
        "file_types: {{batch: {{}}}}\npayloads: {{all: {{body: {{id: \"=file.id\"}}}}}}\ntargets:\n  \
         busy: {{owner: team-busy, http: {{url: \"{}\"}}, confirmed_by: {{response: \"status == 200\"}}, \
         on_unknown: retry, concurrency: {CONCURRENCY}, retry: {{schedule: [100ms], attempts: 9}}}}\nroutes:\n  \
         - {{to: busy, payload: all}}\n",
        receivers.url("busy"),
    );
    shared.apply(&Sources { name: "routing.yaml".into(), document, files: BTreeMap::new() }, "test").unwrap();
    let node = shared.start("w", WORKERS, 0).await.unwrap();
    node.ready(PATIENCE).await.unwrap();
    let ids: Vec<String> = (0..FILES).map(|n| format!("file-{n}")).collect();
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
    let view = node.view().unwrap();
    let is_completed = |id: &String| view.file(&FileId::trusted(id)).is_some_and(|f| f.state == State::Completed);
    assert!(view.wait_until(PATIENCE, || ids.iter().all(is_completed)).await);

    let journal = receivers.journal();
    let mut times: Vec<i64> = journal.entries().iter().map(|received| received.received_at.0).collect();
    times.sort_unstable();
    let within = times.iter().filter(|at| **at < times[0] + ASKED_MS).count();
    println!("{within} requests before the time that the first answer named, {} in all", times.len());
    assert!(within <= CONCURRENCY, "{within} requests within the time that the first was asked to wait");
    assert_eq!(times.len(), 2 * FILES, "each file was asked to come again, once");
    node.stop().await;
    receivers.stop().await;
}
