//! Keys and values in order, on one medium or another.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::StoreError;
use super::disk::Disk;
use super::memory::MemoryShelf;

/// What one write changes: values to put and, where there is none, keys to remove.
pub(super) type Ops = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Takes key and value, and says whether to go on.
pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError> + 'a;

/// A medium.
#[derive(Debug)]
pub(super) enum Shelf {
    Memory(MemoryShelf),
    Disk(Disk),
}

impl Default for Shelf {
    fn default() -> Self {
        Self::Memory(MemoryShelf::default())
    }
}

impl Shelf {
    pub(super) fn is_on_disk(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Memory(shelf) => shelf.value(key),
            Self::Disk(disk) => disk.value(key),
        }
    }

    /// Visits what is between `from` and `until`, the latter excluded, in the order of keys.
    pub(super) fn visit(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        match self {
            Self::Memory(shelf) => shelf.visit(from, until, visit),
            Self::Disk(disk) => disk.visit(from, until, visit),
        }
    }

    /// Writes all of it or nothing, later perhaps: [`Shelf::is_writing`] tells. One write at a time.
    pub(super) fn write(&mut self, ops: Ops) -> Result<(), StoreError> {
        match self {
            Self::Memory(shelf) => shelf.write(ops),
            Self::Disk(disk) => disk.write(ops),
        }
    }

    /// Whether the last write isn't done yet; an error once it failed.
    pub(super) fn is_writing(&mut self) -> Result<bool, StoreError> {
        match self {
            Self::Memory(shelf) => Ok(shelf.is_writing()),
            Self::Disk(disk) => disk.is_writing(),
        }
    }

    /// Whoever drops it won't wait for the last write.
    pub(super) fn abandon(&mut self) {
        if let Self::Disk(disk) = self {
            disk.abandon();
        }
    }

    /// Waits for the last write, at most so long; whether it is still under way.
    pub(super) fn wait(&mut self, at_most: Duration) -> Result<bool, StoreError> {
        match self {
            Self::Memory(shelf) => Ok(shelf.is_writing()),
            Self::Disk(disk) => disk.wait(at_most),
        }
    }
}
