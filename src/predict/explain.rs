//! A file under way, explained: what is next and when, who must act, and what everything that may come would lead to.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::bounds::bounds;
use crate::lifecycle::{File, Judged};
use crate::record::{
    Accountable, Action, Budget, Cause, Confirmation, FileId, HeldBecause, Intervention, Judgement, LastOutcome,
    NextEvent, NextEventKind, Outcome, OutcomeKind, Reporter, State, Status, TargetName, Timestamp, TokenCheck,
};

/// Whether a file's deadline can still be met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deadline {
    /// When the file is overdue.
    pub at: Timestamp,
    /// Whether that has passed.
    pub passed: bool,
    /// Whether the file can still be COMPLETED by then without a person.
    pub can_be_met: bool,
}

/// Where something leads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeadsTo {
    /// The dispatch's status.
    pub status: Option<Status>,
    /// Why it is HELD then.
    pub held_because: Option<HeldBecause>,
    /// The file's state.
    pub state: State,
    /// What happens next to the dispatch, for the file itself to the file.
    pub next: Option<NextEvent>,
    /// Other dispatches that change with it.
    pub others: Vec<TargetName>,
}

/// Something that may come, and what would be made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Would {
    /// What comes: an outcome such as `SUCCEEDED` or `REFUSED`, or an intervention such as `retry`.
    pub what: String,
    /// What would be made of it: applied, refused, late.
    pub judgement: Judgement,
    /// Why it would be refused.
    pub code: Option<String>,
    /// Where it leads, if it is applied.
    pub leads_to: Option<LeadsTo>,
}

/// One dispatch, explained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DispatchExplained {
    /// The target.
    pub target: TargetName,
    /// Where it stands.
    pub status: Status,
    /// Since when.
    pub since: Timestamp,
    /// Why it is HELD.
    pub held_because: Option<HeldBecause>,
    /// Whether nothing may be sent there until a person resumes it.
    pub paused: bool,
    /// Targets whose success it waits for.
    pub waits_for: Vec<TargetName>,
    /// Attempts so far.
    pub attempts: i32,
    /// Attempts left.
    pub budget: Budget,
    /// The newest report that counted.
    pub last_outcome: Option<LastOutcome>,
    /// Who must act.
    pub accountable: Option<Accountable>,
    /// What happens next by itself.
    pub next: Option<NextEvent>,
    /// What each outcome of its newest attempt would lead to; left out beyond the first 64 open dispatches.
    pub outcomes: Vec<Would>,
    /// What each intervention would lead to; left out likewise.
    pub interventions: Vec<Would>,
}

/// A file, explained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The file.
    pub file_id: FileId,
    /// The version that this is about.
    pub version: i64,
    /// The time that this is about.
    pub at: Timestamp,
    /// Where the file stands.
    pub state: State,
    /// Who must act, or answer.
    pub accountable: Option<Accountable>,
    /// What happens next by itself.
    pub next: Option<NextEvent>,
    /// When it is COMPLETED at the earliest by itself; null where that takes a person, or can't be any more.
    pub earliest_completion: Option<Timestamp>,
    /// From then on it has ended, or moves only by a person.
    pub latest: Option<Timestamp>,
    /// Its deadline; null once it has ended.
    pub deadline: Option<Deadline>,
    /// Every dispatch, in the order of the plan.
    pub dispatches: Vec<DispatchExplained>,
    /// What each intervention on the file would lead to.
    pub interventions: Vec<Would>,
}

/// The target refuses our credentials or certificate.
const REFUSED: &str = "REFUSED";
/// The target asks for a longer wait than the plan honours.
const TOO_LONG: &str = "RETRYABLE, too long a Retry-After";

/// Open dispatches for which every outcome and every intervention is tried out; each takes a copy of the file.
pub const MAX_TRIED: usize = 64;

