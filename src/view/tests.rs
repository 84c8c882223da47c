use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::testing::file;
use super::*;
use crate::log::{Appender, ControlsChange, Lag, Log, Reader, Record, TopicPartition};
use crate::record::registry::{LocalRegistry, RegistryError, SchemaSource};
use crate::record::{Control, State, Timestamp, Topic};

const PATIENCE: Duration = Duration::from_mins(1);

type Poll = Result<Vec<Record>, LogError>;

/// A log that hands out scripted readers; the last one goes on for ever with nothing.
struct Script(Mutex<VecDeque<Vec<Poll>>>);

struct ScriptedReader {
    polls: VecDeque<Poll>,
}

impl Reader for ScriptedReader {
    fn poll(&mut self, _: usize, _: Duration) -> Poll {
        std::thread::yield_now();
        self.polls.pop_front().unwrap_or_else(|| Ok(Vec::new()))
    }

    fn at_goal(&self) -> bool {
        self.polls.is_empty()
    }

    fn progress(&self) -> (i64, i64) {
        (0, i64::try_from(self.polls.len()).unwrap())
    }
}

impl Cluster for Script {
    fn follow(&self, topics: &[Topic]) -> Result<Box<dyn Reader>, LogError> {
        assert_eq!(topics, [Topic::FileState, Topic::Controls]);
        let polls = self.0.lock().unwrap().pop_front().ok_or_else(|| LogError::Fatal("no more readers".into()))?;
        Ok(Box::new(ScriptedReader { polls: polls.into() }))
    }

    fn worker(&self, _: &str) -> Result<Box<dyn Log>, LogError> {
        unreachable!("a view is no worker")
    }

    fn appender(&self) -> Result<Arc<dyn Appender>, LogError> {
        unreachable!("a view appends nothing")
    }

    fn reader(&self, _: &[TopicPartition]) -> Result<Box<dyn Reader>, LogError> {
        unreachable!("nothing is scanned here")
    }

    fn partitions(&self, _: Topic) -> Result<i32, LogError> {
        unreachable!("nothing is scanned here")
    }

    fn lags(&self) -> Result<Vec<Lag>, LogError> {
        unreachable!("a view measures no lags")
    }

    fn change_controls(&self, _: &mut ControlsChange<'_>) -> Result<(), LogError> {
        unreachable!("a view changes nothing")
    }
}

fn codec() -> Arc<Codec> {
    Arc::new(Codec::new(Arc::new(LocalRegistry)))
}

fn record(topic: Topic, offset: i64, key: &str, value: Option<Vec<u8>>) -> Record {
    let at = TopicPartition { topic, partition: 0 };
    Record { at, offset, timestamp: Timestamp(0), key: Some(key.into()), value, headers: Vec::new() }
}

fn state(offset: i64, file_id: &str, version: i64) -> Record {
    let mut file = file(file_id, State::Received, 0);
    file.version = version;
    record(Topic::FileState, offset, file_id, Some(codec().encode(&file).unwrap()))
}

fn view(codec: Arc<Codec>, readers: Vec<Vec<Poll>>) -> View {
    View::start(Arc::new(Script(Mutex::new(readers.into()))), codec).unwrap()
}

