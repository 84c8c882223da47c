//! What the machine goes by of a dispatch's plan.
//!
//! A plan's request is for whoever sends it and stays with the plan, which no file carries about. What is left says the same
//! for every file that a target of one document gets, so a worker keeps it once for all of them
//! (docs/decisions/0095-terms-are-shared.md).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::record::{
    ConfirmedBy, Escalation, OnExhausted, OnFailed, OnOverdue, OnUnknown, PlannedDispatch, Retry, TargetName, Timeouts,
};

/// What holds for every attempt of a dispatch and every report about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The target's name in the routing document.
    pub target: TargetName,
    /// Targets whose success the dispatch waits for.
    pub after: Vec<TargetName>,
    /// By what success is confirmed; the receipt, which differs from file to file, is the dispatch's own.
    pub confirmed_by: ConfirmedBy,
    /// When a request's fate is unknown.
    pub on_unknown: OnUnknown,
    /// When a confirmation is overdue.
    pub on_overdue: OnOverdue,
    /// When the budget is spent.
    pub on_exhausted: OnExhausted,
    /// What this dispatch's failure means for the others.
    pub on_failed: OnFailed,
    /// Budgets and schedule.
    pub retry: Retry,
    /// Bounds of an attempt.
    pub timeouts: Timeouts,
    /// When a person's turn moves on.
    pub escalation: Escalation,
    /// Whether an operator may confirm success by hand.
    pub operator_confirm: bool,
    /// Who is accountable for the target.
    pub owner: String,
    /// The topic of a target whose records are part of the transaction that authorizes them.
    pub written_to: Option<String>,
}

impl Terms {
    fn of(plan: &PlannedDispatch) -> Self {
        Self {
            target: plan.target.clone(),
            after: plan.after.clone(),
            confirmed_by: ConfirmedBy { receipt: None, ..plan.confirmed_by.clone() },
            on_unknown: plan.on_unknown,
            on_overdue: plan.on_overdue,
            on_exhausted: plan.on_exhausted,
            on_failed: plan.on_failed,
            retry: plan.retry.clone(),
            timeouts: plan.timeouts.clone(),
            escalation: plan.escalation.clone(),
            operator_confirm: plan.operator_confirm,
            owner: plan.owner.clone(),
            written_to: plan.request.is_in_transaction().then(|| plan.request.destination.clone()),
        }
    }
}

/// Terms, in a thread's memory once for all dispatches that have them. Its serialized form is for the store of this very version.
#[derive(Clone)]
pub struct SharedTerms(Arc<Packed>);

struct Packed {
    terms: Terms,
    bytes: Box<[u8]>,
}

/// How many terms are known by their bytes at a time. A document has as many as it has targets, unless the topics that
/// targets are written to differ by file.
const KNOWN_AT_MOST: usize = 4_096;

thread_local! {
    /// Those of this thread: a worker has its files to itself, and asks nobody.
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// Terms by their bytes. It decides nothing: without it the same terms would be in memory more often.
#[derive(Default)]
struct Known(BTreeMap<Box<[u8]>, SharedTerms>);

impl Known {
    fn get(&self, bytes: &[u8]) -> Option<SharedTerms> {
        self.0.get(bytes).cloned()
    }

    fn learn(&mut self, shared: &SharedTerms) {
        if self.0.len() >= KNOWN_AT_MOST {
            self.0.retain(|_, known| Arc::strong_count(&known.0) > 1);
            if self.0.len() > KNOWN_AT_MOST / 2 {
                // Where so many differ, sharing gains little, and looking for room each time would cost much.
                self.0.clear();
            }
        }
        self.0.insert(shared.0.bytes.clone(), shared.clone());
    }
}

impl SharedTerms {
    /// The terms of a planned dispatch.
    pub fn of(plan: &PlannedDispatch) -> Self {
        Self::new(Terms::of(plan))
    }

    /// These terms.
    pub fn new(terms: Terms) -> Self {
        let bytes = postcard::to_stdvec(&terms).expect("terms are of finite, known shapes");
        Self::known(&bytes, || Ok::<_, std::convert::Infallible>(terms)).unwrap_or_else(|never| match never {})
    }

    fn known<E>(bytes: &[u8], read: impl FnOnce() -> Result<Terms, E>) -> Result<Self, E> {
        KNOWN.with_borrow_mut(|known| {
            if let Some(shared) = known.get(bytes) {
                return Ok(shared);
            }
            let shared = Self(Arc::new(Packed { terms: read()?, bytes: bytes.into() }));
            known.learn(&shared);
            Ok(shared)
        })
    }
}

impl Deref for SharedTerms {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.0.terms
    }
}

impl fmt::Debug for SharedTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.terms.fmt(f)
    }
}

impl PartialEq for SharedTerms {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.bytes == other.0.bytes
    }
}

impl Serialize for SharedTerms {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return self.0.terms.serialize(serializer);
        }
        serializer.serialize_bytes(&self.0.bytes)
    }
}

impl<'de> Deserialize<'de> for SharedTerms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Terms::deserialize(deserializer).map(Self::new);
        }
        deserializer.deserialize_bytes(OfBytes)
    }
}

struct OfBytes;

impl Visitor<'_> for OfBytes {
    type Value = SharedTerms;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("terms as bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<SharedTerms, E> {
        SharedTerms::known(bytes, || match postcard::take_from_bytes(bytes) {
            Ok((terms, [])) => Ok(terms),
            Ok(_) => Err(E::custom("terms are longer than they say")),
            Err(error) => Err(E::custom(error)),
        })
    }
}

#[cfg(test)]
mod tests;
