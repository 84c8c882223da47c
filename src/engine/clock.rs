//! The clock rule: a worker whose clock is off decides nothing. It would fire timers that aren't due, write deadlines that are
//! wrong, and take what was just announced for older than the memory that tells duplicates.
//!
//! The broker's clock is measured by a record: the worker notes its own time, commits a tombstone under a key of its own on
//! `controls` together with the position of an input, notes its time again, and reads the record back with the broker's
//! LogAppendTime. The broker stamped it between the two readings, so the clock is off by something between
//! first − stamp and second − stamp: the round trip widens the answer and never falsifies it.

use super::Unwell;
use super::observed::Observed;
use super::worker::Worker;
use crate::log::{Append, LogError, Record};
use crate::record::{Timestamp, Topic};

/// How often the clock is measured, in milliseconds.
const EVERY_MS: i64 = 60_000;

/// How often it is measured while it is off, in milliseconds.
const EVERY_MS_WHILE_OFF: i64 = 5_000;

/// For how long a measurement may not be read back before the worker says that it waits for one, in milliseconds.
const AWAITED_MS: i64 = 10_000;

/// Whether something that is looked at every so often is to be looked at: its next time has come, or lies further ahead than
/// the interval, as after a clock was set back.
pub(super) fn is_time(next: Timestamp, every_ms: i64, now: Timestamp) -> bool {
    next <= now || next.millis_since(now) > every_ms
}

/// The header that tells one measurement from another.
const MARK: &str = "consign-clock";

/// What a measurement showed: the clock is ahead of the broker's by something between the two, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offset {
    at_least: i64,
    at_most: i64,
}

impl Offset {
    /// The stamp was given between the two readings.
    fn of(before: Timestamp, stamp: Timestamp, after: Timestamp) -> Self {
        Self { at_least: before.millis_since(stamp), at_most: after.millis_since(stamp) }
    }

    /// Whether it is off by more than this, whatever the round trip was.
    fn exceeds(self, max_ms: i64) -> bool {
        self.at_least > max_ms || self.at_most < -max_ms
    }

    fn middle(self) -> i64 {
        i64::midpoint(self.at_least, self.at_most)
    }
}

/// A measurement whose record has not been read back.
#[derive(Debug)]
struct Asked {
    mark: String,
    before: Timestamp,
    after: Timestamp,
}

/// What a worker knows of its clock.
#[derive(Debug)]
pub(super) struct ClockCheck {
    /// Off by more than this is too much, in milliseconds; `None`: not measured at all.
    max_skew_ms: Option<i64>,
    key: String,
    asked: Option<Asked>,
    number: u64,
    measured: Option<(Timestamp, Offset)>,
    /// Whether anything may be decided: the last measurement was good, and the clock has not leapt since.
    trusted: bool,
    /// Whether the clock has leapt since a measurement was begun.
    leapt: bool,
    last_turn: Option<Timestamp>,
}

impl ClockCheck {
    pub fn new(identity: &str, max_skew_ms: Option<i64>) -> Self {
        Self {
            max_skew_ms,
            key: format!("clock/{identity}"),
            asked: None,
            number: 0,
            measured: None,
            trusted: max_skew_ms.is_none(),
            leapt: false,
            last_turn: None,
        }
    }

    /// Whether anything may be decided by this clock.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Why nothing is decided by the clock, unless that is over in a moment.
    pub fn unwell(&self) -> Option<Unwell> {
        self.off().or_else(|| self.unread()).map(|text| Unwell::new("CG219", text))
    }

    /// By how much the clock is off, if that is too much.
    fn off(&self) -> Option<String> {
        let (_, offset) = self.measured?;
        let max_ms = self.max_skew_ms?;
        offset.exceeds(max_ms).then(|| {
            let (by, side) = (offset.middle().abs(), if offset.middle() > 0 { "ahead of" } else { "behind" });
            format!("its clock is {by} ms {side} the broker's, more than {max_ms} ms")
        })
    }

    /// Since when the worker waits to read back what shows whether its clock is right.
    fn unread(&self) -> Option<String> {
        let asked = self.asked.as_ref().filter(|_| !self.trusted)?;
        let waits = self.last_turn?.millis_since(asked.before).abs() >= AWAITED_MS;
        waits.then(|| {
            let since = asked.before;
            format!("its clock isn't trusted before it reads back from `controls` what it wrote there at {since}")
        })
    }