async fn caught_up(view: &View) {
    while !view.freshness().caught_up {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_log_that_is_away_is_asked_again() {
    let away = || Err(LogError::Away("no broker".into()));
    let view = view(codec(), vec![vec![away(), Ok(vec![state(0, "a", 1)]), away(), Ok(vec![state(1, "a", 2)])]]);
    assert_eq!(view.wait_version(&FileId::trusted("a"), 2, PATIENCE).await.unwrap().version, 2);
    caught_up(&view).await;
    assert_eq!(view.freshness().trouble, None);
}

#[tokio::test]
async fn a_new_reader_brings_back_nothing_that_is_old() {
    let first = || vec![state(0, "a", 1), state(1, "b", 1), record(Topic::FileState, 2, "b", None), state(3, "a", 2)];
    let broken = Err(LogError::Fatal("the consumer broke".into()));
    let replay = vec![Ok(first()[..1].to_vec()), Ok(first()[1..2].to_vec()), Ok(vec![]), Ok(vec![state(4, "c", 1)])];
    let view = view(codec(), vec![vec![Ok(first()), broken], replay]);
    let (a, b) = (FileId::trusted("a"), FileId::trusted("b"));
    view.wait_version(&a, 2, PATIENCE).await.unwrap();
    let c = FileId::trusted("c");
    while view.file(&c).is_none() {
        let seen = (view.file(&a).unwrap().version, view.file(&b));
        assert_eq!(seen, (2, None), "the replay went back in time");
        tokio::task::yield_now().await;
    }
    caught_up(&view).await;
}

#[tokio::test]
async fn a_log_that_fails_for_good_is_never_called_caught_up() {
    let view = view(codec(), vec![vec![Ok(vec![state(0, "a", 1)]), Err(LogError::Fatal("gone".into()))]]);
    view.wait_version(&FileId::trusted("a"), 1, PATIENCE).await.unwrap();
    while view.freshness().trouble.as_deref() != Some("no more readers") {
        tokio::task::yield_now().await;
    }
    assert!(!view.freshness().caught_up);
}

#[tokio::test]
async fn who_waits_for_the_view_to_catch_up_is_told_without_a_record() {
    let view = view(codec(), vec![vec![Ok(Vec::new()), Ok(Vec::new())]]);
    let waiting = view.wait_until(Duration::MAX, || view.freshness().caught_up);
    assert!(tokio::time::timeout(PATIENCE, waiting).await.expect("nobody said so"));
}

#[tokio::test]
async fn who_waits_for_the_view_is_told_of_its_trouble() {
    let view = view(codec(), Vec::new());
    let waiting = view.wait_until(Duration::MAX, || view.freshness().trouble.is_some());
    assert!(tokio::time::timeout(PATIENCE, waiting).await.expect("nobody said so"));
}

/// A registry that doesn't answer the first few times.
struct LateRegistry {
    refusals_left: AtomicUsize,
}

impl SchemaSource for LateRegistry {
    fn schema(&self, id: u32) -> Result<String, RegistryError> {
        let left = self.refusals_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        match left {
            Ok(_) => Err(RegistryError::Away("not yet".into())),
            Err(_) => LocalRegistry.schema(id),
        }
    }

    fn id_of(&self, topic: Topic) -> Result<u32, RegistryError> {
        LocalRegistry.id_of(topic)
    }
}

#[tokio::test]
async fn nothing_overtakes_a_record_whose_schema_is_not_known_yet() {
    let late = Arc::new(Codec::new(Arc::new(LateRegistry { refusals_left: AtomicUsize::new(2) })));
    let homing = Control::homing(4, ("test", "set-up", Timestamp(0)));
    let control = record(Topic::Controls, 0, &homing.name.clone(), Some(codec().encode(&homing).unwrap()));
    let view = view(late, vec![vec![Ok(vec![state(0, "a", 1), control])]]);
    loop {
        // Asked first: what is not there afterwards was not there before.
        let caught_up = view.freshness().caught_up;
        if view.home_partitions().is_some() {
            break;
        }
        assert!(!caught_up);
        tokio::task::yield_now().await;
    }
    assert!(view.file(&FileId::trusted("a")).is_some(), "the control came after the file");
    assert_eq!(view.freshness().undecodable, 0);
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_over() {
    let view = view(codec(), vec![vec![Ok(vec![state(0, "a", 1)])]]);
    assert!(view.wait_version(&FileId::trusted("a"), 1, PATIENCE).await.is_some());
    let waited = view.wait_terminal(&FileId::trusted("a"), Duration::from_millis(1)).await;
    assert_eq!(waited.unwrap().state, State::Received);
    assert!(view.wait_terminal(&FileId::trusted("b"), Duration::ZERO).await.is_none());
}
