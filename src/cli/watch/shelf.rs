//! The directory, as `watch` uses it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::transport::hex;

/// The journal's name in the directory.
pub(super) const JOURNAL: &str = ".consign-watch.jsonl";
/// Endings of names that say that a file isn't complete.
const PARTIAL: [&str; 5] = [".part", ".partial", ".tmp", ".filepart", "~"];
/// Bytes of one reading.
const PART: usize = 128 * 1024;

/// What tells a file from another one under its name, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub size: u64,
    /// When it was changed, in nanoseconds since 1970.
    pub modified_ns: i128,
    pub inode: u64,
}

impl Mark {
    fn of(metadata: &fs::Metadata) -> Self {
        let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self { size: metadata.len(), modified_ns, inode: metadata.ino() }
    }
}

/// A directory with files to announce, and its journal.
pub(super) trait Shelf {
    /// The names of the files that may be complete, in order.
    fn list(&mut self) -> io::Result<Vec<(String, Mark)>>;
    /// How a file looks; `None` where it is away.
    fn look(&mut self, name: &str) -> io::Result<Option<Mark>>;
    /// Reads a file: `sha256:` and hex; `None` where it changes meanwhile.
    fn digest(&mut self, name: &str, mark: Mark) -> io::Result<Option<String>>;
    /// What stands in the journal.
    fn journal(&mut self) -> io::Result<String>;
    /// Replaces the journal.
    fn begin_journal(&mut self, lines: &str) -> io::Result<()>;
    /// Adds a line to the journal; it is on the disk afterwards.
    fn note(&mut self, line: &str) -> io::Result<()>;
    /// Moves a file away, never over another one, with the reason beside it where there is one; gives where it is then.
    fn move_to(&mut self, name: &str, to: &Path, reason: Option<&str>) -> io::Result<PathBuf>;
    /// Deletes a file.
    fn delete(&mut self, name: &str) -> io::Result<()>;
}

/// A directory of the file system. Only one process watches it at a time.
pub(super) struct Directory {
    path: PathBuf,
    journal: File,
    /// Held for as long as this is watched.
    lock: File,
}

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        if !path.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no directory"));
        }
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(path.join(".consign-watch.lock"))?;
        lock.try_lock().map_err(|_| io::Error::other("another consign watch has this directory"))?;
        let journal = OpenOptions::new().create(true).append(true).open(path.join(JOURNAL))?;
        Ok(Self { path, journal, lock })
    }

    /// The directory, without links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A process that is just being started has a copy of every open file for a moment, and a copy would keep the lock.
        let _ = self.lock.unlock();
    }
}

/// A directory to which files can be moved from `directory`, made if it isn't there. Relative to that.
pub(super) fn neighbour(directory: &Path, to: &Path) -> io::Result<PathBuf> {
    let to = directory.join(to);
    fs::create_dir_all(&to)?;
    let to = to.canonicalize()?;
    if to == directory {
        return Err(io::Error::other("it is the watched directory itself"));
    }
    if fs::metadata(&to)?.dev() != fs::metadata(directory)?.dev() {
        return Err(io::Error::other("it is on another file system: a file can't be moved there in one step"));
    }
    Ok(to)
}

impl Shelf for Directory {
    fn list(&mut self) -> io::Result<Vec<(String, Mark)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A name that is no text can't stand in a manifest.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') || PARTIAL.iter().any(|ending| name.ends_with(ending)) {
                continue;
            }
            if let Some(mark) = self.look(&name)? {
                files.push((name, mark));
            }
        }
        files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }

    fn look(&mut self, name: &str) -> io::Result<Option<Mark>> {
        match fs::symlink_metadata(self.path.join(name)) {
            Ok(metadata) => Ok(metadata.is_file().then(|| Mark::of(&metadata))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn digest(&mut self, name: &str, mark: Mark) -> io::Result<Option<String>> {
        let mut file = File::open(self.path.join(name))?;
        let is_same = |file: &File| Ok::<_, io::Error>(Mark::of(&file.metadata()?) == mark);
        if !is_same(&file)? {
            return Ok(None);
        }
        let (mut digest, mut part) = (Sha256::new(), vec![0; PART]);
        loop {
            match file.read(&mut part) {
                Ok(0) => break,
                Ok(n) => digest.update(&part[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(is_same(&file)?.then(|| format!("sha256:{}", hex(&digest.finalize()))))
    }

    fn journal(&mut self) -> io::Result<String> {
        let bytes = fs::read(self.path.join(JOURNAL))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn begin_journal(&mut self, lines: &str) -> io::Result<()> {
        let (new, place) = (self.path.join(format!("{JOURNAL}.new")), self.path.join(JOURNAL));
        let mut file = File::create(&new)?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &place)?;
        File::open(&self.path)?.sync_all()?;
        self.journal = OpenOptions::new().append(true).open(&place)?;
        Ok(())
    }

    fn note(&mut self, line: &str) -> io::Result<()> {
        self.journal.write_all(format!("{line}\n").as_bytes())?;
        self.journal.sync_data()
    }

    fn move_to(&mut self, name: &str, to: &Path, reason: Option<&str>) -> io::Result<PathBuf> {
        let from = self.path.join(name);
        let inode = fs::symlink_metadata(&from)?.ino();
        for number in 0.. {
            let name = if number == 0 { name.to_owned() } else { format!("{name}.{number}") };
            let place = to.join(&name);
            // A second name first, which never replaces another file; the first name goes last, so that a crash in
            // between leaves the file to be dealt with again.
            match fs::hard_link(&from, &place) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    if fs::symlink_metadata(&place)?.ino() != inode {
                        continue;
                    }
                }
                Err(e) => return Err(e),
            }
            if let Some(reason) = reason {
                let new = to.join(format!(".{name}.reason.new"));
                fs::write(&new, reason)?;
                fs::rename(new, to.join(format!("{name}.reason.json")))?;
            }
            fs::remove_file(&from)?;
            return Ok(place);
        }
        unreachable!("some number is free")
    }

    fn delete(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::Directory;

    #[test]
    fn a_directory_is_let_go_of_even_where_a_copy_of_the_lock_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let watched = Directory::open(folder.path()).unwrap();
        assert!(Directory::open(folder.path()).is_err(), "one process at a time");
        let _copy = watched.lock.try_clone().unwrap();
        drop(watched);
        Directory::open(folder.path()).unwrap();
    }
}
