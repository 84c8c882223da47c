//! Round after round: what has arrived is announced, what has settled is put away.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use url::Url;

use super::Action;
use super::desk::Desk;
use super::event::{Event, What};
use super::journal::{self, Entry, Stage};
use super::shelf::{Mark, Shelf};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::gateway::Submission;
use crate::metrics::is_terminal;
use crate::plan::check_manifest;
use crate::record::{FileId, FileManifest, FileState, State, Timestamp};
use crate::transport::hex;

/// Most files that are announced and not settled; the others wait for a place.
const MAX_OPEN: usize = 256;
/// After this a manifest of which the gateway knows nothing is sent again.
const AGAIN: Duration = Duration::from_secs(30);
/// Longest part of a `file_id` that is the file's name.
const MAX_STEM: usize = 80;

/// What becomes of files.
pub(super) struct Policy {
    pub file_type: String,
    pub schema_version: i32,
    pub attributes: BTreeMap<String, String>,
    pub produced_by: Option<String>,
    /// The directory as the engine reaches it.
    pub located_at: Url,
    pub still: Duration,
    pub on_completed: Action,
    pub on_failed: Action,
    /// Whether a gateway that can't be reached is waited for.
    pub patient: bool,
}

/// A file that isn't announced: how it looks, and since when.
struct Waiting {
    mark: Mark,
    since: Duration,
}

/// A file that is announced.
struct Open {
    state: Option<FileState>,
    /// When its manifest was sent last by this process; `None` for one of an earlier process.
    sent: Option<Duration>,
}

/// A watched directory.
pub(super) struct Rounds<S, D, T> {
    policy: Policy,
    shelf: S,
    desk: D,
    tell: T,
    /// What is announced, or settled and stays in the directory, by name.
    entries: BTreeMap<String, Entry>,
    open: BTreeMap<String, Open>,
    waiting: BTreeMap<String, Waiting>,
    /// What was told last of a name, or of all of them under the empty one: trouble is told once.
    troubled: BTreeMap<String, String>,
    failed: bool,
}

