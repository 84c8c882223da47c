//! How many reports are taken: in all, from one target, and in a second. A target that floods gets 429, and the others nothing
//! of it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::gateway::problem::{Code, Problem};
use crate::record::TargetName;

/// How long the engine's judgement is waited for.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);

/// How many reports a process takes, and for how long each may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackLimits {
    /// Under way at once.
    pub at_once: usize,
    /// Under way at once from one target.
    pub of_target: usize,
    /// From one target in a second; twice as many after a quiet while.
    pub per_second: NonZeroU32,
    /// How long one that settles waits for the engine's judgement, before it is answered that it is recorded.
    pub judged_within: Duration,
}

impl Default for CallbackLimits {
    fn default() -> Self {
        Self {
            at_once: 256,
            of_target: 32,
            per_second: NonZeroU32::new(100).expect("it isn't zero"),
            judged_within: JUDGED_WITHIN,
        }
    }
}

/// The places and the rate of a process.
pub(in crate::gateway) struct Limits {
    allowed: CallbackLimits,
    places: Arc<Semaphore>,
    taken: Arc<Mutex<BTreeMap<TargetName, usize>>>,
    rate: RateLimiter<TargetName, HashMapStateStore<TargetName>, DefaultClock>,
}

impl Limits {
    pub(in crate::gateway) fn new(limits: CallbackLimits) -> Self {
        let quota =
            Quota::per_second(limits.per_second).allow_burst(limits.per_second.saturating_add(limits.per_second.get()));
        Self {
            allowed: limits,
            places: Arc::new(Semaphore::new(limits.at_once)),
            taken: Arc::default(),
            rate: RateLimiter::hashmap(quota),
        }
    }

    /// A place for a report of a target that has shown its token; it is given back by being dropped.
    pub(super) fn place(&self, target: &TargetName) -> Result<Place, Problem> {
        let too_many = |text| Problem::new(Code::CG364, text);
        if self.rate.check_key(target).is_err() {
            return Err(too_many(format!("{target} may send {} reports a second", self.allowed.per_second)));
        }
        let of_target = {
            let mut taken = self.taken.lock().expect("nothing panics while it is held");
            let count = taken.entry(target.clone()).or_default();
            if *count >= self.allowed.of_target {
                return Err(too_many(format!("{count} reports of {target} are under way")));
            }
            *count += 1;
            OfTarget { taken: Arc::clone(&self.taken), target: target.clone() }
        };
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| too_many(format!("{} reports are under way", self.allowed.at_once)))?;
        Ok(Place { _of_target: of_target, _place: place })
    }
}

/// A report's place.
pub(super) struct Place {
    _of_target: OfTarget,
    _place: OwnedSemaphorePermit,
}

struct OfTarget {
    taken: Arc<Mutex<BTreeMap<TargetName, usize>>>,
    target: TargetName,
}

impl Drop for OfTarget {
    fn drop(&mut self) {
        let Ok(mut taken) = self.taken.lock() else { return };
        match taken.get_mut(&self.target) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.target)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(at_once: usize, of_target: usize, per_second: u32) -> Limits {
        let per_second = NonZeroU32::new(per_second).unwrap();
        Limits::new(CallbackLimits { at_once, of_target, per_second, ..CallbackLimits::default() })
    }

    #[test]
    fn one_target_takes_no_places_of_another() {
        let limits = limits(3, 2, 1_000);
        let (a, b) = (TargetName::trusted("a"), TargetName::trusted("b"));
        let first = limits.place(&a).expect("a place");
        let _second = limits.place(&a).expect("a place");
        assert_eq!(limits.place(&a).err().map(|problem| problem.code), Some(Code::CG364));
        let of_b = limits.place(&b).expect("a place");
        assert!(limits.place(&b).is_err(), "three in all");
        drop((first, of_b));
        assert!(limits.place(&a).is_ok() && limits.place(&b).is_ok());
    }

    #[test]
    fn a_target_has_its_rate() {
        let limits = limits(100, 100, 1);
        let (a, b) = (TargetName::trusted("a"), TargetName::trusted("b"));
        let taken = (0..100).filter(|_| limits.place(&a).is_ok()).count();
        assert!((2..50).contains(&taken), "{taken}: two at once, and what a slow machine adds");
        assert!(limits.place(&b).is_ok());
    }
}
