//! Capacity: how many requests may be on the wire to a target at once, and whether any may go out at this moment.
//!
//! Capacity is an input of the engine. A dispatch without it stays as it is, spends nothing and shows nothing in
//! file-state. A permit is given back by being dropped, so that an aborted transaction returns what it took. What became
//! of a request is said to its permit, which tells the target's [`Breaker`].
//!
//! A limit holds for the whole group: each worker takes the share of it that it has of the home partitions, and never less than
//! one, so that with `w` workers at most `w - 1` requests more than the limit are on the wire.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::breaker::{Breaker, Heard};
use crate::record::{TargetName, Timestamp};

/// Requests that may be on the wire to one target where its capacity is not set.
const DEFAULT_CONCURRENCY: usize = 32;

#[derive(Debug, Default)]
struct Place {
    limit: Option<usize>,
    taken: usize,
    breaker: Breaker,
}

#[derive(Debug, Default)]
struct Shared {
    places: BTreeMap<TargetName, Place>,
    /// The home partitions that this worker has, and all there are; none where nobody has said.
    share: Option<(usize, usize)>,
}

impl Shared {
    /// How many requests of this worker may be on the wire to a target.
    fn limit(&self, place: &Place) -> usize {
        let limit = place.limit.unwrap_or(DEFAULT_CONCURRENCY);
        match self.share {
            Some((held, all)) if all > 0 => (limit * held.min(all) / all).max(1),
            _ => limit,
        }
    }

    fn place(&mut self, target: &TargetName) -> &mut Place {
        self.places.entry(target.clone()).or_default()
    }
}

/// The capacity of one worker.
#[derive(Debug, Clone, Default)]
pub struct Capacity {
    shared: Arc<Mutex<Shared>>,
}

impl Capacity {
    /// Sets how many requests may be on the wire to a target; permits that are out stay out.
    pub fn limit(&self, target: &TargetName, concurrency: usize) {
        self.lock().place(target).limit = Some(concurrency.max(1));
    }

    /// Says how many of `all` home partitions this worker has: its share of every limit.
    pub fn share(&self, held: usize, all: usize) {
        self.lock().share = Some((held, all));
    }

    /// A permit for one request, or `None` while all are out, the target's breaker is open, or it asked to be left alone.
    pub fn acquire(&self, target: &TargetName, now: Timestamp) -> Option<Permit> {
        let mut shared = self.lock();
        let taken = shared.place(target).taken;
        if taken >= shared.limit(&shared.places[target]) {
            return None;
        }
        let place = shared.place(target);
        let is_probe = place.breaker.lets_through(now)?;
        place.taken += 1;
        Some(self.permit(target, is_probe, now))
    }

    /// Whether a permit would be given.
    pub fn has_room(&self, target: &TargetName, now: Timestamp) -> bool {
        let shared = self.lock();
        let place = shared.places.get(target);
        place.is_none_or(|place| place.taken < shared.limit(place) && place.breaker.would_let_through(now))
    }

    /// A permit for a request that is on the wire already, whatever the limit: for attempts that were restored.
    pub fn acquire_over(&self, target: &TargetName) -> Permit {
        self.lock().place(target).taken += 1;
        self.permit(target, false, Timestamp(0))
    }

    /// Requests on the wire to a target.
    pub fn taken(&self, target: &TargetName) -> usize {
        self.lock().places.get(target).map_or(0, |place| place.taken)
    }

