//! The thread that follows `file-state` and `controls`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use crate::log::{Cluster, LogError, Reader, Record, TopicPartition};
use crate::record::{Codec, Control, DecodeError, FileId, FileState, Topic, Wire};

const MAX_RECORDS: usize = 1000;
const POLL: Duration = Duration::from_millis(100);
/// Between two tries when the log or the registry is away.
const BACK_OFF: Duration = Duration::from_millis(500);

pub(super) struct Follower {
    shared: Arc<Shared>,
    cluster: Arc<dyn Cluster>,
    codec: Arc<Codec>,
    /// What has been taken in: a reader that begins anew must not bring back what is old.
    positions: BTreeMap<TopicPartition, i64>,
}

/// The follower was told to stop.
struct Stopped;

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, cluster: Arc<dyn Cluster>, codec: Arc<Codec>) -> Self {
        Self { shared, cluster, codec, positions: BTreeMap::new() }
    }

    /// Follows until the view is dropped. A panic is said to whoever waits for it: the process must not go on as if it saw.
    pub(super) fn run_or_say_so(self) {
        let shared = Arc::clone(&self.shared);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.run())) {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
            shared.broken.send_replace(Some(text.to_owned()));
        }
    }

    /// Follows until the view is dropped. Whatever the log says, the answer is to try again and to say so meanwhile.
    fn run(mut self) {
        while !self.stopping() {
            let followed = match self.cluster.follow(&[Topic::FileState, Topic::Controls]) {
                Ok(mut reader) => {
                    // It reads from the beginning, and what is new comes last.
                    self.shared.progress.write().expect("not poisoned").caught_up = false;
                    self.follow(reader.as_mut())
                }
                Err(e) => self.back_off(&e.to_string()),
            };
            if followed.is_err() {
                return;
            }
        }
    }

    /// Reads on until the log says more than "away"; then it takes a new reader.
    fn follow(&mut self, reader: &mut dyn Reader) -> Result<(), Stopped> {
        while !self.stopping() {
            match reader.poll(MAX_RECORDS, POLL) {
                Ok(records) => {
                    let drained = records.len() < MAX_RECORDS;
                    self.take_in(records)?;
                    self.note_progress(reader, drained);
                }
                Err(e @ LogError::Away(_)) => self.back_off(&e.to_string())?,
                Err(e) => return self.back_off(&e.to_string()),
            }
        }
        Err(Stopped)
    }

    fn take_in(&mut self, records: Vec<Record>) -> Result<(), Stopped> {
        let any = !records.is_empty();
        for record in records {
            let position = self.positions.entry(record.at).or_default();
            if record.offset < *position {
                continue;
            }
            *position = record.offset + 1;
            match record.at.topic {
                Topic::FileState => self.take_in_file(&record)?,
                Topic::Controls => self.take_in_control(&record)?,
                _ => {}
            }
        }
        if any {
            self.say_changed();
        }
        Ok(())
    }

    /// Has everyone look again who waits for something of the view.
    fn say_changed(&self) {
        self.shared.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn take_in_file(&self, record: &Record) -> Result<(), Stopped> {
        let Some(key) = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok()) else {
            self.note_undecodable(record, "its key is no text");
            return Ok(());
        };
        let file = match &record.value {
            None => None,
            Some(value) => match self.decode::<FileState>(record, value)? {
                Some(file) if file.file_id.as_str() == key => Some(file),
                Some(_) => {
                    self.note_undecodable(record, "its key is not its file_id");
                    return Ok(());
                }
                None => return Ok(()),
            },
        };
        self.shared.index.write().expect("nobody panics while reading").apply(&FileId::trusted(key), file);
        Ok(())
    }

    fn take_in_control(&self, record: &Record) -> Result<(), Stopped> {
        let Some(name) = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok()) else {
            self.note_undecodable(record, "its key is no text");
            return Ok(());
        };
        let control = match &record.value {
            None => None,
            Some(value) => match self.decode::<Control>(record, value)? {
                Some(control) => Some(control),
                None => return Ok(()),
            },
        };
        let mut controls = self.shared.controls.write().expect("nobody panics while reading");
        Arc::make_mut(&mut controls).apply(name, control);
        Ok(())
    }

    /// The value; `None` for bytes that will never be one. Waits while the registry is away, because what follows may
    /// overtake what can't be read yet.
    fn decode<T: Wire>(&self, record: &Record, value: &[u8]) -> Result<Option<T>, Stopped> {
        loop {
            match self.codec.decode(value) {
                Ok(value) => return Ok(Some(value)),
                Err(DecodeError::Poison(why)) => {
                    self.note_undecodable(record, &why);
                    return Ok(None);
                }
                Err(e @ DecodeError::RegistryAway(_)) => self.back_off(&e.to_string())?,
            }
        }
    }

    fn note_undecodable(&self, record: &Record, why: &str) {
        tracing::warn!(at = %record.at, offset = record.offset, why, "the view leaves out a record");
        self.shared.progress.write().expect("not poisoned").undecodable += 1;
    }

    fn note_progress(&self, reader: &dyn Reader, drained: bool) {
        let at_goal = reader.at_goal();
        let mut progress = self.shared.progress.write().expect("not poisoned");
        let mut news = progress.trouble.take().is_some();
        if at_goal {
            news |= !progress.caught_up;
            progress.caught_up = true;
            progress.records_behind = 0;
            if drained {
                let now = Instant::now();
                progress.drained_at = now.checked_sub(reader.silence()).unwrap_or(now);
            }
        } else if !progress.caught_up {
            let (read, goal) = reader.progress();
            progress.records_behind = goal.saturating_sub(read).max(0);
        }
        drop(progress);
        if news {
            self.say_changed();
        }
    }

    fn back_off(&self, why: &str) -> Result<(), Stopped> {
        let news = {
            let mut progress = self.shared.progress.write().expect("not poisoned");
            progress.trouble.replace(why.to_owned()).is_none()
        };
        if news {
            tracing::warn!(why, "the view can't read on and tries again");
            self.say_changed();
        }
        let until = Instant::now() + BACK_OFF;
        while Instant::now() < until {
            if self.stopping() {
                return Err(Stopped);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }
}
