//! Planted faults in the records of a transaction.

use super::{Sabotage, Saboteur};
use crate::log::{Append, Headers};
use crate::record::{
    Bytes, DispatchAttempt, DispatchState, FileHistory, FileState, Outcome, OutcomeKind, PlannedDispatch, Reporter,
    State, Status, Timer, TimerKind, Timestamp, Topic, Wire, attempt_key, dispatch_key,
};

fn is_terminal(state: State) -> bool {
    matches!(state, State::Completed | State::Failed)
}

impl Saboteur {
    fn decode<T: Wire>(&self, append: &Append) -> Option<T> {
        self.codec.decode(append.value.as_deref()?).ok()
    }

    fn encode<T: Wire>(&self, topic: Topic, value: &T) -> Option<Vec<u8>> {
        self.codec.encode_for(topic, value).ok()
    }

    /// Changes one value, if it is what it seems and `change` says that it did.
    fn edit<T: Wire>(&self, append: &mut Append, change: impl FnOnce(&mut T) -> bool) {
        if let Some(mut value) = self.decode::<T>(append)
            && change(&mut value)
        {
            append.value = self.encode(append.topic, &value);
        }
    }

    fn each<T: Wire>(&self, appends: &mut [Append], topic: Topic, mut change: impl FnMut(&mut T) -> bool) {
        for append in appends.iter_mut().filter(|a| a.topic == topic) {
            self.edit(append, &mut change);
        }
    }

    pub(super) fn cluster_time(&self) -> Timestamp {
        let newest = self.cluster.dump(Topic::Manifests).iter().map(|r| r.timestamp).max();
        newest.unwrap_or(Timestamp(0))
    }

    pub(super) fn is_timer(&self, value: Option<&[u8]>) -> bool {
        let outcome = value.and_then(|v| self.codec.decode::<Outcome>(v).ok());
        outcome.is_some_and(|o| o.kind == OutcomeKind::Timer)
    }

    /// Reads an unknown fate as a known no.
    pub(super) fn forgive(&self, value: &mut Vec<u8>) {
        let Ok(mut outcome) = self.codec.decode::<Outcome>(value) else { return };
        if outcome.kind == OutcomeKind::Unknown {
            outcome.kind = OutcomeKind::Retryable;
            *value = self.encode(Topic::Outcomes, &outcome).expect("it was read");
        }
    }

    /// Reads a success with the digest of something else as one with the right digest.
    pub(super) fn vouch(&self, value: &mut Vec<u8>) {
        let Ok(mut outcome) = self.codec.decode::<Outcome>(value) else { return };
        let plan = self.lock().plans.get(&dispatch_key(&outcome.file_id, &outcome.target)).cloned();
        let receipt = plan.and_then(|plan| self.decode::<PlannedDispatch>(&plan)?.confirmed_by.receipt);
        if outcome.kind == OutcomeKind::Succeeded && receipt.is_some() {
            outcome.received_digest = receipt;
            *value = self.encode(Topic::Outcomes, &outcome).expect("it was read");
        }
    }

    /// What an attempt would send: key, number, body.
    pub(super) fn request_of(&self, append: &Append) -> Option<(String, i32, Vec<u8>)> {
        let attempt: DispatchAttempt = self.decode(append)?;
        let plan = self.lock().plans.get(&attempt.idempotency_key).cloned()?;
        let plan: PlannedDispatch = self.decode(&plan)?;
        let body = plan.request.body.as_ref().map(|b: &Bytes| b.as_ref().to_vec()).unwrap_or_default();
        Some((attempt.idempotency_key, attempt.attempt, body))
    }

