//! What became of the inputs: each manifest ends as one thing (I1), and what can't be read dies with a reason (I15).

use std::collections::BTreeMap;

use super::Checker;
use super::collect::{FileRecords, Input, Inputs};
use crate::engine::reason;
use crate::log::TopicPartition;
use crate::plan::manifest_digest;
use crate::record::{Cause, FileId, FileManifest, Topic};

/// Where a record was forwarded to, by where it first stood.
type Forwarded = BTreeMap<(i32, i64), usize>;

impl Checker {
    pub(super) fn check_inputs(&mut self) {
        let inputs = std::mem::take(&mut self.inputs);
        self.check_manifests(&inputs);
        self.check_unreadable(&inputs, Topic::Manifests, &inputs.manifests);
        self.check_unreadable(&inputs, Topic::Interventions, &inputs.interventions);
        self.check_unreadable(&inputs, Topic::Outcomes, &inputs.outcomes);
        self.check_unreadable(&inputs, Topic::Acks, &inputs.acks);
        self.check_dead_letters(&inputs);
        self.check_acks(&inputs);
        self.inputs = inputs;
    }

    fn check_manifests(&mut self, inputs: &Inputs) {
        let mut forwarded = Forwarded::new();
        for origin in inputs.manifests.values().filter_map(|m| m.origin.as_ref()) {
            if self.is_on(origin, Topic::Manifests) {
                *forwarded.entry((origin.partition, origin.offset)).or_default() += 1;
            }
        }
        let name = self.options.names.name(Topic::Manifests);
        let mut accepted: BTreeMap<(i32, i64), usize> = BTreeMap::new();
        for cause in self.files.values().filter_map(|f| f.arrival.as_ref()).map(|a| &a.value.cause) {
            if *cause.topic == *name {
                *accepted.entry((cause.partition, cause.offset)).or_default() += 1;
            }
        }
        // What was read again may have been passed on again.
        let most = if self.options.inputs_were_reread { 1 } else { usize::MAX };
        for (place, input) in &inputs.manifests {
            let ends = [
                ("forwarded", forwarded.get(place).copied().unwrap_or(0).min(most)),
                ("accepted", accepted.get(place).copied().unwrap_or(0)),
                ("dead-lettered", inputs.dead.get(&(Topic::Manifests, place.0, place.1)).map_or(0, Vec::len).min(most)),
            ];
            self.check_manifest(*place, input, ends);
        }
    }

