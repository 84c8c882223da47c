//! Specimens: small files in any status, for the tables of [`super::table`] and for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DueTimer, File, Judged, SharedTerms};
use crate::record::{
    Action, Arrival, Bytes, Cause, Confirmation, ConfirmedBy, Escalation, FileId, FileManifest, Intervention,
    OnExhausted, OnFailed, OnOverdue, OnUnknown, Outcome, OutcomeKind, PlannedDispatch, Reporter, Request, Retry,
    Status, TargetName, Timeouts, Timestamp, TransportKind, dispatch_key,
};

/// When every specimen arrives.
pub const START: Timestamp = Timestamp(1_700_000_000_000);

const HOUR_MS: i64 = 3_600_000;

/// A record that causes things.
pub fn cause(offset: i64) -> Cause {
    Cause { topic: "consign.outcomes".into(), partition: 0, offset }
}

/// A manifest.
pub fn manifest(file_id: &str) -> FileManifest {
    FileManifest {
        file_id: FileId::trusted(file_id),
        schema_version: 1,
        file_type: "invoice".into(),
        name: "invoice.json".into(),
        location: None,
        size: None,
        checksum: None,
        media_type: None,
        attributes: BTreeMap::new(),
        data: None,
        produced_by: "shop".into(),
        produced_at: START,
        deadline: None,
    }
}

/// An arrival of that manifest.
pub fn arrival(file_id: &str) -> Arc<Arrival> {
    Arc::new(Arrival {
        file_id: FileId::trusted(file_id),
        version: 1,
        cause: cause(0),
        manifest: manifest(file_id),
        manifest_digest: "sha256:00".into(),
        origin: None,
        received_at: START,
        supersedes: None,
        only_targets: None,
        fetch: None,
    })
}

/// A dispatch as planned: confirmed by acks within an hour, two automatic attempts, one an operator may grant.
pub fn planned(file_id: &str, target: &str) -> PlannedDispatch {
    let (file_id, target) = (FileId::trusted(file_id), TargetName::trusted(target));
    PlannedDispatch {
        idempotency_key: dispatch_key(&file_id, &target),
        version: 2,
        cause: cause(0),
        ordinal: 0,
        of: 1,
        expected_targets: Some(vec![target.clone()]),
        arrival_digest: "sha256:00".into(),
        content_digest: None,
        routing_digest: "sha256:11".into(),
        plan_digest: "sha256:22".into(),
        planner_version: 1,
        transport: TransportKind::Http,
        request: Request {
            destination: "http://127.0.0.1/in".into(),
            method: Some("POST".into()),
            headers: BTreeMap::new(),
            key: None,
            content_type: "application/json".into(),
            body: Some(Bytes::from(b"{}".to_vec())),
            body_of_file: None,
            auth: None,
            tls: None,
            sign_with: None,
            cluster: None,
            in_transaction: None,
        },
        after: Vec::new(),
        confirmed_by: ConfirmedBy {
            within_ms: Some(HOUR_MS),
            limit_ms: Some(2 * HOUR_MS),
            ..ConfirmedBy::by(Confirmation::Acks)
        },
        on_unknown: OnUnknown::Hold,
        on_overdue: OnOverdue::Hold,
        on_exhausted: OnExhausted::Hold,
        on_failed: OnFailed::Settle,
        retry: Retry {
            attempts: 2,
            operator_attempts: 1,
            refusals: 2,
            schedule_ms: vec![1_000],
            jitter_percent: 0,
            give_up_after_ms: None,
            retry_after_max_ms: HOUR_MS,
        },
        timeouts: Timeouts { send_within_ms: 10_000, request_ms: 10_000, max_clock_skew_ms: 5_000 },
        escalation: Escalation { first_ms: HOUR_MS, max_ms: 24 * HOUR_MS },
        operator_confirm: true,
        file_deadline: START.plus_millis(7 * 24 * HOUR_MS),
        owner: format!("team-{target}"),
        planned_at: START,
        file_id,
        target,
    }
}

/// Makes one plan of several dispatches: ordinals and expected targets are set.
pub fn plan_of(mut dispatches: Vec<PlannedDispatch>) -> Vec<Arc<PlannedDispatch>> {
    let targets: Vec<TargetName> = dispatches.iter().map(|d| d.target.clone()).collect();
    let of = i32::try_from(dispatches.len()).expect("few");
    for (ordinal, dispatch) in (0..).zip(&mut dispatches) {
        (dispatch.ordinal, dispatch.of) = (ordinal, of);
        dispatch.expected_targets = (ordinal == 0).then(|| targets.clone());
    }
    dispatches.into_iter().map(Arc::new).collect()
}

