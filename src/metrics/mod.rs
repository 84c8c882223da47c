//! The metrics: the machine mirrored in numbers. Every name begins with `consign_`; no label ever holds a `file_id`.
//!
//! What counts events (`_total`) and what measures durations is fed by whoever causes them, each process its own share:
//! sum over processes. What counts files and dispatches is fed by [`Metrics::mirror`] from the gateway's view, which
//! holds all files of the group: every gateway says the same, so take the maximum over processes, never the sum. The
//! same goes for the lags, which every gateway measures of all partitions.

use std::collections::BTreeSet;
use std::time::Duration;

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use crate::log::{AbortCause, Lag};
use crate::record::{Action, Judgement, OutcomeKind, PausedBy, Reporter, State, TargetName, Timestamp, Topic};

mod begin;
mod census;

pub use begin::Words;
pub use census::{Census, is_settled, is_terminal};

const NAMESPACE: &str = "consign";
/// Buckets of an attempt, in seconds: the bounds of an HTTP request.
const REQUEST: &[f64] = &[0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Buckets of a whole file, in seconds: a quarter of a second to a week.
const FILE: &[f64] = &[0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 28_800.0, 86_400.0, 259_200.0, 604_800.0];
/// Buckets of a restore, in seconds.
const RESTORE: &[f64] = &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];
/// For what is no histogram.
const NO_BUCKETS: &[f64] = &[];

/// How a kind of metric is made.
trait Family: Collector + Clone + 'static {
    /// The word for it in the list of names.
    const KIND: &'static str;

    fn build(opts: Opts, labels: &[&str], buckets: &[f64]) -> prometheus::Result<Self>;

    /// Shows a metric without labels from the start, at zero.
    fn touch(&self);
}

macro_rules! plain_family {
    ($family:ident, $kind:literal) => {
        impl Family for $family {
            const KIND: &'static str = $kind;

            fn build(opts: Opts, labels: &[&str], _: &[f64]) -> prometheus::Result<Self> {
                Self::new(opts, labels)
            }

            fn touch(&self) {
                self.with_label_values::<&str>(&[]);
            }
        }
    };
}
plain_family!(IntGaugeVec, "gauge");
plain_family!(GaugeVec, "gauge");
plain_family!(IntCounterVec, "counter");

impl Family for HistogramVec {
    const KIND: &'static str = "histogram";

    fn build(opts: Opts, labels: &[&str], buckets: &[f64]) -> prometheus::Result<Self> {
        Self::new(HistogramOpts::from(opts).buckets(buckets.to_vec()), labels)
    }

    fn touch(&self) {
        self.with_label_values::<&str>(&[]);
    }
}

macro_rules! metrics {
    ($($field:ident: $family:ident [$($label:literal),*] $buckets:ident, $help:literal;)+) => {
        /// All metrics of one process, in a registry of their own. Shared by all threads.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            mirroring: std::sync::Mutex<()>,
            known_targets: std::sync::Mutex<BTreeSet<TargetName>>,
            $($field: $family,)+
        }

        /// Name, kind, labels and meaning of every metric, in the order of the documentation.
        const LIST: &[(&str, &str, &[&str], &str)] =
            &[$((stringify!($field), <$family as Family>::KIND, &[$($label),*], $help),)+];

        impl Default for Metrics {
            fn default() -> Self {
                let registry = Registry::new();
                $(let $field = register::<$family>(&registry, stringify!($field), $help, &[$($label),*], $buckets);)+
                Self {
                    registry,
                    mirroring: std::sync::Mutex::default(),
                    known_targets: std::sync::Mutex::default(),
                    $($field,)+
                }
            }
        }
    };
}

