//! The command line, one file for each subcommand.

pub mod client;
pub mod exit;
pub mod output;
