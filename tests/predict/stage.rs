//! The engine on the in-process log, with targets that answer as a script says.

use std::collections::{BTreeMap, BTreeSet};

use consign::lifecycle::{File, Folded, Planned, fold};
use consign::predict::{Reply, Script, verdict_of};
use consign::record::{
    Arrival, DispatchAttempt, FileHistory, FileId, FileManifest, HistoryEvent, NextEventKind, Outcome, OutcomeKind,
    PlannedDispatch, Reporter, State, Status, TargetName, Timestamp, Topic, Wire,
};
use consign::routing::{Document, Sources, load};
use consign::sim::{World, WorldOptions, manifest};

pub const FILE: &str = "f0";

/// What the script has in store for the world.
enum Due {
    Answer(Box<Outcome>),
    Ack { target: TargetName, attempt: i32, kind: OutcomeKind },
}

pub struct Stage {
    pub world: World,
    pub document: Document,
    script: Script,
    /// What comes, by time, in the order of its making.
    due: BTreeMap<(Timestamp, usize), Due>,
    made: usize,
    seen: BTreeSet<String>,
}

impl Stage {
    /// A world in which the file has just been announced and its first requests have left.
    pub fn new(document: &str, data: &str, script: &str) -> Self {
        let sources = Sources { name: "routing.yaml".into(), document: document.into(), files: BTreeMap::new() };
        let loaded = load(&sources).unwrap_or_else(|e| panic!("{e:?}\n{document}"));
        let options = WorldOptions { retention_ms: 400 * 86_400_000, ..WorldOptions::new(document) };
        let mut world = World::new(options);
        world.start("w");
        world.run();
        let script = Script::parse(script).unwrap();
        world.submit(&FileManifest { data: Some(data.to_owned()), ..manifest(FILE, "t") });
        let mut stage =
            Self { world, document: loaded.document, script, due: BTreeMap::new(), made: 0, seen: BTreeSet::new() };
        stage.settle();
        stage
    }

    /// Lets everything happen that happens at this moment: what stands on the log comes before what the clock brings.
    fn settle(&mut self) {
        loop {
            let mut moved = self.requests_leave();
            while self.due.first_key_value().is_some_and(|((at, _), _)| *at <= self.world.now()) {
                let (_, due) = self.due.pop_first().unwrap();
                self.comes(&due);
                moved = true;
            }
            self.world.run();
            if !moved && self.is_idle() {
                return;
            }
        }
    }

    fn is_idle(&self) -> bool {
        let is_due = self.due.first_key_value().is_some_and(|((at, _), _)| *at <= self.world.now());
        !is_due && self.world.on_the_wire().iter().all(|(_, key)| self.seen.contains(key))
    }

    fn requests_leave(&mut self) -> bool {
        let mut moved = false;
        let plan = self.plan();
        let place = |key: &str| plan.iter().position(|p| key.starts_with(&format!("{}/", p.idempotency_key)));
        let mut wire = self.world.on_the_wire();
        wire.sort_by_key(|(number, key)| (place(key), *number));
        for (number, key) in wire {
            if !self.seen.insert(key.clone()) {
                continue;
            }
            moved = true;
            let (dispatch, attempt) = key.rsplit_once('/').unwrap();
            let (target, attempt) = (dispatch.rsplit_once('/').unwrap().1.to_owned(), attempt.parse::<i32>().unwrap());
            let step = self.script.step(&target, attempt).clone();
            assert!(self.world.leave(number), "{key} leaves in time");
            let plan = plan.iter().find(|plan| plan.target.as_str() == target).unwrap();
            let now = self.world.now();
            let Some((verdict, took_ms)) = verdict_of(&step, &plan.confirmed_by, plan.timeouts.request_ms, now) else {
                continue;
            };
            let mut at = now.plus_millis(took_ms);
            let target = TargetName::trusted(&target);
            let outcome = Outcome {
                attempt: Some(attempt),
                code: verdict.code,
                retry_after_ms: verdict.retry_after_ms,
                refusal: verdict.refusal,
                ..Outcome::new(FileId::trusted(FILE), target.clone(), verdict.kind, Reporter::Transport, at)
            };
            self.later(at, Due::Answer(Box::new(outcome)));
            if verdict.kind == OutcomeKind::Accepted {
                if step.reply == Reply::Ok && step.then.is_empty() {
                    self.later(at, Due::Ack { target, attempt, kind: OutcomeKind::Succeeded });
                } else {
                    for then in &step.then {
                        at = at.plus_millis(then.after_ms);
                        self.later(at, Due::Ack { target: target.clone(), attempt, kind: then.kind });
                    }
                }
            }
        }
        moved
    }

    fn later(&mut self, at: Timestamp, due: Due) {
        self.due.insert((at, self.made), due);
        self.made += 1;
    }

