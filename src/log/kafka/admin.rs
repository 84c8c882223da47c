//! What differs between a cluster and the table of topics, and how it is mended.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;

use super::client::{ASK_AGAIN, REQUEST, Tracing, settings, triage};
use super::table::{Difference, TopicSpec};
use super::{KafkaCluster, controls};
use crate::log::{Append, Cluster, LogError};
use crate::record::registry::RegistryError;
use crate::record::{Codec, Control, HOME_PARTITIONS, Timestamp, Topic};

/// What `apply` did, or with `dry_run` would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Differences that are mended.
    pub mended: Vec<Difference>,
    /// Differences that only an administrator can mend.
    pub left: Vec<Difference>,
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
    /// `Fatal`, before anything is changed, where a topic has too few partitions, or another number than it must have while
    /// `controls` names no number of homes yet, or where `controls` names another number of home partitions than
    /// `manifests` must have. `by` is (actor, reason, time) of the record.
    pub fn apply(
        &self,
        specs: &[TopicSpec],
        codec: &Codec,
        by: (&str, &str, Timestamp),
        dry_run: bool,
    ) -> Result<Applied, LogError> {
        let survey = self.survey(specs)?;
        let all = || survey.iter().flat_map(|(_, found)| &found.differences);
        let home = home_partitions_of(specs);
        let controls = survey.iter().find(|(spec, _)| spec.topic == Topic::Controls);
        // Without a topic there is nothing to read.
        let there = controls.is_some_and(|(_, found)| found.dynamic.is_some());
        let is = if there { self.home_partitions(codec)? } else { None };
        // Before the first home is fixed their number can still be chosen; afterwards more partitions are tolerable.
        let is_refused =
            |d: &&Difference| matches!(d, Difference::Partitions { .. }) && (is.is_none() || !d.is_tolerable());
        if let Some(refused) = all().find(is_refused) {
            return Err(LogError::Fatal(format!("{refused}; the number of partitions can't be changed")));
        }
        let (mut mended, left): (Vec<_>, Vec<_>) = all().cloned().partition(Difference::is_mended_by_apply);
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
        let metadata =
            self.probe.asked(|consumer| consumer.fetch_metadata(Some(&spec.name), REQUEST).map_err(|e| triage(&e)))?;
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
