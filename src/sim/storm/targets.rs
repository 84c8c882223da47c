//! Targets of every temper, and what is said in their name.

use super::{Owed, Storm};
use crate::log::memory::Fault;
use crate::record::{FileId, Outcome, OutcomeKind, Reporter, Status, TargetName, Timer, TimerKind, Topic};
use crate::sim::Answer;
use crate::sim::wire::{Receipt, blank};

/// Whether a target confirms by acks.
fn confirms_later(target: &str) -> bool {
    matches!(target, "ledger" | "lagging" | "stamped")
}

/// What a target answers in the calm.
fn calm_answer(target: &str) -> Answer {
    if confirms_later(target) { Answer::Accepted } else { Answer::Succeeded }
}

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Temper {
    Good,
    NeverConfirms,
    ConfirmsTwice,
    RetryAfter,
    BadGateway,
    Reset,
    TimesOut,
    Lost,
    Unauthorized,
    Gone,
    Rejected,
}

impl Storm {
    /// Some requests leave, or are answered.
    pub(super) fn wire(&mut self) {
        let mut moving = self.world.moving_parcels();
        for _ in 0..self.draws.between(1, 12) {
            if moving.is_empty() {
                return;
            }
            let (number, has_left) = moving.swap_remove(self.draws.below(moving.len()));
            if has_left {
                self.answer(number);
            } else {
                let left = self.world.leave(number);
                self.say(format!("request {number} {}", if left { "leaves" } else { "is dropped unsent" }));
            }
        }
    }

    fn answer(&mut self, number: u64) {
        let now = self.world.now();
        let found = {
            let wire = self.world.wire.lock();
            wire.parcels.get(&number).map(|p| (p.attempt.target.to_string(), p.attempt.deadline))
        };
        let Some((target, deadline)) = found else { return };
        if now > deadline {
            self.fault("temper_slow");
        }
        let temper = self.drawn_temper(&target);
        let wait = self.draws.between(500, 20_000);
        let (name, answer) = match temper {
            Temper::Good => ("temper_good", calm_answer(&target)),
            Temper::NeverConfirms => ("temper_accepted_never_confirmed", Answer::Accepted),
            Temper::ConfirmsTwice => ("temper_accepted_confirmed_twice", Answer::Accepted),
            Temper::RetryAfter => ("temper_retry_after", Answer::Retryable(Some(wait))),
            Temper::BadGateway => ("temper_bad_gateway", Answer::BadGateway),
            Temper::Reset => ("temper_reset", Answer::Reset),
            Temper::TimesOut => ("temper_times_out", Answer::Unknown),
            Temper::Unauthorized => ("temper_unauthorized", Answer::Refused),
            Temper::Gone => ("temper_gone", Answer::Gone),
            Temper::Rejected => ("temper_rejected", Answer::Rejected),
            Temper::Lost => {
                self.fault("temper_response_lost");
                self.say(format!("the answer to request {number} is lost for good"));
                if let Some(parcel) = self.world.wire.lock().parcels.remove(&number) {
                    parcel.end();
                }
                return;
            }
        };
        if temper != Temper::Good {
            self.fault(name);
        }
        let receipt = if answer == Answer::Succeeded { self.drawn_receipt(&target) } else { Receipt::Right };
        self.say(format!("request {number} to {target} is answered {answer:?}, receipt {receipt:?}"));
        self.conclude(number, (answer, receipt), temper);
    }

    /// What a target says of what arrived, where its plan asks for that.
    fn drawn_receipt(&mut self, target: &str) -> Receipt {
        if !matches!(target, "sworn" | "stamped") {
            return Receipt::Right;
        }
        let receipt = self.draws.weighted(&[(70, Receipt::Right), (15, Receipt::Other), (15, Receipt::Missing)]);
        match receipt {
            Receipt::Right => {}
            Receipt::Other => self.fault("receipt_of_something_else"),
            Receipt::Missing => self.fault("receipt_missing"),
        }
        receipt
    }

