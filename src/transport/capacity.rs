//! Capacity: how many requests may be on the wire to a target at once, and whether any may go out at this moment.
//!
//! Capacity is an input of the engine. A dispatch without it stays as it is, spends nothing and shows nothing in
//! file-state. A permit is given back by being dropped, so that an aborted transaction returns what it took. What became
//! of a request is said to its permit, which tells the target's [`Breaker`].
//!
//! A limit holds for the whole group: each worker takes the share of it that it has of the home partitions, and never less than
//! one, so that with `w` workers at most `w - 1` requests more than the limit are on the wire. A rate is shared the same way.
//! It is kept where requests leave ([`Permit::turn`]), because a commit lies between their authorization and that; only as
//! many are authorized as leave within a moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::breaker::{Breaker, Heard};
use super::http::Clock;
use super::pace::Pace;
use crate::record::{TargetName, Timestamp};

/// Requests that may be on the wire to one target where its capacity is not set.
const DEFAULT_CONCURRENCY: usize = 32;

#[derive(Debug, Default)]
struct Place {
    limit: Option<usize>,
    taken: usize,
    breaker: Breaker,
    pace: Option<Pace>,
    /// Permits whose requests wait for their turn.
    waiting: usize,
}

impl Place {
    /// How many more may wait for their turn.
    fn turns(&self) -> usize {
        self.pace.as_ref().map_or(usize::MAX, |pace| pace.ahead().saturating_sub(self.waiting))
    }

