//! What the targets received: after the commit (I5, I9), the same every time (I7), once where it must be (I8).

use std::collections::{BTreeMap, BTreeSet};

use super::collect::FileRecords;
use super::{Checker, Due, Options, Request};
use crate::record::{FileId, OnUnknown, PlannedDispatch, file_id_of_key};
use crate::routing::sha256_digest;

impl Checker {
    pub(super) fn check_requests(&mut self, files: &BTreeMap<String, FileRecords>) {
        let requests = std::mem::take(&mut self.requests);
        for (key, requests) in &requests {
            let id = FileId::trusted(file_id_of_key(key));
            let target = key.split_once('/').map_or("", |(_, target)| target);
            let file = files.get(id.as_str());
            match file.and_then(|f| Some((f, f.plans.get(target)?))) {
                Some((file, plan)) => {
                    // A file that was forgotten and came again has requests of its earlier life in the journal.
                    let (earlier, of_this_life): (Vec<Request>, Vec<Request>) =
                        requests.iter().cloned().partition(|r| is_of_earlier_life(file, r, &self.options));
                    for request in &of_this_life {
                        self.check_request(&id, file, &plan.value, plan.timestamp.0, request);
                    }
                    self.check_repeats(&id, &plan.value, &of_this_life);
                    for _ in earlier {
                        self.report.add("requests.not_provable");
                    }
                }
                None if file.is_some_and(|f| f.forgotten) || requests.iter().all(|r| self.is_old(r)) => {
                    self.report.add("requests.not_provable");
                }
                None => {
                    self.report.broken("I9", Some(&id), None, format!("{key} was requested and never planned"));
                }
            }
        }
    }

    /// Whether its file may have been forgotten since.
    fn is_old(&self, request: &Request) -> bool {
        self.newest.millis_since(request.received_at) > self.options.retention_ms
    }

    fn check_request(
        &mut self,
        id: &FileId,
        file: &FileRecords,
        plan: &PlannedDispatch,
        planned_at_ms: i64,
        request: &Request,
    ) {
        let latest = request.received_at.plus_millis(self.options.max_clock_skew_ms);
        let what = format!("request {} of {}", request.attempt, request.idempotency_key);
        if planned_at_ms > latest.0 {
            self.report.broken("I9", Some(id), None, format!("{what} came before its plan"));
        }
        match file.attempts.get(&(plan.target.to_string(), request.attempt)) {
            None => {
                if self.options.due == Due::Everything {
                    self.report.broken("I5", Some(id), None, format!("{what} has no attempt record"));
                }
            }
            Some(attempt) if attempt.timestamp > latest || attempt.value.authorized_at > latest => {
                self.report.broken("I5", Some(id), Some(attempt.place), format!("{what} came before its attempt"));
            }
            Some(_) => {}
        }
        let expected = match (&plan.request.body, &plan.request.body_of_file) {
            (Some(body), _) => sha256_digest(body.as_ref()),
            (None, Some(file)) => file.digest.clone(),
            (None, None) => sha256_digest(b""),
        };
        if expected != request.body_sha256 {
            self.report.broken("I7", Some(id), None, format!("{what} carried other bytes than planned"));
        }
    }

    fn check_repeats(&mut self, id: &FileId, plan: &PlannedDispatch, requests: &[Request]) {
        let mut seen = BTreeSet::new();
        for request in requests {
            if !seen.insert(request.attempt) {
                self.report.add("requests.repeated");
                if plan.on_unknown == OnUnknown::Hold {
                    let text = format!("{}, a `hold` target, saw attempt {} twice", plan.target, request.attempt);
                    self.report.broken("I8", Some(id), None, text);
                }
            }
        }
    }
}

/// Whether a request was received before its file, which was forgotten once, arrived again. Compaction may have removed
/// what says that it was forgotten: then its age says so.
fn is_of_earlier_life(file: &FileRecords, request: &Request, options: &Options) -> bool {
    let remembered_ms = crate::engine::forgets_after_ms(options.retention_ms) - 2 * options.max_clock_skew_ms;
    file.arrival.as_ref().is_some_and(|arrival| {
        let before_ms = arrival.timestamp.millis_since(request.received_at);
        before_ms > 0 && (file.forgotten || before_ms >= remembered_ms)
    })
}
