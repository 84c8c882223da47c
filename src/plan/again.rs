//! A recorded plan made again, and a recorded arrival planned under another document.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::{Fetched, Inputs, Limits, OLDEST_PROVABLE, PLANNER_VERSION, failure, fetch_of, plan, plan_as};
use crate::record::{Arrival, Failure, FileId, PlannedDispatch, TargetName};
use crate::routing::{Document, code, sha256_digest};

/// What making a recorded plan again shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the same, byte for byte.
    Equal,
    /// It is another one; in words, where.
    Different(String),
    /// It can't be made again; in words, why.
    NotProvable(String),
}

/// Makes a recorded plan again from the arrival and the routing document that it names. `recorded` is whole and in order;
/// `routing` is `None` where the document isn't known or can't be loaded, `content` where the file's bytes aren't recorded or aren't
/// there any more.
pub fn verify<P: Borrow<PlannedDispatch>>(
    arrival: &Arrival,
    routing: Option<&Document>,
    content: Option<&[u8]>,
    recorded: &[P],
) -> Verdict {
    let recorded: Vec<&PlannedDispatch> = recorded.iter().map(Borrow::borrow).collect();
    let not_provable = |text: String| Verdict::NotProvable(text);
    let Some(first) = recorded.first() else { return not_provable("there is no plan record".to_owned()) };
    let version = first.planner_version;
    if !(OLDEST_PROVABLE..=PLANNER_VERSION).contains(&version) {
        return not_provable(format!("it was made by planner version {version}, this is {PLANNER_VERSION}"));
    }
    let Some(routing) = routing.filter(|routing| routing.digest() == first.routing_digest) else {
        return not_provable(format!("the routing document {} isn't there", first.routing_digest));
    };
    let reads_content = routing.content_rule(&arrival.manifest.file_type).is_some_and(|rule| rule.format.is_some());
    let bytes = content.filter(|bytes| Some(sha256_digest(bytes)) == first.content_digest);
    if reads_content && bytes.is_none() {
        return not_provable("the file's bytes aren't there any more".to_owned());
    }
    let inputs = Inputs {
        arrival,
        fetched: first.content_digest.as_deref().map(|digest| Fetched { digest, bytes }),
        routing,
        version: first.version,
        cause: &first.cause,
        planned_at: first.planned_at,
        limits: Limits::default(),
    };
    let again = plan_as(inputs, version);
    match again {
        Ok(again) if again.iter().eq(recorded.iter().copied()) => Verdict::Equal,
        Ok(again) => {
            let differs = again.iter().zip(&recorded).find(|(again, recorded)| again != *recorded);
            Verdict::Different(match differs {
                Some((_, recorded)) => format!("the dispatch to {} is another one", recorded.target),
                None => format!("{} dispatches are recorded, {} are planned", recorded.len(), again.len()),
            })
        }
        Err(failure) => Verdict::Different(format!("it fails: {} {}", failure.code, failure.text)),
    }
}

/// What another routing document means for a file that arrived under the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replanned {
    /// The file.
    pub file_id: FileId,
    /// Why it would fail validation under the new document, or why it failed under the old one and doesn't any more.
    pub validation: Option<String>,
    /// Targets that it would go to and didn't.
    pub gained: Vec<TargetName>,
    /// Targets that it went to and wouldn't.
    pub lost: Vec<TargetName>,
    /// Targets that would get another request: other bytes, another address, other headers or another key.
    pub changed: Vec<TargetName>,
}

/// What planning a file under another document shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replan {
    /// It gets the same requests.
    Same,
    /// It doesn't.
    Changed(Replanned),
    /// Nobody can tell; in words, why.
    NotProvable(String),
}

/// Plans an arrival under both documents. `fetched` is what was found of the file's bytes, where that is recorded.
pub fn replan(arrival: &Arrival, fetched: Option<Fetched<'_>>, old: &Document, new: &Document) -> Replan {
    let planned = (planned_under(arrival, fetched, old), planned_under(arrival, fetched, new));
    let (Some(before), Some(after)) = planned else {
        return Replan::NotProvable("the file's bytes aren't recorded, or not any more".to_owned());
    };
    let validation = match (&before, &after) {
        (Ok(_), Err(failure)) => Some(format!("fails validation: {}", words(failure))),
        (Err(failure), Ok(_)) => Some(format!("fails validation no more: {}", words(failure))),
        (Err(before), Err(after)) if before.code != after.code => {
            Some(format!("fails validation otherwise: {} → {}", words(before), words(after)))
        }
        _ => None,
    };
    let (before, after) = (by_target(before), by_target(after));
    let missing_in = |all: &BTreeMap<TargetName, PlannedDispatch>, other: &BTreeMap<TargetName, PlannedDispatch>| {
        all.keys().filter(|target| !other.contains_key(*target)).cloned().collect::<Vec<_>>()
    };
    let differs = |(target, dispatch): (&TargetName, &PlannedDispatch)| {
        let other = before.get(target)?;
        (other.request != dispatch.request || other.transport != dispatch.transport).then(|| target.clone())
    };
    let replanned = Replanned {
        file_id: arrival.file_id.clone(),
        validation,
        gained: missing_in(&after, &before),
        lost: missing_in(&before, &after),
        changed: after.iter().filter_map(differs).collect(),
    };
    let is_same = replanned.validation.is_none()
        && [&replanned.gained, &replanned.lost, &replanned.changed].iter().all(|targets| targets.is_empty());
    if is_same { Replan::Same } else { Replan::Changed(replanned) }
}

/// The plan of an arrival under a document, with the fetch that comes before it; `None` where that takes bytes that aren't there.
fn planned_under(
    arrival: &Arrival,
    fetched: Option<Fetched<'_>>,
    routing: &Document,
) -> Option<Result<Vec<PlannedDispatch>, Failure>> {
    let Some(rule) = routing.content_rule(&arrival.manifest.file_type) else {
        return Some(plan(Inputs::at_acceptance(arrival, routing)));
    };
    if let Err(failure) = fetch_of(arrival, routing) {
        return Some(Err(failure));
    }
    let bytes = fetched.and_then(|fetched| fetched.bytes);
    let size = bytes.and_then(|bytes| i64::try_from(bytes.len()).ok()).or(arrival.manifest.size);
    if size.is_some_and(|size| size > rule.max_size) {
        return Some(Err(failure(code::CONTENT_MISSING, format!("it has more than {} bytes", rule.max_size))));
    }
    if rule.format.is_some() && bytes.is_none() {
        return None;
    }
    Some(plan(Inputs { fetched, ..Inputs::at_acceptance(arrival, routing) }))
}

fn words(failure: &Failure) -> String {
    format!("{} {}", failure.code, failure.text)
}

fn by_target(plan: Result<Vec<PlannedDispatch>, Failure>) -> BTreeMap<TargetName, PlannedDispatch> {
    plan.unwrap_or_default().into_iter().map(|dispatch| (dispatch.target.clone(), dispatch)).collect()
}
