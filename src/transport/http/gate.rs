//! The gate between a request and the wire.
//!
//! Between the decision to send and the first byte lie a name look-up, a connection and a TLS handshake, during which
//! the machine may even be suspended. The HTTP client asks for the body once the connection stands and before it
//! flushes the head, so the body itself asks the gate: a request that is late, or that is to be given up, ends there,
//! and whoever closed the gate knows that no byte of it left.
//!
//! Over HTTP/2 that doesn't hold: a head may leave before its body is asked for, and a body may be taken before its stream is
//! opened. So only targets that may be asked twice are asked over HTTP/2, and from the moment that such a request is handed to
//! the client its gate no longer says that nothing left.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::record::Timestamp;

const WAITING: u8 = 0;
const PASSED: u8 = 1;
const LATE: u8 = 2;
const SHUT: u8 = 3;
/// How often a gate that waits looks at the clock, at least: it may have been set, or the machine suspended.
const TICK: Duration = Duration::from_secs(1);

/// Decides once whether the request may leave.
pub(super) struct Gate {
    state: AtomicU8,
    /// Whether a head may have left without asking.
    is_handed_over: AtomicBool,
    send_before: Timestamp,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Gate {
    /// Lets the request through as long as `clock` says no later than `send_before`.
    pub(super) fn new(send_before: Timestamp, clock: Box<dyn Fn() -> Timestamp + Send + Sync>) -> Arc<Self> {
        let (state, is_handed_over) = (AtomicU8::new(WAITING), AtomicBool::new(false));
        Arc::new(Self { state, is_handed_over, send_before, clock })
    }

    /// Asks to send; true once means true for ever.
    pub(super) fn pass(&self) -> bool {
        let to = if (self.clock)() <= self.send_before { PASSED } else { LATE };
        self.decide(to) == PASSED
    }

    /// Says that the request is with a client that may send its head before it asks.
    pub(super) fn hand_over(&self) {
        self.is_handed_over.store(true, Ordering::Release);
    }

    /// Closes the gate. True if nothing of the request had left: it won't any more.
    pub(super) fn shut(&self) -> bool {
        self.decide(SHUT) != PASSED && !self.is_handed_over()
    }

    /// Whether a head may have left without asking.
    pub(super) fn is_handed_over(&self) -> bool {
        self.is_handed_over.load(Ordering::Acquire)
    }

    /// Done once the time to send has passed while nobody had asked; never, if the gate was decided before.
    pub(super) async fn overdue(&self) {
        while self.state.load(Ordering::Acquire) == WAITING {
            let left = self.left_ms();
            if left < 0 && self.decide(LATE) == LATE {
                return;
            }
            // A millisecond more: at the very time it may still leave.
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0).saturating_add(1));
            tokio::time::sleep(left.min(TICK)).await;
        }
        std::future::pending::<()>().await;
    }

    /// Whether the request was kept back because it was late.
    pub(super) fn was_late(&self) -> bool {
        self.state.load(Ordering::Acquire) == LATE
    }

    /// What is left of the time to send by.
    pub(super) fn left(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.left_ms()).unwrap_or(0))
    }

    fn left_ms(&self) -> i64 {
        self.send_before.0.saturating_sub((self.clock)().0)
    }

    /// Whether it was decided that the request doesn't leave.
    pub(super) fn keeps_back(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), LATE | SHUT)
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
    fn a_request_that_is_handed_over_may_have_left() {
        let gate = gate(0);
        gate.hand_over();
        assert!(!gate.shut());
        assert!(!gate.pass(), "it is shut all the same");
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
