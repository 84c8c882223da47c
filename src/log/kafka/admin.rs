//! The topics as they must be, what differs from that, and how it is mended.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;

use super::client::{ASK_AGAIN, REQUEST, Tracing, settings, triage};
use super::{KafkaCluster, controls};
use crate::log::{Append, Cluster, LogError, max_record_bytes};
use crate::record::registry::RegistryError;
use crate::record::{CleanUp, Codec, Control, HOME_PARTITIONS, Timestamp, Topic, TopicNames};

const DAY: Duration = Duration::from_hours(24);
/// How much longer than the retention an inbox keeps its records, and how long tombstones stay.
const MARGIN: Duration = Duration::from_hours(7 * 24);

/// What the table of topics depends on.
#[derive(Debug, Clone)]
pub struct TopicOptions {
    /// The topics' names.
    pub names: TopicNames,
    /// Partitions of every topic but `controls`, which has one.
    pub partitions: i32,
    /// Replicas of every partition; 1 for a single broker.
    pub replication: i32,
    /// How long a settled file is remembered.
    pub retention: Duration,
}

/// A topic as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Which it is.
    pub topic: Topic,
    /// Its full name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication: i32,
    /// Its configuration, where it matters.
    pub configs: BTreeMap<&'static str, String>,
}

/// One way in which the cluster is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A topic isn't there.
    Missing {
        /// Its full name.
        topic: String,
    },
    /// A topic has another number of partitions. Nothing mends that: files would change their home.
    Partitions {
        /// Its full name.
        topic: String,
        /// As it is.
        is: i32,
        /// As it must be.
        must: i32,
    },
    /// Some partition has another number of replicas. A reassignment mends that, not this tool.
    Replication {
        /// Its full name.
        topic: String,
        /// As it is.
        is: i32,
        /// As it must be.
        must: i32,
    },
    /// A setting of a topic has another value.
    Config {
        /// The topic's full name.
        topic: String,
        /// The setting.
        key: String,
        /// As it is; `None` where the broker doesn't know the setting.
        is: Option<String>,
        /// As it must be.
        must: String,
    },
    /// `controls` names no number of home partitions, or another one. What it names, nothing mends.
    HomePartitions {
        /// As it is.
        is: Option<i32>,
        /// As it must be.
        must: i32,
    },
}

impl Difference {
    /// Whether `topics apply` mends it.
    pub fn is_mended_by_apply(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Config { .. } | Self::HomePartitions { is: None, .. } => true,
            Self::Partitions { .. } | Self::Replication { .. } | Self::HomePartitions { is: Some(_), .. } => false,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { topic } => write!(f, "{topic} is missing"),
            Self::Partitions { topic, is, must } => write!(f, "{topic} has {is} partitions, not {must}"),
            Self::Replication { topic, is, must } => write!(f, "{topic} has {is} replicas, not {must}"),
            Self::Config { topic, key, is: Some(is), must } => write!(f, "{topic}: {key} is {is}, not {must}"),
            Self::Config { topic, key, is: None, must } => write!(f, "{topic}: {key} is not set, must be {must}"),
            Self::HomePartitions { is: None, must } => write!(f, "controls has no home_partitions, must have {must}"),
            Self::HomePartitions { is: Some(is), must } => {
                write!(f, "controls has {is} home_partitions, not {must}")
            }
        }
    }
}

/// What `apply` did, or with `dry_run` would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Differences that are mended.
    pub mended: Vec<Difference>,
    /// Differences that only an administrator can mend.
    pub left: Vec<Difference>,
}

/// The table of topics.
pub fn plan_topics(options: &TopicOptions) -> Vec<TopicSpec> {
    Topic::ALL
        .into_iter()
        .map(|topic| TopicSpec {
            topic,
            name: options.names.name(topic),
            partitions: if topic == Topic::Controls { 1 } else { options.partitions },
            replication: options.replication,
            configs: configs(topic, options),
        })
        .collect()
}

fn configs(topic: Topic, options: &TopicOptions) -> BTreeMap<&'static str, String> {
    let millis = |d: Duration| d.as_millis().to_string();
    let kept = options.retention + MARGIN;
    let policy = match topic.clean_up() {
        CleanUp::Inbox | CleanUp::Delete => "delete",
        CleanUp::Compact => "compact",
        CleanUp::CompactAndDelete => "compact,delete",
    };
    let mut configs = BTreeMap::from([
        ("cleanup.policy", policy.to_owned()),
        ("max.message.bytes", max_record_bytes(topic).to_string()),
        // With one replica a minimum of two would refuse every write.
        ("min.insync.replicas", if options.replication >= 3 { "2" } else { "1" }.to_owned()),
        // The broker's clock is one clock; producers have many.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        // Neither deleted nor compacted while it is the last: a day bounds what waits for that.
        ("segment.ms", millis(DAY)),
        ("segment.bytes", (128u32 << 20).to_string()),
    ]);
    match topic.clean_up() {
        CleanUp::Inbox => {
            configs.insert("retention.ms", millis(kept));
        }
        CleanUp::Compact => {
            configs.insert("delete.retention.ms", millis(MARGIN));
        }
        CleanUp::CompactAndDelete => {
            configs.insert("retention.ms", millis(kept));
            configs.insert("min.compaction.lag.ms", millis(kept));
            configs.insert("delete.retention.ms", millis(MARGIN));
        }
        CleanUp::Delete => {
            configs.insert("retention.ms", millis(30 * DAY));
        }
    }
    configs
}