impl<S: Shelf, D: Desk, T: FnMut(&Event)> Rounds<S, D, T> {
    /// Reads the journal, and leaves in it what is still in the directory.
    pub(super) fn begin(policy: Policy, mut shelf: S, desk: D, tell: T) -> io::Result<Self> {
        let mut entries = journal::read(&shelf.journal()?);
        let there: BTreeMap<String, Mark> = shelf.list()?.into_iter().collect();
        entries.retain(|name, entry| there.get(name) == Some(&entry.mark));
        let lines: String = entries.values().map(|entry| entry.line() + "\n").collect();
        shelf.begin_journal(&lines)?;
        let (open, waiting, troubled) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { policy, shelf, desk, tell, entries, open, waiting, troubled, failed: false })
    }

    /// Whether a file FAILED.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// One round, so long after the beginning. Gives how many files are open: not complete, not announced, or not settled.
    pub(super) async fn round(&mut self, now: Duration) -> Result<usize, Failure> {
        let there = match self.shelf.list() {
            Ok(there) => there,
            Err(e) => {
                self.trouble("", &format!("the directory can't be read: {e}"));
                return Ok(1);
            }
        };
        let names: BTreeMap<&String, &Mark> = there.iter().map(|(name, mark)| (name, mark)).collect();
        self.waiting.retain(|name, _| names.contains_key(name));
        let away: Vec<String> = self.entries.keys().filter(|name| !names.contains_key(name)).cloned().collect();
        for name in away {
            self.forget(&name, What::Gone);
        }
        let mut open = 0;
        for (name, mark) in &there {
            match self.one(name, *mark, now).await {
                Ok(is_open) => open += usize::from(is_open),
                Err(Trouble::Here(e)) => {
                    self.trouble(name, &e.to_string());
                    self.failed |= !self.policy.patient;
                    open += usize::from(self.policy.patient);
                }
                Err(Trouble::There(failure)) => {
                    self.away(failure)?;
                    return Ok(open + 1);
                }
            }
        }
        Ok(open)
    }

    /// Deals with one file; whether it is open afterwards.
    async fn one(&mut self, name: &str, mark: Mark, now: Duration) -> Result<bool, Trouble> {
        if self.entries.get(name).is_some_and(|entry| entry.mark != mark) {
            self.forget(name, What::Changed);
        }
        let Some(entry) = self.entries.get(name).cloned() else {
            return self.arrived(name, mark, now).await;
        };
        match entry.stage {
            Stage::Announcing => {}
            Stage::Completed if self.policy.on_completed == Action::Leave => return Ok(false),
            Stage::Failed if self.policy.on_failed == Action::Leave => {
                self.failed = true;
                return Ok(false);
            }
            // It stayed by what an earlier command was told.
            Stage::Completed | Stage::Failed => return self.put_away(&entry).map(|()| false),
        }
        let (known, sent) = self.open.remove(name).map_or((None, None), |open| (open.state, open.sent));
        let (state, sent) = match self.desk.state(&entry.file_id).await {
            Ok(None) if known.is_none() && sent.is_none_or(|sent| now.saturating_sub(sent) >= AGAIN) => {
                (self.announce(&entry).await?, Some(now))
            }
            Ok(None) => (known, sent),
            Ok(state) => (state, sent),
            Err(failure) => {
                self.open.insert(name.to_owned(), Open { state: known, sent });
                return Err(failure.into());
            }
        };
        self.troubled.remove("");
        let settled = state.clone().filter(|state| is_terminal(state.state));
        self.open.insert(name.to_owned(), Open { state, sent });
        match settled {
            Some(state) => self.settle(entry, &state),
            None => Ok(true),
        }
    }

    /// A file that isn't announced: it is, once it is complete and there is room.
    async fn arrived(&mut self, name: &str, mark: Mark, now: Duration) -> Result<bool, Trouble> {
        let since = match self.waiting.get(name) {
            Some(waiting) if waiting.mark == mark => waiting.since,
            _ => {
                self.waiting.insert(name.to_owned(), Waiting { mark, since: now });
                now
            }
        };
        if now.saturating_sub(since) < self.policy.still || self.open.len() >= MAX_OPEN {
            return Ok(true);
        }
        let Some(digest) = self.shelf.digest(name, mark)? else {
            self.waiting.remove(name);
            return Ok(true);
        };
        let file_id = self.file_id(name, &digest);
        let produced_at = Timestamp(i64::try_from(mark.modified_ns / 1_000_000).unwrap_or(0).max(0));
        let stage = Stage::Announcing;
        let entry = Entry { name: name.to_owned(), stage, mark, digest, file_id, produced_at, reason: None };
        if let Err(fault) = check_manifest(&self.manifest(&entry)) {
            let reason = Some(format!("{} {}", fault.code, fault.text));
            self.put_away(&Entry { stage: Stage::Failed, reason, ..entry })?;
            self.waiting.remove(name);
            return Ok(false);
        }
        self.shelf.note(&entry.line())?;
        self.entries.insert(name.to_owned(), entry.clone());
        self.waiting.remove(name);
        self.open.insert(name.to_owned(), Open { state: None, sent: None });
        let state = self.announce(&entry).await?;
        (self.tell)(&Event::new(What::Announced, name).of(&entry.file_id));
        self.troubled.remove("");
        self.troubled.remove(name);
        self.open.insert(name.to_owned(), Open { state, sent: Some(now) });
        Ok(true)
    }

    async fn announce(&mut self, entry: &Entry) -> Result<Option<FileState>, Trouble> {
        match self.desk.submit(&self.submission(entry)).await {
            Ok(state) => Ok(state),
            // The same bytes under the same name were announced with other words, such as another type: that file counts.
            Err(failure) if failure.exit == Exit::No => {
                self.trouble(&entry.name, &format!("it was announced before, otherwise: {}", failure.message));
                Ok(self.desk.state(&entry.file_id).await?)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// The file's end is known: it is put away, if it still is the file that was announced.
    fn settle(&mut self, entry: Entry, state: &FileState) -> Result<bool, Trouble> {
        match self.shelf.look(&entry.name)? {
            Some(mark) if mark == entry.mark => {}
            // The next round deals with what is there.
            _ => return Ok(true),
        }
        let (stage, reason) = if state.state == State::Completed {
            (Stage::Completed, None)
        } else {
            let why = state.reason.as_ref();
            (Stage::Failed, Some(why.map_or_else(String::new, |why| format!("{} {}", why.code, why.text))))
        };
        self.put_away(&Entry { stage, reason, ..entry })?;
        Ok(false)
    }

    /// Does with a settled file what the policy says.
    fn put_away(&mut self, entry: &Entry) -> Result<(), Trouble> {
        let (what, action) = match entry.stage {
            Stage::Failed => (What::Failed, self.policy.on_failed.clone()),
            _ => (What::Completed, self.policy.on_completed.clone()),
        };
        let mut event = Event::new(what, &entry.name).of(&entry.file_id);
        event.reason.clone_from(&entry.reason);
        match action {
            // The journal says so for ever, also when the gateway has forgotten the file.
            Action::Leave => {
                self.shelf.note(&entry.line())?;
                self.entries.insert(entry.name.clone(), entry.clone());
            }
            Action::Delete => {
                self.shelf.delete(&entry.name)?;
                event.deleted = true;
                self.entries.remove(&entry.name);
            }
            Action::Move(to) => {
                let reason = entry.reason.as_ref().map(|reason| {
                    let (name, file_id, digest) = (&entry.name, &entry.file_id, &entry.digest);
                    let beside =
                        serde_json::json!({"name": name, "file_id": file_id, "digest": digest, "reason": reason});
                    format!("{beside:#}\n")
                });
                let place = self.shelf.move_to(&entry.name, &to, reason.as_deref())?;
                event.moved_to = Some(place.display().to_string());
                self.entries.remove(&entry.name);
            }
        }
        self.open.remove(&entry.name);
        self.failed |= entry.stage == Stage::Failed;
        (self.tell)(&event);
        Ok(())
    }

    fn forget(&mut self, name: &str, what: What) {
        let was_open = self.open.remove(name).is_some();
        if let Some(entry) = self.entries.remove(name).filter(|_| was_open) {
            (self.tell)(&Event::new(what, name).of(&entry.file_id));
        }
    }

    /// The gateway refuses, or can't be reached: that is waited for, unless nobody does.
    fn away(&mut self, failure: Failure) -> Result<(), Failure> {
        if !self.policy.patient || failure.exit != Exit::Unreachable {
            return Err(failure);
        }
        self.trouble("", &failure.message);
        Ok(())
    }

    fn trouble(&mut self, name: &str, why: &str) {
        if self.troubled.insert(name.to_owned(), why.to_owned()).as_deref() == Some(why) {
            return;
        }
        let mut event = Event::new(What::Trouble, name).because(why);
        event.name = event.name.filter(|name| !name.is_empty());
        (self.tell)(&event);
    }

    /// Derives from path and digest: `NAME-` and 32 hex digits, without what an identity can't have.
    fn file_id(&self, name: &str, digest: &str) -> String {
        let legal = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let stem: String = name.chars().take(MAX_STEM).map(legal).collect();
        let mut hash = Sha256::new();
        for part in [self.location(name).as_str(), digest] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        format!("{stem}-{}", &hex(&hash.finalize())[..32])
    }

    fn location(&self, name: &str) -> String {
        let mut url = self.policy.located_at.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(name);
        }
        url.to_string()
    }

    fn submission(&self, entry: &Entry) -> Submission {
        Submission {
            file_id: entry.file_id.clone(),
            schema_version: self.policy.schema_version,
            file_type: self.policy.file_type.clone(),
            name: entry.name.clone(),
            location: Some(self.location(&entry.name)),
            size: i64::try_from(entry.mark.size).ok(),
            checksum: Some(entry.digest.clone()),
            media_type: None,
            attributes: self.policy.attributes.clone(),
            data: None,
            produced_by: self.policy.produced_by.clone(),
            produced_at: Some(entry.produced_at),
            deadline: None,
        }
    }

    fn manifest(&self, entry: &Entry) -> FileManifest {
        let Submission { schema_version, file_type, name, location, size, checksum, attributes, produced_by, .. } =
            self.submission(entry);
        FileManifest {
            file_id: FileId::trusted(&entry.file_id),
            schema_version,
            file_type,
            name,
            location,
            size,
            checksum,
            media_type: None,
            attributes,
            data: None,
            produced_by: produced_by.unwrap_or_else(|| "watch".to_owned()),
            produced_at: entry.produced_at,
            deadline: None,
        }
    }
}

/// Why a file can't be dealt with.
enum Trouble {
    /// The directory.
    Here(io::Error),
    /// The gateway.
    There(Failure),
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Self::Here(e)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::There(failure)
    }
}
