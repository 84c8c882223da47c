//! `consign dev`: the embedded product stays up, with its HTTP API.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::stage::{Bed, Stage};

/// Arguments of `dev`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign dev
  consign dev --port 9000 --routing routing.yaml

Everything is lost when it ends: this is for trying, not for keeping.")]
pub struct DevArgs {
    /// Port of the HTTP API on 127.0.0.1.
    #[arg(long, default_value_t = 8480)]
    pub port: u16,
    /// A routing document instead of the demo's.
    #[arg(long, value_name = "FILE")]
    pub routing: Option<PathBuf>,
}

/// Runs until Ctrl-C.
pub async fn run(args: DevArgs) -> Exit {
    let routing = match args.routing.map(|path| super::routing::read(&path)).transpose() {
        Ok(routing) => routing,
        Err(text) => {
            eprintln!("consign: {text}");
            return Exit::Usage;
        }
    };
    let stage = match Stage::set(&Bed::default(), args.port, routing).await {
        Ok(stage) => stage,
        Err(failure) => {
            eprintln!("consign: {failure}");
            return failure.exit();
        }
    };
    println!("consign dev: http://{}", stage.gateway());
    println!(
        "receivers:   http://{} (billing, archive, crm, legacy, flaky, partner, ledger, warehouse)",
        stage.receivers.addr()
    );
    println!("Ctrl-C ends it, and everything with it.");
    let exit = tokio::select! {
        stop = stage.ended() => {
            eprintln!("consign: {stop}");
            Exit::from(&stop)
        }
        () = super::interrupted() => Exit::Ok,
    };
    stage.strike().await;
    exit
}
