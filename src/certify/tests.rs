//! Receivers that confirm through the acks topic of a log in this process: a right one passes, and each planted fault is found.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::log::memory::{MemoryCluster, MemoryOptions};
use crate::log::{Append, Appender, BoxFuture, LogError, TopicPartition};
use crate::receiver::{AckLog, Behaviour, Receivers};
use crate::record::{ConfirmedBy, OnUnknown, Outcome, OutcomeKind, TargetName, Topic, dispatch_key};
use crate::transport::testing::{codec, plan};
use crate::transport::wall_clock;

/// Changes an ack on its way.
type Spoil = fn(&mut Outcome);

/// Writes acks otherwise than it should.
struct Spoiled {
    appender: Arc<dyn Appender>,
    spoil: Spoil,
}

impl Appender for Spoiled {
    fn append(&self, mut append: Append) -> BoxFuture<'_, Result<(TopicPartition, i64), LogError>> {
        let value = append.value.as_deref().expect("an ack");
        let mut ack: Outcome = codec().decode(value).expect("an ack");
        (self.spoil)(&mut ack);
        append.value = Some(codec().encode_for(Topic::Acks, &ack).expect("the ids are known"));
        self.appender.append(append)
    }
}

/// The checks of acks that failed, and what the report can't see.
async fn failed(behaviour: Behaviour, spoil: Spoil, wait: Duration) -> (BTreeSet<&'static str>, Vec<String>) {
    let cluster = MemoryCluster::new(MemoryOptions::new(1, 3, wall_clock()));
    let appender = Arc::new(Spoiled { appender: cluster.appender().expect("it is there"), spoil });
    let acks = Some(AckLog { appender, codec: codec() });
    // What others wrote before is nothing to this target.
    let other = Outcome::new(
        FileId::trusted("certify-earlier"),
        TargetName::trusted("a"),
        OutcomeKind::Rejected,
        crate::record::Reporter::Acks,
        (wall_clock())(),
    );
    let key = dispatch_key(&other.file_id, &other.target).into_bytes();
    let value = Some(codec().encode_for(Topic::Acks, &other).expect("the ids are known"));
    cluster
        .append_now(Append { topic: Topic::Acks, partition: None, key, value, headers: Vec::new() })
        .expect("it is there");
    let behaviours = BTreeMap::from([(TargetName::trusted("a"), behaviour)]);
    let receivers = Receivers::start(&tokio::runtime::Handle::current(), behaviours, acks).expect("a port");
    let url = receivers.url("a");
    let plan_of: PlanOf = Arc::new(move |file_id| {
        let mut plan = plan(&url);
        plan.idempotency_key = dispatch_key(file_id, &plan.target);
        plan.file_id = file_id.clone();
        plan.on_unknown = OnUnknown::Retry;
        let receipt = plan.request.body.as_ref().map(|body| crate::routing::sha256_digest(&body.0));
        plan.confirmed_by = ConfirmedBy { token: true, receipt, ..ConfirmedBy::by(Confirmation::Acks) };
        Ok(plan)
    });
    let subject = Subject {
        plan_of,
        egress: Egress::with_loopback(),
        secrets: Secrets::default(),
        places: Places::default(),
        acks: Some(AcksTopic { cluster: Arc::new(cluster), codec: codec() }),
        listen: (([127, 0, 0, 1], 0).into(), None),
        wait,
        linger: Duration::from_millis(500),
        concurrency: 2,
        large_body: 20_000,
        effects: None,
    };
    let report = certify(subject).await.expect("it can be certified");
    let failed = report.checks.iter().filter(|check| check.verdict == Verdict::Failed);
    let names: BTreeSet<&'static str> = failed.map(|check| check.name).collect();
    assert_eq!(report.certified, names.is_empty());
    (names, report.cannot_see)
}

/// Longer than it takes, however slow the machine.
const LONG: Duration = Duration::from_mins(1);
/// Where nothing is to come, all of this is waited for.
const SHORT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_acks_as_it_should_is_certified() {
    let (failed, cannot_see) = failed(Behaviour::Take, |_| {}, LONG).await;
    assert_eq!(failed, BTreeSet::new());
    assert!(!cannot_see.join(" ").contains("acks"), "{cannot_see:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_receiver_that_acks_is_found() {
    let later = |outcomes: &[&'static str]| Behaviour::report_later(Duration::from_millis(1), outcomes);
    let digest_of_another = |ack: &mut Outcome| ack.received_digest = Some(format!("sha256:{}", "0".repeat(64)));
    let faults: [(&str, Behaviour, Spoil, &[&str]); 9] = [
        ("never confirms", Behaviour::status(202), |_| {}, &["confirmation"]),
        ("takes and refuses", later(&["REJECTED"]), |_| {}, &["confirmation"]),
        ("contradicts itself", later(&["SUCCEEDED", "REJECTED"]), |_| {}, &["confirmation_once"]),
        (
            "another token",
            Behaviour::Take,
            |ack| ack.ack_token = Some("certify.AAAA".into()),
            &["confirmation", "report"],
        ),
        ("no token", Behaviour::Take, |ack| ack.ack_token = None, &["confirmation", "report"]),
        ("another file", Behaviour::Take, |ack| ack.target = TargetName::trusted("b"), &["confirmation", "report"]),
        ("another digest", Behaviour::Take, digest_of_another, &["confirmation_digest"]),
        ("no digest", Behaviour::Take, |ack| ack.received_digest = None, &["confirmation_digest"]),
        (
            "a reference for each",
            Behaviour::Take,
            |ack| ack.reference = Some(format!("entry {}", ack.attempt.unwrap_or(0))),
            &["confirmation_reference"],
        ),
    ];
    for (fault, behaviour, spoil, expected) in faults {
        let wait = if expected.contains(&"confirmation") { SHORT } else { LONG };
        let (failed, _) = failed(behaviour, spoil, wait).await;
        assert_eq!(failed, expected.iter().copied().collect(), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_are_read_of_targets_that_ack() {
    let cluster = MemoryCluster::new(MemoryOptions::new(1, 1, wall_clock()));
    let subject = Subject {
        plan_of: Arc::new(|_| Ok(plan("http://127.0.0.1:1/a"))),
        egress: Egress::with_loopback(),
        secrets: Secrets::default(),
        places: Places::default(),
        acks: Some(AcksTopic { cluster: Arc::new(cluster), codec: codec() }),
        listen: (([127, 0, 0, 1], 0).into(), None),
        wait: SHORT,
        linger: SHORT,
        concurrency: 2,
        large_body: 0,
        effects: None,
    };
    let refused = certify(subject).await.map(|_| ()).expect_err("it is confirmed by its response");
    assert!(refused.to_string().contains("confirmed by response"), "{refused}");
}