    /// Knows nothing any more: without a partition nothing can be measured, and a verdict would stand for ever.
    fn forget(&mut self) {
        (self.asked, self.measured) = (None, None);
        self.trusted = self.max_skew_ms.is_none();
    }

    /// Whether a measurement is due. A clock that leapt between two turns, or a machine that slept, isn't trusted before
    /// the next one.
    fn is_due(&mut self, now: Timestamp) -> bool {
        let Some(max_ms) = self.max_skew_ms else { return false };
        let leap = self.last_turn.replace(now).map_or(0, |last| now.millis_since(last).abs());
        if leap > max_ms {
            self.trusted = false;
            self.leapt = true;
            self.asked = None;
        }
        let every = if self.off().is_some() { EVERY_MS_WHILE_OFF } else { EVERY_MS };
        let is_old = self.measured.is_none_or(|(at, _)| now.millis_since(at).abs() >= every);
        self.asked.is_none() && (is_old || self.leapt)
    }

    /// Takes in one of `controls`, if it is a measurement of anyone's; gives what it showed of this worker's clock.
    pub fn read_back(&mut self, record: &Record) -> Option<Observed> {
        if record.key.as_deref() != Some(self.key.as_bytes()) {
            return None;
        }
        let mark = record.header(MARK)?;
        let asked = self.asked.take_if(|asked| asked.mark.as_bytes() == mark)?;
        let offset = Offset::of(asked.before, record.timestamp, asked.after);
        self.measured = Some((asked.after, offset));
        self.trusted = !offset.exceeds(self.max_skew_ms?);
        Some(Observed::ClockMeasured { offset_ms: offset.middle(), within_ms: offset.at_most - offset.at_least })
    }
}

impl Worker {
    /// Measures the clock if it is time to, and reads the answer at once if it is there.
    pub(super) fn check_clock(&mut self, clock: &dyn Fn() -> Timestamp) -> Result<(), LogError> {
        // A transaction commits the position of an owned partition; a worker without one has nothing to decide either.
        if self.positions.is_empty() {
            self.clock.forget();
            return Ok(());
        }
        if !self.clock.is_due(clock()) {
            return Ok(());
        }
        self.commit_first_positions()?;
        let (input, position) = self.positions.first_key_value().map(|(tp, at)| (*tp, *at)).expect("not empty");
        self.clock.number += 1;
        let before = clock();
        // Unlike that of any measurement of an earlier life, which stands on the log too.
        let mark = format!("{}/{}", before.0, self.clock.number);
        let probe = Append {
            topic: Topic::Controls,
            partition: Some(0),
            key: self.clock.key.clone().into_bytes(),
            value: None,
            headers: vec![(MARK.to_owned(), mark.clone().into_bytes())],
        };
        self.transact(vec![probe], Vec::new(), &[(input, position)])?;
        self.clock.leapt = false;
        self.clock.asked = Some(Asked { mark, before, after: clock() });
        self.read_controls().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_that_is_not_read_back_is_said() {
        let mut clock = ClockCheck::new("w", Some(1_000));
        assert!(clock.is_due(Timestamp(0)), "it was never measured");
        clock.asked = Some(Asked { mark: "0/1".to_owned(), before: Timestamp(0), after: Timestamp(5) });
        for now in (0..AWAITED_MS).step_by(500) {
            assert!(!clock.is_due(Timestamp(now)), "one is on its way");
            assert_eq!(clock.unwell(), None, "that takes a moment");
        }
        assert!(!clock.is_due(Timestamp(AWAITED_MS)));
        assert!(clock.unwell().is_some_and(|unwell| unwell.code == "CG219" && unwell.text.contains("reads back")));
    }

    #[test]
    fn only_what_the_round_trip_can_not_explain_is_off() {
        let offset = |before, stamp, after| Offset::of(Timestamp(before), Timestamp(stamp), Timestamp(after));
        for (offset, off) in [
            (offset(1_000, 1_000, 1_010), false),
            (offset(3_000, 1_000, 3_010), false),
            (offset(3_001, 1_000, 3_010), true),
            (offset(1_000, 3_010, 1_010), false),
            (offset(1_000, 3_011, 1_010), true),
            // The answer took an hour: the stamp may lie anywhere in it.
            (offset(1_000, 3_000_000, 3_601_000), false),
            (offset(1_000, 3_604_000, 3_601_000), true),
        ] {
            assert_eq!(offset.exceeds(2_000), off, "{offset:?}");
        }
    }
}