impl KafkaCluster {
    /// What differs between the cluster and these topics, in their order. `home_partitions` is not looked at.
    pub fn check(&self, specs: &[TopicSpec]) -> Result<Vec<Difference>, LogError> {
        Ok(self.survey(specs)?.into_iter().flat_map(|(_, found)| found.differences).collect())
    }

    /// What differs between the number of home partitions in `controls` and the one that these topics make.
    pub fn check_home(&self, specs: &[TopicSpec], codec: &Codec) -> Result<Option<Difference>, LogError> {
        let Some(must) = home_partitions_of(specs) else { return Ok(None) };
        let controls = self.options.names.name(Topic::Controls);
        let there = self.probe.partition_counts(&[&controls])?.contains_key(&controls);
        let is = if there { self.home_partitions(codec)? } else { None };
        Ok((is != Some(must)).then_some(Difference::HomePartitions { is, must }))
    }

    /// Creates the topics that are missing and sets configurations that differ; writes `home_partitions` into
    /// `controls` where it isn't there. With `dry_run` it only says what it would do.
    ///
    /// `Fatal`, before anything is changed, where a topic has another number of partitions, or where `controls` names
    /// another number of home partitions than `manifests` would have. `by` is (actor, reason, time) of the record.
    pub fn apply(
        &self,
        specs: &[TopicSpec],
        codec: &Codec,
        by: (&str, &str, Timestamp),
        dry_run: bool,
    ) -> Result<Applied, LogError> {
        let survey = self.survey(specs)?;
        let all = || survey.iter().flat_map(|(_, found)| &found.differences);
        if let Some(refused) = all().find(|d| matches!(d, Difference::Partitions { .. })) {
            return Err(LogError::Fatal(format!("{refused}; the number of partitions can't be changed")));
        }
        let (left, mut mended): (Vec<_>, Vec<_>) =
            all().cloned().partition(|d| matches!(d, Difference::Replication { .. }));
        let home = home_partitions_of(specs);
        let controls = survey.iter().find(|(spec, _)| spec.topic == Topic::Controls);
        // Without a topic there is nothing to read.
        let there = controls.is_some_and(|(_, found)| found.dynamic.is_some());
        let is = if there { self.home_partitions(codec)? } else { None };
        if let (Some(is), Some(must)) = (is, home)
            && is != must
        {
            let refused = Difference::HomePartitions { is: Some(is), must };
            return Err(LogError::Fatal(format!("{refused}; their number can't be changed")));
        }
        if !dry_run {
            self.create(survey.iter().filter(|(_, found)| found.dynamic.is_none()).map(|(spec, _)| *spec))?;
            for (spec, found) in &survey {
                let differs = found.differences.iter().any(|d| matches!(d, Difference::Config { .. }));
                if let (true, Some(dynamic)) = (differs, &found.dynamic) {
                    self.alter(spec, dynamic)?;
                }
            }
        }
        if let (None, Some(must), Some(_)) = (is, home, controls) {
            mended.push(Difference::HomePartitions { is: None, must });
            if !dry_run {
                self.write_home_partitions(codec, must, by)?;
            }
        }
        Ok(Applied { mended, left })
    }

    /// The number of home partitions that `controls` names.
    pub fn home_partitions(&self, codec: &Codec) -> Result<Option<i32>, LogError> {
        let newest = controls::read_to_end(&self.options, &self.probe)?;
        let record = newest.iter().find(|r| r.key.as_deref() == Some(HOME_PARTITIONS.as_bytes()));
        let Some(value) = record.and_then(|r| r.value.as_deref()) else { return Ok(None) };
        let control: Control =
            codec.decode(value).map_err(|e| LogError::Fatal(format!("controls: {HOME_PARTITIONS}: {e}")))?;
        Ok(control.home_partitions)
    }

