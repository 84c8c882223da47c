//! What will become of a file, before it does: the production planning and machine code under a clock of its own.
//!
//! [`course`] lets a file run its course against targets that answer as a [`Script`] says, [`bounds()`] says how it can go at
//! best and at worst whatever they answer, and [`explain()`] says of a file under way what is next, who is accountable, and
//! what each possible outcome and each intervention would lead to. Nothing here sends anything, and nothing is decided that
//! the machine doesn't decide.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod bounds;
mod course;
mod explain;
mod fetch;
mod kinds;
mod script;
mod words;

pub use bounds::{Bounds, MostRequests, PersonNeeded, bounds, bounds_with_fetch};
pub use course::{Course, End, Happening, MAX_STEPS, Step, accepted, course, follow};
pub use explain::{Deadline, DispatchExplained, Explanation, LeadsTo, MAX_TRIED, Would, explain};
pub use fetch::needs_bytes;
pub use kinds::tables;
pub use script::{Confirming, Reply, Script, ScriptError, ScriptedStep, verdict_of};
pub use words::length;
