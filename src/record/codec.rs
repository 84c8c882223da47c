//! Values on the wire: the Confluent framing (a zero byte, the schema id in four big-endian bytes) around Avro binary.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, RwLock};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::plain;
use super::registry::{RegistryError, SchemaSource};
use super::{
    Arrival, Control, DispatchAttempt, FileHistory, FileManifest, FileState, Intervention, Outcome, PlannedDispatch,
    Topic,
};

/// A record type that travels on consign's topics.
pub trait Wire: Serialize + DeserializeOwned {
    /// The topic whose schema describes it. `Outcome` is the same on `acks` and `outcomes`.
    const TOPIC: Topic;
}

macro_rules! wire {
    ($($record:ident on $topic:ident,)+) => { $(impl Wire for $record { const TOPIC: Topic = Topic::$topic; })+ };
}
wire! {
    FileManifest on Manifests,
    Intervention on Interventions,
    Arrival on Arrivals,
    PlannedDispatch on Plans,
    DispatchAttempt on Attempts,
    Outcome on Outcomes,
    FileHistory on History,
    FileState on FileState,
    Control on Controls,
}

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// These bytes will never be a record: dead-letter them.
    #[error("{0}")]
    Poison(String),
    /// The registry, which alone knows the schema, is away: ask again, and let nothing pass meanwhile.
    #[error("the schema registry is away: {0}")]
    RegistryAway(String),
}

/// A compiled-in schema with what was prepared for it once.
struct Prepared {
    schema: &'static Schema,
    canonical: String,
}

static PREPARED: LazyLock<BTreeMap<Topic, Prepared>> = LazyLock::new(|| {
    Topic::ALL.into_iter().filter_map(|topic| Some((topic, Prepared::new(topic.schema()?)))).collect()
});

impl Prepared {
    fn new(text: &str) -> Self {
        let schema: &'static Schema =
            Box::leak(Box::new(Schema::parse_str(text).expect("a compiled-in schema is valid")));
        Self { schema, canonical: schema.canonical_form() }
    }

    fn of(topic: Topic) -> &'static Self {
        PREPARED.get(&topic).expect("only dead letters have no schema")
    }
}

/// What an id in a record's framing stands for.
#[derive(Clone)]
enum Known {
    /// The very schema that is compiled in for the topic.
    CompiledIn,
    /// Another version that the compiled-in one can read.
    Resolvable(Arc<Schema>),
    /// Something that the compiled-in schema can't read.
    Unreadable(String),
}

fn framed<T: Wire>(topic: Topic, id: u32, value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(0);
    bytes.extend_from_slice(&id.to_be_bytes());
    plain::write(&mut bytes, value).unwrap_or_else(|e| panic!("{} is no record: {e}", topic.base_name()));
    bytes
}

/// Encodes and decodes values. Shared by all threads; an id is looked up once and then remembered.
pub struct Codec {
    source: Arc<dyn SchemaSource>,
    write_ids: RwLock<BTreeMap<Topic, u32>>,
    known: RwLock<BTreeMap<(Topic, u32), Known>>,
}

impl Codec {
    /// Nothing is asked of `source` before the first record.
    pub fn new(source: Arc<dyn SchemaSource>) -> Self {
        Self { source, write_ids: RwLock::default(), known: RwLock::default() }
    }

    /// The framed bytes of a value for a topic (`Outcome` goes to two).
    ///
    /// Asks the registry for the id of the topic's schema the first time, and fails only by that.
    pub fn encode_for<T: Wire>(&self, topic: Topic, value: &T) -> Result<Vec<u8>, RegistryError> {
        Ok(framed(topic, self.write_id(topic)?, value))
    }

    /// The same without asking the registry: `None` as long as the id isn't known.
    pub fn encode_if_known<T: Wire>(&self, topic: Topic, value: &T) -> Option<Vec<u8>> {
        let id = *self.write_ids.read().expect("not poisoned").get(&topic)?;
        Some(framed(topic, id, value))
    }

