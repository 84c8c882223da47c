//! Topics as they must be.

use consign::log::kafka::{Difference, KafkaCluster, TopicOptions, plan_topics};
use consign::log::{Cluster, LogError};
use consign::record::Topic;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use std::time::Duration;

use crate::bed::{BY, Bed, eventually, local_codec};

fn alter(bed: &Bed, topic: Topic, configs: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &bed.options.bootstrap).create().unwrap();
    let name = bed.names.name(topic);
    let change = configs.iter().fold(AlterConfig::new(ResourceSpecifier::Topic(&name)), |c, (k, v)| c.set(k, v));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let results = runtime.block_on(admin.alter_configs([&change], &AdminOptions::new())).unwrap();
    assert!(results.iter().all(Result::is_ok));
}

#[test]
fn apply_makes_what_check_misses_and_then_nothing() {
    let bed = Bed::without_topics("admin-apply", 3);
    let cluster = &bed.cluster;
    let missing = cluster.check(&bed.specs).unwrap();
    assert_eq!(missing.len(), Topic::ALL.len());
    assert!(missing.iter().all(|d| matches!(d, Difference::Missing { .. })));
    assert!(matches!(cluster.partitions(Topic::Plans), Err(LogError::Fatal(_))));
    let planned = cluster.apply(&bed.specs, &local_codec(), BY, true).unwrap();
    assert_eq!(cluster.check(&bed.specs).unwrap(), missing, "a dry run changes nothing");
    let done = cluster.apply(&bed.specs, &local_codec(), BY, false).unwrap();
    assert_eq!(done, planned, "a dry run says what will be done");
    assert_eq!(done.mended.len(), Topic::ALL.len() + 1);
    assert_eq!(cluster.check(&bed.specs).unwrap(), []);
    assert_eq!(cluster.home_partitions(&local_codec()).unwrap(), Some(3));
    assert_eq!((cluster.partitions(Topic::Plans).unwrap(), cluster.partitions(Topic::Controls).unwrap()), (3, 1));
    assert_eq!(cluster.apply(&bed.specs, &local_codec(), BY, false).unwrap().mended, []);
}

#[test]
fn a_setting_that_differs_is_mended_and_others_are_kept() {
    let bed = Bed::new("admin-config", 1);
    let spec = bed.specs.iter().find(|s| s.topic == Topic::Outcomes).unwrap();
    let mut drifted: Vec<(&str, &str)> = spec.configs.iter().map(|(k, v)| (*k, v.as_str())).collect();
    drifted.retain(|(key, _)| *key != "min.compaction.lag.ms");
    drifted.push(("min.compaction.lag.ms", "5"));
    drifted.push(("flush.messages", "77"));
    alter(&bed, Topic::Outcomes, &drifted);
    // The broker that is asked learns of it a moment after the one that was told.
    let found =
        eventually("the drift", || Some(bed.cluster.check(&bed.specs).unwrap()).filter(|found| !found.is_empty()));
    let [Difference::Config { topic, key, is, .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((topic, key.as_str(), is.as_deref()), (&spec.name, "min.compaction.lag.ms", Some("5")));
    assert_eq!(bed.cluster.apply(&bed.specs, &local_codec(), BY, false).unwrap().mended, found);
    assert_eq!(bed.cluster.check(&bed.specs).unwrap(), []);
    let mut with_ours = bed.specs.clone();
    for spec in with_ours.iter_mut().filter(|s| s.topic == Topic::Outcomes) {
        spec.configs.insert("flush.messages", "77".to_owned());
    }
    assert_eq!(bed.cluster.check(&with_ours).unwrap(), [], "what an administrator had set is still set");
}

#[test]
fn the_number_of_partitions_never_changes() {
    let bed = Bed::new("admin-partitions", 2);
    let retention = Duration::from_mins(1);
    let more = plan_topics(&TopicOptions { names: bed.names.clone(), partitions: 4, replication: 1, retention });
    let before = bed.cluster.check(&bed.specs).unwrap();
    for dry_run in [true, false] {
        let error = bed.cluster.apply(&more, &local_codec(), BY, dry_run).unwrap_err();
        assert!(matches!(&error, LogError::Fatal(text) if text.contains("partitions")), "{error:?}");
    }
    assert_eq!(bed.cluster.check(&bed.specs).unwrap(), before, "nothing was changed on the way");
    assert_eq!(bed.cluster.home_partitions(&local_codec()).unwrap(), Some(2));
}

#[test]
fn a_missing_replica_is_reported_and_left() {
    let bed = Bed::new("admin-replicas", 1);
    let mut specs = bed.specs.clone();
    specs[0].replication = 3;
    let done = bed.cluster.apply(&specs, &local_codec(), BY, false).unwrap();
    assert_eq!(done.mended, []);
    assert!(matches!(&done.left[..], [Difference::Replication { is: 1, must: 3, .. }]), "{:?}", done.left);
}

#[test]
fn settings_that_librdkafka_doesnt_know_are_refused_at_once() {
    let mut bed = Bed::without_topics("admin-settings", 1);
    bed.options.client.insert("no.such.setting".into(), "1".into());
    assert!(matches!(KafkaCluster::new(bed.options.clone()), Err(LogError::Fatal(_))));
}

#[test]
fn brokers_that_arent_there_are_away() {
    let mut bed = Bed::without_topics("admin-away", 1);
    bed.options.bootstrap = "127.0.0.1:1".into();
    let cluster = KafkaCluster::new(bed.options.clone()).unwrap();
    assert!(matches!(cluster.partitions(Topic::Plans), Err(LogError::Away(_))));
}
