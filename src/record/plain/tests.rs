use std::collections::BTreeMap;
use std::fmt::Debug;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Schema, from_value};

use super::{read, write};
use crate::record::{
    Arrival, Control, DispatchAttempt, FileHistory, FileManifest, FileState, Intervention, Outcome, PlannedDispatch,
    Topic, Wire,
};

/// Any value of a schema, by a fixed generator: every branch of a union and every symbol of an enum comes up.
struct AnyValue<'s> {
    state: u64,
    named: BTreeMap<String, &'s Schema>,
}

impl<'s> AnyValue<'s> {
    fn up_to(&mut self, most: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % (most + 1)
    }

    fn text(&mut self) -> String {
        let length = self.up_to(3) * self.up_to(60);
        (0..length).map(|_| ['a', 'Z', '7', 'é', '漢', '\u{1F600}'][usize::try_from(self.up_to(5)).unwrap()]).collect()
    }

    fn long(&mut self) -> i64 {
        let magnitude = (self.up_to(u64::from(u32::MAX)) << 31) | self.up_to(u64::from(u32::MAX));
        let small = magnitude.cast_signed() >> self.up_to(62);
        if self.up_to(1) == 0 { small } else { -small }
    }

    fn of(&mut self, schema: &'s Schema) -> Value {
        match schema {
            Schema::Boolean => Value::Boolean(self.up_to(1) == 1),
            Schema::Int => Value::Int(i32::try_from(self.long() % i64::from(i32::MAX)).unwrap()),
            Schema::Long => Value::Long(self.long()),
            Schema::TimestampMillis => Value::TimestampMillis(self.long()),
            Schema::String => Value::String(self.text()),
            Schema::Bytes => Value::Bytes(self.text().into_bytes()),
            Schema::Enum(symbols) => {
                let index = self.up_to(symbols.symbols.len() as u64 - 1);
                let at = usize::try_from(index).unwrap();
                self.named.insert(symbols.name.fullname(None).to_string(), schema);
                Value::Enum(u32::try_from(index).unwrap(), symbols.symbols[at].clone())
            }
            Schema::Union(union) => {
                let [Schema::Null, some] = union.variants() else { panic!("a union is null or something: {union:?}") };
                let branch = u32::try_from(self.up_to(1)).unwrap();
                // Also when it isn't chosen: a name that it defines may be used later.
                let value = self.of(some);
                Value::Union(branch, Box::new(if branch == 0 { Value::Null } else { value }))
            }
            Schema::Array(array) => {
                let length = self.up_to(3);
                let one_at_least: Vec<Value> = (0..=length).map(|_| self.of(&array.items)).collect();
                Value::Array(one_at_least.into_iter().skip(1).collect())
            }
            Schema::Map(map) => {
                let length = self.up_to(3);
                Value::Map((0..length).map(|n| (format!("{n}{}", self.text()), self.of(&map.types))).collect())
            }
            Schema::Record(record) => {
                self.named.insert(record.name.fullname(None).to_string(), schema);
                Value::Record(record.fields.iter().map(|f| (f.name.clone(), self.of(&f.schema))).collect())
            }
            Schema::Ref { name } => {
                let named = self.named[&name.fullname(None).to_string()];
                self.of(named)
            }
            other => panic!("no record has a field of {other:?}"),
        }
    }
}

fn is_the_librarys<T: Wire + PartialEq + Debug>(topic: Topic) {
    let schema = Schema::parse_str(topic.schema().unwrap()).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let mut any = AnyValue { state: 42, named: BTreeMap::new() };
    for n in 0..300 {
        let value: T = from_value(&any.of(&schema)).unwrap_or_else(|e| panic!("{}: {e}", topic.base_name()));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        write(&mut ours, &value).unwrap();
        writer.write_ser(&mut theirs, &value).unwrap();
        assert_eq!(ours, theirs, "{} {n}: {value:?}", topic.base_name());
        assert_eq!(read::<T>(&theirs).unwrap(), (value, 0));
        let back: T = reader.read_deser(&mut ours.as_slice()).unwrap();
        assert_eq!(read::<T>(&ours).unwrap().0, back);
        // Cut anywhere it is no value, and says so.
        for length in (0..ours.len()).step_by(1 + ours.len() / 23) {
            assert!(read::<T>(&ours[..length]).is_err(), "{} cut to {length} bytes", topic.base_name());
        }
    }
}

#[test]
fn the_bytes_of_every_record_are_the_avro_librarys() {
    is_the_librarys::<FileManifest>(Topic::Manifests);
    is_the_librarys::<Outcome>(Topic::Acks);
    is_the_librarys::<Intervention>(Topic::Interventions);
    is_the_librarys::<Arrival>(Topic::Arrivals);
    is_the_librarys::<PlannedDispatch>(Topic::Plans);
    is_the_librarys::<DispatchAttempt>(Topic::Attempts);
    is_the_librarys::<Outcome>(Topic::Outcomes);
    is_the_librarys::<FileHistory>(Topic::History);
    is_the_librarys::<FileState>(Topic::FileState);
    is_the_librarys::<Control>(Topic::Controls);
}

#[test]
fn blocks_that_say_their_length_and_several_blocks_are_read() {
    // [1, 2] [3] as a block with its length in bytes, and one without.
    let bytes = [3, 4, 2, 4, 2, 6, 0];
    assert_eq!(read::<Vec<i64>>(&bytes).unwrap(), (vec![1, 2, 3], 0));
}

#[test]
fn hostile_bytes_are_refused_without_taking_memory_for_what_they_claim() {
    let endless = [0xff; 10];
    for bytes in [&[0x80; 20][..], &endless, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], &[2]] {
        assert!(read::<Vec<i64>>(bytes).is_err(), "{bytes:?}");
        assert!(read::<String>(bytes).is_err(), "{bytes:?}");
    }
    assert_eq!(read::<i64>(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).unwrap(), (i64::MIN, 0));
    assert!(read::<i64>(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).is_err());
    assert!(read::<i32>(&[0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
    assert!(read::<bool>(&[2]).is_err());
    assert!(read::<Option<bool>>(&[4, 1]).is_err());
    assert!(read::<String>(&[4, 0xff, 0xfe]).is_err());
    assert_eq!(read::<bool>(&[1, 9]).unwrap(), (true, 1));
}