    /// The framed bytes of a value for the topic of its type.
    pub fn encode<T: Wire>(&self, value: &T) -> Result<Vec<u8>, RegistryError> {
        self.encode_for(T::TOPIC, value)
    }

    /// Learns the write ids of all topics, so that later encoding can't fail.
    pub fn prepare(&self) -> Result<(), RegistryError> {
        PREPARED.keys().try_for_each(|topic| self.write_id(*topic).map(drop))
    }

    /// Whether the source of schemas answers at all.
    pub fn ping(&self) -> Result<(), RegistryError> {
        self.source.ping()
    }

    /// Reads a value. The schema behind the id is trusted only when it is the compiled-in one or resolves to it.
    pub fn decode<T: Wire>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        let poison = |text: String| Err(DecodeError::Poison(text));
        if bytes.len() < 5 || bytes[0] != 0 {
            return poison("the value doesn't begin with a zero byte and a schema id".into());
        }
        let id = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        let body = &bytes[5..];
        let read = match self.known(T::TOPIC, id)? {
            Known::CompiledIn => plain::read(body).map_err(|e| e.to_string()),
            Known::Resolvable(writer) => resolve(T::TOPIC, &writer, body).map_err(|e| e.to_string()),
            Known::Unreadable(why) => return poison(why),
        };
        match read {
            Ok((_, left)) if left > 0 => poison(format!("{left} bytes follow the record")),
            Ok((value, _)) => Ok(value),
            Err(e) => poison(format!("the value is no {}: {e}", T::TOPIC.base_name())),
        }
    }

    fn write_id(&self, topic: Topic) -> Result<u32, RegistryError> {
        if let Some(id) = self.write_ids.read().expect("not poisoned").get(&topic) {
            return Ok(*id);
        }
        let id = self.source.id_of(topic)?;
        // What is written will be read, and the registry may be away by then.
        if let Err(DecodeError::RegistryAway(why)) = self.known(topic, id) {
            return Err(RegistryError::Away(why));
        }
        self.write_ids.write().expect("not poisoned").insert(topic, id);
        Ok(id)
    }

    fn known(&self, topic: Topic, id: u32) -> Result<Known, DecodeError> {
        if let Some(known) = self.known.read().expect("not poisoned").get(&(topic, id)) {
            return Ok(known.clone());
        }
        let known = match self.source.schema(id) {
            Ok(text) => judge(topic, id, &text),
            // A refusal is not remembered: the id may be registered a moment later.
            Err(RegistryError::Refused(why)) => return Ok(Known::Unreadable(format!("schema id {id}: {why}"))),
            Err(RegistryError::Away(why)) => return Err(DecodeError::RegistryAway(why)),
        };
        self.known.write().expect("not poisoned").insert((topic, id), known.clone());
        Ok(known)
    }
}

/// Reads what another version wrote; gives how many bytes follow it.
fn resolve<T: Wire>(topic: Topic, writer: &Schema, body: &[u8]) -> Result<(T, usize), apache_avro::Error> {
    let reader = GenericDatumReader::builder(writer).reader_schema(Prepared::of(topic).schema).build()?;
    let mut left = body;
    let value = reader.read_value(&mut left)?;
    Ok((apache_avro::from_value(&value)?, left.len()))
}

fn judge(topic: Topic, id: u32, text: &str) -> Known {
    let prepared = Prepared::of(topic);
    if topic.schema() == Some(text) {
        return Known::CompiledIn;
    }
    let writer = match Schema::parse_str(text) {
        Ok(writer) => writer,
        Err(e) => return Known::Unreadable(format!("schema id {id} is no Avro schema: {e}")),
    };
    if writer.canonical_form() == prepared.canonical {
        return Known::CompiledIn;
    }
    match SchemaCompatibility::can_read(&writer, prepared.schema) {
        Ok(_) => Known::Resolvable(Arc::new(writer)),
        Err(e) => Known::Unreadable(format!("schema id {id} can't be read as {}: {e}", topic.base_name())),
    }
}
