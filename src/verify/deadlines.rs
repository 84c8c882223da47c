//! Deadlines against reports (I14): whatever was before a deadline in the log, or before its time on acks, wins.

use super::Checker;
use super::collect::{FileRecords, Place};
use crate::log::TopicPartition;
use crate::record::{
    Action, Confirmation, FileId, HistoryEvent, Judgement, Outcome, OutcomeKind, TargetName, Timer, TimerKind, Topic,
    dispatch_key,
};

impl Checker {
    pub(super) fn check_deadlines(&mut self, id: &FileId, file: &FileRecords) {
        self.check_causes(id, file);
        self.check_what_was_judged(id, file);
        for (event, place) in file.events() {
            let Some(timer) = event.outcome.as_ref().and_then(|o| o.timer.as_ref()) else { continue };
            if event.judgement != Judgement::Applied {
                continue;
            }
            self.report.add(format!("timers.{}", timer.what));
            self.check_read_back(id, event, timer, place);
            if timer.what == TimerKind::Escalation {
                continue;
            }
            for target in file.plans.values().map(|p| &p.value.target) {
                let concerned = event.target.as_ref().is_none_or(|t| t == target);
                if concerned && !settled_before(file, target, event.version) {
                    self.check_reports_before(id, file, event, target, place);
                    self.check_acks_before(id, file, event, timer, target, place);
                }
            }
        }
    }

    /// A file's events come in the order of the records that caused them.
    fn check_causes(&mut self, id: &FileId, file: &FileRecords) {
        if self.options.inputs_were_reread {
            return;
        }
        let outcomes = self.options.names.name(Topic::Outcomes);
        let mut last: Option<(i32, i64)> = None;
        // A report of a file's bytes may be followed by why there can be no plan, from the same place.
        let caused = |e: &HistoryEvent| *e.cause.topic == *outcomes && e.failure.is_none();
        for (event, place) in file.events().filter(|(e, _)| caused(e)) {
            let here = (event.cause.partition, event.cause.offset);
            if last.is_some_and(|last| last.0 == here.0 && last.1 >= here.1) {
                let text =
                    format!("version {} comes from offset {}, after one from a later offset", event.version, here.1);
                self.report.broken("I14", Some(id), Some(place), text);
            }
            last = Some(here);
        }
    }

    /// What the history says of a report is what stands where the report stood.
    fn check_what_was_judged(&mut self, id: &FileId, file: &FileRecords) {
        let outcomes = self.options.names.name(Topic::Outcomes);
        let mut wrong = Vec::new();
        for (event, place) in file.events().filter(|(e, _)| *e.cause.topic == *outcomes) {
            let cause = (event.cause.partition, event.cause.offset);
            let (Some(judged), Some(input)) = (&event.outcome, self.inputs.outcomes.get(&cause)) else { continue };
            let same = |o: &Outcome| {
                (o.kind, o.reporter, o.attempt, &o.target, &o.received_digest)
                    == (judged.kind, judged.reporter, judged.attempt, &judged.target, &judged.received_digest)
            };
            if !input.value.as_ref().is_ok_and(same) {
                wrong.push((event.version, place));
            }
        }
        for (version, place) in wrong {
            let text = format!("what version {version} judges isn't what stands at its cause");
            self.report.broken("I11", Some(id), Some(place), text);
        }
    }

    /// A timer takes effect by its own record, and not before its time.
    fn check_read_back(&mut self, id: &FileId, event: &HistoryEvent, timer: &Timer, place: Place) {
        let cause = (event.cause.partition, event.cause.offset);
        let record = self.inputs.outcomes.get(&cause).map(|input| input.value.as_ref().ok());
        if let Some(found) = record
            && found.is_none_or(|outcome| outcome.timer.as_ref() != Some(timer))
        {
            let text = format!("the {} of version {} isn't what stands at its cause", timer.what, event.version);
            self.report.broken("I14", Some(id), Some(place), text);
        }
        if event.at.plus_millis(self.options.max_clock_skew_ms) < timer.due {
            let text = format!("the {} of version {} took effect before it fell due", timer.what, event.version);
            self.report.broken("I14", Some(id), Some(place), text);
        }
    }

