//! Why a command didn't do what it was asked: what happened, the code with its page, what to do, how it ends.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::exit::Exit;
use super::output::OutputFormat;
use super::output::text::clean;

/// Why a command didn't do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// The stable code, where there is one; it has a page under docs/errors.
    pub code: Option<String>,
    /// What happened and where, for people; may have several lines.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A failure as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureBody {
    /// The exit code of the command.
    pub exit: u8,
    /// The stable code, where there is one.
    pub code: Option<String>,
    /// What happened and where, for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A mistake on the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, code: None, message: message.into(), hint: None }
    }

    /// A failure with a code of its own.
    pub fn coded(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: Some(code.to_owned()), message: message.into(), hint: None }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// As JSON.
    pub fn body(&self) -> FailureBody {
        FailureBody {
            exit: self.exit.code(),
            code: self.code.clone(),
            message: self.message.clone(),
            hint: self.hint.clone(),
        }
    }

    /// As what is written to standard error, with its line end.
    pub fn told(&self, format: OutputFormat) -> String {
        match format {
            OutputFormat::Text => format!("consign: {self}\n"),
            OutputFormat::Json => format!("{}\n", super::output::json(&self.body())),
        }
    }

    /// Says it on standard error; gives how the command ends.
    pub fn tell(&self, format: OutputFormat) -> Exit {
        use std::io::Write as _;
        // Nobody is left to tell if this fails.
        std::io::stderr().write_all(self.told(format).as_bytes()).ok();
        self.exit
    }
}

impl fmt::Display for Failure {
    /// Lines after the first are indented, so that no text from outside looks like one of ours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = &self.code {
            write!(f, "{}: ", clean(code))?;
        }
        for (at, line) in self.message.lines().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { "\n  " }, clean(line))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  to do: {}", clean(hint))?;
        }
        if let Some(code) = &self.code {
            write!(f, "\n  more: docs/errors/{}.md", clean(code))?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_happened_what_to_do_and_where_more_stands() {
        let failure = Failure::coded(Exit::Usage, "CG402", "none is in force\n\x1b[31mred").hint("apply one");
        assert_eq!(
            failure.told(OutputFormat::Text),
            "consign: CG402: none is in force\n  \u{fffd}[31mred\n  to do: apply one\n  more: docs/errors/CG402.md\n"
        );
        let body: FailureBody = serde_json::from_str(&failure.told(OutputFormat::Json)).unwrap();
        assert_eq!((body.exit, body.code.as_deref(), body.hint.as_deref()), (2, Some("CG402"), Some("apply one")));
    }
}