    fn drawn_temper(&mut self, target: &str) -> Temper {
        let share = match target {
            "strict" | "sworn" => [52, 8, 14, 5, 3],
            "locked" => [35, 2, 4, 5, 25],
            "brittle" => [30, 10, 35, 8, 0],
            _ => [70, 4, 8, 4, 1],
        };
        let (never, twice) = if confirms_later(target) { (8, 8) } else { (0, 0) };
        self.draws.weighted(&[
            (share[0], Temper::Good),
            (share[1], Temper::BadGateway),
            (share[1], Temper::Reset),
            (share[1], Temper::TimesOut),
            (share[1], Temper::Lost),
            (share[2], Temper::RetryAfter),
            (share[3], Temper::Rejected),
            (share[4], Temper::Unauthorized),
            (share[4], Temper::Gone),
            (never, Temper::NeverConfirms),
            (twice, Temper::ConfirmsTwice),
        ])
    }

    /// The request has ended; its report goes to the log at once, or takes its time.
    fn conclude(&mut self, number: u64, (answer, receipt): (Answer, Receipt), temper: Temper) {
        let Some((home, outcome)) = self.world.report_of(number, answer, receipt) else { return };
        if answer == Answer::Accepted && temper != Temper::NeverConfirms {
            let (file_id, target) = (outcome.file_id.to_string(), outcome.target.to_string());
            let owed = Owed { file_id, target, attempt: outcome.attempt.unwrap_or(1) };
            if temper == Temper::ConfirmsTwice {
                self.owed.push(owed.clone());
            }
            self.owed.push(owed);
        }
        if self.draws.percent(20) {
            self.fault("report_delayed");
            self.delayed.push((home, outcome));
        } else {
            self.world.append_outcome(home, &outcome);
            self.said.push((home, outcome));
        }
    }

    /// A report that was delayed comes, whichever of them.
    pub(super) fn deliver_a_report(&mut self) {
        if !self.delayed.is_empty() {
            let at = self.draws.below(self.delayed.len());
            let (home, outcome) = self.delayed.swap_remove(at);
            self.say(format!("{}/{}: a delayed report comes", outcome.file_id, outcome.target));
            self.world.append_outcome(home, &outcome);
            self.said.push((home, outcome));
        }
    }

    pub(super) fn ack(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        let owed = self.owed.swap_remove(self.draws.below(self.owed.len()));
        let kind = self.draws.weighted(&[
            (60, OutcomeKind::Succeeded),
            (15, OutcomeKind::Accepted),
            (8, OutcomeKind::Rejected),
            (8, OutcomeKind::Retryable),
            (5, OutcomeKind::Duplicate),
        ]);
        let mut ack = self.world.ack(&owed.file_id, &owed.target, kind);
        ack.attempt = self.draws.percent(70).then_some(owed.attempt);
        if self.draws.percent(8) {
            self.fault("forged_token");
            ack.ack_token = self.draws.percent(50).then(|| "k1.d3Jvbmc".to_owned());
            self.owed.push(owed.clone());
        } else if kind == OutcomeKind::Accepted {
            self.owed.push(owed.clone());
        }
        if matches!(kind, OutcomeKind::Succeeded | OutcomeKind::Duplicate) {
            let receipt = self.drawn_receipt(&owed.target);
            ack.received_digest = receipt.named(ack.received_digest);
            if receipt != Receipt::Right {
                // It isn't believed, and so says it again.
                self.owed.push(owed.clone());
            }
        }
        self.say(format!("{}/{} acks {kind}", owed.file_id, owed.target));
        if self.draws.percent(40) {
            let late_markers = self.draws.percent(60);
            let fault = if self.draws.percent(10) {
                Fault::Abort { late_markers }
            } else {
                Fault::Commit { reply_lost: false, late_markers }
            };
            if late_markers {
                self.fault("ack_late_markers");
            }
            self.world.aimed.transaction("target", fault);
            let appends = vec![self.world.ack_append(&ack)];
            // An ack that is aborted is one that its target never sent.
            drop(self.world.cluster.transact_as("target", appends));
        } else {
            self.world.acknowledge(&ack);
        }
    }

