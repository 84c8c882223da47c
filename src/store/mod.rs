//! The engine's local state: what each home partition knows, beside the process, so that a restart reads only what came
//! later.
//!
//! A store is a cache of the engine's topics and may be deleted at any time. What it says of the files and the place on
//! the log up to which that holds ([`Covers`]) are written together or not at all, after the commit on the log. Whatever
//! is wrong with a store (lost, foreign, too old, incomplete, corrupt) has a [`Reason`] of its own and one answer: it is
//! wiped, and its partition is read anew from the log. [Decision 10](../../docs/decisions/0010-the-store.md) says why it is
//! built so.

mod disk;
mod memory;
mod partition;
mod shelf;
mod value;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use memory::{Health, Shelves};
pub use partition::{Changes, PartitionStore, Put};
pub use value::Kept;

use crate::record::{Timestamp, Topic};

/// How long after its newest commit a store may be used, in milliseconds: on the log, tombstones are kept for 7 days,
/// and what they deleted later is never heard of again.
pub const MAX_AGE_MS: i64 = 6 * 86_400_000;

/// How far in the future the newest commit may lie, in milliseconds: clocks differ, but not by that much.
const AHEAD_AT_MOST_MS: i64 = 3_600_000;

/// Whose state it is: the store of another log, or of another number of home partitions, says nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster's id; empty where the log has none.
    pub cluster_id: String,
    /// What every topic's name begins with.
    pub prefix: String,
    /// How many home partitions there are.
    pub home_partitions: i32,
    /// When that number was written to `controls`: the age of the topics.
    pub founded_at: Timestamp,
    /// The home partition.
    pub partition: i32,
}

/// Up to where on the log a store knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covers {
    /// For each of the engine's topics the offset of the first record that isn't known.
    pub positions: BTreeMap<Topic, i64>,
    /// When the newest commit was made that is known.
    pub until: Timestamp,
}

impl Covers {
    /// Whether tombstones that this doesn't know may be gone from the log, by a clock that says `now`. One that is yet to
    /// come was written by a clock that was wrong, and says nothing of its age.
    pub fn judge_age(&self, now: Timestamp) -> Result<(), Unusable> {
        let age_ms = now.millis_since(self.until);
        let text = if age_ms > MAX_AGE_MS {
            format!("it knows of nothing after {}", self.until)
        } else if -age_ms > AHEAD_AT_MOST_MS {
            format!("it says that it was written at {}, which is yet to come", self.until)
        } else {
            return Ok(());
        };
        Err(Unusable::new(Reason::TooOld, text))
    }
}

/// Why a partition is read anew from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is no store: the first start here, or it was lost.
    Empty,
    /// It is of another cluster, prefix, partition or number of home partitions.
    Foreign,
    /// Another version of consign wrote it in another form.
    Format,
    /// It is older than tombstones are kept on the log.
    TooOld,
    /// It was being rebuilt when its process ended.
    Unfinished,
    /// A write in its midst is missing.
    Gap,
    /// Its bytes can't be read.
    Corrupt,
    /// It knows of more than the log holds.
    BeyondLog,
    /// What the log says next doesn't follow from it.
    ContradictsLog,
    /// The disk refuses or doesn't answer: the partition goes on in memory.
    Failed,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Empty,
        Self::Foreign,
        Self::Format,
        Self::TooOld,
        Self::Unfinished,
        Self::Gap,
        Self::Corrupt,
        Self::BeyondLog,
        Self::ContradictsLog,
        Self::Failed,
    ];

    /// The word for it, in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Foreign => "foreign",
            Self::Format => "format",
            Self::TooOld => "too_old",
            Self::Unfinished => "unfinished",
            Self::Gap => "gap",
            Self::Corrupt => "corrupt",
            Self::BeyondLog => "beyond_log",
            Self::ContradictsLog => "contradicts_log",
            Self::Failed => "failed",
        }
    }
}

/// A reason with what is known beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The reason.
    pub reason: Reason,
    /// The cause in words.
    pub text: String,
}

impl Unusable {
    /// A reason and its cause in words.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

/// The medium failed, or what it holds can't be read: the store must not be used any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    /// [`Reason::Corrupt`] or [`Reason::Failed`].
    pub reason: Reason,
    /// The cause in words.
    pub text: String,
}

