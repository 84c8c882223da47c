//! What the demo shows: a live table of file × target, plain lines where the output is no terminal, and the stories.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use crate::record::{DispatchState, FileId, FileState, Status};
use crate::view::View;

/// The picture under way.
pub(super) struct Screen {
    live: bool,
    silent: bool,
    /// Lines of the table as it stands on the screen.
    drawn: usize,
    /// What plain lines have said of each file.
    said: BTreeMap<FileId, i64>,
}

impl Screen {
    pub fn new(live: bool, silent: bool) -> Self {
        Self { live, silent, drawn: 0, said: BTreeMap::new() }
    }

    /// Says something above the table.
    pub fn say(&mut self, text: &str) {
        if self.silent {
            return;
        }
        self.erase();
        // A closed pipe must not end the demo.
        let _ = write!(std::io::stdout(), "{text}");
    }

    /// Draws the table anew, or a line for each file that changed.
    pub fn draw(&mut self, view: &View, files: &[FileId]) {
        // A line that wraps would be two lines to erase, so the terminal cuts what is too long for it.
        self.draw_within(view, files, ("\x1b[?7l", "\x1b[?7h"));
    }

    /// Draws the table for the last time, with all of every line.
    pub fn draw_last(&mut self, view: &View, files: &[FileId]) {
        self.draw_within(view, files, ("", ""));
        self.drawn = 0;
    }

    fn draw_within(&mut self, view: &View, files: &[FileId], (before, after): (&str, &str)) {
        if self.silent {
            return;
        }
        let states: Vec<Arc<FileState>> = files.iter().filter_map(|id| view.file(id)).collect();
        let mut text = String::new();
        if self.live {
            self.erase();
            text.push_str(before);
            for state in &states {
                text.push_str(&row(state, true));
            }
            text.push_str(after);
            self.drawn = states.len();
        } else {
            for state in &states {
                if self.said.insert(state.file_id.clone(), state.version) != Some(state.version) {
                    text.push_str(&row(state, false));
                }
            }
        }
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            // Up over the table, and clear to the end of the screen.
            let _ = write!(std::io::stdout(), "\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }
}

fn row(state: &FileState, colour: bool) -> String {
    let mut line = format!("{:<16} {:<13}", state.file_id, state.state);
    for dispatch in &state.dispatches {
        let word = cell(dispatch);
        let _ = if colour {
            write!(line, " {}: \x1b[{}m{word}\x1b[0m", dispatch.target, colour_of(dispatch.status))
        } else {
            write!(line, " {}: {word}", dispatch.target)
        };
    }
    if let (true, Some(reason)) = (state.dispatches.is_empty(), &state.reason) {
        let _ = write!(line, " {}", reason.code);
    }
    line.push('\n');
    line
}

fn cell(dispatch: &DispatchState) -> String {
    match dispatch.status {
        Status::Pending | Status::Cancelled => dispatch.status.to_string(),
        status if dispatch.attempts <= 1 => status.to_string(),
        status => format!("{status} ×{}", dispatch.attempts),
    }
}

const fn colour_of(status: Status) -> u8 {
    match status {
        Status::Succeeded => 32,
        Status::Failed | Status::Cancelled => 31,
        Status::Held => 35,
        Status::BackingOff => 33,
        Status::InFlight | Status::Awaiting => 36,
        Status::Pending => 90,
    }
}

/// What became of a file: its state, its dispatches, who was accountable and why.
pub(super) fn story(
    file_id: &str,
    about: &str,
    file: Option<&FileState>,
    requests: &BTreeMap<String, usize>,
) -> String {
    let mut text = format!("\n{file_id}: {about}\n");
    let Some(file) = file else { return text };
    let _ = write!(text, "    {}", file.state);
    if let Some(reason) = &file.reason {
        let _ = write!(text, ": {} ({})", reason.text, reason.code);
    }
    match &file.accountable {
        Some(who) => {
            let _ = writeln!(text, "\n    accountable: {} since {}", who.party, who.since);
        }
        None => text.push('\n'),
    }
    for dispatch in &file.dispatches {
        let sent = requests.get(dispatch.target.as_str()).copied().unwrap_or(0);
        let _ = write!(
            text,
            "    {:<10} {:<11} attempts {}, requests received {sent}",
            dispatch.target.as_str(),
            dispatch.status.as_str(),
            dispatch.attempts
        );
        if let Some(by) = dispatch.settled_by {
            let _ = write!(text, ", settled by {by}");
        }
        if let Some(because) = dispatch.held_because {
            let _ = write!(text, ", because {because}; accountable: {}", dispatch.owner);
        }
        if let Some(last) = &dispatch.last_outcome {
            let _ = write!(text, "; last: {} {}", last.kind, last.code);
        }
        text.push('\n');
    }
    text.pop();
    text
}

/// Three commands to try next, as they must be typed.
pub(super) fn next_steps(place: &str) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "consign".into());
    format!(
        "This ran on {place}. Three commands to try next:\n\n  \
         {program} dev &\n  \
         echo '{{\"file_id\": \"mine-1\", \"schema_version\": 2, \"file_type\": \"invoice\", \"name\": \"mine\", \
         \"data\": {{\"account_id\": \"A-100\", \"amount\": 42}}}}' | {program} submit - --wait 10s\n  \
         {program} history mine-1\n"
    )
}
