//! Reports, timers and interventions: read, judged by the machine, kept in the history.

use super::batch::Batch;
use super::intake::{Unfit, check_dispatch_key, check_key, prefix, reason, value_of};
use super::observed::Observed;
use crate::lifecycle::{Effect, MAX_REFUSED_INTERVENTIONS};
use crate::log::{Append, Headers, Record};
use crate::record::{
    Action, Control, FileId, Intervention, Origin, Outcome, OutcomeKind, Reporter, Successor, TargetName, Timestamp,
    Topic, dispatch_key, file_key, home_partition,
};

/// Evidence in the history is cut to this many bytes.
const EVIDENCE_BYTES: usize = 16 * 1024;

/// A sentence in the history is cut to this many bytes: a detail, a reason.
const SENTENCE_BYTES: usize = 4 * 1024;

/// A word in the history is cut to this many bytes: a code, a reference, a digest.
const WORD_BYTES: usize = 256;

/// How far a clock that isn't measured is trusted not to be ahead, in milliseconds.
const UNMEASURED_MS: i64 = 600_000;

impl Batch<'_> {
    /// Re-homes one ack: its token is checked and it becomes a report in its file's home partition.
    pub(super) fn ack(&mut self, record: &Record) -> Result<(), Unfit> {
        let mut outcome: Outcome = self.worker.codec.decode(value_of(record)?)?;
        check_names(&outcome)?;
        let key = dispatch_key(&outcome.file_id, &outcome.target);
        check_key(record, &key)?;
        if outcome.kind == OutcomeKind::Timer {
            return Err(Unfit::Dead(reason::UNDECODABLE, "a timer is no ack".into()));
        }
        outcome.token = Some(self.worker.tokens.check(&key, outcome.ack_token.take().as_deref()));
        outcome.reporter = Reporter::Acks;
        outcome.timer = None;
        outcome.refusal = false;
        outcome.content = None;
        outcome.origin = Some(Origin {
            topic: self.worker.options.names.name(record.at.topic),
            partition: record.at.partition,
            offset: record.offset,
            timestamp: record.timestamp,
        });
        bound_outcome(&mut outcome);
        let home = home_partition(outcome.file_id.as_str(), self.worker.home_partitions());
        self.append(Topic::Outcomes, home, key, &outcome);
        Ok(())
    }

    /// Folds one record of `outcomes`: a report or a timer.
    pub(super) fn outcome(&mut self, record: &Record) -> Result<(), Unfit> {
        let mut outcome: Outcome = self.worker.codec.decode(value_of(record)?)?;
        let of_file = outcome.kind == OutcomeKind::Timer && outcome.target.as_str().is_empty();
        check_dispatch_key(record, &outcome.file_id, &outcome.target)?;
        if !self.at_home(record, &outcome.file_id)? {
            return Ok(());
        }
        bound_outcome(&mut outcome);
        outcome.ack_token = None;
        let content = outcome.content.take();
        if self.is_of_ended_fetch(record.at.partition, &outcome) {
            return Ok(());
        }
        self.check_can_plan(&outcome)?;
        let (home, id) = (record.at.partition, outcome.file_id.clone());
        let target = (!of_file).then(|| outcome.target.clone());
        let said_at = outcome.origin.as_ref().map_or(record.timestamp, |o| o.timestamp.min(record.timestamp));
        let index = self.dispatch_of(home, &id, target.as_ref(), said_at)?;
        if outcome.kind == OutcomeKind::Timer {
            return self.timer_read_back(record, outcome, index);
        }
        let index = index.ok_or_else(|| Unfit::Dead(reason::UNKNOWN_TARGET, "a report names a target".into()))?;
        let (cause, now) = (self.cause_of(record), self.now);
        let file = &mut self.draft(home, &id).expect("just found").file;
        let judged = file.report(index, &outcome, now, &cause);
        let at_target = outcome.target.clone();
        let (attempt, kind, outcome_code, reporter) =
            (outcome.attempt, outcome.kind, outcome.code.clone(), outcome.reporter);
        let took_ms = outcome.evidence.as_ref().and_then(|e| e.took_ms);
        let fetched = Self::fetched_by(&outcome, content, &cause);
        let Some(recorded) = self.keep(&id, cause, target, judged, |event| event.outcome = Some(outcome)) else {
            self.observe(Observed::Duplicate { what: "report", file_id: id });
            return Ok(());
        };
        let (file_id, judgement, code) = (id.clone(), recorded.judgement, recorded.code);
        let target = at_target;
        self.observe(Observed::Report {
            file_id,
            target,
            attempt,
            kind,
            outcome_code,
            reporter,
            judgement,
            code,
            took_ms,
        });
        self.follow_up(home, &id, recorded.effects);
        if let Some((cause, reported)) = fetched {
            self.plan_fetched(home, &id, &cause, &reported);
        }
        Ok(())
    }

    fn timer_read_back(&mut self, record: &Record, outcome: Outcome, index: Option<usize>) -> Result<(), Unfit> {
        let (home, id) = (record.at.partition, outcome.file_id.clone());
        let Some(timer) = outcome.timer.clone() else {
            return Err(Unfit::Dead(reason::UNDECODABLE, "kind TIMER without a timer".into()));
        };
        let (cause, now) = (self.cause_of(record), self.now);
        let file = &mut self.draft(home, &id).expect("just found").file;
        let judged = file.timer(index, &timer, now, &cause);
        let target = index.map(|_| outcome.target.clone());
        if self.keep(&id, cause, target.clone(), judged, |event| event.outcome = Some(outcome)).is_none() {
            self.observe(Observed::Duplicate { what: "timer", file_id: id });
        } else if let (Some(target), Some(_)) = (target, timer.escalation) {
            self.observe(Observed::Escalated { file_id: id, target });
        }
        Ok(())
    }

    /// Folds one intervention.
    pub(super) fn intervention(&mut self, record: &Record) -> Result<(), Unfit> {
        let mut asked: Intervention = self.worker.codec.decode(value_of(record)?)?;
        let key = match &asked.target {
            Some(target) => dispatch_key(&asked.file_id, target),
            None => file_key(&asked.file_id),
        };
        check_key(record, &key)?;
        if !self.at_home(record, &asked.file_id)? {
            return Ok(());
        }
        if asked.action == Action::StartSuccessor {
            return self.start_successor(record, asked);
        }
        bound_intervention(&mut asked)?;
        let (home, id) = (record.at.partition, asked.file_id.clone());
        let index = self.dispatch_of(home, &id, asked.target.as_ref(), record.timestamp)?;
        let (cause, now) = (self.cause_of(record), self.now);
        let found = self.file(home, &id).expect("just found");
        if let Some(code) = found.refused_unrecorded(index, &asked, now) {
            let text = format!("`{id}` has refused {MAX_REFUSED_INTERVENTIONS} before; this one is refused: {code}");
            return Err(Unfit::Dead(reason::REFUSED_TOO_OFTEN, text));
        }
        let file = &mut self.draft(home, &id).expect("just found").file;
        let judged = file.intervene(index, &asked, now, &cause);
        let (target, action, actor) = (asked.target.clone(), asked.action, asked.actor.clone());
        let Some(recorded) = self.keep(&id, cause, target.clone(), judged, |event| event.intervention = Some(asked))
        else {
            self.observe(Observed::Duplicate { what: "intervention", file_id: id });
            return Ok(());
        };
        let (judgement, code) = (recorded.judgement, recorded.code);
        self.observe(Observed::Intervention { file_id: id.clone(), target, action, actor, judgement, code });
        self.follow_up(home, &id, recorded.effects);
        Ok(())
    }

    /// The dispatch that a report or an intervention of this time is about; `None` where it is about the file.
    fn dispatch_of(
        &self,
        home: i32,
        id: &FileId,
        target: Option<&TargetName>,
        said_at: Timestamp,
    ) -> Result<Option<usize>, Unfit> {
        let file = self.file(home, id).filter(|_| self.home(home).tombstoned(id).is_none());
        let Some(file) = file else {
            return Err(Unfit::Dead(reason::UNKNOWN_FILE, format!("no file `{id}` is known")));
        };
        // What is read again after lost offsets may be about a file that had the id before and is forgotten.
        let clocks_differ_ms = self.worker.options.max_clock_skew_ms.map_or(UNMEASURED_MS, |max| 2 * max);
        let received_at = file.arrival.received_at;
        if received_at.millis_since(said_at) > clocks_differ_ms {
            let text = format!("it was said at {said_at}, and the `{id}` that is known came at {received_at}");
            return Err(Unfit::Dead(reason::UNKNOWN_FILE, text));
        }
        let Some(target) = target else { return Ok(None) };
        match file.index_of(target) {
            Some(index) => Ok(Some(index)),
            None => Err(Unfit::Dead(reason::UNKNOWN_TARGET, format!("`{id}` has no target `{target}`"))),
        }
    }

    fn follow_up(&mut self, home: i32, id: &FileId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::PauseTarget { target, code, authorized_at } => {
                    let resumed_at = self.worker.controls.resumed_at(&target);
                    if resumed_at.is_none_or(|at| authorized_at > at) && !self.is_paused(&target) {
                        self.pause(target, code, authorized_at, id);
                    }
                }
                Effect::StartSuccessor { successor, only_targets } => {
                    self.ask_for_successor(home, id, &successor, only_targets);
                }
            }
        }
    }

    fn pause(&mut self, target: TargetName, code: String, authorized_at: Timestamp, id: &FileId) {
        let reason = format!("{code} for {id}");
        let said = ("consign", reason.as_str(), self.now);
        let control = Control::refused(&target, code.clone(), authorized_at, said);
        self.append(Topic::Controls, 0, control.name.clone(), &control);
        self.controls.push(control);
        self.observe(Observed::Paused { target, code });
    }

    fn ask_for_successor(&mut self, home: i32, id: &FileId, successor: &FileId, only_targets: Vec<TargetName>) {
        let file = self.file(home, id).expect("just judged");
        let manifest =
            crate::record::FileManifest { file_id: successor.clone(), deadline: None, ..file.arrival.manifest.clone() };
        let start = Intervention {
            intervention_id: format!("start-{successor}"),
            file_id: successor.clone(),
            target: None,
            action: Action::StartSuccessor,
            actor: "consign".into(),
            reason: format!("{id} was resubmitted"),
            evidence: None,
            seen_version: None,
            requested_at: self.now,
            resend_unknown: false,
            successor: Some(Successor { supersedes: id.clone(), only_targets, manifest, received_at: self.now }),
        };
        let home = home_partition(successor.as_str(), self.worker.home_partitions());
        let value = self.worker.codec.encode(&start).expect("write ids are learned before the first batch");
        self.push(Append {
            topic: Topic::Interventions,
            partition: Some(home),
            key: file_key(successor).into_bytes(),
            value: Some(value),
            headers: Headers::new(),
        });
    }
}

