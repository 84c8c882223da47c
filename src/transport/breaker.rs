//! The circuit breaker of a target: after failures it lets nothing through for a while, then one request as a probe. Pure:
//! time is an argument.
//!
//! It opens at 70 % failures of at least 10 requests within five minutes, or at 10 failures in a row, first for 30 s; a probe
//! that fails doubles that, up to 10 minutes, and one that doesn't closes it. And it keeps to what a target asked: after a
//! 429 or 503 with Retry-After, or an answer that says that nothing is left of a quota, nothing goes to that target earlier.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::time::Duration;

use crate::record::Timestamp;

/// How long a request counts.
const WINDOW_MS: i64 = 300_000;
/// Requests from which their share of failures counts.
const LEAST: usize = 10;
/// The share of failures that opens, in percent.
const PERCENT: usize = 70;
/// Failures in a row that open.
const IN_A_ROW: usize = 10;
/// How long it is open first.
const FIRST_MS: i64 = 30_000;
/// How long at most.
const LONGEST_MS: i64 = 600_000;
/// Longest Retry-After that holds for the whole target: what asks for more wants no request while any file waits for it.
const LONGEST_ASKED_MS: i64 = 366 * 86_400_000;
/// Requests that are remembered.
const MAX_REMEMBERED: usize = 1_024;

/// What a request says about its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It answered, whatever its answer was.
    Alive,
    /// It couldn't be reached, or broke down.
    Failed,
    /// It asked to be left alone, in milliseconds.
    Wait(i64),
    /// Nothing.
    Nothing,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Timestamp,
        lasts_ms: i64,
    },
    /// One request is on its way.
    Probing {
        lasts_ms: i64,
    },
}

/// The breaker of one target.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    state: State,
    /// When, and whether it failed.
    recent: VecDeque<(Timestamp, bool)>,
    in_a_row: usize,
    /// What the target asked for.
    not_before: Option<Timestamp>,
}

impl Breaker {
    /// Whether a request may go out. `Some(true)`: as a probe, the only one until it was heard of.
    pub fn lets_through(&mut self, now: Timestamp) -> Option<bool> {
        if self.not_before.is_some_and(|earliest| now < earliest) {
            return None;
        }
        match self.state {
            State::Closed => Some(false),
            State::Open { until, lasts_ms } if now >= until => {
                self.state = State::Probing { lasts_ms };
                Some(true)
            }
            State::Open { .. } | State::Probing { .. } => None,
        }
    }

    /// How many requests might go out: any number, a probe, or none.
    pub fn would_let_through(&self, now: Timestamp) -> usize {
        if self.not_before.is_some_and(|earliest| now < earliest) {
            return 0;
        }
        match self.state {
            State::Closed => usize::MAX,
            State::Open { until, .. } => usize::from(now >= until),
            State::Probing { .. } => 0,
        }
    }

