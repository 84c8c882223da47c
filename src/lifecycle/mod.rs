//! The state machine of a file: (file, event, time) → file, and what must leave the process because of it.
//!
//! One file here for each kind of event; this one says what a judgement is and routes nothing else. Every change of a
//! [`File`] is the application of one event that stands in a record (an arrival, a plan, an attempt, a history event),
//! so that folding a file's records in version order gives the file again ([`fold`]).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod authorized;
mod backoff;
mod dispatches;
mod fetched;
mod file;
mod fold;
mod intervened;
mod next;
mod planned;
mod project;
mod reported;
mod settle;
pub mod specimen;
pub mod table;
mod terms;
mod timer;

#[cfg(test)]
mod tests;

pub use backoff::backoff_ms;
pub use dispatches::Dispatches;
pub use fetched::{NOT_AS_ANNOUNCED, fetch_plan};
pub use file::{Dispatch, File, NewestAttempt, PlanDigests, Spent};
pub(crate) use fold::provisional_deadline;
pub use fold::{FoldError, Folded, fold, fold_each, fold_on};
pub use intervened::MAX_REFUSED_INTERVENTIONS;
pub use next::DueTimer;
pub use planned::{PlanHead, Planned};
pub use terms::{SharedTerms, Terms};

use crate::record::{FileId, Judgement, TargetName, Timestamp};

/// What the machine made of a report, a timer or an intervention.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// An event of the file: it counts in its version and stands in its history.
    Recorded(Recorded),
    /// An exact repeat, or a timer that something before it in the log made stale: it is counted, nothing more.
    Repeat,
}

/// An event that stands in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// What was made of it.
    pub judgement: Judgement,
    /// Why it was refused or came late; one of the codes in the documentation.
    pub code: Option<&'static str>,
    /// What must follow outside the file.
    pub effects: Vec<Effect>,
}

/// What must follow outside the file, in the same transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Pause the target, unless the attempt was authorized before the target's last resume.
    PauseTarget {
        /// The target that refused.
        target: TargetName,
        /// The outcome's code.
        code: String,
        /// When the refused attempt was authorized.
        authorized_at: Timestamp,
    },
    /// Start the file that takes this one up.
    StartSuccessor {
        /// Its identity.
        successor: FileId,
        /// Its targets; empty for every target that the routing document chooses.
        only_targets: Vec<TargetName>,
    },
}

impl Judged {
    fn applied() -> Self {
        Self::recorded(Judgement::Applied, None, Vec::new())
    }

    fn applied_with(effects: Vec<Effect>) -> Self {
        Self::recorded(Judgement::Applied, None, effects)
    }

    fn refused(code: &'static str) -> Self {
        Self::recorded(Judgement::Refused, Some(code), Vec::new())
    }

    fn late(code: &'static str) -> Self {
        Self::recorded(Judgement::Late, Some(code), Vec::new())
    }

    fn contradiction() -> Self {
        Self::recorded(Judgement::Contradiction, Some("settled_otherwise"), Vec::new())
    }

    fn recorded(judgement: Judgement, code: Option<&'static str>, effects: Vec<Effect>) -> Self {
        Self::Recorded(Recorded { judgement, code, effects })
    }
}
