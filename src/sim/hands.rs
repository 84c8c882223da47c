//! What producers, targets, people and operators do in a world.

use std::collections::BTreeMap;

use super::wire::{Answer, Receipt, blank, report_of};
use super::world::World;
use crate::log::{Append, Cluster, Headers, LogError, Position, TopicPartition};
use crate::record::{
    Action, ActiveRouting, Control, Controls, FILE_TARGET, FileId, FileManifest, Intervention, Outcome, OutcomeKind,
    TargetName, Topic, dispatch_key, file_key,
};
use crate::routing::{self, Sources, sha256_digest};
use crate::verify::Request;

impl World {
    // ── producers, targets ────────────────────────────────────────────────────────────────────────────────────────

    /// A producer announces a file.
    pub fn submit(&self, manifest: &FileManifest) {
        let id = manifest.file_id.as_str();
        self.append(Topic::Manifests, self.home_of(id), id, Some(self.encode(Topic::Manifests, manifest)));
    }

    /// The bytes of a value on a topic.
    pub fn encode<T: crate::record::Wire>(&self, topic: Topic, value: &T) -> Vec<u8> {
        self.codec.encode_for(topic, value).expect("the write ids are known")
    }

    /// Appends anything.
    pub fn append(&self, topic: Topic, partition: i32, key: &str, value: Option<Vec<u8>>) -> (TopicPartition, i64) {
        let key = key.as_bytes().to_vec();
        let append = Append { topic, partition: Some(partition), key, value, headers: Headers::new() };
        self.cluster.append_now(append).expect("no fault is aimed at appends")
    }

    /// The requests that wait to leave or to be answered, oldest first.
    pub fn on_the_wire(&self) -> Vec<(u64, String)> {
        let key = |p: &super::Parcel| format!("{}/{}", p.attempt.idempotency_key, p.attempt.attempt);
        self.wire.lock().parcels.iter().map(|(number, parcel)| (*number, key(parcel))).collect()
    }

    /// The requests whose process isn't standing still: number, and whether it has left.
    pub(super) fn moving_parcels(&self) -> Vec<(u64, bool)> {
        let frozen: Vec<u64> = self.frozen.iter().map(|f| f.number).collect();
        let wire = self.wire.lock();
        let moving = wire.parcels.iter().filter(|(_, p)| !frozen.contains(&p.process));
        moving.map(|(number, p)| (*number, p.left_at.is_some())).collect()
    }

    /// Lets a request leave, unless the time to send it by has passed by its process's clock: then it is reported as never
    /// sent. True if the target received it.
    pub fn leave(&self, number: u64) -> bool {
        let now = self.now();
        let mut wire = self.wire.lock();
        let state = &mut *wire;
        let Some(parcel) = state.parcels.get_mut(&number) else { return false };
        if parcel.left_at.is_some() {
            return true;
        }
        if self.now_of(&parcel.worker) > parcel.attempt.send_before {
            drop(wire);
            self.report(number, Answer::Retryable(None));
            return false;
        }
        parcel.left_at = Some(now);
        // No target hears of a fetch.
        if parcel.attempt.target.as_str() == FILE_TARGET {
            return true;
        }
        let body = parcel.plan.request.body.as_ref().map(|b| b.as_ref().to_vec()).unwrap_or_default();
        let request = Request {
            idempotency_key: parcel.attempt.idempotency_key.clone(),
            attempt: parcel.attempt.attempt,
            body_sha256: sha256_digest(&body),
            received_at: now,
        };
        let copies = self.saboteur.as_ref().map_or(1, |s| s.copies(parcel.plan.on_unknown));
        state.journal.extend(std::iter::repeat_n(request, copies));
        true
    }

    /// Ends a request; gives the report of what came back, and where it goes.
    pub(super) fn report_of(&self, number: u64, answer: Answer, receipt: Receipt) -> Option<(i32, Outcome)> {
        let parcel = self.wire.lock().parcels.remove(&number)?;
        let (plan, attempt, home) = parcel.end();
        Some((home, report_of(&plan, &attempt, (answer, receipt), self.now())))
    }

    /// Ends a request and reports what came back.
    pub(super) fn report(&self, number: u64, answer: Answer) {
        if let Some((home, outcome)) = self.report_of(number, answer, Receipt::Right) {
            self.append_outcome(home, &outcome);
        }
    }

    /// Appends a report as a transport or the gateway does.
    pub fn append_outcome(&self, home: i32, outcome: &Outcome) {
        let key = dispatch_key(&outcome.file_id, &outcome.target);
        self.append(Topic::Outcomes, home, &key, Some(self.encode(Topic::Outcomes, outcome)));
    }

    /// Lets the oldest request of a dispatch leave and answers it; false if there is none.
    pub fn answer(&self, idempotency_key: &str, answer: Answer) -> bool {
        let found = {
            let wire = self.wire.lock();
            wire.parcels.iter().find(|(_, p)| p.attempt.idempotency_key == idempotency_key).map(|(n, _)| *n)
        };
        let Some(number) = found else { return false };
        if self.leave(number) {
            self.report(number, answer);
        }
        true
    }

    /// The most bytes of keys and values that one transaction appended.
    pub fn largest_transaction(&self) -> usize {
        self.wire.lock().largest_transaction
    }

    /// What the targets received, in order.
    pub fn journal(&self) -> Vec<Request> {
        self.wire.lock().journal.clone()
    }

