//! In memory: of one process, or outliving it so that a crash can be simulated.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shelf::{Ops, Visit};
use super::{Busy, StoreError};

/// Writes that can be taken back.
const UNDONE_AT_MOST: usize = 64;

#[derive(Debug, Default)]
struct Content {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What each of the last writes replaced, newest last; kept only where a crash may take them back.
    replaced: Vec<Ops>,
    keeps_replaced: bool,
    /// How many have it open.
    open: usize,
}

/// One partition's keys and values.
#[derive(Debug, Default)]
pub(super) struct MemoryShelf {
    content: Arc<Mutex<Content>>,
}

impl Drop for MemoryShelf {
    fn drop(&mut self) {
        let mut content = self.lock();
        content.open = content.open.saturating_sub(1);
    }
}

impl MemoryShelf {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().values.get(key).cloned()
    }

    pub(super) fn visit(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let content = self.lock();
        for (key, value) in content.values.range::<[u8], _>((Bound::Included(from), Bound::Excluded(until))) {
            if visit(key, value)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, ops: Ops) {
        let mut content = self.lock();
        let mut replaced = Ops::new();
        for (key, value) in ops {
            let before = match value {
                Some(value) => content.values.insert(key.clone(), value),
                None => content.values.remove(&key),
            };
            if content.keeps_replaced {
                replaced.insert(key, before);
            }
        }
        if content.keeps_replaced {
            content.replaced.push(replaced);
            if content.replaced.len() > UNDONE_AT_MOST {
                content.replaced.remove(0);
            }
        }
    }
}

/// The stores of a simulated process: they outlive it, and a crash may lose their last writes, or all of them.
#[derive(Debug, Clone, Default)]
pub struct Shelves {
    by_partition: Arc<Mutex<BTreeMap<i32, Arc<Mutex<Content>>>>>,
}

impl Shelves {
    pub(super) fn open(&self, partition: i32) -> Result<MemoryShelf, Busy> {
        let content = Arc::clone(self.lock().entry(partition).or_default());
        {
            let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
            if content.open > 0 {
                return Err(Busy);
            }
            content.open += 1;
            content.keeps_replaced = true;
        }
        Ok(MemoryShelf { content })
    }

    /// The partitions that have one.
    pub fn partitions(&self) -> Vec<i32> {
        self.lock().keys().copied().collect()
    }

    /// Takes back the last writes of a partition, at most so many; gives how many there were.
    pub fn take_back(&self, partition: i32, writes: usize) -> usize {
        let Some(content) = self.lock().get(&partition).cloned() else { return 0 };
        let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        while taken < writes
            && let Some(replaced) = content.replaced.pop()
        {
            for (key, before) in replaced {
                match before {
                    Some(value) => drop(content.values.insert(key, value)),
                    None => drop(content.values.remove(&key)),
                }
            }
            taken += 1;
        }
        taken
    }

    /// Loses all of a partition.
    pub fn lose(&self, partition: i32) {
        self.lock().remove(&partition);
    }

    /// Takes one write back as if it had never been made, whatever came after it.
    #[cfg(test)]
    pub(super) fn forget_write(&self, partition: i32, number: u64) {
        let mut mark = vec![b'w'];
        mark.extend_from_slice(&number.to_be_bytes());
        let content = self.lock().get(&partition).cloned();
        if let Some(content) = content {
            content.lock().unwrap_or_else(PoisonError::into_inner).values.remove(&mark);
        }
    }

    /// The same content, apart.
    #[cfg(test)]
    pub(super) fn copied(&self) -> Self {
        let copied = Self::default();
        for (partition, content) in self.lock().iter() {
            let values = content.lock().unwrap_or_else(PoisonError::into_inner).values.clone();
            copied.lock().insert(*partition, Arc::new(Mutex::new(Content { values, ..Content::default() })));
        }
        copied
    }

    /// Changes one byte of one value of a partition, chosen by `nth`; false if it holds nothing.
    pub fn corrupt(&self, partition: i32, nth: usize) -> bool {
        let Some(content) = self.lock().get(&partition).cloned() else { return false };
        let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
        let long = content.values.values_mut().filter(|value| !value.is_empty());
        let mut long: Vec<&mut Vec<u8>> = long.collect();
        let count = long.len();
        if count == 0 {
            return false;
        }
        let value = &mut *long[nth % count];
        let at = nth / count % value.len();
        value[at] ^= 0x20;
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<Mutex<Content>>>> {
        self.by_partition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
