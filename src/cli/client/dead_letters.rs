//! `consign dead-letters`.

use std::time::Duration;

use clap::Subcommand;

use super::{Api, Exit, Failure, Screen, now};
use crate::cli::output::text;
use crate::gateway::{DeadLetterAnswer, DeadLetters, Reinject, Reinjected};

/// The commands under `dead-letters`.
#[derive(Debug, Clone, Subcommand)]
pub enum DeadLetterCommand {
    /// List the newest, newest first.
    #[command(after_help = "Example:\n  consign dead-letters ls --limit 20")]
    Ls {
        /// How many, 1000 at most.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// Show one with its headers and its bytes.
    #[command(after_help = "Example:\n  consign dead-letters show 3/17")]
    Show {
        /// PARTITION/OFFSET, as the list shows it.
        place: String,
    },
    /// Put one back on its topic, byte for byte, once its cause is mended.
    #[command(after_help = "Example:\n  consign dead-letters reinject 3/17 --reason \"schema 12 is registered again\"")]
    Reinject {
        /// PARTITION/OFFSET, as the list shows it.
        place: String,
        /// Why; recorded in a header of the record.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub(super) async fn run(command: DeadLetterCommand, api: &Api, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    match command {
        DeadLetterCommand::Ls { limit } => {
            let query = [("limit", limit.to_string())];
            let letters: DeadLetters = api.get(&["dead-letters"], &query, Duration::ZERO).await?;
            screen.show(&letters, || text::dead_letters(&letters.dead_letters, now()));
        }
        DeadLetterCommand::Show { place } => {
            let (partition, offset) = split(&place)?;
            let letter: DeadLetterAnswer = api.get(&["dead-letters", partition, offset], &[], Duration::ZERO).await?;
            screen.show(&letter, || text::dead_letter(&letter, now()));
        }
        DeadLetterCommand::Reinject { place, reason } => {
            let (partition, offset) = split(&place)?;
            let path = ["dead-letters", partition, offset, "reinject"];
            let put_back: Reinjected = api.post(&path, &[], &Reinject { reason }, Duration::ZERO).await?.value;
            screen.show(&put_back, || {
                let partition = put_back.partition.map(|p| format!("/{p}")).unwrap_or_default();
                format!("put back on {}{partition}: {place}\n", text::clean(&put_back.topic))
            });
        }
    }
    Ok(Exit::Ok)
}

fn split(place: &str) -> Result<(&str, &str), Failure> {
    place
        .split_once('/')
        .filter(|(partition, offset)| partition.parse::<i32>().is_ok() && offset.parse::<i64>().is_ok())
        .ok_or_else(|| Failure::usage(format!("`{place}` is no PARTITION/OFFSET")))
}
