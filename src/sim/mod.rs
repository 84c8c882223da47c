//! The simulated world: the engine's workers on the in-process log, with a clock that stands until it is moved, targets
//! that answer when they are told to, and faults that strike where they are aimed.
//!
//! Everything runs on one thread and nothing sleeps, so that a run is a function of what it is told: [`World`] is driven
//! step by step, by a scenario or by [`run_seed`], which draws every choice from one seed and lets the checker of
//! [`crate::verify`] judge what is left on the log.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod document;
mod draws;
mod faults;
mod registry;
mod seeded;
mod storm;
mod wire;
mod world;

pub use document::{OTHER_DOCUMENT, SIMULATED_DOCUMENT};
pub use faults::Aimed;
pub use registry::SimRegistry;
pub use seeded::{SeedReport, run_seed};
pub use wire::{Answer, Parcel};
pub use world::{START, World, WorldOptions, manifest};
