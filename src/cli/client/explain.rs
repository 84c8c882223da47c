//! `consign explain`.

use std::time::Duration;

use clap::Args;

use super::{Api, Exit, Failure, Screen};
use crate::cli::output::text::clean;
use crate::predict::Explanation;

/// Arguments of `explain`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign explain inv-17
  consign explain inv-17 --output json

Says what happens next by itself and when, who is accountable, what each outcome of an open attempt and each intervention would
lead to, when the file can be COMPLETED at the earliest and whether its deadline can still be met. The gateway reads the
file's home partition from its beginning for this: not for dashboards.

Ends with 0 once it has explained, whatever it says of the file; with 4 if there is no such file.")]
pub struct ExplainArgs {
    /// The file.
    pub file_id: String,
}

pub(super) async fn explain(args: ExplainArgs, api: &Api, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let explanation: Explanation = api.get(&["files", &args.file_id, "explain"], &[], Duration::ZERO).await?;
    screen.show(&explanation, || {
        // Codes come from targets.
        explanation.to_string().lines().map(|line| clean(line) + "\n").collect()
    });
    Ok(Exit::Ok)
}
