//! What evaluations may cost, counted before it is spent.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cel::ExecutionError;

/// Items that the comprehensions of one evaluation may go through.
pub const MAX_ITEMS: usize = 10_000;
/// Bytes that the `+` operators of one evaluation may produce, any number counted as eight, any item of a list as 32.
pub const MAX_SUM_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that comparisons, `in` and functions over texts may go through in one evaluation, a list's items counted as sixteen each by `in`, values as what they take in memory by `==`.
pub const MAX_SEARCHED_BYTES: usize = 32 * 1024 * 1024;

/// Items that the comprehensions of one file may go through, all evaluations together.
pub const MAX_ITEMS_OF_A_FILE: usize = 100_000;
/// Bytes that the `+` operators of one file may produce, all evaluations together.
pub const MAX_SUM_BYTES_OF_A_FILE: usize = 16 * 1024 * 1024;
/// Bytes that comparisons, `in` and functions over texts may go through for one file, all evaluations together.
pub const MAX_SEARCHED_BYTES_OF_A_FILE: usize = 64 * 1024 * 1024;
/// Steps that the comprehensions of one file may take: for each item as many as its expression has names, values, operators and calls, and four more for
/// each entry of a map.
pub const MAX_STEPS_OF_A_FILE: usize = 1_000_000;
/// What values may take in memory that are there at once, in bytes: the file's own, what an evaluation builds, and what has been
/// written of a payload.
pub const MAX_HELD_BYTES: usize = 40 * 1024 * 1024;
/// What the values of one payload may take that are written as JSON, in bytes.
pub const MAX_WRITTEN_BYTES: usize = 20 * 1024 * 1024;
/// What the values of all payloads and other parts of requests of one file may take, one after the other, in bytes.
pub const MAX_WRITTEN_BYTES_OF_A_FILE: usize = 64 * 1024 * 1024;
/// What the lists, maps and texts may take that the evaluations of one file build, one after the other, in bytes.
pub const MAX_BUILT_BYTES_OF_A_FILE: usize = 48 * 1024 * 1024;

/// The function that errors about costs name.
pub(super) const LIMIT: &str = "@limit";

/// What the evaluation under way has cost, and all of them together.
#[derive(Debug, Default)]
pub(super) struct Spent {
    items: Counter,
    sum_bytes: Counter,
    searched_bytes: Counter,
    steps: Counter,
    built_bytes: Counter,
    /// What the variables take.
    input_bytes: AtomicUsize,
    /// What is written as JSON: of the evaluation under way, or of the payload that it belongs to.
    written_bytes: Counter,
    is_payload: AtomicBool,
    /// Whether all evaluations together are bounded.
    is_bounded: AtomicBool,
}

#[derive(Debug, Default)]
struct Counter {
    /// Of the evaluation under way.
    one: AtomicUsize,
    /// Of all of them.
    all: AtomicUsize,
}

fn add(counter: &AtomicUsize, amount: usize) -> usize {
    let sum = counter.load(Ordering::Relaxed).saturating_add(amount);
    counter.store(sum, Ordering::Relaxed);
    sum
}

impl Spent {
    /// Begins an evaluation.
    pub(super) fn reset(&self) {
        for counter in [&self.items, &self.sum_bytes, &self.searched_bytes, &self.steps, &self.built_bytes] {
            counter.one.store(0, Ordering::Relaxed);
        }
        if !self.is_payload.load(Ordering::Relaxed) {
            self.written_bytes.one.store(0, Ordering::Relaxed);
        }
    }

    /// From here on all evaluations together are bounded.
    pub(super) fn bound(&self) {
        self.is_bounded.store(true, Ordering::Relaxed);
    }

    /// Until the payload ends, all that is written is there at once.
    pub(super) fn payload(&self, is_payload: bool) {
        self.written_bytes.one.store(0, Ordering::Relaxed);
        self.is_payload.store(is_payload, Ordering::Relaxed);
    }

    /// Takes in what a variable takes.
    pub(super) fn input(&self, bytes: usize) -> Result<(), String> {
        add(&self.input_bytes, bytes);
        self.check_held()
    }

