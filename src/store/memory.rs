//! In memory: of one process, or outliving it so that a crash can be simulated.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shelf::{Ops, Visit};
use super::{Busy, StoreError};

/// Writes that can be taken back.
const UNDONE_AT_MOST: usize = 64;

/// How well a simulated disk does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Health {
    /// Well.
    #[default]
    Well,
    /// No write on it comes to its end.
    Hangs,
    /// It refuses reads and writes.
    Fails,
}

#[derive(Debug, Default)]
struct Content {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What each of the last writes replaced, newest last; kept only where a crash may take them back.
    replaced: Vec<Ops>,
    keeps_replaced: bool,
    /// How many have it open.
    open: usize,
    health: Health,
}

/// One partition's keys and values.
#[derive(Debug, Default)]
pub(super) struct MemoryShelf {
    content: Arc<Mutex<Content>>,
    /// A write that hangs.
    hanging: Option<Ops>,
}

impl Drop for MemoryShelf {
    /// Who lets go while a write hangs leaves it behind, and it holds the medium.
    fn drop(&mut self) {
        if self.hanging.is_none() {
            let mut content = self.lock();
            content.open = content.open.saturating_sub(1);
        }
    }
}

impl MemoryShelf {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content, unless the disk fails.
    fn read(&self) -> Result<MutexGuard<'_, Content>, StoreError> {
        let content = self.lock();
        if content.health == Health::Fails { Err(StoreError::failed("the disk fails")) } else { Ok(content) }
    }

    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read()?.values.get(key).cloned())
    }

    pub(super) fn visit(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let content = self.read()?;
        for (key, value) in content.values.range::<[u8], _>((Bound::Included(from), Bound::Excluded(until))) {
            if visit(key, value)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, ops: Ops) -> Result<(), StoreError> {
        assert!(self.hanging.is_none(), "one write at a time");
        let hangs = self.read()?.health == Health::Hangs;
        if hangs {
            self.hanging = Some(ops);
        } else {
            self.lock().write(ops);
        }
        Ok(())
    }

    pub(super) fn is_writing(&mut self) -> bool {
        if self.hanging.is_some() && self.lock().health == Health::Well {
            let ops = self.hanging.take().expect("just seen");
            self.lock().write(ops);
        }
        self.hanging.is_some()
    }
}

impl Content {
    fn write(&mut self, ops: Ops) {
        let mut replaced = Ops::new();
        for (key, value) in ops {
            let before = match value {
                Some(value) => self.values.insert(key.clone(), value),
                None => self.values.remove(&key),
            };
            if self.keeps_replaced {
                replaced.insert(key, before);
            }
        }
        if self.keeps_replaced {
            self.replaced.push(replaced);
            if self.replaced.len() > UNDONE_AT_MOST {
                self.replaced.remove(0);
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
        Ok(MemoryShelf { content, hanging: None })
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

    /// Makes the disk of a partition do well or badly from here on.
    pub fn set_health(&self, partition: i32, health: Health) {
        let content = Arc::clone(self.lock().entry(partition).or_default());
        content.lock().unwrap_or_else(PoisonError::into_inner).health = health;
    }

    /// The process has ended: whatever it left open or hanging on a partition is closed, and the disk is well.
    pub fn process_ended(&self, partition: i32) {
        let Some(content) = self.lock().get(&partition).cloned() else { return };
        let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
        (content.open, content.health) = (0, Health::Well);
    }

    /// Wipes a partition that nobody has open.
    pub(super) fn wipe(&self, partition: i32) -> Result<(), Busy> {
        let Some(content) = self.lock().get(&partition).cloned() else { return Ok(()) };
        let mut content = content.lock().unwrap_or_else(PoisonError::into_inner);
        if content.open > 0 {
            return Err(Busy);
        }
        *content = Content { health: content.health, ..Content::default() };
        Ok(())
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

    /// Every key and value of a partition.
    #[cfg(test)]
    pub(super) fn dump(&self, partition: i32) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let content = Arc::clone(self.lock().entry(partition).or_default());
        content.lock().unwrap_or_else(PoisonError::into_inner).values.clone()
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
