//! The fold of a file's records: equal to its file-state (I11), and HELD left only by somebody's word (I13).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::collect::FileRecords;
use super::{Checker, Due};
use crate::lifecycle::{File, Folded, fold};
use crate::record::{FileHistory, FileId, FileState, HistoryEvent, Intervention, Judgement, State, Status};

/// No transaction is open for longer: brokers end those that are.
const LONGEST_TRANSACTION_MS: i64 = 15 * 60_000;

impl Checker {
    pub(super) fn replay(&mut self, id: &FileId, file: &FileRecords) {
        let Some(newest) = file.states.last() else {
            let is_due = file.arrival.as_ref().is_some_and(|a| self.is_cause_due(&a.value.cause));
            if is_due && !file.forgotten {
                self.report.broken("I11", Some(id), file.arrival.as_ref().map(|a| a.place), "there is no file-state");
            }
            return;
        };
        for state in &file.states {
            match self.fold_until(file, state.value.version) {
                Ok(folded) if folded.to_state() == *state.value => self.report.add("folds.equal"),
                Ok(folded) => {
                    let text = format!(
                        "its records fold into another state: {}",
                        difference(&folded.to_state(), &state.value)
                    );
                    self.report.broken("I11", Some(id), Some(state.place), text);
                }
                Err(why) => self.report.broken("I11", Some(id), Some(state.place), why),
            }
        }
        let last = last_version(file);
        let reflected = self.last_due_version(file);
        let terminal = matches!(newest.value.state, State::Completed | State::Failed);
        if !terminal && reflected > newest.value.version {
            let text = format!("file-state is at version {}, its records at {reflected}", newest.value.version);
            self.report.broken("I11", Some(id), Some(newest.place), text);
        }
        self.check_held(id, file, last);
        self.check_interventions(id, file);
    }

    /// The version that file-state must have reached.
    fn last_due_version(&self, file: &FileRecords) -> i64 {
        if self.options.due == Due::Everything {
            return last_version(file);
        }
        let events = file.events().filter(|(e, _)| self.is_cause_due(&e.cause)).map(|(e, _)| e.version);
        let arrival = file.arrival.iter().filter(|a| self.is_cause_due(&a.value.cause)).map(|a| a.value.version);
        // No input causes an attempt that was only due: its age says that its transaction is long over.
        let is_over = |timestamp| self.newest.millis_since(timestamp) > LONGEST_TRANSACTION_MS;
        let attempts = file.attempts.values().filter(|a| is_over(a.timestamp)).map(|a| a.value.version);
        events.chain(arrival).chain(attempts).max().unwrap_or(0)
    }

    /// Whoever intervened said so, and why.
    fn check_interventions(&mut self, id: &FileId, file: &FileRecords) {
        for (event, place) in file.events().filter(|(e, _)| e.judgement == Judgement::Applied) {
            if event.intervention.as_ref().is_some_and(is_anonymous) {
                let text = format!("the intervention of version {} doesn't say by whom and why", event.version);
                self.report.broken("I13", Some(id), Some(place), text);
            }
        }
    }

    fn fold_until(&self, file: &FileRecords, version: i64) -> Result<File, String> {
        let folded = until(file, version);
        let default_deadline_ms = self.options.default_deadline_ms;
        match catch_unwind(AssertUnwindSafe(|| fold(&folded, default_deadline_ms))) {
            Ok(Ok(folded)) => Ok(folded),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("folding its records breaks an assertion of the machine".to_owned()),
        }
    }

    /// Replays the file event by event and looks at what leaves HELD.
    fn check_held(&mut self, id: &FileId, file: &FileRecords, last: i64) {
        let by_version: BTreeMap<i64, (&HistoryEvent, _)> =
            file.events().map(|(event, place)| (event.version, (event, place))).collect();
        let mut before: Option<File> = None;
        for version in 1..=last {
            let Ok(after) = self.fold_until(file, version) else {
                self.check_attempt_while_held(id, file, version, before.as_ref());
                return;
            };
            for (index, dispatch) in after.dispatches.iter().enumerate() {
                let was = before.as_ref().and_then(|b| b.dispatches.get(index)).map(|d| d.status);
                if dispatch.status == Status::Held && was != Some(Status::Held) {
                    self.report.add("held");
                }
                if was != Some(Status::Held) || dispatch.status == Status::Held {
                    continue;
                }
                let event = by_version.get(&version);
                if event.is_some_and(|(event, _)| may_leave_held(event)) {
                    self.report.add("held.left");
                } else {
                    let text = format!("{} leaves HELD at version {version} by nobody's word", dispatch.target());
                    self.report.broken("I13", Some(id), event.map(|(_, place)| *place), text);
                }
            }
            before = Some(after);
        }
    }
}

impl Checker {
    /// The machine folds no attempt of a HELD dispatch: where the fold ends at one, that is why.
    fn check_attempt_while_held(&mut self, id: &FileId, file: &FileRecords, version: i64, before: Option<&File>) {
        let Some(attempt) = file.attempts.values().find(|a| a.value.version == version) else { return };
        let target = &attempt.value.target;
        let held = before.is_some_and(|b| b.index_of(target).is_some_and(|i| b.dispatches[i].status == Status::Held));
        if held {
            let text = format!("an attempt at {target} is authorized at version {version} while it is HELD");
            self.report.broken("I13", Some(id), Some(attempt.place), text);
        }
    }
}

/// Whether an event is a report or an intervention.
fn may_leave_held(event: &HistoryEvent) -> bool {
    let reported = event.outcome.as_ref().is_some_and(|o| o.timer.is_none());
    event.judgement == Judgement::Applied && (reported || event.intervention.is_some())
}

fn is_anonymous(intervention: &Intervention) -> bool {
    intervention.actor.trim().is_empty() || intervention.reason.trim().is_empty()
}

fn last_version(file: &FileRecords) -> i64 {
    let events = file.events().map(|(event, _)| event.version);
    let attempts = file.attempts.values().map(|a| a.value.version);
    let plans = file.plans.values().map(|p| p.value.version);
    let arrival = file.arrival.iter().map(|a| a.value.version);
    events.chain(attempts).chain(plans).chain(arrival).max().unwrap_or(0)
}

/// The records of a file up to a version.
fn until(file: &FileRecords, version: i64) -> Folded {
    let mut history = BTreeMap::new();
    for (seq, record) in &file.history {
        let events: Vec<HistoryEvent> = record.value.events.iter().filter(|e| e.version <= version).cloned().collect();
        if !events.is_empty() {
            history.insert(*seq, FileHistory { events, ..record.value.as_ref().clone() });
        }
    }
    Folded {
        arrival: file.arrival.as_ref().map(|a| Arc::clone(&a.value)),
        plan: file
            .plans
            .values()
            .filter(|p| p.value.version <= version)
            .map(|p| (p.value.ordinal, Arc::clone(&p.value)))
            .collect(),
        attempts: file
            .attempts
            .values()
            .filter(|a| a.value.version <= version)
            .map(|a| (a.value.version, Arc::clone(&a.value)))
            .collect(),
        history,
    }
}

/// The fields in which two states differ.
fn difference(folded: &FileState, recorded: &FileState) -> String {
    let fields = |state: &FileState| match serde_json::to_value(state) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (folded, recorded) = (fields(folded), fields(recorded));
    let mut different = Vec::new();
    for (name, value) in &recorded {
        let other = folded.get(name).cloned().unwrap_or_default();
        if other != *value {
            different.push(format!("{name} is {value} and folds into {other}"));
        }
    }
    different.join("; ")
}
