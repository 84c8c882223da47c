//! Records of targets that are part of transactions: their topic is the journal of what the targets received.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use crate::log::TargetRecord;
use crate::record::{DispatchAttempt, PlannedDispatch, Timestamp, Topic, attempt_key, dispatch_key};
use crate::routing::sha256_digest;
use crate::verify::{Report, Request, Violation};

impl World {
    /// What the targets received by committed transactions, in order.
    pub fn received_in_transactions(&self) -> Vec<Request> {
        let request = |(at, record): (_, TargetRecord)| Request {
            idempotency_key: header(&record, "idempotency-key"),
            attempt: header(&record, "consign-attempt").parse().unwrap_or(0),
            body_sha256: sha256_digest(&record.value),
            received_at: at,
        };
        self.cluster.target_records().into_iter().map(request).collect()
    }

    /// Each attempt of such a target has its record, once, and each record its attempt, unless the file is forgotten.
    pub(super) fn check_records(&self, report: &mut Report) {
        let mut seen = BTreeMap::<String, Vec<Timestamp>>::new();
        for request in self.received_in_transactions() {
            let times = seen.entry(format!("{}/{}", request.idempotency_key, request.attempt)).or_default();
            times.push(request.received_at);
        }
        let mut broken = |text: String| {
            report.violations.push(Violation { invariant: "I5", file_id: None, text, at: None });
        };
        // A file that was forgotten may have come again, with the same attempts.
        let forgets_after_ms = self.forgets_after_ms();
        let is_twice = |times: &[Timestamp]| times.windows(2).any(|w| w[1].millis_since(w[0]) < forgets_after_ms);
        for (attempt, times) in seen.iter().filter(|(_, times)| is_twice(times)) {
            broken(format!("{attempt} is on its topic {} times", times.len()));
        }
        let plans: BTreeSet<String> = self
            .newest::<PlannedDispatch>(Topic::Plans)
            .into_iter()
            .filter(|plan| plan.request.is_in_transaction() && self.names.topic(&plan.request.destination).is_none())
            .map(|plan| dispatch_key(&plan.file_id, &plan.target))
            .collect();
        for attempt in self.newest::<DispatchAttempt>(Topic::Attempts) {
            let key = attempt_key(&attempt.file_id, &attempt.target, attempt.attempt);
            if plans.contains(&attempt.idempotency_key) && !seen.contains_key(&key) {
                broken(format!("{key} is authorized, and its topic doesn't have it"));
            }
        }
    }

    /// The newest value of each key of a topic.
    fn newest<T: crate::record::Wire>(&self, topic: Topic) -> Vec<T> {
        let records = self.cluster.dump(topic);
        let by_key: BTreeMap<_, _> = records.iter().map(|record| (record.key.as_deref(), record)).collect();
        by_key.into_values().filter_map(|r| self.codec.decode(r.value.as_deref()?).ok()).collect()
    }
}

fn header(record: &TargetRecord, name: &str) -> String {
    let found = record.headers.iter().find(|(header, _)| header == name);
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}
