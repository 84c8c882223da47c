//! What the demo shows: a live table of file × target, plain lines where the output is no terminal, and the stories.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;

use crate::cli::output::answer::DemoFile;
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
    out: Box<dyn Write + Send>,
}

impl Screen {
    pub fn new(live: bool, silent: bool, out: Box<dyn Write + Send>) -> Self {
        Self { live, silent, drawn: 0, said: BTreeMap::new(), out }
    }

    /// Says something above the table.
    pub fn say(&mut self, text: &str) {
        if self.silent {
            return;
        }
        self.erase();
        // A closed pipe must not end the demo.
        let _ = write!(self.out, "{text}");
    }

    /// Draws the table anew, or a line for each file that changed.
    pub fn draw(&mut self, view: &View, files: &[FileId]) {
        // A line that wraps would be two lines to erase, so the terminal cuts what is too long for it.
        self.draw_within(&states(view, files), ("\x1b[?7l", "\x1b[?7h"));
    }

    /// Draws the table for the last time, with all of every line.
    pub fn draw_last(&mut self, view: &View, files: &[FileId]) {
        self.draw_within(&states(view, files), ("", ""));
        self.drawn = 0;
    }

    fn draw_within(&mut self, states: &[Arc<FileState>], (before, after): (&str, &str)) {
        if self.silent {
            return;
        }
        let mut text = String::new();
        if self.live {
            self.erase();
            text.push_str(before);
            for state in states {
                text.push_str(&row(state, true));
            }
            text.push_str(after);
            self.drawn = states.len();
        } else {
            for state in states {
                if self.said.insert(state.file_id.clone(), state.version) != Some(state.version) {
                    text.push_str(&row(state, false));
                }
            }
        }
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            // Up over the table, and clear to the end of the screen.
            let _ = write!(self.out, "\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }
}

fn states(view: &View, files: &[FileId]) -> Vec<Arc<FileState>> {
    files.iter().filter_map(|id| view.file(id)).collect()
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

/// What became of a file: its state, its dispatches, who was accountable and why; before and after a person's turn.
pub(super) fn story(one: &DemoFile) -> String {
    let file_id = one.person.as_ref().map_or(one.file_id.as_str(), |person| person.saw.file_id.as_str());
    let mut text = format!("\n{file_id}: {}\n", one.about);
    if let Some(person) = &one.person {
        text.push_str(&standing(&person.saw, &person.requests));
        let _ = writeln!(text, "  » {}", person.did);
    }
    if let Some(file) = &one.file {
        if file.file_id.as_str() != file_id {
            let _ = writeln!(text, "  {}, which takes it up:", file.file_id);
        }
        text.push_str(&standing(file, &one.requests));
    }
    text.pop();
    text
}

fn standing(file: &FileState, requests: &BTreeMap<String, usize>) -> String {
    let mut text = format!("    {}", file.state);
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
            let code = if last.code.is_empty() { String::new() } else { format!(" {}", last.code) };
            let _ = write!(text, "; last: {}{code}", last.kind);
        }
        text.push('\n');
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::record::State;
    use crate::view::testing;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn file(status: Status, version: i64) -> Arc<FileState> {
        let mut file = testing::file("inv-1", State::Distributing, 0);
        file.version = version;
        file.dispatches = vec![testing::dispatch("crm", status)];
        Arc::new(file)
    }

    #[test]
    fn a_live_table_replaces_itself_and_what_is_said_stands_above_it() {
        let paper = Paper::default();
        let mut screen = Screen::new(true, false, Box::new(paper.clone()));
        let other = Arc::new(testing::file("inv-2", State::Received, 0));
        screen.draw_within(&[file(Status::InFlight, 3), other], ("<", ">"));
        let row = "inv-1            DISTRIBUTING  crm: \x1b[36mIN_FLIGHT\x1b[0m\n";
        assert_eq!(paper.text(), format!("<{row}inv-2            RECEIVED     \n>"));
        screen.say("» a person acts\n");
        assert_eq!(paper.text(), "\x1b[2A\x1b[J» a person acts\n", "two lines up, cleared");
        screen.draw_within(&[file(Status::Held, 4)], ("", ""));
        assert!(
            paper.text().starts_with("inv-1            DISTRIBUTING  crm: \x1b[35mHELD"),
            "nothing is left to erase"
        );
        screen.draw_within(&[file(Status::Held, 4)], ("", ""));
        assert!(paper.text().starts_with("\x1b[1A\x1b[J"), "one line up");
    }

    #[test]
    fn plain_lines_say_each_version_once() {
        let paper = Paper::default();
        let mut screen = Screen::new(false, false, Box::new(paper.clone()));
        for version in [3, 3, 4] {
            screen.draw_within(&[file(Status::InFlight, version)], ("", ""));
        }
        assert_eq!(paper.text().matches("inv-1            DISTRIBUTING  crm: IN_FLIGHT\n").count(), 2);
    }
}
