//! The simulated world: the engine's workers on the in-process log, with a clock that stands until it is moved, targets
//! that answer when they are told to, and faults that strike where they are aimed.
//!
//! Nothing sleeps and only one thing happens at a time, so that a run is a function of what it is told: [`World`] is driven
//! step by step, by a scenario or by [`run_seed`], which draws every choice from one seed and lets the checker of
//! [`crate::verify`] judge what is left on the log.
//!
//! - `world`, `hands`, `process`: the world, what people and targets do in it, and its processes.
//! - `disks`: what the stores of the workers stand on.
//! - `wire`, `watched`, `points`, `faults`: the ports under watch, and what may happen at each call.
//! - `seeded`, `storm`, `story`: runs that a seed decides, and how one is told.
//! - `crash_points`: every commit of a script, met by every blow.
//! - `sabotage`: faults planted on purpose, to show that the checker finds them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod crash_points;
mod disks;
mod document;
mod draws;
mod faults;
mod hands;
mod points;
mod process;
mod records;
mod registry;
mod sabotage;
mod seeded;
mod storm;
mod story;
mod watched;
mod wire;
mod world;

pub use crash_points::{CommitBlow, CrashPoint, Says, ScriptReport, run_script};
pub use document::{OTHER_DOCUMENT, SIMULATED_DOCUMENT};
pub use faults::Aimed;
pub use points::{Blow, Point, When};
pub use registry::SimRegistry;
pub use sabotage::Sabotage;
pub use seeded::{SeedOptions, SeedReport, run_seed};
pub use storm::FAULTS;
pub use wire::{Answer, Parcel};
pub use world::{START, World, WorldOptions, manifest};
