//! What an attempt at a file's bytes meets, by a script: the same codes as of the transport that fetches.

use super::script::{Reply, ScriptedStep};
use crate::plan::Fetched;
use crate::record::{Arrival, Fetch, Outcome, OutcomeKind};
use crate::routing::ContentRule;
use crate::transport::{Announced, Fault, FaultKind, Found, fault_of_status};

/// What an attempt reports, and how long after it began, in milliseconds; `None` where it never does. `blank` is the report
/// without what it says. Where the bytes aren't known they are taken to be those that were announced.
pub(super) fn reported(
    step: &ScriptedStep,
    arrival: &Arrival,
    fetch: &Fetch,
    fetched: Option<Fetched<'_>>,
    blank: Outcome,
) -> Option<(Outcome, i64)> {
    let transient = |code| Err(Fault { kind: FaultKind::Transient(None), code, detail: "by the script".to_owned() });
    let (read, took_ms) = match &step.reply {
        Reply::Silence => return None,
        Reply::Timeout => (transient("timeout"), fetch.request_ms),
        _ if step.took_ms > fetch.request_ms => (transient("timeout"), fetch.request_ms),
        // A place whose certificate isn't trusted is one that can't be reached.
        Reply::Unreachable | Reply::Certificate => (transient("unreachable"), step.took_ms),
        Reply::Reset => (transient("broken_off"), step.took_ms),
        Reply::Status { status, retry_after_ms, .. } if *status != 200 => {
            let asked = retry_after_ms.map(|ms| ((ms + 999) / 1000).to_string());
            (Err(fault_of_status(*status, asked.as_deref())), step.took_ms)
        }
        Reply::Ok | Reply::Status { .. } => (found(arrival, fetch, fetched), step.took_ms),
    };
    let reported_at = blank.reported_at.plus_millis(took_ms);
    let outcome = match read {
        Ok(found) => Outcome {
            kind: OutcomeKind::Succeeded,
            code: "as_announced".into(),
            received_digest: Some(found.digest),
            received_size: i64::try_from(found.size).ok(),
            reported_at,
            ..blank
        },
        Err(fault) => {
            let (kind, retry_after_ms) = fault.outcome();
            let (code, detail) = (fault.code.into(), Some(fault.detail));
            Outcome { kind, reported_at, code, detail, retry_after_ms, ..blank }
        }
    };
    Some((outcome, took_ms))
}

fn found(arrival: &Arrival, fetch: &Fetch, fetched: Option<Fetched<'_>>) -> Result<Found, Fault> {
    let announced = Announced::of(&arrival.manifest, fetch);
    let found = match fetched {
        Some(Fetched { digest, bytes }) => {
            let size = bytes.map(|bytes| bytes.len() as u64).or(announced.size).unwrap_or(0);
            Found { size, digest: digest.to_owned() }
        }
        None => {
            let (size, digest) = (announced.size.unwrap_or(0), announced.digest.clone().unwrap_or_default());
            Found { size, digest }
        }
    };
    announced.check(&found).map(|()| found)
}

/// Whether a plan can't be foretold without the file's bytes: the document reads them, or nobody knows their digest.
pub fn needs_bytes(arrival: &Arrival, rule: &ContentRule) -> bool {
    rule.format.is_some() || arrival.manifest.checksum.is_none()
}
