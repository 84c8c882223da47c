//! A file and its dispatches, as the machine keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dispatches::Dispatches;
use super::fetched::fetch_of;
use super::planned::Planned;
use super::terms::SharedTerms;
use crate::record::{
    Arrival, Authorization, Cause, Failure, FileId, HeldBecause, Judgement, LastOutcome, OnUnknown, Outcome,
    OutcomeKind, Reporter, SettledBy, State, Status, TargetName, Timestamp, TokenCheck,
};

/// Reports of one dispatch that change nothing and are recorded, for each judgement; further ones are counted only.
pub(super) const MAX_NOTED: usize = 64;

/// As many dispatches are sooner gone through than their places are put in order.
const FEW: usize = 16;

/// What became of a file so far: the fold of its events.
///
/// Its serialized form is for the store of this very version; [`File::indexed`] completes what was read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// The manifest as accepted.
    pub arrival: Arc<Arrival>,
    /// Where the file stands.
    pub state: State,
    /// Count of its events.
    pub version: i64,
    /// The version of its last event that changed the state, the overdue mark or a dispatch's status or attempt.
    pub changed_at_version: i64,
    /// The record that caused the last event.
    pub cause: Cause,
    /// When it is overdue.
    pub deadline: Timestamp,
    /// Whether its deadline has been read back.
    pub overdue: bool,
    /// Why it FAILED.
    pub reason: Option<Failure>,
    /// What its plan was made from, and what it is known by; nothing before there is one.
    pub plan: Option<Arc<PlanDigests>>,
    /// When its plan was made.
    pub validated_at: Option<Timestamp>,
    /// When its first attempt was authorized.
    pub distributing_at: Option<Timestamp>,
    /// When it became COMPLETED or FAILED.
    pub settled_at: Option<Timestamp>,
    /// Its dispatches in the order of the plan. Before it is VALIDATED: the fetch of its bytes, or nothing.
    pub dispatches: Dispatches,
    /// The fetch of its bytes, once that is over.
    pub fetch: Option<Arc<Dispatch>>,
    /// The file that took this FAILED one up.
    pub successor: Option<FileId>,
    /// The places of dispatches, where there are more than [`FEW`].
    #[serde(skip)]
    pub(super) by_target: Option<Arc<BTreeMap<TargetName, usize>>>,
    /// The interventions by identity, and whether a repetition is recorded.
    pub(super) interventions: BTreeMap<String, bool>,
}

impl File {
    /// A file that has just been accepted. Its deadline is provisional until the plan fixes it.
    pub fn arrived(arrival: Arc<Arrival>, deadline: Timestamp) -> Self {
        let file = Self {
            state: State::Received,
            version: arrival.version,
            changed_at_version: arrival.version,
            cause: arrival.cause.clone(),
            deadline,
            overdue: false,
            reason: None,
            plan: None,
            validated_at: None,
            distributing_at: None,
            settled_at: None,
            dispatches: fetch_of(&arrival).into_iter().collect(),
            fetch: None,
            successor: None,
            by_target: None,
            interventions: BTreeMap::new(),
            arrival,
        };
        file.indexed()
    }

    /// The file with the places of its targets, which its serialized form leaves out.
    #[must_use]
    pub fn indexed(mut self) -> Self {
        self.index();
        self
    }

    pub(super) fn index(&mut self) {
        let places = self.dispatches.iter().enumerate().map(|(index, dispatch)| (dispatch.target().clone(), index));
        self.by_target = (self.dispatches.len() > FEW).then(|| Arc::new(places.collect()));
    }

    /// The file's identity.
    pub fn id(&self) -> &FileId {
        &self.arrival.file_id
    }

    /// Whether it is COMPLETED or FAILED.
    pub fn is_terminal(&self) -> bool {
        matches!(self.state, State::Completed | State::Failed)
    }

    /// The place of a target's dispatch in the plan.
    pub fn index_of(&self, target: &TargetName) -> Option<usize> {
        match &self.by_target {
            Some(places) => places.get(target).copied(),
            None => self.dispatches.iter().position(|dispatch| dispatch.target() == target),
        }
    }

