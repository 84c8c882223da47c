//! Records as bytes: consign's own reader and writer beside the Avro library's, on values of every schema and on bytes that
//! nobody wrote.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Schema, from_value};
use consign::record::registry::{LocalRegistry, RegistryError, SchemaSource};
use consign::record::{
    Arrival, Codec, Control, DispatchAttempt, FileHistory, FileManifest, FileState, Intervention, Outcome,
    PlannedDispatch, Topic, Wire,
};
use serde_json::json;

use super::random::Random;

/// What a record may take in memory for each of its bytes, at most, while it is read. An empty text takes 24, and an array
/// that grows is there twice for a moment.
const MEMORY_FOR_A_BYTE: u64 = 200;

/// What reading takes beside that: texts of errors.
const MEMORY_BESIDE: u64 = 4 * 1024;

/// Beyond the ids of the compiled-in schemas: those of another version.
const OTHER_VERSION: u32 = 1_000;

/// The compiled-in schemas, and of each another version, whose records begin with a field that this one doesn't know.
struct Versions;

fn other_version(topic: Topic) -> Option<String> {
    let mut schema: serde_json::Value = serde_json::from_str(topic.schema()?).unwrap();
    let added = json!({"name": "of_another_version", "type": ["null", "string"], "default": null});
    schema["fields"].as_array_mut().unwrap().insert(0, added);
    Some(schema.to_string())
}

impl SchemaSource for Versions {
    fn schema(&self, id: u32) -> Result<String, RegistryError> {
        let Some(place) = id.checked_sub(OTHER_VERSION) else { return LocalRegistry.schema(id) };
        let topic = Topic::ALL.get(place as usize);
        topic.and_then(|t| other_version(*t)).ok_or_else(|| RegistryError::Refused(format!("no schema {id}")))
    }

    fn id_of(&self, topic: Topic) -> Result<u32, RegistryError> {
        LocalRegistry.id_of(topic)
    }
}

/// One kind of record, with the library's reader and writer for it.
pub struct Kind {
    topic: Topic,
    schema: &'static Schema,
    reader: GenericDatumReader<'static>,
    writer: GenericDatumWriter<'static>,
    codec: Arc<Codec>,
    is_the_librarys: fn(&Kind, &Value),
    another_version_is_read: fn(&Kind, &Value),
    check: fn(&Kind, &[u8]) -> bool,
}

fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), body].concat()
}

fn leaked(text: &str) -> &'static Schema {
    Box::leak(Box::new(Schema::parse_str(text).unwrap()))
}

impl Kind {
    fn new<T: Wire + PartialEq + Debug>(topic: Topic, codec: &Arc<Codec>) -> Self {
        let schema = leaked(topic.schema().unwrap());
        // The schema is looked up with the first record.
        let first = framed(LocalRegistry.id_of(topic).unwrap(), &[]);
        assert!(codec.decode::<T>(&first).is_err(), "no record is empty");
        Self {
            topic,
            schema,
            reader: GenericDatumReader::builder(schema).build().unwrap(),
            writer: GenericDatumWriter::builder(schema).build().unwrap(),
            codec: Arc::clone(codec),
            is_the_librarys: is_the_librarys::<T>,
            another_version_is_read: another_version_is_read::<T>,
            check: check::<T>,
        }
    }

    /// All of them.
    pub fn all() -> Vec<Self> {
        let codec = Arc::new(Codec::new(Arc::new(Versions)));
        vec![
            Self::new::<FileManifest>(Topic::Manifests, &codec),
            Self::new::<Outcome>(Topic::Acks, &codec),
            Self::new::<Intervention>(Topic::Interventions, &codec),
            Self::new::<Arrival>(Topic::Arrivals, &codec),
            Self::new::<PlannedDispatch>(Topic::Plans, &codec),
            Self::new::<DispatchAttempt>(Topic::Attempts, &codec),
            Self::new::<Outcome>(Topic::Outcomes, &codec),
            Self::new::<FileHistory>(Topic::History, &codec),
            Self::new::<FileState>(Topic::FileState, &codec),
            Self::new::<Control>(Topic::Controls, &codec),
        ]
    }

