//! A schema registry that can go away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::record::Topic;
use crate::record::registry::{LocalRegistry, RegistryError, SchemaSource};

/// The compiled-in schemas under fixed ids, and others that are registered; away when it is told to be.
#[derive(Debug, Clone, Default)]
pub struct SimRegistry {
    away: Arc<AtomicBool>,
    others: Arc<Mutex<BTreeMap<u32, String>>>,
    broken: Arc<AtomicBool>,
    /// Whether an id that nobody knows is taken for that of a manifest.
    trusting: bool,
}

impl SimRegistry {
    /// Whether it doesn't answer from here on.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Registers a schema under an id.
    pub fn register(&self, id: u32, schema: &str) {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).insert(id, schema.to_owned());
    }

    /// The same registry, but it is never away.
    pub(super) fn steady(&self) -> Self {
        Self { others: Arc::clone(&self.others), ..Self::default() }
    }

    /// The same registry, but it knows every id.
    pub(super) fn trusting(self) -> Self {
        Self { trusting: true, ..self }
    }

    /// Whether looking up [`SimRegistry::BREAKING_ID`] panics: the stand-in for a broken invariant while a record is folded.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// See [`SimRegistry::set_broken`].
    pub const BREAKING_ID: u32 = 666;

    fn check(&self) -> Result<(), RegistryError> {
        if self.away.load(Ordering::SeqCst) { Err(RegistryError::Away("it was sent away".into())) } else { Ok(()) }
    }
}

impl SchemaSource for SimRegistry {
    fn schema(&self, id: u32) -> Result<String, RegistryError> {
        self.check()?;
        assert!(id != Self::BREAKING_ID || !self.broken.load(Ordering::SeqCst), "an invariant is broken on purpose");
        let other = self.others.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        match other.map_or_else(|| LocalRegistry.schema(id), Ok) {
            Err(RegistryError::Refused(_)) if self.trusting => {
                LocalRegistry.schema(LocalRegistry.id_of(Topic::Manifests)?)
            }
            found => found,
        }
    }

    fn ping(&self) -> Result<(), RegistryError> {
        self.check()
    }

    fn id_of(&self, topic: Topic) -> Result<u32, RegistryError> {
        self.check()?;
        LocalRegistry.id_of(topic)
    }
}
