//! What to do now: for each cause of HELD the question to ask and the commands for its answers; for each refusal of an
//! intervention what it means and the way on.

use crate::record::{DispatchState, FileState, HeldBecause};

/// Why a dispatch is HELD, in words.
pub(super) fn held(because: HeldBecause, dispatch: &DispatchState) -> &'static str {
    match because {
        HeldBecause::FateUnknown => "nobody knows whether the target processed the request",
        HeldBecause::BudgetSpent if dispatch.budget.attempts > 0 => {
            "no retry by itself any more: it asked for a longer wait than retry_after_max, or give_up_after is over"
        }
        HeldBecause::BudgetSpent => "its automatic attempts are spent",
        HeldBecause::ConfirmationOverdue => "the target accepted it and never confirmed it",
        HeldBecause::FileOverdue => "the file's deadline has passed",
        HeldBecause::Refused => "the target refused our credentials or certificate too often",
    }
}

/// Whom to ask what about a HELD dispatch, and the command for each answer, a line each.
pub(super) fn decide(file: &FileState, dispatch: &DispatchState) -> Vec<String> {
    let (id, target) = (&file.file_id, &dispatch.target);
    let owner = super::clean(&dispatch.owner);
    let intervene = |action: &str| format!("consign intervene {id} {target} {action} --reason TEXT");
    let confirm = format!("{} --evidence TEXT", intervene("confirm"));
    let lines: Vec<(&str, String)> = match dispatch.held_because.unwrap_or(HeldBecause::FateUnknown) {
        HeldBecause::FateUnknown => vec![
            ("they have it", confirm),
            ("they never got it", intervene("retry")),
            ("they must not get it", intervene("fail")),
        ],
        HeldBecause::BudgetSpent => {
            vec![("they are back", intervene("retry")), ("they have it", confirm), ("give up", intervene("fail"))]
        }
        HeldBecause::ConfirmationOverdue => vec![
            ("they processed it", confirm),
            ("they did not", intervene("retry")),
            ("they never will", intervene("fail")),
        ],
        HeldBecause::FileOverdue => vec![
            ("it is still wanted", intervene("retry")),
            ("they have it", confirm),
            ("it is not", format!("consign intervene {id} cancel --reason TEXT")),
        ],
        HeldBecause::Refused => vec![
            ("once it is mended", format!("consign targets resume {target} --reason TEXT")),
            ("and then", intervene("retry")),
            ("give up", intervene("fail")),
        ],
    };
    let question = match dispatch.held_because.unwrap_or(HeldBecause::FateUnknown) {
        HeldBecause::FateUnknown => format!("do you have {id}/{target}?"),
        HeldBecause::BudgetSpent => "are you back?".to_owned(),
        HeldBecause::ConfirmationOverdue => format!("did you process {id}/{target}?"),
        HeldBecause::FileOverdue => "is it still wanted?".to_owned(),
        HeldBecause::Refused => "which credentials, which certificate?".to_owned(),
    };
    let width = lines.iter().map(|(answer, _)| answer.len()).max().unwrap_or(0) + 1;
    let commands = lines.into_iter().map(|(answer, command)| format!("  {:<width$} {command}", format!("{answer}:")));
    std::iter::once(format!("ask {owner}: {question}")).chain(commands).collect()
}

/// What the refusal of an intervention means, and the way on; for every code of docs/errors/judgements.md.
pub(super) fn refusal(code: &str, file: &FileState) -> Option<(&'static str, String)> {
    let id = &file.file_id;
    let look = format!("look again, then decide again: consign status {id}");
    let resubmit = format!("if it FAILED: consign resubmit {id} --reason TEXT");
    Some(match code {
        "stale_version" => ("it changed after you looked", look),
        "no_version" => ("the request names no version that you saw", "use this command without --seen-version".into()),
        "no_reason" => ("the reason is empty", "say why: it is recorded for good".into()),
        "no_actor" | "no_id" => {
            ("the record lacks its actor or its identity", "ask by the gateway or this command".into())
        }
        "repeated" => ("this intervention was judged before", format!("its judgement: consign history {id}")),
        "already_settled" => ("the dispatch is settled, and that is final", resubmit),
        "file_settled" => ("the file is settled, and that is final", resubmit),
        "attempt_open" => (
            "an attempt is under way, and its fate isn't known yet",
            format!("wait for its outcome or deadline: consign status {id} --watch"),
        ),
        "nothing_to_retry" => {
            ("it waits for its first attempt, or a retry is granted already", format!("consign status {id} --watch"))
        }
        "after_not_met" => ("it waits for another target, which has not succeeded", "settle that one first".into()),
        "operator_budget_spent" => {
            ("all attempts that a person may grant are spent", "confirm or fail it; then resubmit the file".into())
        }
        "confirm_forbidden" => {
            ("this target's definition forbids a person to confirm", "have the target report it; or fail it".into())
        }
        "never_sent" => {
            ("nothing was ever sent, so that the target can't have processed it", "retry, fail or cancel".into())
        }
        "not_failed" => ("only a FAILED file can be resubmitted", "wait for its end, or cancel it first".into()),
        "already_resubmitted" => {
            ("the file has its one successor", format!("look at that: consign status {}", id.successor()))
        }
        "nothing_to_resend" => (
            "every target without a success may have the file already",
            format!("find out there; if they have not: consign resubmit {id} --resend-unknown --reason TEXT"),
        ),
        "not_for_a_dispatch" | "not_for_a_file" => (
            "the action doesn't go with what it names",
            "retry, confirm and fail take a TARGET; cancel and resubmit a file".into(),
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{State, Status};
    use crate::view::testing;

    #[test]
    fn every_refusal_in_the_book_has_its_advice() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors/judgements.md");
        let page = std::fs::read_to_string(path).unwrap();
        let section = page.split("## Interventions that are refused").nth(1).unwrap().split("\n## ").next().unwrap();
        let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        let codes: Vec<String> =
            cells.flat_map(|cell| cell.split(", ").map(|code| code.trim_matches('`').to_owned())).collect();
        assert!(codes.len() >= 15, "{codes:?}");
        let file = testing::file("f", State::Failed, 0);
        for code in codes {
            assert!(refusal(&code, &file).is_some(), "`{code}` has no advice");
        }
    }

    #[test]
    fn every_cause_of_held_names_the_commands() {
        let file = testing::file("f", State::Distributing, 0);
        for because in [
            HeldBecause::FateUnknown,
            HeldBecause::BudgetSpent,
            HeldBecause::ConfirmationOverdue,
            HeldBecause::FileOverdue,
            HeldBecause::Refused,
        ] {
            let mut dispatch = testing::dispatch("t", Status::Held);
            dispatch.held_because = Some(because);
            let lines = decide(&file, &dispatch);
            assert!(lines[0].starts_with("ask ") && lines[0].ends_with('?'), "{lines:?}");
            assert!(lines[1..].iter().all(|line| line.contains(": ") && line.contains("consign ")), "{lines:?}");
            assert!(lines.iter().any(|line| line.contains("intervene f t retry")), "{lines:?}");
        }
    }
}