/// A VALIDATED file with that plan.
pub fn validated(plan: Vec<PlannedDispatch>) -> File {
    let plan = plan_of(plan);
    let arrival = arrival(plan[0].file_id.as_str());
    let mut file = File::arrived(arrival, plan[0].file_deadline);
    file.planned(&plan);
    file
}

/// A report about a target.
pub fn outcome(file: &File, target: &str, attempt: Option<i32>, kind: OutcomeKind, reporter: Reporter) -> Outcome {
    let code = kind.as_str().to_lowercase();
    Outcome { attempt, code, ..Outcome::new(file.id().clone(), TargetName::trusted(target), kind, reporter, START) }
}

/// An intervention that names the version in force.
pub fn intervention(file: &File, target: Option<&str>, action: Action) -> Intervention {
    let target = target.map(TargetName::trusted);
    let seen =
        target.as_ref().and_then(|t| file.index_of(t)).map_or(file.version, |index| file.dispatches[index].version);
    Intervention {
        intervention_id: format!("{action}-{}", file.version),
        file_id: file.id().clone(),
        target,
        action,
        actor: "ann".into(),
        reason: "called the target".into(),
        evidence: None,
        seen_version: Some(seen),
        requested_at: START,
        resend_unknown: false,
        successor: None,
    }
}

impl File {
    /// Authorizes the next attempt of a dispatch at `at`.
    pub fn attempt_now(&mut self, index: usize, at: Timestamp) {
        let attempt = self.authorize(index, at, "w");
        self.authorized(&attempt);
    }

    /// Judges a report at a fixed time.
    pub fn hear(&mut self, target: &str, attempt: Option<i32>, kind: OutcomeKind, reporter: Reporter) -> Judged {
        let report = outcome(self, target, attempt, kind, reporter);
        let index = self.index_of(&report.target).expect("planned");
        self.report(index, &report, START.plus_millis(1_000), &cause(self.version))
    }

    /// Reads a timer back, `late_ms` after it fell due.
    pub fn read_back(&mut self, due: &DueTimer, late_ms: i64) -> Judged {
        let index = due.target.as_ref().and_then(|t| self.index_of(t));
        self.timer(index, &due.timer, due.timer.due.plus_millis(late_ms), &cause(self.version))
    }

    /// Applies an intervention at a fixed time.
    pub fn ask(&mut self, target: Option<&str>, action: Action) -> Judged {
        let asked = intervention(self, target, action);
        let index = target.and_then(|t| self.index_of(&TargetName::trusted(t)));
        self.intervene(index, &asked, START.plus_millis(2_000), &cause(self.version))
    }
}

/// A file whose one dispatch, at target `a`, is brought to a status by the machine itself. Its newest attempt is the
/// first one unless it never had any.
pub fn in_status(plan: &PlannedDispatch, status: Status) -> File {
    in_status_with(plan, status, 1)
}

/// The same with a number of attempts, of which all but the newest ended RETRYABLE.
pub fn in_status_with(plan: &PlannedDispatch, status: Status, attempts: i32) -> File {
    // Under policies of its own on the way there: a budget of one attempt would hold what has to back off.
    let mut roomy = plan.clone();
    (roomy.on_unknown, roomy.retry.attempts) = (OnUnknown::Hold, plan.retry.attempts.max(attempts + 1));
    let mut file = validated(vec![roomy]);
    if status == Status::Pending {
        file.dispatches[0].terms = SharedTerms::of(plan);
        return file;
    }
    for attempt in 1..=attempts {
        file.attempt_now(0, file.dispatches[0].retry_at.unwrap_or(START));
        if attempt < attempts {
            file.hear("a", Some(attempt), OutcomeKind::Retryable, Reporter::Transport);
        }
    }
    let confirmer = match plan.confirmed_by.by {
        Confirmation::Acks => Reporter::Acks,
        Confirmation::Callback => Reporter::Callback,
        Confirmation::Response | Confirmation::Transport => Reporter::Transport,
    };
    let step = |file: &mut File, kind, reporter| drop(file.hear("a", Some(attempts), kind, reporter));
    match status {
        Status::Pending | Status::InFlight => {}
        Status::Awaiting => step(&mut file, OutcomeKind::Accepted, Reporter::Transport),
        Status::BackingOff => step(&mut file, OutcomeKind::Retryable, Reporter::Transport),
        Status::Held => step(&mut file, OutcomeKind::Unknown, Reporter::Transport),
        Status::Succeeded => step(&mut file, OutcomeKind::Succeeded, confirmer),
        Status::Failed => step(&mut file, OutcomeKind::Rejected, confirmer),
        Status::Cancelled => drop(file.ask(None, Action::Cancel)),
    }
    file.dispatches[0].terms = SharedTerms::of(plan);
    assert_eq!(file.dispatches[0].status, status, "the specimen reached its status");
    file
}
