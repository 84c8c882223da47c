//! The topics and what is kept on each.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How a topic's records go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanUp {
    /// Deleted `retention` + 7 days after they were appended; nothing is restored from here.
    Inbox,
    /// The newest value of each key stays until its tombstone.
    Compact,
    /// Compacted and deleted, with the compaction lag as long as the retention: in effect deleted by time only.
    CompactAndDelete,
    /// Deleted after a fixed time.
    Delete,
}

/// One of consign's topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Producers' `FileManifest`s, by `file_id`.
    Manifests,
    /// Targets' `Outcome`s, by `file_id/target`, on any partition.
    Acks,
    /// People's `Intervention`s and the engine's starts of successors, by `file_id/target` or `file_id/`.
    Interventions,
    /// `Arrival`s, by `file_id`.
    Arrivals,
    /// `PlannedDispatch`es, by `file_id/target`.
    Plans,
    /// `DispatchAttempt`s, by `file_id/target/n`.
    Attempts,
    /// Every report and every timer as an `Outcome`, by `file_id/target`.
    Outcomes,
    /// `FileHistory`, by `file_id/seq`.
    History,
    /// `FileState`, by `file_id`.
    FileState,
    /// `Control`s, by name; one partition.
    Controls,
    /// Original bytes under the original key, with the reason in headers.
    DeadLetters,
}

impl Topic {
    /// Every topic, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Manifests,
        Self::Acks,
        Self::Interventions,
        Self::Arrivals,
        Self::Plans,
        Self::Attempts,
        Self::Outcomes,
        Self::History,
        Self::FileState,
        Self::Controls,
        Self::DeadLetters,
    ];

    /// The inputs of the engine's consumer group.
    pub const INPUTS: [Self; 4] = [Self::Manifests, Self::Interventions, Self::Outcomes, Self::Acks];

    /// The inputs whose partition `p` a worker must all hold before it works on home partition `p`.
    pub const HOME_INPUTS: [Self; 3] = [Self::Manifests, Self::Interventions, Self::Outcomes];

    /// The topics from which a home partition is restored.
    pub const RESTORED: [Self; 5] = [Self::Arrivals, Self::Plans, Self::Attempts, Self::History, Self::FileState];

    /// The name without its prefix.
    pub const fn base_name(self) -> &'static str {
        match self {
            Self::Manifests => "manifests",
            Self::Acks => "acks",
            Self::Interventions => "interventions",
            Self::Arrivals => "arrivals",
            Self::Plans => "plans",
            Self::Attempts => "attempts",
            Self::Outcomes => "outcomes",
            Self::History => "history",
            Self::FileState => "file-state",
            Self::Controls => "controls",
            Self::DeadLetters => "dead-letters",
        }
    }

    /// How its records go away.
    pub const fn clean_up(self) -> CleanUp {
        match self {
            Self::Manifests | Self::Acks | Self::Interventions => CleanUp::Inbox,
            Self::Arrivals | Self::Plans | Self::Attempts | Self::History | Self::FileState | Self::Controls => {
                CleanUp::Compact
            }
            Self::Outcomes => CleanUp::CompactAndDelete,
            Self::DeadLetters => CleanUp::Delete,
        }
    }

    /// The schema of its values; dead letters are raw bytes.
    // Two topics carry the same record, and each has its own file.
    #[allow(clippy::match_same_arms)]
    pub const fn schema(self) -> Option<&'static str> {
        Some(match self {
            Self::Manifests => include_str!("../../schemas/manifests.avsc"),
            Self::Acks => include_str!("../../schemas/acks.avsc"),
            Self::Interventions => include_str!("../../schemas/interventions.avsc"),
            Self::Arrivals => include_str!("../../schemas/arrivals.avsc"),
            Self::Plans => include_str!("../../schemas/plans.avsc"),
            Self::Attempts => include_str!("../../schemas/attempts.avsc"),
            Self::Outcomes => include_str!("../../schemas/outcomes.avsc"),
            Self::History => include_str!("../../schemas/history.avsc"),
            Self::FileState => include_str!("../../schemas/file-state.avsc"),
            Self::Controls => include_str!("../../schemas/controls.avsc"),
            Self::DeadLetters => return None,
        })
    }
}

/// Turns topics into names under the configured prefix and back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNames {
    prefix: String,
    /// In the order of [`Topic::ALL`].
    names: Arc<[Arc<str>]>,
}

impl TopicNames {
    /// `prefix` comes before every name; the default configuration's is `consign.`.
    pub fn new(prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        let names = Topic::ALL.iter().map(|topic| format!("{prefix}{}", topic.base_name()).into()).collect();
        Self { prefix, names }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The full name.
    pub fn name(&self, topic: Topic) -> String {
        self.shared(topic).to_string()
    }

    /// The full name, to be kept by many.
    pub fn shared(&self, topic: Topic) -> &Arc<str> {
        &self.names[topic as usize]
    }

    /// The topic of a full name, if it is one of ours.
    pub fn topic(&self, name: &str) -> Option<Topic> {
        let base = name.strip_prefix(&self.prefix)?;
        Topic::ALL.into_iter().find(|t| t.base_name() == base)
    }

    /// The registry subject of a topic's values (TopicNameStrategy).
    pub fn subject(&self, topic: Topic) -> String {
        format!("{}-value", self.name(topic))
    }
}
