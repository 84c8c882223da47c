//! Reading a part of the log to its goal, once, with a bound on how long nothing may come.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::{LogError, Reader, Record};

/// Records of one poll at most.
const POLL: usize = 1_000;
/// How long one poll waits for the first of them.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// Hands what `reader` gives to `each`, batch after batch, up to its goal or until `each` breaks off.
///
/// `each` also gets [`Reader::progress`]. A batch may be empty, so that whoever shows progress is heard in between.
///
/// # Errors
/// What the reader or `each` fails with; [`LogError::Away`] where nothing came for `patience`, as while a producer
/// keeps its transaction open: the goal may lie behind it.
pub fn scan<E: From<LogError>>(
    reader: &mut dyn Reader,
    patience: Duration,
    mut each: impl FnMut(Vec<Record>, (i64, i64)) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut heard = Instant::now();
    while !reader.at_goal() {
        let records = reader.poll(POLL, POLL_WAIT)?;
        if !records.is_empty() {
            heard = Instant::now();
        } else if !reader.at_goal() && heard.elapsed() >= patience {
            let text = format!("nothing came for {} s; is a transaction open?", patience.as_secs());
            return Err(LogError::Away(text).into());
        }
        if each(records, reader.progress())?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}
