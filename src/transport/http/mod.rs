//! The runner of all transports, and HTTP and webhooks: one request per attempt, one report per request.
//!
//! A request carries what was planned, byte for byte, and five headers that identify the attempt: `Idempotency-Key` (the
//! dispatch's key), `Content-Type`, `Consign-Attempt`, `Consign-Attempts-Left` and `traceparent`; a target that confirms
//! by callback or acks also gets its `Consign-Ack-Token`. A planned header of one of these names gives way.
//!
//! The time to send by is absolute, and it is compared with the wall clock, which goes on while the machine is suspended,
//! first when the task begins, again while it waits, and last once the connection stands. Where the wall clock is set back
//! meanwhile, the time that the task has run counts.
//!
//! A target with `on_unknown: hold` is asked over HTTP/1.1, where nothing leaves before that last comparison; one with
//! `on_unknown: retry` over HTTP/2 where it speaks it, and then a request that was given up is UNKNOWN.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::content::{Contents, Places};
use super::egress::Egress;
use super::kafka::{KafkaTargets, Written};
use super::report::Reports;
use super::secrets::Secrets;
use super::{AckTokens, Dispatch, Exchange, Heard, Permit, Rule, Transport, classify, record_headers};
use crate::log::Appender;
use crate::record::{
    Codec, DispatchAttempt, Outcome, OutcomeKind, PlannedDispatch, Reporter, Timestamp, Topic, TransportKind,
};

mod auth;
mod clients;
mod exchange;
mod fetch;
mod file_body;
mod gate;
mod late;
mod prepare;
mod redact;
mod unsent;

use auth::Tokens;
pub(super) use clients::{Clients, Wire};
pub use exchange::MAX_ANSWER_BYTES;
pub(super) use exchange::{causes, chain};
use gate::Gate;

/// How long a stop waits for reports that are ready, after its bound.
const FLUSH: Duration = Duration::from_secs(5);

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The system's wall clock.
pub fn wall_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(0).plus(since)
    })
}

/// What the HTTP transport of a process is made of.
#[derive(Clone)]
pub struct HttpParts {
    /// Takes the reports.
    pub appender: Arc<dyn Appender>,
    /// Encodes the reports.
    pub codec: Arc<Codec>,
    /// Signs the ack tokens.
    pub tokens: Arc<AckTokens>,
    /// Evaluates the targets' rules over answers.
    pub rule: Rule,
    /// The wall clock; see [`wall_clock`].
    pub clock: Clock,
    /// Longest that a connection may take, name look-up and TLS included.
    pub connect_timeout: Duration,
    /// Where requests may go.
    pub egress: Egress,
    /// The secrets that plans name.
    pub secrets: Secrets,
    /// The gateway's address as targets reach it, for those that confirm by callback.
    pub callback_base: Option<String>,
    /// Where records may go.
    pub kafka: KafkaTargets,
    /// Where announced files may lie.
    pub places: Places,
}

/// How far a stop has come; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Nothing is sent any more.
    Closing,
    /// What is on the wire is given up.
    Ended,
}

struct Shared {
    handle: Handle,
    clients: Clients,
    bearer: Tokens,
    tokens: Arc<AckTokens>,
    callback_base: Option<String>,
    kafka: KafkaTargets,
    contents: Contents,
    rule: Rule,
    clock: Clock,
    reports: Reports,
    phase: watch::Sender<Phase>,
    /// Dispatches whose report is not in the log.
    open: watch::Sender<usize>,
}

/// Carries requests over HTTP/1.1 and HTTP/2. Clones share the client with its connections, and one stop ends them all.
#[derive(Clone)]
pub struct HttpTransport {
    shared: Arc<Shared>,
    worker: Arc<str>,
}

impl HttpTransport {
    /// Prepares the transport; tasks run on `handle`. Called once in a process: see [`HttpTransport::for_worker`].
    pub fn new(handle: Handle, parts: HttpParts, worker: &str) -> Self {
        Self::trusting(&[], handle, parts, worker)
    }

