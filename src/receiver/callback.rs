//! Reporting back by the URL and the token that came with a request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::redirect::Policy;
use serde_json::{Value, json};

use super::line::Line;
use crate::transport::{Clock, Secret, sign};

/// Longest that a report may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Reports that are kept; the oldest go first.
const MAX_HEARD: usize = 100_000;

/// One report of a receiver, and what it heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The idempotency key of the request that it is about.
    pub idempotency_key: String,
    /// What it said.
    pub outcome: String,
    /// The status that it was answered; 0 if it wasn't answered.
    pub status: u16,
    /// The answer.
    pub answer: Value,
}

/// What a request says about where to report.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) url: String,
    pub(super) token: String,
}

/// What a report is about.
pub(super) struct About<'r> {
    pub(super) key: &'r str,
    pub(super) attempt: Option<i32>,
    /// `sha256:` and the digest of what was received, and its bytes.
    pub(super) received: &'r (String, usize),
    pub(super) outcome: &'static str,
}

/// The newest 100,000 reports. Clones share it.
#[derive(Debug, Clone)]
pub struct Callbacks {
    heard: Arc<Mutex<VecDeque<Heard>>>,
    client: reqwest::Client,
}

impl Default for Callbacks {
    fn default() -> Self {
        crate::transport::set_up_tls();
        // A token goes nowhere but to the URL that came with it.
        let client = reqwest::Client::builder().redirect(Policy::none()).build();
        Self { heard: Arc::default(), client: client.unwrap_or_default() }
    }
}

impl Callbacks {
    /// Every report of a request with this key, in order.
    pub fn of_key(&self, idempotency_key: &str) -> Vec<Heard> {
        let heard = self.heard.lock().expect("nothing panics while it is held");
        heard.iter().filter(|heard| heard.idempotency_key == idempotency_key).cloned().collect()
    }

    /// Reports once, signed by these keys; gives what there is to say about it.
    pub(super) async fn report(&self, about: &About<'_>, way: Option<&Way>, keys: &[Secret], clock: &Clock) -> Line {
        let said = |status, why| Line::Report {
            at: clock(),
            idempotency_key: about.key.to_owned(),
            outcome: about.outcome.to_owned(),
            status,
            why,
        };
        let Some(way) = way else {
            let why =
                "the request named no Consign-Callback-Url with a Consign-Ack-Token, and there is no acks topic here";
            return said(None, Some(why.to_owned()));
        };
        let (status, answer) = match self.post(about, way, keys, clock).await {
            Ok((status, answer)) => (Some(status), answer),
            Err(why) => (None, Value::from(why)),
        };
        let why = answer.as_str().filter(|_| status.is_none()).map(str::to_owned);
        let heard = Heard {
            idempotency_key: about.key.to_owned(),
            outcome: about.outcome.to_owned(),
            status: status.unwrap_or(0),
            answer,
        };
        let mut all = self.heard.lock().expect("nothing panics while it is held");
        all.push_back(heard);
        if all.len() > MAX_HEARD {
            all.pop_front();
        }
        said(status, why)
    }

    async fn post(&self, about: &About<'_>, way: &Way, keys: &[Secret], clock: &Clock) -> Result<(u16, Value), String> {
        let About { key, attempt, received: (digest, size), outcome } = about;
        let report = json!({
            "outcome": outcome,
            "idempotency_key": key,
            "attempt": attempt,
            "received_digest": digest,
            "received_size": size,
            "reference": format!("receiver-{key}"),
        });
        let body = report.to_string();
        let mut request = self.client.post(&way.url).bearer_auth(&way.token).timeout(PATIENCE);
        if !keys.is_empty() {
            let signed = sign::headers(key, clock(), body.as_bytes(), keys).map_err(|e| e.to_string())?;
            request = signed.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        }
        let request = request.header("content-type", "application/json").body(body);
        let response = request.send().await.map_err(|e| e.to_string())?;
        Ok((response.status().as_u16(), response.json().await.unwrap_or(Value::Null)))
    }
}
