//! What producers write: files, and what is no file.

use super::{FILE_TYPES, Storm};
use crate::log::{Cluster as _, Headers, TopicPartition};
use crate::record::{FileManifest, OutcomeKind, Topic};
use crate::sim::wire::announced;
use crate::sim::world::manifest;

/// Bytes of data that a body holds five times, and is too large by that.
const LARGE: usize = 60 * 1024;

impl Storm {
    /// A producer announces some files.
    pub(super) fn submit(&mut self) {
        for _ in 0..self.draws.between(3, 10) {
            if self.is_done() {
                return;
            }
            self.submitted += 1;
            let id = format!("f{}", self.submitted);
            let file = self.drawn_file(&id);
            self.say(format!("submit {id} ({})", file.file_type));
            self.world.submit(&file);
        }
    }

    fn drawn_file(&mut self, id: &str) -> FileManifest {
        // A file of many targets costs as much as many files.
        let file_type = self.draws.weighted(&[
            (30, "plain"),
            (14, "careful"),
            (10, "acked"),
            (14, "narrow"),
            (3, "wide"),
            (8, "guarded"),
            (10, "brief"),
            (7, "chained"),
            (4, "nowhere"),
            (8, "fetched"),
            (6, "checked"),
            (8, "booked"),
            (8, "proven"),
        ]);
        announced(manifest(id, file_type))
    }

    /// Input that must change nothing, or die, or begin a file of its own.
    pub(super) fn spoil(&mut self) {
        let number = self.draws.between(1, i64::try_from(self.submitted).unwrap_or(0).max(1));
        let id = format!("f{number}");
        match self.draws.below(12) {
            0 => self.repeat_manifest(&id),
            1 => {
                let file_type = *self.draws.one_of(&FILE_TYPES);
                self.world.submit(&FileManifest { name: "another".into(), ..manifest(&id, file_type) });
                self.fault("conflicting_manifest");
            }
            2 => {
                let bytes = self.world.encode(Topic::Manifests, &manifest(&format!("stray{number}"), "plain"));
                let partitions = self.world.cluster.partitions(Topic::Manifests).expect("it exists");
                let partition = self.draws.below(usize::try_from(partitions).unwrap_or(1));
                let partition = i32::try_from(partition).expect("few");
                self.world.append(Topic::Manifests, partition, &format!("stray{number}"), Some(bytes));
                self.fault("misplaced_manifest");
            }
            3 => self.submit_too_large(number),
            4 => {
                // An id that was used long ago: the same file if it is remembered, a new one if it isn't.
                let old = format!("f{}", self.draws.between(1, 12));
                let file = self.drawn_file(&old);
                self.say(format!("{old} is used again"));
                self.world.submit(&file);
                self.fault("reused_file_id");
            }
            5 => {
                let ack = self.world.ack("never-heard-of", "fast", OutcomeKind::Succeeded);
                self.world.acknowledge(&ack);
                self.fault("poison_unknown_file");
            }
            _ => self.poison(&id),
        }
        self.say(format!("spoil something about {id}"));
    }

    pub(super) fn repeat_manifest(&mut self, id: &str) {
        let known =
            self.world.cluster.dump(Topic::Manifests).into_iter().find(|r| r.key.as_deref() == Some(id.as_bytes()));
        if let Some(record) = known {
            self.world.append(Topic::Manifests, record.at.partition, id, record.value);
            self.fault("duplicate_manifest");
        }
    }

    /// A file whose body is larger than any plan allows: it fails its validation.
    fn submit_too_large(&mut self, number: i64) {
        let id = format!("large{number}");
        let data = format!(r#"{{"a":"{}"}}"#, "x".repeat(LARGE));
        self.world.submit(&FileManifest { data: Some(data), ..manifest(&id, "bulky") });
        self.fault("over_large_plan");
    }

    /// Bytes that are no record, or no input.
    fn poison(&mut self, id: &str) {
        let topic = *self.draws.one_of(&Topic::INPUTS);
        let partition = if topic == Topic::Acks { 0 } else { self.anywhere() };
        let at = TopicPartition { topic, partition };
        let whole = self.world.encode(Topic::Manifests, &manifest(id, "plain"));
        let (name, key, value) = match self.draws.below(6) {
            0 => ("poison_bad_magic", Some(id), Some(vec![7, 0, 0, 0, 1, 2, 3])),
            1 => {
                let mut bytes = whole;
                bytes[1..5].copy_from_slice(&99_u32.to_be_bytes());
                ("poison_unknown_id", Some(id), Some(bytes))
            }
            2 => ("poison_truncated", Some(id), Some(whole[..whole.len() / 2].to_vec())),
            3 => ("poison_null_key", None, Some(whole)),
            4 => {
                let mut bytes = whole;
                bytes.resize(bytes.len() + LARGE, 0);
                ("poison_long_value", Some(id), Some(bytes))
            }
            _ => ("poison_tombstone", Some(id), None),
        };
        let key = key.map(|k| k.as_bytes().to_vec());
        self.world.cluster.put(at, key, value, Headers::new()).expect("it exists");
        self.fault(name);
    }
}
