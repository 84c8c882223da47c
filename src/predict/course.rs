//! One course of a file, step by step, under a clock that goes from each thing that happens to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fetch;
use super::script::{Confirming, Reply, Script, ScriptedStep, verdict_of};
use crate::lifecycle::{Effect, File, Judged, provisional_deadline};
use crate::plan::{Fetched, Inputs, Limits, fetch_of, plan};
use crate::record::{
    Arrival, Cause, Confirmation, DispatchAttempt, Failure, Fetch, HeldBecause, Judgement, Outcome, OutcomeKind,
    PlannedDispatch, Reporter, State, Status, TargetName, TimerKind, Timestamp, TokenCheck,
};
use crate::routing::{DEFAULT_DEADLINE_MS, Document};

/// Most steps of one course; it ends unfinished beyond.
pub const MAX_STEPS: usize = 200_000;

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The plan is made, or the file fails validation.
    Planned,
    /// An attempt is authorized, and its request leaves.
    Attempt(i32),
    /// A report is judged.
    Report {
        /// What it says.
        kind: OutcomeKind,
        /// A stable word for the cause.
        code: String,
        /// The attempt it is about.
        attempt: i32,
        /// What was made of it.
        judgement: Judgement,
    },
    /// A time has come.
    Timer(TimerKind),
}

/// A step of a course: what happens, and where everything that it changes stands then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// The target it is about; `None` for the file itself.
    pub target: Option<TargetName>,
    /// What happens.
    pub what: Happening,
    /// The dispatches that change, with their new status, and why a HELD one is held.
    pub changes: Vec<(TargetName, Status, Option<HeldBecause>)>,
    /// The file's state, where it is another.
    pub state: Option<State>,
}

/// How a course ends.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Every target succeeded.
    Completed(Timestamp),
    /// The file FAILED.
    Failed(Timestamp, Failure),
    /// Nothing moves by itself any more: a person must decide on these.
    Person(Timestamp, Vec<TargetName>),
    /// There were more steps than a course may have.
    Unfinished(Timestamp),
}

impl End {
    /// When.
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Completed(at) | Self::Failed(at, _) | Self::Person(at, _) | Self::Unfinished(at) => *at,
        }
    }
}

/// A whole course.
#[derive(Debug, Clone)]
pub struct Course {
    /// When it begins.
    pub began: Timestamp,
    /// Every step, in order.
    pub steps: Vec<Step>,
    /// Every request with its policy, in the order of the plan; nothing where there is none, or where it was planned before.
    pub plan: Vec<PlannedDispatch>,
    /// Every attempt, in order.
    pub attempts: Vec<Arc<DispatchAttempt>>,
    /// How many requests left, by target.
    pub requests: BTreeMap<TargetName, i32>,
    /// Targets that refused credentials and are paused until a person resumes them.
    pub paused: BTreeSet<TargetName>,
    /// How it ends.
    pub end: End,
    /// The file as it is then.
    pub file: File,
}

/// The arrival as the engine would accept it under a document: with how its bytes are fetched, where they are. The error is why the
/// file would fail validation at once.
pub fn accepted(arrival: &Arc<Arrival>, routing: &Document) -> Result<Arc<Arrival>, Failure> {
    if arrival.fetch.is_some() {
        return Ok(Arc::clone(arrival));
    }
    let fetch = fetch_of(arrival, routing)?;
    Ok(Arc::new(Arrival { fetch, ..arrival.as_ref().clone() }))
}

/// The course of a file from its arrival on. Capacity is always there, and no target is paused at the beginning.
///
/// Where its bytes are fetched, the attempts at them are steps like all others, at the target `~file`; `fetched` is what they find,
/// where that is known.
pub fn course(arrival: &Arc<Arrival>, fetched: Option<Fetched<'_>>, routing: &Document, script: &Script) -> Course {
    let now = arrival.received_at;
    let accepted = accepted(arrival, routing);
    let arrival = accepted.as_ref().unwrap_or(arrival);
    let file = File::arrived(Arc::clone(arrival), provisional_deadline(arrival, DEFAULT_DEADLINE_MS));
    let mut run = Run::new(file, now, script);
    run.awaited = Some(Awaited { fetched, routing });
    match &accepted {
        Err(failure) => run.planned(Err(failure.clone()), &arrival.cause),
        Ok(arrival) if arrival.fetch.is_none() => {
            run.planned(plan(Inputs::at_acceptance(arrival, routing)), &arrival.cause);
        }
        // It is planned when its bytes are there.
        Ok(_) => {}
    }
    run.finish()
}

