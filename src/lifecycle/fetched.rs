//! The bytes of an announced file, before there is a plan: fetched by attempts of their own.
//!
//! While a file with a [`Fetch`] is RECEIVED, the fetch is its only dispatch, under the name [`FILE_TARGET`], with a policy
//! that is derived from what its arrival froze: attempts, outcomes, back-offs and deadlines are those of every dispatch. It
//! needs no person, because no target has heard of the file: whatever would hold another dispatch fails the file.

use std::collections::BTreeMap;

use super::file::{Dispatch, File};
use super::planned::Planned;
use crate::record::{
    Arrival, Cause, Confirmation, ConfirmedBy, Escalation, FILE_TARGET, Failure, HeldBecause, OnExhausted, OnFailed,
    OnOverdue, OnUnknown, Outcome, PlannedDispatch, Request, Retry, SettledBy, State, Status, TargetName, Timeouts,
    Timestamp, TransportKind, dispatch_key,
};

/// The reason of a file that FAILED because its bytes aren't what was announced, or can't be had.
pub const NOT_AS_ANNOUNCED: &str = "CG150";
/// How long an attempt may wait to leave, in milliseconds.
const SEND_WITHIN_MS: i64 = 30_000;

impl File {
    /// Whether its bytes are still to be fetched, or have just been.
    pub fn is_fetching(&self) -> bool {
        self.state == State::Received && !self.dispatches.is_empty()
    }

    /// Whether its bytes are there as announced, and it is to be planned.
    pub fn is_fetched(&self) -> bool {
        self.is_fetching() && self.dispatches[0].status == Status::Succeeded
    }

    /// The fetch leaves the dispatches: a plan takes their place, or there will be none.
    pub(super) fn end_fetch(&mut self) {
        if self.is_fetching() {
            self.fetch = self.dispatches.pop();
            self.by_target = None;
        }
    }

    /// The fetch has settled: the file can be planned, or it FAILED.
    pub(super) fn fetch_settled(&mut self, at: Timestamp) {
        let fetch = &self.dispatches[0];
        if fetch.status == Status::Succeeded && !self.overdue {
            return;
        }
        let said = fetch.last_outcome.as_ref().map_or_else(|| "nothing was heard".to_owned(), |last| last.code.clone());
        let text = if self.overdue {
            format!("its bytes were not fetched before its deadline; the last attempt: {said}")
        } else {
            format!("its bytes, after {} attempts: {said}", fetch.attempts)
        };
        self.reason = Some(Failure { code: NOT_AS_ANNOUNCED.into(), text });
        self.end_fetch();
        self.state = State::Failed;
        self.settled_at = Some(at);
    }

    /// Adds to why the file FAILED what the report said in words: expected and found.
    pub(super) fn explain_fetch(&mut self, outcome: &Outcome) {
        if let (State::Failed, Some(reason), Some(detail)) = (self.state, &mut self.reason, &outcome.detail) {
            reason.text.push_str(": ");
            reason.text.push_str(detail);
        }
    }

    /// What would wait for a person ends here.
    pub(super) fn give_fetch_up(&mut self, because: HeldBecause, at: Timestamp, cause: &Cause) {
        let by = if because == HeldBecause::FileOverdue { SettledBy::Deadline } else { SettledBy::Target };
        let version = self.version;
        self.dispatches[0].settle(Status::Failed, by, version, at, cause);
        self.fetch_settled(at);
    }
}

/// The fetch of a file's bytes as a dispatch; none where its arrival asks for none.
pub(super) fn fetch_of(arrival: &Arrival) -> Option<Dispatch> {
    fetch_plan(arrival).map(|plan| Dispatch::planned(&Planned::of(&plan)))
}

/// What holds for the attempts at a file's bytes, as if it were a plan; none where its arrival asks for none.
pub fn fetch_plan(arrival: &Arrival) -> Option<PlannedDispatch> {
    let fetch = arrival.fetch.as_ref()?;
    let target = TargetName::trusted(FILE_TARGET);
    Some(PlannedDispatch {
        file_id: arrival.file_id.clone(),
        version: arrival.version,
        cause: arrival.cause.clone(),
        ordinal: 0,
        of: 1,
        expected_targets: None,
        idempotency_key: dispatch_key(&arrival.file_id, &target),
        target,
        arrival_digest: arrival.manifest_digest.clone(),
        content_digest: None,
        routing_digest: String::new(),
        plan_digest: arrival.manifest_digest.clone(),
        planner_version: 0,
        transport: TransportKind::Http,
        request: Request {
            destination: arrival.manifest.location.clone().unwrap_or_default(),
            method: None,
            headers: BTreeMap::new(),
            key: None,
            content_type: String::new(),
            body: None,
            body_of_file: None,
            auth: None,
            tls: None,
            sign_with: None,
            cluster: None,
            in_transaction: None,
        },
        after: Vec::new(),
        confirmed_by: ConfirmedBy::by(Confirmation::Transport),
        // Reading twice changes nothing.
        on_unknown: OnUnknown::Retry,
        on_overdue: OnOverdue::Fail,
        on_exhausted: OnExhausted::Fail,
        on_failed: OnFailed::Settle,
        retry: Retry {
            attempts: fetch.attempts,
            operator_attempts: 0,
            refusals: 0,
            schedule_ms: fetch.schedule_ms.clone(),
            jitter_percent: fetch.jitter_percent,
            give_up_after_ms: None,
            retry_after_max_ms: fetch.file_deadline.millis_since(arrival.received_at).max(0),
        },
        timeouts: Timeouts {
            send_within_ms: SEND_WITHIN_MS,
            request_ms: fetch.request_ms,
            max_clock_skew_ms: fetch.max_clock_skew_ms,
        },
        escalation: Escalation { first_ms: i64::MAX, max_ms: i64::MAX },
        operator_confirm: false,
        file_deadline: fetch.file_deadline,
        owner: super::next::CONSIGN.to_owned(),
        planned_at: arrival.received_at,
    })
}
