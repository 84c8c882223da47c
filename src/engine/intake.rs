//! Manifests and starts of successors: accepted once, planned in the same transaction; or forwarded, counted, refused.

use std::sync::Arc;

use super::batch::Batch;
use super::observed::Observed;
use super::too_long;
use crate::lifecycle::File;
use crate::log::{Append, Headers, Record};
use crate::plan;
use crate::record::{
    Arrival, Cause, DecodeError, FileId, FileManifest, Intervention, Origin, TargetName, Timestamp, Topic,
    dispatch_key, header, home_partition,
};

/// Headers that say where a forwarded or dead-lettered record first stood.
pub(super) const ORIGIN_TOPIC: &str = "consign-origin-topic";
pub(super) const ORIGIN_PARTITION: &str = "consign-origin-partition";
pub(super) const ORIGIN_OFFSET: &str = "consign-origin-offset";
pub(super) const ORIGIN_TIMESTAMP: &str = "consign-origin-timestamp";

/// Longest explanation in a dead letter's header, in bytes: the whole must stay of a size that the log takes.
const DETAIL_BYTES: usize = 1024;

/// Longest key in a log line, in bytes: every legal one fits.
const KEY_BYTES: usize = 300;

/// Why an input goes to dead-letters: the value of its `consign-reason` header.
pub mod reason {
    /// The bytes are no record of the topic's schema.
    pub const UNDECODABLE: &str = "undecodable";
    /// The key is missing, or isn't the one that the value names.
    pub const KEY_MISMATCH: &str = "key_mismatch";
    /// An input topic holds no tombstones.
    pub const TOMBSTONE: &str = "tombstone";
    /// The `file_id` breaks the rules, or is reserved.
    pub const ILLEGAL_FILE_ID: &str = "illegal_file_id";
    /// The manifest breaks a limit.
    pub const ILLEGAL_MANIFEST: &str = "illegal_manifest";
    /// Another manifest was accepted under this `file_id`.
    pub const CONFLICTING_MANIFEST: &str = "conflicting_manifest";
    /// The manifest is older than the memory that tells duplicates.
    pub const EXPIRED: &str = "expired";
    /// The record was forwarded home and isn't at home again.
    pub const ASTRAY: &str = "astray";
    /// The record is longer than its topic takes: its producer compressed it.
    pub const TOO_LONG: &str = "too_long";
    /// No file of that id is known.
    pub const UNKNOWN_FILE: &str = "unknown_file";
    /// The file has no such target.
    pub const UNKNOWN_TARGET: &str = "unknown_target";
    /// The intervention is refused, and the file has recorded as many refused ones as it may.
    pub const REFUSED_TOO_OFTEN: &str = "refused_too_often";

    /// Every reason.
    pub const ALL: [&str; 12] = [
        UNDECODABLE,
        KEY_MISMATCH,
        TOMBSTONE,
        ILLEGAL_FILE_ID,
        ILLEGAL_MANIFEST,
        CONFLICTING_MANIFEST,
        EXPIRED,
        ASTRAY,
        TOO_LONG,
        UNKNOWN_FILE,
        UNKNOWN_TARGET,
        REFUSED_TOO_OFTEN,
    ];
}

/// Why an input can't be folded.
pub(super) enum Unfit {
    /// It never can be: dead-letter it.
    Dead(&'static str, String),
    /// Not yet: its partition waits, under the code of what it waits for.
    Wait(&'static str, String),
}

impl From<DecodeError> for Unfit {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Poison(text) => Self::Dead(reason::UNDECODABLE, text),
            DecodeError::RegistryAway(text) => Self::Wait("CG208", text),
        }
    }
}

/// The record's value, which an input must have.
pub(super) fn value_of(record: &Record) -> Result<&[u8], Unfit> {
    too_long::check(record)?;
    record.value.as_deref().ok_or_else(|| Unfit::Dead(reason::TOMBSTONE, "an input has no tombstones".into()))
}

/// Checks that the key is what the value names.
pub(super) fn check_key(record: &Record, expected: &str) -> Result<(), Unfit> {
    if record.key.as_deref() == Some(expected.as_bytes()) {
        return Ok(());
    }
    let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    Err(Unfit::Dead(reason::KEY_MISMATCH, format!("the key is `{key}`, the value says `{expected}`")))
}