/// An ack is written by anyone: its names must be names before they make a key.
fn check_names(outcome: &Outcome) -> Result<(), Unfit> {
    let id = outcome.file_id.as_str();
    let legal = !id.is_empty() && id.len() <= 256 && id.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if !legal {
        return Err(Unfit::Dead(reason::ILLEGAL_FILE_ID, "the file_id breaks the rules".into()));
    }
    TargetName::parse(outcome.target.as_str()).map_err(|e| Unfit::Dead(reason::UNKNOWN_TARGET, e.to_string()))?;
    Ok(())
}

/// Cuts what others wrote to a length that a history record bears, whatever they wrote.
fn bound_outcome(outcome: &mut Outcome) {
    cut(&mut outcome.code, WORD_BYTES);
    for text in [&mut outcome.reference, &mut outcome.received_digest].into_iter().flatten() {
        cut(text, WORD_BYTES);
    }
    if let Some(detail) = &mut outcome.detail {
        cut(detail, SENTENCE_BYTES);
    }
    let Some(evidence) = &mut outcome.evidence else { return };
    let mut room = EVIDENCE_BYTES;
    evidence.headers.retain(|name, value| {
        let length = name.len() + value.len();
        let fits = length <= room;
        room -= if fits { length } else { 0 };
        fits
    });
    if let Some(body) = &mut evidence.body {
        evidence.truncated |= cut(body, EVIDENCE_BYTES);
    }
}

/// The same for what people ask. An identity is never cut: two would become one.
fn bound_intervention(asked: &mut Intervention) -> Result<(), Unfit> {
    if asked.intervention_id.len() > WORD_BYTES {
        let text = format!("the intervention_id is longer than {WORD_BYTES} bytes");
        return Err(Unfit::Dead(reason::UNDECODABLE, text));
    }
    cut(&mut asked.actor, WORD_BYTES);
    cut(&mut asked.reason, SENTENCE_BYTES);
    if let Some(evidence) = &mut asked.evidence {
        cut(evidence, EVIDENCE_BYTES);
    }
    asked.successor = None;
    Ok(())
}

/// Cuts a text; true if it was longer.
fn cut(text: &mut String, bytes: usize) -> bool {
    let kept = prefix(text, bytes).len();
    let longer = kept < text.len();
    text.truncate(kept);
    longer
}
