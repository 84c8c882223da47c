//! When a producer's next transaction begins best.
//!
//! The end of a transaction is answered before its markers are written. A next one that comes meanwhile is refused for the
//! moment, and librdkafka repeats what was refused after 20 ms: that costs more than having waited for the markers, while
//! which more input comes. How long they take is the cluster's affair, so it is learnt from the deliveries.

use std::time::{Duration, Instant};

/// How long is gathered at least after a transaction.
const LEAST: Duration = Duration::from_millis(1);
/// And at most: what a refusal costs.
const MOST: Duration = Duration::from_millis(20);
/// How much longer than the quickest a first delivery takes that was refused once: something less than [`MOST`].
const REFUSED: Duration = Duration::from_millis(15);
/// A transaction that begins as long after another one isn't refused for it.
const APART: Duration = Duration::from_millis(100);
/// After so many transactions in a row without a refusal it is a third of what it was.
const SLOWLY: u32 = 64;

/// How long a producer's user gathers between two transactions, from how the last ones went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gathering {
    lasts: Duration,
    ended: Option<Instant>,
    /// What a first delivery takes at best.
    quickest: Option<Duration>,
}

impl Gathering {
    pub(super) const fn new() -> Self {
        Self { lasts: Duration::from_millis(4), ended: None, quickest: None }
    }

    /// A transaction has ended.
    pub(super) const fn ended(&mut self, at: Instant) {
        self.ended = Some(at);
    }

    /// When the next one may begin, if there was one.
    pub(super) fn next(&self) -> Option<Instant> {
        self.ended.map(|at| at + self.lasts)
    }

    /// The first delivery of a transaction that `began` then took so long to come.
    pub(super) fn first_came(&mut self, began: Instant, took: Duration) {
        let quickest =
            self.quickest.map_or(took, |quickest| took.min(quickest + (took.saturating_sub(quickest)) / SLOWLY));
        self.quickest = Some(quickest);
        if self.ended.is_none_or(|ended| began.saturating_duration_since(ended) >= APART) {
            return;
        }
        let was_refused = took >= quickest + REFUSED;
        let lasts = if was_refused { self.lasts * 3 / 2 } else { self.lasts * (SLOWLY - 1) / SLOWLY };
        self.lasts = lasts.clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Transactions one after the other whose markers take so long each; how many were refused, and what it comes to.
    fn after(
        gathering: &mut Gathering,
        transactions: u32,
        round_trip: Duration,
        markers: impl Fn(u32) -> Duration,
    ) -> (u32, Duration) {
        let mut now = Instant::now();
        let mut refused = 0;
        for number in 0..transactions {
            let began = gathering.next().map_or(now, |next| next.max(now));
            let is_refused = number > 0 && began - now < markers(number);
            refused += u32::from(is_refused);
            let took = if is_refused { round_trip + ms(20) } else { round_trip };
            gathering.first_came(began, took);
            now = began + took + ms(3);
            gathering.ended(now);
        }
        (refused, gathering.lasts)
    }

    #[test]
    fn it_becomes_what_the_markers_take() {
        for markers in [ms(2), ms(8), ms(15)] {
            for round_trip in [ms(2), ms(30)] {
                let (refused, lasts) = after(&mut Gathering::new(), 2_000, round_trip, |_| markers);
                assert!(refused < 120, "{refused} of markers of {markers:?}");
                assert!((markers * 3 / 4..=markers * 3 / 2 + ms(1)).contains(&lasts), "{lasts:?} for {markers:?}");
            }
        }
    }

    #[test]
    fn where_none_helps_there_is_soon_none_and_it_is_found_again() {
        let mut gathering = Gathering::new();
        assert_eq!(after(&mut gathering, 12, ms(5), |_| ms(50)).1, MOST);
        assert_eq!(after(&mut gathering, 1_000, ms(5), |_| ms(50)).1, LEAST);
        // One that isn't refused says what a delivery takes.
        gathering.first_came(Instant::now() + ms(200), ms(5));
        let (_, lasts) = after(&mut gathering, 500, ms(5), |_| ms(10));
        assert!((ms(8)..=ms(16)).contains(&lasts), "{lasts:?}");
        // The cluster is far away for a while.
        let (_, lasts) = after(&mut gathering, 500, ms(60), |_| ms(2));
        assert!(lasts <= ms(4), "{lasts:?}");
    }

    #[test]
    fn one_that_comes_long_after_another_teaches_nothing_and_waits_for_nothing() {
        let mut gathering = Gathering::new();
        assert_eq!(gathering.next(), None);
        let now = Instant::now();
        gathering.first_came(now, ms(5));
        gathering.ended(now);
        assert_eq!(gathering.next(), Some(now + ms(4)));
        gathering.first_came(now + ms(200), ms(40));
        assert_eq!(gathering.next(), Some(now + ms(4)));
    }
}