    fn write_home_partitions(&self, codec: &Codec, must: i32, by: (&str, &str, Timestamp)) -> Result<(), LogError> {
        let value = codec.encode(&Control::homing(must, by)).map_err(|e| match e {
            RegistryError::Away(text) => LogError::Away(text),
            RegistryError::Refused(text) => LogError::Fatal(text),
        })?;
        self.change_controls(&mut |newest| {
            if newest.iter().any(|r| r.key.as_deref() == Some(HOME_PARTITIONS.as_bytes())) {
                return Vec::new();
            }
            vec![Append {
                topic: Topic::Controls,
                partition: Some(0),
                key: HOME_PARTITIONS.as_bytes().to_vec(),
                value: Some(value.clone()),
                headers: Vec::new(),
            }]
        })
    }

    fn survey<'a>(&self, specs: &'a [TopicSpec]) -> Result<Vec<(&'a TopicSpec, Found)>, LogError> {
        let names: Vec<&str> = specs.iter().map(|s| s.name.as_str()).collect();
        let counts = self.probe.partition_counts(&names)?;
        let there: Vec<&TopicSpec> = specs.iter().filter(|s| counts.contains_key(&s.name)).collect();
        let mut configs = self.describe(&there)?;
        specs
            .iter()
            .map(|spec| {
                let Some(count) = counts.get(&spec.name) else {
                    return Ok((spec, Found::missing(spec)));
                };
                let entries = configs.remove(&spec.name).unwrap_or_default();
                Ok((spec, Found::compare(spec, *count, self.replicas(spec)?, &entries)))
            })
            .collect()
    }

    /// The fewest replicas of any partition.
    fn replicas(&self, spec: &TopicSpec) -> Result<i32, LogError> {
        let metadata = self.probe.consumer.fetch_metadata(Some(&spec.name), REQUEST).map_err(|e| triage(&e))?;
        let fewest = metadata.topics().iter().flat_map(MetadataTopic::partitions).map(|p| p.replicas().len()).min();
        Ok(fewest.map_or(0, |n| i32::try_from(n).unwrap_or(i32::MAX)))
    }

    fn describe(&self, specs: &[&TopicSpec]) -> Result<BTreeMap<String, Entries>, LogError> {
        if specs.is_empty() {
            return Ok(BTreeMap::new());
        }
        let admin = self.admin()?;
        let resources: Vec<_> = specs.iter().map(|s| ResourceSpecifier::Topic(&s.name)).collect();
        let described = wait_for(admin.describe_configs(&resources, &limits()))?;
        let mut all = BTreeMap::new();
        for (spec, resource) in specs.iter().zip(described) {
            let resource = resource.map_err(|code| triage(&KafkaError::AdminOp(code)))?;
            let entries = resource.entries.into_iter().filter_map(|e| {
                let value = e.value?;
                Some((e.name, Entry { value, dynamic: e.source == ConfigSource::DynamicTopic }))
            });
            all.insert(spec.name.clone(), entries.collect());
        }
        Ok(all)
    }

    fn create<'a>(&self, specs: impl Iterator<Item = &'a TopicSpec>) -> Result<(), LogError> {
        let topics: Vec<NewTopic<'_>> = specs
            .map(|spec| {
                let new = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication));
                spec.configs.iter().fold(new, |new, (key, value)| new.set(key, value))
            })
            .collect();
        if topics.is_empty() {
            return Ok(());
        }
        for result in wait_for(self.admin()?.create_topics(&topics, &limits()))? {
            match result {
                // Someone else applied the same at the same time.
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(named(&name, code)),
            }
        }
        self.await_creation(&topics.iter().map(|t| t.name).collect::<Vec<_>>())
    }

    /// The controller has them; the brokers learn of them a moment later.
    fn await_creation(&self, names: &[&str]) -> Result<(), LogError> {
        let deadline = Instant::now() + REQUEST;
        while self.probe.partition_counts(names)?.len() < names.len() {
            if Instant::now() >= deadline {
                return Err(LogError::Away("the topics just created are not there yet".into()));
            }
            std::thread::sleep(ASK_AGAIN);
        }
        Ok(())
    }

    /// Sets the spec's configuration. The broker takes only whole configurations, so what else was set on the topic is
    /// sent along.
    fn alter(&self, spec: &TopicSpec, dynamic: &BTreeMap<String, String>) -> Result<(), LogError> {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(&spec.name));
        for (key, value) in dynamic {
            change = change.set(key, value);
        }
        for (key, value) in &spec.configs {
            change = change.set(key, value);
        }
        for result in wait_for(self.admin()?.alter_configs([&change], &limits()))? {
            result.map_err(|(_, code)| named(&spec.name, code))?;
        }
        self.await_alteration(spec)
    }

    /// As with a creation, the brokers learn of it a moment later.
    fn await_alteration(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let deadline = Instant::now() + REQUEST;
        loop {
            let described = self.describe(&[spec])?;
            let entries = described.get(&spec.name);
            let is = |key: &str| entries.and_then(|e| e.get(key)).map(|e| &e.value);
            if spec.configs.iter().all(|(key, must)| is(key) == Some(must)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(LogError::Away(format!("the new settings of {} don't show yet", spec.name)));
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    fn admin(&self) -> Result<AdminClient<Tracing>, LogError> {
        settings(&self.options, &[], &[]).create_with_context(Tracing).map_err(|e| triage(&e))
    }
}

/// Every partition of the manifests is somebody's home.
fn home_partitions_of(specs: &[TopicSpec]) -> Option<i32> {
    specs.iter().find(|s| s.topic == Topic::Manifests).map(|s| s.partitions)
}

struct Entry {
    value: String,
    /// Whether it was set on this topic.
    dynamic: bool,
}

type Entries = BTreeMap<String, Entry>;

/// What the cluster has in a spec's place.
struct Found {
    differences: Vec<Difference>,
    /// What is set on the topic itself; `None` where there is no topic.
    dynamic: Option<BTreeMap<String, String>>,
}

impl Found {
    fn missing(spec: &TopicSpec) -> Self {
        Self { differences: vec![Difference::Missing { topic: spec.name.clone() }], dynamic: None }
    }

    fn compare(spec: &TopicSpec, partitions: i32, replicas: i32, entries: &Entries) -> Self {
        let topic = || spec.name.clone();
        let mut differences = Vec::new();
        if partitions != spec.partitions {
            differences.push(Difference::Partitions { topic: topic(), is: partitions, must: spec.partitions });
        }
        if replicas != spec.replication {
            differences.push(Difference::Replication { topic: topic(), is: replicas, must: spec.replication });
        }
        for (key, must) in &spec.configs {
            let is = entries.get(*key).map(|e| e.value.clone());
            if is.as_ref() != Some(must) {
                differences.push(Difference::Config { topic: topic(), key: (*key).to_owned(), is, must: must.clone() });
            }
        }
        let dynamic = entries.iter().filter(|(_, e)| e.dynamic).map(|(k, e)| (k.clone(), e.value.clone())).collect();
        Self { differences, dynamic: Some(dynamic) }
    }
}

fn limits() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST))
}

