//! Text for a person at three in the morning: what is the matter, whose turn it is, what happens next and when.
//!
//! Pure: the time is an argument. Whatever came from outside is cleaned of control characters, so that a file's name
//! can't move the cursor or forge a line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::gateway::{DeadLetterAnswer, DeadLetterSummary, Judged, TargetChange, TargetView};
use crate::metrics::{is_settled, is_terminal};
use crate::predict::length;
use crate::record::{
    Accountable, DispatchState, FileId, FileState, Judgement, NextEvent, NextEventKind, SettledBy, State, Status,
    TargetName, Timestamp,
};

mod advice;
mod history;

pub use history::history;

/// What a file's record doesn't say and its reader must know: the time, the pauses, who took a FAILED file up.
#[derive(Debug, Clone)]
pub struct Around {
    /// The reader's time.
    pub now: Timestamp,
    /// The paused targets, with what to say of each.
    pub paused: BTreeMap<TargetName, String>,
    /// The successor of the file and where it stands.
    pub successor: Option<(FileId, State)>,
}

impl Around {
    /// Nothing but the time.
    pub fn at(now: Timestamp) -> Self {
        Self { now, paused: BTreeMap::new(), successor: None }
    }

    /// Takes over the pauses of these targets.
    #[must_use]
    pub fn with_pauses<'a>(mut self, targets: impl IntoIterator<Item = &'a TargetView>) -> Self {
        for target in targets {
            if let Some(pause) = target.pauses.first() {
                let said =
                    format!("{} ({}), {}", clean(&pause.actor), clean(&pause.reason), when(self.now, pause.since));
                self.paused.insert(target.target.clone(), said);
            }
        }
        self
    }
}

/// A text without control characters.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// When something was, or will be, seen from `now`.
fn when(now: Timestamp, at: Timestamp) -> String {
    match at.millis_since(now) {
        past if past <= 0 => format!("{} ago", length(past)),
        future => format!("in {}", length(future)),
    }
}

/// A moment: the time in UTC and how far away it is.
fn moment(now: Timestamp, at: Timestamp) -> String {
    format!("{at} ({})", when(now, at))
}

fn accountable(now: Timestamp, accountable: Option<&Accountable>) -> String {
    accountable.map_or_else(|| "nobody".to_owned(), |a| format!("{} since {}", clean(&a.party), moment(now, a.since)))
}

fn next(around: &Around, next: &NextEvent) -> String {
    let now = around.now;
    let target = next.target.as_ref().map(|t| format!(" at {t}")).unwrap_or_default();
    if next.what == NextEventKind::Attempt {
        if let Some(said) = next.target.as_ref().and_then(|target| around.paused.get(target)) {
            return format!("no attempt{target} before a person resumes it: PAUSED by {said}");
        }
        if next.at <= now {
            return format!("the next attempt{target}, as soon as there is capacity (due {})", when(now, next.at));
        }
    }
    let what = match next.what {
        NextEventKind::Attempt => "the next attempt",
        NextEventKind::AttemptDeadline => "the attempt's fate counts as unknown",
        NextEventKind::ConfirmationDeadline => "the confirmation is overdue",
        NextEventKind::FileDeadline => "the file is overdue",
        NextEventKind::Escalation => "it escalates",
    };
    format!("{what}{target}, {} ({})", when(now, next.at), next.at)
}

