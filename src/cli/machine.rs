//! `consign machine`: the state machine's tables, printed by running it.

use clap::Args;

use super::client::Globals;
use super::exit::Exit;
use super::output::answer::{Machine, MachineTable};
use super::output::print;
use crate::lifecycle::table;

/// Arguments of `machine`.
#[derive(Debug, Clone, Copy, Args)]
#[command(after_help = "Examples:
  consign machine
  consign machine | grep '^HELD'")]
pub struct MachineArgs {}

/// Prints the tables.
pub fn run(_: MachineArgs, globals: &Globals) -> Exit {
    let answer = Machine { tables: table::tables().into_iter().map(MachineTable::from).collect() };
    print(globals.output, &answer, table::render);
    Exit::Ok
}
