//! A file becomes its plan, or fails validation: when it is accepted, or once its bytes are there as announced.

use std::sync::Arc;

use super::batch::Batch;
use super::intake::Unfit;
use super::observed::Observed;
use crate::lifecycle::{File, Judged, Recorded};
use crate::plan;
use crate::record::{Bytes, Cause, FILE_TARGET, Failure, FileId, Judgement, Outcome, OutcomeKind, Topic, dispatch_key};

impl Batch<'_> {
    /// Plans a file that this batch has a draft of, by the document in force.
    pub(super) fn plan_file(&mut self, home: i32, id: &FileId, cause: &Cause, fetched: Option<plan::Fetched<'_>>) {
        let routing = self.worker.routing.as_ref().expect("manifests wait until a routing document is in force");
        let file = self.file(home, id).expect("it is a draft");
        let planned = plan::plan(plan::Inputs {
            arrival: &file.arrival,
            fetched,
            routing,
            version: file.version + 1,
            cause,
            planned_at: self.now,
            limits: plan::Limits::default(),
        });
        match planned {
            Ok(plan) => {
                self.draft(home, id).expect("it is a draft").file.planned(&plan);
                for dispatch in plan {
                    let key = dispatch_key(id, &dispatch.target);
                    self.append(Topic::Plans, home, key, &dispatch);
                    self.plans.insert((id.clone(), dispatch.target.clone()), (home, Arc::new(dispatch)));
                }
            }
            Err(failure) => self.fail_validation(id, cause, failure),
        }
    }

    /// There can be no plan: the draft FAILED.
    pub(super) fn fail_validation(&mut self, id: &FileId, cause: &Cause, failure: Failure) {
        let now = self.now;
        let draft = self.drafts.get_mut(id).expect("it is a draft");
        draft.file.invalid(failure.clone(), now, cause);
        let judged = Judged::Recorded(Recorded { judgement: Judgement::Applied, code: None, effects: Vec::new() });
        self.keep(id, cause.clone(), None, judged, |event| event.failure = Some(failure));
    }

    /// Whether a record of `outcomes` is about a fetch that is over: it changes nothing, and is counted.
    pub(super) fn is_of_ended_fetch(&mut self, home: i32, outcome: &Outcome) -> bool {
        let ended = outcome.target.as_str() == FILE_TARGET
            && self.home(home).tombstoned(&outcome.file_id).is_none()
            && self.file(home, &outcome.file_id).is_some_and(|file| file.fetch.is_some() && !file.is_fetching());
        if ended {
            self.observe(Observed::Duplicate { what: "report", file_id: outcome.file_id.clone() });
        }
        ended
    }

    /// A fetch's success is followed by a plan, and that needs the document in force.
    pub(super) fn check_can_plan(&self, outcome: &Outcome) -> Result<(), Unfit> {
        if outcome.target.as_str() == FILE_TARGET && outcome.kind == OutcomeKind::Succeeded {
            return self.check_routing();
        }
        Ok(())
    }

    /// What a report says of a fetch, with the bytes, which are not kept; `None` where it is about a target.
    pub(super) fn fetched_by(outcome: &Outcome, content: Option<Bytes>, cause: &Cause) -> Option<(Cause, Outcome)> {
        let reported = || (cause.clone(), Outcome { content, ..outcome.clone() });
        (outcome.target.as_str() == FILE_TARGET).then(reported)
    }

    /// Plans a file whose bytes have just been reported to be there, in the transaction that says so.
    pub(super) fn plan_fetched(&mut self, home: i32, id: &FileId, cause: &Cause, reported: &Outcome) {
        if !self.file(home, id).is_some_and(File::is_fetched) {
            return;
        }
        let arrival = Arc::clone(&self.file(home, id).expect("just seen").arrival);
        match plan::fetched(&arrival, reported) {
            Ok(fetched) => self.plan_file(home, id, cause, Some(fetched)),
            Err(failure) => self.fail_validation(id, cause, failure),
        }
    }
}