/// Explains a file at `now`, under targets of which these are paused.
pub fn explain(file: &File, now: Timestamp, paused: &BTreeSet<TargetName>) -> Explanation {
    let open = !file.is_terminal();
    let bounds = open.then(|| bounds(file, now, paused));
    let earliest = bounds.as_ref().and_then(|bounds| bounds.earliest_completion);
    Explanation {
        file_id: file.id().clone(),
        version: file.version,
        at: now,
        state: file.state,
        accountable: file.accountable(),
        next: next_of_file(file, paused),
        earliest_completion: earliest,
        // Before there is a plan nobody knows its targets.
        latest: bounds.filter(|_| !file.is_fetching()).map(|bounds| bounds.latest),
        deadline: open.then(|| Deadline {
            at: file.deadline,
            passed: file.overdue || now >= file.deadline,
            can_be_met: earliest.is_some_and(|at| at <= file.deadline)
                || (file.is_fetching() && !file.overdue && now < file.deadline),
        }),
        dispatches: dispatches(file, now, paused),
        interventions: [Action::Cancel, Action::Resubmit]
            .into_iter()
            .map(|action| intervention(file, None, action, now))
            .collect(),
    }
}

fn dispatches(file: &File, now: Timestamp, paused: &BTreeSet<TargetName>) -> Vec<DispatchExplained> {
    let mut tried = 0;
    (0..file.dispatches.len())
        .map(|index| {
            tried += usize::from(!file.dispatches[index].is_settled());
            dispatch(file, index, now, paused, tried <= MAX_TRIED)
        })
        .collect()
}

fn dispatch(
    file: &File,
    index: usize,
    now: Timestamp,
    paused: &BTreeSet<TargetName>,
    try_out: bool,
) -> DispatchExplained {
    let dispatch = &file.dispatches[index];
    let unmet =
        |target: &&TargetName| file.index_of(target).is_some_and(|i| file.dispatches[i].status != Status::Succeeded);
    let actions = [Action::Retry, Action::Confirm, Action::Fail];
    let settled = dispatch.is_settled();
    let tries = try_out && !settled;
    DispatchExplained {
        target: dispatch.target().clone(),
        status: dispatch.status,
        since: dispatch.since,
        held_because: dispatch.held_because,
        paused: paused.contains(dispatch.target()),
        waits_for: dispatch.terms.after.iter().filter(unmet).filter(|_| !settled).cloned().collect(),
        attempts: dispatch.attempts,
        budget: dispatch.budget_left(),
        last_outcome: dispatch.last_outcome.clone(),
        accountable: dispatch.accountable(),
        next: next_of(file, index, paused),
        outcomes: if tries && dispatch.attempts > 0 { outcomes(file, index, now) } else { Vec::new() },
        interventions: if tries {
            actions.into_iter().map(|action| intervention(file, Some(index), action, now)).collect()
        } else {
            Vec::new()
        },
    }
}

/// What happens next to a dispatch by itself. Nothing is sent to a paused target: what waits for it waits for a person, who
/// is told again and again, or for the file's deadline.
fn next_of(file: &File, index: usize, paused: &BTreeSet<TargetName>) -> Option<NextEvent> {
    let next = file.next_event_of(index)?;
    if next.what != NextEventKind::Attempt || !paused.contains(file.dispatches[index].target()) {
        return Some(next);
    }
    let waits = !file.overdue && file.dispatches[index].grant.is_none();
    waits.then_some(NextEvent { what: NextEventKind::FileDeadline, at: file.deadline, ..next })
}

fn next_of_file(file: &File, paused: &BTreeSet<TargetName>) -> Option<NextEvent> {
    if file.is_terminal() {
        return None;
    }
    let deadline = NextEvent { what: NextEventKind::FileDeadline, at: file.deadline, target: None };
    let own = (!file.overdue || file.dispatches.is_empty()).then_some(deadline);
    let dispatches = (0..file.dispatches.len()).filter_map(|index| next_of(file, index, paused));
    dispatches.chain(own).min_by(|a, b| (a.at, &a.target).cmp(&(b.at, &b.target)))
}