/// A file and all of its dispatches.
pub fn file(file: &FileState, around: &Around) -> String {
    let now = around.now;
    let mut text = String::new();
    let open = !is_terminal(file.state);
    let overdue = if open && file.overdue {
        ", OVERDUE"
    } else if open && file.deadline_lost {
        ", its deadline can't be met without a person"
    } else {
        ""
    };
    line(&mut text, 0, &format!("{}: {}{overdue} (version {})", file.file_id, file.state, file.version));
    line(
        &mut text,
        2,
        &format!("{} ({}) from {}", clean(&file.name), clean(&file.file_type), clean(&file.produced_by)),
    );
    line(&mut text, 2, &format!("received: {}", moment(now, file.received_at)));
    if let Some(predecessor) = &file.supersedes {
        line(&mut text, 2, &format!("takes up: {predecessor}, which FAILED"));
    }
    if let Some(reason) = &file.reason {
        line(&mut text, 2, &format!("reason: {} ({})", clean(&reason.text), clean(&reason.code)));
    }
    if file.accountable.is_some() {
        line(&mut text, 2, &format!("accountable: {}", accountable(now, file.accountable.as_ref())));
    }
    if let Some(settled_at) = file.settled_at {
        line(&mut text, 2, &format!("settled: {}", moment(now, settled_at)));
    } else {
        let next = file.next_event.as_ref().map_or_else(|| "nothing by itself".to_owned(), |n| next(around, n));
        line(&mut text, 2, &format!("next: {next}"));
        line(&mut text, 2, &format!("deadline: {}", moment(now, file.deadline)));
    }
    for dispatch in &file.dispatches {
        text.push_str(&dispatch_lines(dispatch, around));
        for advice in decisions(file, dispatch) {
            line(&mut text, 6, &advice);
        }
    }
    for advice in way_on(file, around) {
        line(&mut text, 2, &advice);
    }
    text
}

/// What is left to do, or was done, about a settled file.
fn way_on(file: &FileState, around: &Around) -> Vec<String> {
    let id = &file.file_id;
    let mut lines = Vec::new();
    if file.dispatches.iter().any(|d| d.settled_by == Some(SettledBy::Operator)) {
        lines.push(format!("a person decided: who, why and with which proof is in consign history {id}"));
    }
    match &around.successor {
        _ if file.state != State::Failed => {}
        Some((successor, state)) => lines.push(format!("taken up by {successor}: {state}")),
        None if file.dispatches.is_empty() => {
            lines.push(format!("once its cause is mended, to plan it again: consign resubmit {id} --reason TEXT"));
        }
        None => {
            lines.push(format!("to send it again to its unsuccessful targets: consign resubmit {id} --reason TEXT"));
        }
    }
    lines
}

/// What a person may decide about a dispatch that waits for one.
fn decisions(file: &FileState, dispatch: &DispatchState) -> Vec<String> {
    if dispatch.status == Status::Held { advice::decide(file, dispatch) } else { Vec::new() }
}

/// One dispatch: where it stands and, while it is open, whose turn it is and what comes next.
pub fn dispatch_lines(dispatch: &DispatchState, around: &Around) -> String {
    let now = around.now;
    let mut text = String::new();
    let since = if is_settled(dispatch.status) {
        when(now, dispatch.since)
    } else {
        format!("for {}", length(now.millis_since(dispatch.since)))
    };
    let mut first = format!("{}: {} {since}", dispatch.target, dispatch.status);
    if let Some(by) = dispatch.settled_by {
        let _ = write!(first, ", settled by {by}");
    }
    if let Some(because) = dispatch.held_because.filter(|_| dispatch.status == Status::Held) {
        let _ = write!(first, ": {} ({because})", advice::held(because, dispatch));
    }
    line(&mut text, 2, &first);
    let mut attempts = format!("attempts: {} made", dispatch.attempts);
    if !is_settled(dispatch.status) {
        let left = &dispatch.budget;
        let _ = write!(attempts, ", {} left, {} more if an operator asks", left.attempts, left.operator_attempts);
    }
    if let Some(last) = &dispatch.last_outcome {
        let code = if last.code.is_empty() { String::new() } else { format!(" {}", clean(&last.code)) };
        let _ = write!(attempts, "; last report: {}{code} {}", last.kind, when(now, last.at));
    }
    line(&mut text, 6, &attempts);
    if is_settled(dispatch.status) {
        return text;
    }
    let owner = dispatch.accountable.as_ref();
    line(&mut text, 6, &format!("accountable: {} (owner {})", accountable(now, owner), clean(&dispatch.owner)));
    if let Some(event) = &dispatch.next_event {
        line(&mut text, 6, &format!("next: {}", next(around, event)));
        if event.what == NextEventKind::Attempt && around.paused.contains_key(&dispatch.target) {
            line(&mut text, 6, &format!("to go on: consign targets resume {} --reason TEXT", dispatch.target));
        }
    }
    text
}

