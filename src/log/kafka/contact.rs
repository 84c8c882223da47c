//! Whether the brokers still answer. librdkafka finds its way back by itself and says nothing of it to who polls: so a
//! client that has heard nothing for a while asks for something small. It doesn't always find back: a client that hears nothing
//! while others do is to be replaced (docs/decisions/0089-clients-that-are-lost.md).

use std::cell::Cell;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use super::Probe;

/// After how long without an answer one is asked for.
const ASK_AFTER: Duration = Duration::from_secs(2);
/// How long that answer may take.
const ANSWER: Duration = Duration::from_secs(3);
/// How often in a row the brokers may answer another client and not this one, before this one is lost.
const UNANSWERED: u32 = 3;
/// A silence that may have made the client join its group again.
const OUTAGE: Duration = Duration::from_secs(3);
/// For how long what happens may be the outage's doing.
const AFTERMATH: Duration = Duration::from_mins(1);

/// When a client last had an answer, and the last time that it had none for long.
pub(super) struct Contact {
    last: Instant,
    /// How often since then another client was answered and this one wasn't.
    unanswered: u32,
    outage: Option<Outage>,
    /// When the outage began that has explained something.
    excused: Cell<Option<Instant>>,
}

/// A silence that was long enough.
struct Outage {
    /// The last answer before it.
    began: Instant,
    ended: Instant,
}

impl Contact {
    /// Begins with an answer: a client is made once its cluster was found.
    pub(super) fn new() -> Self {
        Self::since(Instant::now())
    }

    fn since(now: Instant) -> Self {
        Self { last: now, unanswered: 0, outage: None, excused: Cell::new(None) }
    }

    /// Something was answered just now.
    pub(super) fn heard(&mut self) {
        self.heard_at(Instant::now());
    }

    fn heard_at(&mut self, now: Instant) {
        if now - self.last > OUTAGE {
            self.outage = Some(Outage { began: self.last, ended: now });
        }
        (self.last, self.unanswered) = (now, 0);
    }

    /// Whether an outage explains that something is lost which a client had before: one is on, or ended not long ago, and
    /// has explained nothing yet.
    pub(super) fn excuses(&self) -> bool {
        self.excuses_at(Instant::now())
    }

    fn excuses_at(&self, now: Instant) -> bool {
        let lately = self.outage.as_ref().filter(|outage| now - outage.ended < AFTERMATH).map(|outage| outage.began);
        let began = if now - self.last > OUTAGE { Some(self.last) } else { lately };
        let excuses = began.is_some() && began != self.excused.get();
        if excuses {
            self.excused.set(began);
        }
        excuses
    }

    /// How long nothing was.
    pub(super) fn silence(&self) -> Duration {
        self.last.elapsed()
    }

    /// Asks about a topic, if it is time to. Gives whether the client is lost: the brokers answer the probe, and not this one.
    pub(super) fn keep<C: ConsumerContext>(&mut self, consumer: &BaseConsumer<C>, topic: &str, probe: &Probe) -> bool {
        if self.silence() < ASK_AFTER {
            return false;
        }
        match consumer.fetch_metadata(Some(topic), ANSWER) {
            Ok(_) => self.heard(),
            Err(e) => {
                tracing::debug!("no answer from the brokers: {e}");
                self.unheard(probe.is_answered(topic));
            }
        }
        self.is_lost()
    }

    /// This client had no answer; another one had, or hadn't either.
    fn unheard(&mut self, another_was: bool) {
        self.unanswered = if another_was { self.unanswered + 1 } else { 0 };
    }

    fn is_lost(&self) -> bool {
        self.unanswered >= UNANSWERED
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{AFTERMATH, Contact, OUTAGE, UNANSWERED};

    const MOMENT: Duration = Duration::from_millis(100);
    /// Longer than [`OUTAGE`].
    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn each_outage_excuses_once_however_closely_they_follow_each_other() {
        let mut now = Instant::now();
        let mut contact = Contact::since(now);
        for _ in 0..3 {
            now += MOMENT;
            contact.heard_at(now);
            now += LONG;
            contact.heard_at(now);
            assert!(contact.excuses_at(now + MOMENT));
            assert!(!contact.excuses_at(now + MOMENT * 2), "a rival fences again");
        }
    }

    #[test]
    fn who_hears_nothing_while_others_do_is_lost_and_an_outage_of_all_loses_nobody() {
        let mut contact = Contact::new();
        for _ in 0..2 {
            for _ in 1..UNANSWERED {
                contact.unheard(true);
                assert!(!contact.is_lost());
            }
            contact.unheard(false);
            assert!(!contact.is_lost(), "nobody is answered");
        }
        (1..UNANSWERED).for_each(|_| contact.unheard(true));
        contact.heard();
        contact.unheard(true);
        assert!(!contact.is_lost(), "it was answered in between");
        (1..UNANSWERED).for_each(|_| contact.unheard(true));
        assert!(contact.is_lost());
    }

    #[test]
    fn one_that_has_excused_while_it_lasted_is_the_same_once_it_is_over() {
        let begun = Instant::now();
        let mut contact = Contact::since(begun);
        assert!(contact.excuses_at(begun + LONG));
        assert!(!contact.excuses_at(begun + LONG + MOMENT));
        contact.heard_at(begun + LONG * 2);
        assert!(!contact.excuses_at(begun + LONG * 2 + MOMENT));
    }

    #[test]
    fn without_an_outage_or_long_after_it_nothing_is_excused() {
        let begun = Instant::now();
        let mut contact = Contact::since(begun);
        assert!(!contact.excuses_at(begun + OUTAGE));
        contact.heard_at(begun + OUTAGE);
        assert!(!contact.excuses_at(begun + OUTAGE + MOMENT), "that was short");
        let mut now = begun + OUTAGE + LONG;
        contact.heard_at(now);
        for _ in 0..100 {
            now += AFTERMATH / 100;
            contact.heard_at(now);
        }
        assert!(!contact.excuses_at(now));
    }
}