    /// Changes the records of one transaction.
    pub(super) fn change(&self, appends: &mut Vec<Append>) {
        for plan in appends.iter().filter(|a| a.topic == Topic::Plans && a.value.is_some()) {
            self.lock().plans.insert(String::from_utf8_lossy(&plan.key).into_owned(), plan.clone());
        }
        match self.which {
            Sabotage::AttemptNumberReused | Sabotage::AttemptNumberSkipped | Sabotage::WrongPartitioner => {
                self.change_attempts(appends);
            }
            Sabotage::TargetDropped | Sabotage::PlanRewritten | Sabotage::PlanNotDeterministic => {
                self.change_plans(appends);
            }
            Sabotage::CompletedEarly
            | Sabotage::TerminalOverwritten
            | Sabotage::VersionRepeated
            | Sabotage::TimeOfNoRecord
            | Sabotage::NobodyAccountable
            | Sabotage::AttemptAfterSettlement
            | Sabotage::AttemptWhileHeld => self.change_states(appends),
            Sabotage::TimerEarly => self.add_early_timers(appends),
            Sabotage::AnonymousIntervention => self.each::<FileHistory>(appends, Topic::History, |history| {
                let asked = history.events.iter_mut().filter_map(|e| e.intervention.as_mut());
                asked.map(|i| i.actor = " ".into()).count() > 0
            }),
            Sabotage::DeadLetterChanged => {
                let dead = appends.iter_mut().filter(|a| a.topic == Topic::DeadLetters);
                dead.for_each(|a| a.value = Some(b"other bytes".to_vec()));
            }
            Sabotage::ForwardedTwice => {
                let forwarded: Vec<Append> = appends.iter().filter(|a| a.topic == Topic::Manifests).cloned().collect();
                appends.extend(forwarded);
            }
            _ => self.drop_some(appends),
        }
    }

    fn drop_some(&self, appends: &mut Vec<Append>) {
        let is_gone = |append: &Append| match self.which {
            Sabotage::TimerLost => append.topic == Topic::Outcomes && self.is_timer(append.value.as_deref()),
            Sabotage::AckLost => {
                append.topic == Topic::Outcomes
                    && self.decode::<Outcome>(append).is_some_and(|o| o.reporter == Reporter::Acks)
                    && self.strikes()
            }
            Sabotage::DeadLetterLost => append.topic == Topic::DeadLetters && self.strikes(),
            Sabotage::HistoryLost => append.topic == Topic::History && append.value.is_some() && self.strikes(),
            Sabotage::StateLost => {
                append.topic == Topic::FileState
                    && self.decode::<FileState>(append).is_some_and(|s| s.version > 2)
                    && self.strikes()
            }
            _ => false,
        };
        appends.retain(|append| !is_gone(append));
    }

    fn change_attempts(&self, appends: &mut [Append]) {
        for append in appends.iter_mut().filter(|a| a.topic == Topic::Attempts && a.value.is_some()) {
            let Some(mut attempt) = self.decode::<DispatchAttempt>(append) else { continue };
            match self.which {
                Sabotage::WrongPartitioner => {
                    let partition = append.partition.unwrap_or(0);
                    append.partition = Some(i32::from(partition == 0));
                    continue;
                }
                _ if attempt.attempt < 2 || !self.strikes() => continue,
                Sabotage::AttemptNumberReused => attempt.attempt = 1,
                _ => attempt.attempt += 1,
            }
            append.key = attempt_key(&attempt.file_id, &attempt.target, attempt.attempt).into_bytes();
            append.value = self.encode(Topic::Attempts, &attempt);
        }
    }

    fn change_plans(&self, appends: &mut Vec<Append>) {
        match self.which {
            Sabotage::TargetDropped => {
                let several = |p: PlannedDispatch| p.ordinal > 0;
                let last = appends.iter().rposition(|a| self.decode_plan(a).is_some_and(several));
                if let Some(last) = last.filter(|_| self.strikes()) {
                    appends.remove(last);
                }
            }
            Sabotage::PlanNotDeterministic => {
                self.each::<PlannedDispatch>(appends, Topic::Plans, |plan| {
                    plan.request.destination.push_str("?at=7");
                    true
                });
            }
            _ => {
                let retried = appends.iter().filter(|a| a.topic == Topic::Attempts);
                let keys: Vec<String> = retried.filter_map(|a| Some(self.request_of(a)?.0)).collect();
                for key in keys.into_iter().filter(|_| self.strikes()) {
                    let Some(mut again) = self.lock().plans.get(&key).cloned() else { continue };
                    self.edit::<PlannedDispatch>(&mut again, |plan| {
                        plan.request.destination.push_str("/other");
                        true
                    });
                    appends.push(again);
                }
            }
        }
    }