    fn check_held(&self) -> Result<(), String> {
        let held = [&self.input_bytes, &self.built_bytes.one, &self.written_bytes.one];
        let held = held.iter().map(|bytes| bytes.load(Ordering::Relaxed)).fold(0, usize::saturating_add);
        if held > MAX_HELD_BYTES { Err(too_much(MAX_HELD_BYTES, "bytes of values at once")) } else { Ok(()) }
    }

    fn count(
        &self,
        counter: &Counter,
        amount: usize,
        (limit, limit_of_all): (usize, usize),
        what: &str,
    ) -> Result<(), String> {
        let (one, all) = (add(&counter.one, amount), add(&counter.all, amount));
        if one > limit {
            return Err(too_much(limit, what));
        }
        if self.is_bounded.load(Ordering::Relaxed) && all > limit_of_all {
            return Err(too_much(limit_of_all, what) + " in the expressions of one file together");
        }
        Ok(())
    }

    fn spend(
        &self,
        counter: &Counter,
        amount: usize,
        limits: (usize, usize),
        what: &str,
    ) -> Result<(), ExecutionError> {
        self.count(counter, amount, limits, what).map_err(limited)
    }

    /// Items of a comprehension, with the steps that each takes and the bytes of the texts that stand in its expression.
    pub(super) fn items(&self, items: usize, steps: usize, text_bytes: usize) -> Result<(), ExecutionError> {
        self.spend(&self.items, items, (MAX_ITEMS, MAX_ITEMS_OF_A_FILE), "items in comprehensions")?;
        let limits = (MAX_STEPS_OF_A_FILE, MAX_STEPS_OF_A_FILE);
        self.spend(&self.steps, items.saturating_mul(steps), limits, "steps of comprehensions")?;
        self.built(items.saturating_mul(text_bytes))
    }

    /// What a `+` produces.
    pub(super) fn sum(&self, bytes: usize) -> Result<(), ExecutionError> {
        self.spend(&self.sum_bytes, bytes, (MAX_SUM_BYTES, MAX_SUM_BYTES_OF_A_FILE), "bytes from `+`")
    }

    /// What something goes through.
    pub(super) fn searched(&self, bytes: usize) -> Result<(), ExecutionError> {
        let limits = (MAX_SEARCHED_BYTES, MAX_SEARCHED_BYTES_OF_A_FILE);
        self.spend(&self.searched_bytes, bytes, limits, "bytes searched")
    }

    /// What a list, a map or a text takes that an expression builds.
    pub(super) fn built(&self, bytes: usize) -> Result<(), ExecutionError> {
        let limits = (MAX_HELD_BYTES, MAX_BUILT_BYTES_OF_A_FILE);
        self.spend(&self.built_bytes, bytes, limits, "bytes of lists, maps and texts built")?;
        self.check_held().map_err(limited)
    }

    /// Room for what is written.
    pub(super) fn room(&self) -> Room<'_> {
        Room(self)
    }
}

fn too_much(limit: usize, what: &str) -> String {
    format!("more than {limit} {what}")
}

fn limited(text: String) -> ExecutionError {
    ExecutionError::function_error(LIMIT, text)
}

/// Room for values that are written as JSON.
pub(super) struct Room<'s>(&'s Spent);

impl Room<'_> {
    /// Takes this much.
    pub(super) fn take(&self, bytes: usize) -> Result<(), String> {
        let limits = (MAX_WRITTEN_BYTES, MAX_WRITTEN_BYTES_OF_A_FILE);
        self.0.count(&self.0.written_bytes, bytes, limits, "bytes of values written")?;
        self.0.check_held()
    }

    /// Takes what a text takes: as a value, and as it is written in bytes, in room that is doubled and copied while it grows; one
    /// after the other it counts once. A control character is written by six.
    pub(super) fn take_text(&self, text: &str) -> Result<(), String> {
        let controls = text.bytes().filter(|byte| *byte < b' ').count();
        let bytes = text.len().saturating_add(controls.saturating_mul(5));
        add(&self.0.written_bytes.one, bytes.saturating_mul(3));
        self.take(bytes)
    }
}
