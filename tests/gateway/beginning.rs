//! A gateway whose view has only begun to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use consign::log::{Appender, Cluster, ControlsChange, Lag, Log, LogError, Reader, Record, TopicPartition};
use consign::record::{State, Topic};
use serde_json::json;

use crate::world::{World, file};

/// A log whose followers haven't reached their goal before it is told so.
struct Begun {
    log: Arc<dyn Cluster>,
    read: Arc<AtomicBool>,
}

struct BegunReader {
    reader: Box<dyn Reader>,
    read: Arc<AtomicBool>,
}

impl Reader for BegunReader {
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>, LogError> {
        self.reader.poll(max, wait.min(Duration::from_millis(5)))
    }

    fn at_goal(&self) -> bool {
        self.reader.at_goal() && self.read.load(Ordering::Relaxed)
    }

    fn progress(&self) -> (i64, i64) {
        self.reader.progress()
    }
}

impl Cluster for Begun {
    fn follow(&self, topics: &[Topic]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(BegunReader { reader: self.log.follow(topics)?, read: Arc::clone(&self.read) }))
    }

    fn worker(&self, identity: &str) -> Result<Box<dyn Log>, LogError> {
        self.log.worker(identity)
    }

    fn appender(&self) -> Result<Arc<dyn Appender>, LogError> {
        self.log.appender()
    }

    fn reader(&self, partitions: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        self.log.reader(partitions)
    }

    fn partitions(&self, topic: Topic) -> Result<i32, LogError> {
        self.log.partitions(topic)
    }

    fn lags(&self) -> Result<Vec<Lag>, LogError> {
        self.log.lags()
    }

    fn change_controls(&self, change: &mut ControlsChange<'_>) -> Result<(), LogError> {
        self.log.change_controls(change)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_all_of_the_view_is_answered_once_it_has_read_everything() {
    let read = Arc::new(AtomicBool::new(false));
    let world = World::following(|log| Arc::new(Begun { log, read: Arc::clone(&read) })).await;
    world.state(&file("inv-1", State::Received, 1)).await;
    assert!(!world.view.freshness().caught_up);
    // What has been read is shown at once.
    assert_eq!(world.get("/v1/files/inv-1").await.headers["consign-view-caught-up"], "false");
    let why = json!({"reason": "a test"});
    let asked = async {
        tokio::join!(
            world.get("/v1/targets"),
            world.post("/v1/targets/billing/pause", &why),
            world.get("/v1/files/inv-2"),
        )
    };
    // Whoever didn't wait has been refused by then, and nothing else depends on how long this is.
    let reads = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        read.store(true, Ordering::Relaxed);
    };
    let ((targets, paused, missing), ()) = tokio::join!(asked, reads);
    targets.expect(200);
    assert_eq!(paused.expect(200)["changed"], true);
    missing.expect_problem(404, "CG320");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_goes_on_reading_is_waited_for_a_few_seconds() {
    let world = World::following(|log| Arc::new(Begun { log, read: Arc::default() })).await;
    let (targets, missing) = tokio::join!(world.get("/v1/targets"), world.get("/v1/files/inv-2"));
    targets.expect_problem(503, "CG340");
    missing.expect_problem(503, "CG340");
}