    /// How long the target still wants to be left alone; none if it doesn't.
    pub fn asked_to_wait(&self, clock: &dyn Fn() -> Timestamp) -> Option<Duration> {
        let left = self.not_before?.millis_since(clock());
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis)
    }

    /// Takes in what a request said. True if the breaker opened or closed by it.
    pub fn hear(&mut self, heard: Heard, was_probe: bool, now: Timestamp) -> bool {
        let before = self.is_open();
        let failed = match heard {
            Heard::Wait(asked_ms) => {
                let earliest = now.plus_millis(asked_ms.clamp(0, LONGEST_ASKED_MS));
                self.not_before = self.not_before.max(Some(earliest));
                false
            }
            Heard::Alive => false,
            Heard::Failed => true,
            Heard::Nothing => {
                if was_probe && let State::Probing { lasts_ms } = self.state {
                    self.state = State::Open { until: now, lasts_ms };
                }
                return false;
            }
        };
        match self.state {
            State::Probing { lasts_ms } if was_probe && failed => {
                let lasts_ms = (lasts_ms * 2).min(LONGEST_MS);
                self.state = State::Open { until: now.plus_millis(lasts_ms), lasts_ms };
            }
            State::Probing { .. } if was_probe => {
                *self = Self { not_before: self.not_before, ..Self::default() };
            }
            // What was on its way when it opened says nothing new.
            State::Open { .. } | State::Probing { .. } => {}
            State::Closed => self.count(failed, now),
        }
        before != self.is_open()
    }

    /// Opens it at once, whatever was heard before: first for 30 s, or twice as long as last time where it was time for a
    /// probe. True if it was closed.
    pub fn trip(&mut self, now: Timestamp) -> bool {
        let lasts_ms = match self.state {
            State::Closed => FIRST_MS,
            State::Open { until, .. } if now < until => return false,
            State::Open { lasts_ms, .. } | State::Probing { lasts_ms } => (lasts_ms * 2).min(LONGEST_MS),
        };
        let was_closed = self.state == State::Closed;
        self.state = State::Open { until: now.plus_millis(lasts_ms), lasts_ms };
        was_closed
    }

    /// Whether it lets nothing through but probes.
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    fn count(&mut self, failed: bool, now: Timestamp) {
        self.recent.retain(|(at, _)| now.millis_since(*at) < WINDOW_MS);
        if self.recent.len() == MAX_REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((now, failed));
        self.in_a_row = if failed { self.in_a_row + 1 } else { 0 };
        let failures = self.recent.iter().filter(|(_, failed)| *failed).count();
        let too_many = self.recent.len() >= LEAST && failures * 100 >= self.recent.len() * PERCENT;
        if failed && (too_many || self.in_a_row >= IN_A_ROW) {
            self.state = State::Open { until: now.plus_millis(FIRST_MS), lasts_ms: FIRST_MS };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn heard(breaker: &mut Breaker, all: &[Heard], now: Timestamp) {
        for heard in all {
            breaker.hear(*heard, false, now);
        }
    }

    #[test]
    fn ten_failures_in_a_row_open_and_nine_do_not() {
        let mut breaker = Breaker::default();
        heard(&mut breaker, &[Heard::Alive; 30], at(0));
        heard(&mut breaker, &[Heard::Failed; 9], at(1));
        assert_eq!(breaker.lets_through(at(1)), Some(false));
        assert!(breaker.hear(Heard::Failed, false, at(1)));
        assert_eq!(breaker.lets_through(at(1)), None);
    }

    #[test]
    fn seventy_percent_of_ten_open_and_less_do_not() {
        let mut breaker = Breaker::default();
        heard(&mut breaker, &[Heard::Alive; 4], at(0));
        heard(&mut breaker, &[Heard::Failed; 9], at(0));
        assert!(!breaker.is_open(), "69 %");
        let mut breaker = Breaker::default();
        heard(&mut breaker, &[Heard::Alive; 3], at(0));
        heard(&mut breaker, &[Heard::Failed; 7], at(0));
        assert!(breaker.is_open());
        let mut breaker = Breaker::default();
        heard(&mut breaker, &[Heard::Failed; 6], at(0));
        // What was five minutes ago doesn't count.
        heard(&mut breaker, &[Heard::Alive, Heard::Failed, Heard::Failed, Heard::Failed], at(300));
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_probe_goes_alone_and_the_time_doubles_to_ten_minutes() {
        let mut breaker = Breaker::default();
        heard(&mut breaker, &[Heard::Failed; 10], at(0));
        let mut now = 0;
        for lasts in [30, 60, 120, 240, 480, 600, 600] {
            assert_eq!(breaker.lets_through(at(now + lasts - 1)), None);
            assert_eq!(breaker.would_let_through(at(now + lasts - 1)), 0);
            now += lasts;
            assert_eq!(breaker.would_let_through(at(now)), 1);
            assert_eq!(breaker.lets_through(at(now)), Some(true));
            assert_eq!(breaker.lets_through(at(now)), None, "one at a time");
            // A request from before says nothing about the probe.
            assert!(!breaker.hear(Heard::Alive, false, at(now)));
            assert!(!breaker.hear(Heard::Failed, true, at(now)));
        }
        assert_eq!(breaker.lets_through(at(now + 600)), Some(true));
        assert!(breaker.hear(Heard::Alive, true, at(now + 600)));
        assert_eq!(breaker.lets_through(at(now + 600)), Some(false));
        heard(&mut breaker, &[Heard::Failed; 9], at(now + 601));
        assert!(!breaker.is_open(), "it begins anew");
    }

    #[test]
    fn a_probe_that_never_left_is_tried_again() {
        let mut breaker = Breaker::default();
        heard(&mut breaker, &[Heard::Failed; 10], at(0));
        assert_eq!(breaker.lets_through(at(30)), Some(true));
        breaker.hear(Heard::Nothing, true, at(31));
        assert_eq!(breaker.lets_through(at(31)), Some(true));
    }

    #[test]
    fn what_trips_it_opens_it_at_once_and_counts_as_a_failed_probe_in_its_time() {
        let mut breaker = Breaker::default();
        assert!(breaker.trip(at(0)));
        assert!(!breaker.trip(at(10)), "it is open");
        assert_eq!([29, 30].map(|now| breaker.would_let_through(at(now))), [0, 1]);
        assert!(!breaker.trip(at(30)), "nobody was let through");
        assert_eq!(breaker.would_let_through(at(89)), 0);
        assert_eq!(breaker.lets_through(at(90)), Some(true));
        breaker.trip(at(91));
        assert_eq!((breaker.lets_through(at(210)), breaker.lets_through(at(211))), (None, Some(true)));
        assert!(breaker.hear(Heard::Alive, true, at(211)) && !breaker.is_open());
    }

    #[test]
    fn nothing_goes_earlier_than_the_target_asked() {
        let mut breaker = Breaker::default();
        breaker.hear(Heard::Wait(60_000), false, at(0));
        breaker.hear(Heard::Wait(10_000), false, at(1));
        breaker.hear(Heard::Alive, false, at(2));
        assert_eq!(breaker.lets_through(at(59)), None);
        assert_eq!([59, 60].map(|now| breaker.would_let_through(at(now))), [0, usize::MAX]);
        assert_eq!(breaker.lets_through(at(60)), Some(false));
        breaker.hear(Heard::Wait(i64::MAX), false, at(60));
        assert_eq!(breaker.lets_through(at(60 + 365 * 86_400)), None, "never earlier than it asked");
        let mut breaker = Breaker::default();
        breaker.hear(Heard::Wait(7_200_000), false, at(0));
        assert_eq!((breaker.lets_through(at(7_199)), breaker.lets_through(at(7_200))), (None, Some(false)));
    }
}
