//! `consign status`, `consign history`, `consign ls`.

use std::time::Duration;

use clap::Args;

use super::{Api, Exit, Failure, LONGEST_CALL, Screen, around, exit_of, newer};
use crate::cli::output::text;
use crate::gateway::{FilePage, History};
use crate::metrics::is_terminal;
use crate::record::FileState;

/// The most that one page of the gateway holds.
const PAGE: usize = 1000;

/// Arguments of `status`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign status inv-17
  consign status inv-17 --watch
  consign status inv-17 --output json

Ends with 0 if the file is COMPLETED, 1 if it FAILED, 4 if there is no such file, 5 if it is not finished yet. With
--watch it prints each new version and ends with the file; as JSON, one value a line.")]
pub struct StatusArgs {
    /// The file.
    pub file_id: String,
    /// Follow the file to its end.
    #[arg(long)]
    pub watch: bool,
}

/// Arguments of `history`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign history inv-17
  consign history inv-17 --output json

The gateway reads the file's home partition from its beginning for this: not for dashboards.")]
pub struct HistoryArgs {
    /// The file.
    pub file_id: String,
}

/// Arguments of `ls`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign ls --held                      what waits for a person, oldest file first
  consign ls --overdue --owner team-b
  consign ls --state FAILED --target billing

The conditions --held, --owner and --target must hold for one and the same dispatch of a file; --owner alone also finds
files that this party is accountable for.")]
pub struct LsArgs {
    /// Only files with a HELD dispatch.
    #[arg(long)]
    pub held: bool,
    /// Only open files whose deadline has passed.
    #[arg(long)]
    pub overdue: bool,
    /// Only files of this owner.
    #[arg(long, value_name = "OWNER")]
    pub owner: Option<String>,
    /// Only files with a dispatch at this target.
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Only files in this state: RECEIVED, VALIDATED, DISTRIBUTING, COMPLETED or FAILED.
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Files to show.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub limit: usize,
    /// Go on where an earlier list ended.
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
}

pub(super) async fn status(args: StatusArgs, api: &Api, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let path = ["files", args.file_id.as_str()];
    let mut file: FileState = api.get(&path, &[], Duration::ZERO).await?;
    let around = around(api, screen, [&file]).await;
    screen.show(&file, || text::file(&file, &around));
    // Whoever watches knows that it takes long.
    let watching = api.silent();
    while args.watch && !is_terminal(file.state) {
        let newest = newer(&watching, &args.file_id, Some(&file), LONGEST_CALL).await?;
        if let Some(newest) = newest.filter(|newest| newest.version > file.version) {
            file = newest;
            screen.remark("\n");
            let around = super::around(&watching, screen, [&file]).await;
            screen.show(&file, || text::file(&file, &around));
        }
    }
    Ok(exit_of(&file))
}

pub(super) async fn history(args: HistoryArgs, api: &Api, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let history: History = api.get(&["files", &args.file_id, "history"], &[], Duration::ZERO).await?;
    screen.show(&history, || text::history(&history.entries));
    Ok(Exit::Ok)
}

pub(super) async fn ls(args: LsArgs, api: &Api, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let mut list = FilePage { files: Vec::new(), next: args.after.clone() };
    loop {
        let left = args.limit - list.files.len();
        let page: FilePage = api.get(&["files"], &query(&args, left, list.next.as_deref()), Duration::ZERO).await?;
        list.files.extend(page.files);
        list.next = page.next;
        // A page may be short and still have a next one.
        if list.next.is_none() || list.files.len() >= args.limit {
            break;
        }
    }
    let around = around(api, screen, list.files.iter().map(AsRef::as_ref)).await;
    screen.show(&list, || {
        let more = list.next.as_ref().map(|next| format!("there are more: --after {}\n", text::clean(next)));
        text::files(list.files.iter().map(AsRef::as_ref), &around) + &more.unwrap_or_default()
    });
    Ok(Exit::Ok)
}

fn query(args: &LsArgs, left: usize, after: Option<&str>) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", left.min(PAGE).to_string())];
    for (name, set) in [("held", args.held), ("overdue", args.overdue)] {
        if set {
            query.push((name, "true".to_owned()));
        }
    }
    let texts = [("owner", &args.owner), ("target", &args.target), ("state", &args.state)];
    let texts = texts.into_iter().map(|(name, value)| (name, value.as_deref()));
    for (name, value) in texts.chain([("after", after)]) {
        if let Some(value) = value {
            query.push((name, value.to_owned()));
        }
    }
    query
}
