//! What fate does to processes, clocks, the log and the registry.

use super::Storm;
use crate::log::memory::{Fault, TopicFault};
use crate::log::{Headers, TopicPartition};
use crate::record::{FileId, Topic};
use crate::sim::document::BOOKED;
use crate::sim::points::{Blow, Point, When};

/// What strikes at once.
#[derive(Debug, Clone, Copy)]
enum Strike {
    Fence,
    Expire,
    Crash,
    Stop,
    Twin,
    Rebalances,
    ExpireTransactions,
    ReadsAway,
    RebuildAway,
    Clock,
    Registry,
    OffsetsLost,
    InboxDeleted,
    Topic,
}

const STRIKES: [(usize, Strike); 14] = [
    (4, Strike::Fence),
    (8, Strike::Expire),
    (10, Strike::Crash),
    (5, Strike::Stop),
    (6, Strike::Twin),
    (3, Strike::Rebalances),
    (10, Strike::ExpireTransactions),
    (8, Strike::ReadsAway),
    (6, Strike::RebuildAway),
    (24, Strike::Clock),
    (8, Strike::Registry),
    (1, Strike::OffsetsLost),
    (16, Strike::InboxDeleted),
    (5, Strike::Topic),
];

/// How far a clock may be off without breaking what the plans allow for, in milliseconds: two of them differ by twice that.
const SKEW_MS: i64 = 500;

impl Storm {
    pub(super) fn strike(&mut self) {
        let identity = self.worker();
        let what = self.draws.weighted(&STRIKES);
        self.say(format!("{what:?}: {identity}"));
        match what {
            Strike::Fence => {
                self.world.cluster.fence_producer(identity);
                self.fault("fenced");
            }
            Strike::Expire => {
                self.note_what_is_handed_over();
                self.world.cluster.expire(identity);
                self.fault("expired_member");
            }
            Strike::Crash => {
                self.note_what_is_handed_over();
                self.world.crash(identity);
                self.fault("crashed");
            }
            Strike::Stop => {
                self.world.stop(identity);
                self.fault("stopped");
            }
            Strike::Twin => self.twin(identity),
            Strike::Rebalances => self.rebalance(),
            Strike::ExpireTransactions => {
                self.world.cluster.expire_transactions();
                self.fault("transactions_expired");
            }
            Strike::ReadsAway => {
                self.world.aimed.reads(identity, 3);
                self.world.aimed.readers(identity, 2);
            }
            Strike::RebuildAway => {
                self.world.aimed.rebuilds(identity, 2);
                self.world.aimed.transaction(identity, Fault::LeftOpen);
            }
            Strike::Clock => self.move_a_clock(identity),
            Strike::Registry => {
                let away = self.draws.percent(40);
                self.world.registry.set_away(away);
                if away {
                    self.fault("registry_away");
                }
            }
            Strike::OffsetsLost => self.lose_offsets(),
            Strike::InboxDeleted => self.delete_old_inputs(),
            Strike::Topic => self.break_a_topic(),
        }
    }

    fn note_what_is_handed_over(&mut self) {
        if self.has_open_attempts() {
            self.fault("handed_over_on_the_wire");
        }
    }

    /// Another process begins under an identity that is taken; whoever had it goes on until it learns so.
    fn twin(&mut self, identity: &'static str) {
        self.note_what_is_handed_over();
        let number = self.world.processes.get(identity).copied().unwrap_or(0);
        if let Some(worker) = self.world.start(identity) {
            let identity = identity.to_owned();
            self.world.others.push(crate::sim::process::Process { identity, number, worker });
        }
        self.fault("twin");
    }

    /// The topic of a target vanishes, fails under transactions, or is there again.
    fn break_a_topic(&mut self) {
        let fault = match self.draws.below(3) {
            0 => None,
            1 => {
                self.fault("topic_missing");
                Some(TopicFault::Missing)
            }
            _ => {
                self.fault("topic_fails_unseen");
                Some(TopicFault::FailsUnseen)
            }
        };
        self.world.cluster.topic_fault(BOOKED, fault);
    }

    /// One rebalance after the other, with hardly time to begin between.
    fn rebalance(&mut self) {
        for _ in 0..self.draws.between(1, 4) {
            self.world.cluster.rebalance();
            self.fault("rebalanced");
            for _ in 0..self.draws.below(6) {
                self.step();
            }
        }
    }

    fn move_a_clock(&mut self, identity: &'static str) {
        let (name, ahead) = match self.draws.below(5) {
            0 | 3 if self.wild_clocks => {
                let far = self.draws.between(2_000, 120_000);
                ("clock_beyond_skew", if self.draws.percent(50) { far } else { -far })
            }
            1 => ("clock_jump", *self.draws.one_of(&[-SKEW_MS, SKEW_MS])),
            _ => ("clock_skew", self.draws.between(-SKEW_MS, SKEW_MS)),
        };
        self.world.skew(identity, ahead);
        self.fault(name);
    }

    /// The group's committed offsets are lost, for one input or for all of a home; the processes are ended, and the
    /// positions repaired as `consign offsets repair` does.
    fn lose_offsets(&mut self) {
        while self.world.thaw().is_some() {}
        for identity in self.wanted.clone() {
            self.world.crash(identity);
            self.world.cluster.expire(identity);
        }
        self.world.end_others();
        self.world.cluster.expire_transactions();
        self.world.cluster.land_markers();
        let partition = self.anywhere();
        let count = self.draws.between(1, 3);
        let lost: Vec<TopicPartition> = Topic::HOME_INPUTS
            .into_iter()
            .take(usize::try_from(count).expect("few"))
            .map(|topic| TopicPartition { topic, partition })
            .collect();
        self.world.cluster.forget_committed(&lost);
        let first = self.wanted[0];
        self.world.start(first);
        for _ in 0..12 {
            self.world.step(first);
        }
        let refused = self.world.unwell().iter().any(|u| u.code == "CG211");
        self.count(if refused { "offsets_refused" } else { "offsets_not_missed" });
        self.world.crash(first);
        self.world.cluster.expire(first);
        self.world.cluster.expire_transactions();
        self.world.cluster.land_markers();
        let repaired = self.world.repair_offsets();
        self.say(format!("offsets of {lost:?} are lost and repaired: {repaired:?}"));
        self.fault("offsets_lost");
        self.restart_the_stopped();
    }

