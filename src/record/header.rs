//! Names of the headers of dead letters, and of records put back from there.

/// Why it is one, in one word.
pub const REASON: &str = "consign-reason";
/// Why it is one, in words.
pub const DETAIL: &str = "consign-detail";
/// The topic that it was read from.
pub const TOPIC: &str = "consign-topic";
/// The partition that it was read from.
pub const PARTITION: &str = "consign-partition";
/// The offset that it was read from.
pub const OFFSET: &str = "consign-offset";
/// What of a record that was too long is cut in its dead letter: `key`, `headers`, `value`, apart by commas.
pub const CUT: &str = "consign-cut";
/// The length in bytes of a value before it was cut.
pub const FULL_BYTES: &str = "consign-full-bytes";
/// `sha256:` and hex over a value before it was cut.
pub const FULL_SHA256: &str = "consign-full-sha256";
/// Who put a record back.
pub const REINJECTED_BY: &str = "consign-reinjected-by";
/// Why a record was put back.
pub const REINJECTED_REASON: &str = "consign-reinjected-reason";
/// Which dead letter was put back: `partition/offset`.
pub const REINJECTED_FROM: &str = "consign-reinjected-from";
