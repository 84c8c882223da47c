//! How often a key had an effect: what a command of the person who certifies prints.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::transport::sign::webhook_id;

/// Longest that the command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command with the key in `CONSIGN_KEY` and the `webhook-id` in `CONSIGN_WEBHOOK_ID`; gives the number that it
/// prints. How it ends doesn't count: what counts matches ends otherwise where there are none.
pub(super) async fn count(command: &str, key: &str) -> Result<u64, String> {
    let mut shell = Command::new(super::shell());
    shell.arg("-c").arg(command).env("CONSIGN_KEY", key).env("CONSIGN_WEBHOOK_ID", webhook_id(key));
    shell.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    let run = tokio::task::spawn_blocking(move || shell.output());
    let done = tokio::time::timeout(PATIENCE, run).await.map_err(|_| format!("nothing within {PATIENCE:?}"))?;
    let output = done.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    said.parse().map_err(|_| {
        let complaint: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(200).collect();
        format!("it prints `{}`, which is no number {complaint}", said.chars().take(80).collect::<String>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_counts_what_a_key_did() {
        assert_eq!(count("printf '%s\\n' a/b a/b c | grep -c -x -F \"$CONSIGN_KEY\"", "a/b").await, Ok(2));
        assert_eq!(count("printf 'c' | grep -c -x -F \"$CONSIGN_KEY\"", "a/b").await, Ok(0));
        assert!(count("echo none; echo why >&2", "a/b").await.unwrap_err().contains("`none`"));
    }
}