/// The course of a file under way, from `now` on. What is open is answered at `now` at the earliest, by the step of its
/// attempt; `paused` are the targets that nothing may be sent to until a person resumes them.
pub fn follow(file: File, now: Timestamp, paused: BTreeSet<TargetName>, script: &Script) -> Course {
    let mut run = Run::new(file, now, script);
    run.course.paused = paused;
    for index in 0..run.course.file.dispatches.len() {
        let dispatch = &run.course.file.dispatches[index];
        match dispatch.status {
            Status::InFlight => run.answered(index, dispatch.attempts),
            Status::Awaiting => run.confirmed(index, dispatch.attempts, now),
            _ => {}
        }
    }
    run.finish()
}

/// A report that is on its way.
struct Report {
    index: usize,
    outcome: Outcome,
}

/// What a file that is fetched is planned by.
struct Awaited<'s> {
    fetched: Option<Fetched<'s>>,
    routing: &'s Document,
}

struct Run<'s> {
    course: Course,
    awaited: Option<Awaited<'s>>,
    script: &'s Script,
    now: Timestamp,
    /// By time; what comes by way of the acks topic takes one step more than an answer; then in the order of their making.
    reports: BTreeMap<(Timestamp, bool, usize), Report>,
    made: usize,
}

impl<'s> Run<'s> {
    fn new(file: File, now: Timestamp, script: &'s Script) -> Self {
        let course = Course {
            began: now,
            steps: Vec::new(),
            attempts: Vec::new(),
            requests: BTreeMap::new(),
            paused: BTreeSet::new(),
            end: End::Unfinished(now),
            plan: Vec::new(),
            file,
        };
        Self { course, awaited: None, script, now, reports: BTreeMap::new(), made: 0 }
    }

    /// The plan is made, or there is none.
    fn planned(&mut self, planned: Result<Vec<PlannedDispatch>, Failure>, cause: &Cause) {
        let (file, at) = (&mut self.course.file, self.now);
        match planned {
            Ok(plan) => {
                file.planned(&plan);
                self.course.plan = plan;
            }
            Err(failure) => file.invalid(failure, at, cause),
        }
        let changes = file.dispatches.iter().map(|d| (d.target().clone(), d.status, None)).collect();
        let state = Some(file.state);
        self.course.steps.push(Step { at, target: None, what: Happening::Planned, changes, state });
    }

    /// The bytes are there: the plan follows at once.
    fn plan_fetched(&mut self) {
        let Some(Awaited { fetched, routing }) = &self.awaited else { return };
        let file = &self.course.file;
        let digest = file.arrival.manifest.checksum.as_deref();
        let fetched = fetched.or_else(|| digest.map(|digest| Fetched { digest, bytes: None }));
        let (arrival, cause) = (Arc::clone(&file.arrival), self.cause());
        let inputs = Inputs {
            arrival: &arrival,
            fetched,
            routing,
            version: file.version + 1,
            cause: &cause,
            planned_at: self.now,
            limits: Limits::default(),
        };
        let planned = plan(inputs);
        self.planned(planned, &cause);
    }

    fn finish(mut self) -> Course {
        loop {
            self.turn();
            if let Some(end) = self.end() {
                self.course.end = end;
                return self.course;
            }
            self.now = self.next_time().expect("what moves by itself has a time");
        }
    }

    fn end(&self) -> Option<End> {
        let file = &self.course.file;
        if let Some(at) = file.settled_at {
            return Some(match (file.state, &file.reason) {
                (State::Failed, Some(reason)) => End::Failed(at, reason.clone()),
                _ => End::Completed(at),
            });
        }
        if self.course.steps.len() > MAX_STEPS {
            return Some(End::Unfinished(self.now));
        }
        if self.reports.is_empty() && !(0..file.dispatches.len()).any(|index| self.moves(index)) {
            let waits = file.dispatches.iter().filter(|d| !d.is_settled()).map(|d| d.target().clone()).collect();
            return Some(End::Person(self.now, waits));
        }
        None
    }

    /// Whether a dispatch goes on by itself, the file's deadline aside.
    fn moves(&self, index: usize) -> bool {
        let dispatch = &self.course.file.dispatches[index];
        match dispatch.status {
            Status::InFlight | Status::Awaiting => true,
            Status::BackingOff => !self.is_paused(index),
            _ => false,
        }
    }

