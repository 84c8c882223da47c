//! Record keys: plain UTF-8, parts joined by `/`, which neither a `file_id` nor a target name contains.

use super::{FileId, TargetName};

/// `file_id/target`: the one key of a dispatch, on every topic, in the Idempotency-Key header and in logs.
pub fn dispatch_key(file_id: &FileId, target: &TargetName) -> String {
    format!("{file_id}/{target}")
}

/// `file_id/`: the key of a report or an intervention about the file itself.
pub fn file_key(file_id: &FileId) -> String {
    format!("{file_id}/")
}

/// `file_id/target/n`.
pub fn attempt_key(file_id: &FileId, target: &TargetName, attempt: i32) -> String {
    format!("{file_id}/{target}/{attempt}")
}

/// `file_id/seq`.
pub fn history_key(file_id: &FileId, seq: i64) -> String {
    format!("{file_id}/{seq}")
}

/// The `file_id` that a key begins with; a key without `/` is one.
pub fn file_id_of_key(key: &str) -> &str {
    key.split_once('/').map_or(key, |(file_id, _)| file_id)
}
