//! What the client commands print: JSON against committed schemas, or text for people.

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