    /// A report comes again, contradicts the one before, or was never made by whom it names.
    pub(super) fn forge(&mut self) {
        if self.said.is_empty() {
            return;
        }
        let (home, mut outcome) = self.said[self.draws.below(self.said.len())].clone();
        let name = match self.draws.below(6) {
            0 | 1 => "report_repeated",
            2 => {
                outcome.kind = *self.draws.one_of(&[OutcomeKind::Succeeded, OutcomeKind::Rejected]);
                "report_contradicting"
            }
            3 => {
                outcome.attempt = Some(outcome.attempt.unwrap_or(1) + 7);
                "forged_attempt"
            }
            4 => {
                outcome.reporter = *self.draws.one_of(&[Reporter::Callback, Reporter::Acks, Reporter::Engine]);
                "forged_reporter"
            }
            _ => {
                outcome = self.forged_timer(&outcome);
                "forged_timer"
            }
        };
        self.fault(name);
        self.say(format!("{}/{}: {name} {}", outcome.file_id, outcome.target, outcome.kind));
        self.world.append_outcome(home, &outcome);
    }

    /// A timer that the file doesn't wait for.
    fn forged_timer(&mut self, of: &Outcome) -> Outcome {
        let what =
            *self.draws.one_of(&[TimerKind::AttemptDeadline, TimerKind::ConfirmationDeadline, TimerKind::Escalation]);
        let due = self.world.now().plus_millis(-self.draws.between(1, 100_000));
        let (file_id, target): (FileId, TargetName) = (of.file_id.clone(), of.target.clone());
        let timer = Timer { what, due, attempt: of.attempt, escalation: Some(1) };
        Outcome {
            reporter: Reporter::Engine,
            timer: Some(timer),
            ..blank(&file_id, &target, OutcomeKind::Timer, self.world.now())
        }
    }

    /// Every request leaves and is answered well, every report comes, and every confirmation that is owed; false if there
    /// was none.
    pub fn deliver_everything(&mut self) -> bool {
        let moving = self.world.moving_parcels();
        let any = !moving.is_empty() || !self.owed.is_empty() || !self.delayed.is_empty();
        while !self.delayed.is_empty() {
            self.deliver_a_report();
        }
        for (number, _) in moving {
            if self.world.leave(number) {
                let target = self.world.wire.lock().parcels.get(&number).map(|p| p.attempt.target.to_string());
                let answer = calm_answer(&target.unwrap_or_default());
                self.say(format!("request {number} is answered {answer:?}"));
                if let Some((home, outcome)) = self.world.report_of(number, answer, Receipt::Right) {
                    self.world.append_outcome(home, &outcome);
                    if answer == Answer::Accepted {
                        let (file_id, target) = (outcome.file_id.to_string(), outcome.target.to_string());
                        self.owed.push(Owed { file_id, target, attempt: outcome.attempt.unwrap_or(1) });
                    }
                }
            }
        }
        for owed in std::mem::take(&mut self.owed) {
            let ack = self.world.ack(&owed.file_id, &owed.target, OutcomeKind::Succeeded);
            self.world.acknowledge(&ack);
        }
        any
    }

    /// Whether somebody's attempt is open: then whatever ends a process hands requests on the wire over.
    pub(super) fn has_open_attempts(&mut self) -> bool {
        self.world.states().values().flat_map(|s| &s.dispatches).any(|d| d.status == Status::InFlight)
    }

    /// Deletes the head of an inbox: what has been read and is older than the memory of files.
    pub(super) fn delete_old_inputs(&mut self) {
        let options = self.world.verify_options(false);
        let oldest = self.world.now().plus_millis(-options.retention_ms - options.max_clock_skew_ms);
        let committed = self.world.cluster.committed_positions();
        let mut deleted = false;
        for topic in Topic::INPUTS {
            let mut ends = std::collections::BTreeMap::new();
            for record in self.world.cluster.dump(topic).iter().filter(|r| r.timestamp < oldest) {
                ends.insert(record.at, record.offset + 1);
            }
            for (at, end) in ends {
                let read = committed.get(&at).copied().unwrap_or(0);
                deleted |= read.min(end) > 0;
                self.world.cluster.delete_before(at, read.min(end)).expect("it exists");
            }
        }
        if deleted {
            self.fault("inbox_deleted");
            self.say("old inputs are deleted");
        }
    }
}
