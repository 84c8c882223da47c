//! Sends requests by the production transport, and brings back what became of each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::oneshot;

use super::Subject;
use super::hearing::Hearing;
use crate::log::{Append, Appender, BoxFuture, LogError, TopicPartition};
use crate::record::registry::LocalRegistry;
use crate::record::{Authorization, Codec, DispatchAttempt, FileId, Outcome, PlannedDispatch, Timestamp, dispatch_key};
use crate::routing::{Response, response_rule};
use crate::transport::{
    AckTokens, Answer, Capacity, Clock, Dispatch, HttpParts, HttpTransport, KafkaTargets, Secret, Transport as _,
    wall_clock,
};

/// Longest that a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How old a stale request's timestamp is, in milliseconds: twice what a receiver may tolerate.
const STALE_MS: i64 = 600_000;
/// The secret that no receiver knows.
const STRANGER: &str = "consign-certify-stranger";

/// How the identity of each file begins that is made up here.
pub(super) const PREFIX: &str = "certify-";

/// A file that nobody has seen.
pub(super) fn fresh_file() -> FileId {
    FileId::trusted(&format!("{PREFIX}{}", uuid::Uuid::now_v7().simple()))
}

/// Tokens of a key that nobody has.
pub(super) fn tokens() -> Arc<AckTokens> {
    let tokens = AckTokens::new(vec![("certify".to_owned(), chance().to_vec())]);
    Arc::new(tokens.unwrap_or_else(|_| unreachable!("32 bytes suffice")))
}

fn chance() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes
}

/// Who signs a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    /// Nobody.
    Not,
    /// A stranger.
    ByStranger,
    /// A stranger, and then whoever should.
    StrangerFirst,
    /// Whoever should, and then a stranger.
    StrangerLast,
}

type Waiting = Mutex<BTreeMap<(String, i32), oneshot::Sender<Outcome>>>;

/// Takes reports off the transport.
struct Collected {
    waiting: Waiting,
    codec: Arc<Codec>,
}

impl Appender for Collected {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(TopicPartition, i64), LogError>> {
        Box::pin(async move {
            let at = TopicPartition { topic: append.topic, partition: append.partition.unwrap_or(0) };
            let outcome = append.value.as_deref().and_then(|value| self.codec.decode::<Outcome>(value).ok());
            if let Some(outcome) = outcome {
                let key = (dispatch_key(&outcome.file_id, &outcome.target), outcome.attempt.unwrap_or(0));
                let waiting = self.waiting.lock().expect("nothing panics while it is held").remove(&key);
                // Whoever waited may have gone.
                waiting.map(|waiting| waiting.send(outcome).ok());
            }
            Ok((at, 0))
        })
    }
}

/// One dispatch of a file that nobody has seen.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) plan: Arc<PlannedDispatch>,
}

impl Case {
    pub(super) fn key(&self) -> &str {
        &self.plan.idempotency_key
    }

    /// The same, signed otherwise.
    pub(super) fn signed(&self, signed: Signed) -> Self {
        let mut plan = PlannedDispatch::clone(&self.plan);
        let own = plan.request.sign_with.take().unwrap_or_default();
        let stranger = || STRANGER.to_owned();
        plan.request.sign_with = match signed {
            Signed::Not => None,
            Signed::ByStranger => Some(vec![stranger()]),
            Signed::StrangerFirst => Some([vec![stranger()], own].concat()),
            Signed::StrangerLast => Some([own, vec![stranger()]].concat()),
        };
        Self { plan: Arc::new(plan) }
    }
}

/// Sends cases.
pub(super) struct Sender {
    fresh: HttpTransport,
    stale: HttpTransport,
    collected: Arc<Collected>,
    sent: AtomicUsize,
}