    fn comes(&mut self, due: &Due) {
        match due {
            Due::Answer(outcome) => self.world.append_outcome(self.world.home_of(FILE), outcome),
            Due::Ack { target, attempt, kind } => {
                let mut ack = self.world.ack(FILE, target.as_str(), *kind);
                ack.attempt = Some(*attempt);
                self.world.acknowledge(&ack);
            }
        }
    }

    /// Whether anything goes on without a person, the file's deadline aside.
    pub fn moves(&mut self) -> bool {
        let state = self.world.state(FILE);
        if matches!(state.state, State::Completed | State::Failed) {
            return false;
        }
        if !self.due.is_empty() {
            return true;
        }
        let paused = self.paused();
        state.dispatches.iter().any(|dispatch| match dispatch.status {
            Status::InFlight | Status::Awaiting => true,
            Status::BackingOff => !paused.contains(&dispatch.target),
            _ => false,
        })
    }

    /// When the next thing happens: something that the script has in store, or what file-state says.
    pub fn next_time(&mut self) -> Timestamp {
        let paused = self.paused();
        let state = self.world.state(FILE);
        let waits = |d: &&consign::record::DispatchState| {
            let sends = d.next_event.as_ref().is_some_and(|next| next.what == NextEventKind::Attempt);
            sends && paused.contains(&d.target)
        };
        let own = state.dispatches.iter().filter(|d| !waits(d)).filter_map(|d| d.next_event.as_ref());
        let own = own.chain(state.next_event.iter().filter(|next| next.target.is_none()));
        let own = own.map(|next| next.at);
        let deadline = (!state.overdue).then_some(state.deadline);
        let of_script = self.due.first_key_value().map(|((at, _), _)| *at);
        own.chain(deadline).chain(of_script).filter(|at| *at > self.world.now()).min().expect("something moves")
    }

    /// Goes on to a moment, and lets everything happen there.
    pub fn advance_to(&mut self, at: Timestamp) {
        self.world.advance(at.millis_since(self.world.now()));
        self.settle();
    }

    /// What the script has in store for a moment: target and kind of each report, where it is the transport's and names
    /// no time.
    pub fn answers_at(&self, at: Timestamp) -> Vec<Option<(TargetName, &'static str)>> {
        let due = self.due.iter().filter(|((due, _), _)| *due == at);
        due.map(|(_, due)| match due {
            Due::Ack { .. } => None,
            Due::Answer(outcome) if outcome.retry_after_ms.is_some() => None,
            Due::Answer(outcome) => {
                let what = match outcome.kind {
                    _ if outcome.refusal => "REFUSED",
                    OutcomeKind::Duplicate => "SUCCEEDED",
                    kind => kind.as_str(),
                };
                Some((outcome.target.clone(), what))
            }
        })
        .collect()
    }

    pub fn paused(&self) -> BTreeSet<TargetName> {
        let mut controls = consign::record::Controls::default();
        for record in self.world.cluster.dump(Topic::Controls) {
            let name = String::from_utf8(record.key.clone().unwrap()).unwrap();
            let control = record.value.as_deref().map(|value| self.world.codec.decode(value).unwrap());
            controls.apply(&name, control);
        }
        controls.paused().into_iter().map(|(target, _)| target.clone()).collect()
    }

    fn records<T: Wire>(&self, topic: Topic) -> Vec<T> {
        let records = self.world.cluster.dump(topic);
        records.iter().map(|record| self.world.codec.decode(record.value.as_deref().unwrap()).unwrap()).collect()
    }

    pub fn plan(&self) -> Vec<PlannedDispatch> {
        let mut plan: Vec<PlannedDispatch> = self.records(Topic::Plans);
        plan.sort_by_key(|dispatch| dispatch.ordinal);
        plan
    }

    pub fn arrival(&self) -> Arrival {
        self.records(Topic::Arrivals).remove(0)
    }

    pub fn attempts(&self) -> Vec<DispatchAttempt> {
        let mut attempts: Vec<DispatchAttempt> = self.records(Topic::Attempts);
        attempts.sort_by_key(|attempt| attempt.version);
        attempts
    }

    pub fn history(&self) -> Vec<HistoryEvent> {
        let mut events: Vec<HistoryEvent> =
            self.records::<FileHistory>(Topic::History).into_iter().flat_map(|history| history.events).collect();
        events.sort_by_key(|event| event.version);
        events
    }

    /// The file as its records give it.
    pub fn file(&self) -> File {
        let folded = Folded {
            arrival: Some(self.arrival().into()),
            plan: self.plan().into_iter().map(|plan| (plan.ordinal, Planned::of(&plan).into())).collect(),
            attempts: self.attempts().into_iter().map(|attempt| (attempt.version, attempt.into())).collect(),
            history: self.records::<FileHistory>(Topic::History).into_iter().map(|h| (h.seq, h)).collect(),
        };
        fold(&folded, 7 * 86_400_000).unwrap()
    }
}
