//! What the brokers must permit, and to whom: the access control lists under which only the engine writes its topics.

use crate::record::{Topic, TopicNames};

/// Topics that the engine reads and never writes: they are others' reports.
const ONLY_READ: [Topic; 1] = [Topic::Acks];
/// What a team that reads states may read.
const SHOWN: [Topic; 3] = [Topic::FileState, Topic::History, Topic::Attempts];

/// Who does what; each principal as Kafka writes it, such as `User:consign`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Principals {
    /// `consign run`, engine and gateway.
    pub engine: String,
    /// Who sets up: `topics`, `routing apply`, `offsets repair`, `verify`.
    pub admins: Vec<String>,
    /// Who announces files on `manifests`.
    pub producers: Vec<String>,
    /// Targets that report on `acks`.
    pub receivers: Vec<String>,
    /// Who reads states.
    pub readers: Vec<String>,
    /// The consumer groups of those.
    pub reader_groups: Vec<String>,
    /// Topics of this cluster that Kafka targets name.
    pub target_topics: Vec<String>,
}

/// What an access control list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Topics.
    Topic,
    /// Consumer groups.
    Group,
    /// Transactional ids.
    TransactionalId,
}

impl Resource {
    /// As Kafka's tools call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Group => "group",
            Self::TransactionalId => "transactional-id",
        }
    }
}

/// One principal may do these operations with each of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who.
    pub principal: String,
    /// May do what, as Kafka calls it. Each of them but configurations includes Describe.
    pub operations: Vec<&'static str>,
    /// With what.
    pub resource: Resource,
    /// Their names, or what their names begin with.
    pub names: Vec<String>,
    /// Whether `names` are beginnings.
    pub is_prefix: bool,
    /// What for.
    pub purpose: &'static str,
}

/// Everything that must be permitted, and nothing more. Idempotent writing needs no grant of its own from Kafka 2.8 on.
pub fn plan_grants(names: &TopicNames, group: &str, principals: &Principals) -> Vec<Grant> {
    let named = |topics: &[Topic]| -> Vec<String> { topics.iter().map(|topic| names.name(*topic)).collect() };
    let written: Vec<Topic> = Topic::ALL.into_iter().filter(|topic| !ONLY_READ.contains(topic)).collect();
    let controls = format!("{}{}", names.prefix(), super::controls::IDENTITY);
    let mut grants = Vec::new();
    let mut grant = |principal: &str, operations: &[&'static str], (resource, names), is_prefix, purpose| {
        let operations = operations.to_vec();
        grants.push(Grant { principal: principal.to_owned(), operations, resource, names, is_prefix, purpose });
    };
    let topics = |topics: &[Topic]| (Resource::Topic, named(topics));
    let engine = principals.engine.as_str();
    let purpose = "the engine's truth: nobody else writes it";
    grant(engine, &["Read", "Write", "DescribeConfigs"], topics(&written), false, purpose);
    grant(engine, &["Read", "DescribeConfigs"], topics(&ONLY_READ), false, "the engine reads reports");
    grant(engine, &["Read"], (Resource::Group, vec![group.to_owned()]), false, "the workers' group");
    let ids = (Resource::TransactionalId, vec![names.prefix().to_owned()]);
    grant(engine, &["Write"], ids, true, "the workers' transactions, and changes of controls");
    if !principals.target_topics.is_empty() {
        let written = (Resource::Topic, principals.target_topics.clone());
        grant(engine, &["Write"], written, false, "Kafka targets on this cluster");
    }
    for admin in &principals.admins {
        let purpose = "topics are created, set and checked";
        grant(admin, &["Read", "Create", "DescribeConfigs", "AlterConfigs"], topics(&Topic::ALL), false, purpose);
        grant(admin, &["Write"], topics(&[Topic::Controls]), false, "home partitions and routing documents");
        let ids = (Resource::TransactionalId, vec![controls.clone()]);
        grant(admin, &["Write"], ids, false, "the same, one change at a time");
        grant(admin, &["Read"], (Resource::Group, vec![group.to_owned()]), false, "offsets are looked at and repaired");
    }
    for producer in &principals.producers {
        grant(producer, &["Write"], topics(&[Topic::Manifests]), false, "files are announced");
    }
    for receiver in &principals.receivers {
        grant(receiver, &["Write"], topics(&[Topic::Acks]), false, "targets report");
    }
    for reader in &principals.readers {
        grant(reader, &["Read"], topics(&SHOWN), false, "states are read");
        if !principals.reader_groups.is_empty() {
            let groups = (Resource::Group, principals.reader_groups.clone());
            grant(reader, &["Read"], groups, false, "in a group of its own");
        }
    }
    grants
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everyone() -> Principals {
        let one = |name: &str| vec![format!("User:{name}")];
        Principals {
            engine: "User:consign".into(),
            admins: one("admin"),
            producers: one("producer"),
            receivers: one("receiver"),
            readers: one("reader"),
            reader_groups: vec!["team".into()],
            target_topics: vec!["ledger.in".into()],
        }
    }

    fn may_write(grants: &[Grant], topic: &str) -> Vec<String> {
        let writes = |grant: &&Grant| {
            grant.resource == Resource::Topic
                && grant.operations.contains(&"Write")
                && grant.names.iter().any(|name| name == topic)
        };
        grants.iter().filter(writes).map(|grant| grant.principal.clone()).collect()
    }

    #[test]
    fn each_topic_is_written_by_whom_the_contract_says() {
        let grants = plan_grants(&TopicNames::new("x."), "x.engine", &everyone());
        for topic in Topic::ALL {
            let expected: &[&str] = match topic {
                Topic::Manifests => &["User:consign", "User:producer"],
                Topic::Acks => &["User:receiver"],
                Topic::Controls => &["User:consign", "User:admin"],
                _ => &["User:consign"],
            };
            assert_eq!(may_write(&grants, &format!("x.{}", topic.base_name())), expected, "{topic:?}");
        }
        assert_eq!(may_write(&grants, "ledger.in"), ["User:consign"]);
        assert!(grants.iter().all(|grant| !grant.names.is_empty() && !grant.operations.is_empty()));
    }

    #[test]
    fn only_transactional_ids_are_granted_by_what_they_begin_with() {
        let grants = plan_grants(&TopicNames::new("x."), "x.engine", &everyone());
        let prefixes: Vec<&Grant> = grants.iter().filter(|grant| grant.is_prefix).collect();
        assert_eq!(prefixes.len(), 1);
        assert_eq!(
            (prefixes[0].resource, prefixes[0].names.as_slice()),
            (Resource::TransactionalId, &["x.".to_owned()][..])
        );
    }
}
