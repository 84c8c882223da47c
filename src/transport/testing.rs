//! What tests of the outside share: an appender that remembers, and plans and attempts to send.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::log::{Append, Appender, BoxFuture, LogError, TopicPartition};
use crate::record::registry::LocalRegistry;
use crate::record::{
    Authorization, Bytes, Cause, Codec, Confirmation, ConfirmedBy, DispatchAttempt, Escalation, FileId, OnExhausted,
    OnFailed, OnOverdue, OnUnknown, Outcome, PlannedDispatch, Request, Retry, TargetName, Timeouts, Timestamp,
    TransportKind, dispatch_key,
};

/// Waits for what must come, and fails the test when it doesn't.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future).await.expect("it happens within a minute")
}

pub(crate) fn codec() -> Arc<Codec> {
    Arc::new(Codec::new(Arc::new(LocalRegistry)))
}

/// Remembers what was appended. It can be away for a while, and tells how often it was asked.
pub(crate) struct RecordingAppender {
    appended: Mutex<Vec<Append>>,
    away: watch::Sender<bool>,
    asked: watch::Sender<usize>,
    count: watch::Sender<usize>,
}

impl RecordingAppender {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            appended: Mutex::default(),
            away: watch::Sender::new(false),
            asked: watch::Sender::new(0),
            count: watch::Sender::new(0),
        })
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.send_replace(away);
    }

    /// Waits until it was asked that often, whether or not it took the record.
    pub(crate) async fn asked(&self, times: usize) {
        soon(self.asked.subscribe().wait_for(|asked| *asked >= times)).await.expect("the sender is here");
    }

    /// Waits for that many records and gives all there are.
    pub(crate) async fn appends(&self, at_least: usize) -> Vec<Append> {
        soon(self.count.subscribe().wait_for(|count| *count >= at_least)).await.expect("the sender is here");
        self.appended.lock().expect("not poisoned").clone()
    }

    /// Waits for that many records and reads all there are.
    pub(crate) async fn outcomes(&self, at_least: usize) -> Vec<Outcome> {
        let read = |append: Append| codec().decode(&append.value.expect("a report")).expect("an outcome");
        self.appends(at_least).await.into_iter().map(read).collect()
    }
}

impl Appender for RecordingAppender {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(TopicPartition, i64), LogError>> {
        Box::pin(async move {
            self.asked.send_modify(|asked| *asked += 1);
            if *self.away.borrow() {
                return Err(LogError::Away("for a test".into()));
            }
            let at = TopicPartition { topic: append.topic, partition: append.partition.unwrap_or(0) };
            let offset = {
                let mut appended = self.appended.lock().expect("not poisoned");
                appended.push(append);
                appended.len()
            };
            self.count.send_replace(offset);
            Ok((at, i64::try_from(offset).expect("few") - 1))
        })
    }
}

/// A plan for `f-1/a`, confirmed by its response where that is exactly `ok`.
pub(crate) fn plan(url: &str) -> PlannedDispatch {
    let (file_id, target) = (FileId::trusted("f-1"), TargetName::trusted("a"));
    PlannedDispatch {
        idempotency_key: dispatch_key(&file_id, &target),
        file_id,
        target,
        version: 2,
        cause: cause(),
        ordinal: 0,
        of: 1,
        expected_targets: None,
        arrival_digest: String::new(),
        content_digest: None,
        routing_digest: String::new(),
        plan_digest: "sha256:plan".into(),
        planner_version: 1,
        transport: TransportKind::Http,
        request: Request {
            destination: url.into(),
            method: Some("POST".into()),
            headers: BTreeMap::new(),
            key: None,
            content_type: "application/json".into(),
            body: Some(Bytes::from(br#"{"amount":10.50}"#.to_vec())),
            body_of_file: None,
            auth: None,
            tls: None,
            sign_with: None,
            cluster: None,
            in_transaction: None,
        },
        after: Vec::new(),
        confirmed_by: ConfirmedBy { succeeded: Some("ok".into()), ..ConfirmedBy::by(Confirmation::Response) },
        on_unknown: OnUnknown::Hold,
        on_overdue: OnOverdue::Hold,
        on_exhausted: OnExhausted::Hold,
        on_failed: OnFailed::Settle,
        retry: Retry {
            attempts: 5,
            operator_attempts: 3,
            refusals: 3,
            schedule_ms: vec![1000],
            jitter_percent: 0,
            give_up_after_ms: None,
            retry_after_max_ms: 60_000,
        },
        timeouts: Timeouts { send_within_ms: 60_000, request_ms: 60_000, max_clock_skew_ms: 1000 },
        escalation: Escalation { first_ms: 1000, max_ms: 1000 },
        operator_confirm: true,
        file_deadline: Timestamp(i64::MAX),
        owner: "team-a".into(),
        planned_at: Timestamp(0),
    }
}

/// An attempt of a plan that may be sent for ever.
pub(crate) fn attempt(plan: &PlannedDispatch, number: i32) -> DispatchAttempt {
    DispatchAttempt {
        file_id: plan.file_id.clone(),
        target: plan.target.clone(),
        attempt: number,
        version: 3,
        cause: cause(),
        idempotency_key: plan.idempotency_key.clone(),
        plan_digest: plan.plan_digest.clone(),
        authorized_by: Authorization::RetryBudget,
        intervention_id: None,
        authorized_at: Timestamp(0),
        send_before: Timestamp(i64::MAX),
        deadline: Timestamp(i64::MAX),
        attempts_left: plan.retry.attempts - number,
        worker: "w".into(),
    }
}

fn cause() -> Cause {
    Cause { topic: "t".into(), partition: 0, offset: 0 }
}
