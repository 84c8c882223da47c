//! Against librdkafka's own imitation of a cluster, which fails as it is told.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::record::OutcomeKind;
use crate::transport::classify;

const LEFT: Duration = Duration::from_hours(1);

fn a() -> TargetName {
    TargetName::trusted("a")
}

fn written<'r>(target: &'r TargetName, topic: &'r str) -> Written<'r> {
    let within = Duration::from_secs(30);
    Written { target, cluster: None, topic, key: "k", headers: Vec::new(), body: b"{}", within, left: LEFT }
}

fn settings(bootstrap: &str) -> ClientSettings {
    // Short waits between the client's own repetitions.
    [("bootstrap.servers", bootstrap), ("reconnect.backoff.ms", "20"), ("reconnect.backoff.max.ms", "50")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// A cluster of one broker with the topic `t`.
fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("t", 1, 1).expect("a topic");
    cluster
}

async fn write_to(bootstrap: &str, edit: impl FnOnce(&mut Written<'_>)) -> Exchange {
    let target = a();
    let mut record = written(&target, "t");
    edit(&mut record);
    let targets = KafkaTargets::new(Some(settings(bootstrap)), BTreeMap::new(), BTreeSet::new());
    targets.write(record, &Egress::with_loopback(), || true).await.expect("it passes")
}

fn judged(exchange: &Exchange) -> (OutcomeKind, String, bool) {
    let confirmed_by = crate::record::ConfirmedBy::by(crate::record::Confirmation::Transport);
    let verdict = classify(&confirmed_by, exchange, crate::record::Timestamp(0), &|_, _| Ok(false));
    (verdict.kind, verdict.code, verdict.refusal)
}

#[tokio::test]
async fn our_own_topics_and_unknown_clusters_get_nothing() {
    let target = a();
    let closed = BTreeSet::from(["consign.outcomes".to_owned()]);
    let targets = KafkaTargets::new(Some(settings("127.0.0.1:1")), BTreeMap::new(), closed);
    let elsewhere = Written { cluster: Some("other"), ..written(&target, "t") };
    let egress = Egress::with_loopback();
    for (record, expected) in [(written(&target, "consign.outcomes"), "egress_refused"), (elsewhere, "request_invalid")]
    {
        let exchange = targets.write(record, &egress, || panic!("it isn't asked")).await;
        assert!(matches!(exchange, Ok(Exchange::NotSent { code, .. }) if code == expected), "{exchange:?}");
    }
    let none = KafkaTargets::default().write(written(&target, "t"), &egress, || panic!("it isn't asked")).await;
    assert!(matches!(none, Ok(Exchange::NotSent { code: "request_invalid", .. })), "{none:?}");
    assert_eq!(targets.write(written(&target, "t"), &egress, || false).await, Err(()));
}

#[tokio::test]
async fn our_own_topics_get_nothing_under_another_name_of_our_cluster() {
    let (ours, theirs) = (cluster(), cluster());
    let named = [("same", &ours), ("other", &theirs)]
        .map(|(name, cluster)| (name.to_owned(), settings(&cluster.bootstrap_servers())));
    let closed = BTreeSet::from(["t".to_owned()]);
    let targets = KafkaTargets::new(Some(settings(&ours.bootstrap_servers())), named.into(), closed);
    let target = a();
    for (cluster, expected) in [("same", "egress_refused"), ("other", "delivered")] {
        let record = Written { cluster: Some(cluster), ..written(&target, "t") };
        let exchange = targets.write(record, &Egress::with_loopback(), || true).await.expect("it passes");
        assert_eq!(judged(&exchange).1, expected, "{cluster}: {exchange:?}");
    }
}

#[tokio::test]
async fn a_broker_that_advertises_an_address_inside_gets_nothing() {
    let cluster = cluster();
    // It advertises 127.0.0.1; the operator wrote down a name.
    let bootstrap = cluster.bootstrap_servers().replace("127.0.0.1", "localhost");
    let named = BTreeMap::from([("other".to_owned(), settings(&bootstrap))]);
    let target = a();
    for (egress, expected) in [(Egress::public_only(), "egress_refused"), (Egress::with_loopback(), "delivered")] {
        let targets = KafkaTargets::new(None, named.clone(), BTreeSet::new());
        let record = Written { cluster: Some("other"), ..written(&target, "t") };
        let exchange = targets.write(record, &egress, || true).await.expect("it passes");
        assert_eq!(judged(&exchange).1, expected, "{exchange:?}");
    }
}

#[tokio::test]
async fn what_no_broker_was_reached_for_is_known_not_to_be_there() {
    let exchange = write_to("127.0.0.1:1", |record| record.within = Duration::from_millis(500)).await;
    assert_eq!(judged(&exchange), (OutcomeKind::Retryable, "not_taken".into(), false), "{exchange:?}");
}

#[tokio::test]
async fn a_record_waits_for_its_broker_no_longer_than_it_may_leave() {
    let cluster = cluster();
    cluster.broker_down(1).expect("down");
    let bootstrap = cluster.bootstrap_servers();
    // An hour for the whole attempt, and half a second to leave.
    let patient = |record: &mut Written<'_>| {
        (record.within, record.left) = (Duration::from_hours(1), Duration::from_millis(500));
    };
    let exchange = tokio::time::timeout(Duration::from_mins(1), write_to(&bootstrap, patient)).await;
    let exchange = exchange.expect("the client gives up soon after");
    assert_eq!(judged(&exchange), (OutcomeKind::Retryable, "not_taken".into(), false), "{exchange:?}");
    let exchange = write_to(&bootstrap, |record| record.left = Duration::from_millis(90)).await;
    assert_eq!(judged(&exchange).1, "dropped_unsent");
}

#[tokio::test]
async fn a_refusal_counts_where_no_broker_can_have_taken_the_record_before() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR__TRANSPORT as LOST, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as TOO_LARGE,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as FORBIDDEN,
    };
    for (answers, expected) in [
        (&[][..], (OutcomeKind::Succeeded, "delivered", false)),
        (&[LOST][..], (OutcomeKind::Succeeded, "delivered", false)),
        (&[FORBIDDEN][..], (OutcomeKind::Retryable, "credentials_refused", true)),
        (&[LOST, FORBIDDEN][..], (OutcomeKind::Unknown, "undelivered", false)),
        (&[TOO_LARGE][..], (OutcomeKind::Retryable, "record_refused", false)),
        (&[LOST, TOO_LARGE][..], (OutcomeKind::Unknown, "undelivered", false)),
    ] {
        let cluster = cluster();
        cluster.request_errors(RDKafkaApiKey::Produce, answers);
        let exchange = write_to(&cluster.bootstrap_servers(), |_| {}).await;
        let (kind, code, refusal) = judged(&exchange);
        assert_eq!((kind, code.as_str(), refusal), expected, "{answers:?}: {exchange:?}");
    }
}

#[tokio::test]
async fn in_one_process_records_are_kept_if_the_gate_lets_them() {
    let (target, egress) = (a(), Egress::public_only());
    let (targets, kept) = KafkaTargets::in_process();
    assert_eq!(targets.write(written(&target, "t"), &egress, || false).await, Err(()));
    let delivered = targets.write(written(&target, "t"), &egress, || true).await;
    assert!(matches!(delivered, Ok(Exchange::Delivered { .. })));
    let kept = kept.lock().unwrap();
    assert_eq!((kept.len(), kept[0].topic.as_str(), kept[0].body.as_slice()), (1, "t", &b"{}"[..]));
}
