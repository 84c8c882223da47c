//! One request: read, checked, said, and answered as the target's behaviour says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::behaviour::{Behaviour, Reply, Report};
use super::callback::Way;
use super::connection::Breaker;
use super::journal::{self, Received};
use super::line::{DigestCheck, Line, Repeat, Signature, check_digest};
use super::{Shared, ended};
use crate::record::{FileId, Outcome, OutcomeKind, Reporter, TargetName, Timestamp, Topic, file_id_of_key};
use crate::transport::{Secret, sign};

/// Longest request body that is read, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// How far a signature's time may be off before it is stale and nothing else, in milliseconds.
const STALE_AFTER_MS: i64 = 300_000;

/// What a behaviour needs to know of a request.
struct Asked {
    target: String,
    key: String,
    file_id: FileId,
    /// How many requests with this key came before.
    earlier: usize,
    repeat: Repeat,
    attempt: Option<i32>,
    ack_token: Option<String>,
    callback_url: Option<String>,
    headers: BTreeMap<String, String>,
    body_sha256: String,
    body_length: usize,
}

pub(super) async fn receive(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    request: Request,
) -> Response {
    let received_at = (shared.clock)();
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return Reply::new(413, "the body is too long, or was cut").into_response();
    };
    let target = parts.uri.path().trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    let key = text(&parts.headers, "idempotency-key").unwrap_or_default();
    let number = |name| text(&parts.headers, name).and_then(|value| value.parse().ok());
    let received = shared.setup.journal.push(Received {
        target: target.clone(),
        idempotency_key: key.clone(),
        attempt: number("consign-attempt"),
        attempts_left: number("consign-attempts-left"),
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: journal::headers(&parts.headers),
        body_sha256: journal::sha256(&body),
        body: body.to_vec().into(),
        received_at,
    });
    let signature = check_signature(&shared, &target, &parts.headers, &body, received_at).await;
    let checks = (signature, check_digest(&parts.headers, &body));
    let refusal = refusal(checks);
    // What isn't believed is remembered by nothing: it must not spoil the key for the request that is right.
    let seen = match refusal {
        Some(_) => (Repeat::Unknown, 0),
        None => shared.seen.lock().expect("not poisoned").count(&target, &key, &received.body_sha256),
    };
    (shared.setup.listener)(&Line::request(&received, checks, seen));
    if let Some(reply) = refusal {
        return reply.into_response();
    }
    let asked = Asked {
        file_id: FileId::trusted(file_id_of_key(&key)),
        target,
        key,
        earlier: seen.1,
        repeat: seen.0,
        attempt: received.attempt,
        ack_token: text(&parts.headers, "consign-ack-token"),
        callback_url: text(&parts.headers, "consign-callback-url"),
        headers: received.headers.clone(),
        body_sha256: received.body_sha256.clone(),
        body_length: body.len(),
    };
    act(&shared, &breaker, &asked).await
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// What a request is answered that isn't looked at.
fn refusal((signature, digest): (Signature, DigestCheck)) -> Option<Reply> {
    match (signature, digest) {
        (Signature::Stale | Signature::Invalid | Signature::Absent, _) => {
            Some(Reply::json(401, r#"{"error":"the signature is missing, wrong or too old"}"#))
        }
        (_, DigestCheck::Invalid) => Some(Reply::json(400, r#"{"error":"the digest is of another body"}"#)),
        _ => None,
    }
}

/// The values of these keys; one that can't be read has none, and is told.
async fn values(shared: &Shared, names: &[String]) -> Vec<Secret> {
    let (keys, names) = (shared.setup.keys.clone(), names.to_vec());
    let read = move || {
        let read = names.iter().filter_map(|name| {
            keys.read(name).inspect_err(|why| tracing::error!("a key of the receivers can't be used: {why}")).ok()
        });
        read.flat_map(|values| values.all().cloned().collect::<Vec<_>>()).collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

async fn check_signature(shared: &Shared, target: &str, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Signature {
    let of = |target: Option<TargetName>| shared.setup.verify_with.get(&target);
    let own = TargetName::parse(target).ok().and_then(|target| of(Some(target)));
    let Some(names) = own.or_else(|| of(None)) else { return Signature::Unchecked };
    let part = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let parts = (part("webhook-id"), part("webhook-timestamp"), part("webhook-signature"));
    let (Some(id), Some(seconds), Some(signatures)) = parts else { return Signature::Absent };
    let keys = values(shared, names).await;
    let verifies = |at| sign::verify((id, seconds, signatures), body, at, &keys);
    // Whether it was right at the time that it names.
    let then = seconds.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1000)).map(Timestamp);
    match then {
        _ if verifies(now) => Signature::Valid,
        Some(then) if then.millis_since(now).abs() > STALE_AFTER_MS && verifies(then) => Signature::Stale,
        _ => Signature::Invalid,
    }
}

async fn act(shared: &Arc<Shared>, breaker: &Breaker, asked: &Asked) -> Response {
    let own = shared.setup.behaviours.get(asked.target.as_str());
    let Some(mut behaviour) = own.or(shared.setup.otherwise.as_ref()).cloned() else {
        return Reply::new(404, "there is no such receiver").into_response();
    };
    loop {
        behaviour = match behaviour {
            Behaviour::Take => return take(shared, asked).into_response(),
            Behaviour::Answer(reply) => return reply.into_response(),
            Behaviour::Sequence(all) => match all.get(asked.earlier).or(all.last()) {
                Some(next) => next.clone(),
                None => return Reply::new(500, "the receiver has an empty sequence").into_response(),
            },
            Behaviour::Stall(time, next) => {
                tokio::select! {
                    () = tokio::time::sleep(time) => *next,
                    () = ended(shared.stop.clone()) => Behaviour::Reset,
                }
            }
            Behaviour::ByFile(choose) => choose(&asked.file_id),
            Behaviour::Echo(status) => return echo(status, asked).into_response(),
            Behaviour::Reset => {
                breaker.break_off();
                return Response::new(Body::empty());
            }
            Behaviour::Report(reports, next) => {
                report(shared, asked, reports);
                *next
            }
        };
    }
}

/// Takes a file once, and answers each request for it the same.
fn take(shared: &Arc<Shared>, asked: &Asked) -> Reply {
    match asked.repeat {
        Repeat::Unknown => return Reply::json(400, r#"{"error":"there is no Idempotency-Key"}"#),
        Repeat::Conflict => return Reply::json(422, r#"{"error":"the key came before with another body"}"#),
        Repeat::First | Repeat::Duplicate => {}
    }
    if shared.seen.lock().expect("not poisoned").take(&asked.target, &asked.key) {
        (shared.setup.listener)(&Line::Taken {
            at: (shared.clock)(),
            target: asked.target.clone(),
            idempotency_key: asked.key.clone(),
            body_digest: format!("sha256:{}", asked.body_sha256),
        });
    }
    let received = format!(r#"{{"result":"ok","received_digest":"sha256:{}"}}"#, asked.body_sha256);
    let answer = |status| Reply::json(status, received.clone());
    if asked.callback_url.is_some() || asked.ack_token.is_some() {
        report(shared, asked, vec![Report { after: Duration::ZERO, outcome: "SUCCEEDED" }]);
        return answer(202);
    }
    answer(200)
}

fn echo(status: u16, asked: &Asked) -> Reply {
    let lines: Vec<String> = asked.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    Reply::new(status, lines.join("\n")).with("server", &lines.join(", "))
}

/// Reports by callback where the request names a URL, and else on `acks` where there is that topic.
fn report(shared: &Arc<Shared>, asked: &Asked, reports: Vec<Report>) {
    let way = match (&asked.callback_url, &asked.ack_token) {
        (Some(url), Some(token)) => Some(Way { url: url.clone(), token: token.clone() }),
        _ => None,
    };
    let acks = shared.acks.clone().filter(|_| asked.callback_url.is_none() && asked.ack_token.is_some());
    let shared = Arc::clone(shared);
    let (key, attempt) = (asked.key.clone(), asked.attempt);
    let received = (format!("sha256:{}", asked.body_sha256), asked.body_length);
    let ack = ack(asked);
    tokio::spawn(async move {
        let stop = shared.stop.clone();
        let reporting = async {
            for report in reports {
                tokio::time::sleep(report.after).await;
                let line = if let Some(acks) = &acks {
                    let outcome = Outcome { kind: report.kind(), reported_at: (shared.clock)(), ..ack.clone() };
                    acks.deliver(Topic::Acks, None, outcome).await;
                    let (idempotency_key, outcome) = (key.clone(), report.kind().to_string());
                    Line::Ack { at: (shared.clock)(), idempotency_key, outcome }
                } else {
                    let keys = values(&shared, &shared.setup.sign_with).await;
                    let outcome = report.outcome;
                    let about = super::callback::About { key: &key, attempt, received: &received, outcome };
                    shared.callbacks.report(&about, way.as_ref(), &keys, &shared.clock).await
                };
                (shared.setup.listener)(&line);
            }
        };
        tokio::select! {
            () = reporting => {}
            () = ended(stop) => {}
        }
    });
}

/// What every ack about a request says.
fn ack(asked: &Asked) -> Outcome {
    let target = TargetName::trusted(asked.key.split_once('/').map_or(asked.target.as_str(), |(_, target)| target));
    Outcome {
        attempt: asked.attempt,
        ack_token: asked.ack_token.clone(),
        reference: Some(format!("receiver-{}", asked.key)),
        received_digest: Some(format!("sha256:{}", asked.body_sha256)),
        received_size: i64::try_from(asked.body_length).ok(),
        ..Outcome::new(asked.file_id.clone(), target, OutcomeKind::Succeeded, Reporter::Acks, Timestamp(0))
    }
}

impl Reply {
    fn into_response(self) -> Response {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Body::from(self.body)).unwrap_or_else(|e| {
            let mut response = Response::new(Body::from(format!("the receiver's reply is illegal: {e}")));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }
}
