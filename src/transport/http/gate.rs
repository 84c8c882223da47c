//! The gate between a request and the wire.
//!
//! Between the decision to send and the first byte lie a name look-up, a connection and a TLS handshake, during which
//! the machine may even be suspended. The HTTP client asks for the body once the connection stands and before it
//! flushes the head, so the body itself asks the gate: a request that is late, or that is to be given up, ends there,
//! and whoever closed the gate knows that no complete request left.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::record::Timestamp;

const WAITING: u8 = 0;
const PASSED: u8 = 1;
const LATE: u8 = 2;
const SHUT: u8 = 3;

/// Decides once whether the request may leave.
pub(super) struct Gate {
    state: AtomicU8,
    send_before: Timestamp,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Gate {
    /// Lets the request through as long as `clock` says no later than `send_before`.
    pub(super) fn new(send_before: Timestamp, clock: Box<dyn Fn() -> Timestamp + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(WAITING), send_before, clock })
    }

    /// Asks to send; true once means true for ever.
    pub(super) fn pass(&self) -> bool {
        let to = if (self.clock)() <= self.send_before { PASSED } else { LATE };
        self.decide(to) == PASSED
    }

    /// Closes the gate. True if the request had not left: it won't any more.
    pub(super) fn shut(&self) -> bool {
        self.decide(SHUT) != PASSED
    }

    /// Whether the request was kept back because it was late.
    pub(super) fn was_late(&self) -> bool {
        self.state.load(Ordering::Acquire) == LATE
    }

    fn decide(&self, to: u8) -> u8 {
        match self.state.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => to,
            Err(decided) => decided,
        }
    }
}

/// The error by which a kept-back request ends its connection.
#[derive(Debug, thiserror::Error)]
#[error("the request was kept back")]
pub(super) struct KeptBack;

/// A body of known length that is handed out only when its gate lets it pass.
pub(super) struct GatedBody {
    gate: Arc<Gate>,
    bytes: Option<Bytes>,
}

impl GatedBody {
    /// `bytes` is not empty: an empty body is never asked for.
    pub(super) fn new(gate: Arc<Gate>, bytes: Bytes) -> Self {
        Self { gate, bytes: Some(bytes) }
    }
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = KeptBack;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, KeptBack>>> {
        if self.gate.pass() {
            Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
        } else {
            Poll::Ready(Some(Err(KeptBack)))
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(now: i64) -> Arc<Gate> {
        Gate::new(Timestamp(10), Box::new(move || Timestamp(now)))
    }

    #[test]
    fn a_gate_lets_through_what_is_in_time() {
        assert!(gate(10).pass());
        let late = gate(11);
        assert!(!late.pass());
        assert!(late.was_late());
        assert!(late.shut());
    }

    #[test]
    fn a_gate_decides_once() {
        let open = gate(0);
        assert!(open.pass());
        assert!(!open.shut());
        assert!(open.pass());
        let shut = gate(0);
        assert!(shut.shut());
        assert!(!shut.pass());
        assert!(!shut.was_late());
    }
}
