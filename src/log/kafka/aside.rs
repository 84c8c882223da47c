//! Calls into librdkafka that may never return, made on a thread that can be left behind.

use std::cell::OnceCell;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

type Call = Box<dyn FnOnce() + Send>;

/// A thread for such calls. It begins with the first.
#[derive(Default)]
pub(super) struct Aside {
    calls: OnceCell<Sender<Call>>,
}

impl Aside {
    /// What the call gives; none if it hasn't returned within `wait`. Then the thread is its own, with all that it holds, and
    /// whoever called does best without both.
    pub(super) fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce() -> R + Send + 'static,
        wait: Duration,
    ) -> Option<R> {
        let (given, result) = mpsc::channel();
        let call: Call = Box::new(move || {
            // Nobody listens once the wait is over.
            let _ = given.send(call());
        });
        // A thread that can't begin, or that has ended, gives the call back: it is made here then.
        match self.calls.get_or_init(begin).send(call) {
            Ok(()) => result.recv_timeout(wait).ok(),
            Err(back) => {
                back.0();
                result.try_recv().ok()
            }
        }
    }
}

fn begin() -> Sender<Call> {
    let (calls, made) = mpsc::channel::<Call>();
    let serve = move || made.into_iter().for_each(|call| call());
    if let Err(e) = std::thread::Builder::new().name("consign-aside".into()).spawn(serve) {
        tracing::warn!("no thread for calls that may hang: {e}");
    }
    calls
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use super::Aside;

    const LONG: Duration = Duration::from_mins(5);

    #[test]
    fn what_returns_is_given_and_holds_nothing_any_more() {
        let aside = Aside::default();
        let held = Arc::new(7);
        for _ in 0..3 {
            let held_there = Arc::clone(&held);
            assert_eq!(aside.call(move || *held_there, LONG), Some(7));
            assert_eq!(Arc::strong_count(&held), 1, "whoever drops it next is the last");
        }
    }

    #[test]
    fn what_never_returns_is_left_behind_with_what_it_holds() {
        let aside = Aside::default();
        let (end, ended) = mpsc::channel::<()>();
        let held = Arc::new(());
        let held_there = Arc::clone(&held);
        let hang = move || {
            let ended = ended.recv().is_ok();
            drop(held_there);
            ended
        };
        assert_eq!(aside.call(hang, Duration::from_millis(1)), None);
        assert_eq!(Arc::strong_count(&held), 2);
        drop(aside);
        end.send(()).unwrap();
        // The thread ends then, and lets go.
        while Arc::strong_count(&held) > 1 {
            std::thread::yield_now();
        }
    }
}
