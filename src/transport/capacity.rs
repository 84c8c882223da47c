//! Capacity: how many requests may be on the wire to a target at once.
//!
//! Capacity is an input of the engine. A dispatch without it stays as it is, spends nothing and shows nothing in
//! file-state. A permit is given back by being dropped, so that an aborted transaction returns what it took.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::record::TargetName;

/// Requests that may be on the wire to one target where its capacity is not set.
const DEFAULT_CONCURRENCY: usize = 32;

#[derive(Debug, Default)]
struct Shared {
    limits: BTreeMap<TargetName, usize>,
    taken: BTreeMap<TargetName, usize>,
}

/// The capacity of one worker.
#[derive(Debug, Clone, Default)]
pub struct Capacity {
    shared: Arc<Mutex<Shared>>,
}

impl Capacity {
    /// Sets how many requests may be on the wire to a target; permits that are out stay out.
    pub fn limit(&self, target: &TargetName, concurrency: usize) {
        self.lock().limits.insert(target.clone(), concurrency.max(1));
    }

    /// A permit for one request, or `None` while all are out.
    pub fn acquire(&self, target: &TargetName) -> Option<Permit> {
        let mut shared = self.lock();
        let limit = shared.limits.get(target).copied().unwrap_or(DEFAULT_CONCURRENCY);
        let taken = shared.taken.entry(target.clone()).or_default();
        (*taken < limit).then(|| {
            *taken += 1;
            self.permit(target)
        })
    }

    /// Whether a permit would be given.
    pub fn has_room(&self, target: &TargetName) -> bool {
        self.acquire(target).is_some()
    }

    /// A permit for a request that is on the wire already, whatever the limit: for attempts that were restored.
    pub fn acquire_over(&self, target: &TargetName) -> Permit {
        *self.lock().taken.entry(target.clone()).or_default() += 1;
        self.permit(target)
    }

    /// Requests on the wire to a target.
    pub fn taken(&self, target: &TargetName) -> usize {
        self.lock().taken.get(target).copied().unwrap_or(0)
    }

    fn permit(&self, target: &TargetName) -> Permit {
        Permit { shared: Arc::clone(&self.shared), target: target.clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("nothing panics while it is held")
    }
}

/// The right to have one request on the wire. Dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Mutex<Shared>>,
    target: TargetName,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Ok(mut shared) = self.shared.lock() {
            let taken = shared.taken.get_mut(&self.target).expect("a permit was counted");
            assert!(*taken > 0, "a permit was given back twice");
            *taken -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_given_back_by_being_dropped() {
        let capacity = Capacity::default();
        let target = TargetName::trusted("a");
        capacity.limit(&target, 1);
        let permit = capacity.acquire(&target);
        assert!(permit.is_some());
        assert!(capacity.acquire(&target).is_none());
        drop(permit);
        assert!(capacity.acquire(&target).is_some());
    }

    #[test]
    fn restored_attempts_count_against_the_limit() {
        let capacity = Capacity::default();
        let target = TargetName::trusted("a");
        capacity.limit(&target, 1);
        let restored = [capacity.acquire_over(&target), capacity.acquire_over(&target)];
        assert_eq!(capacity.taken(&target), 2);
        assert!(capacity.acquire(&target).is_none());
        drop(restored);
        assert!(capacity.acquire(&target).is_some());
    }
}