    fn id(&self) -> u32 {
        LocalRegistry.id_of(self.topic).unwrap()
    }

    /// Bodies of records with any values.
    pub fn bodies(&self, count: usize) -> Vec<Vec<u8>> {
        let mut any = AnyValue::new(7);
        (0..count).map(|_| self.writer.write_value_to_vec(any.of(self.schema)).unwrap()).collect()
    }

    /// What any bytes in place of a record's body come to; whether they are taken.
    pub fn check(&self, body: &[u8]) -> bool {
        (self.check)(self, body)
    }
}

/// The library's bytes for a value are ours, and each reads the other's.
fn is_the_librarys<T: Wire + PartialEq + Debug>(kind: &Kind, any: &Value) {
    let name = kind.topic.base_name();
    let value: T = from_value(any).unwrap_or_else(|e| panic!("{name}: {e}"));
    let ours = kind.codec.encode_for(kind.topic, &value).unwrap();
    let mut theirs = Vec::new();
    kind.writer.write_ser(&mut theirs, &value).unwrap();
    assert_eq!(ours[5..], theirs, "{name}: {value:?}");
    let back: T = kind.reader.read_deser(&mut &ours[5..]).unwrap();
    assert_eq!(back, value, "{name}, read by the library");
    assert_eq!(kind.codec.decode::<T>(&ours).unwrap(), value, "{name}, read by ours");
    // Cut anywhere it is no value, and says so; nor with something behind it.
    for length in (5..ours.len()).step_by(1 + ours.len() / 23) {
        assert!(kind.codec.decode::<T>(&ours[..length]).is_err(), "{name} cut to {length} bytes");
    }
    assert!(kind.codec.decode::<T>(&[&ours[..], &[0]].concat()).is_err(), "{name} and a byte");
}

/// What another version wrote is resolved by the library, field by field.
fn another_version_is_read<T: Wire + PartialEq + Debug>(kind: &Kind, any: &Value) {
    let Value::Record(fields) = any else { panic!("every record is a record") };
    let schema = Schema::parse_str(&other_version(kind.topic).unwrap()).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let place = Topic::ALL.iter().position(|topic| *topic == T::TOPIC).unwrap();
    let id = OTHER_VERSION + u32::try_from(place).unwrap();
    for added in [Value::Union(0, Box::new(Value::Null)), Value::Union(1, Box::new(Value::String("new".into())))] {
        let more = [vec![("of_another_version".to_owned(), added)], fields.clone()].concat();
        let body = writer.write_value_to_vec(Value::Record(more)).unwrap();
        let read: T = kind.codec.decode(&framed(id, &body)).unwrap();
        assert_eq!(read, from_value::<T>(any).unwrap(), "{}", kind.topic.base_name());
    }
}

/// Where the library is the more lenient one, and what ours says instead: it drops the bits of a number beyond the 64th.
const STRICTER: &str = "a number has more than 64 bits";

/// Any bytes: the library says the same of them, and reading them takes no memory for what they only claim.
fn check<T: Wire + PartialEq + Debug>(kind: &Kind, body: &[u8]) -> bool {
    let framed = framed(kind.id(), body);
    let mut ours = None;
    let memory = allocation_counter::measure(|| ours = Some(kind.codec.decode::<T>(&framed)));
    let bound = MEMORY_BESIDE + MEMORY_FOR_A_BYTE * framed.len() as u64;
    assert!(memory.bytes_max <= bound, "{} bytes to read {}", memory.bytes_max, framed.len());
    let mut left = body;
    let theirs = kind.reader.read_deser::<T>(&mut left).ok().filter(|_| left.is_empty());
    let value = match ours.unwrap() {
        Ok(value) => value,
        Err(e) => {
            let is_stricter = e.to_string().contains(STRICTER);
            assert!(theirs.is_none() || is_stricter, "{}: ours: {e}, theirs: {theirs:?}", kind.topic.base_name());
            return false;
        }
    };
    assert_eq!(Some(&value), theirs.as_ref(), "{}", kind.topic.base_name());
    let again = kind.codec.encode_for(kind.topic, &value).unwrap();
    assert_eq!(kind.codec.decode::<T>(&again).unwrap(), value);
    true
}

