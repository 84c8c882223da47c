//! The commands that answer before anything is sent: what a change of the routing document means, what a file's plan would
//! be, how it would go.

pub mod diff;
pub mod plan;
pub mod simulate;
pub(super) mod sources;

pub use sources::{DocumentArgs, manifests, recorded};
