//! From a plan and an attempt to a request that only has to leave.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Client, Method, Request, Url};

use super::Shared;
use super::auth::{Kept, Shown};
use super::clients::Wire;
use super::file_body::{FileBody, Verified};
use super::gate::{Gate, GatedBody};
use super::redact::redact;
use super::unsent::Unsent;
use crate::record::{self, DispatchAttempt, OnUnknown, PlannedDispatch, TransportKind};
use crate::transport::content::{Announced, Opened};
use crate::transport::identity::{self, Named};
use crate::transport::secrets::Secret;
use crate::transport::{Answer, Exchange, sign};

/// What goes with a request that only has to leave.
pub(super) struct Prepared {
    pub(super) client: Client,
    /// Whether the head may leave before the gate is asked.
    pub(super) heads_go_first: bool,
    /// What must not come back into a record.
    pub(super) secrets: Vec<Secret>,
    /// The token that the request shows, where it is kept.
    pub(super) kept: Option<Kept>,
    /// Whether the whole file went out, where the file itself is the body.
    pub(super) verified: Option<Verified>,
}

impl Prepared {
    /// Whether an answer that isn't a refusal came before the whole file had gone out: what it is about isn't what was
    /// planned.
    pub(super) fn was_answered_early(&self, exchange: &Exchange) -> bool {
        let is_early = self.verified.as_ref().is_some_and(|verified| !verified.holds());
        is_early && matches!(exchange, Exchange::Answer(answer) if answer.status < 400)
    }

    /// Takes out of an answer what the request held of secrets.
    pub(super) fn redact(&self, answer: &mut Answer) {
        redact(&self.secrets, answer);
    }
}

/// The request of an attempt: as planned, with the headers that identify the attempt and the secrets that the plan names.
pub(super) async fn prepare(
    shared: &Shared,
    plan: &PlannedDispatch,
    attempt: &DispatchAttempt,
    gate: &Arc<Gate>,
) -> Result<(Request, Prepared), Unsent> {
    let planned = &plan.request;
    if plan.transport == TransportKind::Kafka {
        return Err("the plan's transport is kafka, not http".to_owned().into());
    }
    let url = Url::parse(&planned.destination).map_err(|e| format!("the destination is no URL: {e}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(format!("the scheme {} is not HTTP", url.scheme()).into());
    }
    let allowance = shared.clients.egress.of(&plan.target);
    allowance.check_url(&url)?;
    let method = planned.method.as_deref().unwrap_or("POST");
    let method = Method::from_bytes(method.as_bytes()).map_err(|e| format!("method `{method}`: {e}"))?;
    let of_file = match &planned.body_of_file {
        Some(_) if planned.sign_with.is_some() => {
            return Err("what is streamed can't be signed".to_owned().into());
        }
        Some(file) => Some(opened(shared, file).await?),
        None => None,
    };
    let body = planned.body.as_ref().filter(|body| !body.0.is_empty());
    let tls = planned.tls.as_ref();
    let wire = wire(plan);
    let client = shared.clients.of(&plan.target, tls, wire).await?;
    let shown = match &planned.auth {
        // Tokens are asked for over a client that keeps connections.
        Some(auth) => {
            let asking = shared.clients.of(&plan.target, tls, Wire::Any).await?;
            shared.bearer.show(auth, &shared.clients.secrets, &asking, &allowance).await?
        }
        None => Shown::default(),
    };
    let Shown { authorization, mut secrets, kept } = shown;
    let mut request = Request::new(method, url);
    for (name, value) in named(shared, plan, attempt, &mut secrets)? {
        set(request.headers_mut(), &name, &value)?;
    }
    if let Some(value) = authorization {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    signed(shared, plan, &mut request).await?;
    let mut verified = None;
    if let Some(body) = body {
        let bytes = Bytes::from_owner(Arc::clone(&body.0));
        *request.body_mut() = Some(Body::wrap(GatedBody::new(Arc::clone(gate), bytes)));
    } else if let Some((file, size)) = of_file {
        if size == 0 {
            file.verify().await?;
        } else {
            let (body, whole) = FileBody::new(Arc::clone(gate), file, size);
            verified = Some(whole);
            *request.body_mut() = Some(Body::wrap(body));
        }
    }
    let heads_go_first = wire == Wire::Any;
    Ok((request, Prepared { client, heads_go_first, secrets, kept, verified }))
}

/// A target that must not be asked twice gets nothing of a request that is said not to have left.
fn wire(plan: &PlannedDispatch) -> Wire {
    let (body, file) = (plan.request.body.as_ref(), plan.request.body_of_file.as_ref());
    let has_body = body.is_some_and(|body| !body.0.is_empty()) || file.is_some_and(|file| file.size > 0);
    match plan.on_unknown {
        _ if !has_body => Wire::Single,
        OnUnknown::Retry => Wire::Any,
        OnUnknown::Hold => Wire::Http1,
    }
}

/// Opens the file that is the body. It is verified while it goes out.
async fn opened(shared: &Shared, file: &record::FileBody) -> Result<(Opened, u64), Unsent> {
    let size = u64::try_from(file.size).map_err(|_| format!("a size of {} bytes", file.size))?;
    let (location, digest) = (file.location.clone(), Some(file.digest.clone()));
    let announced = Announced { location, size: Some(size), digest, max_size: size };
    Ok((shared.contents.open(announced).await?, size))
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let key = HeaderName::from_bytes(name.as_bytes()).map_err(|e| format!("header `{name}`: {e}"))?;
    let value = HeaderValue::from_str(value).map_err(|e| format!("the value of header `{name}`: {e}"))?;
    headers.insert(key, value);
    Ok(())
}

/// What a request carries beside its body, by lower-case name. The token among it is a secret.
fn named(
    shared: &Shared,
    plan: &PlannedDispatch,
    attempt: &DispatchAttempt,
    secrets: &mut Vec<Secret>,
) -> Result<Named, String> {
    let headers = identity::headers(plan, attempt, &shared.tokens, shared.callback_base.as_deref())?;
    secrets.extend(headers.get(identity::TOKEN).map(|token| Secret::new(token.clone().into_bytes())));
    Ok(headers)
}

/// Adds the signatures of a webhook, at this very time.
async fn signed(shared: &Shared, plan: &PlannedDispatch, request: &mut Request) -> Result<(), Unsent> {
    let Some(names) = &plan.request.sign_with else { return Ok(()) };
    let mut keys = Vec::new();
    for name in names {
        keys.extend(shared.clients.secrets.fetch(name).await?.all().cloned());
    }
    let body = plan.request.body.as_ref().map(|body| &body.0[..]).unwrap_or_default();
    let signed = sign::headers(&plan.idempotency_key, (shared.clock)(), body, &keys);
    let signed = signed.map_err(|why| format!("with {}: {why}", names.join(", ")))?;
    for (name, value) in signed {
        set(request.headers_mut(), name, &value)?;
    }
    Ok(())
}
