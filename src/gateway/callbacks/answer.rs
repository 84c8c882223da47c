//! What a target hears about its report, by where the dispatch stands.

use super::Reported;
use crate::gateway::problem::{Code, Problem};
use crate::record::{DispatchState, OutcomeKind, SettledBy, Status};

/// What a report is to a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was said before, and stands: nothing is to be recorded.
    Repeat,
    /// It stands, or will once it is judged.
    Stands,
    /// The target said the opposite before.
    Contradicts,
    /// Something else has decided.
    Late,
}

/// What a report on an attempt is to a dispatch.
pub(super) fn standing(dispatch: &DispatchState, said: Reported, attempt: Option<i32>) -> Standing {
    let last = dispatch.last_outcome.as_ref().map(|last| last.kind);
    let was_rejected = dispatch.status == Status::Failed && last == Some(OutcomeKind::Rejected);
    let is_success = dispatch.status == Status::Succeeded;
    let says_success = matches!(said, Reported::Succeeded | Reported::Duplicate);
    match dispatch.settled_by {
        Some(SettledBy::Target) if is_success && says_success => Standing::Repeat,
        Some(SettledBy::Target) if was_rejected && said == Reported::Rejected => Standing::Repeat,
        Some(SettledBy::Target) if said.settles() && is_success != says_success => Standing::Contradicts,
        None if said.settles() => Standing::Stands,
        None if attempt != Some(dispatch.attempts) => Standing::Late,
        None if matches!(dispatch.status, Status::InFlight | Status::Awaiting) => Standing::Stands,
        None if said == Reported::RetryLater && last == Some(OutcomeKind::Retryable) => Standing::Stands,
        // A dispatch may also have failed because its budget was spent: then a definite no is no repeat.
        _ => Standing::Late,
    }
}

/// Nothing where the report stands, otherwise what the target is told.
pub(super) fn told(standing: Standing, dispatch: &DispatchState) -> Result<(), Problem> {
    match standing {
        Standing::Repeat | Standing::Stands => Ok(()),
        Standing::Contradicts => {
            let text = format!("the dispatch is {} by an earlier report; this one is recorded", dispatch.status);
            Err(Problem::new(Code::CG362, text))
        }
        Standing::Late => {
            let text = match dispatch.settled_by {
                Some(by) => format!("the dispatch is {}, settled by {by}; the report is recorded", dispatch.status),
                None => format!(
                    "the dispatch is {} with attempt {}; the report is recorded",
                    dispatch.status, dispatch.attempts
                ),
            };
            Err(Problem::new(Code::CG363, text))
        }
    }
}