    pub(super) fn aim(&mut self) {
        let identity = self.worker();
        let late_markers = self.draws.percent(50);
        let fault = self.draws.weighted(&[
            (20, Fault::Away),
            (25, Fault::Abort { late_markers }),
            (12, Fault::LeftOpen),
            (15, Fault::Commit { reply_lost: true, late_markers }),
            (35, Fault::Commit { reply_lost: false, late_markers: true }),
        ]);
        self.say(format!("aim {fault:?} at {identity}"));
        self.world.aimed.transaction(identity, fault);
    }

    /// A process ends, or stands still, at one of its next calls.
    pub(super) fn aim_a_blow(&mut self) {
        let identity = self.worker();
        let point = if self.draws.percent(40) { Point::Transact } else { *self.draws.one_of(&Point::ALL) };
        let when = *self.draws.one_of(&When::ALL);
        let blow = if self.draws.percent(50) { Blow::Kill } else { Blow::Freeze };
        let passes = u32::try_from(self.draws.below(3)).expect("few");
        match point {
            // A call that a worker makes only in trouble: that is aimed too.
            Point::Rebuild => self.world.aimed.transaction(identity, Fault::LeftOpen),
            Point::Pause => self.wait_for_the_registry(),
            _ => {}
        }
        self.say(format!("{} {identity} {} {}", blow.name(), when.name(), point.name()));
        self.world.aimed.blow(identity, (point, when), blow, passes);
    }

    /// A schema that only the registry knows, which is away: whoever reads that waits for it.
    fn wait_for_the_registry(&mut self) {
        self.world.registry.set_away(true);
        self.fault("registry_away");
        for partition in 0..self.partitions() {
            let at = TopicPartition { topic: Topic::Manifests, partition };
            let value = Some(vec![0, 0, 0, 0, 98, 1, 2, 3]);
            self.world.cluster.put(at, Some(b"x".to_vec()), value, Headers::new()).expect("it exists");
        }
        self.fault("poison_unknown_id");
    }

    /// What is announced again while it is remembered waits behind a record that can't be read yet, for longer than the memory
    /// as often as not.
    pub fn wait_past_memory(&mut self) {
        let (retention_ms, forgets_after_ms) =
            (self.world.verify_options(false).retention_ms, self.world.forgets_after_ms());
        self.world.advance(self.draws.between(0, retention_ms));
        self.world.run();
        self.wait_for_the_registry();
        let settled: Vec<FileId> =
            self.world.states().iter().filter(|(_, s)| s.settled_at.is_some()).map(|(id, _)| id.clone()).collect();
        self.say(format!("{} settled files are announced again, and wait", settled.len()));
        for id in &settled {
            self.repeat_manifest(id.as_str());
        }
        let end = self.world.now().plus_millis(self.draws.between(0, forgets_after_ms + retention_ms / 2));
        while self.world.now() < end {
            self.world.advance(end.millis_since(self.world.now()).min(retention_ms / 4));
            self.world.run();
        }
        self.world.registry.set_away(false);
        self.say("what waited is read");
        self.fault("backlog_past_memory");
    }

    /// What stands still goes on, or loses what it had: its session, its producer, its identity.
    pub(super) fn thaw(&mut self) {
        let Some(identity) = self.world.frozen().first().cloned() else { return };
        match self.draws.below(8) {
            0..=1 => {
                self.world.cluster.expire(&identity);
                self.say(format!("the session of {identity}, which stands still, expires"));
                self.fault("expired_member");
            }
            2 => {
                self.world.start(&identity);
                self.say(format!("another process starts as {identity}, which stands still"));
                self.fault("twin");
            }
            3 => {
                self.world.cluster.fence_producer(&identity);
                self.fault("fenced");
            }
            _ => {
                self.say(format!("{identity} goes on"));
                self.world.thaw();
            }
        }
    }

    pub(super) fn land(&mut self) {
        let pending = self.world.cluster.pending_markers();
        if !pending.is_empty() {
            let marker = *self.draws.one_of(&pending);
            self.world.cluster.land_marker(marker);
            self.fault("markers_landed_late");
        }
    }

    pub(super) fn compact(&mut self) {
        let topic = *self.draws.one_of(&Topic::RESTORED);
        for partition in 0..self.partitions() {
            self.world.cluster.compact(TopicPartition { topic, partition }, false).expect("it exists");
        }
        self.fault("compacted");
        self.say(format!("compact {}", topic.base_name()));
    }

    /// All faults end, everything late lands, everyone is there with the right time, and nothing is paused.
    pub fn heal(&mut self) {
        self.say("heal");
        self.world.aimed.clear();
        while self.world.thaw().is_some() {}
        self.world.end_others();
        self.world.registry.set_away(false);
        self.world.cluster.topic_fault(BOOKED, None);
        for identity in self.wanted.clone() {
            self.world.skew(identity, 0);
        }
        self.world.cluster.expire_transactions();
        self.world.cluster.land_markers();
        self.restart_the_stopped();
        self.world.heal_disks();
        self.resume_everything();
    }
}
