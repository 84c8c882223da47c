//! Sending what is queued at once.

use std::time::Duration;

use rdkafka::client::{Client, ClientContext};

/// Has whatever is queued sent, `linger.ms` or not, as long as this waits: `wait`, in whole milliseconds.
///
/// The binding's own flush says so for no time at all, which the client's threads don't notice.
#[allow(unsafe_code, reason = "the binding has no safe call for it")]
pub(super) fn send_queued<C: ClientContext>(client: &Client<C>, wait: Duration) {
    let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointer is that of a producer that lives as long as its borrow, and the call may be made from any thread.
    // What it says, that something is still under way, is asked of the producer itself.
    let _ = unsafe { rdkafka::bindings::rd_kafka_flush(client.native_ptr(), wait) };
}
