//! What `watch` says.

use serde::Serialize;

use crate::cli::output::text::clean;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Its manifest is with the gateway.
    Announced,
    /// Every target has it.
    Completed,
    /// It FAILED, or can't be announced.
    Failed,
    /// It is another one than was announced: it is left alone, and announced anew once it is complete.
    Changed,
    /// It is away, and not by this command.
    Gone,
    /// It can't be dealt with at the moment; the next round tries again.
    Trouble,
}

/// One thing that happened in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What happened.
    pub event: What,
    /// The file's name in the directory; null where it is about all of them.
    pub name: Option<String>,
    /// Its identity, once it has one.
    pub file_id: Option<String>,
    /// Where it was moved; null where it wasn't.
    pub moved_to: Option<String>,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Why it FAILED, or what the trouble is.
    pub reason: Option<String>,
}

impl Event {
    pub(super) fn new(event: What, name: &str) -> Self {
        Self { event, name: Some(name.to_owned()), file_id: None, moved_to: None, deleted: false, reason: None }
    }

    pub(super) fn of(mut self, file_id: &str) -> Self {
        self.file_id = Some(file_id.to_owned());
        self
    }

    pub(super) fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// As a line for people.
    pub fn line(&self) -> String {
        let what = match self.event {
            What::Announced => "announced",
            What::Completed => "COMPLETED",
            What::Failed => "FAILED",
            What::Changed => "changed, and is announced anew once it is complete",
            What::Gone => "is away",
            What::Trouble => "waits",
        };
        let mut line = self.name.as_ref().map_or_else(String::new, |name| format!("{}: ", clean(name)));
        line.push_str(what);
        if let Some(file_id) = &self.file_id {
            line.push_str(&format!(" ({})", clean(file_id)));
        }
        if let Some(reason) = &self.reason {
            line.push_str(&format!(": {}", clean(reason)));
        }
        if let Some(place) = &self.moved_to {
            line.push_str(&format!(", moved to {}", clean(place)));
        }
        if self.deleted {
            line.push_str(", deleted");
        }
        line.push('\n');
        line
    }
}
