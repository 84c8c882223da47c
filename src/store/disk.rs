//! On disk: one fjall database for each partition, read from the worker's thread and written from a thread of its own, so
//! that a disk that stalls or fails never stops the worker.
//!
//! fjall checks every block that it reads. A write reaches the operating system before it counts as done, which a killed
//! process survives; a machine that loses power may lose the newest writes, whole and from the end.

use std::fs::TryLockError;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::StoreError;
use super::shelf::{Ops, Visit};

/// What is written before it is sorted into a table, by all partitions of an installation together, and twice as much while that
/// is done.
const MEMTABLES_BYTES: u64 = 48 * 1024 * 1024;

/// Blocks kept in memory for reads, by all partitions of an installation together.
const CACHES_BYTES: u64 = 48 * 1024 * 1024;

/// The least and the most that one partition has of either.
const SHARE_BYTES: std::ops::RangeInclusive<u64> = 1024 * 1024..=8 * 1024 * 1024;

/// The journals of one partition, at most: the least that fjall takes.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// The file that fjall holds a lock on while a directory is open.
const LOCK: &str = "lock";

/// How long a close waits for the write that is under way.
const FINISH: Duration = Duration::from_secs(5);

/// Why a directory can't be opened.
pub(super) enum OpenError {
    /// Another worker of this process, or another process, has it open.
    Busy,
    /// It fails.
    Failed(StoreError),
}

/// The directory of a partition.
pub(super) fn path_of(dir: &Path, partition: i32) -> PathBuf {
    dir.join(format!("home-{partition}"))
}

/// Makes a directory that only this user may read: what files hold is in there.
fn make_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Removes the directory of a partition, unless anybody has it open: a writer that was left behind may still be at work
/// there, and would go on in what is begun anew.
pub(super) fn wipe(path: &Path) -> Result<(), OpenError> {
    let lock = std::fs::File::open(path.join(LOCK)).ok();
    if let Some(Err(TryLockError::WouldBlock)) = lock.as_ref().map(std::fs::File::try_lock) {
        return Err(OpenError::Busy);
    }
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            let text = format!("{} can't be removed: {e}", path.display());
            Err(OpenError::Failed(StoreError::failed(text)))
        }
        _ => Ok(()),
    }
}

/// One partition's database.
pub(super) struct Disk {
    keyspace: Keyspace,
    database: Database,
    writes: SyncSender<Ops>,
    done: Receiver<Result<(), StoreError>>,
    writer: Option<JoinHandle<()>>,
    is_writing: bool,
    is_abandoned: bool,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("is_writing", &self.is_writing).finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens the directory of one of so many partitions.
    pub(super) fn open(path: &Path, home_partitions: i32) -> Result<Self, OpenError> {
        let homes = u64::try_from(home_partitions).unwrap_or(1).max(1);
        let share = |bytes: u64| (bytes / homes).clamp(*SHARE_BYTES.start(), *SHARE_BYTES.end());
        let opened = guarded(|| {
            make_directory(path)?;
            let database = Database::builder(path)
                .cache_size(share(CACHES_BYTES))
                .worker_threads(1)
                .max_journaling_size(JOURNAL_BYTES)
                .open()?;
            let options = || KeyspaceCreateOptions::default().max_memtable_size(share(MEMTABLES_BYTES));
            let keyspace = database.keyspace("state", options)?;
            Ok((database, keyspace))
        });
        let (database, keyspace) = match opened {
            Ok(opened) => opened,
            Err(Failure::Library(fjall::Error::Locked)) => return Err(OpenError::Busy),
            Err(failure) => return Err(OpenError::Failed(failure.told())),
        };
        let (writes, to_write) = sync_channel::<Ops>(1);
        let (tell, done) = sync_channel(1);
        let (writer_database, writer_keyspace) = (database.clone(), keyspace.clone());
        let writer = move || {
            for ops in to_write {
                if tell.send(commit(&writer_database, &writer_keyspace, ops)).is_err() {
                    break;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("store-writer".into()).spawn(writer);
        match spawned {
            Ok(writer) => Ok(Self {
                keyspace,
                database,
                writes,
                done,
                writer: Some(writer),
                is_writing: false,
                is_abandoned: false,
            }),
            Err(e) => Err(OpenError::Failed(StoreError::failed(e.to_string()))),
        }
    }

    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = guarded(|| self.keyspace.get(key)).map_err(Failure::told)?;
        Ok(value.map(|value| value.to_vec()))
    }

    pub(super) fn visit(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut found = guarded(|| Ok(self.keyspace.range(from..until))).map_err(Failure::told)?;
        while let Some((key, value)) =
            guarded(|| found.next().map(fjall::Guard::into_inner).transpose()).map_err(Failure::told)?
        {
            if visit(&key, &value)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, ops: Ops) -> Result<(), StoreError> {
        assert!(!self.is_writing, "one write at a time");
        self.writes.try_send(ops).map_err(|_| StoreError::failed("the writer's thread has ended"))?;
        self.is_writing = true;
        Ok(())
    }

    pub(super) fn is_writing(&mut self) -> Result<bool, StoreError> {
        if self.is_writing {
            match self.done.try_recv() {
                Ok(written) => self.note(written)?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(StoreError::failed("the writer's thread has ended")),
            }
        }
        Ok(self.is_writing)
    }

    pub(super) fn wait(&mut self, at_most: Duration) -> Result<bool, StoreError> {
        if self.is_writing {
            match self.done.recv_timeout(at_most) {
                Ok(written) => self.note(written)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(StoreError::failed("the writer's thread has ended")),
            }
        }
        Ok(self.is_writing)
    }

    pub(super) fn abandon(&mut self) {
        self.is_abandoned = true;
    }

    fn note(&mut self, written: Result<(), StoreError>) -> Result<(), StoreError> {
        self.is_writing = false;
        written
    }
}

impl Drop for Disk {
    /// The writer must have let go before the directory can be opened again; a writer that hangs is left behind.
    fn drop(&mut self) {
        let (writes, _) = sync_channel(0);
        drop(std::mem::replace(&mut self.writes, writes));
        let hangs = self.is_writing && (self.is_abandoned || self.done.recv_timeout(FINISH).is_err());
        if let Some(writer) = self.writer.take().filter(|_| !hangs)
            && writer.join().is_err()
        {
            tracing::error!("a store's writer panicked");
        }
        tracing::trace!(journals = self.database.journal_count(), "a store is closed");
    }
}

fn commit(database: &Database, keyspace: &Keyspace, ops: Ops) -> Result<(), StoreError> {
    guarded(|| {
        let mut batch = database.batch();
        for (key, value) in ops {
            match value {
                Some(value) => batch.insert(keyspace, key, value),
                None => batch.remove(keyspace, key),
            }
        }
        batch.commit()
    })
    .map_err(Failure::told)
}

/// How a call of the library can end that doesn't end well.
enum Failure {
    Library(fjall::Error),
    /// It panicked, as it may over bytes that it didn't write.
    Panic,
}

impl Failure {
    fn told(self) -> StoreError {
        match self {
            Self::Library(fjall::Error::Io(e)) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
                StoreError::failed(e.to_string())
            }
            Self::Library(fjall::Error::Poisoned) => StoreError::failed("an earlier write failed"),
            Self::Library(error) => StoreError::corrupt(error.to_string()),
            Self::Panic => StoreError::corrupt("its bytes break an assumption of the library"),
        }
    }
}

fn guarded<T>(call: impl FnOnce() -> fjall::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(Failure::Library),
        Err(_) => Err(Failure::Panic),
    }
}