impl Sender {
    pub(super) fn new(subject: &Subject, plan: &PlannedDispatch, hearing: Option<&Hearing>) -> Self {
        let codec = Arc::new(Codec::new(Arc::new(LocalRegistry)));
        let collected = Arc::new(Collected { waiting: Mutex::default(), codec: Arc::clone(&codec) });
        let mut secrets = subject.secrets.clone();
        if let Some(own) = plan.request.sign_with.iter().flatten().next() {
            // A key of the same kind; where there is none of its own, the first request says so.
            let is_asymmetric = |secret: &Secret| secret.text().is_some_and(|text| text.starts_with("whsk_"));
            let prefix =
                if secrets.read(own).is_ok_and(|own| is_asymmetric(&own.current)) { "whsk_" } else { "whsec_" };
            let key = format!("{prefix}{}", STANDARD.encode(chance()));
            secrets.held.insert(STRANGER.to_owned(), Secret::new(key.into_bytes()));
        }
        let tokens = hearing.map_or_else(tokens, |hearing| Arc::clone(&hearing.tokens));
        let rule = |rule: &str, answer: &Answer| {
            let (headers, body) = (answer.headers.clone(), answer.body.clone());
            response_rule(rule, &Response { status: answer.status, headers, body })
        };
        let parts = HttpParts {
            appender: Arc::clone(&collected) as Arc<dyn Appender>,
            codec,
            tokens,
            rule: Arc::new(rule),
            clock: wall_clock(),
            connect_timeout: CONNECT_TIMEOUT,
            egress: subject.egress.clone(),
            secrets,
            callback_base: hearing.and_then(|hearing| hearing.base.clone()),
            kafka: KafkaTargets::default(),
            places: subject.places.clone(),
        };
        let now = wall_clock();
        let clock: Clock = Arc::new(move || now().plus_millis(-STALE_MS));
        let handle = tokio::runtime::Handle::current();
        let stale = HttpTransport::new(handle.clone(), HttpParts { clock, ..parts.clone() }, "certify");
        Self { fresh: HttpTransport::new(handle, parts, "certify"), stale, collected, sent: AtomicUsize::new(0) }
    }

    /// Requests so far.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends an attempt of a case; gives what the transport reports.
    pub(super) async fn send(&self, case: &Case, attempt: i32) -> Outcome {
        self.send_by(&self.fresh, case, attempt).await
    }

    /// The same, signed a while ago.
    pub(super) async fn send_stale(&self, case: &Case, attempt: i32) -> Outcome {
        self.send_by(&self.stale, case, attempt).await
    }

    async fn send_by(&self, transport: &HttpTransport, case: &Case, number: i32) -> Outcome {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let (report, reported) = oneshot::channel();
        let place = (case.key().to_owned(), number);
        self.collected.waiting.lock().expect("nothing panics while it is held").insert(place, report);
        let plan = Arc::clone(&case.plan);
        // A capacity of its own for each: no breaker, because what is wrong here is asked for.
        let permit = Capacity::default().acquire(&plan.target, Timestamp(0));
        let permit = permit.unwrap_or_else(|| unreachable!("a fresh capacity has room"));
        let attempt = Arc::new(attempt_of(&plan, number));
        transport.clone().send(Dispatch { plan, attempt, home: 0, fetch: None, permit });
        reported.await.unwrap_or_else(|_| unreachable!("each attempt is reported, once"))
    }
}

fn attempt_of(plan: &PlannedDispatch, number: i32) -> DispatchAttempt {
    DispatchAttempt {
        file_id: plan.file_id.clone(),
        target: plan.target.clone(),
        attempt: number,
        version: plan.version + 1,
        cause: plan.cause.clone(),
        idempotency_key: plan.idempotency_key.clone(),
        plan_digest: plan.plan_digest.clone(),
        authorized_by: Authorization::RetryBudget,
        intervention_id: None,
        authorized_at: plan.planned_at,
        send_before: Timestamp(i64::MAX),
        deadline: Timestamp(i64::MAX),
        attempts_left: (plan.retry.attempts - number).max(0),
        worker: "certify".to_owned(),
    }
}
