//! What may go wrong, chosen by the caller: one question per call on the log, one answer.

use crate::log::{Append, Position};

/// A call that is about to happen.
#[derive(Debug, Clone, Copy)]
pub enum FaultPoint<'a> {
    /// A transaction, of a worker or of a change of controls.
    Transact {
        /// The transactional id: a worker's identity, or [`super::CONTROLS_ID`].
        transactional_id: &'a str,
        /// What it appends.
        appends: &'a [Append],
        /// The group's positions that it commits; empty for a change of controls.
        positions: &'a [Position],
    },
    /// An append outside any transaction.
    Append {
        /// What is appended.
        append: &'a Append,
    },
    /// A poll, or a look at offsets.
    Read {
        /// The worker that asks; `None` for readers and changes of controls.
        identity: Option<&'a str>,
    },
}

/// What becomes of that call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with [`crate::log::LogError::Away`] and nothing of it happened.
    Away,
    /// The transaction is written and aborted. An append doesn't happen and fails as away; a read goes well.
    Abort {
        /// Its abort markers wait until they are landed.
        late_markers: bool,
    },
    /// The transaction is written and stays open, and the reply is lost: undecided. It ends when a producer with that
    /// transactional id begins ([`crate::log::Log::rebuild`], [`crate::log::Cluster::worker`]) or by
    /// [`super::MemoryCluster::expire_transactions`]. An append doesn't happen and is undecided; a read goes well.
    LeftOpen,
    /// The transaction is written and aborted, and the group takes the worker for another: [`crate::log::LogError::Displaced`].
    /// An append doesn't happen and fails as away; a read goes well.
    Displaced,
    /// The transaction commits, the append happens, the read goes well.
    Commit {
        /// The caller learns nothing of it: undecided.
        reply_lost: bool,
        /// The commit markers wait until they are landed.
        late_markers: bool,
    },
}

impl Fault {
    /// All goes well, at once.
    pub const NONE: Self = Self::Commit { reply_lost: false, late_markers: false };
}

/// Chooses the fault of each call. It runs inside the log's lock: it must not call the log.
pub type Faults = Box<dyn for<'a> FnMut(FaultPoint<'a>) -> Fault + Send>;
