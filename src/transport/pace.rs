//! How fast the requests of one worker leave for one target: evenly, one after the other, as `governor` counts.
//!
//! A request that leaves late moves those behind it, so that nothing is ever made up for in a burst.

use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// For how long requests may be authorized in advance: what a commit takes.
const AHEAD: Duration = Duration::from_millis(250);

/// The rate of the whole group, and the pace of this worker.
#[derive(Debug)]
pub(super) struct Pace {
    /// From one request of the group to the next.
    of_group: Duration,
    /// From one request of this worker to the next.
    period: Duration,
    limiter: RateLimiter<NotKeyed, InMemoryState, DefaultClock>,
}

impl Pace {
    /// The pace of a worker that has `share` (home partitions held, of all) of a rate. `goes_on`: a request may have left just
    /// before, so that the first leaves one period from here.
    pub(super) fn new(of_group: Duration, share: Option<(usize, usize)>, goes_on: bool) -> Self {
        let of_group = of_group.max(Duration::from_micros(1));
        let period = period(of_group, share);
        let limiter = RateLimiter::direct(Quota::with_period(period).expect("a microsecond at least"));
        let pace = Self { of_group, period, limiter };
        if goes_on {
            // The only request that a new limiter lets through at once.
            let _ = pace.limiter.check();
        }
        pace
    }

    /// Whether it is the pace for that.
    pub(super) fn is_for(&self, of_group: Duration, share: Option<(usize, usize)>) -> bool {
        self.of_group == of_group.max(Duration::from_micros(1)) && self.period == period(self.of_group, share)
    }

    /// From one request of the group to the next.
    pub(super) fn of_group(&self) -> Duration {
        self.of_group
    }

    /// Lets one request leave, or says how long it waits at least.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.limiter.check().err().map(|not_yet| not_yet.wait_time_from(DefaultClock::default().now()))
    }

    /// Requests that may be authorized and wait for their turn.
    pub(super) fn ahead(&self) -> usize {
        usize::try_from(AHEAD.as_nanos() / self.period.as_nanos()).unwrap_or(usize::MAX).max(1)
    }
}

/// A worker without a home partition has what is left of earlier ones, at the pace of one.
fn period(of_group: Duration, share: Option<(usize, usize)>) -> Duration {
    let Some((held, all)) = share.filter(|(_, all)| *all > 0) else { return of_group };
    let (held, all) = (held.clamp(1, all), u32::try_from(all).unwrap_or(u32::MAX));
    of_group.saturating_mul(all) / u32::try_from(held).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Duration = Duration::from_millis(20);

    #[test]
    fn the_paces_of_a_group_add_up_to_its_rate() {
        for held in [vec![6, 6], vec![12], vec![5, 4, 3], vec![1; 12]] {
            let a_second: f64 = held.iter().map(|held| 1.0 / period(RATE, Some((*held, 12))).as_secs_f64()).sum();
            assert!((49.9..=50.000_001).contains(&a_second), "{held:?}: {a_second}");
        }
        assert_eq!(period(RATE, Some((0, 12))), RATE * 12);
        assert_eq!((period(RATE, None), period(RATE, Some((0, 0)))), (RATE, RATE));
    }

    #[test]
    fn one_leaves_at_once_and_none_where_one_may_have_left() {
        let hour = Duration::from_hours(1);
        let pace = Pace::new(hour, None, false);
        assert_eq!(pace.wait(), None);
        assert!(pace.wait().is_some_and(|wait| wait > hour / 2));
        assert!(Pace::new(hour, None, true).wait().is_some());
        assert_eq!((pace.ahead(), Pace::new(RATE, None, false).ahead()), (1, 12));
    }
}
