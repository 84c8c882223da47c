//! Local files, below the allowed roots only.
//!
//! A path is resolved by the system below its root, one name after the other, so that neither `..` nor a link leads out of it,
//! whoever changes the directories meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use reqwest::Url;
use tokio::sync::mpsc;

use super::{Fault, Source};

/// Bytes of one part.
const PART: usize = 64 * 1024;

/// Opens a `file` URI. Also gives the file's size.
pub(super) async fn open(roots: &[PathBuf], url: &Url) -> Result<(Source, Option<u64>), Fault> {
    let (root, below) = place(roots, url)?;
    let (file, size) = tokio::task::spawn_blocking(move || open_below(&root, &below))
        .await
        .map_err(|e| Fault::transient("unreadable", e.to_string()))??;
    let (parts, receiver) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || read(file, &parts));
    Ok((Source::Local(receiver), Some(size)))
}

/// The root that holds a path, and the path below it.
fn place(roots: &[PathBuf], url: &Url) -> Result<(PathBuf, PathBuf), Fault> {
    let refused = |detail: &str| Err(Fault::last("location_refused", detail));
    let Ok(path) = url.to_file_path() else { return refused("the location names no path of this machine") };
    if path.components().any(|part| matches!(part, Component::ParentDir)) {
        return refused("the location climbs with `..`");
    }
    // The longest root, so that a link in an outer one doesn't matter to an inner one.
    let root = roots.iter().filter(|root| path.starts_with(root)).max_by_key(|root| root.as_os_str().len());
    match root.and_then(|root| Some((root.clone(), path.strip_prefix(root).ok()?.to_owned()))) {
        Some((_, below)) if below.as_os_str().is_empty() => refused("the location is a directory"),
        Some(found) => Ok(found),
        None => refused("the location is below none of the directories of `[content] roots`"),
    }
}

fn open_below(root: &Path, below: &Path) -> Result<(File, u64), Fault> {
    // The root is the operator's: where it is away, so is whatever is mounted there.
    let away = |e: io::Error| Fault::transient("unreadable", format!("{}: {e}", root.display()));
    let dir = Dir::open_ambient_dir(root, ambient_authority()).map_err(away)?;
    let fault = |e: io::Error| fault(&e);
    // Asked before it is opened, because opening a pipe waits for its other end.
    let regular = |is_file| if is_file { Ok(()) } else { Err(Fault::last("location_refused", "it is no file")) };
    regular(dir.metadata(below).map_err(fault)?.is_file())?;
    let file = dir.open(below).map_err(fault)?;
    let metadata = file.metadata().map_err(fault)?;
    regular(metadata.is_file())?;
    Ok((file.into_std(), metadata.len()))
}

/// What a failure of the system means.
fn fault(e: &io::Error) -> Fault {
    use io::ErrorKind as Kind;
    match e.kind() {
        Kind::NotFound | Kind::NotADirectory => Fault::last("missing", e.to_string()),
        // An escape from the root is reported as a lack of permission, too.
        Kind::PermissionDenied | Kind::InvalidInput | Kind::InvalidFilename => Fault::last("forbidden", e.to_string()),
        _ => Fault::transient("unreadable", e.to_string()),
    }
}

/// Hands the file out part by part, one ahead, until its end, an error, or nobody listens.
fn read(mut file: File, parts: &mpsc::Sender<Result<Bytes, Fault>>) {
    loop {
        let mut part = vec![0; PART];
        let part = match file.read(&mut part) {
            Ok(0) => return,
            Ok(n) => {
                part.truncate(n);
                Ok(Bytes::from(part))
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => Err(fault(&e)),
        };
        let is_last = part.is_err();
        if parts.blocking_send(part).is_err() || is_last {
            return;
        }
    }
}
