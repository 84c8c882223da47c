//! What a committed batch did, as data: the shell turns it into metrics and logs.

use crate::lifecycle::File;
use crate::record::{Action, FileId, Judgement, OutcomeKind, Reporter, State, Status, TargetName};

/// One thing that a committed transaction (or a restore) did.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// A file entered a state; `from` is `None` for one that has just arrived or was restored.
    FileState {
        /// The file.
        file_id: FileId,
        /// The state before.
        from: Option<State>,
        /// The state after; `None` for one that was tombstoned or handed over.
        to: Option<State>,
        /// From arrival to settlement, for a file that has just settled, in milliseconds.
        took_ms: Option<i64>,
    },
    /// A dispatch entered a status, as [`Observed::FileState`].
    Dispatch {
        /// The target.
        target: TargetName,
        /// The status before.
        from: Option<Status>,
        /// The status after.
        to: Option<Status>,
    },
    /// An attempt was authorized.
    Attempt {
        /// The file.
        file_id: FileId,
        /// The target.
        target: TargetName,
        /// Its number.
        attempt: i32,
    },
    /// A report was judged.
    Report {
        /// The file.
        file_id: FileId,
        /// The target.
        target: TargetName,
        /// The attempt it names.
        attempt: Option<i32>,
        /// What it said.
        kind: OutcomeKind,
        /// Who said it.
        reporter: Reporter,
        /// What was made of it.
        judgement: Judgement,
        /// From request to answer, in milliseconds.
        took_ms: Option<i64>,
    },
    /// An intervention was judged.
    Intervention {
        /// The file.
        file_id: FileId,
        /// What was asked.
        action: Action,
        /// What was made of it.
        judgement: Judgement,
    },
    /// A dispatch escalated.
    Escalated {
        /// The file.
        file_id: FileId,
        /// The target.
        target: TargetName,
    },
    /// The engine paused a target.
    Paused {
        /// The target.
        target: TargetName,
        /// The outcome's code.
        code: String,
    },
    /// A transaction didn't happen, or nobody knows whether it did.
    Aborted {
        /// `aborted`, `away`, `undecided` or `fenced`.
        cause: &'static str,
    },
    /// An input was counted and changed nothing.
    Duplicate {
        /// `manifest`, `report`, `intervention` or `timer`.
        what: &'static str,
    },
    /// An input was forwarded to its home partition.
    Forwarded {
        /// The topic's name without its prefix.
        topic: &'static str,
    },
    /// An input went to dead-letters.
    DeadLetter {
        /// The reason, as in the record's header.
        reason: &'static str,
        /// The cause in words.
        detail: String,
    },
}

/// What a restore adds to the picture.
pub(super) fn taken_over(file: &File) -> Vec<Observed> {
    let state = Observed::FileState { file_id: file.id().clone(), from: None, to: Some(file.state), took_ms: None };
    let dispatches = file.dispatches.iter().map(|d| Observed::Dispatch {
        target: d.target().clone(),
        from: None,
        to: Some(d.status),
    });
    std::iter::once(state).chain(dispatches).collect()
}

/// What leaves the picture when a home goes to another worker.
pub(super) fn hand_over(file: &File) -> Vec<Observed> {
    let state = Observed::FileState { file_id: file.id().clone(), from: Some(file.state), to: None, took_ms: None };
    let dispatches = file.dispatches.iter().map(|d| Observed::Dispatch {
        target: d.target().clone(),
        from: Some(d.status),
        to: None,
    });
    std::iter::once(state).chain(dispatches).collect()
}
