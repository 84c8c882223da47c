//! The read model behind the gateway: the newest state of every file of the group, whatever partitions this process
//! works on, and what the group obeys. It says how fresh it is.
//!
//! One thread follows `file-state` and `controls`. What only one file needs (its history, dead letters) is read from
//! the log when it is asked for.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use crate::log::{Cluster, LogError, scan};
use crate::metrics::{Census, is_terminal};
use crate::record::{Codec, Controls, DecodeError, FileId, FileState};

mod dead_letters;
mod follower;
mod history;
mod index;
#[cfg(test)]
pub(crate) mod testing;

pub use crate::record::header;
pub use dead_letters::DeadLetter;
pub use history::{Entry, HistoryEntry};
pub use index::{Cursor, Filter, Page};

/// Scans of the log at once; more are refused.
const MAX_SCANS: usize = 8;
/// A scan that takes longer is given up.
const SCAN_PATIENCE: Duration = Duration::from_secs(30);

/// Why the view can't answer from the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The registry, which alone knows a record's schema, is away.
    #[error("the schema registry is away: {0}")]
    RegistryAway(String),
    /// `MAX_SCANS` are under way.
    #[error("too many scans of the log are under way")]
    Busy,
    /// The end was not reached in `SCAN_PATIENCE`.
    #[error("the end of the log was not reached in {} s", SCAN_PATIENCE.as_secs())]
    TooSlow,
    /// No `controls` record says how many home partitions there are.
    #[error("the number of home partitions is not known")]
    Homeless,
}

/// How fresh the view is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// Whether the view has once read everything and reads on without trouble: only then does "not there" mean anything.
    pub caught_up: bool,
    /// Records still to be read until the view has caught up, an estimate; 0 from then on.
    pub records_behind: i64,
    /// Time since the view last had everything that was committed.
    pub age: Duration,
    /// Why the view can't read on, if it can't.
    pub trouble: Option<String>,
    /// Records that are not what their topic holds; they were left out.
    pub undecodable: u64,
}

/// What the follower writes and everyone else reads.
struct Shared {
    index: RwLock<index::Index>,
    controls: RwLock<Arc<Controls>>,
    progress: RwLock<Progress>,
    /// Rises whenever something changed; waiters look again.
    changes: watch::Sender<u64>,
    stopping: AtomicBool,
}

struct Progress {
    caught_up: bool,
    records_behind: i64,
    drained_at: Instant,
    trouble: Option<String>,
    undecodable: u64,
}

/// The view. Cheap to clone; its thread ends with the last clone.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
    cluster: Arc<dyn Cluster>,
    codec: Arc<Codec>,
    scans: Arc<Semaphore>,
    _stop: Arc<StopOnDrop>,
}

struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }
}

impl View {
    /// Begins to follow. Returns at once; [`View::freshness`] says when everything has been read.
    pub fn start(cluster: Arc<dyn Cluster>, codec: Arc<Codec>) -> std::io::Result<Self> {
        let progress =
            Progress { caught_up: false, records_behind: 0, drained_at: Instant::now(), trouble: None, undecodable: 0 };
        let shared = Arc::new(Shared {
            index: RwLock::default(),
            controls: RwLock::default(),
            progress: RwLock::new(progress),
            changes: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
        });
        let follower = follower::Follower::new(Arc::clone(&shared), Arc::clone(&cluster), Arc::clone(&codec));
        std::thread::Builder::new().name("view".to_owned()).spawn(move || follower.run())?;
        let stop = Arc::new(StopOnDrop(Arc::clone(&shared)));
        Ok(Self { shared, cluster, codec, scans: Arc::new(Semaphore::new(MAX_SCANS)), _stop: stop })
    }

    /// The newest state of a file.
    pub fn file(&self, file_id: &FileId) -> Option<Arc<FileState>> {
        read(&self.shared.index).file(file_id)
    }

