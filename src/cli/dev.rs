//! `consign dev`: the embedded product stays up, with its HTTP API.

use std::path::PathBuf;
use std::pin::pin;

use clap::Args;

use super::client::Globals;
use super::exit::Exit;
use super::failure::Failure;
use super::output::answer::Serving;
use super::output::print;
use super::stage::{Bed, Stage};
use crate::receiver::demo_behaviours;

/// Arguments of `dev`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign dev
  consign dev --port 0
  consign dev --port 9000 --routing routing.yaml

Everything is lost when it ends: this is for trying, not for keeping.")]
pub struct DevArgs {
    /// Port of the HTTP API on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8480, env = "CONSIGN_DEV_PORT")]
    pub port: u16,
    /// A routing document instead of the demo's.
    #[arg(long, value_name = "FILE")]
    pub routing: Option<PathBuf>,
}

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: DevArgs, globals: &Globals) -> Exit {
    // Before the gateway answers anybody: who has an answer may end it at once.
    let mut told = pin!(super::interrupted());
    let set = tokio::select! {
        set = set(args, globals) => set,
        () = &mut told => return Exit::Ok,
    };
    let stage = match set {
        Ok(stage) => stage,
        Err(failure) => return failure.tell(globals.output),
    };
    let gateway = format!("http://{}", stage.gateway());
    let serving = Serving {
        gateway: Some(gateway.clone()),
        observing: Some(gateway),
        receivers: Some(format!("http://{}", stage.receivers.addr())),
    };
    print(globals.output, &serving, || {
        let names: Vec<String> = demo_behaviours().into_keys().map(|t| t.to_string()).collect();
        format!(
            "consign dev: http://{}\nreceivers:   http://{} ({})\nCtrl-C ends it, and everything with it.\n",
            stage.gateway(),
            stage.receivers.addr(),
            names.join(", ")
        )
    });
    let exit = tokio::select! {
        stop = stage.ended() => super::run::stopped(&stop, globals),
        () = &mut told => Exit::Ok,
    };
    stage.strike().await;
    exit
}

async fn set(args: DevArgs, globals: &Globals) -> Result<Stage, Failure> {
    let routing = args.routing.map(|path| super::routing::read(&path)).transpose()?;
    Stage::set(&Bed::default(), globals.output, args.port, routing).await
}