/// Any value of a schema: every branch of a union and every symbol of an enum comes up.
struct AnyValue<'s> {
    random: Random,
    named: BTreeMap<String, &'s Schema>,
}

impl<'s> AnyValue<'s> {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), named: BTreeMap::new() }
    }

    fn text(&mut self) -> String {
        let length = self.random.below(4) * self.random.below(60);
        (0..length).map(|_| ['a', 'Z', '7', 'é', '漢', '\u{1F600}'][self.random.below(6)]).collect()
    }

    fn long(&mut self) -> i64 {
        let whole = (self.random.below(1 << 32) as u64) << 32 | self.random.below(1 << 32) as u64;
        whole.cast_signed() >> self.random.below(64)
    }

    fn of(&mut self, schema: &'s Schema) -> Value {
        match schema {
            Schema::Boolean => Value::Boolean(self.random.below(2) == 1),
            Schema::Int => Value::Int(i32::try_from(self.long() >> 32).unwrap()),
            Schema::Long => Value::Long(self.long()),
            Schema::TimestampMillis => Value::TimestampMillis(self.long()),
            Schema::String => Value::String(self.text()),
            Schema::Bytes => Value::Bytes(self.text().into_bytes()),
            Schema::Enum(symbols) => {
                let index = self.random.below(symbols.symbols.len());
                self.named.insert(symbols.name.fullname(None), schema);
                Value::Enum(u32::try_from(index).unwrap(), symbols.symbols[index].clone())
            }
            Schema::Union(union) => {
                let [Schema::Null, some] = union.variants() else { panic!("a union is null or something: {union:?}") };
                let branch = u32::try_from(self.random.below(2)).unwrap();
                // Also when it isn't chosen: a name that it defines may be used later.
                let value = self.of(some);
                Value::Union(branch, Box::new(if branch == 0 { Value::Null } else { value }))
            }
            Schema::Array(array) => {
                let length = self.random.below(4);
                let one_at_least: Vec<Value> = (0..=length).map(|_| self.of(&array.items)).collect();
                Value::Array(one_at_least.into_iter().skip(1).collect())
            }
            Schema::Map(map) => {
                let length = self.random.below(4);
                Value::Map((0..length).map(|n| (format!("{n}{}", self.text()), self.of(&map.types))).collect())
            }
            Schema::Record(record) => {
                self.named.insert(record.name.fullname(None), schema);
                Value::Record(record.fields.iter().map(|f| (f.name.clone(), self.of(&f.schema))).collect())
            }
            Schema::Ref { name } => {
                let named = self.named[&name.fullname(None)];
                self.of(named)
            }
            other => panic!("no record has a field of {other:?}"),
        }
    }
}

#[test]
fn the_bytes_of_every_record_are_the_avro_librarys() {
    for kind in Kind::all() {
        let mut any = AnyValue::new(42);
        (0..300).for_each(|_| (kind.is_the_librarys)(&kind, &any.of(kind.schema)));
    }
}

#[test]
fn what_another_version_wrote_is_read() {
    for kind in Kind::all() {
        let mut any = AnyValue::new(43);
        (0..40).for_each(|_| (kind.another_version_is_read)(&kind, &any.of(kind.schema)));
    }
}

#[test]
fn every_record_has_its_kind() {
    let kinds: Vec<Topic> = Kind::all().iter().map(|kind| kind.topic).collect();
    let with_schema: Vec<Topic> = Topic::ALL.into_iter().filter(|topic| topic.schema().is_some()).collect();
    assert_eq!(kinds, with_schema);
}
