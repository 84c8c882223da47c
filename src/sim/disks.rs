//! The disks of the workers' machines, and what a crash does to the stores on them.

use super::world::World;
use crate::store::{Shelves, Stores};

impl World {
    /// The disk of a worker. A process that begins beside one with the same identity is on another machine.
    pub(super) fn stores_of(&mut self, identity: &str) -> Stores {
        if !self.options.stores_survive {
            return Stores::Memory;
        }
        let stands_still = self.frozen.iter().any(|f| f.identity == identity);
        let is_another = self.others.iter().any(|o| o.identity == identity);
        if self.workers.contains_key(identity) || stands_still || is_another {
            self.shelves.insert(identity.to_owned(), Shelves::default());
        }
        Stores::Shelves(self.shelves.entry(identity.to_owned()).or_default().clone())
    }

    /// As [`World::harm_stores`], for one process. Where another has begun under its identity, the disk that is known is
    /// that one's: a crash elsewhere does nothing to it.
    pub(super) fn harm_stores_of(&mut self, identity: &str, process: u64) {
        if self.processes.get(identity) == Some(&process) {
            self.harm_stores(identity);
        }
    }

    /// What a crash does to the stores of a worker: often nothing, else they lose their last writes, or all, or a bit.
    pub(super) fn harm_stores(&mut self, identity: &str) {
        let Some(shelves) = self.shelves.get(identity) else { return };
        for partition in shelves.partitions() {
            let crashes: u64 = self.harm.values().sum();
            let draw = usize::try_from(crashes % 8).expect("small");
            let harm = match draw {
                1 => {
                    shelves.lose(partition);
                    "lost"
                }
                2 | 5 if shelves.take_back(partition, draw) > 0 => "taken_back",
                3 if shelves.corrupt(partition, draw * 31 + usize::try_from(crashes).unwrap_or(0)) => "corrupted",
                _ => "kept",
            };
            *self.harm.entry(harm).or_default() += 1;
        }
    }
}
