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
        let rows: Vec<_> = table::rows()
            .iter()
            .map(|r| {
                json!({"status": r.status, "event": r.event, "policy": r.policy, "judgement": r.judgement,
                       "becomes": r.becomes})
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&json!({"rows": rows})).unwrap_or_default());
    } else {
        print!("{}", table::render());
    }
    Exit::Ok
}
