//! What people do: interventions, pauses, routing documents.

use super::{Storm, TARGETS};
use crate::record::{Action, State, Status};
use crate::sim::{OTHER_DOCUMENT, SIMULATED_DOCUMENT};

impl Storm {
    /// A person intervenes: on what is HELD rather than on anything else.
    pub(super) fn intervene(&mut self) {
        if self.draws.percent(10) && !self.asked.is_empty() {
            let again = self.asked[self.draws.below(self.asked.len())].clone();
            self.say(format!("{} is asked again", again.intervention_id));
            self.fault("intervention_repeated");
            return self.world.ask(&again);
        }
        let held = self.held();
        let (file_id, target, action) = if !held.is_empty() && self.draws.percent(70) {
            let (file_id, target) = self.draws.one_of(&held).clone();
            let action = self.draws.weighted(&[(60, Action::Retry), (20, Action::Confirm), (15, Action::Fail)]);
            (file_id, Some(target), action)
        } else {
            let number = self.draws.below(self.world.states().len().max(1));
            let Some(state) = self.world.states().values().nth(number) else { return };
            let (file_id, failed) = (state.file_id.to_string(), state.state == State::Failed);
            let targets: Vec<String> = state.dispatches.iter().map(|d| d.target.to_string()).collect();
            if failed {
                (file_id, None, Action::Resubmit)
            } else if targets.is_empty() || self.draws.percent(15) {
                (file_id, None, Action::Cancel)
            } else {
                let action = *self.draws.one_of(&[Action::Retry, Action::Confirm, Action::Fail]);
                (file_id, Some(self.draws.one_of(&targets).clone()), action)
            }
        };
        let mut asked = self.world.asked(&file_id, target.as_deref(), action);
        asked.resend_unknown = self.draws.percent(50);
        if self.draws.percent(10) {
            asked.seen_version = asked.seen_version.map(|v| v - 1);
            self.fault("intervention_stale");
        }
        self.say(format!("{action} {file_id} {} ({})", target.unwrap_or_default(), asked.intervention_id));
        self.world.ask(&asked);
        self.asked.push(asked);
    }

    /// What is HELD: file and target.
    pub(super) fn held(&mut self) -> Vec<(String, String)> {
        let states = self.world.states().values().filter(|s| !matches!(s.state, State::Completed | State::Failed));
        let dispatches = states.flat_map(|s| s.dispatches.iter().map(move |d| (s, d)));
        let held = dispatches.filter(|(_, d)| d.status == Status::Held);
        held.map(|(s, d)| (s.file_id.to_string(), d.target.to_string())).collect()
    }

    /// Somebody decides about everything that is HELD; false if there was nothing. In the first rounds some of it is tried
    /// again.
    pub fn decide_what_is_held(&mut self, round: usize) -> bool {
        let held = self.held();
        for (file_id, target) in &held {
            let again = if round < 3 { 40 } else { 0 };
            let action = self.draws.weighted(&[(again, Action::Retry), (45, Action::Confirm), (15, Action::Fail)]);
            // The last rounds take what is always granted.
            let action = if round > 5 { Action::Fail } else { action };
            self.say(format!("{action} {file_id} {target}"));
            self.world.intervene(file_id, Some(target), action);
        }
        !held.is_empty()
    }

    pub(super) fn pause(&mut self) {
        let target = *self.draws.one_of(&TARGETS);
        let paused = self.draws.percent(35);
        let done = self.world.pause(target, paused);
        if paused {
            self.fault("target_paused");
        }
        self.say(format!("{} {target}: {done:?}", if paused { "pause" } else { "resume" }));
    }

    pub(super) fn route(&mut self) {
        let document = if self.draws.percent(40) { OTHER_DOCUMENT } else { SIMULATED_DOCUMENT };
        let done = self.world.apply_routing(document);
        self.fault("routing_switched");
        self.say(format!("another routing document: {done:?}"));
    }

    /// A person ends every pause.
    pub fn resume_everything(&mut self) {
        for target in TARGETS {
            self.world.pause(target, false).expect("nothing is aimed");
        }
    }
}