    /// Gives the target this rate, from one request of the group to the next.
    fn keep_pace(&mut self, of_group: Option<Duration>, share: Option<(usize, usize)>) {
        match (of_group, &self.pace) {
            (None, _) => self.pace = None,
            (Some(of_group), Some(pace)) if pace.is_for(of_group, share) => {}
            (Some(of_group), before) => self.pace = Some(Pace::new(of_group, share, before.is_some())),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    places: BTreeMap<TargetName, Place>,
    /// The home partitions that this worker has, and all there are; none where nobody has said.
    share: Option<(usize, usize)>,
    /// Breakers that opened or closed since somebody asked, and whether they are open.
    changed: Vec<(TargetName, bool)>,
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
    /// Sets how many requests may be on the wire to a target, and how long after one the next may leave, all of the group
    /// together; permits that are out stay out.
    pub fn limit(&self, target: &TargetName, concurrency: usize, period: Option<Duration>) {
        let mut shared = self.lock();
        let share = shared.share;
        let place = shared.place(target);
        place.limit = Some(concurrency.max(1));
        place.keep_pace(period, share);
    }

    /// Says how many of `all` home partitions this worker has: its share of every limit.
    pub fn share(&self, held: usize, all: usize) {
        let mut shared = self.lock();
        let share = Some((held, all));
        if shared.share == share {
            return;
        }
        shared.share = share;
        for place in shared.places.values_mut() {
            place.keep_pace(place.pace.as_ref().map(Pace::of_group), share);
        }
    }

    /// The breakers that opened or closed since this was asked last, in that order, and whether they are open.
    pub fn breakers_changed(&self) -> Vec<(TargetName, bool)> {
        std::mem::take(&mut self.lock().changed)
    }

    /// A permit for one request, or `None` while all are out, the target's breaker is open, or it asked to be left alone.
    pub fn acquire(&self, target: &TargetName, now: Timestamp) -> Option<Permit> {
        let mut shared = self.lock();
        let taken = shared.place(target).taken;
        if taken >= shared.limit(&shared.places[target]) || shared.places[target].turns() == 0 {
            return None;
        }
        let place = shared.place(target);
        let is_probe = place.breaker.lets_through(now)?;
        place.taken += 1;
        place.waiting += 1;
        let mut permit = self.permit(target, now);
        (permit.is_probe, permit.waits) = (is_probe, true);
        Some(permit)
    }

    /// Opens a target's breaker at once; see [`Breaker::trip`].
    pub fn trip(&self, target: &TargetName, now: Timestamp) {
        let mut shared = self.lock();
        if shared.place(target).breaker.trip(now) {
            shared.changed.push((target.clone(), true));
        }
    }

    /// Whether a permit would be given.
    pub fn has_room(&self, target: &TargetName, now: Timestamp) -> bool {
        self.room(target, now) > 0
    }

    /// How many permits would be given, one after the other.
    pub fn room(&self, target: &TargetName, now: Timestamp) -> usize {
        let shared = self.lock();
        let Some(place) = shared.places.get(target) else { return shared.limit(&Place::default()) };
        let free = shared.limit(place).saturating_sub(place.taken).min(place.turns());
        free.min(place.breaker.would_let_through(now))
    }

    /// A permit for a request that is on the wire already, whatever the limit: for attempts that were restored.
    pub fn acquire_over(&self, target: &TargetName) -> Permit {
        self.lock().place(target).taken += 1;
        self.permit(target, Timestamp(0))
    }

    /// Requests on the wire to a target.
    pub fn taken(&self, target: &TargetName) -> usize {
        self.lock().places.get(target).map_or(0, |place| place.taken)
    }

    fn permit(&self, target: &TargetName, since: Timestamp) -> Permit {
        Permit { shared: Arc::clone(&self.shared), target: target.clone(), is_probe: false, waits: false, since }
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
    /// Whether its request waits for its turn.
    waits: bool,
    since: Timestamp,
}

impl Permit {
    /// Done when it is this request's turn to leave: under the target's rate, and not earlier than the target has asked
    /// for meanwhile.
    pub async fn turn(&mut self, clock: &Clock) {
        while let Some(wait) = self.waits_for(&|| clock()) {
            tokio::time::sleep(wait).await;
        }
    }

    /// How long it waits at least; none if it leaves.
    fn waits_for(&mut self, clock: &dyn Fn() -> Timestamp) -> Option<Duration> {
        let mut shared = self.shared.lock().expect("nothing panics while it is held");
        let place = shared.place(&self.target);
        if let Some(asked) = place.breaker.asked_to_wait(clock) {
            return Some(asked);
        }
        let wait = place.pace.as_ref().and_then(Pace::wait);
        if wait.is_none() && std::mem::take(&mut self.waits) {
            place.waiting -= 1;
        }
        wait
    }

    /// Gives the permit back with what the request said about its target.
    pub fn ended(mut self, heard: Heard, now: Timestamp) {
        let was_probe = std::mem::take(&mut self.is_probe);
        let Ok(mut shared) = self.shared.lock() else { return };
        let Some(place) = shared.places.get_mut(&self.target) else { return };
        if place.breaker.hear(heard, was_probe, now) {
            let change = (self.target.clone(), place.breaker.is_open());
            shared.changed.push(change);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Ok(mut shared) = self.shared.lock() {
            let place = shared.places.get_mut(&self.target).expect("a permit was counted");
            assert!(place.taken > 0, "a permit was given back twice");
            place.taken -= 1;
            if self.waits {
                place.waiting -= 1;
            }
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
        capacity.limit(&target, 1, None);
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
        capacity.limit(&target, 1, None);
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
                capacity.limit(&target, limit, None);
                capacity.share(*held, all);
            }
            let on_the_wire: usize = workers.iter().map(|capacity| granted(capacity).len()).sum();
            assert!(on_the_wire <= limit && on_the_wire + held.len() > limit, "{limit}: {on_the_wire}");
        }
        // One each where there are more workers than the limit.
        let few = Capacity::default();
        few.limit(&target, 1, None);
        few.share(1, 12);
        let permits = granted(&few);
        assert_eq!(permits.len(), 1);
        // Homes that go take their share with them; what is on the wire stays counted.
        let leaving = Capacity::default();
        leaving.limit(&target, 50, None);
        leaving.share(12, 12);
        let all = granted(&leaving);
        leaving.share(6, 12);
        assert!(leaving.acquire(&target, NOW).is_none());
        drop(all);
        assert_eq!(granted(&leaving).len(), 25);
    }

    #[test]
    fn only_what_leaves_within_a_moment_is_authorized_under_a_rate() {
        let capacity = Capacity::default();
        let target = TargetName::trusted("a");
        // Twelve in a quarter of a second.
        capacity.limit(&target, 1_000, Some(Duration::from_millis(20)));
        let mut permits: Vec<Permit> = (0..100).filter_map(|_| capacity.acquire(&target, NOW)).collect();
        assert_eq!(permits.len(), 12);
        assert!(!capacity.has_room(&target, NOW));
        assert_eq!(permits[0].waits_for(&|| NOW), None, "the first leaves at once");
        assert!(permits[1].waits_for(&|| NOW).is_some_and(|wait| wait <= Duration::from_millis(20)));
        assert!(capacity.has_room(&target, NOW), "one has left, and takes no turn");
        assert_eq!(capacity.taken(&target), 12, "it is on the wire");
        // As when a transaction is aborted.
        drop(permits);
        assert_eq!((0..100).filter_map(|_| capacity.acquire(&target, NOW)).collect::<Vec<_>>().len(), 12);
        // Half of the home partitions: half as many, at half the pace.
        capacity.share(6, 12);
        assert_eq!((0..100).filter_map(|_| capacity.acquire(&target, NOW)).collect::<Vec<_>>().len(), 6);
        capacity.limit(&target, 1_000, None);
        assert_eq!((0..100).filter_map(|_| capacity.acquire(&target, NOW)).collect::<Vec<_>>().len(), 100);
    }

    #[test]
    fn what_was_authorized_leaves_no_earlier_than_the_target_asked_meanwhile() {
        let capacity = Capacity::default();
        let target = TargetName::trusted("a");
        let mut permits: Vec<Permit> = (0..2).filter_map(|_| capacity.acquire(&target, NOW)).collect();
        let mut authorized = permits.pop().unwrap();
        permits.pop().unwrap().ended(Heard::Wait(10_000), NOW);
        assert_eq!(authorized.waits_for(&|| Timestamp(4_000)), Some(Duration::from_secs(6)));
        assert_eq!(authorized.waits_for(&|| Timestamp(10_000)), None);
    }

    #[test]
    fn a_breaker_that_changes_is_told_once() {
        let capacity = Capacity::default();
        let target = TargetName::trusted("a");
        let fail = |now| capacity.acquire(&target, now).expect("capacity").ended(Heard::Failed, now);
        (0..9).for_each(|_| fail(NOW));
        assert_eq!(capacity.breakers_changed(), []);
        fail(NOW);
        assert_eq!(capacity.breakers_changed(), [(target.clone(), true)]);
        // A probe that fails leaves it open.
        fail(Timestamp(30_000));
        assert_eq!(capacity.breakers_changed(), []);
        capacity.acquire(&target, Timestamp(90_000)).expect("a probe").ended(Heard::Alive, Timestamp(90_000));
        assert_eq!(capacity.breakers_changed(), [(target.clone(), false)]);
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
