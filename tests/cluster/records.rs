//! Kafka targets whose records are part of the authorizing transaction, on a real broker, through a `kill -9`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use consign::record::{FileId, Status};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::servers::topics;
use crate::setup::Setup;
use crate::world::{PATIENCE, Process, Servers, World};

const BEFORE: usize = 50;
const FILES: usize = 600;
pub const PARTITIONS: i32 = 3;

pub fn file_id(n: usize) -> String {
    format!("file-{n:04}")
}

pub fn create(world: &World, topic: &str) {
    tokio::task::block_in_place(|| topics::create(&world.servers.bootstrap, topic, PARTITIONS));
}

/// How often a read-committed reader finds each attempt on a topic, by its headers.
pub fn attempts(world: &World, topic: &str) -> BTreeMap<String, usize> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &world.servers.bootstrap).set("group.id", "nobody");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.set("enable.auto.commit", "false").create().unwrap();
    let mut list = TopicPartitionList::new();
    (0..PARTITIONS).for_each(|p| list.add_partition_offset(topic, p, Offset::Beginning).unwrap());
    consumer.assign(&list).unwrap();
    let (mut found, mut at_end, begun) = (BTreeMap::new(), 0, Instant::now());
    while at_end < PARTITIONS {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let headers = message.headers().unwrap();
                let header = |name| {
                    let value = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
                    String::from_utf8_lossy(value.unwrap()).into_owned()
                };
                *found.entry(format!("{}/{}", header("idempotency-key"), header("consign-attempt"))).or_default() += 1;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => at_end += 1,
            Some(Err(error)) => panic!("{error}"),
            None => assert!(begun.elapsed() < PATIENCE),
        }
    }
    found
}

pub fn with_status(world: &World, target: &str, status: Status) -> usize {
    let is = |n: &usize| {
        let file = world.view.file(&FileId::trusted(&file_id(*n)));
        file.is_some_and(|file| file.dispatches.iter().any(|d| d.target.as_str() == target && d.status == status))
    };
    (0..FILES).filter(is).count()
}

/// Has every file go to these targets too, each a topic whose records are part of the authorizing transaction.
pub fn route_to(world: &World, topics: &[(&str, String)]) {
    let mut document = world.routing();
    for (name, topic) in topics {
        let target = format!(
            "  {name}: {{owner: team-{name}, kafka: {{topic: {topic}, in_transaction: true}}, confirmed_by: transport, \
             on_unknown: hold}}\nroutes:\n  - {{to: {name}, payload: all}}\n"
        );
        document = document.replace("routes:\n", &target);
    }
    world.write("records.yaml", &document);
    let accept = ["--actor", "ann", "--accept-breaking", "more targets"];
    let (code, out, err) = world.run(&[&["routing", "apply", "records.yaml"], &accept[..]].concat());
    assert_eq!(code, Some(0), "{out}{err}");
}

/// How many workers of a process have an open breaker for a target.
pub async fn open_breakers(process: &Process, target: &str) -> i32 {
    let shown = format!("consign_open_breakers{{target=\"{target}\"}} ");
    let metrics = process.metrics().await;
    let open = metrics.lines().find_map(|line| line.strip_prefix(&shown)?.parse().ok());
    open.unwrap_or_else(|| panic!("no {shown} in {metrics}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_there_once_and_a_missing_topic_stops_nobody_else() {
    let world = World::of(Setup { targets: vec!["quick"], ..Setup::new("in-transaction", Servers::of_environment()) });
    let topics = ["books", "ledger"].map(|name| (name, format!("{}in.{name}", world.prefix())));
    route_to(&world, &topics);
    create(&world, &topics[0].1);

    let a = world.start_quiet("a");
    world.submit_all((0..BEFORE).map(file_id)).await;
    let neighbours =
        || with_status(&world, "books", Status::Succeeded) + with_status(&world, "quick", Status::Succeeded);
    assert!(world.view.wait_until(PATIENCE, || neighbours() == 2 * BEFORE).await, "{}", neighbours());
    assert_eq!(with_status(&world, "ledger", Status::Pending), BEFORE, "what waits spends nothing");
    assert!(open_breakers(&a, "ledger").await > 0);

    create(&world, &topics[1].1);
    world.submit_all((BEFORE..FILES).map(file_id)).await;
    let booked = || with_status(&world, "books", Status::Succeeded);
    assert!(world.view.wait_until(PATIENCE, || booked() >= FILES / 3).await, "{}", booked());
    a.kill();
    let at_the_kill = booked();
    let a = world.start_quiet("a");
    let completed = || (0..FILES).filter(|n| world.is_completed(&file_id(*n))).count();
    assert!(world.view.wait_until(PATIENCE, || completed() == FILES).await, "{} of {FILES}", completed());
    println!("killed when {at_the_kill} of {FILES} were in the books");
    assert_eq!(a.stop().code(), Some(0));
    for (name, topic) in &topics {
        let found = attempts(&world, topic);
        let expected: BTreeMap<String, usize> = (0..FILES).map(|n| (format!("{}/{name}/1", file_id(n)), 1)).collect();
        assert_eq!(found, expected, "{topic}");
    }
    world.verify_clean();
    world.end().await;
}
