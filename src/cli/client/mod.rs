//! The commands that talk to a gateway.
