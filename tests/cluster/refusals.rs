//! What `run` refuses to start with: exit code 2 and one clear message; and what it starts with all the same.

use std::time::Duration;

use consign::log::kafka::{TopicOptions, plan_topics};
use consign::log::{Append, Cluster as _};
use consign::node::controls::append_of;
use consign::record::{ActiveRouting, Control, FileId, RoutingBundle, State, Timestamp, Topic, TopicNames};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::world::{HOME_PARTITIONS, PATIENCE, World};

#[track_caller]
fn refused(world: &World, arguments: &[&str], says: &[&str]) {
    let (code, text) = world.run_once(arguments);
    assert_eq!(code, Some(2), "{text}");
    for words in says {
        assert!(text.contains(words), "`{words}` is not in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_refuses_what_is_not_set_up() {
    let world = World::new("refusals");
    world.write("faulty.yaml", "file_types: {batch: {}}\npayloads: {}\ntargets: {}\nroutes: [{to: nowhere}]\n");
    refused(&world, &["--routing", "faulty.yaml"], &["CG402", "faulty.yaml doesn't load", "nowhere"]);
    let other = world.routing().replace("team-quick", "team-other");
    world.write("other.yaml", &other);
    refused(&world, &["--routing", "other.yaml"], &["CG402", "other.yaml is sha256:", "but sha256:", "is in force"]);
    refused(&world, &["--prefix", "nothing-here."], &["CG401", "is missing"]);
    world.write("keyless.toml", &world.configuration_without_keys());
    refused(&world, &["--config", "keyless.toml"], &["[[acks.keys]]"]);
    refused(&world, &["--config", "missing.toml"], &["CG400"]);
    refused(&world, &["--listen", "0.0.0.0:0"], &["tokens"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_refuses_a_document_in_force_that_it_cant_load() {
    let world = World::new("unloadable");
    let by = ("ann", "by another version", Timestamp(1));
    let bundle = RoutingBundle {
        digest: "sha256:later".into(),
        name: "routing.yaml".into(),
        document: "file_types: {batch: {}}\ntargets: {}\nroutes: []\nof_a_later_version: 1\n".into(),
        files: [].into(),
    };
    let active = ActiveRouting { routing_digest: bundle.digest.clone(), breaking_accepted: None, answers: Vec::new() };
    let controls = [Control::keeping(bundle, by), Control::activating(active, by)];
    tokio::task::block_in_place(|| {
        let appends: Vec<Append> = controls.iter().map(|control| append_of(&world.codec, control)).collect();
        world.cluster.change_controls(&mut |_| appends.clone()).unwrap();
    });
    refused(&world, &[], &["CG402", "the routing document in force doesn't load", "of_a_later_version"]);
    world.end().await;
}

fn admin(world: &World) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &world.servers.bootstrap).create().unwrap()
}

/// Sets one setting of a topic, and leaves the others as they must be.
async fn set(world: &World, topic: Topic, key: &str, value: &str) {
    let names = TopicNames::new(world.name(topic).strip_suffix(topic.base_name()).unwrap());
    let retention = Duration::from_hours(30 * 24);
    let specs = plan_topics(&TopicOptions { names, partitions: HOME_PARTITIONS, replication: 1, retention });
    let spec = specs.iter().find(|s| s.topic == topic).unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(&spec.name));
    let change = spec.configs.iter().filter(|(k, _)| **k != key).fold(change, |c, (k, v)| c.set(k, v)).set(key, value);
    let done = admin(world).alter_configs([&change], &AdminOptions::new()).await.unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

/// Waits until `topics check` says that; the broker that is asked may learn of a change a moment later.
async fn until_check_says(world: &World, says: &str) {
    let begun = std::time::Instant::now();
    loop {
        let (_, out, err) = world.run(&["topics", "check"]);
        if out.contains(says) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "`{says}` is not in: {out}{err}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_refuses_settings_that_lose_or_refuse_records() {
    let world = World::new("settings");
    for (topic, key, value) in [
        (Topic::Arrivals, "cleanup.policy", "delete"),
        (Topic::Outcomes, "cleanup.policy", "compact"),
        (Topic::Manifests, "message.timestamp.type", "CreateTime"),
        (Topic::Interventions, "retention.ms", "86400000"),
        (Topic::Acks, "retention.bytes", "1073741824"),
        (Topic::Outcomes, "min.compaction.lag.ms", "0"),
        (Topic::FileState, "delete.retention.ms", "1000"),
        (Topic::Plans, "max.message.bytes", "1000"),
    ] {
        set(&world, topic, key, value).await;
        let says = format!("{}: {key} is {value}, not", world.name(topic));
        until_check_says(&world, &says).await;
        refused(&world, &[], &["CG401", &says, "consign topics apply"]);
        let (code, out, err) = world.run(&["topics", "apply"]);
        assert_eq!(code, Some(0), "{out}{err}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_warns_of_settings_that_lose_nothing() {
    let world = World::new("tolerable");
    let tolerable = [
        (Topic::Manifests, "retention.ms", "-1"),
        (Topic::History, "segment.ms", "600000"),
        (Topic::Attempts, "segment.bytes", "1048576"),
        (Topic::Plans, "unclean.leader.election.enable", "true"),
        (Topic::Arrivals, "min.insync.replicas", "2"),
        (Topic::Controls, "max.message.bytes", "8388608"),
    ];
    for (topic, key, value) in tolerable {
        set(&world, topic, key, value).await;
        until_check_says(&world, &format!("{}: {key} is {value}, not", world.name(topic))).await;
    }
    let (process, log) = world.start_logging("p");
    let log = std::fs::read_to_string(log).unwrap();
    for (topic, key, value) in tolerable {
        let says = format!("{}: {key} is {value}, not", world.name(topic));
        assert!(log.lines().any(|line| line.contains("\"WARN\"") && line.contains(&says)), "`{says}` is not in: {log}");
    }
    assert_eq!(process.stop().code(), Some(0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_to_one_input_stop_nothing() {
    let world = World::new("more-partitions");
    let manifests = world.name(Topic::Manifests);
    let more = usize::try_from(HOME_PARTITIONS + 2).unwrap();
    let added = NewPartitions::new(&manifests, more);
    let done = admin(&world).create_partitions([&added], &AdminOptions::new()).await.unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let says = format!("{manifests} has {more} partitions, not {HOME_PARTITIONS}");
    until_check_says(&world, &says).await;
    assert_eq!(world.run(&["topics", "check"]).0, Some(1), "it is still a difference");
    let (code, out, err) = world.run(&["topics", "apply"]);
    assert_eq!(code, Some(1), "what is left by hand: {out}{err}");
    assert!(out.contains(&format!("left: {says}")), "{out}");

    let (process, log) = world.start_alone("p");
    let log_text = std::fs::read_to_string(log).unwrap();
    assert!(log_text.contains(&says), "{log_text}");
    process.until_ready_says(200, "").await;
    for (n, partition) in [HOME_PARTITIONS, HOME_PARTITIONS + 1].into_iter().enumerate() {
        world.submit_on(&format!("beyond-{n}"), partition).await;
    }
    let begun = std::time::Instant::now();
    let state = |id: &str| world.view.file(&FileId::trusted(id)).map(|file| file.state);
    while (state("beyond-0"), state("beyond-1")) != (Some(State::Completed), Some(State::Completed)) {
        assert!(begun.elapsed() < PATIENCE, "{:?}: {}", process.readyz().await, process.metrics().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(process.metrics().await.contains("consign_forwarded_total{topic=\"manifests\"} 2"));
    // A restart goes on where it was, beyond the homes as well.
    assert_eq!(process.stop().code(), Some(0));
    let (process, _) = world.start_alone("p");
    process.until_ready_says(200, "").await;
    world.submit_on("beyond-2", HOME_PARTITIONS).await;
    while state("beyond-2") != Some(State::Completed) {
        assert!(begun.elapsed() < PATIENCE, "{:?}: {}", process.readyz().await, process.metrics().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(process.stop().code(), Some(0));
    let report = world.verify();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    world.end().await;
}
