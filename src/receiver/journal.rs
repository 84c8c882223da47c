//! What the receivers got, in the order in which it arrived.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::record::{Bytes, Timestamp};
use crate::transport::hex;

/// Most requests that are kept; the oldest go first.
const MAX_ENTRIES: usize = 200_000;

/// One request as a receiver read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Received {
    /// The target: the first segment of the path.
    pub target: String,
    /// The Idempotency-Key header, or an empty text.
    pub idempotency_key: String,
    /// The Consign-Attempt header.
    pub attempt: Option<i32>,
    /// The Consign-Attempts-Left header.
    pub attempts_left: Option<i32>,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// All headers by lower-case name; values of a repeated header are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// SHA-256 of the body, in hex.
    pub body_sha256: String,
    /// The body.
    pub body: Bytes,
    /// When its head had been read, by the wall clock.
    pub received_at: Timestamp,
}

#[derive(Default)]
struct Entries {
    kept: VecDeque<Arc<Received>>,
    dropped: usize,
}

/// The requests of all receivers, in the order in which they had been read. Clones share it.
#[derive(Clone, Default)]
pub struct Journal {
    entries: Arc<Mutex<Entries>>,
}

impl Journal {
    /// Every request that is kept.
    pub fn entries(&self) -> Vec<Arc<Received>> {
        self.lock().kept.iter().cloned().collect()
    }

    /// The requests of one dispatch.
    pub fn of_key(&self, idempotency_key: &str) -> Vec<Arc<Received>> {
        self.lock().kept.iter().filter(|received| received.idempotency_key == idempotency_key).cloned().collect()
    }

    /// Requests so far, those that are no more kept included.
    pub fn count(&self) -> usize {
        let entries = self.lock();
        entries.kept.len() + entries.dropped
    }

    /// Requests that are no more kept: the journal holds the newest 200,000.
    pub fn dropped(&self) -> usize {
        self.lock().dropped
    }

    pub(super) fn push(&self, received: Received) -> Arc<Received> {
        let received = Arc::new(received);
        let mut entries = self.lock();
        if entries.kept.len() == MAX_ENTRIES {
            entries.kept.pop_front();
            entries.dropped += 1;
        }
        entries.kept.push_back(Arc::clone(&received));
        received
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().expect("nothing panics while it is held")
    }
}

pub(super) fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let values = |name| {
        let all = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        all.collect::<Vec<_>>().join(", ")
    };
    headers.keys().map(|name| (name.as_str().to_owned(), values(name))).collect()
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
