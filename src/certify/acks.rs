//! Reads what a receiver writes to the acks topic, and judges each record as the engine would.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::hearing::{Hearing, Reports};
use super::sender::{PREFIX, tokens};
use super::{AcksTopic, CertifyError};
use crate::gateway::{Report, Reported};
use crate::log::{LogError, Reader, Record, scan};
use crate::record::{Codec, Outcome, OutcomeKind, PlannedDispatch, TokenCheck, Topic, dispatch_key};
use crate::transport::AckTokens;

/// Records of one poll at most.
const POLL: usize = 1_000;
/// How long one poll waits.
const WAIT: Duration = Duration::from_millis(100);
/// How long nothing may come while what is there already is read.
const PATIENCE: Duration = Duration::from_secs(30);

/// What records are judged by.
struct Judge {
    reports: Arc<Reports>,
    tokens: Arc<AckTokens>,
    codec: Arc<Codec>,
    /// What comes behind the `file_id` in the keys of the target.
    suffix: String,
    /// Whether an ack must have a token.
    demands_token: bool,
}

/// Tells the thread to end.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Begins to read: first to the end of what is there, and then what comes.
pub(super) async fn hear(topic: AcksTopic, plan: &PlannedDispatch) -> Result<Hearing, CertifyError> {
    let failed = |e: LogError| CertifyError::Acks(e.to_string());
    let AcksTopic { cluster, codec } = topic;
    let opened = tokio::task::spawn_blocking(move || {
        let mut reader = cluster.follow(&[Topic::Acks])?;
        // What stands there is about others' files.
        scan(reader.as_mut(), PATIENCE, |_, _| Ok::<_, LogError>(std::ops::ControlFlow::Continue(())))?;
        Ok(reader)
    });
    let reader = opened.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())).map_err(failed)?;
    let (reports, tokens, stop) = (Arc::<Reports>::default(), tokens(), Arc::new(AtomicBool::new(false)));
    let judge = Judge {
        reports: Arc::clone(&reports),
        tokens: Arc::clone(&tokens),
        codec,
        suffix: format!("/{}", plan.target),
        demands_token: plan.confirmed_by.token,
    };
    let stopped = Arc::clone(&stop);
    let follower = std::thread::Builder::new().name("acks".to_owned());
    let follower = follower.spawn(move || follow(reader, &judge, &stopped));
    follower.map_err(|e| CertifyError::Acks(e.to_string()))?;
    Ok(Hearing { reports, base: None, tokens, _listener: Box::new(StopOnDrop(stop)) })
}

fn follow(mut reader: Box<dyn Reader>, judge: &Judge, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        match reader.poll(POLL, WAIT) {
            Ok(records) => records.iter().for_each(|record| judge.take(record)),
            // What isn't heard is missing in the report; the reader may come back.
            Err(e) => {
                tracing::warn!("the acks topic can't be read: {e}");
                std::thread::sleep(WAIT);
            }
        }
    }
}

impl Judge {
    /// Takes in a record about a file that was made up here.
    fn take(&self, record: &Record) {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
        if key.starts_with(PREFIX) && key.ends_with(&self.suffix) {
            self.reports.add(key, self.judged(key, record.value.as_deref()));
        }
    }

    fn judged(&self, key: &str, value: Option<&[u8]>) -> Result<Report, String> {
        let value = value.ok_or("it has no value")?;
        let ack: Outcome = self.codec.decode(value).map_err(|e| e.to_string())?;
        if dispatch_key(&ack.file_id, &ack.target) != key {
            return Err("its key isn't file_id and target of its value".to_owned());
        }
        match self.tokens.check(key, ack.ack_token.as_deref()) {
            TokenCheck::Wrong => return Err("its ack_token is not that of the request".to_owned()),
            TokenCheck::Absent if self.demands_token => {
                return Err("it has no ack_token, and the target says `token: true`".to_owned());
            }
            TokenCheck::Ok | TokenCheck::Absent => {}
        }
        let outcome = match ack.kind {
            OutcomeKind::Accepted => Reported::Accepted,
            OutcomeKind::Succeeded => Reported::Succeeded,
            OutcomeKind::Duplicate => Reported::Duplicate,
            OutcomeKind::Rejected => Reported::Rejected,
            OutcomeKind::Retryable => Reported::RetryLater,
            kind => return Err(format!("{kind} is nothing that a receiver says")),
        };
        let settles = super::hearing::settles(outcome);
        match ack.attempt {
            Some(attempt) if attempt < 1 => return Err(format!("there is no attempt {attempt}")),
            None if !settles => return Err(format!("{} names no attempt", ack.kind)),
            _ => {}
        }
        Ok(Report {
            outcome,
            idempotency_key: Some(key.to_owned()),
            attempt: ack.attempt,
            received_digest: ack.received_digest,
            received_size: ack.received_size,
            reference: ack.reference,
            reason: ack.detail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{FileId, Reporter, TargetName, Timestamp};
    use crate::transport::testing::codec;

    #[test]
    fn an_ack_counts_as_the_engine_would_take_it() {
        let tokens = tokens();
        let judge = |demands_token| Judge {
            reports: Arc::default(),
            tokens: Arc::clone(&tokens),
            codec: codec(),
            suffix: "/a".to_owned(),
            demands_token,
        };
        let token = tokens.issue("certify-1/a");
        let ack = |kind, attempt, ack_token: Option<&str>| Outcome {
            attempt,
            ack_token: ack_token.map(str::to_owned),
            ..Outcome::new(FileId::trusted("certify-1"), TargetName::trusted("a"), kind, Reporter::Acks, Timestamp(1))
        };
        let right = Some(token.as_str());
        for (ack, demands_token, wrong) in [
            (ack(OutcomeKind::Succeeded, None, right), true, None),
            (ack(OutcomeKind::Duplicate, Some(1), None), false, None),
            (ack(OutcomeKind::Accepted, Some(1), right), true, None),
            (ack(OutcomeKind::Succeeded, None, None), true, Some("no ack_token")),
            (ack(OutcomeKind::Succeeded, None, Some("certify.AAAA")), false, Some("not that of the request")),
            (ack(OutcomeKind::Accepted, None, right), true, Some("names no attempt")),
            (ack(OutcomeKind::Retryable, None, right), true, Some("names no attempt")),
            (ack(OutcomeKind::Succeeded, Some(0), right), true, Some("no attempt 0")),
            (ack(OutcomeKind::Unknown, Some(1), right), true, Some("nothing that a receiver says")),
        ] {
            let value = codec().encode_for(Topic::Acks, &ack).expect("the ids are known");
            let judged = judge(demands_token).judged("certify-1/a", Some(&value)).err();
            match wrong {
                None => assert_eq!(judged, None, "{ack:?}"),
                Some(wrong) => assert!(judged.as_ref().is_some_and(|why| why.contains(wrong)), "{judged:?}: {ack:?}"),
            }
        }
        let other =
            codec().encode_for(Topic::Acks, &ack(OutcomeKind::Succeeded, None, right)).expect("the ids are known");
        assert!(judge(false).judged("certify-2/a", Some(&other)).is_err());
        assert!(
            judge(false).judged("certify-1/a", Some(b"{}")).is_err()
                && judge(false).judged("certify-1/a", None).is_err()
        );
    }
}
