//! The state machine against its tables and under random events.

#[path = "machine/property.rs"]
mod property;
#[path = "machine/recorder.rs"]
mod recorder;
#[path = "machine/tables.rs"]
mod tables;
#[path = "machine/watch.rs"]
mod watch;
