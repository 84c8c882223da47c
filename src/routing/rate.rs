//! How fast requests may leave for a target: `50/s`, `10/m`, `100/h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// So many requests in a second, a minute or an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub requests: u32,
    /// In what time.
    pub per: Per,
}

/// The time of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
}

/// Most requests of a rate.
const MAX_RATE: u32 = 10_000;

impl Rate {
    /// From one request to the next.
    pub fn period(self) -> Duration {
        let per = match self.per {
            Per::Second => Duration::from_secs(1),
            Per::Minute => Duration::from_mins(1),
            Per::Hour => Duration::from_hours(1),
        };
        per / self.requests
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Second => 's',
            Per::Minute => 'm',
            Per::Hour => 'h',
        };
        write!(f, "{}/{per}", self.requests)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is no rate such as 50/s, 10/m or 100/h, from 1 to {MAX_RATE} requests");
        let (requests, per) = text.split_once('/').ok_or_else(refused)?;
        let per = match per {
            "s" => Per::Second,
            "m" => Per::Minute,
            "h" => Per::Hour,
            _ => return Err(refused()),
        };
        let is_number = !requests.starts_with('0') && requests.bytes().all(|b| b.is_ascii_digit());
        let requests = requests.parse().ok().filter(|n| is_number && (1..=MAX_RATE).contains(n)).ok_or_else(refused)?;
        Ok(Self { requests, per })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for (text, period_ms) in [("50/s", 20), ("1/s", 1_000), ("10/m", 6_000), ("100/h", 36_000)] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.to_string().as_str(), rate.period()), (text, Duration::from_millis(period_ms)));
        }
        for wrong in ["", "50", "/s", "0/s", "05/s", "+5/s", "10001/s", "5/d", "5 / s", "5/s/s", "5.5/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
