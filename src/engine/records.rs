//! Records of targets that are part of the transaction which authorizes them, and topics that don't take them.

use std::collections::{BTreeMap, BTreeSet};

use super::Worker;
use super::batch::{Batch, Written};
use super::observed::Observed;
use crate::log::{TargetRecord, TopicCheck};
use crate::record::{DispatchAttempt, Outcome, PlannedDispatch, Reporter, TargetName, Timestamp, Topic, dispatch_key};
use crate::transport::{Exchange, Heard, Permit, classify, record_headers};

impl Batch<'_> {
    /// Whether records of a target may be part of this batch as far as their topic goes; if that isn't known, it is asked
    /// after the batch.
    pub(super) fn is_taken(&mut self, target: &TargetName, topic: &str) -> bool {
        let worker = self.worker;
        if worker.topics_taking.contains(topic) || worker.options.names.topic(topic).is_some() {
            return true;
        }
        if worker.capacity.has_room(target, self.now) {
            self.unasked.entry(topic.to_owned()).or_default().insert(target.clone());
        }
        false
    }

    /// Makes the record of an attempt a part of the batch, with the report that it is there: both are, or neither.
    pub(super) fn write_record(
        &mut self,
        home: i32,
        plan: &PlannedDispatch,
        attempt: &DispatchAttempt,
        permit: Permit,
    ) {
        let exchange = match self.record_of(plan, attempt) {
            Ok(record) => {
                let detail = format!("{}, in the transaction of its attempt", record.topic);
                self.write(Written { target: plan.target.clone(), record, permit });
                Exchange::Delivered { detail }
            }
            Err((code, detail)) => Exchange::NotSent { code, detail },
        };
        let verdict = classify(&plan.confirmed_by, &exchange, self.now, &|_, _| Ok(false));
        let (id, target) = (attempt.file_id.clone(), attempt.target.clone());
        let key = dispatch_key(&id, &target);
        let outcome = Outcome {
            attempt: Some(attempt.attempt),
            code: verdict.code,
            detail: verdict.detail,
            ..Outcome::new(id, target, verdict.kind, Reporter::Transport, self.now)
        };
        self.append(Topic::Outcomes, home, key, &outcome);
    }

    fn record_of(
        &self,
        plan: &PlannedDispatch,
        attempt: &DispatchAttempt,
    ) -> Result<TargetRecord, (&'static str, String)> {
        let (worker, request) = (self.worker, &plan.request);
        if worker.options.names.topic(&request.destination).is_some() {
            return Err(("egress_refused", format!("the topic {} is consign's own", request.destination)));
        }
        let headers = record_headers(plan, attempt, &worker.tokens, worker.transport.callback_base());
        Ok(TargetRecord {
            topic: request.destination.clone(),
            key: request.key.as_ref().unwrap_or(&plan.idempotency_key).clone().into_bytes(),
            value: request.body.as_ref().map(|body| body.0.to_vec()).unwrap_or_default(),
            headers: headers.map_err(|text| ("request_invalid", text))?,
        })
    }
}

impl Worker {
    /// Asks the topics of targets that something waits for. A topic that doesn't take records opens the breakers of its
    /// targets; what waits for one that does is looked at again at once.
    pub(super) fn ask_topics(&mut self, unasked: BTreeMap<String, BTreeSet<TargetName>>, now: Timestamp) {
        for (topic, targets) in unasked {
            match self.log.check_topic(&topic) {
                TopicCheck::Asking => {}
                TopicCheck::Takes => {
                    self.topics_taking.insert(topic);
                    self.more_is_due = true;
                }
                TopicCheck::Refuses(text) => self.topic_refuses(&topic, &text, targets, now),
            }
        }
    }

    /// Nothing goes to that topic until it has been asked again, as a probe of the targets' breakers.
    pub(super) fn topic_refuses(
        &mut self,
        topic: &str,
        text: &str,
        targets: impl IntoIterator<Item = TargetName>,
        now: Timestamp,
    ) {
        self.topics_taking.remove(topic);
        for target in targets {
            self.capacity.trip(&target, now);
            let (topic, text) = (topic.to_owned(), text.to_owned());
            (self.observe)(&Observed::TopicRefused { target, topic, text });
        }
    }
}

/// The transaction stands: these targets have their records.
pub(super) fn delivered(written: Vec<Written>, now: Timestamp) {
    for Written { permit, .. } in written {
        permit.ended(Heard::Alive, now);
    }
}
