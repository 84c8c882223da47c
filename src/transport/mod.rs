//! Port 2: the outside. Requests leave here, after their attempt is committed, and what became of them comes back as a
//! record on `outcomes`.

use std::sync::Arc;

use crate::record::{Arrival, DispatchAttempt, PlannedDispatch};

mod ack_token;
mod breaker;
mod callback;
mod capacity;
mod classify;
mod content;
mod egress;
mod hex;
mod http;
mod identity;
mod kafka;
mod pace;
mod quota;
mod report;
mod secrets;
pub mod sign;
#[cfg(test)]
pub(crate) mod testing;

pub use ack_token::{AckKeyError, AckTokens};
pub use breaker::{Breaker, Heard};
pub use callback::CALLBACKS;
use callback::callback_url;
pub use capacity::{Capacity, Permit};
pub use classify::{Answer, Exchange, Rule, Verdict, classify};
pub use content::{Announced, Contents, Fault, Found, Kind as FaultKind, Opened, Places, fault_of_status};
pub use egress::{Allowance, Egress, Lookup, Refused};
pub(crate) use hex::hex;
pub use http::{Clock, HttpParts, HttpTransport, MAX_ANSWER_BYTES, wall_clock};
pub use identity::record_headers;
pub use kafka::{ClientSettings, KafkaTargets, KeptRecord, KeptRecords};
pub(crate) use report::Reports;
pub use secrets::{Secret, SecretError, Secrets, Values, is_secret_name};

/// Sets up what TLS is done with in this process; a second time changes nothing.
pub fn set_up_tls() {
    // An error means that the process has a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A request to be sent: its attempt is committed.
#[derive(Debug)]
pub struct Dispatch {
    /// The frozen plan.
    pub plan: Arc<PlannedDispatch>,
    /// The committed attempt.
    pub attempt: Arc<DispatchAttempt>,
    /// The partition of `outcomes` that the report goes to.
    pub home: i32,
    /// The file whose bytes are fetched, where this is no request to a target.
    pub fetch: Option<Arc<Arrival>>,
    /// Held until the request has ended.
    pub permit: Permit,
}

/// What carries requests. Taking one never blocks; its report arrives on `outcomes`.
pub trait Transport: Send {
    /// Sends a request, or drops it unsent and reports RETRYABLE once `send_before` has passed.
    fn send(&mut self, dispatch: Dispatch);

    /// The gateway's address as targets reach it, where this process knows it.
    fn callback_base(&self) -> Option<&str> {
        None
    }
}
