//! Room on the stack for reading what may nest deeply.

use std::cell::Cell;
use std::io;

/// Stack of the thread that reads, in bytes: room for the longest legal expression, however it nests.
const READING_STACK: usize = 64 * 1024 * 1024;

thread_local! {
    static HAS_ROOM: Cell<bool> = const { Cell::new(false) };
}

/// Does what can nest where nesting can't overflow the stack: the parser of expressions goes one level down for each
/// bracket before anything can count them. Only what is used of the stack is ever backed by memory. A thread is started
/// only where the caller isn't on such a one: a document of many expressions takes one thread, not one for each.
///
/// # Errors
///
/// The thread can't be started.
pub(super) fn with_room<T: Send>(read: impl FnOnce() -> T + Send) -> io::Result<T> {
    if HAS_ROOM.get() {
        return Ok(read());
    }
    std::thread::scope(|scope| {
        let roomy = std::thread::Builder::new().stack_size(READING_STACK).spawn_scoped(scope, || {
            HAS_ROOM.set(true);
            read()
        })?;
        roomy.join().or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::with_room;

    #[test]
    fn who_has_room_starts_no_other_thread() {
        let here = thread::current().id();
        let (first, second) =
            with_room(|| (thread::current().id(), with_room(|| thread::current().id()).unwrap())).unwrap();
        assert_ne!(here, first);
        assert_eq!(first, second);
        assert_ne!(with_room(|| thread::current().id()).unwrap(), here, "the caller's own thread is what it was");
    }
}
