//! How fast the requests of one worker leave for one target: evenly, one after the other, as `governor` counts.
//!
//! A request that leaves late moves those behind it, so that nothing is ever made up for in a burst.

use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// For how long requests may be authorized in advance: what a commit takes.
const AHEAD: Duration = Duration::from_millis(250);

/// What part of the rate is added at most by a worker that has no home partition any more.
const LEFT_OVER: usize = 20;

/// The rate of the whole group, and the pace of this worker.
#[derive(Debug)]
pub(super) struct Pace<C: Clock = DefaultClock> {
    /// From one request of the group to the next.
    of_group: Duration,
    /// From one request of this worker to the next.
    period: Duration,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
}

impl Pace {
    /// The pace of a worker that has `share` (home partitions held, of all) of a rate. `goes_on`: a request may have left just
    /// before, so that the first leaves one period from here.
    pub(super) fn new(of_group: Duration, share: Option<(usize, usize)>, goes_on: bool) -> Self {
        Self::by(DefaultClock::default(), of_group, share, goes_on)
    }
}

impl<C: Clock> Pace<C> {
    fn by(clock: C, of_group: Duration, share: Option<(usize, usize)>, goes_on: bool) -> Self {
        let of_group = of_group.max(Duration::from_micros(1));
        let period = period(of_group, share);
        let quota = Quota::with_period(period).expect("a microsecond at least");
        let limiter = RateLimiter::direct_with_clock(quota, clock);
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
        self.limiter.check().err().map(|not_yet| not_yet.wait_time_from(self.limiter.clock().now()))
    }

    /// Requests that may be authorized and wait for their turn.
    pub(super) fn ahead(&self) -> usize {
        usize::try_from(AHEAD.as_nanos() / self.period.as_nanos()).unwrap_or(usize::MAX).max(1)
    }
}

/// A worker without a home partition has what is left of earlier ones, while others already have the whole rate: it sends that
/// at the pace of one, and of a twentieth of the rate at most.
fn period(of_group: Duration, share: Option<(usize, usize)>) -> Duration {
    let Some((held, all)) = share.filter(|(_, all)| *all > 0) else { return of_group };
    let all = if held == 0 { all.max(LEFT_OVER) } else { all };
    let (held, all) = (held.clamp(1, all), u32::try_from(all).unwrap_or(u32::MAX));
    of_group.saturating_mul(all) / u32::try_from(held).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const RATE: Duration = Duration::from_millis(20);

    #[test]
    fn the_paces_of_a_group_add_up_to_its_rate() {
        for held in [vec![6, 6], vec![12], vec![5, 4, 3], vec![1; 12]] {
            let a_second: f64 = held.iter().map(|held| 1.0 / period(RATE, Some((*held, 12))).as_secs_f64()).sum();
            assert!((49.9..=50.000_001).contains(&a_second), "{held:?}: {a_second}");
        }
        assert_eq!((period(RATE, Some((0, 12))), period(RATE, Some((0, 120)))), (RATE * 20, RATE * 120));
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

    /// Two workers that send whatever they may, one without homes too, and homes that go from one to the other every so often.
    /// Gives the most requests within a second.
    fn most_in_a_second(homes: usize, between_rebalances: Duration) -> usize {
        const TICK: Duration = Duration::from_millis(1);
        let clock = FakeRelativeClock::default();
        let pace = |held: usize, goes_on| Pace::by(clock.clone(), RATE, Some((held, homes)), goes_on);
        let mut held = [homes / 2, homes - homes / 2];
        let mut paces = held.map(|held| pace(held, false));
        let (mut sent, mut now, mut last, mut turn) = (Vec::new(), Duration::ZERO, Duration::ZERO, 0_usize);
        while now < Duration::from_secs(30) {
            if now >= last + between_rebalances {
                last = now;
                turn += 1;
                // All of them, one of them, half of them; back and forth.
                let (from, to) = (turn % 2, (turn + 1) % 2);
                let going = [held[from], 1.min(held[from]), held[from] / 2][turn % 3];
                // Who loses them has slowed down before anybody restores them.
                for (worker, gets) in [(from, false), (to, true)] {
                    held[worker] = if gets { held[worker] + going } else { held[worker] - going };
                    paces[worker] = pace(held[worker], true);
                }
            }
            for pace in &paces {
                while pace.wait().is_none() {
                    sent.push(now);
                }
            }
            clock.advance(TICK);
            now += TICK;
        }
        let within =
            |from: usize| sent[from..].iter().take_while(|at| **at < sent[from] + Duration::from_secs(1)).count();
        (0..sent.len()).map(within).max().unwrap_or(0)
    }

    #[test]
    fn two_workers_keep_the_rate_within_every_second_through_rebalances() {
        for homes in [1, 2, 6, 7, 12, 48] {
            for between_ms in [1, 7, 19, 50, 130, 333, 700, 1_000, 2_900, 40_000] {
                let most = most_in_a_second(homes, Duration::from_millis(between_ms));
                // 50 in a second, one more for each worker, and a twentieth where one has lost its last home.
                assert!(most <= 55, "{most} of {homes} homes with a rebalance each {between_ms} ms");
                assert!(between_ms < 1_000 || most >= 48, "the rate is used: {most}");
            }
        }
    }
}
