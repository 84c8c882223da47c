//! The frozen plan: whole and the same everywhere (I4), and equal when it is made again (I10).

use super::Checker;
use super::collect::{FileRecords, Kept};
use crate::plan::{self, Verdict};
use crate::record::{FileId, PlannedDispatch, State, TargetName};
use crate::routing::sha256_digest;

impl Checker {
    pub(super) fn check_plan(&mut self, id: &FileId, file: &FileRecords) {
        let mut plan: Vec<&Kept<PlannedDispatch>> = file.plans.values().collect();
        plan.sort_by_key(|p| p.value.ordinal);
        self.check_whole(id, file, &plan);
        if !plan.is_empty() {
            self.plan_again(id, file, &plan);
        }
    }

    fn check_whole(&mut self, id: &FileId, file: &FileRecords, plan: &[&Kept<PlannedDispatch>]) {
        let place = plan.first().map(|p| p.place);
        let planned: Vec<&TargetName> = plan.iter().map(|p| &p.value.target).collect();
        for (target, record) in &file.plans {
            if *target != record.value.target.as_str() {
                let text = format!("the plan record of {} stands under the key of {target}", record.value.target);
                self.report.broken("I4", Some(id), Some(record.place), text);
            }
        }
        if let Some(first) = plan.first() {
            let expected: Vec<&TargetName> = first.value.expected_targets.iter().flatten().collect();
            let dense = (0..).zip(plan).all(|(ordinal, p)| p.value.ordinal == ordinal);
            let of = usize::try_from(first.value.of).unwrap_or(usize::MAX);
            if expected != planned || !dense || of != plan.len() {
                let text =
                    format!("{} of {of} plan records are there for {} expected targets", plan.len(), expected.len());
                self.report.broken("I4", Some(id), place, text);
            }
            if plan.iter().any(|p| p.value.plan_digest != first.value.plan_digest) {
                self.report.broken("I4", Some(id), place, "the plan records are of different plans");
            }
        }
        // Before there is a plan, a file may have the fetch of its bytes.
        for state in file.states.iter().filter(|state| state.value.state != State::Received) {
            let dispatches: Vec<&TargetName> = state.value.dispatches.iter().map(|d| &d.target).collect();
            if dispatches != planned {
                let text = format!("file-state has {} dispatches, the plan {}", dispatches.len(), planned.len());
                self.report.broken("I4", Some(id), Some(state.place), text);
            }
        }
    }

    fn plan_again(&mut self, id: &FileId, file: &FileRecords, recorded: &[&Kept<PlannedDispatch>]) {
        let first = &recorded[0];
        let Some(arrival) = &file.arrival else { return self.report.add("plans.not_provable") };
        let document = self.documents.get(&first.value.routing_digest).cloned().flatten();
        let plan: Vec<&PlannedDispatch> = recorded.iter().map(|p| p.value.as_ref()).collect();
        let recorded = first.value.content_digest.as_ref();
        let content = file.contents.iter().find(|bytes| Some(&sha256_digest(&bytes.0)) == recorded);
        match plan::verify(&arrival.value, document.as_deref(), content.map(|bytes| &bytes.0[..]), &plan) {
            Verdict::Equal => self.report.add("plans.equal"),
            Verdict::NotProvable(_) => self.report.add("plans.not_provable"),
            Verdict::Different(_) => {
                self.report.add("plans.different");
                self.report.broken("I10", Some(id), Some(first.place), "the plan is another when it is made again");
            }
        }
    }
}
