//! For a moment the cluster says that it has no brokers, as one does whose only broker was fenced by its controller. The Kafka
//! client takes that for the truth, and some of it never finds back: whoever owns it has to notice.

use std::time::Duration;

use consign::record::Topic;

use super::scaled;
use crate::servers::OwnBed;
use crate::servers::proxy::Proxy;
use crate::setup::Setup;
use crate::world::{PATIENCE, World};

const FILES: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_seems_to_have_no_brokers_stops_nothing_for_good() {
    let bed = tokio::task::block_in_place(OwnBed::of_a_broker);
    let proxy = Proxy::start(&bed.value("KAFKA_VIA"), &bed.value("KAFKA_BEHIND"));
    let via = Some(bed.value("KAFKA_VIA"));
    let targets = vec!["quick", "slow", "acking"];
    let world = World::of(Setup { via, targets, transaction_seconds: 10, ..Setup::new("no-brokers", bed.servers()) });
    let mut process = world.start("p");
    process.until_ready_says(200, "true").await;

    for round in 1..=scaled(1, 3) {
        world.submit_all((0..FILES).map(|n| format!("round-{round}-{n}"))).await;
        assert!(world.view.wait_until(PATIENCE, || world.completed() >= (round - 1) * FILES + 20).await);
        // In the midst of them everybody has to ask, and is told this.
        let before = proxy.hidden();
        proxy.hide_brokers(true);
        proxy.cut();
        tokio::time::sleep(Duration::from_secs(3)).await;
        proxy.hide_brokers(false);
        println!("round {round}: told {} times", proxy.hidden() - before);
        assert!(proxy.hidden() > before, "nobody asked");

        let done = world.view.wait_until(PATIENCE, || world.completed() >= round * FILES).await;
        assert!(done, "{:?}; {:?}; {:?}", world.view.census(), process.readyz().await, process.has_ended());
        process.until_ready_says(200, "true").await;
    }

    assert_eq!(world.read(Topic::DeadLetters).len(), 0);
    assert_eq!(process.has_ended(), None);
    assert_eq!(process.stop().code(), Some(0), "it never restarted");
    world.verify_clean();
    world.end().await;
}