/// Files as a table, oldest first.
pub fn files<'a>(files: impl IntoIterator<Item = &'a FileState>, around: &Around) -> String {
    let now = around.now;
    let mut rows = vec![["FILE", "STATE", "RECEIVED", "ACCOUNTABLE", "OPEN AT", "NEXT"].map(str::to_owned)];
    let (mut any_held, mut any_paused) = (false, false);
    for file in files {
        let paused = |target: &TargetName| around.paused.contains_key(target);
        any_held |= file.dispatches.iter().any(|d| d.status == Status::Held);
        let open: Vec<String> = file
            .dispatches
            .iter()
            .filter(|d| !is_settled(d.status))
            .map(|d| match d.held_because {
                Some(because) if d.status == Status::Held => format!("{} {} ({because})", d.target, d.status),
                _ if waits_for_an_attempt(d) && paused(&d.target) => format!("{} {} (PAUSED)", d.target, d.status),
                _ => format!("{} {}", d.target, d.status),
            })
            .collect();
        any_paused |= file.dispatches.iter().any(|d| waits_for_an_attempt(d) && paused(&d.target));
        let overdue = if file.overdue && !is_terminal(file.state) { " OVERDUE" } else { "" };
        rows.push([
            file.file_id.to_string(),
            format!("{}{overdue}", file.state),
            when(now, file.received_at),
            file.accountable.as_ref().map_or_else(|| "-".to_owned(), |a| clean(&a.party)),
            if open.is_empty() { "-".to_owned() } else { open.join(", ") },
            file.next_event.as_ref().map_or_else(|| "-".to_owned(), |n| next_cell(around, n)),
        ]);
    }
    if rows.len() == 1 {
        return "no file matches\n".to_owned();
    }
    let mut text = table(&rows);
    if any_held {
        text.push_str("what is HELD waits for a person: consign status FILE says what to decide\n");
    }
    if any_paused {
        text.push_str(
            "what is PAUSED waits until a person resumes the target: consign targets ls says who paused it\n",
        );
    }
    text
}

/// Whether a dispatch would be sent next, if anything may be.
pub fn waits_for_an_attempt(dispatch: &DispatchState) -> bool {
    dispatch.next_event.as_ref().is_some_and(|next| next.what == NextEventKind::Attempt)
}

fn next_cell(around: &Around, next: &NextEvent) -> String {
    let is_attempt = next.what == NextEventKind::Attempt;
    if is_attempt && next.target.as_ref().is_some_and(|target| around.paused.contains_key(target)) {
        return "resume".to_owned();
    }
    if is_attempt && next.at <= around.now {
        return "attempt, due".to_owned();
    }
    format!("{} {}", next.what, when(around.now, next.at))
}

/// What became of an intervention on a file, or on its dispatch at `target`.
pub fn judged(judged: &Judged, target: Option<&str>, around: &Around) -> String {
    let file_id = &judged.file.file_id;
    let mut text = match judged.judgement {
        None => format!(
            "not judged yet: it stands on the log as intervention {}, and will be\n  to do: consign history {file_id}\n",
            clean(&judged.intervention_id)
        ),
        Some(Judgement::Applied) => "applied\n".to_owned(),
        Some(other) => {
            let code = judged.code.as_deref().unwrap_or("no code");
            let advice = advice::refusal(code, &judged.file);
            let why = advice.as_ref().map_or("the history says more", |(why, _)| why);
            let to_do = advice.as_ref().map_or_else(|| format!("consign history {file_id}"), |(_, way)| way.clone());
            format!("{other}: {why} ({}). Nothing changed\n  to do: {to_do}\n", clean(code))
        }
    };
    if let Some(successor) = &judged.successor {
        let _ = writeln!(text, "the file that takes it up: {successor}; follow it: consign status {successor} --watch");
    }
    let dispatch = judged.file.dispatches.iter().find(|d| Some(d.target.as_str()) == target);
    let Some(dispatch) = dispatch else { return text + &file(&judged.file, around) };
    line(&mut text, 0, &format!("{file_id}: {} (version {})", judged.file.state, judged.file.version));
    text.push_str(&dispatch_lines(dispatch, around));
    if !is_terminal(judged.file.state) {
        line(&mut text, 2, &format!("follow it: consign status {file_id} --watch"));
    }
    text
}

