//! The disks of the workers' machines, and what a crash does to the stores on them.

use super::world::World;
use crate::store::{Health, Shelves, Stores};

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

    /// The disk of a worker, if it ever had one that outlives it.
    pub fn disk(&self, identity: &str) -> Option<&Shelves> {
        self.shelves.get(identity)
    }

    /// Kills a worker with everything that is on its wire, and does nothing to its disk.
    pub fn kill(&mut self, identity: &str) {
        self.end(identity);
        self.close_stores(identity);
    }

    /// What a process left open on its disk is closed once it has ended.
    pub(super) fn close_stores(&self, identity: &str) {
        let Some(shelves) = self.shelves.get(identity) else { return };
        shelves.partitions().into_iter().for_each(|partition| shelves.process_ended(partition));
    }

    /// All disks do well.
    pub(super) fn heal_disks(&self) {
        for shelves in self.shelves.values() {
            shelves.partitions().into_iter().for_each(|partition| shelves.set_health(partition, Health::Well));
        }
    }

    /// As [`World::harm_stores`], for one process. Where another has begun under its identity, the disk that is known is
    /// that one's: a crash elsewhere does nothing to it.
    pub(super) fn harm_stores_of(&mut self, identity: &str, process: u64) {
        if self.processes.get(identity) == Some(&process) {
            self.harm_stores(identity);
        }
    }

    /// What a crash does to the stores of a worker: often nothing, else they lose their last writes, or all, or a bit; or
    /// their disk does badly until the next one.
    pub(super) fn harm_stores(&mut self, identity: &str) {
        self.close_stores(identity);
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
                6 => {
                    shelves.set_health(partition, Health::Hangs);
                    "hangs"
                }
                7 => {
                    shelves.set_health(partition, Health::Fails);
                    "fails"
                }
                _ => "kept",
            };
            *self.harm.entry(harm).or_default() += 1;
        }
    }
}
