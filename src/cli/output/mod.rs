//! What the client commands print: JSON against committed schemas, or text for people.

pub mod answer;
pub mod schema;
pub mod text;

/// How a command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OutputFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON value, or one a line where the command follows something; its schema stands under docs/api/output.
    Json,
}

/// A value as one line of JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("answers have text keys and serialize")
}

/// Prints an answer on standard output: the value as JSON, or its text, with its line end.
pub(crate) fn print(format: OutputFormat, value: &impl serde::Serialize, text: impl FnOnce() -> String) {
    use std::io::Write as _;
    let answer = match format {
        OutputFormat::Text => text(),
        OutputFormat::Json => format!("{}\n", json(value)),
    };
    let mut out = std::io::stdout().lock();
    // A reader that went away has read enough; the exit code says what happened.
    out.write_all(answer.as_bytes()).and_then(|()| out.flush()).ok();
}

/// A number of things: `1 fault`, `2 faults`.
pub(crate) fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
pub(crate) fn assert_generated(path: &str, content: &str) {
    let full = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("CONSIGN_WRITE_GENERATED").is_some() {
        std::fs::write(&full, content).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    let committed = std::fs::read_to_string(&full).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(
        committed == content,
        "{path} differs from what the code generates; write it with CONSIGN_WRITE_GENERATED=1"
    );
}
