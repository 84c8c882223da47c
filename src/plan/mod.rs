//! Arrival and routing document give the plan: every target that the file goes to, and the exact request for each.
//!
//! [`plan`] is a function of its arguments alone: the same arrival, routing document and [`PLANNER_VERSION`] give the same
//! bytes in every process, so that a plan can be checked by making it again. A body is compact JSON with sorted keys,
//! whatever order a payload was written in.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod again;
mod choose;
mod consider;
mod content;
mod data;
mod envelope;
mod manifest;
mod render;
mod request;

use crate::record::{
    Arrival, Cause, ConfirmedBy, Failure, PlannedDispatch, Request, TargetName, Timestamp, dispatch_key,
};
use crate::routing::{Document, Receipt, Target, canonical_record, code, sha256_digest};

pub use again::{Replan, Replanned, Verdict, replan, verify};
pub use consider::{Considered, Why, consider};
pub use content::{Fetched, MAX_COLUMNS, MAX_CONTENT_WEIGHT, MAX_DEPTH, MAX_ROWS, MAX_SWOLLEN, fetch_of, fetched};
pub use data::{MAX_VALUES, MAX_WEIGHT};
pub use manifest::{MAX_ATTRIBUTE, MAX_ATTRIBUTES, MAX_DATA, MAX_LOCATION, MAX_NAME, check_manifest, manifest_digest};

/// Version of this code. It is raised whenever the same inputs would give other bytes.
///
/// | version | differs from the one before by |
/// | --- | --- |
/// | 1 | |
/// | 2 | `data` with a key that is there twice, or with more than [`MAX_VALUES`] values or [`MAX_WEIGHT`], fails validation; what the expressions of a file cost together is bounded |
pub const PLANNER_VERSION: i32 = 2;
/// The oldest version whose plans this code can make again.
const OLDEST_PROVABLE: i32 = 1;

/// How large what comes out of planning may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A request body. At most 512 KiB may be configured.
    pub body_bytes: usize,
    /// All dispatches of a plan together, as estimated from their JSON.
    pub plan_bytes: usize,
    /// The file-state that the plan leads to, as estimated from names and owners.
    pub file_state_bytes: usize,
}

impl Default for Limits {
    /// 256 KiB, 16 MiB and 512 KiB.
    fn default() -> Self {
        Self { body_bytes: 256 * 1024, plan_bytes: 16 * 1024 * 1024, file_state_bytes: 512 * 1024 }
    }
}

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The accepted file.
    pub arrival: &'a Arrival,
    /// What was fetched of the file's bytes.
    pub fetched: Option<Fetched<'a>>,
    /// The routing document in force.
    pub routing: &'a Document,
    /// The file's version at which the plan is made.
    pub version: i64,
    /// The record that causes the plan.
    pub cause: &'a Cause,
    /// When the plan is made.
    pub planned_at: Timestamp,
    /// How large it may be.
    pub limits: Limits,
}

impl<'a> Inputs<'a> {
    /// Those by which the engine plans a file in the transaction that accepts it.
    pub fn at_acceptance(arrival: &'a Arrival, routing: &'a Document) -> Self {
        Self {
            arrival,
            fetched: None,
            routing,
            version: arrival.version + 1,
            cause: &arrival.cause,
            planned_at: arrival.received_at,
            limits: Limits::default(),
        }
    }
}

/// Longest text of a failure, in bytes.
const MAX_FAILURE_TEXT: usize = 2048;

/// The plan of a file: one dispatch for each target that a route picks, in the order of the routes. Never empty.
///
/// A dispatch waits only for targets that this plan has: an `after` on a target that no route picks for this file, or
/// that a successor leaves out, counts as met and is dropped.
///
/// The error is why the file fails validation, with one of the codes CG121 to CG129 and from CG140 on of [`code`]. Its text names places and
/// rules, never values of the file's data.
pub fn plan(inputs: Inputs<'_>) -> Result<Vec<PlannedDispatch>, Failure> {
    plan_as(inputs, PLANNER_VERSION)
}

/// The plan as this version of the planner makes it.
fn plan_as(inputs: Inputs<'_>, version: i32) -> Result<Vec<PlannedDispatch>, Failure> {
    let environment = choose::environment(inputs.arrival, inputs.routing, inputs.fetched, version)?;
    let chosen = choose::choose(inputs.arrival, inputs.routing, &environment)?;
    let targets: Vec<TargetName> = chosen.iter().map(|choice| choice.target.clone()).collect();
    check_file_state(inputs, &targets)?;
    let payloads = render::payloads(inputs, &chosen, &environment)?;
    let mut dispatches = Vec::with_capacity(chosen.len());
    let mut bytes = 0;
    for (ordinal, choice) in chosen.iter().enumerate() {
        let after = choice.after.iter().filter(|name| targets.contains(name)).cloned().collect();
        let rendered = choice.payload.and_then(|payload| payloads.get(payload));
        let request = request::request(inputs, choice, rendered, &environment)?;
        bytes += request.body.as_ref().map_or(0, |body| body.as_ref().len());
        check_plan_size(inputs, bytes)?;
        dispatches.push(dispatch(inputs, choice, Place { ordinal, targets: &targets, after, version }, request));
    }
    seal(inputs, dispatches)
}

/// Where a dispatch stands in its plan.
struct Place<'a> {
    ordinal: usize,
    targets: &'a [TargetName],
    after: Vec<TargetName>,
    /// The planner's version.
    version: i32,
}

