//! How many changes a caller may ask for: a loop in somebody's script takes nothing from the others, nor from the log.

use std::num::NonZeroU32;

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::problem::{Code, Problem};

/// How many changes a process takes from one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerLimits {
    /// In a second; twice as many after a quiet while.
    pub per_second: NonZeroU32,
}

impl Default for CallerLimits {
    /// 1,000 a second.
    fn default() -> Self {
        Self { per_second: NonZeroU32::new(1_000).expect("it isn't zero") }
    }
}

/// The rates of the callers of a process, by their actors: as many as there are tokens.
pub(super) struct Callers {
    allowed: CallerLimits,
    rate: RateLimiter<String, HashMapStateStore<String>, DefaultClock>,
}

impl Callers {
    pub fn new(allowed: CallerLimits) -> Self {
        let quota = Quota::per_second(allowed.per_second);
        let quota = quota.allow_burst(allowed.per_second.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        Self { allowed, rate: RateLimiter::hashmap(quota) }
    }

    /// Takes a change of an actor, or says that it is one too many.
    pub fn take(&self, actor: &String) -> Result<(), Problem> {
        self.rate.check_key(actor).map_err(|_| {
            Problem::new(Code::CG313, format!("{actor} may ask for {} changes a second", self.allowed.per_second))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_rate() {
        let callers = Callers::new(CallerLimits { per_second: NonZeroU32::MIN });
        let (ann, bob) = ("ann".to_owned(), "bob".to_owned());
        let taken = (0..100).filter(|_| callers.take(&ann).is_ok()).count();
        assert!((2..50).contains(&taken), "{taken}: two at once, and what a slow machine adds");
        assert_eq!(callers.take(&ann).err().map(|problem| problem.code), Some(Code::CG313));
        assert!(callers.take(&bob).is_ok());
    }
}
