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
/// Most bytes of their paths, headers and bodies.
const MAX_BYTES: usize = 256 * 1024 * 1024;

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

struct Entries {
    /// Most requests, and most bytes of them.
    limits: (usize, usize),
    kept: VecDeque<Arc<Received>>,
    bytes: usize,
    dropped: usize,
}

impl Entries {
    fn within(limits: (usize, usize)) -> Self {
        Self { limits, kept: VecDeque::new(), bytes: 0, dropped: 0 }
    }

    fn push(&mut self, received: Arc<Received>) {
        let (most, most_bytes) = self.limits;
        self.bytes += size(&received);
        self.kept.push_back(received);
        while self.kept.len() > 1 && (self.kept.len() > most || self.bytes > most_bytes) {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.bytes -= size(&oldest);
            self.dropped += 1;
        }
    }
}

/// What a request takes, roughly.
fn size(received: &Received) -> usize {
    let headers: usize = received.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    received.path.len() + headers + received.body.0.len()
}

/// The requests of all receivers, in the order in which they had been read. Clones share it.
#[derive(Clone)]
pub struct Journal {
    entries: Arc<Mutex<Entries>>,
}

impl Default for Journal {
    fn default() -> Self {
        Self::within(MAX_ENTRIES, MAX_BYTES)
    }
}

impl Journal {
    /// Keeps the newest `entries` requests, in so many bytes of paths, headers and bodies, and the newest one in any case.
    pub fn within(entries: usize, bytes: usize) -> Self {
        Self { entries: Arc::new(Mutex::new(Entries::within((entries, bytes)))) }
    }

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

    /// Requests that are no more kept: by default the journal holds the newest 200,000, in 256 MiB at most.
    pub fn dropped(&self) -> usize {
        self.lock().dropped
    }

    pub(super) fn push(&self, received: Received) -> Arc<Received> {
        let received = Arc::new(received);
        let mut entries = self.lock();
        entries.push(Arc::clone(&received));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_large() {
        let request = |bytes: usize| {
            Arc::new(Received {
                target: "a".into(),
                idempotency_key: String::new(),
                attempt: None,
                attempts_left: None,
                method: "POST".into(),
                path: String::new(),
                headers: BTreeMap::new(),
                body_sha256: String::new(),
                body: Bytes::from(vec![0; bytes]),
                received_at: Timestamp(0),
            })
        };
        let mut entries = Entries::within((3, 1_000));
        for _ in 0..5 {
            entries.push(request(10));
        }
        assert_eq!((entries.kept.len(), entries.bytes, entries.dropped), (3, 30, 2));
        entries.push(request(985));
        assert_eq!((entries.kept.len(), entries.bytes, entries.dropped), (2, 995, 4));
        entries.push(request(5_000));
        assert_eq!((entries.kept.len(), entries.dropped), (1, 6), "the newest is always there");
    }
}
