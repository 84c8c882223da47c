//! What this process logs, as JSON lines: all tests of it share one log, and tell their lines by their files.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

/// All log lines of this process.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Begins to catch everything that is logged, down to `trace`, once in this process.
    pub fn catch() -> &'static Self {
        static CAUGHT: OnceLock<Lines> = OnceLock::new();
        CAUGHT.get_or_init(|| {
            let lines = Self::default();
            let logging = tracing_subscriber::fmt()
                .json()
                .flatten_event(true)
                .with_target(false)
                .with_max_level(tracing::Level::TRACE)
                .with_writer(lines.clone())
                .finish();
            tracing::subscriber::set_global_default(logging).unwrap();
            lines
        })
    }

    pub fn text(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    /// The lines of consign at `info` and above, which is the default level, whose `file_id` is this.
    pub fn of_file(&self, file_id: &str) -> Vec<Value> {
        let text = String::from_utf8(self.text()).unwrap();
        let lines = text.lines().filter(|line| line.contains(file_id));
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")));
        lines
            .filter(|line| ["INFO", "WARN", "ERROR"].iter().any(|level| line["level"] == *level))
            .filter(|line| line["file_id"] == file_id)
            .collect()
    }
}
