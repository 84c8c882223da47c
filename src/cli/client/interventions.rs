//! `consign intervene` and `consign resubmit`.

use std::time::Duration;

use clap::Args;
use uuid::Uuid;

use super::{Api, Exit, Failure, Screen, around, parse_duration};
use crate::cli::output::text;
use crate::gateway::{Judged, RequestedAction};
use crate::record::{Action, FileState, Judgement};

/// Arguments of `intervene`.
#[derive(Debug, Clone, Args)]
#[command(
    override_usage = "consign intervene [OPTIONS] --reason <TEXT> <FILE_ID> <TARGET> <retry|confirm|fail>
       consign intervene [OPTIONS] --reason <TEXT> <FILE_ID> cancel",
    after_help = "Examples:
  consign intervene inv-17 billing confirm --reason \"found in their ledger\" --evidence \"entry 4711\"
  consign intervene inv-17 billing retry --reason \"they are back, and never got it\"
  consign intervene inv-17 billing fail --reason \"account closed\"
  consign intervene inv-17 cancel --reason \"sent by mistake\"

  retry    send the same request once more, under the same key
  confirm  the target has processed it: the dispatch has SUCCEEDED, settled by an operator for ever
  fail     the target will not process it: the dispatch has FAILED
  cancel   no further dispatch of the file: what was never sent is CANCELLED

Shows the dispatch, asks with the version that it showed, waits and prints what the engine made of it: applied or
refused. Refused as stale means that something changed meanwhile: look again. Ends with 0 if applied, 1 if refused, 5 if
not judged yet."
)]
pub struct InterveneArgs {
    /// The file.
    pub file_id: String,
    /// The target and what to do there, or `cancel` for the file.
    #[arg(required = true, num_args = 1..=2, value_names = ["TARGET", "ACTION"])]
    pub what: Vec<String>,
    #[command(flatten)]
    asked: Asked,
    /// Proof, for confirm.
    #[arg(long, value_name = "TEXT")]
    pub evidence: Option<String>,
}

/// Arguments of `resubmit`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  consign resubmit inv-17 --reason \"billing is repaired\"
  consign resubmit inv-17 --reason \"their ledger has no trace of it\" --resend-unknown

Starts the one successor of a FAILED file, inv-17~1, limited to the targets without a recorded success. Ends with 0 if
applied, 1 if refused, 5 if not judged yet.")]
pub struct ResubmitArgs {
    /// The file.
    pub file_id: String,
    /// Also to the targets that may have processed the request already.
    #[arg(long)]
    pub resend_unknown: bool,
    #[command(flatten)]
    asked: Asked,
}

/// What every intervention takes.
#[derive(Debug, Clone, Args)]
struct Asked {
    /// Why; recorded for good.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The version that you saw; by default the one that this command fetches and shows.
    #[arg(long, value_name = "N")]
    seen_version: Option<i64>,
    /// How long to wait for the engine's judgement, 60 s at most.
    #[arg(long, value_parser = parse_duration, default_value = "10s", value_name = "DURATION")]
    wait: Duration,
}

pub(super) async fn intervene(args: InterveneArgs, api: &Api, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let (target, action) = what(&args.what)?;
    let file: FileState = api.get(&["files", &args.file_id], &[], Duration::ZERO).await?;
    let around = around(api, screen, [&file]).await;
    let seen = match target {
        None => {
            screen.remark(&text::file(&file, &around));
            file.version
        }
        Some(target) => {
            let Some(dispatch) = file.dispatches.iter().find(|d| d.target.as_str() == target) else {
                let known: Vec<&str> = file.dispatches.iter().map(|d| d.target.as_str()).collect();
                let message =
                    format!("file {} has no dispatch to {target}; its targets: {}", args.file_id, known.join(", "));
                return Err(Failure::coded(Exit::NotFound, "CG321", message));
            };
            screen.remark(&text::dispatch_lines(dispatch, &around));
            dispatch.version
        }
    };
    let request = request(action, &args.asked, seen, args.evidence.clone(), false);
    let path: Vec<&str> = match target {
        None => vec!["files", &args.file_id, "interventions"],
        Some(target) => vec!["files", &args.file_id, "dispatches", target, "interventions"],
    };
    ask(api, screen, &path, target, &request, args.asked.wait).await
}

pub(super) async fn resubmit(args: ResubmitArgs, api: &Api, screen: &mut Screen<'_>) -> Result<Exit, Failure> {
    let file: FileState = api.get(&["files", &args.file_id], &[], Duration::ZERO).await?;
    let request = request(Action::Resubmit, &args.asked, file.version, None, args.resend_unknown);
    ask(api, screen, &["files", &args.file_id, "interventions"], None, &request, args.asked.wait).await
}

/// `TARGET ACTION`, or `cancel`.
fn what(words: &[String]) -> Result<(Option<&str>, Action), Failure> {
    match words {
        [action] if action == Action::Cancel.as_str() => Ok((None, Action::Cancel)),
        [target, action] => match action.parse() {
            Ok(action @ (Action::Retry | Action::Confirm | Action::Fail)) => Ok((Some(target), action)),
            Ok(Action::Cancel) => Err(Failure::usage("cancel is for the whole file and takes no TARGET")),
            _ => Err(Failure::usage(format!("`{action}` is none of retry, confirm, fail"))),
        },
        _ => Err(Failure::usage("say TARGET and retry, confirm or fail; or only cancel")),
    }
}

fn request(
    action: Action,
    asked: &Asked,
    seen: i64,
    evidence: Option<String>,
    resend_unknown: bool,
) -> RequestedAction {
    RequestedAction {
        action,
        reason: asked.reason.clone(),
        evidence,
        seen_version: Some(asked.seen_version.unwrap_or(seen)),
        // Chosen here, so that the request that is repeated after a lost answer asks once.
        intervention_id: Some(Uuid::now_v7().to_string()),
        resend_unknown,
    }
}

async fn ask(
    api: &Api,
    screen: &mut Screen<'_>,
    path: &[&str],
    target: Option<&str>,
    request: &RequestedAction,
    wait: Duration,
) -> Result<Exit, Failure> {
    // The gateway says if this is longer than it waits.
    let query = [("wait", format!("{}ms", wait.as_millis()))];
    let judged: Judged = api.post(path, &query, request, wait).await?.value;
    let around = around(api, screen, [judged.file.as_ref()]).await;
    screen.show(&judged, || text::judged(&judged, target, &around));
    Ok(match judged.judgement {
        None => Exit::Unfinished,
        Some(Judgement::Applied) => Exit::Ok,
        Some(_) => Exit::No,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_dispatch_takes_a_target_and_a_file_takes_none() {
        assert_eq!(what(&words("billing retry")).unwrap(), (Some("billing"), Action::Retry));
        assert_eq!(what(&words("cancel")).unwrap(), (None, Action::Cancel));
        assert_eq!(what(&words("cancel confirm")).unwrap(), (Some("cancel"), Action::Confirm));
        for wrong in ["billing", "retry", "billing cancel", "billing resubmit", "billing start_successor"] {
            assert_eq!(what(&words(wrong)).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }
}
