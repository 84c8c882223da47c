//! What is shown at zero before it is first counted. A series that begins at one has never risen: `increase` of it is 0,
//! and no alert hears of the first time, which is the one that matters most.

use std::sync::PoisonError;

use super::Metrics;
use crate::log::AbortCause;
use crate::record::{Action, Judgement, OutcomeKind, Reporter, State, TargetName, Topic};

/// The words of labels whose sets belong to modules that count, not to this one.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// Reasons of dead letters.
    pub dead_letters: &'a [&'static str],
    /// Kinds of exact repeats.
    pub duplicates: &'a [&'static str],
    /// Why a store is rebuilt.
    pub store_rebuilds: &'a [&'static str],
}

impl Metrics {
    /// Shows every series at zero whose labels are of a fixed set.
    pub fn begin(&self, words: &Words<'_>) {
        for reason in words.dead_letters {
            self.dead_letters_total.with_label_values(&[*reason]);
        }
        for what in words.duplicates {
            self.duplicates_total.with_label_values(&[*what]);
        }
        for reason in words.store_rebuilds {
            self.store_rebuilds_total.with_label_values(&[*reason]);
        }
        for cause in AbortCause::ALL {
            self.aborts_total.with_label_values(&[cause.as_str()]);
        }
        for topic in Topic::HOME_INPUTS {
            self.forwarded_total.with_label_values(&[topic.base_name()]);
        }
        for state in [State::Completed, State::Failed] {
            self.files_settled_total.with_label_values(&[state.as_str()]);
            self.time_to_terminal_seconds.with_label_values(&[state.as_str()]);
        }
        for action in Action::ALL.iter().filter(|action| **action != Action::StartSuccessor) {
            for judgement in [Judgement::Applied, Judgement::Refused] {
                self.interventions_total.with_label_values(&[action.as_str(), judgement.as_str()]);
            }
        }
    }

    /// Shows a target's series at zero, the first time that it is named: by the routing document in force, or by a file.
    pub fn know_target(&self, target: &TargetName) {
        let mut known = self.known_targets.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.insert(target.clone()) {
            return;
        }
        let name = target.as_str();
        self.attempts_total.with_label_values(&[name]);
        self.attempt_duration_seconds.with_label_values(&[name]);
        self.escalations_total.with_label_values(&[name]);
        self.open_breakers.with_label_values(&[name]);
        for judgement in Judgement::ALL.iter().filter(|judgement| **judgement != Judgement::Applied) {
            self.reports_late_total.with_label_values(&[name, judgement.as_str()]);
        }
        // What comes by callback or acks is of few kinds, and a target has one of these ways.
        for kind in OutcomeKind::ALL.iter().filter(|kind| **kind != OutcomeKind::Timer) {
            self.outcomes_total.with_label_values(&[name, kind.as_str(), Reporter::Transport.as_str()]);
        }
    }
}