fn register<F: Family>(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> F {
    let family = F::build(Opts::new(name, help).namespace(NAMESPACE), labels, buckets)
        .unwrap_or_else(|e| panic!("the metric {name} is well formed: {e}"));
    if labels.is_empty() {
        family.touch();
    }
    registry.register(Box::new(family.clone())).unwrap_or_else(|e| panic!("the metric {name} is declared once: {e}"));
    family
}

metrics! {
    files: IntGaugeVec ["state"] NO_BUCKETS, "Files by state, all of the group.";
    files_settled_total: IntCounterVec ["state"] NO_BUCKETS, "Files that became COMPLETED or FAILED.";
    dispatches: IntGaugeVec ["target", "status"] NO_BUCKETS, "Dispatches by target and status, all of the group.";
    attempts_total: IntCounterVec ["target"] NO_BUCKETS, "Attempts authorized.";
    outcomes_total: IntCounterVec ["target", "kind", "reporter"] NO_BUCKETS, "Reports read from the outcomes topic, exact repeats excepted.";
    attempt_duration_seconds: HistogramVec ["target"] REQUEST, "From the first byte sent to the answer or the time-out, in whole milliseconds, as the reports say.";
    time_to_terminal_seconds: HistogramVec ["state"] FILE, "From acceptance to COMPLETED or FAILED.";
    oldest_open_file_seconds: GaugeVec ["target"] NO_BUCKETS, "Age of the oldest file with an open dispatch at the target.";
    held: IntGaugeVec ["target", "held_because"] NO_BUCKETS, "HELD dispatches by cause, all of the group.";
    overdue_files: IntGaugeVec [] NO_BUCKETS, "Open files whose deadline has passed, all of the group.";
    deadline_lost_files: IntGaugeVec [] NO_BUCKETS, "Open files that can't be COMPLETED by their deadline without a person any more, all of the group.";
    escalations_total: IntCounterVec ["target"] NO_BUCKETS, "Escalations of what is HELD or waits under a pause.";
    paused_targets: IntGaugeVec ["target", "paused_by"] NO_BUCKETS, "1 for each pause that is on.";
    open_breakers: IntGaugeVec ["target"] NO_BUCKETS, "Workers of this process whose breaker of the target is open: they send it nothing but one probe at a time. Sum over processes.";
    dead_letters_total: IntCounterVec ["reason"] NO_BUCKETS, "Records moved to dead-letters.";
    forwarded_total: IntCounterVec ["topic"] NO_BUCKETS, "Records sent on to their home partition: their producer uses another partitioner.";
    transactions_total: IntCounterVec [] NO_BUCKETS, "Transactions committed.";
    aborts_total: IntCounterVec ["cause"] NO_BUCKETS, "Transactions that did not happen (rebalance, log, invariant, store, target) or may have (undecided, fenced).";
    input_lag: IntGaugeVec ["topic", "partition"] NO_BUCKETS, "Offsets between the committed position and the last stable offset, all of the group; a control marker counts as one.";
    last_stable_offset_lag: IntGaugeVec ["topic", "partition"] NO_BUCKETS, "Offsets between the last stable offset and the log's end, all of the group: an open transaction holds them back.";
    restore_records_total: IntCounterVec [] NO_BUCKETS, "Records read to restore partitions.";
    store_rebuilds_total: IntCounterVec ["reason"] NO_BUCKETS, "Partitions read from the beginning, by what was wrong with their store.";
    restore_seconds: HistogramVec [] RESTORE, "From the assignment of a partition to its first new record.";
    duplicates_total: IntCounterVec ["what"] NO_BUCKETS, "What was read again and changed nothing: manifest, report, intervention, or a timer that nothing waits for.";
    reports_late_total: IntCounterVec ["target", "judgement"] NO_BUCKETS, "Reports that changed nothing, by judgement: late, contradiction, or refused (a wrong token, an unknown attempt).";
    interventions_total: IntCounterVec ["action", "judgement"] NO_BUCKETS, "Interventions judged.";
    clock_offset_seconds: GaugeVec ["worker"] NO_BUCKETS, "By how much a worker's clock was ahead of the broker's when it was last measured.";
    ready: IntGaugeVec [] NO_BUCKETS, "1 while the process can do its work, as /readyz says, else 0.";
    view_lag_records: IntGaugeVec [] NO_BUCKETS, "Records that the view still has to read to have caught up.";
    view_age_seconds: GaugeVec [] NO_BUCKETS, "Time since the view last had everything.";
    view_undecodable_records: IntGaugeVec [] NO_BUCKETS, "Records that the view could not read as what their topic holds.";
    http_requests_total: IntCounterVec ["route", "method", "status"] NO_BUCKETS, "Requests answered by the gateway.";
}

impl Metrics {
    /// A file became COMPLETED or FAILED that long after it was accepted.
    pub fn file_settled(&self, state: State, after: Duration) {
        self.files_settled_total.with_label_values(&[state.as_str()]).inc();
        self.time_to_terminal_seconds.with_label_values(&[state.as_str()]).observe(after.as_secs_f64());
    }

    /// An attempt's record is committed.
    pub fn attempt_authorized(&self, target: &TargetName) {
        self.attempts_total.with_label_values(&[target.as_str()]).inc();
    }

    /// A request ended that long after its first byte.
    pub fn attempt_ended(&self, target: &TargetName, took: Duration) {
        self.attempt_duration_seconds.with_label_values(&[target.as_str()]).observe(took.as_secs_f64());
    }

    /// A report was read.
    pub fn outcome(&self, target: &TargetName, kind: OutcomeKind, reporter: Reporter) {
        self.outcomes_total.with_label_values(&[target.as_str(), kind.as_str(), reporter.as_str()]).inc();
    }

    /// A report was late, or contradicted the decision.
    pub fn report_late(&self, target: &TargetName, judgement: Judgement) {
        self.reports_late_total.with_label_values(&[target.as_str(), judgement.as_str()]).inc();
    }

    /// A worker's breaker of a target opened or closed.
    pub fn breaker(&self, target: &TargetName, is_open: bool) {
        self.open_breakers.with_label_values(&[target.as_str()]).add(if is_open { 1 } else { -1 });
    }

    /// A dispatch escalated.
    pub fn escalated(&self, target: &TargetName) {
        self.escalations_total.with_label_values(&[target.as_str()]).inc();
    }

    /// An intervention was judged.
    pub fn intervention(&self, action: Action, judgement: Judgement) {
        self.interventions_total.with_label_values(&[action.as_str(), judgement.as_str()]).inc();
    }

    /// An exact repeat was counted and changed nothing.
    pub fn duplicate(&self, what: &'static str) {
        self.duplicates_total.with_label_values(&[what]).inc();
    }

    /// A record went to dead-letters. `reason` is one of a fixed set of words.
    pub fn dead_lettered(&self, reason: &'static str) {
        self.dead_letters_total.with_label_values(&[reason]).inc();
    }

    /// A record was sent on to its home partition.
    pub fn forwarded(&self, topic: Topic) {
        self.forwarded_total.with_label_values(&[topic.base_name()]).inc();
    }

    /// A transaction was committed.
    pub fn transaction_committed(&self) {
        self.transactions_total.with_label_values::<&str>(&[]).inc();
    }

    /// A transaction was aborted, or nobody knows.
    pub fn transaction_aborted(&self, cause: AbortCause) {
        self.aborts_total.with_label_values(&[cause.as_str()]).inc();
    }

    /// How far the group is behind on a partition.
    pub fn lag(&self, lag: &Lag) {
        let partition = lag.at.partition.to_string();
        let labels = [lag.at.topic.base_name(), &partition];
        self.input_lag.with_label_values(&labels).set(lag.input);
        self.last_stable_offset_lag.with_label_values(&labels).set(lag.last_stable_offset);
    }

    /// Takes all lags back: they can't be measured, and an old one would look like news.
    pub fn forget_lags(&self) {
        self.input_lag.reset();
        self.last_stable_offset_lag.reset();
    }

    /// A worker's clock was found that far ahead of the broker's, in milliseconds; behind, where it is negative.
    pub fn clock_offset(&self, worker: &str, ahead_ms: i64) {
        #[allow(clippy::cast_precision_loss)] // Milliseconds of an offset are far below 2^52.
        let seconds = ahead_ms as f64 / 1_000.0;
        self.clock_offset_seconds.with_label_values(&[worker]).set(seconds);
    }

    /// Whether the process can do its work.
    pub fn ready(&self, ready: bool) {
        self.ready.with_label_values::<&str>(&[]).set(i64::from(ready));
    }

    /// A partition was restored from that many records in that time.
    pub fn restored(&self, records: u64, took: Duration) {
        self.restore_records_total.with_label_values::<&str>(&[]).inc_by(records);
        self.restore_seconds.with_label_values::<&str>(&[]).observe(took.as_secs_f64());
    }

    /// A partition is read from the beginning, because its store can't be used.
    pub fn store_rebuilt(&self, reason: &str) {
        self.store_rebuilds_total.with_label_values(&[reason]).inc();
    }

    /// A request was answered. `route` is a pattern, never a path.
    pub fn http_request(&self, route: &str, method: &str, status: u16) {
        self.http_requests_total.with_label_values(&[route, method, &status.to_string()]).inc();
    }

    /// How fresh the view is.
    pub fn view(&self, lag_records: i64, age: Duration, undecodable: u64) {
        self.view_lag_records.with_label_values::<&str>(&[]).set(lag_records);
        self.view_age_seconds.with_label_values::<&str>(&[]).set(age.as_secs_f64());
        let undecodable = i64::try_from(undecodable).unwrap_or(i64::MAX);
        self.view_undecodable_records.with_label_values::<&str>(&[]).set(undecodable);
    }

    /// Sets everything that counts files and dispatches of the whole group, and the pauses.
    pub fn mirror<'a>(
        &self,
        census: &Census,
        pauses: impl IntoIterator<Item = (&'a TargetName, PausedBy)>,
        now: Timestamp,
    ) {
        // Two scrapes at once must not see each other's half-filled gauges.
        let _whole_mirror = self.mirroring.lock();
        for state in State::ALL {
            let count = census.files.get(state).copied().unwrap_or(0);
            self.files.with_label_values(&[state.as_str()]).set(count);
        }
        self.dispatches.reset();
        for ((target, status), count) in &census.dispatches {
            self.know_target(target);
            self.dispatches.with_label_values(&[target.as_str(), status.as_str()]).set(*count);
        }
        self.held.reset();
        for ((target, because), count) in &census.held {
            self.held.with_label_values(&[target.as_str(), because.as_str()]).set(*count);
        }
        self.overdue_files.with_label_values::<&str>(&[]).set(census.overdue);
        self.deadline_lost_files.with_label_values::<&str>(&[]).set(census.deadline_lost);
        self.oldest_open_file_seconds.reset();
        for (target, received_at) in census.oldest_open() {
            let age = Duration::from_millis(u64::try_from(now.millis_since(received_at)).unwrap_or(0));
            self.oldest_open_file_seconds.with_label_values(&[target.as_str()]).set(age.as_secs_f64());
        }
        self.paused_targets.reset();
        for (target, by) in pauses {
            self.paused_targets.with_label_values(&[target.as_str(), by.as_str()]).set(1);
        }
    }

    /// Everything in the Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        let _whole_mirror = self.mirroring.lock();
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|e| panic!("the registry holds only well-formed metrics: {e}"))
    }
}

/// The page that lists every metric: `docs/metrics.md`.
pub fn metrics_page() -> String {
    let mut page = String::from(
        "# Metrics\n\nGenerated from `src/metrics`; a test fails when this page differs.\n\n\
         Sum counters and histograms over processes. Gauges of files, dispatches, pauses and lags are the whole group's on\n\
         every gateway: take their maximum. No label holds a file_id.\n\n\
         | name | kind | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for (name, kind, labels, help) in LIST {
        let labels = labels.iter().map(|l| format!("`{l}`")).collect::<Vec<_>>().join(", ");
        for part in ["| `", NAMESPACE, "_", name, "` | ", kind, " | ", &labels, " | ", help, " |\n"] {
            page.push_str(part);
        }
    }
    page
}

#[cfg(test)]
mod tests;
