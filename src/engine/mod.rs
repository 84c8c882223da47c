//! One worker of the engine: batches, transactions, timers and home partitions, over two ports.
//!
//! A [`Worker`] is driven from one thread: each [`Worker::step`] polls the log, folds what came into the files of its
//! home partitions, commits one transaction {records, offsets}, and only then hands authorized attempts to the
//! transport. Between polls nothing is open, so a revocation never finds a transaction pending. What a batch decides
//! lives in an overlay until its commit; an abort drops the overlay, permits included, and reads the inputs again.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod batch;
mod clock;
mod due;
mod fetch;
mod forgetting;
mod gate;
mod home;
mod intake;
mod keeping;
mod observed;
mod places;
mod planning;
mod records;
mod reports;
mod restore;
mod too_long;
mod work;
mod worker;

pub(crate) use intake::origin_of;
pub use intake::reason;
pub use observed::{DUPLICATES, Observed};
pub use worker::Worker;

use crate::record::TopicNames;
use crate::store::Stores;

/// How long after its settlement a file is forgotten, in milliseconds, where this is the retention.
///
/// Twice as long: what is announced again within the retention after the settlement is older than the retention once the file
/// may be unknown, however late it is read, and is then expired.
pub const fn forgets_after_ms(retention_ms: i64) -> i64 {
    retention_ms.saturating_mul(2)
}

/// What a worker is told at its start.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Stable identity: group instance id and transactional id.
    pub identity: String,
    /// The topics' names.
    pub names: TopicNames,
    /// A manifest is the same file for so long after it settled, and expires at that age, in milliseconds.
    pub retention_ms: i64,
    /// Deadline of a file that never had a plan, from its arrival, in milliseconds.
    pub default_deadline_ms: i64,
    /// A worker whose clock is off by more decides nothing, in milliseconds; `None`: it is not measured.
    pub max_clock_skew_ms: Option<i64>,
    /// Records of one poll at most. What a transaction costs is shared by all of them, and a file's reports that come
    /// together are one record of its history.
    pub max_poll: usize,
    /// Attempts of one batch, and timers of one batch, each at most.
    pub max_batch: usize,
    /// A batch takes nothing further once its own records take this many bytes: a transaction is that long, and what its
    /// last record brings along.
    pub max_batch_bytes: usize,
    /// Where home partitions keep what they know.
    pub stores: Stores,
    /// What the open files of this worker may take in memory, roughly, in bytes; others are only in the store.
    pub memory_budget: usize,
    /// The id of the cluster that the log is on; empty where it has none.
    pub cluster_id: String,
}

/// What open files may take in memory unless somebody says otherwise, in bytes.
pub const MEMORY_BUDGET: usize = 96 * 1024 * 1024;

impl WorkerOptions {
    /// The defaults: 30 days of retention, 7 days of deadline, 4,000 records, 500 attempts and 500 timers in a batch of
    /// 16 MiB, stores in memory, 96 MiB of open files.
    pub fn new(identity: impl Into<String>, names: TopicNames) -> Self {
        const DAY_MS: i64 = 86_400_000;
        Self {
            identity: identity.into(),
            names,
            retention_ms: 30 * DAY_MS,
            default_deadline_ms: 7 * DAY_MS,
            max_clock_skew_ms: None,
            max_poll: 4_000,
            max_batch: 500,
            max_batch_bytes: 16 * 1024 * 1024,
            stores: Stores::default(),
            memory_budget: MEMORY_BUDGET,
            cluster_id: String::new(),
        }
    }
}

/// Something that keeps a worker from its work, under a code with a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwell {
    /// The code.
    pub code: &'static str,
    /// The cause in words.
    pub text: String,
}

impl Unwell {
    fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Why a worker, and with it the process, must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Another process runs under this worker's identity.
    #[error("CG201: another process runs as `{identity}`: {text}")]
    InstanceFenced {
        /// The identity.
        identity: String,
        /// What the log said.
        text: String,
    },
    /// The transactional id was taken over twice in a minute.
    #[error("CG202: another producer keeps taking over `{identity}`: {text}")]
    ProducerFenced {
        /// The identity.
        identity: String,
        /// What the log said.
        text: String,
    },
    /// The worker itself failed: a fault of consign.
    #[error("CG217: the worker `{identity}` broke: {text}")]
    Broken {
        /// The identity.
        identity: String,
        /// What the panic said.
        text: String,
    },
    /// The log refuses for good.
    #[error("CG203: the log refuses: {0}")]
    LogRefused(String),
}
