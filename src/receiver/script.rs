//! What a script makes receivers do: the language of `consign simulate --script`, over real sockets.

use std::collections::BTreeMap;
use std::time::Duration;

use super::behaviour::{Behaviour, Reply, Report};
use crate::predict::{Confirming, Reply as Scripted, Script, ScriptedStep};
use crate::record::{OutcomeKind, TargetName};

/// Longer than any request takes.
const FOR_EVER: Duration = Duration::from_secs(366 * 86_400);

/// What each target of a script does: a step for each request with a key, in the order in which they come, and then
/// [`Behaviour::Take`]. The error names a step that no receiver can do, or a target whose name isn't one.
pub fn scripted(script: &Script) -> Result<BTreeMap<TargetName, Behaviour>, String> {
    let mut behaviours = BTreeMap::new();
    for target in script.targets() {
        let name = TargetName::parse(target).map_err(|e| e.to_string())?;
        let steps = script.steps(target).iter().map(of_step).collect::<Result<Vec<_>, _>>();
        let mut steps = steps.map_err(|why| format!("`{target}`: {why}"))?;
        steps.push(Behaviour::Take);
        behaviours.insert(name, Behaviour::Sequence(steps));
    }
    Ok(behaviours)
}

fn of_step(step: &ScriptedStep) -> Result<Behaviour, String> {
    let cannot =
        |word: &str| Err(format!("`{word}` is nothing that a receiver does: it stands for what never reaches one"));
    let mut does = match &step.reply {
        Scripted::Ok if step.then.is_empty() => Behaviour::Take,
        // What follows is said, so it isn't said twice.
        Scripted::Ok => Behaviour::json(202, r#"{"result":"ok"}"#),
        Scripted::Status { status, body, retry_after_ms } => {
            let reply = if body.is_empty() { Reply::new(*status, "") } else { Reply::json(*status, body.as_str()) };
            Behaviour::Answer(match retry_after_ms {
                // It counts in whole seconds.
                Some(ms) => reply.with("retry-after", &((ms + 999) / 1000).to_string()),
                None => reply,
            })
        }
        Scripted::Timeout => Behaviour::stall(FOR_EVER, Behaviour::Reset),
        Scripted::Reset => Behaviour::Reset,
        Scripted::Unreachable => return cannot("unreachable"),
        Scripted::Certificate => return cannot("certificate"),
        Scripted::Silence => return cannot("silence"),
    };
    if step.took_ms > 0 {
        does = Behaviour::stall(millis(step.took_ms), does);
    }
    if !step.then.is_empty() {
        // A report comes after the answer, and so do those that follow it.
        let mut reports: Vec<Report> = step.then.iter().map(report).collect();
        reports[0].after += millis(step.took_ms);
        does = Behaviour::Report(reports, Box::new(does));
    }
    Ok(does)
}

fn report(then: &Confirming) -> Report {
    Report { after: millis(then.after_ms), outcome: word(then.kind) }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// The word of a callback for a kind.
fn word(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Accepted => "ACCEPTED",
        OutcomeKind::Succeeded => "SUCCEEDED",
        OutcomeKind::Duplicate => "DUPLICATE",
        OutcomeKind::Rejected => "REJECTED",
        // A script has no word for the others.
        _ => "RETRY_LATER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour(text: &str) -> Result<String, String> {
        let behaviours = scripted(&Script::parse(text).map_err(|e| e.to_string())?)?;
        Ok(format!("{:?}", behaviours[&TargetName::trusted("a")]))
    }

    #[test]
    fn a_script_becomes_what_receivers_do() {
        let (take, reset) = (Behaviour::Take, Behaviour::Reset);
        let sequence = |steps: Vec<Behaviour>| Ok(format!("{:?}", Behaviour::Sequence(steps)));
        assert_eq!(behaviour("a: ok"), sequence(vec![take.clone(), take.clone()]));
        assert_eq!(
            behaviour("a: 503 retry-after 1500ms, reset"),
            sequence(vec![Behaviour::busy("2"), reset, take.clone()])
        );
        let (accepted, rejected) = (
            Report { after: Duration::from_secs(3), outcome: "ACCEPTED" },
            Report { after: Duration::from_secs(2), outcome: "REJECTED" },
        );
        let late = Behaviour::stall(Duration::from_secs(1), Behaviour::status(202));
        assert_eq!(
            behaviour("a: 202 after 1s then accepted after 2s then rejected after 2s"),
            sequence(vec![Behaviour::Report(vec![accepted, rejected], Box::new(late)), take.clone()])
        );
        assert_eq!(
            behaviour(r#"a: 200 {"result": "no"}"#),
            sequence(vec![Behaviour::json(200, r#"{"result": "no"}"#), take])
        );
    }

    #[test]
    fn what_never_reaches_a_receiver_is_refused() {
        for word in ["unreachable", "certificate", "silence"] {
            assert!(behaviour(&format!("a: {word}")).unwrap_err().contains(word));
        }
        assert!(behaviour("a?: ok").unwrap_err().contains('?'));
    }
}
