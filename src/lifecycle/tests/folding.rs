//! Records that no run of the machine can have written are an error, never a panic: a checker reads them too.

use std::sync::Arc;

use super::*;
use crate::record::{DispatchAttempt, FileHistory, HistoryEvent, Judgement};

/// The records of a file whose one dispatch was attempted twice and SUCCEEDED.
struct Written {
    file: File,
    records: Folded,
}

impl Written {
    fn attempt(&mut self, ms: i64) {
        let attempt = Arc::new(self.file.authorize(0, after_ms(ms), "w"));
        self.records.attempts.insert(attempt.version, Arc::clone(&attempt));
        self.file.authorized(&attempt);
    }

    fn hear(&mut self, kind: OutcomeKind, ms: i64) {
        let (attempt, reporter) = (Some(self.file.dispatches[0].attempts), Reporter::Acks);
        let report = outcome(&self.file, "a", attempt, kind, reporter);
        let caused_by = cause(ms);
        self.file.report(0, &report, after_ms(ms), &caused_by);
        let event = HistoryEvent {
            version: self.file.version,
            at: after_ms(ms),
            cause: caused_by.clone(),
            target: Some(report.target.clone()),
            judgement: Judgement::Applied,
            code: None,
            outcome: Some(report),
            intervention: None,
            failure: None,
        };
        let seq = self.records.history.last_key_value().map_or(1, |(seq, _)| seq + 1);
        let (file_id, version) = (self.file.id().clone(), event.version);
        let record = FileHistory { file_id, seq, version, cause: caused_by, events: vec![event] };
        self.records.history.insert(seq, record);
    }
}

fn written() -> Written {
    let dispatches = vec![planned("f", "a"), planned("f", "b")];
    let plan = (0..).zip(plan_of(dispatches.clone()).iter().map(|p| Arc::new(Planned::of(p)))).collect();
    let file = validated(dispatches);
    let records = Folded { arrival: Some(Arc::clone(&file.arrival)), plan, ..Folded::default() };
    let mut written = Written { file, records };
    written.attempt(0);
    written.hear(OutcomeKind::Retryable, 1);
    written.attempt(5_000);
    written.hear(OutcomeKind::Succeeded, 5_001);
    written
}

#[test]
fn a_files_records_give_the_file() {
    let Written { file, records } = written();
    assert_eq!(fold(&records, 1), Ok(file));
}

fn refused(damage: impl FnOnce(&mut Folded)) -> String {
    let mut records = written().records;
    damage(&mut records);
    fold(&records, 1).expect_err("such records can't be").0
}

fn attempt_like(records: &Folded, version: i64, adapt: impl FnOnce(&mut DispatchAttempt)) -> Arc<DispatchAttempt> {
    let mut attempt = (**records.attempts.last_key_value().expect("there is one").1).clone();
    attempt.version = version;
    adapt(&mut attempt);
    Arc::new(attempt)
}

#[test]
fn missing_records_are_named() {
    assert_eq!(refused(|r| r.arrival = None), "there are records but no arrival");
    assert_eq!(refused(|r| drop(r.plan.remove(&1))), "f: 1 of 2 plan records are there");
    assert_eq!(refused(|r| drop(r.plan.remove(&0))), "f: 1 of 2 plan records are there");
    assert_eq!(refused(|r| drop(r.history.remove(&1))), "f: history 1 is missing");
    assert_eq!(refused(|r| drop(r.attempts.remove(&3))), "f: version 2 is followed by 4");
    assert_eq!(refused(|r| r.plan.clear()), "f: version 1 is followed by 3");
}

#[test]
fn impossible_attempts_are_named() {
    let extra = |version, adapt: fn(&mut DispatchAttempt)| {
        refused(|records| {
            let attempt = attempt_like(records, version, adapt);
            records.attempts.insert(version, attempt);
        })
    };
    assert_eq!(extra(7, |a| a.attempt = 3), "f/a: attempt 3 is authorized while it is SUCCEEDED");
    assert_eq!(extra(5, |a| a.attempt = 3), "f/a: attempt 1 is followed by 3");
    let unfinished = refused(|records| {
        let attempt = attempt_like(records, 6, |a| a.attempt = 3);
        records.history.remove(&2);
        records.attempts.insert(6, attempt);
    });
    assert_eq!(unfinished, "f/a: attempt 3 is authorized while it is IN_FLIGHT");
    let over_budget = refused(|records| {
        for plan in records.plan.values_mut() {
            let mut terms = (*plan.terms).clone();
            (terms.retry.attempts, terms.retry.operator_attempts, terms.retry.refusals) = (2, 0, 0);
            Arc::make_mut(plan).terms = SharedTerms::new(terms);
        }
        let events = &mut records.history.get_mut(&2).expect("it is there").events;
        events[0].outcome.as_mut().expect("a report").kind = OutcomeKind::Retryable;
        let attempt = attempt_like(records, 7, |a| a.attempt = 3);
        records.attempts.insert(7, attempt);
    });
    assert_eq!(over_budget, "f/a: attempt 3 is authorized while it is HELD");
}

#[test]
fn impossible_plans_and_events_are_named() {
    let other_version = |records: &mut Folded, version| {
        records.plan.values_mut().for_each(|p| Arc::make_mut(p).version = version);
    };
    assert_eq!(refused(|r| other_version(r, 1)), "f: version 1 is followed by a plan of version 1");
    assert_eq!(
        refused(|r| Arc::make_mut(r.plan.get_mut(&1).expect("there")).version = 3),
        "f: its plan has two versions"
    );
    let twice = refused(|r| {
        let again = r.plan[&0].terms.clone();
        Arc::make_mut(r.plan.get_mut(&1).expect("there")).terms = again;
    });
    assert_eq!(twice, "f: its plan records aren't those of its expected targets");
    let event = |adapt: fn(&mut HistoryEvent)| {
        refused(|records| adapt(&mut records.history.get_mut(&2).expect("it is there").events[0]))
    };
    assert_eq!(event(|e| e.outcome = None), "f: version 6 is no event");
    assert_eq!(event(|e| e.target = None), "f: a report without a target");
    assert_eq!(event(|e| e.judgement = Judgement::Late), "f: version 6 was late, and is applied when it is folded");
    let invalid = event(|e| {
        e.outcome = None;
        e.failure = Some(crate::record::Failure { code: "schema".into(), text: String::new() });
    });
    assert_eq!(invalid, "f: version 6 fails its validation while it is DISTRIBUTING");
}