/// Every kind of report about the newest attempt that could settle or move the dispatch.
fn outcomes(file: &File, index: usize, now: Timestamp) -> Vec<Would> {
    let dispatch = &file.dispatches[index];
    let outside = match dispatch.terms.confirmed_by.by {
        Confirmation::Acks => Some(Reporter::Acks),
        Confirmation::Callback => Some(Reporter::Callback),
        Confirmation::Response | Confirmation::Transport => None,
    };
    // While the request is open the transport speaks; after that, whoever confirms.
    let reporter = match outside {
        Some(outside) if dispatch.status != Status::InFlight => outside,
        _ => Reporter::Transport,
    };
    let too_long = Some(dispatch.terms.retry.retry_after_max_ms.saturating_add(1));
    let kinds = [
        ("SUCCEEDED", OutcomeKind::Succeeded, outside.unwrap_or(Reporter::Transport), None),
        ("ACCEPTED", OutcomeKind::Accepted, reporter, None),
        ("REJECTED", OutcomeKind::Rejected, reporter, None),
        ("RETRYABLE", OutcomeKind::Retryable, reporter, None),
        (TOO_LONG, OutcomeKind::Retryable, reporter, too_long),
        (REFUSED, OutcomeKind::Retryable, Reporter::Transport, None),
        ("UNKNOWN", OutcomeKind::Unknown, Reporter::Transport, None),
    ];
    kinds
        .into_iter()
        .filter_map(|(what, kind, reporter, retry_after_ms)| {
            let report = Outcome {
                attempt: Some(dispatch.attempts),
                code: "explained".to_owned(),
                token: Some(TokenCheck::Ok),
                received_digest: dispatch.receipt.clone(),
                refusal: what == REFUSED,
                retry_after_ms,
                ..Outcome::new(file.id().clone(), dispatch.target().clone(), kind, reporter, now)
            };
            let would = would(file, Some(index), what, |file| file.report(index, &report, now, &cause()));
            // What is no way to report about this target isn't worth a line.
            (would.judgement == Judgement::Applied).then_some(would)
        })
        .collect()
}

fn intervention(file: &File, index: Option<usize>, action: Action, now: Timestamp) -> Would {
    let seen = index.map_or(file.version, |index| file.dispatches[index].version);
    let asked = Intervention {
        intervention_id: "explained".to_owned(),
        file_id: file.id().clone(),
        target: index.map(|index| file.dispatches[index].target().clone()),
        action,
        actor: "explained".to_owned(),
        reason: "explained".to_owned(),
        evidence: None,
        seen_version: Some(seen),
        requested_at: now,
        resend_unknown: false,
        successor: None,
    };
    would(file, index, action.as_str(), |file| file.intervene(index, &asked, now, &cause()))
}

fn would(file: &File, index: Option<usize>, what: &str, happen: impl FnOnce(&mut File) -> Judged) -> Would {
    let mut after = file.clone();
    let (judgement, code) = match happen(&mut after) {
        Judged::Recorded(recorded) => (recorded.judgement, recorded.code),
        Judged::Repeat => (Judgement::Late, Some("repeated")),
    };
    let applied = judgement == Judgement::Applied;
    Would {
        what: what.to_owned(),
        judgement,
        code: code.map(str::to_owned),
        leads_to: applied.then(|| leads_to(file, &after, index)),
    }
}

fn leads_to(before: &File, after: &File, index: Option<usize>) -> LeadsTo {
    // A fetch that has ended is no dispatch any more.
    let dispatch = index.and_then(|index| after.dispatches.get(index).or(after.fetch.as_deref()));
    let index = index.filter(|index| *index < after.dispatches.len());
    let others = before
        .dispatches
        .iter()
        .zip(&after.dispatches)
        .enumerate()
        .filter(|(i, (a, b))| Some(*i) != index && a.version != b.version)
        .map(|(_, (_, dispatch))| dispatch.target().clone())
        .collect();
    LeadsTo {
        status: dispatch.map(|dispatch| dispatch.status),
        held_because: dispatch.and_then(|dispatch| dispatch.held_because),
        state: after.state,
        next: index.map_or_else(|| after.next_event(), |index| after.next_event_of(index)),
        others,
    }
}

fn cause() -> Cause {
    Cause { topic: "explained".into(), partition: 0, offset: 0 }
}