    fn check_manifest(&mut self, place: (i32, i64), input: &Input<FileManifest>, ends: [(&'static str, usize); 3]) {
        let at = Some((TopicPartition { topic: Topic::Manifests, partition: place.0 }, place.1));
        let id = input.value.as_ref().ok().map(|m| m.file_id.clone());
        let total: usize = ends.iter().map(|(_, n)| n).sum();
        match total {
            1 => {
                let (end, _) = ends.iter().find(|(_, n)| *n > 0).expect("one of them is");
                self.report.add(format!("manifests.{end}"));
            }
            0 => {
                let file = id.as_ref().and_then(|id| self.files.get(id.as_str()));
                let known = file.and_then(|f| f.arrival.as_ref()).map(|a| a.value.manifest_digest.clone());
                let is_old = self.newest.millis_since(input.timestamp) > self.options.retention_ms;
                match (known, &input.value) {
                    (Some(digest), Ok(manifest)) if digest == manifest_digest(manifest) => {
                        self.report.add("manifests.duplicate");
                    }
                    _ if is_old || file.is_some_and(|f| f.forgotten) => self.report.add("manifests.not_provable"),
                    _ if self.is_due(Topic::Manifests, place) => {
                        let text = "the manifest is neither accepted nor a duplicate, forwarded or dead-lettered";
                        self.report.broken("I1", id.as_ref(), at, text);
                    }
                    _ => self.report.add("manifests.unread"),
                }
            }
            // What was read again may have been judged again by then, when its file was forgotten.
            _ if self.options.inputs_were_reread => self.report.add("manifests.not_provable"),
            _ => {
                let ended: Vec<String> =
                    ends.iter().filter(|(_, n)| *n > 0).map(|(e, n)| format!("{e} {n}×")).collect();
                self.report.broken("I1", id.as_ref(), at, format!("the manifest was {}", ended.join(" and ")));
            }
        }
    }

    /// What is announced within the retention after a file has settled is that file, however late it is read.
    pub(super) fn check_memory(&mut self, id: &FileId, file: &FileRecords) {
        let (Some(settled_at), Some(arrival)) = (file.settled_before, &file.arrival) else { return };
        let cause = &arrival.value.cause;
        let place = (cause.partition, cause.offset);
        let read_at = match self.options.names.topic(&cause.topic) {
            Some(Topic::Manifests) => self.inputs.manifests.get(&place).map(|i| i.timestamp),
            Some(Topic::Interventions) => self.inputs.interventions.get(&place).map(|i| i.timestamp),
            _ => None,
        };
        let announced_at = arrival.value.origin.as_ref().map(|o| o.timestamp).into_iter().chain(read_at).min();
        let Some(announced_at) = announced_at else { return };
        self.report.add("files.again");
        // Three clocks are in this: of the settlement, of the forgetting, of whoever took the next one in.
        let remembered_ms = self.options.retention_ms - 2 * self.options.max_clock_skew_ms;
        if announced_at.millis_since(settled_at) <= remembered_ms {
            let text = format!(
                "it settled at {settled_at} and began again by what was announced at {announced_at}, when it was remembered"
            );
            self.report.broken("I1", Some(id), Some(arrival.place), text);
        }
    }

    fn check_unreadable<T>(&mut self, inputs: &Inputs, topic: Topic, records: &BTreeMap<(i32, i64), Input<T>>) {
        for ((partition, offset), input) in records {
            let Err(why) = &input.value else { continue };
            self.report.add("unreadable");
            let dead = inputs.dead.contains_key(&(topic, *partition, *offset));
            if !dead && self.is_due(topic, (*partition, *offset)) {
                let at = Some((TopicPartition { topic, partition: *partition }, *offset));
                self.report.broken("I15", None, at, format!("it can't be read ({why}) and is no dead letter"));
            }
        }
    }

    fn check_dead_letters(&mut self, inputs: &Inputs) {
        for ((topic, partition, offset), dead) in &inputs.dead {
            let place = (*partition, *offset);
            let original = match topic {
                Topic::Manifests => inputs.manifests.get(&place).map(|i| &i.bytes),
                Topic::Interventions => inputs.interventions.get(&place).map(|i| &i.bytes),
                Topic::Outcomes => inputs.outcomes.get(&place).map(|i| &i.bytes),
                Topic::Acks => inputs.acks.get(&place).map(|i| &i.bytes),
                _ => None,
            };
            for letter in dead {
                if !reason::ALL.contains(&letter.reason.as_str()) {
                    let text = format!("`{}` is no reason for a dead letter", letter.reason);
                    self.report.broken("I15", None, Some(letter.place), text);
                }
                if original.is_some_and(|bytes| *bytes != letter.bytes) {
                    self.report.broken(
                        "I15",
                        None,
                        Some(letter.place),
                        "the dead letter has other bytes than the record",
                    );
                }
            }
            if dead.len() > 1 && *topic != Topic::Manifests && !self.options.inputs_were_reread {
                let text = format!("{}/{partition} offset {offset} is dead {} times", topic.base_name(), dead.len());
                self.report.broken("I15", None, Some(dead[0].place), text);
            }
        }
    }

    fn is_due(&self, topic: Topic, (partition, offset): (i32, i64)) -> bool {
        self.options.due.covers(TopicPartition { topic, partition }, offset)
    }

    /// Whether the effects of a record's cause must be there.
    pub(super) fn is_cause_due(&self, cause: &Cause) -> bool {
        let topic = self.options.names.topic(&cause.topic);
        topic.is_none_or(|topic| self.is_due(topic, (cause.partition, cause.offset)))
    }

    /// Nothing comes from an input that the group hasn't committed (K2); that everything comes from those that it has
    /// is what [`super::Due`] asks.
    pub(super) fn check_offsets(&mut self, id: &FileId, file: &FileRecords) {
        let arrival = file.arrival.iter().map(|a| (a.value.cause.clone(), a.place));
        let events = file.events().map(|(event, place)| (event.cause.clone(), place));
        for (cause, place) in arrival.chain(events).collect::<Vec<_>>() {
            let Some(topic) = self.options.names.topic(&cause.topic) else { continue };
            let at = TopicPartition { topic, partition: cause.partition };
            let Some(committed) = self.options.committed.get(&at).filter(|c| cause.offset >= **c) else { continue };
            let text = format!("it comes from {at}, offset {}; the group's offset there is {committed}", cause.offset);
            self.report.broken("K2", Some(id), Some(place), text);
        }
    }

    /// An ack that can be read is brought home or dies: one that is lost could win against no deadline.
    fn check_acks(&mut self, inputs: &Inputs) {
        for (place, input) in &inputs.acks {
            if inputs.rehomed.contains_key(place) {
                self.report.add("acks.rehomed");
                continue;
            }
            let dead = inputs.dead.contains_key(&(Topic::Acks, place.0, place.1));
            let is_old = self.newest.millis_since(input.timestamp) > self.options.retention_ms;
            let is_due = self.is_due(Topic::Acks, *place);
            if let (Ok(outcome), false, true, false) = (&input.value, dead, is_due, is_old) {
                let at = Some((TopicPartition { topic: Topic::Acks, partition: place.0 }, place.1));
                self.report.broken("I14", Some(&outcome.file_id), at, "the ack was never brought home");
            }
        }
    }
}