    fn check_reports_before(
        &mut self,
        id: &FileId,
        file: &FileRecords,
        event: &HistoryEvent,
        target: &TargetName,
        place: Place,
    ) {
        let key = dispatch_key(id, target);
        let mut overlooked = Vec::new();
        for at in self.inputs.outcomes_by_key.get(&key).into_iter().flatten() {
            let Some(Ok(outcome)) = self.inputs.outcomes.get(at).map(|i| i.value.as_ref()) else { continue };
            let before = at.0 == event.cause.partition && at.1 < event.cause.offset;
            // A file that was forgotten and came again has reports of its earlier life on the topic.
            let of_this_life = file
                .arrival
                .as_ref()
                .is_some_and(|a| self.inputs.outcomes.get(at).is_some_and(|i| i.timestamp >= a.timestamp));
            if before && of_this_life && settles(outcome.kind) && !is_in_history(file, outcome, event.version) {
                overlooked.push(*at);
            }
        }
        for (_, offset) in overlooked {
            let text = format!("version {} takes effect over the report at offset {offset} before it", event.version);
            self.report.broken("I14", Some(id), Some(place), text);
        }
    }

    fn check_acks_before(
        &mut self,
        id: &FileId,
        file: &FileRecords,
        event: &HistoryEvent,
        timer: &Timer,
        target: &TargetName,
        place: Place,
    ) {
        let plan = file.plans.get(target.as_str());
        if plan.is_none_or(|p| p.value.confirmed_by.by != Confirmation::Acks) {
            return;
        }
        let mut late = Vec::new();
        for at in self.inputs.acks_by_key.get(&dispatch_key(id, target)).into_iter().flatten() {
            let Some(ack) = self.inputs.acks.get(at).filter(|a| a.value.is_ok()) else { continue };
            let in_time = ack.timestamp.plus_millis(self.options.max_clock_skew_ms) < timer.due;
            let home = self.inputs.rehomed.get(at).and_then(|homes| homes.first());
            let beaten = home.is_some_and(|home| home.0 == event.cause.partition && home.1 > event.cause.offset);
            if in_time && beaten {
                late.push(*at);
            }
        }
        for (partition, offset) in late {
            let ack = TopicPartition { topic: Topic::Acks, partition };
            let text = format!("{} takes effect over the ack at {ack}, offset {offset}, which was in time", timer.what);
            self.report.broken("I14", Some(id), Some(place), text);
        }
    }
}

fn settles(kind: OutcomeKind) -> bool {
    matches!(kind, OutcomeKind::Succeeded | OutcomeKind::Duplicate | OutcomeKind::Rejected)
}

/// Whether a report stands in the history below a version, or one that says the same.
fn is_in_history(file: &FileRecords, outcome: &Outcome, version: i64) -> bool {
    file.events().filter(|(e, _)| e.version < version).filter_map(|(e, _)| e.outcome.as_ref()).any(|known| {
        known.target == outcome.target
            && (known.kind, known.reporter, known.attempt) == (outcome.kind, outcome.reporter, outcome.attempt)
            && (&known.code, &known.reference, &known.received_digest)
                == (&outcome.code, &outcome.reference, &outcome.received_digest)
    })
}

/// Whether something settled a dispatch below a version.
fn settled_before(file: &FileRecords, target: &TargetName, version: i64) -> bool {
    file.events().any(|(event, _)| {
        let of_target = event.target.as_ref() == Some(target);
        let by_report = event.outcome.as_ref().is_some_and(|o| settles(o.kind));
        let by_hand = event.intervention.as_ref().is_some_and(|i| matches!(i.action, Action::Confirm | Action::Fail));
        event.version < version && event.judgement == Judgement::Applied && of_target && (by_report || by_hand)
    })
}