    /// Trusts these certificates beside the system's roots.
    fn trusting(also: &[reqwest::Certificate], handle: Handle, parts: HttpParts, worker: &str) -> Self {
        let HttpParts {
            appender,
            codec,
            tokens,
            rule,
            clock,
            connect_timeout,
            egress,
            secrets,
            callback_base,
            kafka,
            places,
        } = parts;
        let contents = Contents::new(places, egress.clone(), secrets.clone(), connect_timeout);
        let mut clients = Clients::new(egress, secrets, connect_timeout);
        clients.also_trusted = also.to_vec();
        let shared = Shared {
            handle,
            clients,
            bearer: Tokens::default(),
            tokens,
            callback_base,
            kafka,
            contents,
            rule,
            clock,
            reports: Reports { appender, codec },
            phase: watch::Sender::new(Phase::Running),
            open: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared), worker: worker.into() }
    }

    /// The same transport for another worker of this process.
    #[must_use]
    pub fn for_worker(&self, worker: &str) -> Self {
        Self { shared: Arc::clone(&self.shared), worker: worker.into() }
    }

    /// What opens announced files, under the guard of every request.
    pub fn contents(&self) -> &Contents {
        &self.shared.contents
    }

    /// Dispatches whose report is not in the log yet.
    pub fn open(&self) -> usize {
        *self.shared.open.borrow()
    }

    /// Stops gracefully, for all workers of the process. From here on nothing is sent: what has not left is reported as
    /// RETRYABLE, what is on the wire has until `bound` and is then reported as UNKNOWN, both with the code `stopped`.
    ///
    /// Returns when every report is in the log, at the latest 5 s after `bound`, with the number of those that aren't:
    /// their attempts' deadlines will tell.
    pub async fn stop(&self, bound: Duration) -> usize {
        self.stop_within(bound, FLUSH).await
    }

    async fn stop_within(&self, bound: Duration, flush: Duration) -> usize {
        let shared = &self.shared;
        let mut open = shared.open.subscribe();
        for (phase, wait) in [(Phase::Closing, bound), (Phase::Ended, flush)] {
            shared.phase.send_if_modified(|current| {
                let later = phase > *current;
                *current = phase.max(*current);
                later
            });
            if tokio::time::timeout(wait, open.wait_for(|open| *open == 0)).await.is_ok() {
                break;
            }
        }
        let left = self.open();
        if left > 0 {
            tracing::error!(left, "stopped before every report was in the log");
        }
        left
    }
}

impl Transport for HttpTransport {
    fn callback_base(&self) -> Option<&str> {
        self.shared.callback_base.as_deref()
    }

    fn send(&mut self, dispatch: Dispatch) {
        let open = Open::new(&self.shared);
        let shared = Arc::clone(&self.shared);
        let worker = Arc::clone(&self.worker);
        self.shared.handle.spawn(async move {
            let Dispatch { plan, attempt, home, fetch, mut permit } = dispatch;
            let outcome = if let Some(arrival) = fetch {
                let outcome = shared.fetch(&arrival, &attempt).await;
                // One place that is away says nothing of the others.
                permit.ended(Heard::Nothing, outcome.reported_at);
                outcome
            } else {
                let exchange = shared.perform(&plan, &attempt, &mut permit).await;
                let (outcome, exhausted_for_ms) = shared.outcome(&plan, &attempt, &exchange);
                permit.ended(heard(&outcome, exhausted_for_ms), outcome.reported_at);
                outcome
            };
            tracing::info!(
                file_id = %outcome.file_id,
                target = %outcome.target,
                attempt = attempt.attempt,
                outcome = %outcome.kind,
                code = %outcome.code,
                worker = %worker,
                "exchange ended"
            );
            shared.reports.deliver(Topic::Outcomes, Some(home), outcome).await;
            drop(open);
        });
    }
}

impl Shared {
    /// One attempt: the request leaves in time or not at all, and ends within its time-out or with the process.
    async fn perform(&self, plan: &PlannedDispatch, attempt: &DispatchAttempt, permit: &mut Permit) -> Exchange {
        let gate = Gate::new(attempt.send_before, never_back(&self.clock));
        let mut phase = self.phase.subscribe();
        if *phase.borrow() > Phase::Running {
            gate.shut();
            return exchange::kept_back(&gate);
        }
        if (self.clock)() > attempt.send_before {
            gate.pass();
            return exchange::kept_back(&gate);
        }
        tokio::select! {
            biased;
            () = permit.turn(&self.clock) => {}
            () = gate.overdue() => return exchange::kept_back(&gate),
            () = reached(&mut phase, Phase::Closing) => {
                gate.shut();
                return exchange::kept_back(&gate);
            }
        }
        let limit = Duration::from_millis(u64::try_from(plan.timeouts.request_ms).unwrap_or(0));
        let mut exchange = std::pin::pin!(self.within(limit, plan, attempt, &gate));
        tokio::select! {
            biased;
            done = &mut exchange => return done,
            // What has not left by then is given up, whatever it waits for.
            () = gate.overdue() => return exchange::kept_back(&gate),
            () = reached(&mut phase, Phase::Closing) => {}
        }
        if gate.shut() {
            return exchange::kept_back(&gate);
        }
        tokio::select! {
            biased;
            done = &mut exchange => done,
            () = reached(&mut phase, Phase::Ended) => Exchange::Lost {
                code: "stopped",
                detail: "the worker stopped before the target had answered".into(),
            },
        }
    }

    async fn within(
        &self,
        limit: Duration,
        plan: &PlannedDispatch,
        attempt: &DispatchAttempt,
        gate: &Arc<Gate>,
    ) -> Exchange {
        match tokio::time::timeout(limit, self.once(plan, attempt, gate)).await {
            Ok(exchange) => exchange,
            Err(_) if gate.shut() => {
                Exchange::NotSent { code: "connect_timeout", detail: format!("no connection within {limit:?}") }
            }
            Err(_) => Exchange::Lost { code: "timeout", detail: format!("no complete answer within {limit:?}") },
        }
    }

