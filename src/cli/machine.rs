//! `consign machine`: the state machine's tables, printed by running it.

use clap::Args;
use serde_json::json;

use super::client::Globals;
use super::exit::Exit;
use super::output::OutputFormat;
use crate::lifecycle::table;

/// Arguments of `machine`.
#[derive(Debug, Clone, Copy, Args)]
#[command(after_help = "Examples:
  consign machine
  consign machine | grep '^HELD'")]
pub struct MachineArgs {}

/// Prints the tables.
pub fn run(_: MachineArgs, globals: &Globals) -> Exit {
    if globals.output == OutputFormat::Json {
        let tables: Vec<_> = table::tables()
            .iter()
            .map(|t| {
                let cells: Vec<_> = t.cells.iter().map(|c| json!({"inputs": c.inputs, "outputs": c.outputs})).collect();
                json!({"name": t.name, "title": t.title, "inputs": t.inputs, "outputs": t.outputs, "cells": cells})
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&json!({"tables": tables})).unwrap_or_default());
    } else {
        print!("{}", table::render());
    }
    Exit::Ok
}
