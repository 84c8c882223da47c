//! What a producer's compression puts on the inboxes, and no topic takes uncompressed.

use consign::engine::reason;
use consign::log::TopicPartition;
use consign::record::{State, Topic, header, home_partition};
use consign::routing::sha256_digest;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::world::{HOME_PARTITIONS, PATIENCE, World};

/// A producer that compresses, and has no limit of its own.
fn compressing_producer(world: &World) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", &world.servers.bootstrap)
        .set("compression.type", "gzip")
        .set("message.max.bytes", "20000000")
        .create()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_inbox_survives_a_record_that_is_too_long() {
    let world = World::new("too-long");
    let process = world.start("p");
    let long = vec![b'x'; 8 << 20];
    let producer = compressing_producer(&world);
    let home = home_partition("file-1", HOME_PARTITIONS);
    let mut sent = 0;
    for topic in [Topic::Manifests, Topic::Acks, Topic::Interventions] {
        // At home and astray.
        for partition in [home, (home + 1) % HOME_PARTITIONS] {
            let name = world.name(topic);
            let record = BaseRecord::to(&name).partition(partition).key("file-1").payload(&long);
            producer.send(record).map_err(|(e, _)| e).unwrap();
            sent += 1;
        }
    }
    producer.flush(PATIENCE).unwrap();
    // Behind each of them, in every partition, something ordinary.
    let file_ids: Vec<String> = (0..30).map(|n| format!("file-{n}")).collect();
    for id in &file_ids {
        world.submit(id).await;
    }
    let done = || world.view.census().files.get(&State::Completed) == Some(&30);
    assert!(world.view.wait_until(PATIENCE, done).await, "{:?}", world.view.census());

    let letters = world.read(Topic::DeadLetters);
    assert_eq!(letters.len(), sent);
    for letter in &letters {
        let text = |name| letter.header(name).map(|v| String::from_utf8(v.to_vec()).unwrap());
        assert_eq!(text(header::REASON).as_deref(), Some(reason::TOO_LONG));
        assert_eq!(text(header::FULL_BYTES), Some(long.len().to_string()));
        assert_eq!(text(header::FULL_SHA256), Some(sha256_digest(&long)));
        let topic = Topic::INPUTS.into_iter().find(|t| Some(world.name(*t)) == text(header::TOPIC)).unwrap();
        let partition: i32 = text(header::PARTITION).unwrap().parse().unwrap();
        let offset: i64 = text(header::OFFSET).unwrap().parse().unwrap();
        let at = TopicPartition { topic, partition };
        let origin = world.read(topic).into_iter().find(|r| r.at == at && r.offset == offset).unwrap();
        assert!(origin.value.unwrap().starts_with(letter.value.as_ref().unwrap()));
    }
    assert_eq!(process.stop().code(), Some(0), "the process lived");
    let report = world.verify();
    let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    world.end().await;
}
