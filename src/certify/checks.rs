//! What is looked at, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;

use super::hearing::{Hearing, is_success, settles};
use super::report::{Check, Report, Verdict};
use super::sender::{Case, Sender, Signed, fresh_file};
use super::{CertifyError, Subject, effects};
use crate::record::{Bytes, Confirmation, Evidence, Outcome, OutcomeKind, PlannedDispatch};
use crate::routing::sha256_digest;

/// Most keys that a text names.
const MAX_NAMED: usize = 3;
/// Why a check of signatures is left out.
const UNSIGNED: &str = "the target's requests aren't signed";

/// One run of all checks.
pub(super) struct Run<'s> {
    pub(super) subject: &'s Subject,
    pub(super) plan: &'s PlannedDispatch,
    pub(super) sender: Sender,
    pub(super) hearing: Option<Hearing>,
    pub(super) checks: Vec<Check>,
    /// Keys of which the receiver said that it took them, with the digest and the size of what it got.
    pub(super) keys: BTreeMap<String, (String, usize)>,
}

impl Run<'_> {
    /// Does everything in order. Where the first request isn't taken, nothing else can be told.
    pub(super) async fn all(mut self) -> Result<Report, CertifyError> {
        let case = self.case()?;
        let outcome = self.sender.send(&case, 1).await;
        if outcome.evidence.is_none() && outcome.kind == OutcomeKind::Retryable {
            let detail = outcome.detail.unwrap_or_default();
            return Err(CertifyError::Unreached(format!("{}: {detail}", outcome.code)));
        }
        let is_taken = self.is_taken(&outcome);
        self.check("delivery", is_taken, &format!("one request: {}", said(&outcome)));
        if is_taken {
            self.took(&case);
            self.repeat(&case, &outcome).await?;
            self.concurrent().await?;
            self.signatures().await?;
            self.large_body().await?;
            self.confirmations().await;
        }
        Ok(self.report())
    }

    fn report(self) -> Report {
        let mut cannot_see = vec![
            "whether what was taken outlasts a crash of the receiver".to_owned(),
            "how long it remembers a key".to_owned(),
            "files of other content than the one that was sent".to_owned(),
        ];
        if self.subject.effects.is_none() {
            let text = "how often it did what it does: --effects COMMAND counts that; without it a second effect shows only where \
                        answers or references differ";
            cannot_see.push(text.to_owned());
        }
        if self.plan.confirmed_by.by == Confirmation::Acks && self.subject.acks.is_none() {
            cannot_see.push("its confirmations: without --acks the acks topic isn't read".to_owned());
        }
        Report {
            target: self.plan.target.to_string(),
            url: self.plan.request.destination.clone(),
            confirmed_by: self.plan.confirmed_by.by.to_string(),
            certified: self.checks.iter().all(|check| check.verdict != Verdict::Failed),
            requests: self.sender.sent(),
            checks: self.checks,
            cannot_see,
        }
    }

    fn case(&self) -> Result<Case, CertifyError> {
        let plan = (self.subject.plan_of)(&fresh_file()).map_err(CertifyError::Plan)?;
        Ok(Case { plan: Arc::new(plan) })
    }

    fn took(&mut self, case: &Case) {
        let request = &case.plan.request;
        let received = match (&request.body_of_file, &request.body) {
            (Some(file), _) => (file.digest.clone(), usize::try_from(file.size).unwrap_or(0)),
            (None, body) => {
                let body = body.as_ref().map(|body| &body.0[..]).unwrap_or_default();
                (sha256_digest(body), body.len())
            }
        };
        self.keys.insert(case.key().to_owned(), received);
    }

    fn say(&mut self, name: &'static str, verdict: Verdict, text: impl Into<String>) {
        self.checks.push(Check { name, verdict, text: text.into() });
    }

    fn check(&mut self, name: &'static str, holds: bool, text: &str) {
        self.say(name, if holds { Verdict::Passed } else { Verdict::Failed }, text);
    }

    /// Whether a report is the yes that the target's `confirmed_by` gives room for.
    fn is_taken(&self, outcome: &Outcome) -> bool {
        match self.plan.confirmed_by.by {
            Confirmation::Response | Confirmation::Transport => {
                matches!(outcome.kind, OutcomeKind::Succeeded | OutcomeKind::Duplicate)
            }
            Confirmation::Callback | Confirmation::Acks => outcome.kind == OutcomeKind::Accepted,
        }
    }

    /// Compares the count of a key's effects with what it must be.
    async fn effects(&mut self, name: &'static str, case: &Case, must: u64) -> Result<(), CertifyError> {
        let Some(command) = &self.subject.effects else {
            self.say(name, Verdict::Unseen, "nothing counts effects: see --effects");
            return Ok(());
        };
        let count = effects::count(command, case.key()).await.map_err(CertifyError::Effects)?;
        self.check(name, count == must, &format!("{count} effects of {}, {must} expected", case.key()));
        Ok(())
    }

    async fn repeat(&mut self, case: &Case, first: &Outcome) -> Result<(), CertifyError> {
        let second = self.sender.send(case, 2).await;
        let is_taken = self.is_taken(&second);
        self.check("repeat", is_taken, &format!("the same request again: {}", said(&second)));
        self.same_answers("repeat_answer", &[first, &second]);
        self.effects("repeat_effect", case, 1).await
    }

    /// Each repeat is answered as the first request was, or called a duplicate by the target's rule.
    fn same_answers(&mut self, name: &'static str, outcomes: &[&Outcome]) {
        let compared = outcomes.iter().filter(|o| o.kind != OutcomeKind::Duplicate && self.is_taken(o));
        let answers: BTreeSet<_> = compared.map(|o| o.evidence.as_ref().map(answer)).collect();
        let text = match answers.len() {
            0 | 1 => "the answers are equal".to_owned(),
            count => {
                format!("{count} different answers under one key, as if there were {count} effects: {}", list(&answers))
            }
        };
        self.check(name, answers.len() <= 1, &text);
    }

    async fn concurrent(&mut self) -> Result<(), CertifyError> {
        let case = self.case()?;
        let count = self.subject.concurrency;
        let last = i32::try_from(count).unwrap_or(i32::MAX);
        let outcomes = join_all((1..=last).map(|attempt| self.sender.send(&case, attempt))).await;
        let taken = outcomes.iter().filter(|outcome| self.is_taken(outcome)).count();
        // "I am at it, come back" is right too.
        let wrong: Vec<&Outcome> =
            outcomes.iter().filter(|o| !self.is_taken(o) && o.kind != OutcomeKind::Retryable).collect();
        let text = match wrong.first() {
            Some(outcome) => format!("of {count} at once {} went wrong: {}", wrong.len(), said(outcome)),
            None => format!("of {count} at once {taken} were taken, {} put off", count - taken),
        };
        self.check("concurrent", wrong.is_empty() && taken > 0, &text);
        let all: Vec<&Outcome> = outcomes.iter().collect();
        self.same_answers("concurrent_answer", &all);
        let next = self.sender.send(&case, last.saturating_add(1)).await;
        let is_taken = self.is_taken(&next);
        if taken > 0 || is_taken {
            self.took(&case);
        }
        self.check("concurrent_repeat", is_taken, &format!("once more afterwards: {}", said(&next)));
        self.effects("concurrent_effect", &case, 1).await
    }

    async fn signatures(&mut self) -> Result<(), CertifyError> {
        let names = [
            "unsigned",
            "bad_signature",
            "refused_effect",
            "key_not_spoiled",
            "stale_timestamp",
            "rotation_first",
            "rotation_last",
        ];
        if self.plan.request.sign_with.as_ref().is_none_or(Vec::is_empty) {
            names.into_iter().for_each(|name| self.say(name, Verdict::LeftOut, UNSIGNED));
            return Ok(());
        }
        let case = self.case()?;
        let outcome = self.sender.send(&case.signed(Signed::Not), 1).await;
        self.refused("unsigned", "a request without signature", &outcome);
        let outcome = self.sender.send(&case.signed(Signed::ByStranger), 2).await;
        self.refused("bad_signature", "a request that a stranger signed", &outcome);
        self.effects("refused_effect", &case, 0).await?;
        let outcome = self.sender.send(&case, 3).await;
        let is_taken = self.is_taken(&outcome);
        let text = format!("the right request under the key of a refused one: {}", said(&outcome));
        self.check("key_not_spoiled", is_taken, &text);
        if is_taken {
            self.took(&case);
        }
        let case = self.case()?;
        let outcome = self.sender.send_stale(&case, 1).await;
        self.refused("stale_timestamp", "a request that was signed ten minutes ago", &outcome);
        for (name, signed, text) in [
            ("rotation_first", Signed::StrangerFirst, "an unknown signature before the right one"),
            ("rotation_last", Signed::StrangerLast, "an unknown signature behind the right one"),
        ] {
            let case = self.case()?;
            let outcome = self.sender.send(&case.signed(signed), 1).await;
            let is_taken = self.is_taken(&outcome);
            if is_taken {
                self.took(&case);
            }
            self.check(name, is_taken, &format!("{text}: {}", said(&outcome)));
        }
        Ok(())
    }

    /// A request that isn't right must get a definite no.
    fn refused(&mut self, name: &'static str, what: &str, outcome: &Outcome) {
        let is_no = outcome.evidence.as_ref().and_then(|evidence| evidence.status);
        let is_no = is_no.is_some_and(|status| (400..500).contains(&status)) && !self.is_taken(outcome);
        self.check(name, is_no, &format!("{what}: {}", said(outcome)));
    }

    async fn large_body(&mut self) -> Result<(), CertifyError> {
        let mut case = self.case()?;
        let request = &case.plan.request;
        let size = self.subject.large_body;
        let is_json = request.content_type.contains("json");
        let Some(body) = request.body.as_ref().filter(|body| is_json && size > body.0.len()) else {
            let text = "it is asked for only where the body is JSON and --large-body more than its bytes";
            self.say("large_body", Verdict::LeftOut, text);
            return Ok(());
        };
        // White space behind a JSON value means nothing.
        let mut padded = body.0.to_vec();
        padded.resize(size, b' ');
        let mut plan = PlannedDispatch::clone(&case.plan);
        if plan.confirmed_by.receipt.is_some() {
            plan.confirmed_by.receipt = Some(sha256_digest(&padded));
        }
        plan.request.body = Some(Bytes::from(padded));
        case.plan = Arc::new(plan);
        let outcome = self.sender.send(&case, 1).await;
        let is_taken = self.is_taken(&outcome);
        if is_taken {
            self.took(&case);
        }
        self.check("large_body", is_taken, &format!("a body of {size} bytes: {}", said(&outcome)));
        Ok(())
    }

    async fn confirmations(&mut self) {
        let names = ["confirmation", "confirmation_once", "confirmation_reference", "confirmation_digest", "report"];
        let Some(hearing) = self.hearing.take() else {
            let (verdict, text) = match self.plan.confirmed_by.by {
                Confirmation::Acks => (Verdict::Unseen, "without --acks the acks topic isn't read"),
                _ => (Verdict::LeftOut, "the target isn't confirmed by callback or acks"),
            };
            names.into_iter().for_each(|name| self.say(name, verdict, text));
            return;
        };
        let keys = std::mem::take(&mut self.keys);
        let open = || keys.keys().filter(|key| hearing.of(key).end().is_none()).collect::<Vec<_>>();
        // Whoever is late is named below.
        let _ = tokio::time::timeout(self.subject.wait, hearing.until(|| open().is_empty())).await;
        tokio::time::sleep(self.subject.linger).await;
        let open: Vec<String> = open().into_iter().cloned().collect();
        let said_no =
            with(&keys, |key| hearing.of(key).end().filter(|end| !is_success(end.outcome)).map(|_| key.to_owned()));
        let text = match (open.as_slice(), said_no.as_slice()) {
            ([], []) => format!("each of {} keys was confirmed", keys.len()),
            ([], no) => format!("what was taken was then refused: {}", named(no)),
            (open, _) => {
                let (count, wait) = (keys.len(), humantime::format_duration(self.subject.wait));
                format!("{} of {count} keys were not confirmed within {wait}: {}", open.len(), named(open))
            }
        };
        self.check("confirmation", open.is_empty() && said_no.is_empty(), &text);
        let contradicted = with(&keys, |key| {
            let ends: BTreeSet<bool> =
                hearing.of(key).reports.iter().filter(|r| settles(r.outcome)).map(|r| is_success(r.outcome)).collect();
            (ends.len() > 1).then(|| key.to_owned())
        });
        self.none("confirmation_once", &contradicted, "confirmed and refused", "no report contradicts another");
        let references = with(&keys, |key| {
            let all: BTreeSet<String> = hearing.of(key).reports.iter().filter_map(|r| r.reference.clone()).collect();
            (all.len() > 1).then(|| key.to_owned())
        });
        let good = "one reference for each key at most";
        self.none(
            "confirmation_reference",
            &references,
            "different references under one key, as if there were two effects",
            good,
        );
        self.digests(&keys, &hearing);
        let wrong = with(&keys, |key| hearing.of(key).wrong.first().map(|why| format!("{key}: {why}")));
        self.none("report", &wrong, "reports that don't count", "each report counts");
    }

    fn digests(&mut self, keys: &BTreeMap<String, (String, usize)>, hearing: &Hearing) {
        let mut is_seen = false;
        let wrong = with(keys, |key| {
            let (digest, size) = &keys[key];
            let differs = |report: &crate::gateway::Report| {
                let other = report.received_digest.as_ref().is_some_and(|received| received != digest);
                let longer = report.received_size.is_some_and(|received| usize::try_from(received) != Ok(*size));
                other || longer
            };
            let reports = hearing.of(key).reports;
            let is_missing = hearing.of(key).end().is_some_and(|end| end.received_digest.is_none());
            if self.plan.confirmed_by.receipt.is_some() && is_missing {
                return Some(format!("{key} (none, and the target says `receipt: digest`)"));
            }
            is_seen |= reports.iter().any(|report| report.received_digest.is_some() || report.received_size.is_some());
            reports.iter().any(differs).then(|| key.to_owned())
        });
        if is_seen || !wrong.is_empty() {
            let good = "what is said to have arrived is what was sent";
            self.none("confirmation_digest", &wrong, "digest or size of something else", good);
        } else {
            self.say(
                "confirmation_digest",
                Verdict::Unseen,
                "no report says what arrived: neither received_digest nor received_size",
            );
        }
    }

    fn none(&mut self, name: &'static str, found: &[String], bad: &str, good: &str) {
        let text = if found.is_empty() { good.to_owned() } else { format!("{bad}: {}", named(found)) };
        self.check(name, found.is_empty(), &text);
    }
}

/// What is found at each key.
fn with<T>(keys: &BTreeMap<String, T>, mut find: impl FnMut(&str) -> Option<String>) -> Vec<String> {
    keys.keys().filter_map(|key| find(key)).collect()
}

fn named(texts: &[String]) -> String {
    let mut text = texts.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    if texts.len() > MAX_NAMED {
        text.push_str(&format!(" and {} more", texts.len() - MAX_NAMED));
    }
    text
}

/// What must be the same for each request with a key.
fn answer(evidence: &Evidence) -> (Option<i32>, String) {
    (evidence.status, evidence.body.clone().unwrap_or_default())
}

fn list(answers: &BTreeSet<Option<(Option<i32>, String)>>) -> String {
    let short = |answer: &Option<(Option<i32>, String)>| match answer {
        Some((status, body)) => {
            format!("{} {}", status.unwrap_or(0), body.chars().take(60).collect::<String>())
        }
        None => "none".to_owned(),
    };
    answers.iter().take(MAX_NAMED).map(short).collect::<Vec<_>>().join(" | ")
}

/// A report in words.
fn said(outcome: &Outcome) -> String {
    let detail = outcome.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    format!("{}: {}{detail}", outcome.code, outcome.kind)
}
