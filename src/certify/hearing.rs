//! What a receiver was heard to report, by callback or on the acks topic.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::gateway::{Report, Reported};
use crate::transport::AckTokens;

/// Most reports of one key that are kept.
const MAX_REPORTS: usize = 1_000;

/// What came for one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    /// Reports that count, in order.
    pub(super) reports: Vec<Report>,
    /// Why others don't.
    pub(super) wrong: Vec<String>,
}

impl Heard {
    /// The first report that ends the dispatch.
    pub(super) fn end(&self) -> Option<&Report> {
        self.reports.iter().find(|report| settles(report.outcome))
    }
}

pub(super) fn settles(outcome: Reported) -> bool {
    matches!(outcome, Reported::Succeeded | Reported::Duplicate | Reported::Rejected)
}

pub(super) fn is_success(outcome: Reported) -> bool {
    matches!(outcome, Reported::Succeeded | Reported::Duplicate)
}

/// Everything that was heard, by key.
pub(super) struct Reports {
    by_key: Mutex<BTreeMap<String, Heard>>,
    count: watch::Sender<usize>,
}

impl Default for Reports {
    fn default() -> Self {
        Self { by_key: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Heard>> {
        self.by_key.lock().expect("nothing panics while it is held")
    }

    /// Takes in a report, or why it doesn't count; gives whether it contradicts the one that ended the dispatch.
    pub(super) fn add(&self, key: &str, report: Result<Report, String>) -> bool {
        let contradicts = {
            let mut by_key = self.lock();
            let heard = by_key.entry(key.to_owned()).or_default();
            match report {
                Ok(report) => {
                    let contradicts = heard.end().is_some_and(|end| {
                        settles(report.outcome) && is_success(end.outcome) != is_success(report.outcome)
                    });
                    if heard.reports.len() < MAX_REPORTS {
                        heard.reports.push(report);
                    }
                    contradicts
                }
                Err(why) => {
                    if heard.wrong.len() < MAX_REPORTS {
                        heard.wrong.push(why);
                    }
                    false
                }
            }
        };
        self.count.send_modify(|count| *count += 1);
        contradicts
    }
}

/// Listens until it is dropped.
pub(super) struct Hearing {
    pub(super) reports: Arc<Reports>,
    /// The URL of the place where callbacks are heard, as the receiver reaches it; none where acks are read.
    pub(super) base: Option<String>,
    /// What the tokens are made by.
    pub(super) tokens: Arc<AckTokens>,
    /// Ends what listens as it is dropped.
    pub(super) _listener: Box<dyn Send + Sync>,
}

impl Hearing {
    /// What came for a key so far.
    pub(super) fn of(&self, key: &str) -> Heard {
        self.reports.lock().get(key).cloned().unwrap_or_default()
    }

    /// Waits until a condition holds, looked at with each report.
    pub(super) async fn until(&self, holds: impl Fn() -> bool) {
        let mut count = self.reports.count.subscribe();
        // The sender is in `reports`.
        let _ = count.wait_for(|_| holds()).await;
    }
}
