//! The named points at which a process may end or stand still: every call that a worker makes on its two ports, before it
//! takes effect and after.

/// A call of a worker on one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// [`crate::log::Log::poll`].
    Poll,
    /// [`crate::log::Log::start`].
    Start,
    /// [`crate::log::Log::pause`].
    Pause,
    /// [`crate::log::Log::committed`].
    Committed,
    /// [`crate::log::Log::positions`].
    Positions,
    /// [`crate::log::Log::partitions`].
    Partitions,
    /// [`crate::log::Log::ends`].
    Ends,
    /// [`crate::log::Log::reader`].
    Reader,
    /// [`crate::log::Reader::poll`] of such a reader.
    Read,
    /// [`crate::log::Log::transact`].
    Transact,
    /// [`crate::log::Log::rebuild`].
    Rebuild,
    /// [`crate::transport::Transport::send`].
    Send,
}

impl Point {
    /// Every point.
    pub const ALL: [Self; 12] = [
        Self::Poll,
        Self::Start,
        Self::Pause,
        Self::Committed,
        Self::Positions,
        Self::Partitions,
        Self::Ends,
        Self::Reader,
        Self::Read,
        Self::Transact,
        Self::Rebuild,
        Self::Send,
    ];

    /// Its name in counts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Committed => "committed",
            Self::Positions => "positions",
            Self::Partitions => "partitions",
            Self::Ends => "ends",
            Self::Reader => "reader",
            Self::Read => "read",
            Self::Transact => "transact",
            Self::Rebuild => "rebuild",
            Self::Send => "send",
        }
    }
}

/// On which side of a call's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Nothing of the call has happened.
    Before,
    /// All of it has, and the caller doesn't know yet.
    After,
}

impl When {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];

    /// Its name in counts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// What happens to the process there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    /// It ends at once, with everything that is on its wire.
    Kill,
    /// It stands still until [`super::World::thaw`], and then goes on as if no time had passed.
    Freeze,
}

impl Blow {
    /// Its name in counts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
        }
    }
}

/// The payload of the unwinding by which a worker is killed in the middle of a step.
#[derive(Debug)]
pub(super) struct Killed;