/// Checks that the key is that of a dispatch, or of the file where the target is empty.
pub(super) fn check_dispatch_key(record: &Record, id: &FileId, target: &TargetName) -> Result<(), Unfit> {
    let parts = record.key.as_deref().and_then(|key| key.split_at_checked(id.as_str().len()));
    match parts {
        Some((file, [b'/', rest @ ..])) if file == id.as_str().as_bytes() && rest == target.as_str().as_bytes() => {
            Ok(())
        }
        _ => check_key(record, &dispatch_key(id, target)),
    }
}

/// The longest beginning of a text that has at most so many bytes.
pub(super) fn prefix(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Where a forwarded record first stood, by its headers.
pub(crate) fn origin_of(record: &Record) -> Option<Origin> {
    let text = |name| std::str::from_utf8(record.header(name)?).ok();
    Some(Origin {
        topic: text(ORIGIN_TOPIC)?.to_owned(),
        partition: text(ORIGIN_PARTITION)?.parse().ok()?,
        offset: text(ORIGIN_OFFSET)?.parse().ok()?,
        timestamp: Timestamp(text(ORIGIN_TIMESTAMP)?.parse().ok()?),
    })
}

fn origin_headers(topic: &str, record: &Record) -> Headers {
    [
        (ORIGIN_TOPIC, topic.to_owned()),
        (ORIGIN_PARTITION, record.at.partition.to_string()),
        (ORIGIN_OFFSET, record.offset.to_string()),
        (ORIGIN_TIMESTAMP, record.timestamp.0.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.into_bytes()))
    .collect()
}

/// What a file is accepted from, beside its manifest.
struct Acceptance {
    home: i32,
    cause: Cause,
    origin: Option<Origin>,
    received_at: Timestamp,
    supersedes: Option<FileId>,
    only_targets: Option<Vec<crate::record::TargetName>>,
}

impl Batch<'_> {
    /// Folds one manifest.
    pub(super) fn manifest(&mut self, record: &Record) -> Result<(), Unfit> {
        let manifest: FileManifest = self.worker.codec.decode(value_of(record)?)?;
        check_key(record, manifest.file_id.as_str())?;
        FileId::parse(manifest.file_id.as_str()).map_err(|e| Unfit::Dead(reason::ILLEGAL_FILE_ID, e.to_string()))?;
        if !self.at_home(record, &manifest.file_id)? {
            return Ok(());
        }
        let home = record.at.partition;
        let origin = origin_of(record);
        let digest = plan::manifest_digest(&manifest);
        if let Some(file) = self.file(home, &manifest.file_id) {
            if file.arrival.manifest_digest == digest {
                self.observe(Observed::Duplicate { what: "manifest", file_id: manifest.file_id });
                return Ok(());
            }
            let text = format!("{} was accepted with {}", manifest.file_id, file.arrival.manifest_digest);
            return Err(Unfit::Dead(reason::CONFLICTING_MANIFEST, text));
        }
        self.check_age(record)?;
        self.check_routing()?;
        plan::check_manifest(&manifest).map_err(|f| Unfit::Dead(reason::ILLEGAL_MANIFEST, f.text))?;
        let cause = self.cause_of(record);
        let received_at = self.now;
        let acceptance = Acceptance { home, cause, origin, received_at, supersedes: None, only_targets: None };
        self.accept(manifest, digest, acceptance);
        Ok(())
    }

    /// Starts the successor of a FAILED file; its intervention was written by the engine.
    pub(super) fn start_successor(&mut self, record: &Record, asked: Intervention) -> Result<(), Unfit> {
        let Some(successor) = asked.successor else {
            return Err(Unfit::Dead(reason::UNDECODABLE, "start_successor without a successor".into()));
        };
        let id = &successor.manifest.file_id;
        if *id != asked.file_id || successor.supersedes.successor() != *id {
            let text = format!("{id} is no successor of {}", successor.supersedes);
            return Err(Unfit::Dead(reason::ILLEGAL_FILE_ID, text));
        }
        let home = record.at.partition;
        if self.file(home, id).is_some() {
            self.observe(Observed::Duplicate { what: "intervention", file_id: id.clone() });
            return Ok(());
        }
        self.check_age(record)?;
        self.check_routing()?;
        let digest = plan::manifest_digest(&successor.manifest);
        let only_targets = (!successor.only_targets.is_empty()).then_some(successor.only_targets);
        let acceptance = Acceptance {
            home,
            cause: self.cause_of(record),
            origin: None,
            received_at: self.now,
            supersedes: Some(successor.supersedes),
            only_targets,
        };
        self.accept(successor.manifest, digest, acceptance);
        Ok(())
    }

    /// A file whose records may have been tombstoned can't be told from one that never was: whatever was announced while it
    /// was remembered is older than this by then (see [`super::forgets_after_ms`]).
    fn check_age(&self, record: &Record) -> Result<(), Unfit> {
        // A forwarded record is younger than what it says of its first place: its own word never makes it younger.
        let first_seen = origin_of(record).map_or(record.timestamp, |o| o.timestamp.min(record.timestamp));
        if self.now.millis_since(first_seen) > self.worker.options.retention_ms {
            return Err(Unfit::Dead(reason::EXPIRED, format!("it was appended at {first_seen}")));
        }
        Ok(())
    }

    /// A file is planned by the document in force, or waits: another one would be another plan.
    pub(super) fn check_routing(&self) -> Result<(), Unfit> {
        match &self.worker.routing_refused {
            Some(text) => Err(Unfit::Wait("CG209", text.clone())),
            None => Ok(()),
        }
    }

    fn accept(&mut self, manifest: FileManifest, manifest_digest: String, how: Acceptance) {
        let id = manifest.file_id.clone();
        let mut arrival = Arrival {
            file_id: id.clone(),
            version: 1,
            cause: how.cause.clone(),
            manifest,
            manifest_digest,
            origin: how.origin,
            received_at: how.received_at,
            supersedes: how.supersedes,
            only_targets: how.only_targets,
            fetch: None,
        };
        let routing = self.worker.routing.as_ref().expect("manifests wait until a routing document is in force");
        let fetch = plan::fetch_of(&arrival, routing);
        arrival.fetch = fetch.clone().unwrap_or_default();
        let arrival = Arc::new(arrival);
        self.append(Topic::Arrivals, how.home, id.to_string(), arrival.as_ref());
        let deadline = crate::lifecycle::provisional_deadline(&arrival, self.worker.options.default_deadline_ms);
        self.begin(how.home, File::arrived(arrival, deadline));
        match fetch {
            // It is planned when its bytes are there.
            Ok(Some(_)) => {}
            Ok(None) => self.plan_file(how.home, &id, &how.cause, None),
            Err(failure) => self.fail_validation(&id, &how.cause, failure),
        }
    }

    /// Whether the record is in its file's home partition. If not it is forwarded there, once.
    pub(super) fn at_home(&mut self, record: &Record, id: &FileId) -> Result<bool, Unfit> {
        let home = home_partition(id.as_str(), self.worker.home_partitions());
        if record.at.partition == home {
            return Ok(true);
        }
        if origin_of(record).is_some() {
            let text = format!("it was forwarded to partition {}, and {home} is its home", record.at.partition);
            return Err(Unfit::Dead(reason::ASTRAY, text));
        }
        let mut headers = record.headers.clone();
        headers.extend(origin_headers(&self.worker.options.names.name(record.at.topic), record));
        let forwarded = Append {
            topic: record.at.topic,
            partition: Some(home),
            key: record.key.clone().unwrap_or_default(),
            value: record.value.clone(),
            headers,
        };
        too_long::check_forwarded(&forwarded)?;
        self.push(forwarded);
        self.observe(Observed::Forwarded { from: record.at, offset: record.offset, file_id: id.clone() });
        Ok(false)
    }

    /// Sends the record's bytes to dead-letters with the reason.
    pub(super) fn dead_letter(&mut self, record: &Record, reason: &'static str, detail: &str) {
        let topic = self.worker.options.names.name(record.at.topic);
        let detail = prefix(detail, DETAIL_BYTES);
        let mut headers: Headers = vec![
            (header::REASON.into(), reason.into()),
            (header::DETAIL.into(), detail.as_bytes().to_vec()),
            (header::TOPIC.into(), topic.into_bytes()),
            (header::PARTITION.into(), record.at.partition.to_string().into_bytes()),
            (header::OFFSET.into(), record.offset.to_string().into_bytes()),
        ];
        // A forwarded record keeps its first place behind the one that it was read at.
        headers.extend(record.headers.iter().cloned());
        let letter = Append {
            topic: Topic::DeadLetters,
            partition: None,
            key: record.key.clone().unwrap_or_default(),
            value: record.value.clone(),
            headers,
        };
        let (letter, reason) = too_long::cut_to_fit(letter, reason);
        self.push(letter);
        let (from, offset) = (record.at, record.offset);
        let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let key = prefix(&key, KEY_BYTES).to_owned();
        self.observe(Observed::DeadLetter { from, offset, key, reason, detail: detail.to_owned() });
    }
}
