//! The table of the topics as they must be, and the ways in which a cluster may differ from it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::log::max_record_bytes;
use crate::record::{CleanUp, Topic, TopicNames};

const DAY: Duration = Duration::from_hours(24);
/// How much longer than the retention an inbox keeps its records, and how long tombstones stay.
const MARGIN: Duration = Duration::from_hours(7 * 24);
/// Deleted by age alone: with a limit on bytes, the broker deletes what nobody has read yet.
const NO_LIMIT: &str = "-1";

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
    /// A topic has another number of partitions. Nothing mends that: fewer can't be made, and files would change their
    /// home.
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

    /// Whether the engine may work all the same: nothing is lost, doubled or refused by it. What isn't tolerable keeps
    /// `run` from its start.
    pub fn is_tolerable(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::HomePartitions { .. } => false,
            // From partitions beyond the homes, inputs are forwarded; nothing is ever written there.
            Self::Partitions { is, must, .. } => is > must,
            Self::Replication { .. } => true,
            Self::Config { key, is, must, .. } => is_tolerable(key, is.as_deref(), must),
        }
    }
}

/// Whether the contract can be kept with a setting as it is: what was accepted stays as long as it is needed, and the log
/// takes every record.
fn is_tolerable(key: &str, is: Option<&str>, must: &str) -> bool {
    let (is, must) = (is.and_then(|is| is.parse::<i64>().ok()), must.parse::<i64>().ok());
    match key {
        "cleanup.policy" | "message.timestamp.type" | "retention.bytes" => false,
        // Kept for ever is kept for long enough.
        "retention.ms" if is == Some(-1) => true,
        "retention.ms" | "min.compaction.lag.ms" | "delete.retention.ms" | "max.message.bytes" => {
            is.zip(must).is_some_and(|(is, must)| is >= must)
        }
        _ => true,
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
        // A leader that lacks committed records would take the truth with it.
        ("unclean.leader.election.enable", "false".to_owned()),
        // The broker's clock is one clock; producers have many.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        // Neither deleted nor compacted while it is the last: a day bounds what waits for that.
        ("segment.ms", millis(DAY)),
        ("segment.bytes", (128u32 << 20).to_string()),
    ]);
    match topic.clean_up() {
        CleanUp::Inbox => {
            configs.insert("retention.ms", millis(kept));
            configs.insert("retention.bytes", NO_LIMIT.to_owned());
        }
        CleanUp::Compact => {
            configs.insert("delete.retention.ms", millis(MARGIN));
        }
        CleanUp::CompactAndDelete => {
            configs.insert("retention.ms", millis(kept));
            configs.insert("retention.bytes", NO_LIMIT.to_owned());
            configs.insert("min.compaction.lag.ms", millis(kept));
            configs.insert("delete.retention.ms", millis(MARGIN));
        }
        CleanUp::Delete => {
            configs.insert("retention.ms", millis(30 * DAY));
            configs.insert("retention.bytes", NO_LIMIT.to_owned());
        }
    }
    configs
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

    const RETENTION_AND_A_WEEK: &str = "3196800000";

    /// The table of the design, setting by setting; `max.message.bytes` has a test of its own.
    fn expected(topic: Topic) -> BTreeMap<&'static str, &'static str> {
        let mut expected = BTreeMap::from([
            ("message.timestamp.type", "LogAppendTime"),
            ("min.insync.replicas", "2"),
            ("segment.bytes", "134217728"),
            ("segment.ms", "86400000"),
            ("unclean.leader.election.enable", "false"),
        ]);
        let kept: &[(&str, &str)] = match topic {
            Topic::Manifests | Topic::Acks | Topic::Interventions => {
                &[("cleanup.policy", "delete"), ("retention.ms", RETENTION_AND_A_WEEK), ("retention.bytes", "-1")]
            }
            // Nothing is compacted before it is deleted.
            Topic::Outcomes => &[
                ("cleanup.policy", "compact,delete"),
                ("retention.ms", RETENTION_AND_A_WEEK),
                ("retention.bytes", "-1"),
                ("min.compaction.lag.ms", RETENTION_AND_A_WEEK),
                ("delete.retention.ms", "604800000"),
            ],
            Topic::DeadLetters => {
                &[("cleanup.policy", "delete"), ("retention.ms", "2592000000"), ("retention.bytes", "-1")]
            }
            Topic::Arrivals | Topic::Plans | Topic::Attempts | Topic::History | Topic::FileState | Topic::Controls => {
                &[("cleanup.policy", "compact"), ("delete.retention.ms", "604800000")]
            }
        };
        expected.extend(kept.iter().copied());
        expected
    }

    #[test]
    fn the_table_is_as_the_design_has_it() {
        for spec in specs(3) {
            let mut configs = spec.configs.clone();
            assert!(configs.remove("max.message.bytes").is_some());
            let configs: BTreeMap<&str, &str> = configs.iter().map(|(key, value)| (*key, value.as_str())).collect();
            assert_eq!(configs, expected(spec.topic), "{}", spec.name);
            assert_eq!((spec.replication, spec.name), (3, format!("x.{}", spec.topic.base_name())));
        }
    }

    #[test]
    fn what_may_lose_or_refuse_a_record_is_not_tolerable() {
        for (key, is, must, tolerable) in [
            ("cleanup.policy", Some("compact"), "delete", false),
            ("message.timestamp.type", Some("CreateTime"), "LogAppendTime", false),
            ("retention.bytes", Some("1000"), "-1", false),
            ("retention.ms", Some("99"), "100", false),
            ("retention.ms", Some("101"), "100", true),
            ("retention.ms", Some("-1"), "100", true),
            ("retention.ms", None, "100", false),
            ("min.compaction.lag.ms", Some("0"), "100", false),
            ("min.compaction.lag.ms", Some("200"), "100", true),
            ("delete.retention.ms", Some("99"), "100", false),
            ("max.message.bytes", Some("99"), "100", false),
            ("max.message.bytes", Some("101"), "100", true),
            ("segment.ms", Some("1"), "100", true),
            ("min.insync.replicas", Some("1"), "2", true),
        ] {
            let is_string = is.map(str::to_owned);
            let difference =
                Difference::Config { topic: "x".into(), key: key.into(), is: is_string, must: must.into() };
            assert_eq!(difference.is_tolerable(), tolerable, "{key}: {is:?}, not {must}");
        }
        let partitions = |is| Difference::Partitions { topic: "x".into(), is, must: 6 };
        assert_eq!((partitions(5).is_tolerable(), partitions(8).is_tolerable()), (false, true));
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
