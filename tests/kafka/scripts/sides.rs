//! The two logs under the same scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use consign::log::kafka::KafkaCluster;
use consign::log::memory::{Fault, FaultPoint, MemoryCluster, MemoryOptions, PendingMarker};
use consign::log::{Append, Cluster, Log, LogError, Position, TopicPartition};
use consign::record::{Timestamp, Topic};
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::groups::{GroupInfo, GroupMemberInfo};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::language::{Fate, PARTITIONS};
use super::runner::Side;
use crate::bed::{BY, Bed, PATIENCE, eventually, local_codec, run};

/// Records that compaction needs behind what it compacts: the last segment of a partition is left alone. The second has the key
/// of the first, so that a round of the cleaner is seen by the first one's going; and what deletes a key goes in the round after
/// that, for which the last one is.
const ROLLS: usize = 4;
/// Milliseconds that no script takes.
const LONG: &str = "600000000";
/// A new segment begins with the first record after this time.
const SEGMENT: Duration = Duration::from_millis(200);

fn roll(at: TopicPartition, compaction: usize, number: usize) -> Append {
    Append {
        topic: at.topic,
        partition: Some(at.partition),
        key: format!("roll-{compaction}-{}", number.max(2)).into_bytes(),
        value: Some(roll_value(compaction, number)),
        headers: Vec::new(),
    }
}

fn roll_value(compaction: usize, number: usize) -> Vec<u8> {
    format!("{compaction}.{number}").into_bytes()
}

/// Whether compaction takes away what deletes a key, too.
fn loses_tombstones(at: TopicPartition) -> bool {
    at.topic == Topic::Plans
}

/// The log in this process.
pub struct InProcess {
    pub cluster: MemoryCluster,
    held: BTreeMap<String, Vec<PendingMarker>>,
    compactions: usize,
}

impl InProcess {
    pub fn new() -> Self {
        let clock = Arc::new(|| Timestamp(1));
        let cluster = MemoryCluster::new(MemoryOptions::new(PARTITIONS, PARTITIONS, clock));
        Self { cluster, held: BTreeMap::new(), compactions: 0 }
    }
}

impl Side for InProcess {
    fn open(&mut self, identity: &str) -> Box<dyn Log> {
        self.cluster.worker(identity).unwrap()
    }

    fn append(&mut self, append: Append) {
        self.cluster.append_now(append).unwrap();
    }

    fn hold(&mut self, id: &str, fate: Fate, writes: Vec<Append>, positions: &[Position]) {
        let fault = match fate {
            Fate::Commit => Fault::Commit { reply_lost: false, late_markers: true },
            Fate::Abort => Fault::Abort { late_markers: true },
            Fate::Leave => Fault::LeftOpen,
        };
        let before = self.cluster.pending_markers();
        self.cluster.faults(Box::new(move |point| match point {
            FaultPoint::Transact { .. } => fault,
            _ => Fault::NONE,
        }));
        // It says what the fault says.
        let _ = self.cluster.transact_with_positions_as(id, writes, positions);
        self.cluster.no_faults();
        let mut markers = self.cluster.pending_markers();
        markers.retain(|marker| !before.contains(marker));
        self.held.insert(id.to_owned(), markers);
    }

    fn land(&mut self, id: &str) {
        for marker in self.held.remove(id).expect("it is held") {
            assert!(self.cluster.land_marker(marker));
        }
    }

    fn fence(&mut self, id: &str) {
        self.cluster.fence_producer(id);
    }

    fn expire(&mut self, identity: &str) {
        self.cluster.expire(identity);
    }

    fn compact(&mut self, at: TopicPartition) {
        self.compactions += 1;
        for number in 1..=ROLLS {
            self.append(roll(at, self.compactions, number));
        }
        self.cluster.compact(at, loses_tombstones(at)).unwrap();
    }

    fn delete(&mut self, at: TopicPartition, before: i64) {
        self.cluster.delete_before(at, before).unwrap();
    }

    fn wait(&self) -> Duration {
        Duration::ZERO
    }
}

/// Topics on the broker, for one script after another.
pub struct Lane {
    bed: Bed,
    producer: BaseProducer,
    runs: usize,
    /// Topics whose compaction a script has asked for.
    compacting: BTreeSet<Topic>,
}

/// One script's use of a lane: a group and identities of its own.
pub struct OnBroker<'a> {
    lane: &'a mut Lane,
    cluster: KafkaCluster,
    observer: BaseConsumer,
    held: BTreeMap<String, (BaseProducer, Fate)>,
    run: usize,
    compactions: usize,
}

impl Lane {
    pub fn new(name: &str) -> Self {
        let mut bed = Bed::without_topics(name, PARTITIONS);
        for spec in bed.specs.iter_mut().filter(|spec| matches!(spec.topic, Topic::History | Topic::Plans)) {
            let kept = if spec.topic == Topic::Plans { "0" } else { LONG };
            spec.configs.insert("cleanup.policy", "compact".into());
            spec.configs.insert("segment.ms", SEGMENT.as_millis().to_string());
            spec.configs.insert("min.cleanable.dirty.ratio", "0".into());
            spec.configs.insert("min.compaction.lag.ms", LONG.into());
            spec.configs.insert("delete.retention.ms", kept.into());
        }
        bed.cluster.apply(&bed.specs, &local_codec(), BY, false).unwrap();
        let producer = bed.raw_producer(None);
        Self { bed, producer, runs: 0, compacting: BTreeSet::new() }
    }

