//! The machine's tables, printed by running the machine: what `consign machine` shows and docs/machine.md contains.

mod dispatch;
mod fetch;
mod files;
mod grid;
mod people;
mod trust;

#[cfg(test)]
pub(super) use fetch::fetching;
pub use grid::{ANY, Cell, OR, Table};

use super::{Effect, File, Judged};
use crate::record::Judgement;

/// What the machine makes of events, in the order in which the tables are read.
pub fn tables() -> Vec<Table> {
    vec![
        dispatch::dispatch(),
        trust::confirmation(),
        trust::token(),
        trust::receipt(),
        trust::attempt(),
        people::dispatch(),
        people::file(),
        files::settlement(),
        files::file(),
        fetch::fetch(),
    ]
}

/// Tables as text.
pub fn render(tables: &[Table]) -> String {
    tables.iter().map(Table::render).collect::<Vec<_>>().join("\n")
}

/// Tables as a page of Markdown.
pub fn render_markdown(tables: &[Table]) -> String {
    let head = "# The state machine\n\n\
        Printed by running the machine (`consign machine`); don't edit. A dash in a column on the left stands for every \
        value; a slash stands between values with the same result.\n\n";
    let tables: Vec<String> = tables.iter().map(Table::render_markdown).collect();
    format!("{head}{}", tables.join("\n"))
}

/// A judgement in words: with its code if it wasn't applied, and with what follows outside the file.
fn words_of(judged: &Judged) -> String {
    let Judged::Recorded(recorded) = judged else { return "repeat".to_owned() };
    match (recorded.judgement, recorded.code, recorded.effects.as_slice()) {
        (Judgement::Applied, _, [Effect::PauseTarget { .. }]) => "applied, pauses the target".to_owned(),
        (Judgement::Applied, _, [Effect::StartSuccessor { .. }]) => "applied, starts a successor".to_owned(),
        (judgement, None, _) => judgement.to_string(),
        (judgement, Some(code), _) => format!("{judgement}: {code}"),
    }
}

/// Where the dispatch at target `a` stands, with why it is HELD or who settled it.
fn place_of(file: &File) -> String {
    let dispatch = &file.dispatches[0];
    match (dispatch.held_because, dispatch.settled_by) {
        (Some(because), _) => format!("{} ({because})", dispatch.status),
        (_, Some(by)) => format!("{} (by {by})", dispatch.status),
        _ if dispatch.grant.is_some() => format!("{} (granted)", dispatch.status),
        _ => dispatch.status.to_string(),
    }
}

/// What an event made of the dispatch at target `a`.
fn change_of(before: &File, after: &File) -> String {
    let (old, new) = (&before.dispatches[0], &after.dispatches[0]);
    if old.version != new.version {
        place_of(after)
    } else if old.confirm_by != new.confirm_by {
        "same, for longer".to_owned()
    } else if old.escalations != new.escalations {
        "same, escalated".to_owned()
    } else {
        "same".to_owned()
    }
}