    fn decode_plan(&self, append: &Append) -> Option<PlannedDispatch> {
        if append.topic == Topic::Plans { self.decode(append) } else { None }
    }

    fn change_states(&self, appends: &mut Vec<Append>) {
        let mut more = Vec::new();
        for append in appends.iter_mut().filter(|a| a.topic == Topic::FileState && a.value.is_some()) {
            let Some(mut state) = self.decode::<FileState>(append) else { continue };
            let open = !is_terminal(state.state);
            match self.which {
                Sabotage::CompletedEarly if state.state == State::Distributing && self.strikes() => {
                    state.state = State::Completed;
                    state.settled_at = state.distributing_at;
                }
                Sabotage::NobodyAccountable if open && self.strikes() => state.accountable = None,
                Sabotage::TimeOfNoRecord if self.strikes() => {
                    state.received_at = state.received_at.plus_millis(1);
                }
                Sabotage::VersionRepeated if open && self.strikes() => more.push(append.clone()),
                Sabotage::TerminalOverwritten if !open && self.strikes() => {
                    state.version += 1;
                    more.push(Append { value: self.encode(Topic::FileState, &state), ..append.clone() });
                    continue;
                }
                Sabotage::AttemptAfterSettlement => {
                    more.extend(self.attempt_at(append, &state, Status::Succeeded));
                    continue;
                }
                Sabotage::AttemptWhileHeld => {
                    more.extend(self.attempt_at(append, &state, Status::Held));
                    continue;
                }
                _ => continue,
            }
            append.value = self.encode(Topic::FileState, &state);
        }
        appends.append(&mut more);
    }

    /// An attempt at the first dispatch with a status, which the machine would never authorize.
    fn attempt_at(&self, append: &Append, state: &FileState, status: Status) -> Option<Append> {
        let dispatch: &DispatchState = state.dispatches.iter().find(|d| d.status == status && d.attempts > 0)?;
        let is_open = !is_terminal(state.state);
        if !is_open || !self.strikes() {
            return None;
        }
        let number = dispatch.attempts + 1;
        let attempt = DispatchAttempt {
            file_id: state.file_id.clone(),
            target: dispatch.target.clone(),
            attempt: number,
            version: state.version + 1,
            cause: state.cause.clone(),
            idempotency_key: dispatch_key(&state.file_id, &dispatch.target),
            plan_digest: state.plan_digest.clone().unwrap_or_default(),
            attempts_left: 0,
            authorized_at: state.received_at,
            authorized_by: crate::record::Authorization::RetryBudget,
            intervention_id: None,
            send_before: state.received_at,
            deadline: state.received_at,
            worker: "saboteur".into(),
        };
        Some(Append {
            topic: Topic::Attempts,
            partition: append.partition,
            key: attempt_key(&attempt.file_id, &attempt.target, number).into_bytes(),
            value: self.encode(Topic::Attempts, &attempt),
            headers: Headers::new(),
        })
    }

    fn add_early_timers(&self, appends: &mut Vec<Append>) {
        let mut early = Vec::new();
        for append in appends.iter().filter(|a| a.topic == Topic::Attempts && a.value.is_some()) {
            let Some(attempt) = self.decode::<DispatchAttempt>(append) else { continue };
            let timer = Timer {
                what: TimerKind::AttemptDeadline,
                due: attempt.deadline,
                attempt: Some(attempt.attempt),
                escalation: None,
            };
            let (file_id, target) = (attempt.file_id, attempt.target);
            let key = dispatch_key(&file_id, &target).into_bytes();
            let blank = Outcome::new(file_id, target, OutcomeKind::Timer, Reporter::Engine, attempt.authorized_at);
            let outcome = Outcome {
                attempt: Some(attempt.attempt),
                code: timer.what.as_str().to_owned(),
                timer: Some(timer),
                ..blank
            };
            early.push(Append {
                topic: Topic::Outcomes,
                partition: append.partition,
                key,
                value: self.encode(Topic::Outcomes, &outcome),
                headers: Headers::new(),
            });
        }
        appends.append(&mut early);
    }
}
