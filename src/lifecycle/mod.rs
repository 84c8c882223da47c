//! The state machine of a file.
