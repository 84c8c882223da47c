//! Small records for tests.

use crate::record::{Budget, Cause, DispatchState, FileId, FileState, State, Status, TargetName, Timestamp};

/// A file without dispatches.
pub(crate) fn file(file_id: &str, state: State, received_at: i64) -> FileState {
    FileState {
        file_id: FileId::trusted(file_id),
        state,
        version: 1,
        cause: Cause { topic: "manifests".into(), partition: 0, offset: 0 },
        schema_version: 1,
        file_type: "invoice".into(),
        name: format!("{file_id}.pdf"),
        produced_by: "shop".into(),
        supersedes: None,
        arrival_digest: "sha256:0".into(),
        content_digest: None,
        routing_digest: None,
        plan_digest: None,
        dispatches: Vec::new(),
        accountable: None,
        next_event: None,
        overdue: false,
        deadline_lost: false,
        reason: None,
        deadline: Timestamp(received_at + 600_000),
        received_at: Timestamp(received_at),
        validated_at: None,
        distributing_at: None,
        settled_at: None,
    }
}

/// A dispatch owned by `team-<target>`.
pub(crate) fn dispatch(target: &str, status: Status) -> DispatchState {
    DispatchState {
        target: TargetName::trusted(target),
        status,
        version: 1,
        attempts: 1,
        budget: Budget { attempts: 2, operator_attempts: 3, refusals: 3 },
        owner: format!("team-{target}"),
        since: Timestamp(0),
        held_because: None,
        escalations: 0,
        settled_by: None,
        next_event: None,
        last_outcome: None,
        accountable: None,
    }
}