impl StoreError {
    pub(crate) fn corrupt(text: impl Into<String>) -> Self {
        Self { reason: Reason::Corrupt, text: text.into() }
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self { reason: Reason::Failed, text: text.into() }
    }
}

/// Another worker has the store open: it is about to let go of the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// A store that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The store; empty where there is a reason.
    pub store: PartitionStore,
    /// Why it is empty, if it is.
    pub why_empty: Option<Unusable>,
}

/// Where the stores of one process are.
#[derive(Debug, Clone, Default)]
pub enum Stores {
    /// In the process's own memory: gone when it ends.
    #[default]
    Memory,
    /// On disk, below a directory of this process's own: a directory for each partition.
    Directory(PathBuf),
    /// In memory that outlives its process: for the simulated world and tests.
    Shelves(Shelves),
}

impl Stores {
    /// Opens the store of a partition. One that can't be used is wiped.
    pub fn open(&self, identity: &Identity, now: Timestamp) -> Result<Opened, Busy> {
        let Some(shelf) = self.shelf(identity)? else {
            return Ok(Self::in_memory(identity, Unusable::new(Reason::Empty, "stores are kept in memory")));
        };
        let judged = shelf.map_err(|e| Unusable::new(e.reason, e.text)).and_then(|shelf| {
            let (covers, written) = PartitionStore::judge(&shelf, identity, now)?;
            Ok(PartitionStore::of(shelf, identity.clone(), Some(covers), written))
        });
        match judged {
            Ok(store) => Ok(Opened { store, why_empty: None }),
            Err(unusable) => self.begin_anew(identity, unusable),
        }
    }

    /// Wipes the store of a partition and opens it empty; in memory where that fails. Busy while anybody has it open, be
    /// it a writer that hangs and was left behind.
    pub fn begin_anew(&self, identity: &Identity, unusable: Unusable) -> Result<Opened, Busy> {
        if unusable.reason == Reason::Failed || matches!(self, Self::Memory) {
            return Ok(Self::in_memory(identity, unusable));
        }
        let shelf = self.wipe(identity.partition)?.and_then(|()| match self.shelf(identity) {
            Ok(Some(shelf)) => shelf,
            Ok(None) | Err(Busy) => Err(StoreError::failed("it can't be opened once it is wiped")),
        });
        Ok(match shelf {
            Ok(shelf) => {
                let store = PartitionStore::of(shelf, identity.clone(), None, 0);
                Opened { store, why_empty: Some(unusable) }
            }
            Err(error) => Self::in_memory(identity, Unusable::new(Reason::Failed, error.text)),
        })
    }

    /// An empty store in memory, in place of one that can't be had.
    pub fn in_memory(identity: &Identity, unusable: Unusable) -> Opened {
        let store = PartitionStore::of(shelf::Shelf::default(), identity.clone(), None, 0);
        Opened { store, why_empty: Some(unusable) }
    }

    /// The medium of a partition; none where every opening begins with an empty one.
    #[allow(clippy::type_complexity)]
    fn shelf(&self, identity: &Identity) -> Result<Option<Result<shelf::Shelf, StoreError>>, Busy> {
        let Identity { partition, home_partitions, .. } = *identity;
        match self {
            Self::Memory => Ok(None),
            Self::Directory(dir) => Ok(Some(match disk::Disk::open(&disk::path_of(dir, partition), home_partitions) {
                Ok(disk) => Ok(shelf::Shelf::Disk(disk)),
                Err(disk::OpenError::Busy) => return Err(Busy),
                Err(disk::OpenError::Failed(error)) => Err(error),
            })),
            Self::Shelves(shelves) => Ok(Some(Ok(shelf::Shelf::Memory(shelves.open(partition)?)))),
        }
    }

    fn wipe(&self, partition: i32) -> Result<Result<(), StoreError>, Busy> {
        match self {
            Self::Memory => Ok(Ok(())),
            Self::Directory(dir) => match disk::wipe(&disk::path_of(dir, partition)) {
                Ok(()) => Ok(Ok(())),
                Err(disk::OpenError::Busy) => Err(Busy),
                Err(disk::OpenError::Failed(error)) => Ok(Err(error)),
            },
            Self::Shelves(shelves) => shelves.wipe(partition).map(Ok),
        }
    }
}
