//! How the bytes of an announced file are fetched before the file is planned.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// What stands for the file itself where a target's name stands, while its bytes are fetched. No document can name it.
pub const FILE_TARGET: &str = "~file";

/// How the bytes of a file are fetched, frozen when it is accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Most bytes that are read.
    pub max_size: i64,
    /// Whether the bytes are recorded with the report, because routing or payloads read them.
    pub keep: bool,
    /// Attempts, the first included.
    pub attempts: i32,
    /// Back-off before the second, third, ... attempt in milliseconds; the last entry repeats.
    pub schedule_ms: Vec<i64>,
    /// How far a back-off may exceed its schedule, in percent.
    pub jitter_percent: i32,
    /// How long one attempt may take, in milliseconds.
    pub request_ms: i64,
    /// How far two clocks of the group may be apart, in milliseconds.
    pub max_clock_skew_ms: i64,
    /// When the file is overdue.
    pub file_deadline: Timestamp,
}