    async fn once(&self, plan: &PlannedDispatch, attempt: &DispatchAttempt, gate: &Arc<Gate>) -> Exchange {
        if plan.transport == TransportKind::Kafka {
            return self.write(plan, attempt, gate).await;
        }
        let (request, prepared) = match prepare::prepare(self, plan, attempt, gate).await {
            Ok(prepared) => prepared,
            Err(unsent) => {
                gate.shut();
                return unsent.into();
            }
        };
        let mut exchange = exchange::exchange(&prepared.client, request, gate, prepared.heads_go_first).await;
        if prepared.was_answered_early(&exchange) {
            let detail = "the target answered before it had the whole file, whose digest was not known yet".into();
            return Exchange::Lost { code: "file_unverified", detail };
        }
        if let Exchange::Answer(answer) = &mut exchange {
            prepared.redact(answer);
            if let Some(kept) = prepared.kept.as_ref().filter(|_| answer.status == 401) {
                kept.forget().await;
                answer.token_was_kept = kept.was_there;
            }
        }
        exchange
    }

    async fn write(&self, plan: &PlannedDispatch, attempt: &DispatchAttempt, gate: &Arc<Gate>) -> Exchange {
        let headers = match record_headers(plan, attempt, &self.tokens, self.callback_base.as_deref()) {
            Ok(headers) => headers,
            Err(detail) => return unsent::Unsent::Invalid { detail }.into(),
        };
        let written = Written {
            target: &plan.target,
            cluster: plan.request.cluster.as_deref(),
            topic: &plan.request.destination,
            key: plan.request.key.as_deref().unwrap_or(&plan.idempotency_key),
            headers,
            body: plan.request.body.as_ref().map(|body| &body.0[..]).unwrap_or_default(),
            within: Duration::from_millis(u64::try_from(plan.timeouts.request_ms).unwrap_or(0)),
            left: gate.left(),
        };
        let egress = &self.clients.egress;
        self.kafka.write(written, egress, || gate.pass()).await.unwrap_or_else(|()| exchange::kept_back(gate))
    }

    /// The report, and how long the target's quota is exhausted: no longer than a Retry-After of it is honoured, because nobody
    /// sees why a dispatch stays PENDING.
    fn outcome(
        &self,
        plan: &PlannedDispatch,
        attempt: &DispatchAttempt,
        exchange: &Exchange,
    ) -> (Outcome, Option<i64>) {
        let now = (self.clock)();
        let verdict = classify(&plan.confirmed_by, exchange, now, &*self.rule);
        let exhausted_for_ms = verdict.exhausted_for_ms.map(|ms| ms.min(plan.retry.retry_after_max_ms));
        let outcome = Outcome {
            file_id: attempt.file_id.clone(),
            target: attempt.target.clone(),
            attempt: Some(attempt.attempt),
            kind: verdict.kind,
            reporter: Reporter::Transport,
            reported_at: now,
            code: verdict.code,
            detail: verdict.detail,
            evidence: verdict.evidence,
            retry_after_ms: verdict.retry_after_ms,
            refusal: verdict.refusal,
            token: None,
            ack_token: None,
            reference: None,
            received_digest: verdict.received_digest,
            received_size: None,
            content: None,
            timer: None,
            origin: None,
        };
        (outcome, exhausted_for_ms)
    }
}

/// What a report says about its target. A refusal is the engine's to act on: it pauses the target.
fn heard(outcome: &Outcome, exhausted_for_ms: Option<i64>) -> Heard {
    let alive = exhausted_for_ms.map_or(Heard::Alive, Heard::Wait);
    match (outcome.kind, outcome.code.as_str()) {
        (_, "dropped_unsent" | "stopped" | "request_invalid" | "queue_full") => Heard::Nothing,
        (OutcomeKind::Retryable, _) if outcome.refusal => alive,
        // It is well enough to say when it wants to be asked again.
        (OutcomeKind::Retryable, "http_429" | "http_503") if outcome.retry_after_ms.is_some() => {
            Heard::Wait(outcome.retry_after_ms.unwrap_or(0))
        }
        (OutcomeKind::Retryable | OutcomeKind::Unknown, _) => Heard::Failed,
        _ => alive,
    }
}

async fn reached(current: &mut watch::Receiver<Phase>, phase: Phase) {
    // The sender lives as long as the transport, and every task holds that.
    let _ = current.wait_for(|current| *current >= phase).await;
}

/// A clock that is never behind its first reading and the time since.
fn never_back(clock: &Clock) -> Box<dyn Fn() -> Timestamp + Send + Sync> {
    let (clock, first, begun) = (Arc::clone(clock), clock(), Instant::now());
    Box::new(move || clock().max(first.plus(begun.elapsed())))
}

/// Counts a dispatch from when it is taken to when its report is in the log, however its task ends.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.open.send_modify(|open| *open += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

#[cfg(test)]
mod tests;
