//! How long a record may be. `topics apply` gives every topic its limit from here, and both logs keep it.
//!
//! A broker measures what a batch takes on the wire, compressed. These limits are on what a record takes before: what
//! keeps them fits whatever the compression makes of it. A producer that compresses can put a longer record on an inbox.

use super::{Append, Headers, Record};
use crate::record::{CleanUp, Topic};

/// The largest record that any topic takes; `controls` holds whole routing documents.
pub const MAX_RECORD_BYTES: usize = 6 << 20;
/// The largest record that a producer, a target or a person may append: the largest legal manifest and its headers.
const MAX_INBOX_BYTES: usize = (1 << 20) + (256 << 10);
/// The engine wraps what came in: an arrival holds a manifest, a dead letter whatever it was.
const MAX_ENGINE_BYTES: usize = 2 << 20;
/// What the log adds to a record, batch included, at most.
const FRAME_BYTES: usize = 256;
/// What the log adds to a header, at most.
const HEADER_FRAME_BYTES: usize = 16;

/// The largest record of a topic in bytes: its `max.message.bytes`.
pub const fn max_record_bytes(topic: Topic) -> usize {
    match (topic, topic.clean_up()) {
        (Topic::Controls, _) => MAX_RECORD_BYTES,
        (_, CleanUp::Inbox) => MAX_INBOX_BYTES,
        (_, CleanUp::Compact | CleanUp::CompactAndDelete | CleanUp::Delete) => MAX_ENGINE_BYTES,
    }
}

/// What a record takes in bytes, uncompressed.
pub fn bytes_of(key: &[u8], value: Option<&[u8]>, headers: &Headers) -> usize {
    FRAME_BYTES + key.len() + value.map_or(0, <[u8]>::len) + headers_bytes(headers)
}

/// What headers take in bytes.
pub fn headers_bytes(headers: &Headers) -> usize {
    headers.iter().map(|(name, value)| HEADER_FRAME_BYTES + name.len() + value.len()).sum()
}

impl Append {
    /// What it takes in bytes, uncompressed.
    pub fn bytes(&self) -> usize {
        bytes_of(&self.key, self.value.as_deref(), &self.headers)
    }

    /// Whether its topic takes it.
    pub fn fits(&self) -> bool {
        self.bytes() <= max_record_bytes(self.topic)
    }
}

impl Record {
    /// What it takes in bytes, uncompressed.
    pub fn bytes(&self) -> usize {
        bytes_of(self.key.as_deref().unwrap_or_default(), self.value.as_deref(), &self.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_inbox_takes_fits_where_the_engine_puts_it() {
        for engine in [Topic::Arrivals, Topic::Outcomes, Topic::DeadLetters] {
            assert!(max_record_bytes(engine) > max_record_bytes(Topic::Manifests));
        }
        assert!(Topic::ALL.into_iter().all(|t| max_record_bytes(t) <= MAX_RECORD_BYTES));
    }
}