    /// Sets for how long a topic's records are left alone.
    fn compact_after(&self, topic: Topic, millis: &str) {
        let spec = self.bed.specs.iter().find(|spec| spec.topic == topic).unwrap();
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(&spec.name));
        for (key, value) in &spec.configs {
            change = change.set(key, if *key == "min.compaction.lag.ms" { millis } else { value });
        }
        let done = run(self.bed.admin().alter_configs([&change], &AdminOptions::new())).unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }

    /// Who looks on: in a group of its own.
    pub fn observer(&self) -> Box<dyn Log> {
        let mut options = self.bed.options.clone();
        options.group += "-observer";
        KafkaCluster::new(options).unwrap().worker("observer").unwrap()
    }

    /// Begins the next script.
    pub fn next(&mut self) -> OnBroker<'_> {
        self.runs += 1;
        let mut options = self.bed.options.clone();
        options.group += &format!("-{}", self.runs);
        // On a busy machine a transaction may take long, and isn't to be taken for one of which something was repeated:
        // a producer of a later epoch isn't reached by a fence before it.
        options.repeated_after = Duration::from_secs(20);
        let observer = ClientConfig::new()
            .set("bootstrap.servers", &options.bootstrap)
            .set("group.id", &options.group)
            .create()
            .unwrap();
        let cluster = KafkaCluster::new(options).unwrap();
        for topic in std::mem::take(&mut self.compacting) {
            self.compact_after(topic, LONG);
        }
        let run = self.runs;
        OnBroker { lane: self, cluster, observer, held: BTreeMap::new(), run, compactions: 0 }
    }
}

impl OnBroker<'_> {
    fn id(&self, id: &str) -> String {
        format!("{id}-{}", self.run)
    }

    fn transactional(&self, id: &str) -> BaseProducer {
        self.lane.bed.raw_producer(Some(&format!("{}{}", self.lane.bed.names.prefix(), self.id(id))))
    }

    fn send(&self, producer: &BaseProducer, append: &Append) {
        let name = self.lane.bed.names.name(append.topic);
        let mut record = BaseRecord::<[u8], [u8]>::to(&name).key(&append.key);
        record.partition = append.partition;
        record.payload = append.value.as_deref();
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    /// Waits until the cleaner has been at a partition, unless a transaction that is open keeps it from there.
    fn await_the_cleaner(&self, at: TopicPartition) {
        let [first, last] = [1, ROLLS - 1].map(|number| Some(roll_value(self.compactions, number)));
        eventually("a round of the cleaner", || {
            let records = self.lane.bed.read(&[at]);
            let is_blocked = !records.iter().any(|record| record.value == last);
            (is_blocked || !records.iter().any(|record| record.value == first)).then_some(())
        });
    }

    fn positions(&self, positions: &[Position]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (at, offset) in positions {
            let name = self.lane.bed.names.name(at.topic);
            list.add_partition_offset(&name, at.partition, Offset::Offset(*offset)).unwrap();
        }
        list
    }
}

impl Side for OnBroker<'_> {
    fn open(&mut self, identity: &str) -> Box<dyn Log> {
        let begun = Instant::now();
        loop {
            match self.cluster.worker(&self.id(identity)) {
                Ok(worker) => return worker,
                Err(error) => {
                    assert!(matches!(error, LogError::Away(_)) && begun.elapsed() < PATIENCE, "{error:?}");
                }
            }
        }
    }

    fn append(&mut self, append: Append) {
        self.send(&self.lane.producer, &append);
        self.lane.producer.flush(PATIENCE).unwrap();
    }

    fn hold(&mut self, id: &str, fate: Fate, writes: Vec<Append>, positions: &[Position]) {
        let producer = self.transactional(id);
        producer.begin_transaction().unwrap();
        writes.iter().for_each(|write| self.send(&producer, write));
        producer.flush(PATIENCE).unwrap();
        if !positions.is_empty() {
            let group = self.observer.group_metadata().unwrap();
            producer.send_offsets_to_transaction(&self.positions(positions), &group, PATIENCE).unwrap();
        }
        self.held.insert(id.to_owned(), (producer, fate));
    }

    fn land(&mut self, id: &str) {
        let (producer, fate) = self.held.remove(id).expect("it is held");
        match fate {
            Fate::Commit => producer.commit_transaction(PATIENCE).unwrap(),
            Fate::Abort => producer.abort_transaction(PATIENCE).unwrap(),
            Fate::Leave => panic!("{id} is left open"),
        }
        // The next producer begins once the markers are where they belong.
        self.fence(id);
    }

    fn fence(&mut self, id: &str) {
        drop(self.transactional(id));
    }

    /// It ends by itself; here it is waited for.
    fn expire(&mut self, identity: &str) {
        let (group, member) = (self.cluster.options().group.clone(), format!("{}-", self.id(identity)));
        eventually("the end of a session", || {
            std::thread::sleep(self.wait());
            let groups = self.observer.fetch_group_list(Some(&group), PATIENCE).ok()?;
            let mut members = groups.groups().iter().flat_map(GroupInfo::members);
            (!members.any(|one: &GroupMemberInfo| one.id().starts_with(&member))).then_some(())
        });
    }

    fn compact(&mut self, at: TopicPartition) {
        self.lane.compact_after(at.topic, "0");
        self.lane.compacting.insert(at.topic);
        self.compactions += 1;
        for number in 1..=ROLLS {
            std::thread::sleep(SEGMENT * 2);
            if number == ROLLS && loses_tombstones(at) {
                self.await_the_cleaner(at);
            }
            self.append(roll(at, self.compactions, number));
        }
    }

    fn delete(&mut self, at: TopicPartition, before: i64) {
        let list = self.positions(&[(at, before)]);
        let done = run(self.lane.bed.admin().delete_records(&list, &AdminOptions::new())).unwrap();
        assert!(done.elements().iter().all(|element| element.error().is_ok()), "{done:?}");
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(50)
    }
}
