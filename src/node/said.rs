//! Trouble in the log: one line when it begins and one when it is over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::engine::Unwell;

/// For how long trouble must be gone before it is over: an input that waits is tried each second, and is well for that moment.
const OVER_AFTER: Duration = Duration::from_secs(5);

/// What was said of one worker, by code, and when it was so last.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<&'static str, Instant>);

impl Said {
    /// What keeps the worker from its work since now, and the codes of what is over.
    fn changes<'u>(&mut self, unwell: &'u [Unwell], now: Instant) -> (Vec<&'u Unwell>, Vec<&'static str>) {
        let begun = unwell.iter().filter(|u| self.0.insert(u.code, now).is_none()).collect();
        let is_over = |last: &Instant| now.saturating_duration_since(*last) >= OVER_AFTER;
        let over = self.0.extract_if(.., |_, last| is_over(last)).map(|(code, _)| code).collect();
        (begun, over)
    }

    /// Logs what began and what is over.
    pub(super) fn say(&mut self, worker: &str, unwell: &[Unwell], now: Instant) {
        let (begun, over) = self.changes(unwell, now);
        for new in begun {
            tracing::warn!(worker, code = new.code, "{}", new.text);
        }
        for code in over {
            tracing::info!(worker, code, "mended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(unwell: Vec<&Unwell>) -> Vec<&'static str> {
        unwell.into_iter().map(|u| u.code).collect()
    }

    #[test]
    fn what_comes_and_goes_is_said_once_and_is_over_once_it_stays_away() {
        let (mut said, begun) = (Said::default(), Instant::now());
        let waits = ["manifests/0 waits", "manifests/1 waits"].map(|text| Unwell { code: "CG208", text: text.into() });
        let mut lines = 0;
        for n in 0..60 {
            let now = begun + Duration::from_secs(n);
            let (new, over) = said.changes(&waits, now);
            assert_eq!(over, Vec::<&str>::new());
            lines += new.len();
            // Tried again, and well for a moment.
            assert_eq!(said.changes(&[], now + Duration::from_millis(500)), (vec![], vec![]));
        }
        assert_eq!(lines, 1);
        let last = begun + Duration::from_secs(59);
        assert_eq!(said.changes(&[], last + OVER_AFTER).1, ["CG208"]);
        assert_eq!(said.changes(&[], last + OVER_AFTER * 2).1, Vec::<&str>::new());
        assert_eq!(codes(said.changes(&waits[..1], last + OVER_AFTER * 3).0), ["CG208"]);
    }
}