    /// How many requests of a dispatch its target received.
    pub fn requests(&self, idempotency_key: &str) -> usize {
        self.wire.lock().journal.iter().filter(|r| r.idempotency_key == idempotency_key).count()
    }

    /// An ack of a dispatch with its valid token and the digest of what its target received, not yet on the log.
    pub fn ack(&self, file_id: &str, target: &str, kind: OutcomeKind) -> Outcome {
        let (file_id, target) = (FileId::trusted(file_id), TargetName::trusted(target));
        let key = dispatch_key(&file_id, &target);
        let ack_token = Some(self.tokens.issue(&key));
        let received_digest = {
            let wire = self.wire.lock();
            wire.journal.iter().find(|r| r.idempotency_key == key).map(|r| r.body_sha256.clone())
        };
        Outcome { ack_token, received_digest, ..blank(&file_id, &target, kind, self.now()) }
    }

    /// The record of an ack on the acks topic.
    pub fn ack_append(&self, ack: &Outcome) -> Append {
        Append {
            topic: Topic::Acks,
            partition: None,
            key: dispatch_key(&ack.file_id, &ack.target).into_bytes(),
            value: Some(self.encode(Topic::Acks, ack)),
            headers: Headers::new(),
        }
    }

    /// A target acknowledges.
    pub fn acknowledge(&self, ack: &Outcome) {
        self.cluster.append_now(self.ack_append(ack)).expect("no fault is aimed at appends");
    }

    /// Commits the first offset still there where the group has none, as `consign offsets repair` does.
    pub(super) fn repair_offsets(&mut self) -> Vec<Position> {
        let committed = self.cluster.committed_positions();
        let mut repaired = Vec::new();
        for topic in Topic::INPUTS {
            for partition in 0..self.cluster.partitions(topic).expect("it exists") {
                let at = TopicPartition { topic, partition };
                if !committed.contains_key(&at) {
                    repaired.push((at, self.cluster.first_offset(at)));
                }
            }
        }
        self.cluster.set_committed(&repaired);
        self.inputs_were_reread = true;
        repaired
    }

    // ── people ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// An intervention on what the newest file-state shows, not yet on the log.
    pub fn asked(&mut self, file_id: &str, target: Option<&str>, action: Action) -> Intervention {
        self.interventions += 1;
        let intervention_id = format!("i-{}", self.interventions);
        let state = self.state(file_id);
        let dispatch = target.and_then(|t| state.dispatches.iter().find(|d| d.target.as_str() == t));
        Intervention {
            intervention_id,
            file_id: FileId::trusted(file_id),
            target: target.map(TargetName::trusted),
            action,
            actor: "ann".into(),
            reason: "the target was asked".into(),
            evidence: None,
            seen_version: Some(dispatch.map_or(state.version, |d| d.version)),
            requested_at: self.now(),
            resend_unknown: false,
            successor: None,
        }
    }

    /// Puts an intervention on the log.
    pub fn ask(&self, asked: &Intervention) {
        let key = asked.target.as_ref().map_or_else(|| file_key(&asked.file_id), |t| dispatch_key(&asked.file_id, t));
        let home = self.home_of(asked.file_id.as_str());
        self.append(Topic::Interventions, home, &key, Some(self.encode(Topic::Interventions, asked)));
    }

    /// A person intervenes on what the newest file-state shows.
    pub fn intervene(&mut self, file_id: &str, target: Option<&str>, action: Action) {
        let asked = self.asked(file_id, target, action);
        self.ask(&asked);
    }

    /// A person pauses a target, or ends every pause of it.
    pub fn pause(&mut self, target: &str, paused: bool) -> Result<(), LogError> {
        let target = TargetName::trusted(target);
        let said = ("ann", "maintenance", self.now());
        let change = Control::pausing(&target, paused, self.controls().resumed_at(&target), said);
        self.change_controls(&[change])
    }

    /// What the group obeys.
    fn controls(&self) -> Controls {
        let mut controls = Controls::default();
        for record in self.cluster.dump(Topic::Controls) {
            let name = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
            let control = record.value.as_deref().map(|v| self.codec.decode::<Control>(v)).transpose();
            controls.apply(&name, control.unwrap_or_default());
        }
        controls
    }

    /// Brings a routing document into force.
    ///
    /// # Panics
    /// If it doesn't load.
    pub fn apply_routing(&mut self, document: &str) -> Result<(), LogError> {
        let sources = Sources { name: "routing.yaml".into(), document: document.into(), files: BTreeMap::new() };
        let loaded = routing::load(&sources).unwrap_or_else(|e| panic!("the document doesn't load: {e:?}"));
        let digest = loaded.document.digest().to_owned();
        let said = ("ann", "it changed", self.now());
        let keeping = Control::keeping(sources.to_bundle(&digest), said);
        let active = ActiveRouting { routing_digest: digest, breaking_accepted: None, answers: Vec::new() };
        self.change_controls(&[keeping, Control::activating(active, said)])
    }

    pub(super) fn change_controls(&mut self, controls: &[Control]) -> Result<(), LogError> {
        let appends: Vec<Append> = controls
            .iter()
            .map(|control| Append {
                topic: Topic::Controls,
                partition: Some(0),
                key: control.name.clone().into_bytes(),
                value: Some(self.encode(Topic::Controls, control)),
                headers: Headers::new(),
            })
            .collect();
        self.cluster.change_controls(&mut |_| appends.clone())
    }
}
