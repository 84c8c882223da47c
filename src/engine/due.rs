//! What is due without an input: timers to append, attempts to authorize, settled files to forget.

use std::sync::Arc;

use super::batch::{Batch, Order};
use super::home::{TimerMark, mark_of};
use super::observed::Observed;
use super::work::Deciding;
use crate::lifecycle::DueTimer;
use crate::record::{
    DispatchAttempt, FileId, Outcome, OutcomeKind, Reporter, TargetName, Timer, TimerKind, Timestamp, Topic,
    attempt_key, dispatch_key, file_key,
};

impl Batch<'_> {
    /// Looks at the files of a home whose time has come, at most `max`.
    pub(super) fn wake(&mut self, home: i32, max: usize) {
        for id in self.home(home).expired() {
            if self.is_full_for_now(usize::MAX) {
                return;
            }
            if !self.drafts.contains_key(id) {
                self.forget(home, id);
            }
        }
        for id in self.home(home).woken(self.now, max) {
            if self.is_full_for_now(usize::MAX) {
                return;
            }
            // A file that this batch changes is looked at again after its commit.
            if self.drafts.contains_key(&id) {
                continue;
            }
            let Some(kept) = self.home(home).kept(&id) else { continue };
            let due: Vec<DueTimer> = kept.timers().filter(|t| t.timer.due <= self.now).collect();
            for DueTimer { target, timer, after_acks } in due {
                if self.is_full_for_now(usize::MAX) {
                    break;
                }
                let mark = mark_of(target.as_ref(), &timer);
                if after_acks && timer.due > self.worker.acks_read_until() {
                    self.parked.push((home, id.clone(), mark));
                } else {
                    self.append_timer(home, &id, target, timer, mark);
                }
            }
            self.roused.push((home, id));
        }
    }

    fn append_timer(&mut self, home: i32, id: &FileId, target: Option<TargetName>, timer: Timer, mark: TimerMark) {
        let key = target.as_ref().map_or_else(|| file_key(id), |target| dispatch_key(id, target));
        let target = target.unwrap_or_else(|| TargetName::trusted(""));
        let outcome = Outcome {
            attempt: timer.attempt,
            code: timer.what.as_str().to_owned(),
            timer: Some(timer),
            ..Outcome::new(id.clone(), target, OutcomeKind::Timer, Reporter::Engine, self.now)
        };
        self.append(Topic::Outcomes, home, key, &outcome);
        self.appended.push((home, id.clone(), mark));
    }

    /// Dispatches that wait under a pause escalate like HELD ones.
    pub(super) fn escalate_paused(&mut self, home: i32) {
        let worker = self.worker;
        let paused: Vec<(TargetName, Timestamp)> =
            worker.controls.paused().into_iter().map(|(target, since)| (target.clone(), since)).collect();
        for (target, paused_since) in paused {
            for (waits_since, id) in self.home(home).waiting(&target) {
                if self.is_full_for_now(usize::MAX) {
                    return;
                }
                let Some(kept) = self.home(home).kept(id) else { continue };
                let index = kept.file.index_of(&target).expect("a waiting dispatch is planned");
                let dispatch = &kept.file.dispatches[index];
                let since = dispatch.escalated_at.unwrap_or(paused_since.max(*waits_since));
                let timer = Timer {
                    what: TimerKind::Escalation,
                    due: since.plus_millis(dispatch.escalation_interval_ms()),
                    attempt: None,
                    escalation: Some(dispatch.escalations + 1),
                };
                let mark = mark_of(Some(&target), &timer);
                if timer.due <= self.now && !kept.was_appended(&mark) && !self.drafts.contains_key(id) {
                    self.append_timer(home, id, Some(target.clone()), timer, mark);
                }
            }
        }
    }

    /// Authorizes attempts of dispatches that were due before this batch, while there is capacity.
    pub(super) fn authorize_waiting(&mut self, home: i32, max: usize) {
        for target in self.home(home).waited_for() {
            if self.is_paused(target) {
                continue;
            }
            for (_, id) in self.home(home).waiting(target) {
                if self.is_full_for_now(max) {
                    return;
                }
                // Those that have their turn were fetched; capacity that has come meanwhile is for the next batch.
                if self.file(home, id).is_none() || !self.authorize(home, id, target) {
                    break;
                }
            }
        }
    }

    /// Authorizes attempts of the files that this batch changed: what has just become due needn't wait for the next.
    pub(super) fn authorize_drafts(&mut self, max: usize, current: &mut Option<Deciding>) {
        let ids: Vec<(i32, FileId)> = self.drafts.iter().map(|(id, d)| (d.home, id.clone())).collect();
        for (home, id) in ids {
            *current = Some(Deciding::Home(home));
            for index in 0..self.drafts[&id].file.dispatches.len() {
                let file = &self.drafts[&id].file;
                if !file.may_authorize(index, self.now) {
                    continue;
                }
                let target = file.dispatches[index].target().clone();
                if self.is_full_for_now(max) {
                    return;
                }
                if !self.is_paused(&target) {
                    self.authorize(home, &id, &target);
                }
            }
        }
    }

    /// Authorizes the next attempt of a dispatch, if it may be and there is capacity. False when there is none.
    fn authorize(&mut self, home: i32, id: &FileId, target: &TargetName) -> bool {
        let now = self.now;
        let Some(file) = self.file(home, id) else { return true };
        // A fetch that this batch has ended is no dispatch any more.
        let Some(index) = file.index_of(target) else { return true };
        if !file.may_authorize(index, now) {
            return true;
        }
        let terms = file.dispatches[index].terms.clone();
        if terms.written_to.as_ref().is_some_and(|topic| !self.is_taken(target, topic)) {
            return false;
        }
        let Some(permit) = self.worker.capacity.acquire(target, self.now) else { return false };
        let plan = match self.plan_of(home, id, target) {
            Ok(plan) => plan,
            Err(error) => {
                self.store_failed = Some((home, error));
                return false;
            }
        };
        let worker_name = self.worker.options.identity.clone();
        let file = &mut self.draft(home, id).expect("just found").file;
        let fetch = file.is_fetching().then(|| Arc::clone(&file.arrival));
        let attempt: Arc<DispatchAttempt> = Arc::new(file.authorize(index, now, &worker_name));
        file.authorized(&attempt);
        self.append(Topic::Attempts, home, attempt_key(id, target, attempt.attempt), attempt.as_ref());
        self.observe(Observed::Attempt { file_id: id.clone(), target: target.clone(), attempt: attempt.attempt });
        if terms.written_to.is_some() {
            self.write_record(home, &plan, &attempt, permit);
        } else {
            self.orders.push(Order { home, plan, attempt, fetch, permit });
        }
        true
    }
}
