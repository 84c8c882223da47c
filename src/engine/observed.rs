//! What a committed batch did, as data: the shell turns it into metrics and logs.

use crate::log::{AbortCause, TopicPartition};
use crate::record::{Action, FileId, HeldBecause, Judgement, OutcomeKind, Reporter, State, Status, TargetName};
use crate::store::Reason;

/// Every word for an input that was counted and changed nothing.
pub const DUPLICATES: [&str; 4] = ["manifest", "report", "intervention", "timer"];

/// One thing that a committed transaction (or a restore) did.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// A transaction was committed.
    Committed {
        /// Records appended in it.
        records: usize,
    },
    /// A home partition was restored and is at work.
    Restored {
        /// The partition.
        partition: i32,
        /// Records read.
        records: u64,
        /// How long it took, in milliseconds.
        took_ms: i64,
    },
    /// A home partition begins with an empty store: all of it is read from the log.
    StoreEmpty {
        /// The partition.
        partition: i32,
        /// Why.
        reason: Reason,
        /// The cause in words.
        text: String,
    },
    /// A store failed while its partition was at work.
    StoreFailed {
        /// The partition.
        partition: i32,
        /// How.
        reason: Reason,
        /// The cause in words.
        text: String,
    },
    /// A file entered a state.
    FileState {
        /// The file.
        file_id: FileId,
        /// The state.
        state: State,
        /// The code of its failure, where validation failed.
        code: Option<String>,
        /// From arrival to settlement, for a file that has just settled, in milliseconds.
        took_ms: Option<i64>,
    },
    /// A dispatch entered a status.
    Dispatch {
        /// The file.
        file_id: FileId,
        /// The target.
        target: TargetName,
        /// The status.
        status: Status,
        /// Why it is HELD.
        held_because: Option<HeldBecause>,
    },
    /// A settled file's retention ended and its records were tombstoned.
    Forgotten {
        /// The file.
        file_id: FileId,
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
        /// A stable word for the cause of that, such as `http_503`; empty where it gives none.
        outcome_code: String,
        /// Who said it.
        reporter: Reporter,
        /// What was made of it.
        judgement: Judgement,
        /// Why it was judged so, where it wasn't applied: a code of docs/errors/judgements.md.
        code: Option<&'static str>,
        /// From request to answer, in milliseconds.
        took_ms: Option<i64>,
    },
    /// An intervention was judged.
    Intervention {
        /// The file.
        file_id: FileId,
        /// The target, where it is about one dispatch.
        target: Option<TargetName>,
        /// What was asked.
        action: Action,
        /// Who asked.
        actor: String,
        /// What was made of it.
        judgement: Judgement,
        /// Why it was refused: a code of docs/errors/judgements.md.
        code: Option<&'static str>,
    },
    /// A dispatch escalated.
    Escalated {
        /// The file.
        file_id: FileId,
        /// The target.
        target: TargetName,
    },
    /// The worker plans by this routing document from here on.
    Routing {
        /// Its digest.
        digest: String,
        /// Its targets.
        targets: Vec<TargetName>,
    },
    /// The engine paused a target.
    Paused {
        /// The target.
        target: TargetName,
        /// The outcome's code.
        code: String,
    },
    /// A breaker opened or closed. This one is told whether or not a transaction follows.
    Breaker {
        /// The target.
        target: TargetName,
        /// Whether it is open, a probe under way included.
        is_open: bool,
    },
    /// A topic of a target doesn't take its records, or a transaction with one was aborted because of it: the target's
    /// breaker is open. No transaction is needed for this one.
    TopicRefused {
        /// The target.
        target: TargetName,
        /// The topic.
        topic: String,
        /// Why, in words.
        text: String,
    },
    /// A transaction didn't happen, or nobody knows whether it did.
    Aborted {
        /// Why.
        cause: AbortCause,
    },
    /// An input was counted and changed nothing.
    Duplicate {
        /// One of [`DUPLICATES`].
        what: &'static str,
        /// The file that it is about.
        file_id: FileId,
    },
    /// An input was forwarded to its home partition.
    Forwarded {
        /// Where it was read.
        from: TopicPartition,
        /// Its offset there.
        offset: i64,
        /// The file that it is about.
        file_id: FileId,
    },
    /// The worker's clock was measured against the broker's.
    ClockMeasured {
        /// How far it is ahead, in milliseconds; negative: behind.
        offset_ms: i64,
        /// The round trip: the true offset lies within half of it.
        within_ms: i64,
    },
    /// An input went to dead-letters.
    DeadLetter {
        /// Where it was read.
        from: TopicPartition,
        /// Its offset there.
        offset: i64,
        /// Its key as text, cut; the `file_id` of most.
        key: String,
        /// The reason, as in the record's header.
        reason: &'static str,
        /// The cause in words.
        detail: String,
    },
}
