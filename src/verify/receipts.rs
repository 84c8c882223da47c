//! Where a plan asks for a receipt, no report is a success without the digest of what was sent (I3).

use super::Checker;
use super::collect::FileRecords;
use crate::record::{FileId, Judgement, OutcomeKind, PlannedDispatch};
use crate::routing::sha256_digest;

impl Checker {
    /// Looks at every report of success about a dispatch whose plan asks for a receipt.
    pub(super) fn check_receipts(&mut self, id: &FileId, file: &FileRecords) {
        for (event, place) in file.events() {
            let plan = event.target.as_ref().and_then(|target| file.plans.get(target.as_str()));
            let (Some(plan), Some(outcome)) = (plan, &event.outcome) else { continue };
            let says_success = matches!(outcome.kind, OutcomeKind::Succeeded | OutcomeKind::Duplicate);
            if plan.value.confirmed_by.receipt.is_none() || !says_success {
                continue;
            }
            let is_proven = outcome.received_digest.as_deref() == Some(&sent_digest(&plan.value));
            if event.judgement == Judgement::Applied && !is_proven {
                let text = format!(
                    "version {} takes {} of {} for a success without the digest of what was sent",
                    event.version, outcome.kind, plan.value.target
                );
                self.report.broken("I3", Some(id), Some(place), text);
            }
            self.report.add(if is_proven { "receipts.right" } else { "receipts.wrong" });
        }
    }
}

/// The digest of what a plan sends, whatever the plan says of it.
fn sent_digest(plan: &PlannedDispatch) -> String {
    match &plan.request.body_of_file {
        Some(file) => file.digest.clone(),
        None => sha256_digest(plan.request.body.as_ref().map(|body| &body.0[..]).unwrap_or_default()),
    }
}
