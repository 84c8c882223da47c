//! Lines in a file that doesn't grow for ever.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file of lines. Beyond its size it is set aside as `NAME.previous`, over the one before, and begun anew: both together
/// hold at most twice that size, and at least the newest lines of it.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

impl LineFile {
    /// Opens a file, or begins it; lines are added at its end.
    pub fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, max_bytes })
    }

    /// Adds a line.
    pub fn add(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64 + 1;
        if self.bytes > 0 && self.bytes + length > self.max_bytes {
            let mut previous = self.path.clone().into_os_string();
            previous.push(".previous");
            std::fs::rename(&self.path, previous)?;
            *self = Self::open(&self.path, self.max_bytes)?;
        }
        // One call for each line: who reads along sees no half of one.
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.bytes += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_newest_lines_in_twice_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut lines = LineFile::open(&path, 20).unwrap();
        for number in 0..10 {
            lines.add(&format!("line {number}")).unwrap();
        }
        drop(lines);
        let mut lines = LineFile::open(&path, 20).unwrap();
        lines.add("line 10").unwrap();
        lines.add(&"x".repeat(50)).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("lines.previous"), "line 10\n");
        assert_eq!(read("lines").len(), 51, "a line that is too long stands alone");
    }
}