    fn is_paused(&self, index: usize) -> bool {
        self.course.paused.contains(self.course.file.dispatches[index].target())
    }

    fn next_time(&self) -> Option<Timestamp> {
        let file = &self.course.file;
        let reports = self.reports.keys().map(|(at, ..)| *at);
        let timers = file.timers().into_iter().map(|due| due.timer.due);
        let backing_off = |index: &usize| file.dispatches[*index].status == Status::BackingOff && self.moves(*index);
        let retries =
            (0..file.dispatches.len()).filter(backing_off).filter_map(|index| file.dispatches[index].retry_at);
        reports.chain(timers).chain(retries).min().map(|at| at.max(self.now))
    }

    /// Everything that happens at this moment. What is on the log comes before what the clock brings.
    fn turn(&mut self) {
        loop {
            let mut moved = false;
            for from_outside in [false, true] {
                while let Some(report) = self.next_report(from_outside) {
                    self.report(&report);
                    moved = true;
                }
                moved |= self.authorize();
            }
            let now = self.now;
            for due in self.course.file.timers().into_iter().filter(|due| due.timer.due <= now) {
                let index = due.target.as_ref().and_then(|target| self.course.file.index_of(target));
                if due.target.is_some() && index.is_none() {
                    // What came before it has ended the fetch that it is about.
                    continue;
                }
                let cause = self.cause();
                self.step(due.target, Happening::Timer(due.timer.what), |file| {
                    file.timer(index, &due.timer, now, &cause)
                });
                moved = true;
            }
            if !moved || self.course.steps.len() > MAX_STEPS {
                return;
            }
        }
    }

    /// The next report of this moment.
    fn next_report(&mut self, from_outside: bool) -> Option<Report> {
        let is_next =
            |((at, outside, _), _): (&(Timestamp, bool, usize), &Report)| *at <= self.now && *outside == from_outside;
        self.reports.first_key_value().filter(|next| is_next(*next))?;
        self.reports.pop_first().map(|(_, report)| report)
    }

    fn authorize(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.course.file.dispatches.len() {
            if self.is_paused(index) || !self.course.file.may_authorize(index, self.now) {
                continue;
            }
            let attempt = Arc::new(self.course.file.authorize(index, self.now, "predicted"));
            let (target, number) = (attempt.target.clone(), attempt.attempt);
            self.course.attempts.push(Arc::clone(&attempt));
            self.step(Some(target), Happening::Attempt(number), |file| {
                file.authorized(&attempt);
                Judged::Repeat
            });
            self.answered(index, number);
            moved = true;
        }
        moved
    }

    /// What the request of an attempt meets, from now on.
    fn answered(&mut self, index: usize, attempt: i32) {
        let terms = self.course.file.dispatches[index].terms.clone();
        let step = self.script.step(terms.target.as_str(), attempt);
        if let Some(fetch) = self.course.file.is_fetching().then(|| self.course.file.arrival.fetch.clone()).flatten() {
            return self.fetch_answered(index, attempt, &fetch);
        }
        // What is there with its attempt was delivered, whatever a script says.
        let delivered = ScriptedStep { then: step.then.clone(), ..ScriptedStep::OK };
        let step = if terms.written_to.is_some() { &delivered } else { step };
        if !matches!(step.reply, Reply::Unreachable | Reply::Certificate) {
            *self.course.requests.entry(terms.target.clone()).or_default() += 1;
        }
        let verdict = verdict_of(step, &terms.confirmed_by, terms.timeouts.request_ms, self.now);
        let Some((verdict, took_ms)) = verdict else { return };
        let at = self.now.plus_millis(took_ms);
        let accepted = verdict.kind == OutcomeKind::Accepted;
        let outcome = Outcome {
            attempt: Some(attempt),
            code: verdict.code,
            detail: verdict.detail,
            retry_after_ms: verdict.retry_after_ms,
            received_digest: verdict.received_digest,
            refusal: verdict.refusal,
            ..self.blank(index, verdict.kind, Reporter::Transport, at)
        };
        self.reports.insert((at, false, self.made), Report { index, outcome });
        self.made += 1;
        if accepted {
            self.confirmed(index, attempt, at);
        }
    }