fn named(topic: &str, code: Code) -> LogError {
    match triage(&KafkaError::AdminOp(code)) {
        LogError::Fatal(text) => LogError::Fatal(format!("{topic}: {text}")),
        LogError::Away(text) => LogError::Away(format!("{topic}: {text}")),
        other => other,
    }
}

/// Waits for an administrative request, also where the caller is a task of some runtime.
fn wait_for<T: Send>(request: impl Future<Output = Result<T, KafkaError>> + Send) -> Result<T, LogError> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|e| LogError::Fatal(format!("no runtime for administrative requests: {e}")))?;
        runtime.block_on(request).map_err(|e| triage(&e))
    };
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(replication: i32) -> Vec<TopicSpec> {
        plan_topics(&TopicOptions { names: TopicNames::new("x."), partitions: 6, replication, retention: 30 * DAY })
    }

    fn config(specs: &[TopicSpec], topic: Topic, key: &str) -> Option<String> {
        specs.iter().find(|s| s.topic == topic)?.configs.get(key).cloned()
    }

    #[test]
    fn inboxes_outlive_what_the_engine_remembers() {
        let specs = specs(3);
        let week_more = Some((37 * DAY).as_millis().to_string());
        assert_eq!(config(&specs, Topic::Manifests, "retention.ms"), week_more);
        assert_eq!(config(&specs, Topic::Manifests, "cleanup.policy").as_deref(), Some("delete"));
        assert_eq!(config(&specs, Topic::FileState, "retention.ms"), None);
        assert_eq!(config(&specs, Topic::FileState, "cleanup.policy").as_deref(), Some("compact"));
    }

    #[test]
    fn outcomes_are_never_compacted_before_they_are_deleted() {
        let specs = specs(3);
        let lag = config(&specs, Topic::Outcomes, "min.compaction.lag.ms");
        assert!(lag.is_some());
        assert_eq!(lag, config(&specs, Topic::Outcomes, "retention.ms"));
    }

    #[test]
    fn every_topic_takes_what_the_log_takes() {
        for topic in Topic::ALL {
            let set = config(&specs(3), topic, "max.message.bytes");
            assert_eq!(set, Some(max_record_bytes(topic).to_string()), "{topic:?}");
        }
    }

    #[test]
    fn one_broker_is_enough_for_one_replica() {
        assert_eq!(config(&specs(1), Topic::Plans, "min.insync.replicas").as_deref(), Some("1"));
        assert_eq!(config(&specs(3), Topic::Plans, "min.insync.replicas").as_deref(), Some("2"));
    }

    #[test]
    fn controls_has_one_partition() {
        let specs = specs(1);
        assert_eq!(specs.len(), Topic::ALL.len());
        for spec in specs {
            assert_eq!(spec.partitions, if spec.topic == Topic::Controls { 1 } else { 6 });
        }
    }
}
