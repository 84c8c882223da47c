//! What the contestants share of Kafka: bare clients, outside the product.

use std::time::{Duration, Instant};

use consign::log::Append;
use consign::record::TopicNames;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

/// Longer than anything takes but on a machine that has stopped.
pub const PATIENCE: Duration = Duration::from_mins(10);

/// The settings of every client here.
pub fn settings(kafka: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka).set("client.id", "bench");
    config
}

/// A producer, in transactions where it has an id. Nothing of it is lost silently: deliveries are counted by `drain`.
pub fn producer(kafka: &str, transactional_id: Option<&str>) -> BaseProducer {
    let mut config = settings(kafka);
    config
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", "500000")
        .set("queue.buffering.max.kbytes", "1048576")
        .set("enable.idempotence", "true");
    if let Some(id) = transactional_id {
        config.set("transactional.id", id).set("transaction.timeout.ms", "900000").set("message.timeout.ms", "900000");
    }
    let producer: BaseProducer = config.create().expect("legal settings");
    if transactional_id.is_some() {
        producer.init_transactions(PATIENCE).expect("the broker is there");
    }
    producer
}

/// Hands a record to the producer, waiting while its queue is full.
pub fn send(producer: &BaseProducer, name: &str, partition: i32, key: &[u8], value: &[u8]) {
    let mut record = BaseRecord::<[u8], [u8]>::to(name).key(key).payload(value).partition(partition);
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                rest(producer);
            }
            Err((error, _)) => panic!("{name}: {error}"),
        }
    }
}

/// Hands an append to the producer.
pub fn send_append(producer: &BaseProducer, names: &TopicNames, append: &Append) {
    let partition = append.partition.expect("every record of a workload has its place");
    send(producer, &names.name(append.topic), partition, &append.key, append.value.as_deref().unwrap_or_default());
}

/// Takes in the deliveries that have come, or waits a moment for some; a wait of rdkafka's own would spin.
fn rest(producer: &BaseProducer) {
    let before = producer.in_flight_count();
    producer.poll(Duration::ZERO);
    if producer.in_flight_count() == before {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until everything is delivered.
pub fn drain(producer: &BaseProducer) {
    let began = Instant::now();
    while producer.in_flight_count() > 0 {
        rest(producer);
        assert!(began.elapsed() < PATIENCE, "the broker doesn't take what it is sent");
    }
}