    fn permit(&self, target: &TargetName, is_probe: bool, since: Timestamp) -> Permit {
        Permit { shared: Arc::clone(&self.shared), target: target.clone(), is_probe, since }
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
    /// Whether the target's breaker waits for this one.
    is_probe: bool,
    since: Timestamp,
}

impl Permit {
    /// Gives the permit back with what the request said about its target.
    pub fn ended(mut self, heard: Heard, now: Timestamp) {
        let was_probe = std::mem::take(&mut self.is_probe);
        let Ok(mut shared) = self.shared.lock() else { return };
        let Some(place) = shared.places.get_mut(&self.target) else { return };
        if place.breaker.hear(heard, was_probe, now) {
            let target = &self.target;
            if place.breaker.is_open() {
                tracing::warn!(%target, "the breaker opened: dispatches wait, one request at a time asks how the target is");
            } else {
                tracing::info!(%target, "the breaker closed");
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Ok(mut shared) = self.shared.lock() {
            let place = shared.places.get_mut(&self.target).expect("a permit was counted");
            assert!(place.taken > 0, "a permit was given back twice");
            place.taken -= 1;
            if self.is_probe {
                place.breaker.hear(Heard::Nothing, true, self.since);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(0);

    #[test]
    fn a_permit_is_given_back_by_being_dropped() {
        let capacity = Capacity::default();
        let target = TargetName::trusted("a");
        capacity.limit(&target, 1);
        let permit = capacity.acquire(&target, NOW);
        assert!(permit.is_some());
        assert!(capacity.acquire(&target, NOW).is_none());
        drop(permit);
        assert!(capacity.acquire(&target, NOW).is_some());
    }

    #[test]
    fn restored_attempts_count_against_the_limit() {
        let capacity = Capacity::default();
        let target = TargetName::trusted("a");
        capacity.limit(&target, 1);
        let restored = [capacity.acquire_over(&target), capacity.acquire_over(&target)];
        assert_eq!(capacity.taken(&target), 2);
        assert!(capacity.acquire(&target, NOW).is_none());
        drop(restored);
        assert!(capacity.acquire(&target, NOW).is_some());
    }

    #[test]
    fn a_limit_holds_for_the_group_through_a_change_of_its_workers() {
        let target = TargetName::trusted("a");
        let granted =
            |capacity: &Capacity| -> Vec<Permit> { (0..100).filter_map(|_| capacity.acquire(&target, NOW)).collect() };
        for (limit, all, held) in
            [(50, 12, vec![5, 4, 3]), (50, 12, vec![12]), (32, 7, vec![3, 4]), (10, 100, vec![33, 33, 34])]
        {
            let workers: Vec<Capacity> = held.iter().map(|_| Capacity::default()).collect();
            for (capacity, held) in workers.iter().zip(&held) {
                capacity.limit(&target, limit);
                capacity.share(*held, all);
            }
            let on_the_wire: usize = workers.iter().map(|capacity| granted(capacity).len()).sum();
            assert!(on_the_wire <= limit && on_the_wire + held.len() > limit, "{limit}: {on_the_wire}");
        }
        // One each where there are more workers than the limit.
        let few = Capacity::default();
        few.limit(&target, 1);
        few.share(1, 12);
        let permits = granted(&few);
        assert_eq!(permits.len(), 1);
        // Homes that go take their share with them; what is on the wire stays counted.
        let leaving = Capacity::default();
        leaving.limit(&target, 50);
        leaving.share(12, 12);
        let all = granted(&leaving);
        leaving.share(6, 12);
        assert!(leaving.acquire(&target, NOW).is_none());
        drop(all);
        assert_eq!(granted(&leaving).len(), 25);
    }

    #[test]
    fn a_dead_target_takes_no_permits_and_the_others_theirs() {
        let capacity = Capacity::default();
        let (dead, live) = (TargetName::trusted("dead"), TargetName::trusted("live"));
        for _ in 0..10 {
            capacity.acquire(&dead, NOW).expect("capacity").ended(Heard::Failed, NOW);
        }
        // Whatever waits for it, nothing of the live one's capacity is taken.
        let waiting = (0..10_000).filter(|_| capacity.acquire(&dead, Timestamp(29_999)).is_some()).count();
        assert_eq!((waiting, capacity.taken(&dead)), (0, 0));
        let taken: Vec<Permit> = (0..100).filter_map(|_| capacity.acquire(&live, NOW)).collect();
        assert_eq!(taken.len(), DEFAULT_CONCURRENCY);
        let probes = (0..100).filter_map(|_| capacity.acquire(&dead, Timestamp(30_000))).collect::<Vec<_>>();
        assert_eq!(probes.len(), 1);
        // As when its transaction was aborted: the next one may ask.
        drop(probes);
        assert!(capacity.acquire(&dead, Timestamp(30_000)).is_some());
    }
}
