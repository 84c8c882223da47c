//! Fetching the bytes of an announced file: one attempt, one report.

use std::time::Duration;

use super::{Phase, Shared, reached};
use crate::record::{Arrival, Bytes, DispatchAttempt, Outcome, OutcomeKind, Reporter};
use crate::transport::content::{Announced, Fault, Found};

/// What an attempt found, and the bytes where they are to be recorded.
type Read = Result<(Found, Option<Vec<u8>>), Fault>;

impl Shared {
    /// One attempt at a file's bytes. It begins in time or not at all, and ends within its time-out or with the process.
    pub(super) async fn fetch(&self, arrival: &Arrival, attempt: &DispatchAttempt) -> Outcome {
        let mut phase = self.phase.subscribe();
        let unsent = |code, detail: &str| Err(Fault::transient(code, detail));
        let read = if *phase.borrow() > Phase::Running {
            unsent("stopped", "the worker stopped before it was fetched")
        } else if (self.clock)() > attempt.send_before {
            unsent("dropped_unsent", "the time to fetch it by had passed")
        } else {
            tokio::select! {
                biased;
                read = self.read(arrival) => read,
                // Reading changes nothing anywhere: it may be broken off at once.
                () = reached(&mut phase, Phase::Closing) => unsent("stopped", "the worker stopped while it was fetched"),
            }
        };
        self.report_of(attempt, read)
    }

    async fn read(&self, arrival: &Arrival) -> Read {
        let Some(fetch) = &arrival.fetch else {
            return Err(Fault::last("location_refused", "nothing says how it is fetched"));
        };
        let announced = Announced::of(&arrival.manifest, fetch);
        let reading = async {
            let opened = self.contents.open(announced).await?;
            if fetch.keep {
                opened.whole().await.map(|(bytes, found)| (found, Some(bytes)))
            } else {
                opened.verify().await.map(|found| (found, None))
            }
        };
        let limit = Duration::from_millis(u64::try_from(fetch.request_ms).unwrap_or(0));
        let timeout = || Err(Fault::transient("timeout", format!("it was not read within {limit:?}")));
        tokio::time::timeout(limit, reading).await.unwrap_or_else(|_| timeout())
    }

    fn report_of(&self, attempt: &DispatchAttempt, read: Read) -> Outcome {
        let of = |kind| {
            let (id, target) = (attempt.file_id.clone(), attempt.target.clone());
            Outcome {
                attempt: Some(attempt.attempt),
                ..Outcome::new(id, target, kind, Reporter::Transport, (self.clock)())
            }
        };
        match read {
            Ok((found, bytes)) => Outcome {
                code: "as_announced".into(),
                received_digest: Some(found.digest),
                received_size: i64::try_from(found.size).ok(),
                content: bytes.map(Bytes::from),
                ..of(OutcomeKind::Succeeded)
            },
            Err(fault) => {
                let (kind, retry_after_ms) = fault.outcome();
                Outcome { code: fault.code.into(), detail: Some(fault.detail), retry_after_ms, ..of(kind) }
            }
        }
    }
}
