//! The file itself as the body of a request: handed out part by part as it is read, behind the gate of every body.
//!
//! The last part is held back until size and digest are known to be right. A file that is another one than planned ends the
//! connection before that: no target has the whole of it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::gate::{Gate, KeptBack};
use crate::transport::content::{Fault, Opened};

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The gate kept the request back.
    #[error(transparent)]
    KeptBack(#[from] KeptBack),
    /// The file can't be read, or is another one.
    #[error(transparent)]
    File(#[from] Fault),
}

/// Whether all of a file was handed out and was what was planned.
#[derive(Debug, Clone, Default)]
pub(super) struct Verified(Arc<AtomicBool>);

impl Verified {
    pub(super) fn holds(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

type Reading = Pin<Box<dyn Future<Output = (Box<Opened>, Result<Option<Bytes>, Fault>)> + Send>>;

/// A file on its way out.
pub(super) struct FileBody {
    gate: Arc<Gate>,
    /// Only the one who polls gets at it: the mutex makes it shareable, and nobody ever waits for it.
    reading: Mutex<Reading>,
    has_ended: bool,
    left: u64,
    verified: Verified,
}

impl FileBody {
    /// `size` is not 0: an empty body is never asked for.
    pub(super) fn new(gate: Arc<Gate>, opened: Opened, size: u64) -> (Self, Verified) {
        let verified = Verified::default();
        let reading = Mutex::new(next(Box::new(opened)));
        (Self { gate, reading, has_ended: false, left: size, verified: verified.clone() }, verified)
    }
}

fn next(mut opened: Box<Opened>) -> Reading {
    Box::pin(async move {
        let part = opened.next().await;
        (opened, part)
    })
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.gate.pass() {
            return Poll::Ready(Some(Err(KeptBack.into())));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let reading = self.reading.get_mut().expect("nothing panics while it is held");
        let Poll::Ready((opened, part)) = reading.as_mut().poll(context) else { return Poll::Pending };
        self.has_ended = true;
        Poll::Ready(match part {
            Err(fault) => Some(Err(fault.into())),
            Ok(None) => None,
            Ok(Some(part)) => {
                self.left = self.left.saturating_sub(part.len() as u64);
                if opened.found().is_some() {
                    // The last part goes out in the very next step.
                    self.verified.0.store(true, Ordering::Release);
                } else {
                    self.has_ended = false;
                    self.reading = Mutex::new(next(opened));
                }
                Some(Ok(Frame::data(part)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
