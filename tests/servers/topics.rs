//! Topics of a test's own.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

const PATIENCE: Duration = Duration::from_mins(1);

/// Creates a topic, and waits until the broker says so to whoever asks: it answers the creation before it has heard of the topic
/// itself, and until then a record for it is refused. Not from a thread that drives futures.
pub fn create(bootstrap: &str, topic: &str, partitions: i32) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let created = runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
    created.into_iter().for_each(|created| drop(created.unwrap()));
    let (consumer, begun): (BaseConsumer, _) = (config.create().unwrap(), Instant::now());
    while led_partitions(&consumer, topic) < partitions {
        assert!(begun.elapsed() < PATIENCE, "{topic} doesn't come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Partitions of a topic that have a leader.
fn led_partitions(consumer: &BaseConsumer, topic: &str) -> i32 {
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)).unwrap();
    let partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
    i32::try_from(partitions.filter(|p| p.error().is_none() && p.leader() >= 0).count()).unwrap()
}
