//! A file from its records: the arrival, the plan, the attempts and the history, in version order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{File, Judged, Planned};
use crate::record::{
    Arrival, DispatchAttempt, FileHistory, FileId, HistoryEvent, OutcomeKind, State, Status, TargetName, Timestamp,
    dispatch_key,
};

/// The records of one file that the machine's events stand in.
#[derive(Debug, Clone, Default)]
pub struct Folded {
    /// The arrival.
    pub arrival: Option<Arc<Arrival>>,
    /// The plan, by ordinal.
    pub plan: BTreeMap<i32, Arc<Planned>>,
    /// The attempts, by version.
    pub attempts: BTreeMap<i64, Arc<DispatchAttempt>>,
    /// The history, by sequence number.
    pub history: BTreeMap<i64, FileHistory>,
}

/// Records that no run of the machine can have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FoldError(pub String);

enum Step<'a> {
    Attempt(&'a Arc<DispatchAttempt>),
    Event(&'a HistoryEvent),
}

/// Folds a file's records; `provisional_deadline` counts from the arrival for a file without a plan.
pub fn fold(records: &Folded, provisional_deadline_ms: i64) -> Result<File, FoldError> {
    fold_each(records, provisional_deadline_ms, &mut |_| ())
}

/// Folds a file's records and shows the file as each of its versions left it, the arrival's included.
pub fn fold_each(
    records: &Folded,
    provisional_deadline_ms: i64,
    see: &mut dyn FnMut(&File),
) -> Result<File, FoldError> {
    let wrong = |text: String| Err(FoldError(text));
    let Some(arrival) = &records.arrival else {
        return wrong("there are records but no arrival".into());
    };
    let file = File::arrived(Arc::clone(arrival), provisional_deadline(arrival, provisional_deadline_ms));
    see(&file);
    go_on(file, 0, i64::MIN, records, see)
}

/// Goes on from a file as it was when it had so many history records, by the records that are newer. Those that it
/// knows already may be among them.
pub fn fold_on(file: File, history_seq: i64, records: &Folded) -> Result<File, FoldError> {
    let known = file.version;
    go_on(file, history_seq, known, records, &mut |_| ())
}

/// Folds what is newer than the version that is known.
fn go_on(
    mut file: File,
    history_seq: i64,
    known: i64,
    records: &Folded,
    see: &mut dyn FnMut(&File),
) -> Result<File, FoldError> {
    let wrong = |text: String| Err(FoldError(text));
    let id = file.id().clone();
    let is_news = |version: i64| version > known;
    let mut plan: Option<Vec<_>> = Some(records.plan.values().cloned().collect());
    plan = plan.filter(|plan| plan.first().is_some_and(|first| is_news(first.version)));
    if plan.is_some() {
        check_plan(records, &id)?;
    }
    let attempts = records.attempts.iter().filter(|(version, _)| is_news(**version));
    let mut steps: BTreeMap<i64, Step<'_>> = attempts.map(|(v, a)| (*v, Step::Attempt(a))).collect();
    for (expected_seq, (seq, record)) in (history_seq + 1..).zip(records.history.range(history_seq + 1..)) {
        if *seq != expected_seq {
            return wrong(format!("{id}: history {expected_seq} is missing"));
        }
        for event in record.events.iter().filter(|event| is_news(event.version)) {
            if steps.insert(event.version, Step::Event(event)).is_some() {
                return wrong(format!("{id}: two events have version {}", event.version));
            }
        }
    }
    for (version, step) in steps {
        if plan.as_ref().is_some_and(|plan| plan[0].version < version) {
            take_plan(&mut file, &plan.take().expect("checked"))?;
            see(&file);
        }
        if version != file.version + 1 {
            return wrong(format!("{id}: version {} is followed by {version}", file.version));
        }
        match step {
            Step::Attempt(attempt) => {
                check_attempt(&file, attempt)?;
                file.authorized(attempt);
            }
            Step::Event(event) => apply(&mut file, event)?,
        }
        see(&file);
    }
    if let Some(plan) = plan {
        take_plan(&mut file, &plan)?;
        see(&file);
    }
    Ok(file)
}

/// Whether all plan records of one version are there, those of the expected targets in order.
fn check_plan(records: &Folded, id: &FileId) -> Result<(), FoldError> {
    let Some((_, first)) = records.plan.first_key_value() else { return Ok(()) };
    let wrong = |text: String| Err(FoldError(format!("{id}: {text}")));
    let expected = first.head.as_ref().and_then(|head| head.expected_targets.as_deref());
    if expected.is_none() || !records.plan.keys().copied().eq(0..first.of) {
        return wrong(format!("{} of {} plan records are there", records.plan.len(), first.of));
    }
    if records.plan.values().any(|p| p.version != first.version) {
        return wrong("its plan has two versions".into());
    }
    let different: BTreeSet<&TargetName> = expected.into_iter().flatten().collect();
    let in_order = expected.into_iter().flatten().eq(records.plan.values().map(|p| &p.terms.target));
    if !in_order || different.len() != records.plan.len() {
        return wrong("its plan records aren't those of its expected targets".into());
    }
    Ok(())
}

fn take_plan(file: &mut File, plan: &[Arc<Planned>]) -> Result<(), FoldError> {
    let (id, version, of_plan) = (file.id(), file.version, plan[0].version);
    if file.state != State::Received {
        return Err(FoldError(format!("{id}: it is planned while it is {}", file.state)));
    }
    if file.is_fetching() && !file.is_fetched() {
        return Err(FoldError(format!("{id}: it is planned before its bytes were there")));
    }
    if of_plan != version + 1 {
        return Err(FoldError(format!("{id}: version {version} is followed by a plan of version {of_plan}")));
    }
    file.take_plan(plan);
    Ok(())
}

/// Whether the machine can have authorized an attempt where the file stands.
fn check_attempt(file: &File, attempt: &DispatchAttempt) -> Result<(), FoldError> {
    let Some(index) = file.index_of(&attempt.target) else {
        return Err(FoldError(format!("{}: an attempt at {}, which isn't planned", file.id(), attempt.target)));
    };
    let (dispatch, number) = (&file.dispatches[index], attempt.attempt);
    let key = dispatch_key(file.id(), &attempt.target);
    if !matches!(dispatch.status, Status::Pending | Status::BackingOff) {
        return Err(FoldError(format!("{key}: attempt {number} is authorized while it is {}", dispatch.status)));
    }
    if number != dispatch.attempts + 1 {
        return Err(FoldError(format!("{key}: attempt {} is followed by {number}", dispatch.attempts)));
    }
    if number > dispatch.most_attempts() {
        return Err(FoldError(format!("{key}: attempt {number} exceeds its budgets")));
    }
    Ok(())
}

/// The deadline of a file before its plan fixes one.
pub(crate) fn provisional_deadline(arrival: &Arrival, after_ms: i64) -> Timestamp {
    match &arrival.fetch {
        Some(fetch) => fetch.file_deadline,
        None => arrival.manifest.deadline.unwrap_or(arrival.received_at.plus_millis(after_ms)),
    }
}

fn apply(file: &mut File, event: &HistoryEvent) -> Result<(), FoldError> {
    let id = file.id().clone();
    let index = |file: &File, target: &Option<TargetName>| match target {
        None => Ok(None),
        Some(target) => file
            .index_of(target)
            .map(Some)
            .ok_or_else(|| FoldError(format!("{id}: an event at {target}, which isn't planned"))),
    };
    let at_target = index(file, &event.target)?;
    let judged = match (&event.outcome, &event.intervention, &event.failure) {
        (Some(outcome), None, None) if outcome.kind == OutcomeKind::Timer => {
            let timer = outcome.timer.as_ref().ok_or_else(|| FoldError(format!("{id}: a TIMER without a timer")))?;
            file.timer(at_target, timer, event.at, &event.cause)
        }
        (Some(outcome), None, None) => {
            let index = at_target.ok_or_else(|| FoldError(format!("{id}: a report without a target")))?;
            file.report(index, outcome, event.at, &event.cause)
        }
        (None, Some(intervention), None) => file.intervene(at_target, intervention, event.at, &event.cause),
        (None, None, Some(_)) if file.state != State::Received => {
            let (version, state) = (event.version, file.state);
            return Err(FoldError(format!("{id}: version {version} fails its validation while it is {state}")));
        }
        (None, None, Some(failure)) => {
            file.invalid(failure.clone(), event.at, &event.cause);
            return Ok(());
        }
        _ => return Err(FoldError(format!("{id}: version {} is no event", event.version))),
    };
    match judged {
        Judged::Recorded(recorded) if recorded.judgement == event.judgement => Ok(()),
        Judged::Recorded(recorded) => Err(FoldError(format!(
            "{id}: version {} was {}, and is {} when it is folded",
            event.version, event.judgement, recorded.judgement
        ))),
        Judged::Repeat => Err(FoldError(format!("{id}: version {} is a repeat when it is folded", event.version))),
    }
}
