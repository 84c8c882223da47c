//! Reporting back by the URL and the token that came with a request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// Longest that a report may take.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// All reports so far. Clones share it.
#[derive(Debug, Clone)]
pub struct Callbacks {
    heard: Arc<Mutex<Vec<Heard>>>,
    client: reqwest::Client,
}

impl Default for Callbacks {
    fn default() -> Self {
        crate::transport::set_up_tls();
        Self { heard: Arc::default(), client: reqwest::Client::new() }
    }
}

impl Callbacks {
    /// Every report of a request with this key, in order.
    pub fn of_key(&self, idempotency_key: &str) -> Vec<Heard> {
        let heard = self.heard.lock().expect("nothing panics while it is held");
        heard.iter().filter(|heard| heard.idempotency_key == idempotency_key).cloned().collect()
    }

    /// Reports once.
    pub(super) async fn report(&self, key: &str, way: &Way, outcome: &str, digest: &str, size: usize) {
        let report = json!({
            "outcome": outcome,
            "received_digest": format!("sha256:{digest}"),
            "received_size": size,
            "reference": format!("receiver-{key}"),
        });
        let request = self.client.post(&way.url).bearer_auth(&way.token).timeout(PATIENCE).json(&report);
        let (status, answer) = match request.send().await {
            Ok(response) => (response.status().as_u16(), response.json().await.unwrap_or(Value::Null)),
            Err(e) => (0, Value::from(e.to_string())),
        };
        let heard = Heard { idempotency_key: key.to_owned(), outcome: outcome.to_owned(), status, answer };
        self.heard.lock().expect("nothing panics while it is held").push(heard);
    }
}
