//! Attempts: their numbers and budgets (I6), what may follow an unknown fate (I8), and that nothing follows the end (I9).

use super::Checker;
use super::collect::{FileRecords, Kept};
use crate::lifecycle::fetch_plan;
use crate::record::{
    Action, Authorization, DispatchAttempt, FILE_TARGET, FileId, HistoryEvent, Judgement, OnUnknown, OutcomeKind,
    PlannedDispatch, State, Status, TimerKind,
};

impl Checker {
    pub(super) fn check_attempts(&mut self, id: &FileId, file: &FileRecords) {
        let mut targets: Vec<&str> = file.attempts.keys().map(|(target, _)| target.as_str()).collect();
        targets.dedup();
        for target in targets {
            let attempts = file.attempts_of(target);
            let fetch = file.arrival.as_ref().filter(|_| target == FILE_TARGET);
            if let Some(plan) = fetch.and_then(|arrival| fetch_plan(&arrival.value)) {
                self.report.add("fetches");
                self.check_numbers(id, &plan, &attempts);
                self.check_order(id, file, &plan, &attempts);
                self.check_before_plan(id, file, &attempts);
                continue;
            }
            let Some(plan) = file.plans.get(target) else {
                self.report.broken("I9", Some(id), Some(attempts[0].place), format!("{target} isn't planned"));
                continue;
            };
            self.check_numbers(id, &plan.value, &attempts);
            self.check_order(id, file, &plan.value, &attempts);
        }
        self.check_nothing_follows(id, file);
    }

    /// Bytes are fetched before there is a plan, and a plan follows what was found.
    fn check_before_plan(&mut self, id: &FileId, file: &FileRecords, attempts: &[&Kept<DispatchAttempt>]) {
        let Some(planned) = file.plans.values().map(|plan| &plan.value).next() else { return };
        for attempt in attempts.iter().filter(|attempt| attempt.value.version > planned.version) {
            let text = format!("attempt {} at its bytes follows its plan", attempt.value.attempt);
            self.report.broken("I9", Some(id), Some(attempt.place), text);
        }
        let reported = file.events().filter(|(event, _)| event.version + 1 == planned.version);
        let found = reported.filter_map(|(event, _)| event.outcome.as_ref()).find_map(|o| o.received_digest.as_ref());
        if found.is_none() || found != planned.content_digest.as_ref() {
            let place = file.plans.values().next().map(|plan| plan.place);
            self.report.broken("I9", Some(id), place, "its plan doesn't follow a report of its bytes");
        }
    }

    fn check_numbers(&mut self, id: &FileId, plan: &PlannedDispatch, attempts: &[&Kept<DispatchAttempt>]) {
        let newest = attempts.last().expect("at least one attempt");
        for (expected, attempt) in (1..).zip(attempts) {
            self.report.add("attempts");
            if expected > 1 {
                self.report.add("retries");
            }
            if attempt.value.attempt != expected {
                let text =
                    format!("attempt {} at {} stands where {expected} belongs", attempt.value.attempt, plan.target);
                self.report.broken("I6", Some(id), Some(attempt.place), text);
                break;
            }
        }
        let count = |by| attempts.iter().filter(|a| a.value.authorized_by == by).count();
        let within = |count: usize, budget: i32| i32::try_from(count).is_ok_and(|count| count <= budget);
        let retry = &plan.retry;
        let automatic = count(Authorization::RetryBudget);
        if !within(automatic, retry.attempts + retry.refusals)
            || !within(count(Authorization::Operator), retry.operator_attempts)
        {
            let text = format!("{} attempts at {} exceed the budgets", attempts.len(), plan.target);
            self.report.broken("I6", Some(id), Some(newest.place), text);
        }
    }

    /// Between an attempt and the next, something must have ended the first and allowed the second.
    fn check_order(
        &mut self,
        id: &FileId,
        file: &FileRecords,
        plan: &PlannedDispatch,
        attempts: &[&Kept<DispatchAttempt>],
    ) {
        let refused = file.events().filter(|(e, _)| is_refusal(e, plan)).count();
        self.report.counts.entry("refusals".into()).and_modify(|n| *n += refused as u64).or_insert(refused as u64);
        for pair in attempts.windows(2) {
            let (first, second) = (&pair[0].value, pair[1]);
            let between = first.version + 1..second.value.version;
            let events: Vec<&HistoryEvent> = file
                .events()
                .map(|(event, _)| event)
                .filter(|e| between.contains(&e.version) && e.judgement == Judgement::Applied)
                .filter(|e| e.target.as_ref() == Some(&plan.target))
                .collect();
            if !events.iter().any(|e| ends(e, first.attempt)) {
                let text = format!(
                    "attempt {} at {} is authorized while {} is open",
                    second.value.attempt, plan.target, first.attempt
                );
                self.report.broken("I6", Some(id), Some(second.place), text);
            }
            if plan.on_unknown == OnUnknown::Hold && !events.iter().any(|e| allows(e, first.attempt)) {
                let text = format!(
                    "attempt {} at {}, a `hold` target, follows neither RETRYABLE nor an operator's retry",
                    second.value.attempt, plan.target
                );
                self.report.broken("I8", Some(id), Some(second.place), text);
            }
        }
    }

    fn check_nothing_follows(&mut self, id: &FileId, file: &FileRecords) {
        let Some(newest) = file.states.last() else { return };
        let state = &newest.value;
        let terminal = matches!(state.state, State::Completed | State::Failed);
        for attempt in file.attempts.values() {
            let settled = state.dispatches.iter().find(|d| d.target == attempt.value.target).filter(|d| {
                matches!(d.status, Status::Succeeded | Status::Failed | Status::Cancelled)
                    && attempt.value.version > d.version
            });
            if settled.is_some() || (terminal && attempt.value.version > state.version) {
                let text = format!("attempt {} at {} follows the end", attempt.value.attempt, attempt.value.target);
                self.report.broken("I9", Some(id), Some(attempt.place), text);
            }
        }
        for (event, place) in file.events().filter(|_| terminal) {
            let resubmits = event.intervention.as_ref().is_some_and(|i| i.action == Action::Resubmit);
            if event.version > state.version && event.judgement == Judgement::Applied && !resubmits {
                let text = format!("version {} was applied after the end", event.version);
                self.report.broken("I2", Some(id), Some(place), text);
            }
        }
    }
}

fn is_refusal(event: &HistoryEvent, plan: &PlannedDispatch) -> bool {
    event.target.as_ref() == Some(&plan.target)
        && event.judgement == Judgement::Applied
        && event.outcome.as_ref().is_some_and(|o| o.refusal)
}

/// Whether an applied event ends the attempt of that number, so that another may follow: nobody may ask for one before.
fn ends(event: &HistoryEvent, attempt: i32) -> bool {
    event.outcome.as_ref().is_some_and(|outcome| match &outcome.timer {
        Some(timer) => timer.what == TimerKind::AttemptDeadline && timer.attempt == Some(attempt),
        None => outcome.attempt == Some(attempt),
    })
}

/// Whether an applied event allows the next attempt at a target that is not trusted to recognise a repeated request.
fn allows(event: &HistoryEvent, attempt: i32) -> bool {
    let retryable =
        event.outcome.as_ref().is_some_and(|o| o.kind == OutcomeKind::Retryable && o.attempt == Some(attempt));
    let granted = event.intervention.as_ref().is_some_and(|i| i.action == Action::Retry);
    retryable || granted
}
