//! Where schemas come from: a schema registry, or the binary itself when the log is in process.

mod http;
#[cfg(test)]
mod versions;

pub use http::{HttpRegistry, Registered, RegistryAuth, SchemaDifference};

use super::Topic;

/// The versions of the record schemas that this binary can write; it reads them all. The newest stands in `schemas/`, an
/// older one in `schemas/<version>/`.
pub const WRITE_VERSIONS: &[u32] = &[1];

/// Why a schema can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The registry doesn't answer; ask again later.
    #[error("the schema registry is away: {0}")]
    Away(String),
    /// The registry answers that there is no such schema, or that this one is not allowed.
    #[error("{0}")]
    Refused(String),
}

/// A source of schemas by id. Blocking: called on worker threads, never inside an async task.
pub trait SchemaSource: Send + Sync {
    /// The text of the schema behind an id.
    fn schema(&self, id: u32) -> Result<String, RegistryError>;

    /// The id under which a topic's compiled-in schema is registered.
    fn id_of(&self, topic: Topic) -> Result<u32, RegistryError>;

    /// Whether it answers at all, whatever it answers.
    fn ping(&self) -> Result<(), RegistryError> {
        Ok(())
    }
}

/// The compiled-in schemas under fixed ids, for the in-process log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalRegistry;

impl SchemaSource for LocalRegistry {
    fn schema(&self, id: u32) -> Result<String, RegistryError> {
        Topic::ALL
            .into_iter()
            .find(|topic| self.id_of(*topic) == Ok(id))
            .and_then(Topic::schema)
            .map(str::to_owned)
            .ok_or_else(|| RegistryError::Refused(format!("no schema has the id {id}")))
    }

    fn id_of(&self, topic: Topic) -> Result<u32, RegistryError> {
        let place = Topic::ALL.iter().position(|t| *t == topic).expect("ALL has every topic");
        topic
            .schema()
            .map(|_| u32::try_from(place).expect("few topics") + 1)
            .ok_or_else(|| RegistryError::Refused(format!("{} has no schema", topic.base_name())))
    }
}