    /// Whether every target that a dispatch waits for has SUCCEEDED. One outside the plan counts as met: a successor
    /// leaves out what succeeded before.
    pub fn after_is_met(&self, index: usize) -> bool {
        let is_met = |target| self.status_of(target).is_none_or(|status| status == Status::Succeeded);
        self.dispatches[index].terms.after.iter().all(is_met)
    }

    pub(super) fn status_of(&self, target: &TargetName) -> Option<Status> {
        self.index_of(target).map(|i| self.dispatches[i].status)
    }

    /// Counts an event, whatever it changes.
    pub(super) fn count_event(&mut self, cause: &Cause) {
        self.version += 1;
        self.cause = cause.clone();
    }
}

/// Digests that every record of a plan carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanDigests {
    /// Of the file's verified content, where it was read.
    pub content: Option<String>,
    /// Of the routing document.
    pub routing: String,
    /// Of all dispatches.
    pub plan: String,
}

/// How much of its budgets a dispatch has spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Automatic attempts that were not refused.
    pub attempts: i32,
    /// Attempts granted by operators.
    pub operator_attempts: i32,
    /// Automatic attempts that were refused.
    pub refusals: i32,
}

/// What a report said, for telling an exact repeat from news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReportMark {
    kind: OutcomeKind,
    reporter: Reporter,
    attempt: Option<i32>,
    code: String,
    reference: Option<String>,
    received_digest: Option<String>,
    token: Option<TokenCheck>,
}

impl ReportMark {
    fn of(outcome: &Outcome) -> Self {
        Self {
            kind: outcome.kind,
            reporter: outcome.reporter,
            attempt: outcome.attempt,
            code: outcome.code.clone(),
            reference: outcome.reference.clone(),
            received_digest: outcome.received_digest.clone(),
            token: outcome.token,
        }
    }
}

/// What is kept of an attempt after its record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewestAttempt {
    /// The budget that paid for it.
    pub authorized_by: Authorization,
    /// When it was authorized.
    pub authorized_at: Timestamp,
    /// When its outcome is overdue.
    pub deadline: Timestamp,
}

/// One dispatch: a file's way to one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// What holds for its attempts and for reports about it.
    pub terms: SharedTerms,
    /// The digest of what the target must say that it received, where it must.
    pub receipt: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// The file's version at which status or attempt last changed.
    pub version: i64,
    /// Since when it stands there.
    pub since: Timestamp,
    /// The record that brought it there.
    pub cause: Cause,
    /// Attempts authorized so far.
    pub attempts: i32,
    /// Budgets spent.
    pub spent: Spent,
    /// The newest attempt.
    pub attempt: Option<NewestAttempt>,
    /// When the first attempt was authorized.
    pub first_attempt_at: Option<Timestamp>,
    /// The operator's retry that waits to be authorized.
    pub grant: Option<String>,
    /// `BACKING_OFF`: when the next attempt is due.
    pub retry_at: Option<Timestamp>,
    /// AWAITING: when the target first accepted.
    pub accepted_at: Option<Timestamp>,
    /// AWAITING: when the confirmation is overdue.
    pub confirm_by: Option<Timestamp>,
    /// HELD: why.
    pub held_because: Option<HeldBecause>,
    /// HELD: when it escalates next.
    pub escalate_at: Option<Timestamp>,
    /// Escalations since it stands there.
    pub escalations: i32,
    /// When it last escalated.
    pub escalated_at: Option<Timestamp>,
    /// Who settled it.
    pub settled_by: Option<SettledBy>,
    /// The newest report that counted.
    pub last_outcome: Option<LastOutcome>,
    /// Attempts that the target may have processed although none was confirmed.
    pub(super) doubtful: BTreeSet<i32>,
    /// Whether a success was reported after it had settled without one.
    pub late_success: bool,
    /// The reports that are events, by what was made of them.
    pub(super) heard: Vec<(Judgement, ReportMark)>,
}

impl Dispatch {
    pub(super) fn planned(plan: &Planned) -> Self {
        Self {
            terms: plan.terms.clone(),
            receipt: plan.receipt.clone(),
            status: Status::Pending,
            version: plan.version,
            since: plan.planned_at,
            cause: plan.cause.clone(),
            attempts: 0,
            spent: Spent::default(),
            attempt: None,
            first_attempt_at: None,
            grant: None,
            retry_at: None,
            accepted_at: None,
            confirm_by: None,
            held_because: None,
            escalate_at: None,
            escalations: 0,
            escalated_at: None,
            settled_by: None,
            last_outcome: None,
            doubtful: BTreeSet::new(),
            late_success: false,
            heard: Vec::new(),
        }
    }

