//! When the next automatic attempt is due: a pure function of the plan, so that any schedule can be printed in advance.

use sha2::{Digest, Sha256};

use crate::record::{Retry, Timestamp};

/// The back-off after attempt `attempt` (from 1) of a dispatch, in milliseconds: the schedule's entry plus a share of it
/// up to `jitter_percent` that is a hash of key and attempt.
pub fn backoff_ms(idempotency_key: &str, retry: &Retry, attempt: i32) -> i64 {
    let place = usize::try_from(attempt.max(1) - 1).expect("not negative");
    let base = retry.schedule_ms.get(place).or(retry.schedule_ms.last()).copied().unwrap_or(0).max(0);
    let digest = Sha256::digest(format!("{idempotency_key}/{attempt}"));
    let draw = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let widest = i128::from(base) * i128::from(retry.jitter_percent.max(0)) / 100;
    let jitter = widest * i128::from(draw) / i128::from(u32::MAX);
    base.saturating_add(i64::try_from(jitter).unwrap_or(i64::MAX))
}

/// When the attempt after `attempt` is due, never earlier than the target asked for. `None` when the target asked for
/// a longer wait than the plan honours, or when the plan has given up by then.
pub(super) fn next_attempt_at(
    idempotency_key: &str,
    retry: &Retry,
    attempt: i32,
    now: Timestamp,
    first_attempt_at: Timestamp,
    retry_after_ms: Option<i64>,
) -> Option<Timestamp> {
    let asked = retry_after_ms.unwrap_or(0);
    if asked > retry.retry_after_max_ms {
        return None;
    }
    let due = now.plus_millis(backoff_ms(idempotency_key, retry, attempt).max(asked));
    let given_up = retry.give_up_after_ms.is_some_and(|limit| due > first_attempt_at.plus_millis(limit));
    (!given_up).then_some(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Retry {
        Retry {
            attempts: 5,
            operator_attempts: 3,
            refusals: 3,
            schedule_ms: vec![1_000, 5_000],
            jitter_percent: 20,
            give_up_after_ms: Some(60_000),
            retry_after_max_ms: 30_000,
        }
    }

    #[test]
    fn the_schedule_is_known_in_advance_and_its_last_entry_repeats() {
        for (attempt, base) in [(1, 1_000), (2, 5_000), (3, 5_000), (9, 5_000)] {
            let delay = backoff_ms("f/a", &retry(), attempt);
            assert!((base..=base + base / 5).contains(&delay), "{attempt}: {delay}");
            assert_eq!(delay, backoff_ms("f/a", &retry(), attempt));
        }
        assert_ne!(backoff_ms("f/a", &retry(), 2), backoff_ms("f/b", &retry(), 2));
    }

    #[test]
    fn a_target_is_never_asked_earlier_than_it_said() {
        let now = Timestamp(1_000_000);
        let next = |asked, first| next_attempt_at("f/a", &retry(), 1, now, first, asked);
        assert_eq!(next(Some(20_000), now), Some(now.plus_millis(20_000)));
        assert_eq!(next(Some(30_001), now), None, "longer than the plan honours");
        assert_eq!(next(None, Timestamp(940_000)), None, "given up");
    }
}
