//! `consign machine`: the state machine's tables, printed by running it.

use clap::Args;

use super::client::Globals;
use super::exit::Exit;
use super::output::answer::{Machine, MachineTable};
use super::output::print;
use crate::lifecycle::table::render;
use crate::predict::tables;

/// Arguments of `machine`.
#[derive(Debug, Clone, Copy, Args)]
#[command(after_help = "Examples:
  consign machine
  consign machine | grep '^HELD'")]
pub struct MachineArgs {}

/// Prints the tables.
pub fn run(_: MachineArgs, globals: &Globals) -> Exit {
    let tables = tables();
    let text = || render(&tables);
    let answer = Machine { tables: tables.iter().cloned().map(MachineTable::from).collect() };
    print(globals.output, &answer, text);
    Exit::Ok
}