    /// The target's name.
    pub fn target(&self) -> &TargetName {
        &self.terms.target
    }

    /// Whether it is SUCCEEDED, FAILED or CANCELLED.
    pub fn is_settled(&self) -> bool {
        matches!(self.status, Status::Succeeded | Status::Failed | Status::Cancelled)
    }

    /// What all budgets together allow.
    pub(super) fn most_attempts(&self) -> i32 {
        let budgets = &self.terms.retry;
        budgets.attempts + budgets.operator_attempts + budgets.refusals
    }

    /// Whether its newest attempt's outcome or deadline is still to be read.
    pub fn has_open_attempt(&self) -> bool {
        self.status == Status::InFlight
    }

    /// Whether the target may hold something of it although it never succeeded: an attempt's fate is unknown, or it was
    /// accepted and never confirmed.
    pub fn in_doubt(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Puts an attempt in doubt whose outcome won't be waited for.
    pub(super) fn doubt_open_attempt(&mut self) {
        if self.has_open_attempt() {
            self.doubtful.insert(self.attempts);
        }
    }

    /// Takes in a definite no. One to the dispatch as a whole ends all doubt; one to an attempt says nothing of later
    /// ones, nor of earlier ones where the target isn't trusted to know them by the key.
    pub(super) fn rejected(&mut self, attempt: Option<i32>) {
        let Some(attempt) = attempt else {
            self.doubtful.clear();
            return;
        };
        self.doubt_open_attempt();
        self.doubtful.remove(&attempt);
        if self.terms.on_unknown == OnUnknown::Retry {
            self.doubtful.retain(|n| *n > attempt);
        }
    }

    /// Whether the newest attempt was granted by an operator.
    pub(super) fn newest_attempt_was_granted(&self) -> bool {
        self.attempt.is_some_and(|a| a.authorized_by == Authorization::Operator)
    }

    /// Remembers a report that is applied, so that an exact repeat of it is known.
    pub(super) fn remember(&mut self, outcome: &Outcome) {
        let mark = (Judgement::Applied, ReportMark::of(outcome));
        if !self.heard.contains(&mark) {
            self.heard.push(mark);
        }
    }

    /// Remembers a report that changes nothing; whether it is news. What is refused says nothing of what is believed:
    /// a forged report hides no genuine one. Each judgement has a limit of its own, so that no flood hides another.
    pub(super) fn is_news(&mut self, judgement: Judgement, outcome: &Outcome) -> bool {
        let mark = ReportMark::of(outcome);
        let is_refused = judgement == Judgement::Refused;
        let was_heard = |(j, m): &(Judgement, ReportMark)| (*j == Judgement::Refused) == is_refused && *m == mark;
        let is_news =
            !self.heard.iter().any(was_heard) && self.heard.iter().filter(|(j, _)| *j == judgement).count() < MAX_NOTED;
        if is_news {
            self.heard.push((judgement, mark));
        }
        is_news
    }

    /// Enters a status; everything that belonged to the one before is cleared.
    pub(super) fn enter(&mut self, status: Status, version: i64, at: Timestamp, cause: &Cause) {
        self.status = status;
        self.version = version;
        self.since = at;
        self.cause = cause.clone();
        self.grant = None;
        self.retry_at = None;
        self.accepted_at = None;
        self.confirm_by = None;
        self.held_because = None;
        self.escalate_at = None;
        self.escalations = 0;
        self.escalated_at = None;
    }

    pub(super) fn hold(&mut self, because: HeldBecause, version: i64, at: Timestamp, cause: &Cause) {
        self.enter(Status::Held, version, at, cause);
        self.held_because = Some(because);
        self.escalate_at = Some(at.plus_millis(self.terms.escalation.first_ms));
    }

    pub(super) fn settle(&mut self, status: Status, by: SettledBy, version: i64, at: Timestamp, cause: &Cause) {
        self.enter(status, version, at, cause);
        self.settled_by = Some(by);
    }
}
