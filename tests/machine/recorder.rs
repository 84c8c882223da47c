//! A file with the records that an engine would write about it.

use std::sync::Arc;

use consign::lifecycle::{File, FoldError, Folded, Judged, Planned, fold};
use consign::record::{
    Cause, FileHistory, HistoryEvent, Intervention, Outcome, OutcomeKind, PlannedDispatch, TargetName, Timestamp,
};

/// How long a file without a plan has, in milliseconds.
pub const PROVISIONAL_MS: i64 = 500_000;

/// A file, its records and the clock of its worker.
pub struct Recorder {
    pub file: File,
    pub now: Timestamp,
    records: Folded,
    /// Events of the commit that is still open.
    pending: Vec<HistoryEvent>,
    offset: i64,
}

impl Recorder {
    /// A file that has just arrived.
    pub fn arrived(file: File, now: Timestamp) -> Self {
        let records = Folded { arrival: Some(Arc::clone(&file.arrival)), ..Folded::default() };
        Self { file, now, records, pending: Vec::new(), offset: 1 }
    }

    fn next_cause(&mut self) -> Cause {
        self.offset += 1;
        Cause { topic: "consign.outcomes".into(), partition: 3, offset: self.offset }
    }

    /// Commits the plan.
    pub fn plan(&mut self, mut plan: Vec<PlannedDispatch>) {
        let cause = self.next_cause();
        for dispatch in &mut plan {
            (dispatch.version, dispatch.planned_at) = (self.file.version + 1, self.now);
            dispatch.cause = cause.clone();
        }
        let plan = consign::lifecycle::specimen::plan_of(plan);
        self.records.plan = plan.iter().map(|p| (p.ordinal, Arc::new(Planned::of(p)))).collect();
        self.file.planned(&plan);
    }

    /// Authorizes the next attempt at `index`; the machine must allow it.
    pub fn authorize(&mut self, index: usize) {
        let attempt = Arc::new(self.file.authorize(index, self.now, "w"));
        self.records.attempts.insert(attempt.version, Arc::clone(&attempt));
        self.file.authorized(&attempt);
    }

    pub fn report(&mut self, outcome: Outcome) -> Judged {
        let cause = self.next_cause();
        let index = self.file.index_of(&outcome.target);
        let judged = if outcome.kind == OutcomeKind::Timer {
            let timer = outcome.timer.clone().expect("a timer");
            self.file.timer(index, &timer, self.now, &cause)
        } else {
            self.file.report(index.expect("planned"), &outcome, self.now, &cause)
        };
        let target = index.map(|_| outcome.target.clone());
        self.keep(&judged, cause, target, Some(outcome), None);
        judged
    }

    pub fn intervene(&mut self, intervention: Intervention) -> Judged {
        let cause = self.next_cause();
        let index = intervention.target.as_ref().and_then(|t| self.file.index_of(t));
        let judged = self.file.intervene(index, &intervention, self.now, &cause);
        self.keep(&judged, cause, intervention.target.clone(), None, Some(intervention));
        judged
    }

    fn keep(
        &mut self,
        judged: &Judged,
        cause: Cause,
        target: Option<TargetName>,
        outcome: Option<Outcome>,
        intervention: Option<Intervention>,
    ) {
        if let Judged::Recorded(recorded) = judged {
            self.pending.push(HistoryEvent {
                version: self.file.version,
                at: self.now,
                cause,
                target,
                judgement: recorded.judgement,
                code: recorded.code.map(str::to_owned),
                outcome,
                intervention,
                failure: None,
            });
        }
    }

    /// Ends the commit: its events become one history record.
    pub fn commit(&mut self) {
        let Some(last) = self.pending.last() else { return };
        let seq = self.records.history.last_key_value().map_or(1, |(seq, _)| seq + 1);
        let record = FileHistory {
            file_id: self.file.id().clone(),
            seq,
            version: last.version,
            cause: last.cause.clone(),
            events: std::mem::take(&mut self.pending),
        };
        self.records.history.insert(seq, record);
    }

    /// The file as its records give it, once the commit is closed.
    pub fn folded(&self) -> Result<File, FoldError> {
        assert!(self.pending.is_empty(), "fold after a commit");
        fold(&self.records, PROVISIONAL_MS)
    }
}