fn dispatch(inputs: Inputs<'_>, choice: &choose::Chosen<'_>, place: Place<'_>, request: Request) -> PlannedDispatch {
    let Inputs { arrival, routing, .. } = inputs;
    let Target { owner, http, policy, .. } = choice.definition;
    let receipt = (policy.receipt == Receipt::Digest).then(|| sent_digest(&request));
    PlannedDispatch {
        file_id: arrival.file_id.clone(),
        target: choice.target.clone(),
        version: inputs.version,
        cause: inputs.cause.clone(),
        ordinal: count(place.ordinal),
        of: count(place.targets.len()),
        expected_targets: (place.ordinal == 0).then(|| place.targets.to_vec()),
        idempotency_key: dispatch_key(&arrival.file_id, choice.target),
        arrival_digest: arrival.manifest_digest.clone(),
        content_digest: inputs.fetched.map(|fetched| fetched.digest.to_owned()),
        routing_digest: routing.digest().to_owned(),
        plan_digest: String::new(),
        planner_version: place.version,
        transport: http.transport,
        request,
        after: place.after,
        confirmed_by: ConfirmedBy { receipt, ..policy.confirmed_by.clone() },
        on_unknown: policy.on_unknown,
        on_overdue: policy.on_overdue,
        on_exhausted: policy.on_exhausted,
        on_failed: policy.on_failed,
        retry: policy.retry.clone(),
        timeouts: policy.timeouts.clone(),
        escalation: policy.escalation.clone(),
        operator_confirm: policy.operator_confirm,
        file_deadline: file_deadline(arrival, routing),
        owner: owner.clone(),
        planned_at: inputs.planned_at,
    }
}

/// The digest of what a request brings: of its body, or of the file that is its body.
fn sent_digest(request: &Request) -> String {
    match (&request.body_of_file, &request.body) {
        (Some(file), _) => file.digest.clone(),
        (None, body) => sha256_digest(body.as_ref().map(|body| &body.0[..]).unwrap_or_default()),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).expect("the limit of file-state keeps a plan below 2^31 targets")
}

/// When a file is overdue: by its manifest, else by its type, else after seven days.
pub fn file_deadline(arrival: &Arrival, routing: &Document) -> Timestamp {
    let manifest = &arrival.manifest;
    manifest.deadline.unwrap_or_else(|| routing.deadline(&manifest.file_type, arrival.received_at))
}

/// Puts the plan's digest into every dispatch, and refuses a plan that is too large.
fn seal(inputs: Inputs<'_>, mut dispatches: Vec<PlannedDispatch>) -> Result<Vec<PlannedDispatch>, Failure> {
    let mut all = String::new();
    for dispatch in &dispatches {
        all.push_str(&content(dispatch));
        all.push('\n');
        check_plan_size(inputs, all.len())?;
    }
    let digest = sha256_digest(all.as_bytes());
    for dispatch in &mut dispatches {
        dispatch.plan_digest.clone_from(&digest);
    }
    Ok(dispatches)
}

fn check_plan_size(inputs: Inputs<'_>, bytes: usize) -> Result<(), Failure> {
    let limit = inputs.limits.plan_bytes;
    if bytes > limit {
        return Err(failure(code::PLAN_SIZE, format!("the plan is larger than {limit} bytes")));
    }
    Ok(())
}

/// The digest of a plan: over the canonical JSON of its dispatches, in order, each followed by a line feed. What says when
/// and why the plan was made (`version`, `cause`, `planned_at`) and the digest itself are left out, so that a plan made
/// again can be compared.
pub fn plan_digest(dispatches: &[PlannedDispatch]) -> String {
    let all: String = dispatches.iter().flat_map(|dispatch| [content(dispatch), "\n".to_owned()]).collect();
    sha256_digest(all.as_bytes())
}

fn content(dispatch: &PlannedDispatch) -> String {
    canonical_record(dispatch, &["version", "cause", "planned_at", "plan_digest"])
}

/// Refuses a plan whose file-state would be too large: bounds what one dispatch and the file itself take there.
fn check_file_state(inputs: Inputs<'_>, targets: &[TargetName]) -> Result<(), Failure> {
    const OF_A_FILE: usize = 2048;
    const OF_A_DISPATCH: usize = 256;
    let manifest = &inputs.arrival.manifest;
    let of_the_file = OF_A_FILE + manifest.name.len() + manifest.file_type.len() + manifest.produced_by.len();
    // A target's name stands in its own dispatch and in the next event, its owner twice.
    let of_a_dispatch = |name: &TargetName| {
        let owner = inputs.routing.target(name.as_str()).map_or(0, |target| target.owner.len());
        OF_A_DISPATCH + 2 * name.as_str().len() + 2 * owner
    };
    let size = of_the_file + targets.iter().map(of_a_dispatch).sum::<usize>();
    let limit = inputs.limits.file_state_bytes;
    if size > limit {
        let text = format!("its {} targets would make the file's state larger than {limit} bytes", targets.len());
        return Err(failure(code::PLAN_SIZE, text));
    }
    Ok(())
}

/// A validation failure, its text cut to a bounded length.
fn failure(code: &str, text: impl Into<String>) -> Failure {
    let mut text = text.into();
    if text.len() > MAX_FAILURE_TEXT {
        let end = (0..=MAX_FAILURE_TEXT).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    Failure { code: code.to_owned(), text }
}