/// Dead letters as a table.
pub fn dead_letters(letters: &[DeadLetterSummary], now: Timestamp) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let mut rows = vec![["PLACE", "WHEN", "REASON", "FROM", "KEY", "SIZE", "DETAIL"].map(str::to_owned)];
    rows.extend(letters.iter().map(|letter| dead_letter_row(letter, now)));
    table(&rows)
}

fn dead_letter_row(letter: &DeadLetterSummary, now: Timestamp) -> [String; 7] {
    let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), clean);
    let from = match (&letter.topic, letter.from_partition, letter.from_offset) {
        (Some(topic), Some(partition), Some(offset)) => format!("{} {partition}/{offset}", clean(topic)),
        (topic, ..) => or_dash(topic),
    };
    [
        format!("{}/{}", letter.partition, letter.offset),
        when(now, letter.at),
        or_dash(&letter.reason),
        from,
        or_dash(&letter.key),
        letter.value_size.map_or_else(|| "-".to_owned(), |size| size.to_string()),
        or_dash(&letter.detail),
    ]
}

/// One dead letter, opened.
pub fn dead_letter(letter: &DeadLetterAnswer, now: Timestamp) -> String {
    let mut text = dead_letters(std::slice::from_ref(&letter.dead_letter), now);
    text.push_str("headers:\n");
    for (name, value) in &letter.headers {
        line(&mut text, 2, &format!("{}: {}", clean(name), clean(value)));
    }
    match (&letter.value_text, &letter.value_base64) {
        (Some(value), _) => line(&mut text, 0, &format!("value: {}", clean(value))),
        (None, Some(value)) => line(&mut text, 0, &format!("value (base64): {value}")),
        (None, None) => line(&mut text, 0, "no value (a tombstone)"),
    }
    text
}

/// Targets, each with its pauses.
pub fn targets<'a>(targets: impl IntoIterator<Item = &'a TargetView>, now: Timestamp) -> String {
    let mut text = String::new();
    for target in targets {
        let owner = target.owner.as_deref().map(|o| format!(" (owner {})", clean(o))).unwrap_or_default();
        let paused = if target.paused { "PAUSED" } else { "running" };
        line(&mut text, 0, &format!("{}{owner}: {paused}", target.target));
        for pause in &target.pauses {
            let code = pause.code.as_deref().map(|c| format!(" ({})", clean(c))).unwrap_or_default();
            let said = format!("by {} {}: {}{code}", pause.by, clean(&pause.actor), clean(&pause.reason));
            line(&mut text, 2, &format!("paused {said}, {}", moment(now, pause.since)));
        }
        let counts: Vec<String> = target.dispatches.iter().map(|(status, n)| format!("{n} {status}")).collect();
        if !counts.is_empty() {
            line(&mut text, 2, &format!("dispatches: {}", counts.join(", ")));
        }
        if let Some(oldest) = target.oldest_open {
            line(&mut text, 2, &format!("oldest open file: received {}", moment(now, oldest)));
        }
        if target.paused {
            line(&mut text, 2, &format!("to go on: consign targets resume {} --reason TEXT", target.target));
        }
    }
    if text.is_empty() { "no targets\n".to_owned() } else { text }
}

/// What pauses or resumes did.
pub fn changes(changes: &[TargetChange], now: Timestamp) -> String {
    let mut text = String::new();
    for change in changes {
        text.push_str(if change.changed { "changed; " } else { "was so already; " });
        text.push_str(&targets([&change.target], now));
        if change.changed && change.target.paused {
            line(&mut text, 2, "each worker obeys within a moment; what it authorized before may still leave");
        }
    }
    text
}

fn line(text: &mut String, indent: usize, content: &str) {
    let _ = writeln!(text, "{:indent$}{content}", "");
}

/// Rows in columns as wide as their widest cell; the last one ragged.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests;