    /// The files that match, oldest first.
    pub fn list(&self, filter: &Filter) -> Page {
        read(&self.shared.index).list(filter)
    }

    /// How many files and dispatches stand where.
    pub fn census(&self) -> Census {
        read(&self.shared.index).census().clone()
    }

    /// What the group obeys.
    pub fn controls(&self) -> Arc<Controls> {
        Arc::clone(&read(&self.shared.controls))
    }

    /// How many home partitions the group has, once the view has read it.
    pub fn home_partitions(&self) -> Option<i32> {
        read(&self.shared.controls).home_partitions().filter(|n| *n > 0)
    }

    /// How fresh the view is.
    pub fn freshness(&self) -> Freshness {
        let progress = read(&self.shared.progress);
        Freshness {
            caught_up: progress.caught_up && progress.trouble.is_none(),
            records_behind: progress.records_behind,
            age: progress.drained_at.elapsed(),
            trouble: progress.trouble.clone(),
            undecodable: progress.undecodable,
        }
    }

    /// Waits until a file is COMPLETED or FAILED, `timeout` at most; gives its state then, whatever it is.
    pub async fn wait_terminal(&self, file_id: &FileId, timeout: Duration) -> Option<Arc<FileState>> {
        self.wait_until(timeout, || self.file(file_id).is_some_and(|f| is_terminal(f.state))).await;
        self.file(file_id)
    }

    /// Waits until a file's version is at least this, `timeout` at most; gives its state then, whatever it is.
    pub async fn wait_version(&self, file_id: &FileId, version: i64, timeout: Duration) -> Option<Arc<FileState>> {
        self.wait_until(timeout, || self.file(file_id).is_some_and(|f| f.version >= version)).await;
        self.file(file_id)
    }

    /// Waits until the view satisfies `condition`, `timeout` at most; whether it does.
    pub async fn wait_until(&self, timeout: Duration, condition: impl Fn() -> bool) -> bool {
        let mut changes = self.shared.changes.subscribe();
        let satisfied = async {
            // The value at subscription counts as seen: look before waiting.
            while !condition() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // A time-out is no failure here: the caller looks at what there is.
        tokio::time::timeout(timeout, satisfied).await.ok();
        condition()
    }

    /// Runs a scan of the log on a blocking thread, a bounded number of them at once.
    async fn scan<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Cluster, &Codec) -> Result<T, ScanError> + Send + 'static,
    ) -> Result<T, ScanError> {
        let permit = Arc::clone(&self.scans).try_acquire_owned().map_err(|_| ScanError::Busy)?;
        let (cluster, codec) = (Arc::clone(&self.cluster), Arc::clone(&self.codec));
        let scanned = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(cluster.as_ref(), &codec)
        });
        scanned.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
    }
}

/// Hands every record of a reader to `each`, up to its goal or until `each` says that it has enough.
fn scan_to_goal(
    reader: &mut dyn crate::log::Reader,
    mut each: impl FnMut(crate::log::Record) -> Result<bool, ScanError>,
) -> Result<(), ScanError> {
    let begun = Instant::now();
    scan(reader, SCAN_PATIENCE, |records, _| {
        for record in records {
            if !each(record)? {
                return Ok(ControlFlow::Break(()));
            }
        }
        if begun.elapsed() > SCAN_PATIENCE { Err(ScanError::TooSlow) } else { Ok(ControlFlow::Continue(())) }
    })
}

/// A value that decodes; `None` for bytes that never will.
fn decoded<T: crate::record::Wire>(codec: &Codec, value: &[u8]) -> Result<Option<T>, ScanError> {
    match codec.decode(value) {
        Ok(value) => Ok(Some(value)),
        Err(DecodeError::Poison(_)) => Ok(None),
        Err(DecodeError::RegistryAway(why)) => Err(ScanError::RegistryAway(why)),
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().expect("the follower doesn't panic while it writes")
}

#[cfg(test)]
mod tests;
