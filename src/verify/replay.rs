//! The fold of a file's records: equal to its file-state (I11), and HELD left only by somebody's word (I13).

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::collect::FileRecords;
use super::{Checker, Due};
use crate::lifecycle::{File, Folded, Planned, fold_each};
use crate::record::{FileId, FileState, HistoryEvent, Intervention, Judgement, State, Status, TargetName};

/// No transaction is open for longer: brokers end those that are.
const LONGEST_TRANSACTION_MS: i64 = 15 * 60_000;

/// What the fold of a file's records showed.
#[derive(Default)]
struct Replayed {
    /// The newest version that the fold reached.
    version: i64,
    /// Which dispatches were HELD there.
    held: BTreeSet<TargetName>,
    /// The recorded file-states that the fold came by, with what it says instead where that differs.
    states: BTreeMap<i64, Option<String>>,
    /// Dispatches that became HELD or left it, in order.
    turns: Vec<Turn>,
}

/// A dispatch that became HELD, or left it.
struct Turn {
    target: TargetName,
    version: i64,
    is_held: bool,
}

impl Replayed {
    fn see(&mut self, file: &File, recorded: &BTreeMap<i64, Arc<FileState>>) {
        self.version = file.version;
        if let Some(state) = recorded.get(&file.version) {
            let folded = file.to_state();
            let different = (folded != **state).then(|| difference(&folded, state));
            self.states.insert(file.version, different);
        }
        for dispatch in &file.dispatches {
            let (target, is_held) = (dispatch.target(), dispatch.status == Status::Held);
            if is_held != self.held.contains(target) {
                self.turns.push(Turn { target: target.clone(), version: file.version, is_held });
                if is_held {
                    self.held.insert(target.clone());
                } else {
                    self.held.remove(target);
                }
            }
        }
    }
}

impl Checker {
    pub(super) fn replay(&mut self, id: &FileId, file: &FileRecords) {
        let Some(newest) = file.states.last() else {
            let is_due = file.arrival.as_ref().is_some_and(|a| self.is_cause_due(&a.value.cause));
            if is_due && !file.forgotten {
                self.report.broken("I11", Some(id), file.arrival.as_ref().map(|a| a.place), "there is no file-state");
            }
            return;
        };
        let recorded = file.states.iter().map(|s| (s.value.version, Arc::clone(&s.value))).collect();
        let mut replayed = Replayed::default();
        let folded = folded(file);
        let default_deadline_ms = self.options.default_deadline_ms;
        let end = match catch_unwind(AssertUnwindSafe(|| {
            fold_each(&folded, default_deadline_ms, &mut |file| replayed.see(file, &recorded))
        })) {
            Ok(Ok(_)) => None,
            Ok(Err(e)) => Some(e.to_string()),
            Err(_) => Some("folding its records breaks an assertion of the machine".to_owned()),
        };
        self.check_recorded(id, file, &replayed, end.as_deref());
        let reflected = self.last_due_version(file);
        let terminal = matches!(newest.value.state, State::Completed | State::Failed);
        if !terminal && reflected > newest.value.version {
            let text = format!("file-state is at version {}, its records at {reflected}", newest.value.version);
            self.report.broken("I11", Some(id), Some(newest.place), text);
        }
        self.check_held(id, file, &replayed);
        if end.is_some() {
            self.check_attempt_while_held(id, file, &replayed);
        }
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

    /// Every recorded file-state is what its records fold into.
    fn check_recorded(&mut self, id: &FileId, file: &FileRecords, replayed: &Replayed, end: Option<&str>) {
        for state in &file.states {
            let text = match (replayed.states.get(&state.value.version), end) {
                (Some(None), _) => {
                    self.report.add("folds.equal");
                    continue;
                }
                (Some(Some(different)), _) => format!("its records fold into another state: {different}"),
                (None, Some(why)) => why.to_owned(),
                (None, None) => format!("no record of it has version {}", state.value.version),
            };
            self.report.broken("I11", Some(id), Some(state.place), text);
        }
        if let Some(why) = end
            && replayed.states.len() == file.states.len()
        {
            self.report.broken("I11", Some(id), file.states.last().map(|s| s.place), why);
        }
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

    /// Looks at what leaves HELD.
    fn check_held(&mut self, id: &FileId, file: &FileRecords, replayed: &Replayed) {
        let by_version: BTreeMap<i64, (&HistoryEvent, _)> =
            file.events().map(|(event, place)| (event.version, (event, place))).collect();
        for turn in &replayed.turns {
            if turn.is_held {
                self.report.add("held");
                continue;
            }
            let event = by_version.get(&turn.version);
            if event.is_some_and(|(event, _)| may_leave_held(event)) {
                self.report.add("held.left");
            } else {
                let text = format!("{} leaves HELD at version {} by nobody's word", turn.target, turn.version);
                self.report.broken("I13", Some(id), event.map(|(_, place)| *place), text);
            }
        }
    }

    /// The machine folds no attempt of a HELD dispatch: where the fold ends at one, that is why.
    fn check_attempt_while_held(&mut self, id: &FileId, file: &FileRecords, replayed: &Replayed) {
        let version = replayed.version + 1;
        let Some(attempt) = file.attempts.values().find(|a| a.value.version == version) else { return };
        let target = &attempt.value.target;
        if replayed.held.contains(target) {
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

/// The records of a file as the machine folds them.
fn folded(file: &FileRecords) -> Folded {
    Folded {
        arrival: file.arrival.as_ref().map(|a| Arc::clone(&a.value)),
        plan: file.plans.values().map(|p| (p.value.ordinal, Arc::new(Planned::of(&p.value)))).collect(),
        attempts: file.attempts.values().map(|a| (a.value.version, Arc::clone(&a.value))).collect(),
        history: file.history.iter().map(|(seq, record)| (*seq, record.value.as_ref().clone())).collect(),
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