    /// What an attempt at the file's bytes meets, from now on.
    fn fetch_answered(&mut self, index: usize, attempt: i32, fetch: &Fetch) {
        let dispatch = &self.course.file.dispatches[index];
        let step = self.script.step(dispatch.target().as_str(), attempt);
        if !matches!(step.reply, Reply::Unreachable | Reply::Certificate) {
            *self.course.requests.entry(dispatch.target().clone()).or_default() += 1;
        }
        let blank = self.blank(index, OutcomeKind::Retryable, Reporter::Transport, self.now);
        let blank = Outcome { attempt: Some(attempt), ..blank };
        let fetched = self.awaited.as_ref().and_then(|awaited| awaited.fetched);
        let arrival = &self.course.file.arrival;
        if let Some((outcome, took_ms)) = fetch::reported(step, arrival, fetch, fetched, blank) {
            self.reports.insert((self.now.plus_millis(took_ms), false, self.made), Report { index, outcome });
            self.made += 1;
        }
    }

    /// The reports that follow an acceptance.
    fn confirmed(&mut self, index: usize, attempt: i32, accepted_at: Timestamp) {
        const AT_ONCE: &[Confirming] = &[Confirming { kind: OutcomeKind::Succeeded, after_ms: 0 }];
        let dispatch = &self.course.file.dispatches[index];
        let reporter = match dispatch.terms.confirmed_by.by {
            Confirmation::Callback => Reporter::Callback,
            _ => Reporter::Acks,
        };
        let step = self.script.step(dispatch.target().as_str(), attempt);
        let then = if step.reply == Reply::Ok && step.then.is_empty() { AT_ONCE } else { &step.then };
        let mut at = accepted_at;
        for Confirming { kind, after_ms } in then {
            at = at.plus_millis(*after_ms);
            let outcome = Outcome {
                attempt: Some(attempt),
                code: kind.as_str().to_lowercase(),
                token: Some(TokenCheck::Ok),
                received_digest: dispatch.receipt.clone(),
                ..self.blank(index, *kind, reporter, at)
            };
            self.reports.insert((at, reporter == Reporter::Acks, self.made), Report { index, outcome });
            self.made += 1;
        }
    }

    fn blank(&self, index: usize, kind: OutcomeKind, reporter: Reporter, at: Timestamp) -> Outcome {
        let dispatch = &self.course.file.dispatches[index];
        Outcome::new(self.course.file.id().clone(), dispatch.target().clone(), kind, reporter, at)
    }

    fn report(&mut self, report: &Report) {
        let Report { index, outcome } = report;
        let (now, cause) = (self.now, self.cause());
        let what = Happening::Report {
            kind: outcome.kind,
            code: outcome.code.clone(),
            attempt: outcome.attempt.unwrap_or_default(),
            judgement: Judgement::Applied,
        };
        if self.course.file.index_of(&outcome.target).is_none() {
            // The fetch that it is about is over.
            return;
        }
        self.step(Some(outcome.target.clone()), what, |file| file.report(*index, outcome, now, &cause));
        if self.course.file.is_fetched() {
            self.plan_fetched();
        }
    }

    /// Lets something happen, and takes down what it changes.
    fn step(&mut self, target: Option<TargetName>, what: Happening, happen: impl FnOnce(&mut File) -> Judged) {
        let file = &mut self.course.file;
        let before: Vec<i64> = file.dispatches.iter().map(|dispatch| dispatch.version).collect();
        let (state, version) = (file.state, file.version);
        let judged = happen(file);
        if file.version == version {
            // A repeat: nothing is recorded of it.
            return;
        }
        let mut what = what;
        if let Judged::Recorded(recorded) = judged {
            if let Happening::Report { judgement, .. } = &mut what {
                *judgement = recorded.judgement;
            }
            for effect in recorded.effects {
                if let Effect::PauseTarget { target, .. } = effect {
                    self.course.paused.insert(target);
                }
            }
        }
        let changes = file
            .dispatches
            .iter()
            .zip(before)
            .filter(|(dispatch, version)| dispatch.version != *version)
            .map(|(dispatch, _)| (dispatch.target().clone(), dispatch.status, dispatch.held_because))
            .collect();
        let state = (file.state != state).then_some(file.state);
        self.course.steps.push(Step { at: self.now, target, what, changes, state });
    }

    fn cause(&self) -> Cause {
        let offset = i64::try_from(self.course.steps.len()).unwrap_or(i64::MAX);
        Cause { topic: "predicted".into(), partition: 0, offset }
    }
}
